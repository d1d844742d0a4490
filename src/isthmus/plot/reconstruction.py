"""How well features are reconstructed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from isthmus.plot.style import ACCENT, INK, MUTED, WIDTH, blank, frameless, note, number, printable, themes

LOWEST = -1.0
BINS = 60
MOST_MODALITIES = 12


@themes
def reconstruction_by_feature(frame: pd.DataFrame) -> Figure:
    """Distribution over features of R2, a histogram per modality with its median.

    Parameters
    ----------
    frame
        A row per feature; columns `modality`, `r2`. Features whose R2 is NaN are left out and counted; those below
        -1 are counted in the first bin.
    """
    if frame.empty:
        return note("No feature was scored.")
    modalities = list(dict.fromkeys(frame["modality"]))[:MOST_MODALITIES]
    r2 = frame["r2"].to_numpy(dtype=float, na_value=np.nan)
    finite = r2[np.isfinite(r2)]
    low = float(np.clip(np.floor(10 * finite.min()) / 10, LOWEST, 0)) if len(finite) else LOWEST
    edges = np.linspace(low, 1, BINS + 1)
    figure = blank(WIDTH, 0.45 + 0.95 * len(modalities))
    grid = figure.subplots(len(modalities), 1, squeeze=False, sharex=True)
    for axes, modality in zip(grid.flat, modalities, strict=True):
        values = r2[(frame["modality"] == modality).to_numpy()]
        known = values[np.isfinite(values)]
        counts, _ = np.histogram(np.clip(known, low, 1), bins=edges)
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=ACCENT, alpha=0.75, linewidth=0)
        frameless(axes, grid="x")
        axes.spines["bottom"].set_visible(True)
        axes.set(xlim=(low, 1), yticks=[], ylim=(0, max(1, counts.max()) * 1.12))
        text = _count(len(values), len(values) - len(known))
        axes.set_title(f"{printable(modality)}", fontsize=8)
        if len(known):
            median = float(np.median(known))
            axes.axvline(np.clip(median, low, 1), color=INK, linewidth=1.2)
            text = f"median {number(median)} · {text}"
        axes.set_title(text, loc="right", fontsize=7.5, fontweight="normal", color=MUTED)
    beyond = " (the first bar holds all that is below)" if len(finite) and finite.min() < low else ""
    grid.flat[-1].set_xlabel(f"R² of a feature{beyond}")
    return figure


def _count(n: int, without: int) -> str:
    text = f"{n:,} feature{'s' if n != 1 else ''}"
    return text if not without else f"{text}, {without:,} without variance"
