"""Tiles of a slide at a requested scale: which of a regular grid hold tissue, written as TRIDENT and CLAM do.

The file is HDF5 with a dataset `coords`, N x 2, the upper left corner of each tile in pixels of level 0. Its attributes
are those of TRIDENT (https://github.com/mahmoodlab/TRIDENT, `coords_to_h5`; a magnification is 10 / microns per pixel
there), so that TRIDENT's own encoders read it; where the tiles are exactly those of a level of the pyramid, also those
of CLAM (https://github.com/mahmoodlab/CLAM), which reads pixels of a level and never resamples. Otherwise they are left
out: CLAM stops rather than read another scale.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from PIL import Image

from isthmus.data.bombs import damage
from isthmus.data.write import atomic
from isthmus.errors import DataError, RecipeError, closest
from isthmus.slides.slide import Slide
from isthmus.slides.tissue import tissue_mask

THUMBNAIL = 2048
"""Longer side of the thumbnail on which tissue is found."""
MOST_UPSAMPLED = 1.25
"""Enlargement up to which a tile is read from a slide that is coarser than asked."""
MICRON_MAGNIFICATION = 10.0
"""Magnification times microns per pixel, by TRIDENT's convention: 20x is 0.5."""
EXACT = 0.01
"""Share by which a level of the pyramid may differ from the scale asked to be taken for it."""


@dataclass(frozen=True)
class Tissue:
    """How tissue is found: areas in square microns, the threshold on saturation 0..255 (None: Otsu's)."""

    threshold: int | None = None
    speck: float | int = 5_000.0
    hole: float | int = 10_000.0


@dataclass(frozen=True)
class Tiles:
    """Square tiles of one slide.

    Attributes
    ----------
    coords
        N x 2, x and y of each upper left corner in pixels of level 0, row by row.
    size
        Side in pixels of what the encoder sees.
    side
        Side in pixels of level 0.
    mpp
        Microns per pixel of what the encoder sees; NaN where the slide's scale is not known.
    share
        N, which share of each tile is tissue; NaN where that was not measured.
    attributes
        Those of the dataset `coords`, as they are written.
    """

    coords: Int64[np.ndarray, "n 2"]
    size: int
    side: int
    mpp: float
    share: Float64[np.ndarray, " n"]
    attributes: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.coords)

    def write(self, path: str | Path) -> Path:
        """Write the file that TRIDENT's and our own encoders read; whole or not at all.

        Raises
        ------
        DataError
            The folder is not there, or may not be written to.
        """
        with atomic(path) as temporary, h5py.File(temporary, "w") as file:
            coords = file.create_dataset("coords", data=self.coords, maxshape=(None, 2))
            coords.attrs.update(self.attributes)
            file.create_dataset("tissue", data=self.share)
        return Path(path)


def tile(
    slide: Slide,
    *,
    mpp: float | int = 0.5,
    size: int = 256,
    overlap: int = 0,
    min_tissue: float | int = 0.5,
    tissue: Tissue | None = None,
) -> Tiles:
    """The tiles of a grid over a slide that hold enough tissue.

    Parameters
    ----------
    slide
        An open slide whose scale is known.
    mpp
        Microns per pixel of the tiles.
    size
        Side of a tile in pixels of that scale.
    overlap
        Pixels, of that scale, that neighbours share.
    min_tissue
        Least share of a tile that is tissue, 0..1; with 0 every tile of the grid is taken.
    tissue
        How tissue is found.

    Returns
    -------
    Tiles
        Those that lie wholly on the slide. With `side` = round(size mpp / slide's mpp) and the overlap scaled alike,
        corners stand at multiples of `side` - overlap in pixels of level 0.

    Raises
    ------
    DataError
        The slide does not say its scale, or is much coarser than asked.
    RecipeError
        A number is out of its range.
    """
    return plan(slide, mpp=mpp, size=size, overlap=overlap, min_tissue=min_tissue, tissue=tissue)[0]


