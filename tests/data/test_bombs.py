"""Files that are not what they seem: small ones that would fill the memory, and ones that a C library dies of."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import signal
import sys
import time
import zipfile
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isthmus.data import bombs
from isthmus.data.read import read
from isthmus.errors import DataError

FIXTURES = Path(__file__).parents[1] / "fixtures"
UNPACKED = 3_000_000


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A megabyte is large here."""
    monkeypatch.setattr(bombs, "LARGEST", 1 << 20)
    monkeypatch.setattr(bombs, "BLOCK", 1 << 18)


def bomb(path: Path) -> None:
    """A file of some kilobytes that holds megabytes."""
    text = b"id,a\ns1," + b"0" * UNPACKED
    match path.suffix:
        case ".gz":
            path.write_bytes(gzip.compress(text))
        case ".bz2":
            path.write_bytes(bz2.compress(text))
        case ".xz":
            path.write_bytes(lzma.compress(text))
        case ".zst":
            path.write_bytes(pa.compress(text, "zstd", asbytes=True))
        case ".parquet":
            pq.write_table(pa.table({"id": pa.nulls(50 * UNPACKED, pa.string())}), path)
        case ".xlsx":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
                file.writestr("xl/worksheets/sheet1.xml", b" " * UNPACKED)
        case ".h5ad":
            ad.AnnData(np.ones((3, 3), np.float32)).write_h5ad(path)
            with h5py.File(path, "a") as file:
                kept = dict(file["X"].attrs)
                del file["X"]
                file.create_dataset("X", (10**6, 10**6), "f4", chunks=(1000, 1000)).attrs.update(kept)


@pytest.mark.parametrize("suffix", ["csv.gz", "csv.bz2", "csv.xz", "csv.zst", "parquet", "xlsx", "h5ad"])
def test_a_small_file_that_unpacks_to_a_huge_one_is_refused_at_once(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    bomb(path)
    assert path.stat().st_size < 400_000
    started = time.monotonic()
    with pytest.raises(DataError, match=r"unpacks to far more .* bytes that become at least"):
        read({"x": path})
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("suffix", ["csv.gz", "parquet", "xlsx", "h5ad"])
def test_a_table_that_compresses_well_is_read(tmp_path, suffix):
    """Counts that are mostly zero, above the size from which the ratio counts."""
    x = (np.random.default_rng(0).random((1000, 400)) < 0.02).astype(np.float32)
    frame = pd.DataFrame(x, [f"s{i}" for i in range(1000)], [f"g{j}" for j in range(400)])
    path = tmp_path / f"x.{suffix}"
    match suffix:
        case "parquet":
            frame.to_parquet(path)
        case "xlsx":
            frame.iloc[:100].to_excel(path)
        case "h5ad":
            ad.AnnData(frame).write_h5ad(path, compression="gzip", compression_opts=9)
        case _:
            frame.astype(int).to_csv(path)
    assert read({"x": path})["x"].X.sum() == (x[:100] if suffix == "xlsx" else x).sum()


@pytest.mark.skipif(sys.platform != "linux", reason="the check needs a fork")
def test_a_damaged_hdf5_file_on_which_the_library_never_ends(monkeypatch):
    """Found by fuzzing: a few bytes of a text's address changed."""
    monkeypatch.setattr(bombs, "LONGEST", 0.5)
    with pytest.raises(DataError, match=r"is no whole h5ad file\nthe HDF5 library does not end on it"):
        read({"x": FIXTURES / "endless.h5ad"})


@pytest.mark.skipif(sys.platform != "linux", reason="the check needs a fork")
def test_a_file_that_never_ends_is_told_on_a_busy_machine(monkeypatch):
    """The process that reads it first gets a fraction of a core: it is waited for as long as it calculates."""
    monkeypatch.setattr(bombs, "LONGEST", 0.3)
    clock = time.monotonic
    monkeypatch.setattr(bombs.time, "monotonic", lambda: 8 * clock())
    with pytest.raises(DataError, match="the HDF5 library does not end on it"):
        read({"x": FIXTURES / "endless.h5ad"})


@pytest.mark.skipif(sys.platform != "linux", reason="the check needs a fork")
@pytest.mark.parametrize("signum", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_damaged_hdf5_file_on_which_the_library_crashes(tmp_path, monkeypatch, signum):
    bomb(tmp_path / "x.h5ad")
    monkeypatch.setattr(bombs, "_texts", lambda _: os.kill(os.getpid(), signum))
    with pytest.raises(DataError, match=r"is no whole h5ad file\nthe HDF5 library crashes on it"):
        read({"x": tmp_path / "x.h5ad"})


@pytest.mark.skipif(sys.platform != "linux", reason="the check needs a fork")
def test_the_check_gives_way_where_it_cannot_tell(tmp_path, monkeypatch):
    """A forked process that waits for ever without computing is no sign of a damaged file; nor is an exception."""
    monkeypatch.setattr(bombs, "LONGEST", 0.1)
    assert bombs._ends(lambda: time.sleep(60)) is None
    assert bombs._ends(lambda: 1 / 0) is None
    ad.AnnData(np.ones((3, 2), np.float32)).write_h5ad(tmp_path / "x.h5ad")
    assert read({"x": tmp_path / "x.h5ad"}).n_obs == 3


def test_arrow_offsets_that_lead_nowhere_are_found_before_they_crash(tmp_path):
    """Found by fuzzing: the offsets of the texts of a feather file are not in order."""
    offsets = pa.array([0, 2, 1, 4], pa.int32()).buffers()[1]
    ids = pa.Array.from_buffers(pa.string(), 3, [None, offsets, pa.py_buffer(b"s1s2")])
    table = pa.table({"id": ids, "a": [1.0, 2.0, 3.0]})
    pa.feather.write_feather(table, tmp_path / "x.feather", compression="uncompressed")
    with pytest.raises(DataError, match="is no whole feather file"):
        read({"x": tmp_path / "x.feather"})
