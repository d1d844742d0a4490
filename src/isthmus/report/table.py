"""Tables: a few rows as text for the page, all of them as CSV for a file."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus.data.write import atomic
from isthmus.plot.style import number, printable

LONGEST_CELL, LONGEST_SENTENCE = 60, 240
A_SENTENCE = 7
"""Blanks from which on a text is a sentence, which breaks into lines."""
FORMULA = "=@+\\-\uff1d\uff20\uff0b\uff0d"
"""What a spreadsheet takes for the beginning of a formula; the last four are the same at full width."""
EDGE = re.compile(rf"((?:^|[;\t\r\n])\s*'*)(?=[{FORMULA}])")
"""Where a spreadsheet may begin a cell: it parts them at semicolons and tabs too, and passes over blanks."""
NEUTRAL = re.compile(rf"((?:^|[;\t\r\n])\s*'*)'(?=[{FORMULA}])")
A_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

HEADS = {
    "r2": "R²",
    "r2_sample": "R² by sample",
    "r2_feature": "R² by feature",
    "r2_paper": "R² (published)",
    "mse": "MSE",
    "mae": "MAE",
    "pearson": "Pearson",
    "pearson_feature": "Pearson by feature",
    "pearson_sample": "Pearson by sample",
    "ari": "ARI",
    "nmi": "NMI",
    "knn_purity": "kNN purity",
    "p_adjusted": "adjusted p",
    "r2_within": "R² within class",
    "r2_within_feature": "R² within class by feature",
    "r2_sd": "sd of R²",
    "ssim": "SSIM",
    "foscttm": "FOSCTTM",
    "r1": "R@1",
    "r5": "R@5",
    "r1_back": "R@1 back",
    "r5_back": "R@5 back",
    "median_rank_back": "median rank back",
    "mig": "MIG",
    "sap": "SAP",
    "dci_disentanglement": "DCI disentanglement",
    "dci_completeness": "DCI completeness",
    "dci_informativeness": "DCI informativeness",
    "cka": "CKA",
    "auc": "AUC",
}


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and the longer text of which it is a part (empty where it shows all)."""

    text: str
    whole: str = ""


@dataclass(frozen=True)
class Shown:
    """A table ready for the page: heads, whether each column is numeric, rows of cells."""

    heads: tuple[Cell, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]


def shown(frame: pd.DataFrame, formats: Mapping[str, str], most_rows: int) -> Shown:
    """The first rows of a table as text; a missing value is a dash."""
    part = frame.head(most_rows)
    columns = [[cell(v, formats.get(str(name), "")) for v in part.iloc[:, k]] for k, name in enumerate(part.columns)]
    numeric = tuple(
        pd.api.types.is_numeric_dtype(t) and not pd.api.types.is_bool_dtype(t) for t in frame.dtypes.tolist()
    )
    heads = tuple(cell(HEADS.get(str(name), str(name).replace("_", " "))) for name in frame.columns)
    return Shown(heads, numeric, tuple(zip(*columns, strict=True)))


def cell(value: object, form: str = "") -> Cell:
    """A value as text: numbers by `form` or to three significant digits, long text cut."""
    if value is None or value is pd.NA or value is pd.NaT:
        return Cell("–")
    if isinstance(value, bool | np.bool_):
        return Cell("yes" if value else "no")
    if isinstance(value, int | float | np.integer | np.floating):
        return Cell(_number(float(value), form))
    short = printable(value, LONGEST_SENTENCE if str(value).count(" ") >= A_SENTENCE else LONGEST_CELL)
    whole = printable(value, 500)
    return Cell(short, whole if whole != short else "")


def _number(value: float, form: str) -> str:
    text = format(value, form) if form and np.isfinite(value) else number(value)
    if not text.strip("-0."):
        text = text.lstrip("-")  # what rounds to zero has no sign
    return text.replace("-", "\u2212")


def to_csv(frame: pd.DataFrame) -> str:
    """The whole table as CSV; text that a spreadsheet would take for a formula gets an apostrophe (see `raw`)."""
    columns = [[_neutral(v) for v in frame.iloc[:, k].tolist()] for k in range(frame.shape[1])]
    return written([[_neutral(str(c)) for c in frame.columns], *zip(*columns, strict=True)])


def save_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write `to_csv` of a table, whole or not at all."""
    with atomic(path) as new:
        new.write_bytes(to_csv(frame).encode())


def read_csv(path: Path) -> pd.DataFrame:
    """A table that `save_csv` wrote: numbers to the last bit, names and text, also those called `null` or `NA`."""
    found = pd.read_csv(
        path, low_memory=False, keep_default_na=False, na_values=[""], float_precision="round_trip"
    ).rename(columns=raw)
    for column in found.columns[[not pd.api.types.is_numeric_dtype(t) for t in found.dtypes]]:
        found[column] = found[column].map(lambda v: raw(v) if isinstance(v, str) else v)
    return found


def written(rows: Iterable[Sequence[object]]) -> str:
    """Cells as CSV, whatever they begin with."""
    lines = _Lines()
    csv.writer(lines, lineterminator="\r\n").writerows(rows)  # so that a lone \r within a field is quoted
    return "\n".join(lines) + "\n"


class _Lines(list[str]):
    """Rows as the csv module writes them, without their ends."""

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n"))


def _neutral(value: object) -> object:
    """Numbers as they are, missing as empty, text safe for a spreadsheet and for UTF-8."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return ""
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "replace").decode()
    return text if A_NUMBER.fullmatch(text) else EDGE.sub(r"\1'", text)


def raw(text: str) -> str:
    """A cell that `to_csv` wrote as it was before: one apostrophe less wherever a spreadsheet may begin a cell."""
    return NEUTRAL.sub(r"\1", text)
