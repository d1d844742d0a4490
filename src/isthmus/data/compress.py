"""Compressed files, told by their first bytes when read and by their suffix when written."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import pyarrow as pa

from isthmus.data.bombs import bounded
from isthmus.errors import DataError

MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
LONGEST_MAGIC = 16


def start_of(path: Path, n: int = LONGEST_MAGIC) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as stream:
        return stream.read(n)


@contextmanager
def opened(path: Path, mode: Literal["rb", "wb"]) -> Iterator[IO[bytes] | Any]:
    """A binary stream through whatever compression the file has; the same content gives the same bytes."""
    kind = path.suffix.lower()
    if mode == "rb":
        head = start_of(path)
        kind = next((k for magic, k in MAGIC.items() if head.startswith(magic)), "")
    with ExitStack() as stack:
        raw: IO[bytes] = stack.enter_context(path.open(mode))
        if kind == ".gz":
            yield stack.enter_context(gzip.GzipFile("", mode, 6, raw, 0))
        elif kind == ".bz2":
            yield stack.enter_context(bz2.BZ2File(raw, mode))
        elif kind == ".xz":
            yield stack.enter_context(lzma.LZMAFile(raw, mode))
        elif kind == ".zst":
            packed = pa.CompressedInputStream if mode == "rb" else pa.CompressedOutputStream
            yield stack.enter_context(packed(pa.PythonFile(raw, mode[0]), "zstd"))
        else:
            yield raw


def unpacked(path: Path) -> bytes:
    """All bytes of a file, decompressed.

    Raises
    ------
    DataError
        The compressed file is damaged or cut short, or would fill the memory.
    """
    try:
        with opened(path, "rb") as stream:
            return bounded(stream, path)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, pa.ArrowException) as error:
        raise DataError("is damaged or cut short: it cannot be decompressed", where=str(path)) from error
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=str(path)) from error
