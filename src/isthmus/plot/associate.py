"""Associations: all pairs by size and p, p-values against chance, modules as networks, pairs coloured by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from isthmus.plot.groups import binned, grouped, kind_of
from isthmus.plot.style import (
    ACCENT,
    CLASSES,
    GRID,
    INK,
    MUTED,
    PAPER,
    RAMP,
    WIDTH,
    blank,
    frameless,
    note,
    number,
    printable,
    themes,
)

__all__ = ["intervals", "modules", "p_values", "pairs", "short_name", "volcano"]

SMALLEST = 1e-300
MOST_NODES, MOST_NAMED, MOST_MODULES, MOST_ROWS = 36, 8, 6, 14
MOST_CLASSES = 8
WARM = CLASSES[1]
COLUMNS = 4


@themes
def volcano(points: pd.DataFrame, *, unit: str, threshold: Mapping[str, float]) -> Figure:
    """Pairs by correlation and p, a panel per analysis; accepted pairs coloured.

    Parameters
    ----------
    points
        `panel`, `rho`, `p` and `kind`: `pair` (a sample of all pairs), `kept` or `lost` (accepted here, and in the
        other panel too or not).
    unit
        What the correlation is called.
    threshold
        Panel to the largest accepted p; 0 for none.
    """
    panels = list(dict.fromkeys(points["panel"]))
    if not panels:
        return note("No pair was tested.")
    figure = blank(WIDTH, 3.1)
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    looks = {"pair": (MUTED, 1.6, 0.35), "lost": (WARM, 2.6, 0.75), "kept": (ACCENT, 2.6, 0.8)}
    for axes, panel in zip(grid, panels, strict=True):
        of = points[points["panel"] == panel]
        for kind, (colour, size, alpha) in looks.items():
            some = of[of["kind"] == kind]
            height = -np.log10(np.maximum(some["p"].to_numpy(float), SMALLEST))
            style = {"color": colour, "markersize": size, "alpha": alpha, "markeredgewidth": 0}
            axes.plot(some["rho"], height, "o", **style)
        if threshold.get(panel, 0) > 0:
            axes.axhline(-np.log10(max(threshold[panel], SMALLEST)), color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.set_title(printable(panel, 60))
        axes.set(xlim=(-1.04, 1.04))
        axes.set_ylim(bottom=0)
    figure.supxlabel(unit, fontsize=8, color=MUTED)
    grid[0].set_ylabel("−log₁₀ p")
    if len(panels) > 1:
        names = {ACCENT: "accepted in both", WARM: "accepted here alone", MUTED: "a sample of all pairs"}
    else:
        names = {ACCENT: "accepted", MUTED: "a sample of all pairs"}
    _legend(figure, names)
    return figure


def short_name(name: object, longest: int) -> str:
    """A name of a feature; of a long one the end, where lineages and isoforms differ."""
    text = printable(name, None)
    return text if len(text) <= longest else "…" + text[1 - longest :].lstrip()


def _legend(figure: Figure, names: Mapping[str, str], *, marker: str = "o") -> None:
    """Names of colours above the panels."""
    handles = [
        Line2D([], [], marker=marker, linestyle="none", color=c, markersize=4, markeredgewidth=0, label=printable(t))
        for c, t in names.items()
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 4), handletextpad=0.2)


@themes
def p_values(counts: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Histograms of p of all pairs (filled) beside those of the same data with the samples of one side permuted (line).

    Parameters
    ----------
    counts
        Title to counts of p in equal bins of 0..1, of the data and of the permuted data.
    """
    if not counts:
        return note("No pair was tested.")
    figure = blank(WIDTH, 2.6)
    grid = figure.subplots(1, len(counts), squeeze=False)[0]
    for axes, (title, (seen, chance)) in zip(grid, counts.items(), strict=True):
        edges = np.linspace(0, 1, len(seen) + 1)
        axes.stairs(seen, edges, fill=True, color=ACCENT, alpha=0.55)
        axes.stairs(chance, edges, color=INK, linewidth=1.1, baseline=None)
        level = seen.sum() / len(seen)
        axes.axhline(level, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.set(xlim=(0, 1))
        axes.set_ylim(0, 1.08 * max(float(seen.max()), float(chance.max()), 1.0))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_title(printable(title, 60))
        axes.set_xlabel("p")
    grid[0].set_ylabel("pairs")
    handles = [
        Line2D([], [], marker="s", linestyle="none", color=ACCENT, alpha=0.55, label="as measured"),
        Line2D([], [], color=INK, linewidth=1.1, label="samples of one side permuted"),
        Line2D([], [], color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), label="equal shares"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


@themes
def pairs(values: Sequence[tuple[pd.Series, pd.Series, str]], group: pd.Series | None) -> Figure:
    """Scatter plots of pairs of features, samples coloured by group.

    Parameters
    ----------
    values
        Per pair the values of both features, joined by sample, and a title.
    group
        Of the samples: classes, or numbers; None for one colour.
    """
    if not values:
        return note("No pair to show.")
    colours, names = _colours(group)
    lines = -(-len(values) // COLUMNS)
    figure = blank(WIDTH, 0.45 + 1.85 * lines)
    grid = figure.subplots(lines, COLUMNS, squeeze=False)
    for axes in grid.flat[len(values) :]:
        axes.set_visible(False)
    for axes, (a, b, title) in zip(grid.flat, values, strict=False):
        shown = [ACCENT] * len(a) if colours is None else colours.reindex(a.index).fillna(GRID).tolist()
        axes.scatter(a, b, c=shown, s=9, alpha=0.8, linewidths=0)
        axes.set_title(printable(title, 26), fontsize=7.5)
        axes.set_xlabel(short_name(a.name, 22), fontsize=7)
        axes.set_ylabel(short_name(b.name, 18), fontsize=7)
        axes.tick_params(labelsize=6.5)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(3))
    if names:
        _legend(figure, names)
    return figure


def _colours(group: pd.Series | None) -> tuple[pd.Series | None, dict[str, str]]:
    """A colour per sample, and what the colours mean."""
    if group is None:
        return None, {}
    if kind_of(group) == "numeric":
        codes, low, high = binned(group)
        ramp = pd.Series([RAMP[k] if k >= 0 else GRID for k in codes], group.index)
        return ramp, {RAMP[0]: f"{group.name}: {number(low)}", RAMP[-1]: number(high)}
    found = grouped(group, MOST_CLASSES)
    named = {CLASSES[k]: name for k, name in enumerate(found.names)}
    return pd.Series([CLASSES[k] if k >= 0 else GRID for k in found.codes], group.index), named


@themes
def modules(parts: Sequence[tuple[str, pd.DataFrame]], *, sides: tuple[str, str]) -> Figure:
    """Modules of a network, a panel each: features of either side, joined where a pair is accepted.

    Parameters
    ----------
    parts
        Title, and the pairs of a module: `x`, `y`, `rho`.
    sides
        What `x` and `y` are.
    """
    alone = [p[1] for p in parts if len(p[1]) == 1]
    parts = [p for p in parts if len(p[1]) > 1][:MOST_MODULES]
    if alone and len(parts) < MOST_MODULES:
        parts.append((f"{len(alone)} pairs by themselves" if len(alone) > 1 else "a pair by itself", pd.concat(alone)))
    if not parts:
        return note("No pair is accepted: there is no network.")
    columns = min(2, len(parts))
    lines = -(-len(parts) // columns)
    figure = blank(WIDTH, 0.4 + 2.6 * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(parts) :]:
        axes.set_visible(False)
    for axes, (title, edges) in zip(grid.flat, parts, strict=False):
        frameless(axes)
        axes.set(xticks=[], yticks=[], xlim=(-1.25, 1.25), ylim=(-1.15, 1.15))
        axes.set_title(printable(title, 60))
        _module(axes, edges)
    handles = [
        Line2D([], [], marker="o", linestyle="none", color=ACCENT, markersize=5, label=printable(sides[0])),
        Line2D([], [], marker="s", linestyle="none", color=WARM, markersize=5, label=printable(sides[1])),
        Line2D([], [], color=MUTED, linewidth=1, label="together"),
        Line2D([], [], color=MUTED, linewidth=1, linestyle=(0, (2, 2)), label="against each other"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    return figure


def _module(axes: Axes, edges: pd.DataFrame) -> None:
    """One module: its best connected features, those of most links named where there is room."""
    graph = nx.Graph()
    for a, b, rho in zip(edges["x"], edges["y"], edges["rho"], strict=True):
        graph.add_edge(("x", a), ("y", b), rho=float(rho), weight=abs(float(rho)))
    order = sorted(graph.nodes, key=lambda v: (-graph.degree(v), str(v)))[:MOST_NODES]
    graph = nx.Graph(graph.subgraph(order))
    graph.remove_nodes_from([v for v in list(graph.nodes) if graph.degree(v) == 0])
    single = max(d for _, d in graph.degree()) == 1
    if single:
        order = [v for edge in list(graph.edges)[:MOST_ROWS] for v in edge]
        graph = nx.Graph(graph.subgraph(order))
    place = _rows(graph) if single else _layout(graph)
    for a, b, data in graph.edges(data=True):
        (x0, y0), (x1, y1) = place[a], place[b]
        dashes = "-" if data["rho"] > 0 else (0, (2, 2))
        axes.plot([x0, x1], [y0, y1], color=MUTED, alpha=0.55, linewidth=0.7, linestyle=dashes, zorder=1)
    for side, colour, marker in (("x", ACCENT, "o"), ("y", WARM, "s")):
        nodes = [v for v in graph.nodes if v[0] == side]
        xy = np.array([place[v] for v in nodes]).reshape(-1, 2)
        axes.scatter(xy[:, 0], xy[:, 1], c=colour, marker=marker, s=20, linewidths=0.6, edgecolors=PAPER, zorder=2)
    if single:
        for node, (x, y) in place.items():
            side = "right" if x < 0 else "left"
            axes.text(x * 1.12, y, short_name(node[1], 24), ha=side, va="center", fontsize=6.5, color=INK)
    else:
        _name(axes, [v for v in order if v in graph], place)


def _rows(graph: nx.Graph) -> dict[tuple[str, str], np.ndarray]:
    """Pairs that share nothing, one below the other."""
    edges = list(graph.edges)
    heights = np.linspace(0.95, -0.95, max(len(edges), 2))
    place = {}
    for ends, y in zip(edges, heights, strict=False):
        for node in ends:
            place[node] = np.array([-0.3 if node[0] == "x" else 0.3, y])
    return place


def _layout(graph: nx.Graph) -> dict[tuple[str, str], np.ndarray]:
    """Places in -1..1."""
    place = nx.spring_layout(graph, seed=0, k=2.2 / np.sqrt(max(len(graph), 1)), iterations=120, weight=None)
    xy = np.array(list(place.values()))
    middle, reach = (xy.max(axis=0) + xy.min(axis=0)) / 2, np.maximum(np.ptp(xy, axis=0) / 2, 1e-9)
    return {v: (np.asarray(p) - middle) / reach for v, p in place.items()}


def _name(axes: Axes, nodes: Sequence[tuple[str, str]], place: Mapping[tuple[str, str], np.ndarray]) -> None:
    """Names above or below their feature, best connected first, none over another name or feature."""
    taken = [(p[0] - 0.045, p[0] + 0.045, p[1] - 0.05, p[1] + 0.05) for p in place.values()]
    named = 0
    for node in nodes:
        text = short_name(node[1], 20)
        x, y = place[node]
        half, tall = 0.026 * len(text) + 0.02, 0.13
        own = (x - 0.045, x + 0.045, y - 0.05, y + 0.05)
        for low in (y + 0.055, y - 0.055 - tall):
            centre = float(np.clip(x, -1.25 + half, 1.25 - half))
            box = (centre - half, centre + half, low, low + tall)
            if low + tall > 1.2 or low < -1.2 or any(_meet(box, t) for t in taken if t != own):
                continue
            taken.append(box)
            axes.text(centre, low + tall / 2, text, ha="center", va="center", fontsize=6.5, color=INK, zorder=3)
            named += 1
            break
        if named == MOST_NAMED:
            return


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return bool(a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3])


@themes
def intervals(rows: pd.DataFrame, *, names: str, unit: str, marginal: str | None = None) -> Figure:
    """Correlations with their intervals, a row each; hollow: without the design.

    Parameters
    ----------
    rows
        `rho`, `lower`, `upper`, and the columns named below.
    names
        Column of what stands in a row.
    unit
        What the correlation is called.
    marginal
        Column of the correlation without the design.
    """
    if rows.empty:
        return note("There is nothing to rank.")
    figure = blank(WIDTH * 0.8, 0.6 + 0.19 * len(rows))
    axes = figure.subplots()
    place = np.arange(len(rows))
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.hlines(place, rows["lower"], rows["upper"], color=ACCENT, linewidth=1.4, alpha=0.6)
    axes.plot(rows["rho"], place, "o", color=ACCENT, markersize=4)
    if marginal is not None:
        axes.plot(rows[marginal], place, "o", color=PAPER, markeredgecolor=WARM, markersize=4, markeredgewidth=1)
    frameless(axes, grid="x")
    axes.set(yticks=place, ylim=(len(rows) - 0.4, -0.6), xlim=(-1.02, 1.02))
    axes.set_yticklabels([short_name(n, 40) for n in rows[names]], color=INK)
    axes.set_xlabel(unit)
    return figure
