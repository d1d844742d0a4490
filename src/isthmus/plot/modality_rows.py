"""What modalities add to a prediction: a score with its interval per row, controls in grey below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from isthmus.plot.style import ACCENT, INK, MUTED, PAPER, WIDTH, blank, frameless, note, printable, themes

__all__ = ["modality_rows"]

LONGEST, MOST = 44, 60
TALLEST = 8.5


@themes
def modality_rows(rows: pd.DataFrame, *, unit: str, chance: float | None) -> Figure:
    """Mean and interval of every row of one head, best first, controls last.

    Parameters
    ----------
    rows
        `label`, `mean`, `lower`, `upper`, `control` and `own` (whether it is a model's own head, which is filled).
    unit
        What the score is.
    chance
        Where a dashed line stands; None for none.
    """
    rows = rows[rows["mean"].notna()]
    if rows.empty:
        return note("There is no score to draw.")
    order = np.lexsort((-rows["mean"].to_numpy(), (rows["control"] != "").to_numpy()))
    rows = rows.iloc[order].head(MOST)
    figure = blank(WIDTH, min(TALLEST, 0.7 + 0.21 * len(rows)))
    axes = figure.subplots()
    if chance is not None:
        axes.axvline(chance, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    for y, r in enumerate(rows.to_dict("records")):
        _row(y, {str(k): v for k, v in r.items()}, axes)
    frameless(axes, grid="x")
    axes.set(yticks=range(len(rows)), ylim=(len(rows) - 0.4, -0.6))
    axes.set_yticklabels([printable(n, LONGEST) for n in rows["label"]])
    for tick, control in zip(axes.get_yticklabels(), rows["control"], strict=True):
        tick.set(color=MUTED if control else INK)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(unit)
    return figure


def _row(y: int, r: Mapping[str, Any], axes: Axes) -> None:
    """One mean with its interval."""
    colour = MUTED if r["control"] else ACCENT
    ends = [r["lower"], r["upper"]]
    if np.isfinite(ends).all():
        axes.plot(ends, [y, y], color=colour, linewidth=1.2, zorder=2)
    fill = colour if r["own"] else PAPER
    axes.plot([r["mean"]], [y], "o", color=fill, markeredgecolor=colour, markersize=4, zorder=3)
