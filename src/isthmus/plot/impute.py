"""Imputation: what is hidden, real and filled samples, intervals against their level, means with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from isthmus.plot.style import (
    ACCENT,
    CLASSES,
    INK,
    MUTED,
    PAPER,
    SHADE,
    WIDTH,
    blank,
    frameless,
    note,
    printable,
    themes,
)

__all__ = ["calibration", "mask_maps", "real_and_filled", "with_intervals"]

CELLS = (60, 80)
"""Most rows and columns that a map is drawn with; more are averaged."""
MOST_MAPS, MOST_PANELS = 9, 6
MOST_ROWS = 30


@themes
def mask_maps(maps: Mapping[str, np.ndarray]) -> Figure:
    """What is missing or hidden: samples down, features across, the share of each cell as a colour.

    Parameters
    ----------
    maps
        Title to booleans, samples x features, True where missing or hidden.
    """
    maps = dict(list(maps.items())[:MOST_MAPS])
    if not maps:
        return note("Nothing was hidden.")
    columns = min(3, len(maps))
    lines = -(-len(maps) // columns)
    figure = blank(WIDTH, 0.3 + 1.75 * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    ramp = LinearSegmentedColormap.from_list("share", [(*to_rgb(ACCENT), a) for a in (0.0, 0.6, 0.8, 1.0)])
    image = None
    for axes in grid.flat[len(maps) :]:
        axes.set_visible(False)
    for axes, (title, hidden) in zip(grid.flat, maps.items(), strict=False):
        image = axes.imshow(averaged(hidden), cmap=ramp, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_title(f"{printable(title)}: {100 * float(hidden.mean()):.2g} %")
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.set_facecolor(SHADE)
        axes.set_xlabel(f"{hidden.shape[1]:,} features")
        axes.set_ylabel(f"{hidden.shape[0]:,} samples")
    assert image is not None
    bar = figure.colorbar(image, ax=grid, shrink=0.8, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def averaged(hidden: np.ndarray) -> np.ndarray:
    """Shares of at most 60 x 80 blocks of a mask; a row of its own for each sample, if there are no more."""
    x = np.asarray(hidden, dtype=np.float64)
    for axis, most in enumerate(CELLS):
        n = x.shape[axis]
        if n > most:
            edges = np.linspace(0, n, most + 1).astype(int)
            sums = np.add.reduceat(x, edges[:-1], axis=axis)
            size = np.diff(edges).reshape((-1, 1) if axis == 0 else (1, -1))
            x = sums / size
    return x


@themes
def real_and_filled(scores: Mapping[str, np.ndarray], *, unit: str = "principal component") -> Figure:
    """Samples as they are (grey) and as filled (coloured), on the same axes, a panel per method.

    Parameters
    ----------
    scores
        `truth` and method names to n x 2.
    unit
        What the axes are.
    """
    panels = {m: v for m, v in scores.items() if m != "truth"}
    panels = dict(list(panels.items())[:MOST_PANELS])
    if not panels:
        return note("Nothing was filled.")
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = blank(WIDTH, 0.4 + 2.05 * lines)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    truth = scores["truth"]
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for k, (axes, (name, filled)) in enumerate(zip(grid.flat, panels.items(), strict=False)):
        axes.plot(truth[:, 0], truth[:, 1], "o", color=MUTED, markersize=2.4, alpha=0.55, markeredgewidth=0)
        axes.plot(filled[:, 0], filled[:, 1], "o", color=CLASSES[k % 8], markersize=2.4, alpha=0.8, markeredgewidth=0)
        axes.set_title(printable(name))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    figure.supxlabel(f"first {unit}", fontsize=8, color=MUTED)
    figure.supylabel(f"second {unit}", fontsize=8, color=MUTED)
    return figure


@themes
def calibration(rows: pd.DataFrame, *, chosen: Mapping[str, Sequence[str]]) -> Figure:
    """Share of hidden values within their interval, against the interval's level; the diagonal is what is promised.

    Parameters
    ----------
    rows
        `panel`, `method`, `nominal` and `actual` (0..1), averaged over what else there is.
    chosen
        Panel to the methods in colour; others are grey. Panels stand beside each other, two at most.
    """
    wide = rows.groupby(["panel", "method", "nominal"], sort=False)["actual"].mean().unstack("nominal").dropna()
    titles = [t for t in chosen if t in wide.index.get_level_values("panel")][:2]
    if not titles:
        return note("There are no intervals.")
    figure = blank(WIDTH, 2.9)
    grid = figure.subplots(1, 2, squeeze=False)[0]
    grid[1].set_visible(len(titles) > 1)
    ends = [min(0.45, float(wide.to_numpy().min()) - 0.03), 1.0]
    for axes, title in zip(grid, titles, strict=False):
        of = wide[wide.index.get_level_values("panel") == title].droplevel("panel")
        _held(axes, of, chosen[title], ends)
        axes.set_title(printable(title))
    grid[0].set_ylabel("hidden values within")
    return figure


def _held(axes: Axes, wide: pd.DataFrame, chosen: Sequence[str], ends: list[float]) -> None:
    """A panel: a line per method over the levels."""
    axes.plot(ends, ends, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    for k, name in enumerate([m for m in wide.index if m not in chosen]):
        axes.plot(wide.columns, wide.loc[name], color=MUTED, linewidth=0.7, zorder=2, label="" if k else "others")
    for k, name in enumerate([m for m in chosen if m in wide.index]):
        axes.plot(wide.columns, wide.loc[name], "o-", color=CLASSES[k], markersize=3.6, label=printable(name), zorder=3)
    axes.set(xlim=ends, ylim=ends)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("level of the interval")
    axes.legend(loc="upper left")


@themes
def with_intervals(rows: pd.DataFrame, *, names: str, panels: str, unit: str, marked: Sequence[str] = ()) -> Figure:
    """Means as bars with their intervals.

    Parameters
    ----------
    rows
        `mean`, `lower`, `upper`, and the columns named below.
    names, panels
        Columns whose values stand below each other, and beside each other.
    unit
        What the means are.
    marked
        Names whose bars are coloured; others are grey.
    """
    rows = rows[rows["mean"].notna()]
    if rows.empty:
        return note("There is no score to draw.")
    every = list(dict.fromkeys(rows[names]))[:MOST_ROWS]
    titles = list(dict.fromkeys(rows[panels]))[:3]
    figure = blank(WIDTH, 0.6 + 0.2 * len(every))
    grid = figure.subplots(1, len(titles), squeeze=False, sharey=True)[0]
    for axes, title in zip(grid, titles, strict=True):
        of = rows[(rows[panels] == title) & rows[names].isin(every)].drop_duplicates(names)
        places = [every.index(n) for n in of[names]]
        colours = [ACCENT if n in marked else MUTED for n in of[names]]
        axes.barh(places, of["mean"], height=0.66, color=colours, linewidth=0, alpha=0.6)
        for y, r in zip(places, of.to_dict("records"), strict=True):
            if np.isfinite(r["lower"]):
                axes.plot([r["lower"], r["upper"]], [y, y], color=INK, linewidth=1.1)
            axes.plot(r["mean"], y, "o", color=PAPER, markeredgecolor=INK, markersize=3)
        frameless(axes, grid="x")
        axes.set_title(printable(title))
        axes.set(yticks=range(len(every)), ylim=(len(every) - 0.4, -0.6))
        axes.set_yticklabels([printable(n) for n in every], color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlim(left=min(0.0, float(np.nanmin(of[["mean", "lower"]].to_numpy()))))
    figure.supxlabel(unit, fontsize=8, color=MUTED)
    return figure
