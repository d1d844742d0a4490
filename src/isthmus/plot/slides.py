"""Weights of tiles over a slide."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from isthmus.plot.style import INK, MUTED, WIDTH, blank, note, printable, themes

MAP, VEIL = "viridis", 0.62
"""Colours that are told apart in the order of their lightness, by any eye, and how much they cover of the slide."""
SHARES = (1.0, 99.0)
"""Percentiles between which colours run; beyond, they stay."""


@themes
def slide_heatmap(
    thumbnail: np.ndarray,
    weights: np.ndarray,
    *,
    label: str,
    title: str = "",
    micron: float | None = None,
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
    """
    known = weights[np.isfinite(weights)]
    if not known.size:
        return note("No tile has a weight.")
    low, high = np.percentile(known, SHARES)
    norm = Normalize(float(low), float(high) if high > low else float(low) + 1e-9)
    tall, wide = thumbnail.shape[:2]
    height = float(np.clip((WIDTH - 1) / 2 * tall / wide, 1.2, 7.5))
    figure = blank(WIDTH, height + 0.4)
    left, right = figure.subplots(1, 2)
    left.imshow(thumbnail, interpolation="antialiased")
    grey = thumbnail.mean(axis=2)
    right.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    shown = right.imshow(
        np.ma.masked_invalid(weights), cmap=MAP, norm=norm, alpha=VEIL, interpolation="nearest"
    )  # fmt: skip
    for axes in (left, right):
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    left.set_title(printable(title, 40))
    if micron:
        _scale(left, wide, tall, micron)
    beyond = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    extend = beyond[bool(known.min() < norm.vmin), bool(known.max() > norm.vmax)]
    bar = figure.colorbar(shown, ax=right, fraction=0.05, pad=0.02, extend=extend, aspect=30)
    bar.set_label(printable(label, 60), color=MUTED)
    bar.solids.set_alpha(1.0)  # type: ignore[union-attr]
    bar.outline.set_visible(False)
    return figure


def _scale(axes: Axes, wide: int, tall: int, micron: float) -> None:
    """A bar of a round length, about a fifth of the slide's width, below the slide."""
    room = wide * micron / 5
    power = 10.0 ** np.floor(np.log10(room))
    length = power * max(k for k in (1, 2, 5) if k * power <= room)
    words = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    axes.plot([0, length / micron], [tall * 1.02] * 2, color=INK, lw=2, solid_capstyle="butt", clip_on=False)
    axes.text(length / micron + wide * 0.02, tall * 1.02, words, fontsize=7, color=INK, va="center")
    axes.set(xlim=(-0.5, wide - 0.5), ylim=(tall * 1.04, -0.5))
