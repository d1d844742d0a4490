"""What attacks on a model find: ROC curves where they matter, scores of members and others, annotations inferred."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from isthmus.plot.style import CLASSES, INK, MUTED, PAPER, WIDTH, blank, frameless, note, printable, themes

FPR = 0.01
BINS = 40
OUTER = 0.005
"""Share of scores at either end that the histograms draw at their edge."""
KINDS = {
    "majority": ("majority or mean", "|", MUTED),
    "other annotations": ("other annotations", "s", CLASSES[4]),
    "data": ("data", "D", CLASSES[2]),
}


@themes
def curves(found: Mapping[str, tuple[np.ndarray, np.ndarray]], *, others: int) -> Figure:
    """ROC curves of membership on logarithmic axes, where few false alarms are to the left.

    Parameters
    ----------
    found
        Attack to false and true positive rates.
    others
        How many samples the false positive rates count: none is told below one of them.
    """
    if not found:
        return note("No attack was tried.")
    figure = blank(WIDTH, 3.2)
    axes = figure.subplots()
    low = min(0.5 / max(others, 1), FPR / 2)
    axes.plot([low, 1], [low, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), label="chance")
    for k, (name, (fpr, tpr)) in enumerate(found.items()):
        axes.plot(np.maximum(fpr, low), np.maximum(tpr, low), color=CLASSES[k], drawstyle="steps-post", label=name)
    axes.axvline(FPR, color=INK, linewidth=0.8, linestyle=":")
    axes.text(FPR, 1.02, "1 % false alarms", color=MUTED, fontsize=7, ha="center", va="bottom",
              transform=axes.get_xaxis_transform())  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(low, 1), ylim=(low, 1.05))
    ticks = [t for t in (0.001, 0.01, 0.1, 1.0) if t >= low]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [f"{t:g}" for t in ticks])
        axis.set_ticks([], minor=True)
    axes.set(xlabel="others taken for members", ylabel="members found")
    axes.legend(loc="lower right")
    return figure


@themes
def histograms(scores: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """How members and others score: a panel per attack; what does not overlap is given away.

    Parameters
    ----------
    scores
        Attack to (who is a member, score).
    """
    if not scores:
        return note("No attack was tried.")
    figure = blank(WIDTH, 2.4)
    grid = figure.subplots(1, len(scores), squeeze=False)
    for axes, (name, (member, score)) in zip(grid[0], scores.items(), strict=True):
        low, high = np.quantile(score, [OUTER, 1 - OUTER])
        edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
        for of, colour, label in ((~member, CLASSES[1], "others"), (member, CLASSES[0], "members")):
            values = np.clip(score[of], edges[0], edges[-1])
            axes.hist(values, bins=edges, density=True, histtype="step", color=colour, linewidth=1.3, label=label)
        axes.set_title(printable(name))
        axes.set(xlabel="score", yticks=[])
        axes.grid(visible=False)
    grid[0][0].set_ylabel("density")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return figure


@themes
def inferred(table: pd.DataFrame) -> Figure:
    """How well each annotation is predicted from embeddings, beside what is known without them.

    Parameters
    ----------
    table
        `annotation`, `metric`, `embedding`, `lower`, `upper`, `data`, `other annotations`, `majority`.
    """
    if table.empty:
        return note("No annotation was put to the test.")
    metrics = list(dict.fromkeys(table["metric"]))
    counts = [int((table["metric"] == m).sum()) for m in metrics]
    figure = blank(WIDTH, 0.9 + 0.27 * sum(counts) + 0.35 * len(counts))
    grid = figure.subplots(len(metrics), 1, squeeze=False, height_ratios=[c + 1 for c in counts])
    for axes, metric in zip(grid[:, 0], metrics, strict=True):
        rows = table[table["metric"] == metric].sort_values("embedding", kind="stable")
        y = np.arange(len(rows))
        low, high = rows["lower"].to_numpy(dtype=float), rows["upper"].to_numpy(dtype=float)
        axes.hlines(y, low, high, color=CLASSES[0], linewidth=1.6)
        axes.plot(rows["embedding"], y, "o", color=CLASSES[0], markersize=5, label="embedding")
        for column, (label, marker, colour) in KINDS.items():
            axes.plot(rows[column], y, marker, color=colour, markerfacecolor=PAPER, markersize=5, label=label,
                      linestyle="none")  # fmt: skip
        axes.set_yticks(y, [printable(a, 28) for a in rows["annotation"]])
        axes.set(xlabel="AUC" if metric == "auc" else "R²", ylim=(-0.6, len(rows) - 0.4))
        if metric == "r2":
            axes.set_xlim(left=max(-1.0, float(np.nanmin([low.min(), *rows[list(KINDS)].min()])) - 0.05))
        frameless(axes, grid="x")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=4)
    return figure
