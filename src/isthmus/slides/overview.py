"""A thumbnail with the outline of the tissue and the tiles, to see at a glance what was taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw
from scipy import ndimage

from isthmus.data.write import atomic
from isthmus.slides.tiles import Tiles

OUTLINE, TILE = (0, 114, 178), (23, 25, 28)
"""Blue of Okabe and Ito, and ink: told apart by lightness as well as by hue on pink, purple and white."""
WIDE = 3
"""Pixels of the outline."""


def overview(
    image: UInt8[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], tiles: Tiles, size: tuple[int, int]
) -> Image.Image:
    """The thumbnail of a slide, tissue outlined in blue, every tile a thin dark square.

    Parameters
    ----------
    image, mask
        Thumbnail of the whole slide, and where it has tissue.
    tiles
        The tiles that were taken.
    size
        Width and height of level 0.
    """
    drawn = image.copy()
    drawn[mask ^ ndimage.binary_erosion(mask, iterations=WIDE)] = OUTLINE
    picture = Image.fromarray(drawn)
    pen = ImageDraw.Draw(picture)
    ratio = np.array([image.shape[1] / size[0], image.shape[0] / size[1]])
    corners = np.rint(np.concatenate([tiles.coords * ratio, (tiles.coords + tiles.side) * ratio - 1], axis=1))
    for left, top, right, bottom in corners.astype(int).tolist():
        pen.rectangle((left, top, max(right, left + 1), max(bottom, top + 1)), outline=TILE)
    return picture


def write_overview(picture: Image.Image, path: Path) -> None:
    """Write a picture, whole or not at all."""
    with atomic(path) as temporary:
        picture.save(temporary)
