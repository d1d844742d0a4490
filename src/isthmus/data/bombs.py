"""Small files that would fill the memory, refused before or while they are unpacked."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import h5py
import pyarrow as pa
import pyarrow.parquet

from isthmus.errors import DataError

LARGEST = 1 << 30
"""Bytes that anything may unpack to."""
TEXT_RATIO, TABLE_RATIO = 200, 1000
"""Bytes that a byte of a larger file may unpack to: text and Excel; HDF5 and parquet, where zeros take no space."""
BLOCK = 1 << 26


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
    """Refuse an HDF5 file whose datasets are far larger than the file (errors: see `refuse_bomb`)."""
    sizes = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, node: sizes.append(node.size * node.dtype.itemsize) if _is_array(node) else None)
    refuse_bomb(path, sum(sizes), TABLE_RATIO)


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
