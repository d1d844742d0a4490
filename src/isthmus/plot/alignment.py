"""What the weight of an alignment buys, and what it costs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isthmus.plot.style import ACCENT, INK, MUTED, PAPER, WIDTH, blank, frameless, note, themes

__all__ = ["alignment_tradeoff"]


NARROWEST = 0.05
"""What an axis spans at least: smaller differences shall not look large."""


class _Panel(NamedTuple):
    score: str
    title: str
    chance: str | None


PANELS = (
    _Panel("task", "Task score of the joint embedding", None),
    _Panel("retrieval", "Partners among the five nearest", "chance"),
    _Panel("between", "Variance between classes, of one modality", None),
    _Panel("prediction", "Prediction of the other modality", None),
    _Panel("rank", "Effective rank of a modality's embedding", None),
)


@themes
def alignment_tradeoff(found: pd.DataFrame) -> Figure:
    """Scores against the weight of the alignment, a panel each, over seeds.

    With too little of it modalities keep their own noise and partners are not found; with too much, all that one
    modality does not show is smoothed away, which the variance between classes, the effective rank and the task tell.

    Parameters
    ----------
    found
        A row per weight and seed: `weight` (0 or more), and whichever there are of `task`, `retrieval` (with `chance`),
        `between`, `prediction` and `rank`.
    """
    panels = [p for p in PANELS if p.score in found]
    if found.empty or not panels:
        return note("No alignment was varied.")
    weights = np.sort(found["weight"].unique())
    figure = blank(WIDTH, 0.45 + 1.75 * -(-len(panels) // 2))
    grid = figure.subplots(-(-len(panels) // 2), 2, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _drawn(axes, found, weights, panel)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(panels) - 2) : len(panels)]:
        axes.set_xlabel("weight of the alignment")
    return figure


def _drawn(axes: Axes, found: pd.DataFrame, weights: np.ndarray, panel: _Panel) -> None:
    """Every seed as a dot, their mean as a line; weights are evenly spaced, 0 among them."""
    frameless(axes, grid="y")
    place = {w: k for k, w in enumerate(weights)}
    at = found["weight"].map(place).to_numpy()
    axes.plot(at, found[panel.score], "o", color=PAPER, markeredgecolor=MUTED, markersize=3.5)
    mean = found.groupby("weight")[panel.score].mean()
    axes.plot([place[w] for w in mean.index], mean, "-o", color=ACCENT, linewidth=1.4, markersize=4)
    if panel.chance is not None and panel.chance in found:
        level = float(found[panel.chance].mean())
        axes.axhline(level, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate("chance", (0, level), (2, 3), textcoords="offset points", fontsize=7, color=MUTED)
    low, high = axes.get_ylim()
    if high - low < NARROWEST:
        axes.set_ylim((low + high - NARROWEST) / 2, (low + high + NARROWEST) / 2)
    axes.set_xticks(range(len(weights)), [f"{w:g}" for w in weights])
    axes.set_title(panel.title, fontsize=8)
