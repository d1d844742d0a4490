"""Where a slide has tissue: Otsu's threshold on the saturation of a thumbnail, small holes filled, specks removed.

Glass is grey, stained tissue is coloured. Otsu (1979, IEEE Transactions on Systems, Man, and Cybernetics 9:62-66) picks
the threshold that separates best, which is always some threshold: a slide without tissue, or full of it, is split just
the same. A least saturation guards against the first; for the second a threshold can be given.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageFilter
from scipy import ndimage

LEAST = 12
"""Saturation (0..255) below which nothing is tissue, whatever Otsu says: noise and tint of the glass."""
DARKEST = 40
"""Brightness (0..255) below which a pixel is ink, a border or a fold: the saturation of black is noise."""
BLUR = 1.0
"""Standard deviation, in pixels, of the Gaussian that takes out the noise of single pixels before the threshold."""


def saturation(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """Saturation of HSV, 0..255: 255 (max - min) / max over the three colours; black has none."""
    high = image.max(axis=2).astype(np.float32)
    low = image.min(axis=2).astype(np.float32)
    share = np.divide(high - low, high, out=np.zeros_like(high), where=high > 0)
    return np.asarray(np.rint(255 * share).astype(np.uint8))


def otsu(values: UInt8[np.ndarray, ...]) -> int:
    """The threshold t for which `values <= t` and `values > t` differ most: the largest variance between both.

    Of equal thresholds the smallest; of values that are all the same, that value.
    """
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    levels = np.arange(256)
    below, above = counts.cumsum(), counts.sum() - counts.cumsum()
    sums = (counts * levels).cumsum()
    if not (both := (below > 0) & (above > 0)).any():
        return int(values.ravel()[0]) if values.size else 0
    difference = np.zeros(256)
    difference[both] = sums[both] / below[both] - (sums[-1] - sums[both]) / above[both]
    return int(np.argmax(np.where(both, below * above * difference**2, -1.0)))


def tissue_mask(
    image: UInt8[np.ndarray, "h w 3"],
    *,
    threshold: int | None = None,
    speck: float | int = 0,
    hole: float | int = 0,
) -> Bool[np.ndarray, "h w"]:
    """Which pixels of a thumbnail are tissue.

    Parameters
    ----------
    image
        RGB.
    threshold
        Saturation (0..255) above which a pixel is tissue; by Otsu where not given, and at least 12.
    speck
        Areas of tissue smaller than this many pixels are dropped (they hang together by edges or corners).
    hole
        Gaps smaller than this many pixels that tissue encloses are filled (they hang together by edges).
    """
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(BLUR)))
    saturated = saturation(blurred)
    bright = blurred.max(axis=2) >= DARKEST
    if threshold is None:
        threshold = max(otsu(saturated[bright]), LEAST) if bright.any() else 255
    mask = (saturated > threshold) & bright
    mask |= _smaller(~mask, hole, diagonal=False, inner=True)
    return np.asarray(mask & ~_smaller(mask, speck, diagonal=True, inner=False))


def _smaller(mask: np.ndarray, pixels: float | int, *, diagonal: bool, inner: bool) -> np.ndarray:
    """The connected parts of a mask with fewer pixels; only those that do not touch the border where `inner`."""
    parts, n = ndimage.label(mask, structure=np.ones((3, 3)) if diagonal else None)
    small = np.bincount(parts.ravel(), minlength=n + 1) < pixels
    if inner:
        small[np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))] = False
    small[0] = False
    return np.asarray(small[parts])
