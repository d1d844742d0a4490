"""Colour and texture of a tile as numbers: the baseline that a learnt encoder has to beat. No network, no torch.

Per tile, in this order: mean, standard deviation and skewness of red, green and blue; histograms of each in 8 bins
(shares); mean, standard deviation and 10 and 90 % quantiles of haematoxylin, eosin and DAB; mean, standard deviation
and 90 % quantile of the gradient of the grey image at full, half and quarter size.

Stains by Ruifrok and Johnston (2001, Analytical and Quantitative Cytology and Histology 23:291-299): optical densities
-log10((I + 1) / 256) times the inverse of the matrix of the stains' own optical densities, normalised.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, UInt8

STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical density of haematoxylin, eosin and DAB in red, green and blue."""
BINS = 8
SCALES = (1, 2, 4)
WIDTH = 9 + 3 * BINS + 12 + 3 * len(SCALES)
"""Features of a tile."""


def colour(tiles: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
    """Statistics of colour and texture, 54 of each tile.

    Parameters
    ----------
    tiles
        RGB.

    Returns
    -------
    Array
        Finite whatever the tile; each tile's own, whatever tiles stand beside it.
    """
    return np.stack([_one(t) for t in tiles]).astype(np.float32) if len(tiles) else np.zeros((0, WIDTH), np.float32)


def _one(x: np.ndarray) -> np.ndarray:
    counts = np.stack([np.bincount(np.ascontiguousarray(x[..., c]).ravel(), minlength=256) for c in range(3)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    stains = density(x).reshape(-1, 3)
    quantiles = np.quantile(stains, (0.1, 0.9), axis=0)
    texture = [_gradient(x.mean(axis=2) / 255, scale) for scale in SCALES]
    histograms = shares.reshape(3, BINS, -1).sum(axis=2).ravel()
    return np.concatenate([_moments(shares), histograms, stains.mean(0), stains.std(0), *quantiles, *texture])


def _moments(shares: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and skewness of each colour (0..1), from how often each of its 256 values is met.

    Skewness is 0 where nothing varies.
    """
    values = np.arange(256) / 255
    mean = shares @ values
    centred = values - mean[:, None]
    sd = np.sqrt((shares * centred**2).sum(axis=1))
    third = (shares * centred**3).sum(axis=1)
    return np.concatenate([mean, sd, np.divide(third, sd**3, out=np.zeros(3), where=sd > 1e-6)])


def density(x: UInt8[np.ndarray, "*shape 3"]) -> Float64[np.ndarray, "*shape 3"]:
    """How much haematoxylin, eosin and DAB each pixel holds, by optical density."""
    unit = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
    table = -np.log10((np.arange(256) + 1) / 256)
    return np.asarray(table[x] @ np.linalg.inv(unit))


def _gradient(grey: np.ndarray, scale: int) -> np.ndarray:
    """Mean, standard deviation and 90 % quantile of the gradient's length, on the image reduced by a whole factor."""
    side = grey.shape[0] // scale * scale
    small = grey[:side, :side].reshape(side // scale, scale, side // scale, scale).mean(axis=(1, 3))
    down, across = np.gradient(small)
    length = np.hypot(down, across)
    return np.array([length.mean(), length.std(), np.quantile(length, 0.9)])
