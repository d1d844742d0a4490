"""A split as a file, so that the same samples train and test again."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from isthmus.data.write import atomic
from isthmus.errors import DataError, listed

__all__ = ["read_folds", "read_split", "write_split"]

PARTS = ("train", "valid", "test")


def write_split(parts: pd.Series, path: str | Path) -> Path:
    """Write part or fold per sample id as CSV.

    Parameters
    ----------
    parts
        Index = sample ids; values `train`, `valid`, `test` (column `split`) or fold numbers (column `fold`).
    path
        The file.
    """
    column = "fold" if pd.api.types.is_integer_dtype(parts.dtype) else "split"
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("sample", column))
    lines.writerows(zip(parts.index.astype(str), parts, strict=True))
    with atomic(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    return Path(path)


def read_split(path: str | Path) -> pd.Series:
    """What `write_split` wrote; of JSON, the fold whose test part a sample is in, or the parts of the only fold.

    Raises
    ------
    DataError
        The file is missing or no split, or a sample is in several test parts.
    """
    if Path(path).suffix.lower() != ".json":
        return _read_csv(Path(path))
    found = read_folds(path)
    if len(found) == 1:
        return found[0]
    number = pd.concat([pd.Series(i, f.index[f == "test"]) for i, f in enumerate(found)])
    if not number.index.is_unique:
        twice = number.index[number.index.duplicated()][0]
        raise DataError("has a sample in several test parts", where=str(path), met=twice, hint="use ist.folds")
    return number.rename("fold")


def read_folds(path: str | Path) -> list[pd.Series]:
    """Parts per sample id, one series per fold; a single series unless the file has folds (errors as `read_split`)."""
    path = Path(path)
    if path.suffix.lower() == ".json":
        return _read_json(path)
    found = _read_csv(path)
    if found.name == "split":
        return [found]
    numbers = sorted(found.unique())
    if len(numbers) < 2:
        raise DataError("has a single fold", where=str(path), wanted="at least two")
    return [pd.Series(np.where(found == k, "test", "train"), found.index, dtype=object, name="split") for k in numbers]


def _text(path: Path) -> str:
    if not path.is_file():
        raise DataError("there is no such file", where=str(path.absolute()))
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("is not text in UTF-8", where=str(path)) from None


def _read_csv(path: Path) -> pd.Series:
    rows = [row for row in csv.reader(io.StringIO(_text(path), newline="")) if row]
    if not rows or rows[0] not in (["sample", "split"], ["sample", "fold"]):
        met = ",".join(rows[0]) if rows else "an empty file"
        raise DataError("is not a split", where=str(path), met=met, wanted="the columns sample,split or sample,fold")
    column = rows[0][1]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2 or not (row[1] in PARTS if column == "split" else row[1].isdecimal()):
            wanted = f"an id and one of {', '.join(PARTS)}" if column == "split" else "an id and a number"
            raise DataError("is not a split", where=f"{path}, row {number}", met=",".join(row), wanted=wanted)
    ids = pd.Index([row[0] for row in rows[1:]], dtype=object)
    values = [row[1] if column == "split" else int(row[1]) for row in rows[1:]]
    _refuse_twice(ids, str(path))
    return pd.Series(values, ids, dtype=object if column == "split" else np.int64, name=column)


def _read_json(path: Path) -> list[pd.Series]:
    try:
        tree: Any = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"is not JSON: {error.msg}", where=f"{path}, line {error.lineno}") from None
    found = tree.get("folds") if isinstance(tree, dict) else None
    if not isinstance(found, list) or not found or not all(isinstance(f, dict) for f in found):
        raise DataError("is not a split", where=str(path), wanted='{"folds": [{"train": [ids], "test": [ids]}, ...]}')
    return [_fold(fold, f"{path}, fold {i}") for i, fold in enumerate(found)]


def _fold(fold: dict[str, Any], where: str) -> pd.Series:
    lists = {p: fold[p] for p in PARTS if p in fold}
    if not {"train", "test"} <= set(lists) or not all(isinstance(ids, list) for ids in lists.values()):
        raise DataError("is not a fold", where=where, met=listed(fold), wanted="lists of ids for train and test")
    ids = pd.Index([str(i) for ids in lists.values() for i in ids], dtype=object)
    _refuse_twice(ids, where)
    return pd.Series([p for p, ids in lists.items() for _ in ids], ids, dtype=object, name="split")


def _refuse_twice(ids: pd.Index, where: str) -> None:
    if not ids.is_unique:
        raise DataError("names a sample twice", where=where, met=ids[ids.duplicated()][0])
