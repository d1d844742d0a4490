"""Samples in two dimensions, and the density of every latent dimension by class."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter1d

from isthmus.errors import DataError
from isthmus.plot.groups import Groups, Kind, binned, grouped, shown
from isthmus.plot.style import (
    CLASSES,
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

MOST_DIMENSIONS = 12
MOST_RIDGES = 12
GRID_POINTS = 64


@themes
def embedding_scatter(xy: pd.DataFrame, colours: pd.Series, label: str, *, kind: Kind = "categorical") -> Figure:
    """Samples in two dimensions, coloured by an annotation; at most 20,000 of them are drawn.

    Parameters
    ----------
    xy
        n x 2, its columns named as the axes shall be.
    colours
        The annotation, (n,), in the order of `xy`; a missing value is drawn hollow and grey.
    label
        What the annotation is called.
    kind
        Whether the annotation is classes or numbers.

    Raises
    ------
    DataError
        There are not two columns, or not as many annotations as samples.
    """
    if xy.shape[1] != 2 or len(colours) != len(xy):
        met = f"{xy.shape[0]} x {xy.shape[1]} and {len(colours)} annotations"
        raise DataError("a scatter plot takes two columns and an annotation per sample", where=label, met=met)
    if xy.empty:
        return note("No sample is embedded.")
    some = shown(len(xy))
    points = xy.to_numpy(dtype=float)[some]
    figure = blank(WIDTH, 4.2)
    axes = figure.subplots()
    size = float(np.clip(400 / np.sqrt(len(points)), 3, 32))
    handles = (_by_class if kind == "categorical" else _by_number)(axes, points, colours.iloc[some], size)
    axes.set(xlabel=printable(xy.columns[0]), ylabel=printable(xy.columns[1]), xticks=[], yticks=[])
    axes.spines[:].set_visible(True)
    figure.legend(handles=handles, title=printable(label), loc="outside right upper", alignment="left")
    return figure


def _mark(code: int) -> tuple[str, str]:
    """Face and rim of a class: filled, hollow, or with a dark rim, in turn every eight classes."""
    colour = CLASSES[code % len(CLASSES)]
    return ((colour, PAPER), (PAPER, colour), (colour, INK))[code // 8 % 3]


def _dots(axes: Axes, points: np.ndarray, face: str, edge: str, size: float) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=size, c=face, edgecolors=edge, linewidths=0.4 if edge == PAPER else 0.9)


def _handle(name: str, face: str, edge: str) -> Line2D:
    return Line2D([], [], linestyle="none", marker="o", markersize=4.5, color=face, markeredgecolor=edge, label=name)


def _by_class(axes: Axes, points: np.ndarray, labels: pd.Series, size: float) -> list[Line2D]:
    groups = grouped(labels)
    handles = []
    if (groups.codes < 0).any():
        _dots(axes, points[groups.codes < 0], PAPER, MUTED, size * 0.7)
    for k, name in enumerate(groups.names):
        face, edge = (MUTED, PAPER) if groups.merged and k == len(groups.names) - 1 else _mark(k)
        _dots(axes, points[groups.codes == k], face, edge, size)
        handles.append(_handle(f"{printable(name, 26)} ({groups.counts[k]:,})", face, edge))
    if missing := int((groups.codes < 0).sum()):
        handles.append(_handle(f"missing ({missing:,})", PAPER, MUTED))
    return handles


def _by_number(axes: Axes, points: np.ndarray, values: pd.Series, size: float) -> list[Line2D]:
    codes, low, high = binned(values)
    if (codes < 0).any():
        _dots(axes, points[codes < 0], PAPER, MUTED, size * 0.7)
    handles = []
    for k, colour in enumerate(RAMP):
        if (codes == k).any():
            _dots(axes, points[codes == k], colour, PAPER, size)
        if k % 2 == 0 and np.isfinite(low):
            handles.append(_handle(number(low + (high - low) * k / (len(RAMP) - 1)), colour, PAPER))
    if missing := int((codes < 0).sum()):
        handles.append(_handle(f"missing ({missing:,})", PAPER, MUTED))
    return handles[::-1]


@themes
def ridgelines(z: np.ndarray, classes: pd.Series, names: list[str]) -> Figure:
    """Density of each latent dimension, a ridge per class, with the share of variance that lies between classes.

    Parameters
    ----------
    z
        Embedding, n x d. Beyond 12 dimensions, the 12 with the largest share between classes are shown.
    classes
        The label, (n,); samples without one are left out; beyond 12 classes, the rarest are drawn as one.
    names
        Names of the latent dimensions, (d,).

    Raises
    ------
    DataError
        `classes` or `names` do not fit `z`.
    """
    if z.ndim != 2 or len(classes) != len(z) or len(names) != z.shape[1]:
        met = f"{z.shape}, {len(classes)} labels, {len(names)} names"
        raise DataError("embedding, labels and names do not fit each other", where="ridge lines", met=met)
    groups = grouped(classes, MOST_RIDGES)
    if not groups.names or z.shape[1] == 0:
        return note("No sample has a label.")
    shares = np.array([between_share(column, groups.codes) for column in z.T])
    chosen = np.sort(np.argsort(-np.nan_to_num(shares), kind="stable")[:MOST_DIMENSIONS])
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = blank(WIDTH, 0.2 + rows * (0.55 + 0.19 * len(groups.names)))
    grid = figure.subplots(rows, columns, squeeze=False)
    for k, axes in enumerate(grid.flat):
        if k >= len(chosen):
            axes.set_axis_off()
            continue
        _ridges(axes, z[:, chosen[k]], groups)
        axes.set_title(printable(names[chosen[k]], 56 // columns), fontsize=8)
        axes.set_title(f"η² {shares[chosen[k]]:.2f}", loc="right", fontsize=7, fontweight="normal")
        axes.set_yticks(range(len(groups.names)))
        axes.set_yticklabels([printable(n, 16) for n in groups.names] if k % columns == 0 else [])
    return figure


def between_share(values: np.ndarray, codes: np.ndarray) -> float:
    """Share of a dimension's variance that lies between classes (eta squared, 0..1; NaN without variance)."""
    known = (codes >= 0) & np.isfinite(values)
    x, k = values[known].astype(float), codes[known]
    if len(x) == 0 or (total := float(((x - x.mean()) ** 2).sum())) == 0:
        return float("nan")
    counts = np.bincount(k)
    means = np.bincount(k, x) / np.maximum(counts, 1)
    return float((counts * (means - x.mean()) ** 2).sum()) / total


