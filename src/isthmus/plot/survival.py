"""Survival: curves of risk groups with numbers at risk, concordance beside chance, scores over time, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from isthmus.evaluate.survival.curves import KaplanMeier
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

MOST_MARKS = 150
"""Censored samples of a curve that are marked."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 1.5, 1, 1.5)))
MOST_PANELS = 3
KINDS = (("harrell", "Harrell's C"), ("uno", "Uno's C"))
COLOURS = {2: (0, 1), 3: (0, 4, 1)}
"""Blue and vermilion, with orange between; of more groups in order."""


@themes
def kaplan_meier(curves: Mapping[str, KaplanMeier], *, unit: str = "time", title: str = "") -> Figure:
    """Survival of some groups as steps with intervals, and how many of each are at risk.

    Parameters
    ----------
    curves
        Group -> its curve, in the order of the legend.
    unit
        What the time axis is called.
    title
        Above the curves, such as the p of a log-rank test.
    """
    if not curves:
        return note("No survival is known.")
    figure = blank(WIDTH, 3.1 + 0.17 * len(curves))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 0.22 + 0.17 * len(curves)])
    places = COLOURS.get(len(curves), tuple(range(len(curves))))
    end = max(float(c.time[-1]) for c in curves.values())
    for k, (name, curve) in enumerate(curves.items()):
        _steps(
            axes, curve, CLASSES[places[k % len(places)] % len(CLASSES)], DASHES[k % len(DASHES)], printable(name, 24)
        )
    axes.set(ylim=(-0.02, 1.04), xlim=(-0.02 * end, 1.02 * end), ylabel="survival")
    axes.set_title(printable(title, 110), fontsize=8)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=min(len(curves), 5), handlelength=2.4, borderaxespad=0.2
    )
    axes.tick_params(labelbottom=True)
    axes.set_xlabel(printable(unit, 60))
    ticks = [t for t in MaxNLocator(7).tick_values(0, end) if 0 <= t <= 1.01 * end]
    axes.set_xticks(ticks)
    _at_risk(below, curves, ticks)
    return figure


