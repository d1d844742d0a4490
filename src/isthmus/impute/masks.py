r"""What is hidden so that it can be scored: patterns of missingness, drawn among the observed entries.

`random`    every observed entry with the same probability (missing completely at random).
`sample`    some samples lose half of their entries each, so many that the rate is met.
`feature`   some features lose half of their entries each.
`mar`       what is missing depends on another modality: a sample is the likelier to lose entries, the higher it lies
            on the first principal component of the driver (probability logistic in it).
`mnar_low`  low values are lost: the probability is logistic in minus twice the standardised value.
`modality`  samples lose their whole row.
`gaps`      as in the real gaps: a sample loses, of what it shows, what another sample of the cohort lacks; thinned to
            the rate where that is more.

With a rate above one half, `sample` and `feature` hide that share of the chosen ones. The draw depends on the seed and
on ids alone, not on the order of samples.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal, get_args

import mudata as md
import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit

from isthmus.data.accepted import Data, cohort
from isthmus.data.compress import opened, unpacked
from isthmus.data.table import aligned
from isthmus.data.write import atomic
from isthmus.errors import DataError, RecipeError, closest
from isthmus.evaluate.arrays import feature_means

__all__ = ["ENTRIES", "GAPS", "PATTERNS", "ROWS", "STANDARD", "Pattern", "fitting", "mask", "read_mask", "write_mask"]

Pattern = Literal["gaps", "modality", "random", "sample", "feature", "mar", "mnar_low"]
GAPS: Pattern = "gaps"
"""The pattern of what is really missing; it needs a table that lacks something."""
ENTRIES, ROWS = "entries", "modality"
"""Two kinds of gap: single entries, and samples that lack the modality; the latter is the name of its pattern, too."""
PATTERNS: tuple[Pattern, ...] = tuple(p for p in get_args(Pattern) if p != GAPS)
"""Those that any table allows."""
STANDARD: tuple[Pattern, ...] = ("gaps", "modality", "random", "sample", "feature")
"""Those of a recipe that names none."""
HALF = 0.5
STEEP = 2.0
"""Slope of the logistic of `mar` and `mnar_low`, per standard deviation."""


def mask(
    mdata: Data,
    target: str,
    *,
    pattern: str = "random",
    rate: float = 0.1,
    seed: int = 0,
    driver: str | None = None,
) -> pd.DataFrame:
    """Draw what is to be hidden of a modality.

    Parameters
    ----------
    mdata
        The cohort.
    target
        The modality of which entries are hidden.
    pattern
        `random`, `sample`, `feature`, `mar`, `mnar_low`, `modality` or `gaps`.
    rate
        Share of the observed entries (of the samples, for `modality`) to hide; above 0, below 1. The most of it for
        `gaps`, which hides no more than is really missing.
    seed
        Of the draw.
    driver
        For `mar`, the modality that it depends on; the first other one by default.

    Returns
    -------
    pandas.DataFrame
        Samples that have the modality x features, True where hidden; never an entry that was missing already.

    Raises
    ------
    RecipeError
        An unknown modality or pattern, a rate outside 0..1, or a seed below 0.
    """
    check_pattern(pattern, rate)
    if seed < 0:
        raise RecipeError("is no seed", where="seed", met=seed, wanted="0 or more")
    mdata = cohort(mdata, [target])
    if target not in mdata.mod:
        hint = closest(target, mdata.mod)
        raise RecipeError("no such modality", where="target", met=target, hint=hint)
    ids = pd.Index(sorted(mdata.mod[target].obs_names))
    table = aligned(mdata.mod[target], ids)
    x = table.x if isinstance(table.x, np.ndarray) else table.x.toarray()
    score = _driver(mdata, target, driver, ids) if pattern == "mar" else None
    hidden = draw(x, pattern, rate=rate, rng=np.random.default_rng((seed, 0x3A5C)), score=score)
    return pd.DataFrame(hidden, ids, table.features)


def check_pattern(pattern: str, rate: float) -> None:
    """Refuse what cannot be drawn."""
    if pattern not in (known := (*PATTERNS, GAPS)):
        hint = closest(pattern, known)
        raise RecipeError("no such pattern", where="pattern", met=pattern, hint=hint)
    if not 0 < rate < 1:
        raise RecipeError("is no share", where="rate", met=rate, wanted="above 0 and below 1")


def draw(
    x: np.ndarray, pattern: str, *, rate: float, rng: np.random.Generator, score: np.ndarray | None = None
) -> np.ndarray:
    """Which entries of n x f are hidden, among those that are not NaN; `score` (n) drives `mar`."""
    seen = ~np.isnan(x)
    match pattern:
        case "random":
            return _spread(seen, rate, rng)
        case "sample":
            return _concentrated(seen, rate, rng)
        case "feature":
            return _concentrated(seen.T, rate, rng).T
        case "gaps":
            return _as_missing(seen, rate, rng)
        case "modality":  # ROWS; a name would be a capture
            rows = rng.permutation(len(x))[: round(rate * len(x))]
            return np.asarray(seen & np.isin(np.arange(len(x)), rows)[:, None])
        case "mar":
            level = np.zeros(len(x)) if score is None else score
            return np.asarray(
                seen & (rng.random(x.shape) < _logistic(np.broadcast_to(level[:, None], x.shape), seen, rate))
            )
        case _:
            return np.asarray(seen & (rng.random(x.shape) < _logistic(-_z(x), seen, rate)))


def _z(x: np.ndarray) -> np.ndarray:
    """Features about their means in their standard deviations; 0 where missing, and of one that does not vary."""
    mean = feature_means(x)
    sd = np.sqrt(feature_means((x - mean) ** 2))
    return np.asarray(np.nan_to_num((x - mean) / np.where(sd > 0, sd, 1)))


def _spread(seen: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """So many observed entries, each as likely as any other."""
    places = np.flatnonzero(seen)
    hidden = np.zeros(seen.size, dtype=bool)
    hidden[rng.permutation(places)[: round(rate * len(places))]] = True
    return hidden.reshape(seen.shape)


def _concentrated(seen: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Some rows lose a share of their observed entries."""
    share = max(HALF, rate)
    hidden = np.zeros_like(seen)
    left = round(rate * seen.sum())
    for row in rng.permutation(len(seen)):
        columns = np.flatnonzero(seen[row])
        many = min(left, math.ceil(share * len(columns)))
        hidden[row, rng.permutation(columns)[:many]] = True
        left -= many
        if left <= 0:
            break
    return hidden


