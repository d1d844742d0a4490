"""Many slides: a folder or a list of them, in one process or several; a broken one is told, and the others go on."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from isthmus.data.write import write
from isthmus.errors import DataError, IsthmusError, RecipeError, listed
from isthmus.slides.encode import encode
from isthmus.slides.encoders import encoder as made
from isthmus.slides.overview import overview, write_overview
from isthmus.slides.slide import SUFFIXES, Slide, name_of, open_slide
from isthmus.slides.tiles import Tiles, Tissue, plan, read_tiles

log = logging.getLogger("isthmus.slides")
LISTS = (".csv", ".tsv")
COLUMNS = ("slide", "wsi", "path")
"""Names that the column of files may have; `wsi` is TRIDENT's."""
PATCHES, PICTURES, TABLE = "patches", "thumbnails", "slides.csv"
SETTINGS = ("patch_size", "patch_size_level0", "overlap", "min_tissue", "tissue", "level0_mpp", "mpp")
"""Attributes that say how a slide was tiled."""


@dataclass(frozen=True)
class Entry:
    """A slide of a list.

    Attributes
    ----------
    path, name
        Its file, and its sample id.
    mpp
        Microns per pixel of level 0, in place of what the file says.
    otherwise
        The same, where neither the list nor the file says it.
    """

    path: Path
    name: str
    mpp: float | None = None
    otherwise: float | None = None

    def open(self) -> Slide:
        """The slide, open, with its scale."""
        slide = open_slide(self.path, mpp=self.mpp)
        if slide.mpp is not None or self.otherwise is None:
            return slide
        slide.close()
        return open_slide(self.path, mpp=self.otherwise)


def listed_slides(sources: Sequence[str | Path], *, mpp: float | int | None = None) -> list[Entry]:
    """The slides that files, folders and lists name.

    Parameters
    ----------
    sources
        Image files; folders of them (a folder within that holds DICOM files is one slide); csv or tsv files with a
        column `slide` (or `wsi`, `path`) of files relative to the list, and if need be `name` and `mpp`.
    mpp
        Microns per pixel of those that do not say it themselves and whose list does not.

    Raises
    ------
    DataError
        Nothing is there, a list is wrong, or two slides have one name.
    """
    given = None if mpp is None else float(mpp)
    found = [entry for source in sources for entry in _entries(Path(source), given)]
    if not found:
        raise DataError("there are no slides", where=listed([str(s) for s in sources]), wanted=", ".join(SUFFIXES))
    names = pd.Series([e.name for e in found])
    if twice := sorted(set(names[names.duplicated()])):
        where = " and ".join(str(e.path) for e in found if e.name == twice[0])
        hint = "the name is the sample id: rename a file, or give names in a list (csv: slide, name)"
        raise DataError("two slides have one name", where=twice[0], met=where, hint=hint)
    return found


def _entries(source: Path, mpp: float | None) -> Iterator[Entry]:
    if source.suffix.lower() in LISTS:
        yield from _of_list(source, mpp)
    elif source.is_dir() and not _dicom_alone(source):
        inside = (p for p in sorted(source.iterdir()) if not p.name.startswith("."))
        for path in inside:
            if any(path.glob("*.dcm")) if path.is_dir() else path.suffix.lower() in SUFFIXES:
                yield Entry(path, name_of(path), otherwise=mpp)
    elif source.exists():
        yield Entry(source, name_of(source), otherwise=mpp)
    else:
        raise DataError("there is no such file or folder", where=str(source))


def _dicom_alone(folder: Path) -> bool:
    """Whether the files of a folder are those of one DICOM slide."""
    suffixes = {p.suffix.lower() for p in folder.iterdir() if not p.name.startswith(".")}
    if ".dcm" in suffixes and (other := suffixes & set(SUFFIXES) - {".dcm"}):
        hint = "give each DICOM slide a folder of its own, or name the slides in a list"
        raise DataError("holds DICOM files beside others", where=str(folder), met=listed(sorted(other)), hint=hint)
    return ".dcm" in suffixes


