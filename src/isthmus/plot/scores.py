"""Scores of the model's embedding beside those of the baselines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from isthmus.plot.style import ACCENT, INK, MUTED, PAPER, WIDTH, blank, frameless, note, printable, themes

BASELINES = ("pca", "umap", "random", "raw", "mean", "train mean", "tsne", "ridge", "knn", "nearest", "measured")
PREFERRED = ("auc", "r2", "balanced_accuracy", "accuracy", "f1")
CHANCE = {"auc": 0.5, "r2": 0.0}
METRICS = {"auc": "AUC", "r2": "R²", "f1": "F1", "balanced_accuracy": "balanced accuracy"}
MOST_LABELS = 12


def is_baseline(representation: str) -> bool:
    """Whether a representation's name is that of a baseline rather than of the model."""
    return representation.lower().startswith(BASELINES)


def main_metric(summary: pd.DataFrame) -> pd.DataFrame:
    """Of every label, the rows of its first metric in the order of AUC, R2, balanced accuracy, accuracy, F1."""
    if summary.empty or "metric" not in summary:
        return summary
    rank = {metric: k for k, metric in enumerate(PREFERRED)}
    pairs = list(zip(summary["label"], summary["metric"], strict=True))
    best: dict[object, object] = {}
    for label, metric in pairs:
        if label not in best or rank.get(str(metric).lower(), 9) < rank.get(str(best[label]).lower(), 9):
            best[label] = metric
    return summary[[best[label] == metric for label, metric in pairs]]


def interval(summary: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper end: as given, else mean minus and plus one standard deviation, else NaN; (rows,) each."""
    mean = summary["mean"].to_numpy(dtype=float, na_value=np.nan)
    spread = _column(summary, "sd", np.full(len(mean), np.nan))
    return _column(summary, "lower", mean - spread), _column(summary, "upper", mean + spread)


def _column(summary: pd.DataFrame, name: str, otherwise: np.ndarray) -> np.ndarray:
    if name not in summary:
        return otherwise
    values = summary[name].to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.isfinite(values), values, otherwise)


@themes
def benchmark(summary: pd.DataFrame) -> Figure:
    """Score and interval of every representation, a row of panels per label and a column per learner.

    Parameters
    ----------
    summary
        A row per representation, label and learner; columns `representation`, `label`, `learner`, `mean`, and
        `lower` and `upper` or `sd`; of several metrics in `metric` one is drawn per label (see `main_metric`).
    """
    rows = main_metric(summary)
    if rows.empty:
        return note("No label was predicted.")
    labels = list(dict.fromkeys(rows["label"]))[:MOST_LABELS]
    learners = list(dict.fromkeys(rows["learner"]))
    names = list(dict.fromkeys(rows["representation"]))
    names = sorted(names, key=lambda n: is_baseline(str(n)))
    figure = blank(WIDTH, 0.3 + len(labels) * (0.62 + 0.185 * len(names)))
    grid = figure.subplots(len(labels), len(learners), squeeze=False, sharex="row")
    metrics = [_metric(rows[rows["label"] == label]) for label in labels]
    titles = [METRICS.get(m.lower(), printable(m, 24)) for m in metrics]
    for i, label in enumerate(labels):
        of_label = rows[rows["label"] == label]
        for j, learner in enumerate(learners):
            _panel(grid[i, j], of_label[of_label["learner"] == learner], names)
            name = learner_title(str(learner), metrics[i])
            grid[i, j].set_title(f"{printable(label, 20)} · {printable(name, 14)}", fontsize=8)
            grid[i, j].set_yticklabels([printable(n, 22) for n in names] if j == 0 else [])
            for tick, name in zip(grid[i, j].get_yticklabels(), names, strict=False):
                tick.set(color=MUTED if is_baseline(str(name)) else INK)
            grid[i, j].set_xlabel(titles[i] if i + 1 == len(labels) or titles[i + 1] != titles[i] else "")
        _limits(grid[i, 0], of_label, metrics[i])
    return figure


def learner_title(learner: str, metric: str) -> str:
    """What a learner is called: under the name of the logistic one, numbers are predicted by ridge regression."""
    return "ridge" if metric.lower() == "r2" and learner == "logistic" else learner


def _metric(rows: pd.DataFrame) -> str:
    return str(rows["metric"].iloc[0]) if "metric" in rows else "score"


def _panel(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    """A dot, its interval and its number per representation."""
    frameless(axes, grid="x")
    lower, upper = interval(rows)
    mean = rows["mean"].to_numpy(dtype=float, na_value=np.nan)
    for k, name in enumerate(rows["representation"]):
        y, baseline = names.index(name), is_baseline(str(name))
        colour = MUTED if baseline else ACCENT
        if not np.isfinite(mean[k]):
            continue
        if np.isfinite(lower[k]) and np.isfinite(upper[k]):
            axes.plot([lower[k], upper[k]], [y, y], color=colour, linewidth=1.4)
        axes.plot(mean[k], y, "o", color=PAPER if baseline else colour, markeredgecolor=colour, markersize=4.5)
        place: Any = {"transform": axes.get_yaxis_transform(), "ha": "left", "va": "center", "fontsize": 7}
        axes.text(1.02, y, f"{mean[k]:.3f}".replace("-", "\u2212"), color=MUTED if baseline else INK, **place)
    axes.set(yticks=range(len(names)), ylim=(len(names) - 0.4, -0.6))
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _limits(axes: Axes, rows: pd.DataFrame, metric: str) -> None:
    """One range for the panels of a label, with a line where chance stands."""
    mean = rows["mean"].to_numpy(dtype=float, na_value=np.nan)
    ends = np.concatenate([*interval(rows), mean])
    ends = ends[np.isfinite(ends)]
    if len(ends):
        low, high = float(ends.min()), float(ends.max())
        span = max(high - low, 0.02)
        axes.set_xlim(low - 0.08 * span, high + 0.08 * span)
    if (chance := CHANCE.get(metric.lower())) is not None and axes.get_xlim()[0] <= chance <= axes.get_xlim()[1]:
        for sibling in axes.get_shared_x_axes().get_siblings(axes):
            sibling.axvline(chance, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
