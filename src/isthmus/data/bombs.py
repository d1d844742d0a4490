"""Files that are not what they seem: damaged ones, and small ones that would fill the memory when unpacked."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import h5py
import pyarrow as pa
import pyarrow.parquet

from isthmus.errors import DataError, IsthmusError

LARGEST = 1 << 30
"""Bytes that anything may unpack to."""
TEXT_RATIO, TABLE_RATIO = 200, 1000
"""Bytes that a byte of a larger file may unpack to: text and Excel; HDF5 and parquet, where zeros take no space."""
BLOCK = 1 << 26
LONGEST = 10.0
"""Seconds of processor time after which the texts of an HDF5 file are taken for endless."""
MOST_TEXTS = 100_000
"""Texts that are read twice."""


@contextmanager
def damage(path: Path, kind: str) -> Iterator[None]:
    """A foreign reader inside: whatever it raises at a damaged file, of any class, becomes one of our errors.

    Raises
    ------
    DataError
        The file is no whole one of its kind; the hint is the first line of what the reader said.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except IsthmusError:
        raise
    except MemoryError as error:
        hint = f"it asks for more than there is: {str(error)[:120]}"
        raise DataError(f"is a damaged {kind} file, or does not fit the memory", where=str(path), hint=hint) from None
    except Exception as error:  # noqa: BLE001 - such readers let everything through, up to TypeError and struct.error
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"is no whole {kind} file", where=str(path), hint=said[:160]) from None


def refuse_bomb(path: Path, unpacked: int, ratio: int) -> None:
    """An error where a file holds far more than a table of its size can.

    Raises
    ------
    DataError
        It does.
    """
    packed = path.stat().st_size
    if unpacked > max(LARGEST, ratio * packed):
        raise DataError(
            "unpacks to far more than a table of its size holds", where=str(path),
            met=f"{packed} bytes that become at least {unpacked}",
            hint="if this is what you mean, unpack it yourself, or store it as CSR or in several files",
        )  # fmt: skip


def bounded(stream: IO[bytes] | Any, path: Path) -> bytes:
    """All bytes of a decompressing stream over `path` (errors: see `refuse_bomb`)."""
    whole = BytesIO()
    while block := stream.read(BLOCK):
        whole.write(block)
        refuse_bomb(path, whole.tell(), TEXT_RATIO)
    return whole.getvalue()


def check_hdf5(path: Path) -> None:
    """Refuse an HDF5 file that is damaged, or whose datasets are far larger than itself (errors: see `refuse_bomb`).

    The HDF5 library crashes, or never ends, on some damaged texts: they are read by a forked process first.

    Raises
    ------
    DataError
        The file is either.
    """
    if sys.platform == "linux" and (signum := _ends(lambda: _texts(path))) is not None:
        hint = "the HDF5 library does not end on it" if signum == signal.SIGVTALRM else "the HDF5 library crashes on it"
        raise DataError(f"is no whole {path.suffix[1:]} file", where=str(path), hint=hint)
    sizes = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, node: sizes.append(node.size * node.dtype.itemsize) if _is_array(node) else None)
    refuse_bomb(path, sum(sizes), TABLE_RATIO)


def _texts(path: Path) -> None:
    """Read every attribute, and datasets of texts up to `MOST_TEXTS`."""
    left = MOST_TEXTS

    def visit(_: str, node: Any) -> None:
        nonlocal left
        for key in node.attrs:
            node.attrs[key]
        if _is_array(node) and node.dtype.kind == "O" and node.size <= left:
            left -= node.size
            node[()]

    with h5py.File(path, "r") as file:
        visit("", file)
        file.visititems(visit)


def _ends(call: Callable[[], None]) -> int | None:
    """The signal that ends a call in a forked process; None where it ends by itself, with an error or without."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: this one only reads a file
        child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST)
            faulthandler.disable()
            call()
        finally:
            os._exit(0)
    end, used = time.monotonic() + 2 * LONGEST, 0
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        if time.monotonic() > end and used < (used := _ticks(child)):  # slow, on a busy machine, but at work
            end = time.monotonic() + 2 * LONGEST
        elif time.monotonic() > end:  # a slow disk, or a lock that another thread held at the fork
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.001)


def _ticks(process: int) -> int:
    """Clock ticks that a process has calculated."""
    return int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11])


def _is_array(node: Any) -> bool:
    return isinstance(node, h5py.Dataset) and node.shape is not None


def check_parquet(path: Path) -> None:
    """Refuse a parquet file whose columns are far larger than the file (errors: see `refuse_bomb`)."""
    found = pa.parquet.read_metadata(path)
    refuse_bomb(path, found.num_rows * found.num_columns * 4, TABLE_RATIO)


def check_zip(path: Path) -> None:
    """Refuse a zip file, such as xlsx, whose members are far larger than the file (errors: see `refuse_bomb`)."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            refuse_bomb(path, sum(member.file_size for member in file.infolist()), TEXT_RATIO)
