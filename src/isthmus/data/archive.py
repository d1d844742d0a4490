"""A folder that travels as a zip archive."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from isthmus.errors import DataError

__all__ = ["as_folder"]

LARGEST = 1 << 32
"""Bytes that an archive may unpack to."""
MOST = 10_000
"""Files."""


@contextmanager
def as_folder(bundle: str | Path) -> Iterator[Path]:
    """A folder as it is; an archive is unpacked for as long as the block runs.

    Raises
    ------
    DataError
        It is not there, is damaged, or its archive holds names that lead out of it, links, or too much.
    """
    path = Path(bundle)
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise DataError("there is no such folder or archive", where=str(path.absolute()))
    with TemporaryDirectory(prefix="isthmus-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                for info in _checked(archive, path):
                    target = folder / info.filename
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(info))
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
            raise DataError("is no whole zip archive", where=str(path), met=type(error).__name__) from None
        yield folder


def _checked(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    infos = [i for i in archive.infolist() if not i.is_dir()]
    names = [i.filename for i in infos]
    if sum(i.file_size for i in infos) > LARGEST or len(infos) > MOST:
        raise DataError("unpacks to too much", where=str(path), wanted=f"at most {LARGEST} bytes in {MOST} files")
    if len(set(names)) != len(names):
        raise DataError("holds two files of one name", where=str(path))
    for info in infos:
        place = PurePosixPath(info.filename)
        if place.is_absolute() or ".." in place.parts or "\\" in info.filename or ":" in info.filename:
            raise DataError("holds a file whose name leads out of it", where=str(path))
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            raise DataError("holds a link", where=str(path))
    return infos
