"""An annotation as colours: classes by name, numbers by bin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from isthmus.plot.style import CLASSES, MOST_POINTS, RAMP, printable

Kind = Literal["categorical", "numeric"]


@dataclass(frozen=True)
class Groups:
    """Classes of samples.

    `codes` (n,) index `names`; -1 is a missing label. Where there were too many classes, the last name stands for the
    `merged` rarest of them.
    """

    names: tuple[str, ...]
    codes: np.ndarray
    merged: int = 0

    @property
    def counts(self) -> np.ndarray:
        """Samples of each class, (k,)."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))


def grouped(labels: pd.Series, most: int = len(CLASSES)) -> Groups:
    """Classes in natural order of their names; beyond `most`, the rarest become one."""
    known = labels.dropna()
    counts = known.astype(str).value_counts()
    kept = sorted(counts.index[:most] if len(counts) <= most else counts.index[: most - 1], key=natural)
    merged = len(counts) - len(kept)
    position = {name: k for k, name in enumerate(kept)}
    codes = np.full(len(labels), -1)
    codes[labels.notna().to_numpy()] = [position.get(v, len(kept)) for v in known.astype(str)]
    names = [printable(name) for name in kept] + ([f"{merged} other classes"] if merged else [])
    return Groups(tuple(names), codes, merged)


def binned(values: pd.Series, bins: int = len(RAMP)) -> tuple[np.ndarray, float, float]:
    """Bin of every value (-1 = missing) between the 2nd and the 98th percentile, and these two."""
    x = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    finite = np.isfinite(x)
    codes = np.full(len(x), -1)
    if not finite.any():
        return codes, np.nan, np.nan
    low, high = (float(q) for q in np.quantile(x[finite], [0.02, 0.98]))
    if high <= low:
        low, high = float(x[finite].min()), float(x[finite].max())
    if high <= low:
        codes[finite] = bins // 2
    else:
        codes[finite] = np.clip((x[finite] - low) / (high - low) * bins, 0, bins - 1).astype(int)
    return codes, low, high


def kind_of(values: pd.Series) -> Kind:
    """Numbers with more than ten distinct values are numeric; everything else is classes."""
    if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
        return "categorical"
    return "numeric" if values.nunique() > 10 else "categorical"


def levels(values: pd.Series) -> int:
    """Number of distinct values that are there (pandas takes all text with an unpaired surrogate for the same)."""
    return len(set(values.dropna().astype(str)))


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key under which `stage 2` comes before `stage 10`."""
    parts = re.findall(r"[0-9]{1,15}|[^0-9]+", name[:200])
    return tuple((0, int(p), "") if p[0] in "0123456789" else (1, 0, p.casefold()) for p in parts)


def shown(n: int, most: int = MOST_POINTS) -> np.ndarray:
    """Positions of the points that are shown: all of them, or `most` drawn by chance (the same at every call)."""
    return np.arange(n) if n <= most else np.sort(np.random.default_rng(0).choice(n, most, replace=False))
