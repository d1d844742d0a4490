"""Slides whose every pixel is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

MPP = 0.25
GLASS = (245, 244, 246)


def noise(height=1024, width=1536, seed=0):
    """An image in which no two places are alike."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def halved(x):
    h, w = x.shape[0] // 2, x.shape[1] // 2
    return np.rint(x[: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3).mean(axis=(1, 3))).astype(np.uint8)


def tissue(height=1024, width=1536, boxes=((200, 300, 500, 700),), seed=0):
    """Glass with boxes (top, left, bottom, right) of pink, noisy tissue."""
    rng = np.random.default_rng(seed)
    x = np.clip(np.array(GLASS) + rng.normal(0, 1.5, (height, width, 3)), 0, 255).astype(np.uint8)
    for top, left, bottom, right in boxes:
        size = (bottom - top, right - left, 3)
        x[top:bottom, left:right] = np.clip(np.array([190, 90, 160]) + rng.normal(0, 8, size), 0, 255).astype(np.uint8)
    return x


def pyramid(path: Path, x, levels=2, mpp=MPP):
    """A tiled TIFF of some levels, each half the one before, that openslide reads; without a scale if mpp is None."""
    import tifffile

    options = {"tile": (256, 256), "photometric": "rgb", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            scale = {} if mpp is None else {"resolution": (1e4 / mpp / 2**level,) * 2, "resolutionunit": "CENTIMETER"}
            file.write(x, subfiletype=int(level > 0), **options, **scale)
            x = halved(x)
    return path
