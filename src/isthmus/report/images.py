"""Images in the report of a run: held-out samples, and what the model makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from isthmus.plot.images import image_rows
from isthmus.report.blocks import Block, FigureBlock, Section

MOST = 8
BRIGHT = 99.9
"""Percentile of the true pixels that is drawn as white: a single hot pixel does not darken all images."""


@dataclass(frozen=True)
class Pictures:
    """Images of some held-out samples, n x H x W x C each.

    `true` are the images themselves, `made` what the model makes of the samples by how it was asked (`reconstructed`,
    `from rna alone`). `r2` is that of each sample against the train mean image.
    """

    modality: str
    samples: Sequence[str]
    true: np.ndarray
    made: Mapping[str, np.ndarray]
    r2: np.ndarray


def images_section(found: Sequence[Pictures], *, of: str = "test samples") -> Section:
    """A figure per modality of images, of samples that `of` names; no blocks where there is none."""
    blocks: list[Block] = []
    for one in found:
        known = one.true[~np.isnan(one.true)] if one.true.dtype.kind == "f" else one.true
        limits = (float(known.min()), float(np.percentile(known, BRIGHT))) if known.size else (0.0, 1.0)
        titles = [f"{s} ({r:.2f})" for s, r in zip(one.samples, one.r2, strict=True)]
        figure = image_rows({"true": one.true, **one.made}, titles, limits=limits)
        caption = (
            f"{one.modality}: images of {of} and what the model makes of them, from the best to the worst "
            "reconstructed at equal steps of rank. In brackets: R² against the mean train image."
        )
        blocks.append(FigureBlock(figure, caption, f"images_{one.modality}"))
    return Section("Images", tuple(blocks))


def spread(r2: np.ndarray, most: int = MOST) -> np.ndarray:
    """Positions of some samples from the largest R2 to the smallest at equal steps of rank; NaN is left out."""
    order = np.argsort(-r2, kind="stable")
    order = order[~np.isnan(r2[order])]
    return np.asarray(order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))])