def plan(
    slide: Slide, *, mpp: float | int, size: int, overlap: int, min_tissue: float | int, tissue: Tissue | None
) -> tuple[Tiles, UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """As `tile`, with the thumbnail and the mask on which tissue was found."""
    _check(size, overlap, float(min_tissue))
    found = tissue or Tissue()
    scale = _scale(slide, float(mpp))
    side, step = round(size * scale), round(size * scale) - round(overlap * scale)
    image = slide.thumbnail(THUMBNAIL)
    micron = float(mpp) / scale * slide.size[0] / image.shape[1]
    mask = tissue_mask(
        image, threshold=found.threshold, speck=found.speck / micron**2, hole=found.hole / micron**2
    )  # fmt: skip
    coords = grid(slide.size, side, step)
    share = tissue_share(mask, coords, side, slide.size)
    kept = share >= min_tissue - 1e-9
    settings = {"mpp": float(mpp), "size": size, "overlap": overlap, "min_tissue": float(min_tissue)}
    attributes = _attributes(slide, settings, found, side)
    seen = float(mpp) * side / (size * scale)
    return Tiles(coords[kept], size, side, seen, share[kept], attributes), image, mask


def _check(size: int, overlap: int, min_tissue: float) -> None:
    if not 8 <= size <= 8192:
        raise RecipeError("is no side of a tile, in pixels", where="size", met=size, wanted="8 to 8192")
    if not 0 <= overlap < size:
        raise RecipeError("leaves no step between tiles", where="overlap", met=overlap, wanted=f"0 to {size - 1}")
    if not 0 <= min_tissue <= 1:
        raise RecipeError("is no share", where="min_tissue", met=min_tissue, wanted="0 to 1")


def _scale(slide: Slide, mpp: float) -> float:
    """Pixels of level 0 along the side of a pixel of the tiles."""
    if not (mpp > 0 and math.isfinite(mpp)):
        raise RecipeError("is no scale, in microns per pixel", where="mpp", met=mpp, wanted="a positive number")
    if slide.mpp is None:
        power = slide.properties.get("openslide.objective-power")
        usual = f"its objective is {power}x, which often is {10 / float(power):g}; " if power else ""
        hint = f"{usual}say it by --slide-mpp (open_slide(..., mpp=)), microns per pixel of level 0"
        raise DataError("does not say how many microns a pixel is", where=str(slide.path), hint=hint)
    scale = mpp / slide.mpp
    if scale < 1 / MOST_UPSAMPLED:
        raise DataError(
            "is coarser than the tiles asked for", where=str(slide.path), met=f"{slide.mpp:g} microns per pixel",
            wanted=f"{mpp:g}", hint="detail that was not scanned cannot be made up: ask for a larger --mpp",
        )  # fmt: skip
    return scale


def grid(size: tuple[int, int], side: int, step: int) -> Int64[np.ndarray, "n 2"]:
    """Corners of all tiles that lie wholly within a width and a height, row by row."""
    x, y = (np.arange(0, max(length - side + 1, 0), step, dtype=np.int64) for length in size)
    across, down = np.meshgrid(x, y)
    return np.stack([across.ravel(), down.ravel()], axis=1)


def tissue_share(
    mask: Bool[np.ndarray, "h w"], coords: Int64[np.ndarray, "n 2"], side: int, size: tuple[int, int]
) -> Float64[np.ndarray, " n"]:
    """Which share of each tile is tissue, a mask's pixels counted by the area that a tile covers of them.

    The integral of the mask is linear within each pixel along both axes, so its bilinear interpolation at the corners
    gives the area exactly.

    Parameters
    ----------
    mask
        Of a thumbnail of the whole slide.
    coords, side
        The tiles, in pixels of level 0.
    size
        Width and height of the slide.
    """
    height, width = mask.shape
    integral = np.zeros((height + 1, width + 1))
    integral[1:, 1:] = mask.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    ratio = np.array([width / size[0], height / size[1]])
    low, high = coords * ratio, (coords + side) * ratio
    area = (
        _between(integral, high[:, 0], high[:, 1]) - _between(integral, low[:, 0], high[:, 1])
        - _between(integral, high[:, 0], low[:, 1]) + _between(integral, low[:, 0], low[:, 1])
    )  # fmt: skip
    return np.asarray(np.clip(area / (ratio.prod() * side**2), 0.0, 1.0))


def _between(integral: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An integral image at positions between its corners, bilinear."""
    i = np.clip(np.floor(y).astype(np.int64), 0, integral.shape[0] - 2)
    j = np.clip(np.floor(x).astype(np.int64), 0, integral.shape[1] - 2)
    v, u = y - i, x - j
    upper = integral[i, j] * (1 - u) + integral[i, j + 1] * u
    lower = integral[i + 1, j] * (1 - u) + integral[i + 1, j + 1] * u
    return np.asarray(upper * (1 - v) + lower * v)


def _attributes(slide: Slide, settings: dict[str, Any], tissue: Tissue, side: int) -> dict[str, Any]:
    """What is written beside the coordinates."""
    import isthmus

    mpp, size = settings["mpp"], settings["size"]
    found = {
        "patch_size": size,
        "patch_size_level0": side,
        "level0_magnification": MICRON_MAGNIFICATION / float(slide.mpp or math.nan),
        "target_magnification": MICRON_MAGNIFICATION / mpp,
        "overlap": settings["overlap"],
        "name": slide.name,
        "level0_width": slide.size[0],
        "level0_height": slide.size[1],
        "mpp": mpp,
        "level0_mpp": float(slide.mpp or math.nan),
        "min_tissue": settings["min_tissue"],
        "tissue": json.dumps({"threshold": tissue.threshold, "speck": tissue.speck, "hole": tissue.hole}),
        "isthmus_version": isthmus.__version__,
    }
    level = slide.best_level(side / size)
    if abs(side / slide.downsamples[level] / size - 1) < EXACT:
        downsample = slide.downsamples[level]
        found |= {
            "patch_level": level,
            "downsample": np.array([downsample, downsample]),
            "downsampled_level_dim": np.array(slide.levels[level]),
            "level_dim": np.array(slide.levels[level]),
        }
    return found


def read_tile(slide: Slide, at: tuple[int, int], *, side: int, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """The pixels of one tile: from the best level of the pyramid, reduced where that is finer.

    Parameters
    ----------
    slide
        An open slide.
    at
        x and y of its corner in pixels of level 0.
    side
        Its side in pixels of level 0.
    size
        Its side in pixels of what is returned.
    """
    level = slide.best_level(side / size)
    wide = side / slide.downsamples[level]
    if abs(wide - size) < 0.5 or abs(wide / size - 1) < EXACT / 2:
        return slide.read_region(at, level, (size, size))
    pixels = math.ceil(wide - 1e-6)
    image = Image.fromarray(slide.read_region(at, level, (pixels, pixels)))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=(0.0, 0.0, wide, wide)))


# ---- reading


def read_tiles(path: str | Path, slide: Slide | None = None) -> Tiles:
    """Coordinates that we, TRIDENT or CLAM wrote.

    Parameters
    ----------
    path
        HDF5 with a dataset `coords` and its attributes.
    slide
        The slide; needed for CLAM's coordinates, whose scale is that of one of its levels.

    Raises
    ------
    DataError
        The file is damaged, has no coordinates or does not say the size of a tile, or is of another slide.
    """
    where = Path(path)
    if not where.is_file():
        raise DataError("there are no tiles", where=str(path), hint="make them by: isthmus slides tile")
    with damage(where, "HDF5"), h5py.File(where, "r") as file:
        if "coords" not in file:
            raise DataError("holds no coordinates", where=str(path), hint=closest("coords", file))
        coords, attributes = file["coords"][()], dict(file["coords"].attrs)
        share = file["tissue"][()] if "tissue" in file else np.full(len(coords), np.nan)
    coords = coords[0] if coords.ndim == 3 and coords.shape[0] == 1 else coords
    coords = coords.reshape(0, 2) if coords.size == 0 else coords
    if coords.ndim != 2 or coords.shape[1] != 2 or coords.dtype.kind not in "iuf":
        raise DataError("holds no coordinates, N x 2", where=str(path), met=f"{coords.shape} {coords.dtype}")
    size, side = _sizes(attributes, slide, where)
    mpp = _level0_mpp(attributes, slide) * side / size
    tiles = Tiles(coords.astype(np.int64), size, side, mpp, np.zeros(len(coords)), _plain_attributes(attributes))
    _check_slide(tiles, slide, where)
    share = share if share.shape == (len(coords),) else np.full(len(coords), np.nan)
    return replace(tiles, share=share.astype(np.float64))


def _sizes(attributes: dict[str, Any], slide: Slide | None, path: Path) -> tuple[int, int]:
    """Sides of a tile in pixels of what the encoder sees, and of level 0."""
    known = {k: _real(attributes.get(k)) for k in
             ("patch_size", "patch_size_level0", "level0_magnification", "target_magnification", "patch_level",
              "custom_downsample")}  # fmt: skip
    size, source, target = known["patch_size"], known["level0_magnification"], known["target_magnification"]
    if size is None:
        raise DataError("does not say the size of a tile", where=str(path), wanted="the attribute patch_size")
    if "isthmus_version" in attributes and known["patch_size_level0"]:
        return int(size), int(known["patch_size_level0"])
    if source and target:  # TRIDENT rounds patch_size_level0 down, but reads tiles of this side
        return int(size), round(size * source / target)
    if known["patch_size_level0"]:
        return int(size), int(known["patch_size_level0"])
    if known["patch_level"] is None or slide is None:
        wanted = "TRIDENT's target_magnification, or CLAM's patch_level and the slide"
        raise DataError("does not say the scale of its tiles", where=str(path), wanted=wanted)
    level = int(known["patch_level"])
    if not 0 <= level < len(slide.levels):
        raise DataError("names a level that the slide lacks", where=str(path), met=level, wanted=f"{slide.name}'s")
    return int(size), round(size * slide.downsamples[level] * (known["custom_downsample"] or 1))


def _real(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _level0_mpp(attributes: dict[str, Any], slide: Slide | None) -> float:
    """Microns per pixel of level 0: as tiled, by the slide, by the magnification; NaN where nothing says."""
    magnification = _real(attributes.get("level0_magnification"))
    if said := _real(attributes.get("level0_mpp")):
        return said
    if slide is not None and slide.mpp:
        return slide.mpp
    return MICRON_MAGNIFICATION / magnification if magnification else math.nan


def _plain_attributes(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes of another tool without the folder of the machine that it ran on."""
    return {k: v for k, v in attributes.items() if k not in ("savetodir", "save_path")}


def _check_slide(tiles: Tiles, slide: Slide | None, path: Path) -> None:
    """An error where tiles lie outside the slide that they are said to be of."""
    if tiles.size < 1 or tiles.side < 1:
        raise DataError("has tiles of no size", where=str(path), met=tiles.side)
    if slide is None or not len(tiles):
        return
    low, high = tiles.coords.min(axis=0), tiles.coords.max(axis=0)
    if (low < 0).any() or (high >= np.array(slide.size)).any():
        met, wanted = f"{tuple(high.tolist())}", f"within {slide.size[0]} x {slide.size[1]} pixels"
        raise DataError(f"has tiles that lie outside {slide.path.name}", where=str(path), met=met, wanted=wanted)
