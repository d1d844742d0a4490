"""A slide: a pyramid of levels read by regions, whichever library opens the file.

Positions are in pixels of level 0, x to the right and y downwards; sizes in pixels of the level that is read. What lies
outside the slide, or is transparent, is white.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from isthmus.errors import DataError, InputError, MissingExtraError, shortened

log = logging.getLogger("isthmus.slides")
WSI = (".svs", ".ndpi", ".mrxs", ".dcm", ".scn", ".vms", ".vmu", ".bif", ".svslide")
"""Suffixes that only openslide reads."""
TIFF = (".tif", ".tiff")
PLAIN = (".png", ".jpg", ".jpeg")
SUFFIXES = (*WSI, *TIFF, *PLAIN)
MPP_RANGE = (0.02, 20.0)
"""Microns per pixel that a microscope gives; what a file says beyond that (72 dots per inch: 353) is no scale."""
MOST_PIXELS = 178_000_000
"""Pixels of an image that has to be read whole; pillow's own limit."""
BLOCK = 4096
"""Side of the largest region read at once for a thumbnail."""
WHITE = (255, 255, 255, 255)

Image8 = UInt8[np.ndarray, "h w 3"]
Reader = Callable[[tuple[int, int], int, tuple[int, int]], np.ndarray]


@dataclass(frozen=True)
class Slide:
    """An open slide; a context manager that closes it.

    Attributes
    ----------
    path, name
        The file, and its name without suffix: the sample id of what is made of it.
    levels
        Width and height of each level in pixels, the largest first.
    mpp
        Microns per pixel of level 0; None where the file does not say.
    properties
        What the file says of itself.
    reader
        (x, y), level, (width, height) -> RGB.
    close
        Let go of the file.
    """

    path: Path
    name: str
    levels: tuple[tuple[int, int], ...]
    mpp: float | None
    properties: Mapping[str, str]
    reader: Reader
    close: Callable[[], None]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of level 0."""
        return self.levels[0]

    @property
    def downsamples(self) -> tuple[float, ...]:
        """How many pixels of level 0 a pixel of each level spans, the mean of both axes."""
        width, height = self.size
        return tuple((width / w + height / h) / 2 for w, h in self.levels)

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def best_level(self, downsample: float | int) -> int:
        """The coarsest level that is at least as fine as asked (to 1 %), so that resampling only ever reduces."""
        fine = [i for i, d in enumerate(self.downsamples) if d <= downsample * 1.01]
        return max(fine, key=lambda i: self.downsamples[i], default=0)

    def read_region(self, at: tuple[int, int], level: int, size: tuple[int, int]) -> Image8:
        """A region as RGB.

        Parameters
        ----------
        at
            x and y of its corner in pixels of level 0; may lie outside.
        level
            The level to read.
        size
            Width and height in pixels of that level.

        Raises
        ------
        DataError
            The file is damaged there.
        """
        return self.reader(at, level, size)

    def thumbnail(self, longest: int = 2048) -> Image8:
        """The whole slide with its longer side at most so many pixels; every pixel the mean of those it covers."""
        width, height = self.size
        scale = max(1.0, max(width, height) / longest)
        out = (max(1, round(width / scale)), max(1, round(height / scale)))
        level = self.best_level(scale)
        found = np.empty((out[1], out[0], 3), np.uint8)
        across, down = self.levels[level][0] / out[0], self.levels[level][1] / out[1]
        step = max(1, int(BLOCK / max(across, down)))
        for y in range(0, out[1], step):
            for x in range(0, out[0], step):
                w, h = min(step, out[0] - x), min(step, out[1] - y)
                found[y : y + h, x : x + w] = self._reduced((x, y), (w, h), level, (across, down))
        return found

    def _reduced(
        self, at: tuple[int, int], size: tuple[int, int], level: int, ratio: tuple[float, float]
    ) -> np.ndarray:
        """A block of the thumbnail: the mean of the pixels of a level that each of its pixels covers."""
        left, top = at[0] * ratio[0], at[1] * ratio[1]
        right, bottom = (at[0] + size[0]) * ratio[0], (at[1] + size[1]) * ratio[1]
        x, y = math.floor(left + 1e-6), math.floor(top + 1e-6)
        w = min(math.ceil(right - 1e-6), self.levels[level][0]) - x
        h = min(math.ceil(bottom - 1e-6), self.levels[level][1]) - y
        corner = (round(x * self.size[0] / self.levels[level][0]), round(y * self.size[1] / self.levels[level][1]))
        region = self.read_region(corner, level, (w, h))
        if (w, h) == size:
            return region
        box = (max(left - x, 0.0), max(top - y, 0.0), min(right - x, w), min(bottom - y, h))
        return np.asarray(Image.fromarray(region).resize(size, Image.Resampling.BOX, box=box))


def open_slide(path: str | Path, *, mpp: float | int | None = None) -> Slide:
    """Open SVS, NDPI, MRXS, DICOM, pyramidal TIFF (openslide, extra `wsi`), or a plain PNG, JPEG or TIFF.

    Parameters
    ----------
    path
        The file; of a DICOM slide any of its files, or the folder with them.
    mpp
        Microns per pixel of level 0, in place of what the file says.

    Raises
    ------
    DataError
        There is no such file, it is damaged, or of a kind that is not known.
    MissingExtraError
        The file needs openslide, which is not installed.
    """
    file = _dicom(Path(path))
    if not file.is_file():
        raise DataError("there is no such file", where=str(path))
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError("is no image of a known kind", where=str(path), met=suffix, wanted=", ".join(SUFFIXES))
    slide = _whole_slide(file) if suffix not in PLAIN else None
    slide = slide or _plain(file)
    if Path(path).is_dir():
        slide = _with(slide, name=Path(path).name)
    return slide if mpp is None else _with(slide, mpp=_given(float(mpp), str(path)))


def name_of(path: Path) -> str:
    """The name of a slide: that of its file without suffix."""
    stem = path.stem if path.is_file() else path.name
    return stem.removesuffix(".ome") if path.suffix.lower() in TIFF else stem


def _with(slide: Slide, **changes: Any) -> Slide:
    fields = {k: getattr(slide, k) for k in Slide.__dataclass_fields__}
    return Slide(**{**fields, **changes})


def _dicom(path: Path) -> Path:
    """The first DICOM file of a folder; any other path as it is."""
    files = sorted(path.glob("*.dcm")) if path.is_dir() else []
    return files[0] if files else path


def _given(mpp: float, where: str) -> float:
    if not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        wanted = f"{MPP_RANGE[0]:g} to {MPP_RANGE[1]:g}"
        raise InputError("is no scale of a microscope, in microns per pixel", where=where, met=mpp, wanted=wanted)
    return mpp


# ---- openslide


def _whole_slide(path: Path) -> Slide | None:
    """By openslide; None where a TIFF is not for openslide, or it is not installed."""
    needed = path.suffix.lower() in WSI
    try:
        import openslide
    except (ImportError, OSError):
        if needed:
            raise MissingExtraError("openslide-python", "wsi", f"reading {path.suffix.lower()} files") from None
        return None
    try:
        if not needed and openslide.OpenSlide.detect_format(str(path)) is None:
            return None
        handle = openslide.OpenSlide(str(path))
    except openslide.OpenSlideError as error:
        hint = "cut short, damaged, or another kind of file under this name?"
        raise DataError(f"openslide cannot open it: {_words(error)}", where=str(path), hint=hint) from None
    properties = dict(handle.properties)
    return Slide(
        path=path, name=name_of(path), levels=tuple(handle.level_dimensions), mpp=_mpp(properties, path),
        properties=properties, reader=partial(_region, handle, str(path)), close=handle.close,
    )  # fmt: skip


def _words(error: Exception) -> str:
    return shortened(f"'{str(error).strip() or type(error).__name__}", 120).lstrip("'")


def _region(handle: Any, where: str, at: tuple[int, int], level: int, size: tuple[int, int]) -> np.ndarray:
    import openslide

    try:
        found = handle.read_region(at, level, size)
    except openslide.OpenSlideError as error:
        raise DataError(f"is damaged: {_words(error)}", where=where) from None
    return _over_white(found)


def _over_white(image: Image.Image) -> np.ndarray:
    x = np.array(image)
    if (x[..., 3] == 255).all():
        return x[..., :3].copy()
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image).convert("RGB"))


def _mpp(properties: Mapping[str, str], path: Path) -> float | None:
    """Microns per pixel from openslide's own properties, else from TIFF's resolution."""
    found = [_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy"]
    if None in found:
        micron = {"inch": 25_400.0, "centimeter": 10_000.0}.get(properties.get("tiff.ResolutionUnit", "inch"), 0.0)
        dots = [_number(properties.get(f"tiff.{axis}Resolution")) for axis in "XY"]
        found = [micron / d if d else None for d in dots]
    return _plausible([f for f in found if f], path)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _plausible(found: list[float], path: Path) -> float | None:
    """The mean of both axes, where a microscope can have given it."""
    if not found or not all(MPP_RANGE[0] <= f <= MPP_RANGE[1] for f in found):
        return None
    if max(found) > 1.02 * min(found):
        log.warning("%s: pixels are not square (%g x %g microns): their mean is taken", path, found[0], found[-1])
    return math.fsum(found) / len(found)


# ---- plain images


def _plain(path: Path) -> Slide:
    """An image that is read whole, as a slide of one level."""
    x, mpp = _picture(path)
    height, width = x.shape[:2]
    return Slide(
        path=path, name=name_of(path), levels=((width, height),), mpp=mpp, properties={},
        reader=partial(_cut, x), close=lambda: None,
    )  # fmt: skip


def _picture(path: Path) -> tuple[np.ndarray, float | None]:
    from isthmus.data.bombs import damage

    with damage(path, "image"):
        try:
            with Image.open(path) as file:
                mpp = _tag_mpp(file, path) if path.suffix.lower() in TIFF else None
                image = file.convert("RGBA" if "A" in file.getbands() or "transparency" in file.info else "RGB")
            return (_over_white(image) if image.mode == "RGBA" else np.array(image)), mpp
        except Image.DecompressionBombError:
            raise _too_large(path) from None
        except UnidentifiedImageError:
            if path.suffix.lower() not in TIFF:
                raise
            return _by_tifffile(path), None


def _too_large(path: Path) -> DataError:
    hint = "make it a tiled pyramidal TIFF, for example by: vips tiffsave IN OUT.tif --tile --pyramid"
    return DataError(
        "is too large to be read whole", where=str(path), wanted=f"at most {MOST_PIXELS // 10**6} megapixels", hint=hint
    )


def _tag_mpp(file: Image.Image, path: Path) -> float | None:
    tags: Any = getattr(file, "tag_v2", {})
    micron = {2: 25_400.0, 3: 10_000.0}.get(tags.get(296, 2), 0.0)
    dots = [_number(str(float(tags[t]))) if t in tags else None for t in (282, 283)]
    return _plausible([micron / d for d in dots if d], path) if micron else None


def _by_tifffile(path: Path) -> np.ndarray:
    """TIFF that pillow does not know, such as 16 bits a channel."""
    try:
        import tifffile
    except ImportError:
        raise MissingExtraError("tifffile", "wsi", "reading this kind of TIFF") from None
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        if page.imagewidth * page.imagelength > MOST_PIXELS:
            raise _too_large(path)
        x = page.asarray()
    x = x[..., None] if x.ndim == 2 else x
    if x.ndim != 3 or x.shape[2] not in (1, 3, 4) or x.dtype not in (np.uint8, np.uint16):
        met = f"{' x '.join(map(str, x.shape))} {x.dtype}"
        raise DataError("is no RGB image", where=str(path), met=met, wanted="H x W x 3 of 8 or 16 bits")
    x = x if x.dtype == np.uint8 else (x / 257).round().astype(np.uint8)
    return np.repeat(x, 3, axis=2) if x.shape[2] == 1 else np.ascontiguousarray(x[..., :3])


def _cut(x: np.ndarray, at: tuple[int, int], level: int, size: tuple[int, int]) -> np.ndarray:
    """A region of an array (of which level 0 is all there is), white outside."""
    found = np.full((size[1], size[0], 3), 255, np.uint8)
    left, top = max(at[0], 0), max(at[1], 0)
    part = x[top : max(at[1] + size[1], 0), left : max(at[0] + size[0], 0)]
    y, z = top - at[1], left - at[0]
    found[y : y + part.shape[0], z : z + part.shape[1]] = part
    return found