def _of_list(source: Path, mpp: float | None) -> Iterator[Entry]:
    from isthmus.data.bombs import damage

    if not source.is_file():
        raise DataError("there is no such file", where=str(source))
    with damage(source, "text"):
        table = pd.read_csv(source, sep=None, engine="python", dtype=str, keep_default_na=False, skipinitialspace=True)
    column = next((c for c in COLUMNS if c in table.columns), None)
    if column is None:
        raise DataError("has no column of files", where=str(source), met=listed(table.columns), wanted="slide")
    for row in table.to_dict("records"):
        file, name, said = ((row.get(c) or "").strip() for c in (column, "name", "mpp"))
        if not file:
            continue
        path = source.parent / file
        yield Entry(path, name or name_of(path), _number(said, source) if said else None, mpp)


def _number(text: str, source: Path) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError("is no number", where=f"{source}: mpp", met=text) from None


# ---- tiling


def tile_all(
    slides: Sequence[Entry],
    out: str | Path,
    *,
    settings: dict[str, Any] | None = None,
    tissue: Tissue | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Tile slides into a folder: `patches/NAME_patches.h5`, `thumbnails/NAME.png` and `slides.csv`.

    Parameters
    ----------
    slides
        From `listed_slides`.
    out
        The folder. What was tiled there by the same settings is left as it is.
    settings
        `mpp`, `size`, `overlap`, `min_tissue` of `tile`.
    tissue
        How tissue is found.
    workers
        Processes.
    overwrite
        Replace tiles of other settings.

    Returns
    -------
    DataFrame
        A row a slide: slide, file, width, height, mpp, tiles, tissue, error (empty where all is well).
    """
    folder = Path(out)
    for part in (PATCHES, PICTURES):
        _made(folder / part)
    chosen = {"mpp": 0.5, "size": 256, "overlap": 0, "min_tissue": 0.5, **(settings or {})}
    work = partial(_tile_one, folder=folder, settings=chosen, tissue=tissue or Tissue(), overwrite=overwrite)
    table = _every(work, slides, workers, "tiled")
    write(table.set_index("slide"), folder / TABLE)
    return table


def _made(folder: Path) -> None:
    if (file := next((p for p in (folder, *folder.parents) if p.is_file()), None)) is not None:
        raise DataError("is a file, so no folder can be there", where=str(file), hint="choose another name")
    folder.mkdir(parents=True, exist_ok=True)


def _tile_one(
    entry: Entry, *, folder: Path, settings: dict[str, Any], tissue: Tissue, overwrite: bool
) -> dict[str, Any]:
    file = folder / PATCHES / f"{entry.name}_patches.h5"
    with entry.open() as slide:
        tiles, image, mask = plan(slide, tissue=tissue, **settings)
        tiles.attributes["name"] = entry.name
        if file.exists() and not overwrite and not _same(read_tiles(file, slide), tiles):
            hint = "add --overwrite to replace them, or name another folder"
            raise RecipeError("holds tiles of other settings", where=str(file), hint=hint)
        write_overview(overview(image, mask, tiles, slide.size), folder / PICTURES / f"{entry.name}.png")
        tiles.write(file)
    width, height = slide.size
    said = {
        "width": width,
        "height": height,
        "mpp": slide.mpp,
        "tiles": len(tiles),
        "tissue": round(float(mask.mean()), 4),
    }
    return {"slide": entry.name, "file": entry.path.name, **said}


def _same(one: Tiles, other: Tiles) -> bool:
    return all(str(one.attributes.get(k)) == str(other.attributes.get(k)) for k in SETTINGS)


# ---- encoding


def encode_all(
    slides: Sequence[Entry],
    out: str | Path,
    *,
    tiles: str | Path,
    encoder: str,
    keys: dict[str, Any] | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Encode slides into a folder, one HDF5 file each, that `isthmus.read` takes as a modality of bags.

    Parameters
    ----------
    slides
        From `listed_slides`.
    out
        The folder; what was encoded there alike is left as it is, and what was begun is gone on with.
    tiles
        A folder that `tile_all`, TRIDENT or CLAM wrote.
    encoder
        Name of an encoder.
    keys
        Settings of `encoder` (`normalise`, `resize`, `weights`, `device`, `seed`) and of `encode` (`batch`, `half`).
    workers
        Processes.
    overwrite
        Replace other features.

    Returns
    -------
    DataFrame
        A row a slide: slide, file, tiles, error.
    """
    _made(folder := Path(out))
    given = dict(keys or {})
    how: dict[str, Any] = {k: given.pop(k) for k in ("batch", "half") if k in given}
    if not Path(tiles).is_dir():
        raise DataError("there is no such folder of tiles", where=str(tiles), hint="make it by: isthmus slides tile")
    made(encoder, **given)  # an encoder that is not there is an error of the call, not of each slide
    work = partial(_encode_one, name=encoder, given=given, how={**how, "overwrite": overwrite},
                   places=(Path(tiles), folder))  # fmt: skip
    return _every(work, slides, workers, "encoded")


def _encode_one(
    entry: Entry, *, name: str, given: dict[str, Any], how: dict[str, Any], places: tuple[Path, Path]
) -> dict[str, Any]:
    with entry.open() as slide:
        tiles = read_tiles(tiles_of(places[0], entry.name), slide)
        encode(slide, tiles, made(name, **given), out=places[1] / f"{entry.name}.h5", **how)
    return {"slide": entry.name, "file": entry.path.name, "tiles": len(tiles)}


def tiles_of(folder: Path, name: str) -> Path:
    """The file with the tiles of a slide in a folder of ours, of TRIDENT's or of CLAM's.

    Raises
    ------
    DataError
        There is none.
    """
    places = [base / f"{name}{end}" for base in (folder, folder / PATCHES) for end in ("_patches.h5", ".h5")]
    if (found := next((p for p in places if p.is_file()), None)) is None:
        hint = "tile the slide first: isthmus slides tile"
        raise DataError("there are no tiles of this slide", where=name, wanted=str(places[2]), hint=hint)
    return found


# ---- one after the other, or side by side


def _every(work: Callable[[Entry], dict[str, Any]], slides: Sequence[Entry], workers: int, done: str) -> pd.DataFrame:
    """A row a slide; what went wrong with a slide is logged and stands in its row."""
    rows: dict[str, dict[str, Any]] = {}
    results = _here(work, slides) if workers <= 1 or len(slides) == 1 else _apart(work, slides, workers)
    for entry, row in results:
        if isinstance(row, str):
            log.warning("%s is not %s: %s", entry.name, done, row)
            row = {"slide": entry.name, "file": entry.path.name, "error": row}
        else:
            log.info("%s: %d tiles %s (%d of %d)", entry.name, row["tiles"], done, len(rows) + 1, len(slides))
            if not row["tiles"]:
                log.warning("%s: no tile holds enough tissue", entry.name)
            row = {**row, "error": ""}
        rows[entry.name] = row
    table = pd.DataFrame([rows[e.name] for e in slides])
    return table[[*table.columns.drop("error"), "error"]]


def _attempt(work: Callable[[Entry], dict[str, Any]], entry: Entry) -> dict[str, Any] | str:
    """What the work gives, or in one line why it could not be done."""
    try:
        return work(entry)
    except IsthmusError as error:
        if error.exit_code == 1:
            raise
        return " (".join(str(error).splitlines()[:2]) + (")" if len(str(error).splitlines()) > 1 else "")


def _here(work: Callable[[Entry], dict[str, Any]], slides: Iterable[Entry]) -> Iterator[tuple[Entry, Any]]:
    for entry in slides:
        yield entry, _attempt(work, entry)


def _apart(
    work: Callable[[Entry], dict[str, Any]], slides: Sequence[Entry], workers: int
) -> Iterator[tuple[Entry, Any]]:
    """In several processes; a process that dies takes down what had not been done, slide by slide told."""
    context = multiprocessing.get_context("spawn")
    number, before = min(workers, len(slides)), set(multiprocessing.active_children())
    with ProcessPoolExecutor(number, mp_context=context, initializer=_worker, initargs=(number,)) as pool:
        waiting = {pool.submit(_attempt, work, entry): entry for entry in slides}
        try:
            for future in as_completed(waiting):
                try:
                    yield waiting[future], future.result()
                except BrokenProcessPool:
                    yield waiting[future], "a worker died (no memory?): run again, perhaps with fewer --workers"
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()  # what it had saved stays
            raise


def _worker(number: int) -> None:
    """An interrupted worker goes silently; what it had saved stays. The cores are shared between workers."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // number)))
