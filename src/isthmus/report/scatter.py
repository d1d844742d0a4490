"""The samples of an embedding as an SVG of our own, one circle each, that a short script can colour anew.

Without JavaScript a point shows its sample id and one annotation as its `<title>`. With it, a list picks the annotation
and the pointer shows every annotation of the sample.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from isthmus.plot.groups import binned, grouped, kind_of, levels, natural, shown
from isthmus.plot.style import CLASSES, RAMP, number, printable

WIDTH, HEIGHT, EDGE = 720, 460, 18
MOST_ANNOTATIONS = 30
MOST_VALUES = 200_000
MOST_LEVELS = 60
LONGEST_ID = 120


@dataclass(frozen=True)
class Annotation:
    """A column of `obs` ready to be shown: a CSS class per sample, its value as text, and a legend."""

    name: str
    marks: tuple[str, ...]
    texts: tuple[str, ...]
    legend: tuple[tuple[str, str], ...]


def annotation(name: str, values: pd.Series) -> Annotation:
    """Colours and texts of one annotation."""
    if kind_of(values) == "numeric":
        codes, low, high = binned(values)
        texts = tuple(number(float(v), 4) if pd.notna(v) else "missing" for v in values)
        legend = [(f"r{k}", number(low + (high - low) * k / (len(RAMP) - 1))) for k in range(0, len(RAMP), 2)]
        return Annotation(name, _marks(codes, "r"), texts, (*legend[::-1], *_missing(codes)))
    groups = grouped(values)
    texts = tuple(printable(v, 60) if pd.notna(v) else "missing" for v in values)
    last = len(groups.names) - 1 if groups.merged else None
    marks = tuple("other" if k == last else m for k, m in zip(groups.codes, _marks(groups.codes, "c"), strict=True))
    rows = [
        ("other" if k == last else mark(f"c{k}"), f"{groups.names[k]} ({groups.counts[k]:,})")
        for k in range(len(groups.names))
    ]
    return Annotation(name, marks, texts, (*rows, *_missing(groups.codes)))


def mark(code: str) -> str:
    """CSS classes of a class of samples: its colour, and from the eighth on how it is drawn."""
    style = ("", " hollow", " rimmed")[int(code[1:]) // 8 % 3] if code.startswith("c") else ""
    return code + style


def _marks(codes: np.ndarray, letter: str) -> tuple[str, ...]:
    names = {k: mark(f"{letter}{k}") for k in range(len(CLASSES))} | {-1: "none"}
    return tuple(names[int(k)] for k in codes)


def _missing(codes: np.ndarray) -> list[tuple[str, str]]:
    return [("none", f"missing ({int((codes < 0).sum()):,})")] if (codes < 0).any() else []


def worth_showing(obs: pd.DataFrame, first: str | None = None) -> list[Annotation]:
    """The columns worth colouring by, `first` in front: no class per sample; 30 at most, fewer if samples are many."""
    useful = [k for k in range(obs.shape[1]) if _useful(obs.iloc[:, k])]
    names = [str(obs.columns[k]) for k in useful]
    front = names.index(first) if first in names else _first_classes(obs, useful)
    if useful:
        useful = [useful[front], *useful[:front], *useful[front + 1 :]]
    most = int(np.clip(MOST_VALUES // max(len(obs), 1), 1, MOST_ANNOTATIONS))
    return [annotation(printable(obs.columns[k]), obs.iloc[:, k]) for k in useful[:most]]


def _useful(values: pd.Series) -> bool:
    found = levels(values) if kind_of(values) == "categorical" else 2
    return 0 < found <= min(MOST_LEVELS, max(2, len(values) - 1)) and bool(values.notna().any())


def _first_classes(obs: pd.DataFrame, useful: list[int]) -> int:
    """The first annotation with two or more classes that is not the split."""
    good = (
        i
        for i, k in enumerate(useful)
        if str(obs.columns[k]) not in ("split", "fold")
        and kind_of(obs.iloc[:, k]) == "categorical"
        and levels(obs.iloc[:, k]) > 1
    )
    return next(good, 0)


def drawn(xy: pd.DataFrame) -> np.ndarray:
    """Positions of the samples that are drawn: with finite coordinates, 20,000 at most."""
    finite: np.ndarray = np.flatnonzero(np.isfinite(xy.to_numpy(dtype=float)).all(axis=1))
    return np.take(finite, shown(len(finite)))


def svg(xy: pd.DataFrame, ids: pd.Index, first: Annotation | None, label: str) -> Markup:
    """The points as inline SVG; `xy`, `ids` and `first` are those of the samples drawn."""
    points = xy.to_numpy(dtype=float)
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(2), np.ones(2))
    span = np.where(high > low, high - low, 1.0)
    x = EDGE + (points[:, 0] - low[0]) / span[0] * (WIDTH - 2 * EDGE)
    y = HEIGHT - EDGE - (points[:, 1] - low[1]) / span[1] * (HEIGHT - 2 * EDGE)
    radius = float(np.clip(80 / np.sqrt(max(len(points), 1)), 1.6, 4.5))
    circles = [
        f'<circle class="{first.marks[k] if first else "c0"}" cx="{x[k]:.1f}" cy="{y[k]:.1f}" r="{radius:.1f}">'
        f"<title>{_title(ids[k], first, k)}</title></circle>"
        for k in range(len(points))
    ]
    head = (
        f'<svg class="points" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(printable(label, 200))}">'
    )
    frame = f'<rect class="frame" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}"/>'
    return Markup(head + frame + "".join(circles) + "</svg>")


def _title(identity: object, first: Annotation | None, k: int) -> str:
    text = printable(identity, LONGEST_ID)
    return str(escape(text + (f"\n{first.name}: {first.texts[k]}" if first else "")))


def as_json(found: list[Annotation]) -> Markup:
    """Annotations for the script, compact, safe inside a `<script>` element."""
    packed: list[dict[str, Any]] = []
    for a in found:
        marks = list(dict.fromkeys(a.marks))
        texts = sorted(set(a.texts), key=natural)
        at, where = {m: i for i, m in enumerate(marks)}, {t: i for i, t in enumerate(texts)}
        packed.append(
            {
                "name": a.name,
                "marks": marks,
                "mark": [at[m] for m in a.marks],
                "texts": texts,
                "text": [where[t] for t in a.texts],
                "legend": [list(row) for row in a.legend],
            }
        )
    text = json.dumps(packed, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
