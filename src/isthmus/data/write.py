"""Tables and containers to files: whole or not at all."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import scipy.sparse as sp

from isthmus.data.cohort import build, take_samples
from isthmus.data.compress import opened
from isthmus.data.images import is_image
from isthmus.data.numbers import WHOLE
from isthmus.errors import DataError, RunError, shortened

__all__ = ["atomic", "write"]

log = logging.getLogger("isthmus.data")
BLOCK = 1 << 23
"""Cells that a sparse matrix is made dense by at a time on its way to a text or parquet file."""
FORMULA = re.compile(r"[=+\-@\t\r]")
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
TEXT = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
PACKED = (".gz", ".bz2", ".xz", ".zst")


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, flushed to disk, when the block ends without an error.

    Parameters
    ----------
    path
        The final file or folder; what stands there is replaced.

    Yields
    ------
    Path
        In the same folder with the same suffixes. The block makes a file or a folder of it.

    Raises
    ------
    DataError
        The parent folder is not there or may not be written to.
    RunError
        The disk is full.
    """
    target = Path(path).absolute()
    if not target.parent.is_dir():
        raise DataError("there is no such folder to write to", where=str(target.parent))
    temporary = target.with_name(f".{secrets.token_hex(6)}{''.join(target.suffixes[-2:])}")
    try:
        yield temporary
        flush(temporary)
        _take_place(temporary, target)
        flush_entry(target.parent)
    except OSError as error:
        raise disk_error(error, target) from error
    finally:
        _remove(temporary)


def disk_error(error: OSError, target: Path) -> Exception:
    """What the machine complains of, as one of our errors where it is a common one."""
    if is_full(error):
        return RunError("the disk is full", where=str(target))
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return DataError("may not be written", where=str(target))
    if isinstance(error, IsADirectoryError):
        return DataError("is a folder", where=str(target), wanted="a file name")
    if isinstance(error, NotADirectoryError | FileExistsError):
        return DataError("is no folder to write to", where=str(target))
    if error.errno == errno.ENAMETOOLONG:
        return DataError("is too long a name", where=shortened(str(target)))
    return error


def is_full(error: Exception) -> bool:
    """Whether the disk, a quota or a limit of the file size is what stops a write."""
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in codes or "No space left" in str(error) or "errno = 28" in str(error)