def _steps(axes: Axes, curve: KaplanMeier, colour: str, dash: Any, name: str) -> None:
    """A curve that holds to its last time, its interval, and marks where samples were censored."""
    if (seen := ~np.isnan(curve.lower)).any():
        time = np.append(curve.time[seen], curve.time[-1])  # where nobody is left, up to the last who was
        low, high = (np.append(ends[seen], ends[seen][-1]) for ends in (curve.lower, curve.upper))
        axes.fill_between(time, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
    axes.step(curve.time, curve.survival, where="post", color=colour, linestyle=dash, label=name, linewidth=1.5)
    flat = np.diff(curve.survival, prepend=1.0) == 0
    marks = flat & (curve.time > 0)
    if 0 < marks.sum() <= MOST_MARKS:
        axes.plot(curve.time[marks], curve.survival[marks], "|", color=colour, markersize=4, markeredgewidth=0.7)


def _at_risk(axes: Axes, curves: Mapping[str, KaplanMeier], ticks: list[float]) -> None:
    """A row of numbers per group under the time axis."""
    frameless(axes)
    axes.tick_params(labelbottom=False)
    for k, curve in enumerate(curves.values()):
        for t in ticks:
            left = np.searchsorted(curve.time, t, side="left")
            n = int(curve.at_risk[left]) if left < len(curve.time) else 0
            axes.text(t, k, f"{n:,}", ha="center", va="center", fontsize=7.5, color=INK)
    axes.set(yticks=range(len(curves)), ylim=(len(curves) - 0.4, -0.6))
    axes.set_yticklabels([printable(n, 24) for n in curves])
    axes.set_title("at risk", fontsize=7.5, fontweight="normal", color=MUTED, pad=2)


@themes
def concordance(scores: pd.DataFrame) -> Figure:
    """Harrell's and Uno's C of the model (first row, filled) and its baselines, with intervals and what chance gives.

    Parameters
    ----------
    scores
        A row per `representation`: `harrell`, `uno`, each with `_lower` and `_upper` where known; `null_lower` and
        `null_upper` of the first are the shaded band.
    """
    rows = scores[scores["harrell"].notna()]
    if rows.empty:
        return note("No pair of samples can be compared.")
    names = [printable(n, 30) for n in rows["representation"]]
    figure = blank(WIDTH, 0.75 + 0.24 * len(names))
    for axes, (kind, title) in zip(figure.subplots(1, 2, sharex=True, sharey=True), KINDS, strict=True):
        frameless(axes, grid="x")
        band = rows[["null_lower", "null_upper"]].iloc[0] if "null_lower" in rows else None
        if kind == "harrell" and band is not None and band.notna().all():
            axes.axvspan(band.iloc[0], band.iloc[1], color=SHADE, zorder=0)
        axes.axvline(0.5, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        for y, row in enumerate(rows.to_dict("records")):
            colour = MUTED if y else ACCENT
            axes.plot([row.get(f"{kind}_lower"), row.get(f"{kind}_upper")], [y, y], color=colour, linewidth=1.4)
            face = PAPER if y else colour
            axes.plot(row[kind], y, "o", color=face, markeredgecolor=colour, markersize=4.5)
            place: Any = {"transform": axes.get_yaxis_transform(), "ha": "left", "va": "center", "fontsize": 7}
            text = f"{row[kind]:.3f}" if np.isfinite(row[kind]) else "–"
            axes.text(1.02, y, text, color=MUTED if y else INK, **place)
        axes.set(yticks=range(len(names)), ylim=(len(names) - 0.4, -0.6))
        axes.set_title(title, fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_yticklabels(names)
    return figure


@themes
def over_time(curves: pd.DataFrame, *, unit: str = "time") -> Figure:
    """AUC and Brier score of every representation over time.

    Parameters
    ----------
    curves
        `representation` (the model first), `time`, `auc`, `brier`.
    unit
        What the time axis is called.
    """
    if curves.empty:
        return note("No score over time is known.")
    names = list(dict.fromkeys(curves["representation"]))
    figure = blank(WIDTH, 2.75)
    panels = figure.subplots(1, 2)
    for axes, (column, title, better) in zip(
        panels, (("auc", "AUC", "higher is better"), ("brier", "Brier score", "lower is better")), strict=True
    ):
        for k, name in enumerate(names):
            rows = curves[curves["representation"] == name]
            last = k and k == len(names) - 1
            style: Any = {"color": MUTED if last else CLASSES[k % len(CLASSES)], "linestyle": DASHES[k % len(DASHES)]}
            axes.plot(rows["time"], rows[column], label=printable(name, 30), linewidth=1.1 if k else 1.8, **style)
        axes.set_title(f"{title} ({better})", fontsize=8)
        axes.set_xlabel(printable(unit, 60))
        axes.xaxis.set_major_locator(MaxNLocator(6))
    low, high = panels[1].get_ylim()
    panels[1].set_ylim(min(low, 0.0), high)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(names), 4), handlelength=2.6)
    return figure


@themes
def calibration(table: pd.DataFrame, *, horizon: str = "the horizon") -> Figure:
    """Predicted against observed survival at one time, in groups of equal size, with intervals.

    Parameters
    ----------
    table
        As `evaluate.survival.calibration` gives, with `representation`, a panel each (three at most, the model first).
    horizon
        The time in words, for the axes.
    """
    rows = table[table["observed"].notna()] if len(table) else table
    if rows.empty:
        return note("No group was observed for so long.")
    names = list(dict.fromkeys(rows["representation"]))[:MOST_PANELS]
    figure = blank(WIDTH, 2.75)
    for k, (axes, name) in enumerate(
        zip(figure.subplots(1, MOST_PANELS, sharey=True), [*names, None, None], strict=False)
    ):
        if name is None:
            axes.set_visible(False)
            continue
        colour = MUTED if k else ACCENT
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        of = rows[rows["representation"] == name]
        for row in of.to_dict("records"):
            axes.plot([row["predicted"]] * 2, [row["lower"], row["upper"]], color=colour, linewidth=1.2)
        axes.plot(
            of["predicted"], of["observed"], "o", color=PAPER if k else colour, markeredgecolor=colour, markersize=4.5
        )
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_title(printable(name, 26), fontsize=8)
        axes.set_xlabel("predicted")
        axes.set_ylabel(f"observed at {printable(horizon, 30)}" if k == 0 else "")
    return figure
