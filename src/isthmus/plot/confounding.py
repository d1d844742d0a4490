"""What confounders leave in an embedding, and what of the labels holds beyond them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from isthmus.plot.scores import benchmark, is_baseline
from isthmus.plot.style import ACCENT, CLASSES, INK, MUTED, PAPER, WIDTH, blank, frameless, note, printable, themes

__all__ = ["confounder_probes", "partial_correlations", "sites"]

WAYS = {"mixed": "s", "within": "D", "across": "o"}
SAID = {"mixed": "all sites together", "within": "scored inside each site", "across": "at a site left out of training"}
MOST_PANELS = 8
MOST_DIMENSIONS = 24
FITTED = {"train": "", "test": " (fresh)"}


def confounder_probes(found: pd.DataFrame) -> Figure:
    """How well probes find each confounder, a row of panels per confounder and a column per probe.

    Parameters
    ----------
    found
        As `evaluate.confounding` gives in `probes`, with `fitted`: `train`, or `test` for probes that were
        cross-validated among the test samples.
    """
    if found.empty:
        return note("No confounder could be looked for.")
    order = [(f, k) for k in ("linear", "forest") for f in FITTED]
    parts = [found[(found["fitted"] == f) & (found["learner"] == k)].assign(learner=k + FITTED[f]) for f, k in order]
    return benchmark(pd.concat(parts, ignore_index=True).rename(columns={"confounder": "label"}))


@themes
def sites(labels: pd.DataFrame) -> Figure:
    """How well each label is read with all sites together, inside sites, and at sites left out.

    Parameters
    ----------
    labels
        As `evaluate.across_sites` gives, with the names of representations as they are to be shown.
    """
    if labels.empty:
        return note("No label was read across sites.")
    about = list(dict.fromkeys(zip(labels["label"], labels["confounder"], strict=True)))[:MOST_PANELS]
    names = list(dict.fromkeys(labels["representation"]))
    columns = min(2, len(about))
    lines = -(-len(about) // columns)
    figure = blank(WIDTH, 0.55 + lines * (0.5 + 0.24 * len(names)))
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for k, (axes, (label, site)) in enumerate(zip(grid.flat, about, strict=False)):
        rows = labels[(labels["label"] == label) & (labels["confounder"] == site)]
        _ways(axes, rows, names)
        axes.set_title(f"{printable(label, 20)} by {printable(site, 20)}", fontsize=8)
        metric = "R²" if (rows["metric"] == "r2").any() else "balanced accuracy"
        axes.set_xlabel(metric if k + columns >= len(about) or metric == "R²" else "")
    for axes in grid.flat[len(about) :]:
        axes.set_visible(False)
    handles, texts = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper left", ncols=3, frameon=False)
    return figure


def _ways(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """Three marks per representation, joined by a line; the interval of the reading across sites."""
    frameless(axes, grid="x")
    for way, marker in WAYS.items():
        filled = way == "across"
        axes.plot([], [], marker, color=ACCENT if filled else PAPER, markeredgecolor=INK if not filled else ACCENT,
                  markersize=4.5, label=SAID[way])  # fmt: skip
    for y, name in enumerate(names):
        by = rows[rows["representation"] == name].set_index("way").reindex(list(WAYS))
        values, ends = by["value"].to_numpy(dtype=float), by.loc["across", ["lower", "upper"]].to_numpy(dtype=float)
        colour = MUTED if is_baseline(str(name)) else ACCENT
        if np.isfinite(values).any():
            axes.plot([np.nanmin(values), np.nanmax(values)], [y, y], color=colour, linewidth=0.8)
        if np.isfinite(ends).all():
            axes.plot(ends, [y, y], color=colour, linewidth=2.4, alpha=0.35)
        for (way, marker), value in zip(WAYS.items(), values, strict=True):
            fill = colour if way == "across" else PAPER
            axes.plot([value], [y], marker, color=fill, markeredgecolor=colour, markersize=4.5, zorder=3)
    axes.set(yticks=range(len(names)), ylim=(len(names) - 0.4, -0.6))
    axes.set_yticklabels([printable(n, 26) for n in names])
    for tick, name in zip(axes.get_yticklabels(), names, strict=False):
        tick.set(color=MUTED if is_baseline(str(name)) else INK)
    axes.xaxis.set_major_locator(MaxNLocator(5))


@themes
def partial_correlations(partial: pd.DataFrame) -> Figure:
    """What each latent dimension owes to a confounder given a label, and to the label given the confounder.

    Parameters
    ----------
    partial
        As `evaluate.partial_correlation` gives, of one representation; any number of pairs.
    """
    pairs = list(dict.fromkeys((of, given) for of, given in zip(partial["of"], partial["given"], strict=True)))
    first = [p for p in pairs if (p[1], p[0]) not in pairs[: pairs.index(p)]][:MOST_PANELS]
    if not first or partial["correlation"].isna().all():
        return note("No partial correlation could be computed.")
    dimensions = list(dict.fromkeys(partial["dimension"]))[:MOST_DIMENSIONS]
    columns = min(2, len(first))
    lines = -(-len(first) // columns)
    figure = blank(WIDTH, 0.3 + lines * (0.85 + 0.15 * len(dimensions)))
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (of, given) in zip(grid.flat, first, strict=False):
        frameless(axes, grid="x")
        for (a, b), colour, marker in (((of, given), CLASSES[1], "o"), ((given, of), CLASSES[0], "D")):
            rows = partial[(partial["of"] == a) & (partial["given"] == b)].set_index("dimension").reindex(dimensions)
            if rows["correlation"].isna().all():
                continue
            size = rows["correlation"].abs().to_numpy(dtype=float)
            said = f"{printable(a, 16)} given {printable(b, 16)}" if b else printable(a, 24)
            axes.plot(size, range(len(dimensions)), marker, color=colour, markersize=4, label=said, linestyle="none")
            axes.axvline(float(rows["chance"].mean()), color=colour, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1, handletextpad=0.1, columnspacing=0.8
        )
        axes.set(yticks=range(len(dimensions)), ylim=(len(dimensions) - 0.4, -0.6), xlim=(-0.02, 1.02))
        axes.set_yticklabels([printable(d, 20) for d in dimensions])
    for axes in grid.flat[len(first) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("|partial correlation|")
    return figure
