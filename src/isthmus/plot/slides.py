"""Weights of tiles over a slide."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from isthmus.plot.style import INK, MUTED, WIDTH, blank, note, printable, themes

MAP, VEIL = "viridis", 0.62
"""Colours that are told apart in the order of their lightness, by any eye, and how much they cover of the slide."""
SHARES = (1.0, 99.0)
"""Percentiles between which colours run; beyond, they stay."""
BAR = 1.0
"""Inches for the scale of colours and its words."""


@themes
def slide_heatmap(
    thumbnail: np.ndarray,
    weights: np.ndarray,
    *,
    label: str,
    title: str = "",
    micron: float | None = None,
    middle: bool = False,
) -> Figure:
    """A slide, and beside it the same in grey under the colours of its weights.

    Parameters
    ----------
    thumbnail
        H x W x 3, uint8.
    weights
        H x W; NaN where no tile lies, which stays as it is.
    label
        What the weights are, beside the scale of colours.
    title
        Name of the slide.
    micron
        Microns that a pixel of the thumbnail spans, for a bar of scale; none where not given.
    middle
        Weights are over their mean: their scale is logarithmic, with 1 marked.
    """
    known = weights[np.isfinite(weights)]
    if not known.size:
        return note("No tile has a weight.")
    low, high = (float(p) for p in np.percentile(known, SHARES))
    norm = _norm(low, high, logarithmic=middle and low > 0)
    tall, wide = thumbnail.shape[:2]
    height = float(np.clip((WIDTH - BAR) / 2 * tall / wide, 1.6, 7.5))
    figure = blank(WIDTH, height + 0.45)
    left, right, bar = figure.subplots(1, 3, width_ratios=[1, 1, 0.03])
    left.imshow(thumbnail, interpolation="antialiased")
    right.imshow(thumbnail.mean(axis=2), cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    right.imshow(np.ma.masked_invalid(weights), cmap=MAP, norm=norm, alpha=VEIL, interpolation="nearest")
    for axes in (left, right):
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        _scale(axes, wide, tall, micron)
    left.set_title(printable(title, 40))
    beyond = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    extend = beyond[bool(known.min() < low), bool(known.max() > high)]
    legend = figure.colorbar(ScalarMappable(norm, MAP), cax=bar, extend=extend)
    legend.set_label(printable(label, 60), color=MUTED)
    legend.outline.set_visible(False)
    if isinstance(norm, LogNorm):
        legend.minorticks_off()
        legend.set_ticks(marks := _marks(low, high), labels=[f"{m:g}" for m in marks])
    return figure


def _marks(low: float, high: float) -> list[float]:
    """Powers of ten between two weights, with twos and fives where there is room."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    every = {k: [k * 10.0**d for d in decades if low <= k * 10.0**d <= high] for k in (1, 2, 5)}
    return every[1] if len(decades) > 4 else sorted(every[1] + every[2] + every[5])


def _norm(low: float, high: float, *, logarithmic: bool) -> Normalize:
    """From which weight to which colours run; of equal weights the middle one."""
    if not high > low:
        low, high = low - max(abs(low), 1e-9) / 2, low + max(abs(low), 1e-9) / 2
    return LogNorm(low, high) if logarithmic else Normalize(low, high)


def _scale(axes: Axes, wide: int, tall: int, micron: float | None) -> None:
    """A bar of a round length, about a fifth of the slide's width, below the slide; of no known scale only its room."""
    axes.set(xlim=(-0.5, wide - 0.5), ylim=(tall * 1.05, -0.5))
    if micron is None:
        return
    room = wide * micron / 5
    power = 10.0 ** np.floor(np.log10(room))
    length = power * max(k for k in (1, 2, 5) if k * power <= room)
    words = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    axes.plot([0, length / micron], [tall * 1.03] * 2, color=INK, lw=2, solid_capstyle="butt", clip_on=False)
    axes.text(length / micron + wide * 0.02, tall * 1.03, words, fontsize=7, color=INK, va="center")
