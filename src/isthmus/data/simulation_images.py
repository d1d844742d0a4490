"""Images of a simulated cohort: soft blobs whose place, size and brightness show the shared factors.

Every four shared factors make one blob: horizontal place, vertical place, size, brightness.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from isthmus.data.simulation_settings import Simulation

GRAIN = 0.02
"""Standard deviation of the noise of a pixel."""


def draw_images(s: Simulation, factors: np.ndarray) -> np.ndarray:
    """Images n x H x W x 1, float32 in 0..1, of shared factors n x d."""
    side = int(s.images or 0)
    blobs = -(-factors.shape[1] // 4)
    standard = (factors - factors.mean(axis=0)) / np.maximum(factors.std(axis=0), 1e-12)
    share = np.full((len(factors), 4 * blobs), 0.5)
    share[:, : factors.shape[1]] = ndtr(standard)
    axis = (np.arange(side) + 0.5) / side
    image = np.zeros((len(factors), side, side))
    for blob in range(blobs):
        across, down, size, bright = (share[:, 4 * blob + i, None] for i in range(4))
        width = 0.06 + 0.12 * size
        row = np.exp(-(((axis - 0.2 - 0.6 * down) / width) ** 2) / 2)
        column = np.exp(-(((axis - 0.2 - 0.6 * across) / width) ** 2) / 2)
        image = np.maximum(image, (0.3 + 0.6 * bright)[:, :, None] * row[:, :, None] * column[:, None, :])
    image += GRAIN * s.rng("image").normal(size=image.shape)
    return np.clip(image, 0, 1).astype(np.float32)[..., None]