def _as_missing(seen: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Every sample with something observed loses what another such sample lacks, `rate` of all at the most."""
    rows = rng.permutation(np.flatnonzero(seen.any(axis=1)))
    hidden = np.zeros_like(seen)
    hidden[rows] = seen[rows] & ~seen[np.roll(rows, 1)]
    keep = rate * seen.sum() / max(int(hidden.sum()), 1)
    return np.asarray(hidden & (rng.random(seen.shape) < keep)) if keep < 1 else hidden


def _logistic(level: np.ndarray, seen: np.ndarray, rate: float) -> np.ndarray:
    """Probabilities logistic in `level`, of mean `rate` over the observed entries."""
    values = STEEP * level
    offset = brentq(lambda a: float(expit(values[seen] + a).mean()) - rate, -60, 60)
    return np.asarray(expit(values + offset))


def _driver(mdata: md.MuData, target: str, driver: str | None, ids: pd.Index) -> np.ndarray:
    """Standardised first principal component of the driving modality; 0 for samples without it."""
    others = [m for m in mdata.mod if m != target]
    name = driver or next(iter(others), None)
    if name is None or name not in others:
        raise RecipeError(
            "needs another modality that it depends on", where="pattern: mar", met=name, wanted=" or ".join(others)
        )
    table = aligned(mdata.mod[name], ids)
    x = np.array(table.x if isinstance(table.x, np.ndarray) else table.x.toarray(), dtype=np.float64)
    x[~table.present] = np.nan  # sparse tables have zeros there
    z = _z(x)
    start = np.ones(z.shape[1]) / math.sqrt(z.shape[1])
    for _ in range(30):
        start = z.T @ (z @ start)
        start /= max(float(np.linalg.norm(start)), 1e-300)
    score = z @ start
    score *= np.sign(start[np.abs(start).argmax()])
    score[table.present] -= score[table.present].mean()
    score[~table.present] = 0
    return np.asarray(score / (score[table.present].std() or 1.0))


def write_mask(hidden: pd.DataFrame, path: str | Path, **protocol: Any) -> None:
    """Save what was hidden, and how it was drawn: JSON of the ids, the features and the hidden columns of each sample.

    `read_mask` reads it again, and `benchmark(hidden=...)` scores methods on it.

    Parameters
    ----------
    hidden
        As `mask` gives it.
    path
        The file; compressed where its name ends in .gz.
    **protocol
        What else to keep: `target`, `pattern`, `rate`, `seed`; numbers and text.

    Raises
    ------
    DataError
        What is hidden is not said by True and False, or the protocol holds more than JSON can.
    """
    if not all(map(pd.api.types.is_bool_dtype, hidden.dtypes)):
        raise DataError("is no mask", where="hidden", wanted="True where hidden, else False: what impute.mask gives")
    rows = {str(i): np.flatnonzero(r).tolist() for i, r in zip(hidden.index, hidden.to_numpy(), strict=True) if r.any()}
    tree = {
        "kind": "isthmus mask",
        "protocol": protocol,
        "samples": [str(i) for i in hidden.index],
        "features": [str(f) for f in hidden.columns],
        "hidden": rows,
    }
    try:
        text = json.dumps(tree, default=lambda v: v.item())  # NumPy's numbers
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError("cannot be kept in JSON", where="protocol", wanted="numbers and text") from error
    with atomic(Path(path)) as new, opened(new, "wb") as stream:
        stream.write(f"{text}\n".encode())


def read_mask(path: str | Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What `write_mask` saved: the mask and its protocol.

    Raises
    ------
    DataError
        The file is missing or is not a mask.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError("there is no such file", where=str(path), wanted="a mask")
    try:
        tree = json.loads(unpacked(file))
        samples, features = (pd.Index(tree[k], dtype=object) for k in ("samples", "features"))
        values = np.zeros((len(samples), len(features)), dtype=bool)
        for sample, columns in tree["hidden"].items():
            values[samples.get_loc(sample), columns] = True
        protocol = dict(tree["protocol"])
        if not (samples.is_unique and features.is_unique):
            raise ValueError
        if "pattern" in protocol or "rate" in protocol:
            check_pattern(protocol["pattern"], float(protocol["rate"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecipeError) as error:
        raise DataError("is not a mask", where=str(path), wanted="what write_mask wrote") from error
    return pd.DataFrame(values, samples, features), protocol


def fitting(hidden: pd.DataFrame, ids: pd.Index, features: pd.Index, *, where: str = "hidden") -> np.ndarray:
    """A mask in the order of these samples and features, n x f.

    Raises
    ------
    DataError
        It is of other samples or features.
    """
    both = [(hidden.index.astype(str), ids.astype(str)), (hidden.columns.astype(str), features.astype(str))]
    if any(set(a) != set(b) for a, b in both):
        (s, n, k), (f, m, j) = ((int(b.isin(a).sum()), len(b), len(a)) for a, b in both)
        met = f"of its {k:,} samples and {j:,} features {s:,} and {f:,} are there"
        wanted = f"just the {n:,} samples and {m:,} features that are there"
        raise DataError("is the mask of another cohort", where=where, met=met, wanted=wanted)
    named = hidden.set_axis(both[0][0]).set_axis(both[1][0], axis=1)
    return np.asarray(named.loc[both[0][1], both[1][1]], dtype=bool)