def flush(path: Path) -> None:
    """The bytes of a file, or of every file of a folder, reach the disk."""
    for file in [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def flush_entry(folder: Path) -> None:
    """The names in a folder reach the disk, where the system can do that."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _take_place(temporary: Path, target: Path) -> None:
    """Rename; a folder that stands at the target is moved aside first and removed after."""
    if not (temporary.is_dir() and target.is_dir()):
        temporary.replace(target)
        return
    aside = target.with_name(f".{secrets.token_hex(6)}.old")
    target.replace(aside)
    try:
        temporary.replace(target)
    except OSError:
        aside.replace(target)
        raise
    shutil.rmtree(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write(
    data: md.MuData | ad.AnnData | pd.DataFrame,
    path: str | Path,
    *,
    spreadsheet_safe: bool = True,
    tables: str = ".csv",
) -> Path:
    """Write a container or a table; the suffix says how.

    Parameters
    ----------
    data
        MuData, AnnData (its X, samples x features) or DataFrame (index = sample ids).
    path
        `.h5mu`, `.h5ad`, `.zarr`, `.parquet`, `.csv`, `.tsv` or `.txt` (the last three also with `.gz`, `.bz2`, `.xz`
        or `.zst`). A path without suffix is a folder that gets one table per modality, and `obs`; images
        as `.h5ad`. Bags are a folder of feature files beside it, unless they were read from such files.
    spreadsheet_safe
        Put `'` before ids and text cells that a spreadsheet would run as a formula (they begin with `=`, `+`, `-` or
        `@` and are no number). Text files only; numbers are never touched.
    tables
        The suffix of the tables in a folder.

    Returns
    -------
    Path
        That of the argument. The file is written under a temporary name, flushed and renamed: it is whole or absent.

    Raises
    ------
    DataError
        The suffix is not known or cannot hold such data.
    """
    path = Path(path)
    kind = _kind(path)
    if kind in ("folder", ".h5ad", ".h5mu", ".zarr"):
        data = _with_files(data, path, kind)
    if kind == "folder":
        return _write_folder(data, path, tables, spreadsheet_safe=spreadsheet_safe)
    data = _fitting(data, kind, path)
    with atomic(path) as temporary:
        try:
            _write_one(data, temporary, kind, spreadsheet_safe=spreadsheet_safe)
        except (TypeError, ValueError, NotImplementedError, RuntimeError, pa.ArrowException) as error:
            if isinstance(error, DataError):
                raise
            if is_full(error):
                raise RunError("the disk is full", where=str(path)) from error
            raise DataError(f"cannot be written: {_first_line(error)}", where=str(path)) from error
    return path


def _first_line(error: Exception) -> str:
    return shortened(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__, 160)


def _kind(path: Path) -> str:
    """`.csv`, `.parquet`, ..., or `folder`."""
    suffixes = [s.lower() for s in path.suffixes]
    if not suffixes or (path.is_dir() and suffixes[-1] != ".zarr"):
        return "folder"
    last = suffixes[-2] if suffixes[-1] in PACKED and len(suffixes) > 1 else suffixes[-1]
    if last in TEXT or suffixes[-1] in (".parquet", ".h5ad", ".h5mu", ".zarr"):
        return last
    known = ".h5mu, .h5ad, .zarr, .parquet, .csv, .tsv, .csv.gz, or no suffix for a folder"
    raise DataError("has a suffix that cannot be written", where=str(path), met=suffixes[-1], wanted=known)


def _fitting(
    data: md.MuData | ad.AnnData | pd.DataFrame, kind: str, path: Path
) -> md.MuData | ad.AnnData | pd.DataFrame:
    """`data` as the container that a kind of file holds."""
    if isinstance(data, md.MuData):
        if kind in (".h5mu", ".zarr"):
            return _without_slashes(take_samples(data, data.obs_names) if data.is_view else data)
        if len(data.mod) > 1:
            raise DataError(
                f"a {kind} file holds one modality",
                where=str(path),
                met=", ".join(data.mod),
                hint="use .h5mu, or a path without suffix for a folder of tables",
            )
        data = next(iter(data.mod.values()))
    if kind == ".h5mu":
        raise DataError("an h5mu file holds MuData", where=str(path), met=type(data).__name__, hint="use .h5ad")
    if kind in (".h5ad", ".zarr"):
        data = ad.AnnData(data) if isinstance(data, pd.DataFrame) else data
        return _without_slashes(data.copy() if data.is_view else data)
    if isinstance(data, ad.AnnData) and data.X is None:
        raise DataError(f"a {kind} file holds a table, and there is none", where=str(path), hint="use .h5ad or .h5mu")
    return data


def _with_files(data: Any, path: Path, kind: str) -> Any:
    """The container with feature files beside it, or within the folder, in the place of bags."""
    from isthmus.data.bag_write import named_files
    from isthmus.data.bags import is_bag

    parts = data.mod if isinstance(data, md.MuData) else {"": data} if isinstance(data, ad.AnnData) else {}
    bags = [m for m, part in parts.items() if is_bag(part)]
    if not bags or kind == "folder":
        return data
    stem = path.name.split(".")[0]
    made = {m: named_files(parts[m], path.parent / f"{stem}_{m or 'bags'}", path.parent) for m in bags}
    return build({**parts, **made}, data.obs, uns=data.uns) if isinstance(data, md.MuData) else made[""]


def _without_slashes(data: Any) -> Any:
    """A copy whose columns have `_` for `/`, which HDF5 and zarr take for a path; the same object without any."""
    if not any("/" in str(c) for frame in _annotations(data) for c in frame.columns):
        return data
    data = take_samples(data, data.obs_names) if isinstance(data, md.MuData) else data.copy()
    for frame in _annotations(data):
        names = [str(c) for c in frame.columns]
        for i, name in enumerate(names):
            if "/" in name:
                new = name.replace("/", "_")
                names[i] = new if new not in names else f"{new}_{i}"
                log.warning("column %r is written as %r", name, names[i])
        frame.columns = pd.Index(names, dtype=object)
    return data


def _annotations(data: Any) -> list[pd.DataFrame]:
    every = [data, *data.mod.values()] if isinstance(data, md.MuData) else [data]
    return [frame for part in every for frame in (part.obs, part.var)]


def _write_folder(data: Any, path: Path, tables: str, *, spreadsheet_safe: bool) -> Path:
    """A table per modality (of bags, a folder) and one of `obs`; a new folder appears whole."""
    from isthmus.data.bag_write import write_bags
    from isthmus.data.bags import is_bag

    if not isinstance(data, md.MuData):
        raise DataError("a folder holds MuData", where=str(path), met=type(data).__name__, hint="add .csv or .parquet")
    if tables not in (".csv", ".tsv", ".parquet", *(k + p for k in (".csv", ".tsv") for p in PACKED)):
        raise DataError("cannot be written to a folder", where="tables", met=tables, wanted=".csv, .csv.gz or .parquet")
    if "obs" in data.mod:
        raise DataError("a modality is called obs, as the table of annotations", where=str(path), hint="use .h5mu")
    parts = {**data.mod, "obs": data.obs}
    with nullcontext(path) if path.is_dir() else atomic(path) as new:
        new.mkdir(exist_ok=True)
        for name, part in parts.items():
            if isinstance(part, ad.AnnData) and is_bag(part):
                write_bags(part, new / name)
            else:
                write(part, new / f"{name}{_suffix(part, tables)}", spreadsheet_safe=spreadsheet_safe)
    return path


def _suffix(part: Any, tables: str) -> str:
    """Images go to h5ad, since no table holds them."""
    return ".h5ad" if isinstance(part, ad.AnnData) and is_image(part) else tables


def _write_one(data: Any, path: Path, kind: str, *, spreadsheet_safe: bool) -> None:
    if kind in (".h5ad", ".h5mu", ".zarr"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data.write_zarr(str(path)) if kind == ".zarr" else data.write(path)
    elif kind == ".parquet":
        _write_parquet(data, path)
    else:
        _write_text(data, path, TEXT[kind], spreadsheet_safe=spreadsheet_safe)


def _blocks(data: ad.AnnData | pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The table some samples at a time, dense."""
    if isinstance(data, pd.DataFrame):
        yield data.set_axis(data.index.astype(str).rename(data.index.name or "sample"))
        return
    step = max(1, BLOCK // max(1, data.n_vars))
    for start in range(0, max(data.n_obs, 1), step):
        x = data.X[start : start + step]
        x = x.toarray() if sp.issparse(x) else np.asarray(x)
        x = x.astype(np.uint8) if x.dtype == bool else x
        ids = pd.Index(data.obs_names[start : start + step], name="sample")
        yield pd.DataFrame(x, index=ids, columns=data.var_names.rename(None), copy=False)


def _write_parquet(data: ad.AnnData | pd.DataFrame, path: Path) -> None:
    """One row group per block; the ids are the pandas index."""
    writer = None
    try:
        for block in _blocks(data):
            table = pa.Table.from_pandas(block)
            writer = writer or pa.parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _write_text(data: ad.AnnData | pd.DataFrame, path: Path, separator: str, *, spreadsheet_safe: bool) -> None:
    changed: list[str] = []

    def safe(texts: Any) -> list[Any]:
        if not spreadsheet_safe:
            return list(texts)
        return [_harmless(t, changed) if isinstance(t, str) else t for t in texts]

    with opened(path, "wb") as stream:
        for i, block in enumerate(_blocks(data)):
            if i == 0:
                stream.write(_line([str(block.index.name), *safe(block.columns.astype(str))], separator))
            columns = [pa.array(safe(block.index), pa.string())]
            columns += _columns(block, safe)
            table = pa.Table.from_arrays(columns, [str(j) for j in range(len(columns))])
            options = pa.csv.WriteOptions(include_header=False, delimiter=separator, quoting_style="needed")
            pa.csv.write_csv(table, stream, options)
    if changed:
        log.warning(
            "%d texts that a spreadsheet would run as formulas, such as %r, got a ' in front; "
            "spreadsheet_safe=False (isthmus apply: --raw-ids) writes them as they are",
            len(changed),
            changed[0],
        )


def _harmless(text: str, changed: list[str]) -> str:
    if not FORMULA.match(text) or NUMBER.fullmatch(text):
        return text
    changed.append(text)
    return f"'{text}"


def _line(fields: list[str], separator: str) -> bytes:
    def quoted(field: str) -> str:
        return '"' + field.replace('"', '""') + '"' if re.search(rf'["\r\n{separator}]|^\s|\s$|^$', field) else field

    return (separator.join(map(quoted, fields)) + "\n").encode("utf-8")


def _columns(block: pd.DataFrame, safe: Any) -> list[pa.Array]:
    """The columns of a table for a text file; quickly where all are numbers of one type."""
    kinds = set(block.dtypes)
    if len(kinds) != 1 or not isinstance(kind := kinds.pop(), np.dtype) or kind.kind not in "fiu":
        return [_column(block.iloc[:, j], safe) for j in range(block.shape[1])]
    x = np.asfortranarray(_exact(block.to_numpy()))
    return [pa.array(x[:, j], from_pandas=True) for j in range(x.shape[1])]


def _exact(x: np.ndarray) -> np.ndarray:
    """float64 where the shortest text of a large float32 would be another whole number."""
    large = x.dtype == np.float32 and (np.abs(x) > WHOLE).any()
    return x.astype(np.float64) if large or x.dtype == np.float16 else x


def _column(column: pd.Series, safe: Any) -> pa.Array:
    """One column for a text file: numbers as they are, booleans as True and False, anything else as text."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return pa.array([None if pd.isna(v) else str(bool(v)) for v in column], pa.string())
    if pd.api.types.is_numeric_dtype(column.dtype):
        return pa.array(_exact(column.to_numpy()) if isinstance(column.dtype, np.dtype) else column, from_pandas=True)
    return pa.array(
        [None if t is None else str(t) for t in safe(None if pd.isna(v) else v for v in column)], pa.string()
    )
