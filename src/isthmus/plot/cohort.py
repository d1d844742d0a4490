"""Which samples have which modalities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from isthmus.plot.style import ACCENT, GRID, INK, WIDTH, blank, frameless, note, printable, themes

MOST_COMBINATIONS = 15


@themes
def presence(combinations: pd.DataFrame) -> Figure:
    """Samples of every combination of modalities: a matrix of dots and a bar per combination (UpSet, on its side).

    Parameters
    ----------
    combinations
        A row per combination; a bool column per modality and `samples`, its count. The 15 largest are drawn.

    Notes
    -----
    Lex et al. 2014, UpSet: visualization of intersecting sets, https://doi.org/10.1109/TVCG.2014.2346248.
    """
    modalities = [c for c in combinations.columns if c != "samples"]
    if combinations.empty or not modalities:
        return note("No sample was read.")
    rows = combinations.sort_values("samples", ascending=False, kind="stable").head(MOST_COMBINATIONS)
    has = rows[modalities].to_numpy(dtype=bool)
    counts = rows["samples"].to_numpy(dtype=float)
    height = len(rows)
    names = [printable(m, 18) for m in modalities]
    column = 0.12 + 0.072 * max(map(len, names))
    upright = column * len(names) <= WIDTH / 2
    left = column * len(names) if upright else min(0.3 * len(names), 0.6 * WIDTH)
    figure = blank(WIDTH, 0.35 + (0.2 if upright else column) + 0.24 * height)
    dots, bars = figure.subplots(1, 2, sharey=True, width_ratios=[left, WIDTH - left])
    for y, row in enumerate(has):
        inside = np.flatnonzero(row)
        if len(inside) > 1:
            dots.plot([inside[0], inside[-1]], [y, y], color=INK, linewidth=1.2)
        dots.scatter(np.flatnonzero(~row), np.full((~row).sum(), y), s=26, color=GRID, zorder=3)
        dots.scatter(inside, np.full(len(inside), y), s=26, color=INK, zorder=3)
        place: Any = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 7.5}
        bars.annotate(f"{counts[y]:,.0f}", (counts[y], y), **place)
    bars.barh(range(height), counts, height=0.6, color=ACCENT, linewidth=0)
    dots.set(xlim=(-0.6, len(modalities) - 0.4), ylim=(height - 0.5, -0.5), yticks=[])
    dots.xaxis.tick_top()
    dots.set_xticks(range(len(modalities)), names, rotation=0 if upright else 90, color=INK)
    bars.set(xlim=(0, max(float(counts.max()), 1) * 1.15))
    bars.set_xlabel("samples")
    frameless(dots)
    frameless(bars, grid="x")
    bars.tick_params(labelleft=False)
    return figure