def density(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Density on an even grid, by counting into bins and smoothing with Silverman's width; integrates to one."""
    edges = np.linspace(low, high, GRID_POINTS + 1)
    step = edges[1] - edges[0]
    counts, _ = np.histogram(np.clip(values, low, high), bins=edges)
    spread = min(float(values.std()), float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.349 or np.inf)
    width = max(0.9 * spread * len(values) ** -0.2 / step, 1.0)
    smooth: np.ndarray = gaussian_filter1d(counts.astype(float), width, mode="constant")
    result: np.ndarray = smooth / (len(values) * step)
    return result


def _ridges(axes: Axes, values: np.ndarray, groups: Groups) -> None:
    """One ridge per class, the first on top, each as high as its own peak allows."""
    known = values[(groups.codes >= 0) & np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    pad = 0.08 * (high - low) or 1.0
    low, high = low - pad, high + pad
    x = np.linspace(low, high, GRID_POINTS)
    frameless(axes, grid="x")
    for k in range(len(groups.names) - 1, -1, -1):
        of_class = values[(groups.codes == k) & np.isfinite(values)]
        if not len(of_class):
            continue
        y = density(of_class, low, high)
        top = k - 1.35 * y / y.max()
        colour = MUTED if groups.merged and k == len(groups.names) - 1 else CLASSES[k]
        outline = np.r_[low, x, high], np.r_[k, top, k]
        axes.fill(*outline, facecolor=(colour, 0.5), edgecolor=colour, linewidth=0.9, zorder=3 + k)
    axes.set(xlim=(low, high), ylim=(len(groups.names) - 0.7, -1.5))
    axes.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
    axes.tick_params(axis="y", colors=INK, pad=2)
