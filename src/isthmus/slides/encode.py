"""Tiles of a slide to features, in TRIDENT's layout: `features` N x D and `coords` N x 2 with their attributes.

A chunk of tiles at a time is written beside the file, whole; a run that was killed goes on after the last of them. The
file itself appears when all are there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from isthmus.data.bombs import damage
from isthmus.data.write import atomic
from isthmus.errors import DataError, RecipeError
from isthmus.slides.encoders import Encoder
from isthmus.slides.slide import Slide
from isthmus.slides.tiles import Tiles, read_tile

log = logging.getLogger("isthmus.slides")
CHUNK = 512
"""Tiles between two savings, about."""
ROWS = 256
"""Tiles in a chunk of the HDF5 file."""
IDENTITY = "isthmus_identity"


def encode(
    slide: Slide,
    tiles: Tiles,
    encoder: Encoder,
    *,
    out: str | Path,
    batch: int = 64,
    half: bool = False,
    overwrite: bool = False,
) -> Path:
    """Features of all tiles of a slide, as one HDF5 file.

    Parameters
    ----------
    slide, tiles
        An open slide and its tiles.
    encoder
        See `encoder`.
    out
        The file to write. Where it holds these features already nothing is done; an interrupted run is gone on with.
    batch
        Tiles that the encoder sees at once.
    half
        Write float16.
    overwrite
        Replace a file that holds other features.

    Returns
    -------
    Path
        Datasets `features` (N x D, attributes name, encoder, patch_size, mpp) and `coords` (N x 2, attributes of the
        tiles), as TRIDENT writes them. Without tiles N is 0.

    Raises
    ------
    DataError
        The slide is damaged, or the encoder does not give a row of finite numbers a tile.
    RecipeError
        The file is there and holds other features.
    """
    target = Path(out)
    if batch < 1:
        raise RecipeError("is no number of tiles", where="batch", met=batch, wanted="1 or more")
    identity = identity_of(slide, tiles, encoder, half=half)
    if not overwrite and done(target, identity):
        log.info("%s: encoded already", target)
        return target
    if target.exists() and not overwrite:
        hint = "add --overwrite to replace it, or name another folder"
        raise RecipeError("holds other features", where=str(target), hint=hint)
    parts = target.with_name(f".{target.name}.parts")
    step = max(1, CHUNK // batch) * batch
    _begin(parts, f"{identity} {step}")
    chunks = {start: parts / f"{start}.npy" for start in range(0, max(len(tiles), 1), step)}
    for start, file in chunks.items():
        if not file.is_file():
            found = _encoded(slide, tiles, encoder, range(start, min(start + step, len(tiles))), batch)
            with atomic(file) as temporary:
                np.save(temporary, _halved(found, slide) if half else found)
    features = np.concatenate([np.load(f, allow_pickle=False) for f in chunks.values()])
    _write(target, features, slide, tiles, {"encoder": encoder.name, IDENTITY: identity})
    shutil.rmtree(parts, ignore_errors=True)
    return target


def identity_of(slide: Slide, tiles: Tiles, encoder: Encoder, *, half: bool = False) -> str:
    """A sum over what determines the features: the encoder, the tiles and the slide they are read from.

    The slide enters by its name, its size in pixels, and the bytes and time of change (in seconds) of the file that was
    opened: a whole slide takes long to hash.
    """
    stat = slide.path.stat()
    file = [stat.st_size, int(stat.st_mtime)]
    said = [encoder.identity, slide.name, list(slide.size), file, tiles.size, tiles.side, half]
    digest = hashlib.sha256(json.dumps(said).encode())
    digest.update(np.ascontiguousarray(tiles.coords, dtype="<i8").tobytes())
    return digest.hexdigest()


def done(path: Path, identity: str) -> bool:
    """Whether a file holds these features."""
    if not path.is_file():
        return False
    with damage(path, "HDF5"), h5py.File(path, "r") as file:
        return "features" in file and file["features"].attrs.get(IDENTITY) == identity


def _begin(parts: Path, identity: str) -> None:
    """A folder for chunks; chunks of another encoder or of other tiles go."""
    mark = parts / "identity"
    if parts.is_dir() and not (mark.is_file() and mark.read_text(encoding="utf-8") == identity):
        shutil.rmtree(parts)
    if not parts.is_dir():
        with atomic(parts) as fresh:
            fresh.mkdir()
            (fresh / "identity").write_text(identity, encoding="utf-8")


def _encoded(slide: Slide, tiles: Tiles, encoder: Encoder, rows: range, batch: int) -> np.ndarray:
    """Features of some tiles; an encoder is asked for its width by a white tile where there are none."""
    if not len(rows):
        return encoder(np.full((1, tiles.size, tiles.size, 3), 255, np.uint8))[:0]
    found = [encoder(block) for block in _blocks(slide, tiles, rows, batch)]
    if len({f.shape[1] for f in found}) > 1:
        raise DataError("the encoder gives rows of several widths", where=encoder.name)
    return np.concatenate(found)


def _blocks(slide: Slide, tiles: Tiles, rows: range, batch: int) -> Iterator[np.ndarray]:
    for start in range(rows.start, rows.stop, batch):
        at = tiles.coords[start : min(start + batch, rows.stop)].tolist()
        yield np.stack([read_tile(slide, (x, y), side=tiles.side, size=tiles.size) for x, y in at])


def _halved(features: np.ndarray, slide: Slide) -> np.ndarray:
    if len(features) and float(np.abs(features).max()) > float(np.finfo(np.float16).max):
        raise DataError("features are too large for half precision", where=slide.name, hint="leave out --half")
    return features.astype(np.float16)


def _write(path: Path, features: np.ndarray, slide: Slide, tiles: Tiles, said: dict[str, Any]) -> None:
    import isthmus

    rows = min(ROWS, max(1, len(features)))
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        shape = (rows, features.shape[1])
        stored = file.create_dataset("features", data=features, chunks=shape, maxshape=(None, shape[1]))
        stored.attrs.update({"name": slide.name, "patch_size": tiles.size, **said})
        if math.isfinite(tiles.mpp):
            stored.attrs["mpp"] = tiles.mpp
        stored.attrs["isthmus_version"] = isthmus.__version__
        coords = file.create_dataset("coords", data=tiles.coords, chunks=(rows, 2), maxshape=(None, 2))
        coords.attrs.update(tiles.attributes)
