"""The section of a comparison that says what each modality adds to the prediction of an outcome."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import pandas as pd

from isthmus.plot.modality_rows import modality_rows
from isthmus.report.blocks import Block, FigureBlock, Section, TableBlock

__all__ = ["rows_section"]

UNITS = {"harrell": "Harrell's C", "auc": "AUC, one class against the rest", "r2": "R²"}
CHANCE = {"harrell": 0.5, "auc": 0.5, "r2": 0.0}
OWN = "head"
LEAD = (
    "Every row predicts the same outcome of the same test samples, on the same splits. Filled: a model's own head. "
    "Hollow: a linear prediction (logistic, ridge, ridge Cox regression) from an embedding, PCA or columns of obs, and "
    "the joint model when it is shown one modality alone. Late fusion is the mean over the models of the single "
    "modalities, clinical + joint the mean of both; log risks are standardised by train first, and nothing is learnt "
    "in putting them together. Controls are grey: outcomes permuted (labels), training pairs broken (pairing), the "
    "last modality as noise or as its mean."
)


@runtime_checkable
class HasRows(Protocol):
    """A result with a table of rows, or without."""

    @property
    def rows(self) -> pd.DataFrame | None: ...


def rows_section(results: HasRows) -> Section:
    """A figure and a table per head."""
    title = "What each modality adds"
    if results.rows is None or results.rows.empty:
        return Section(title, ())
    blocks: list[Block] = []
    for head, of in results.rows.groupby("head", sort=False):
        blocks += _of_head(str(head), of)
    return Section(title, tuple(blocks), LEAD)


def _of_head(head: str, rows: pd.DataFrame) -> list[Block]:
    metric = str(rows["metric"].iloc[0])
    several = rows.loc[rows["model"] != rows["row"], "model"].nunique() > 1
    table = rows.assign(label=[_label(r, several=several) for r in rows.to_dict("records")], own=rows["reading"] == OWN)
    chance = CHANCE.get(metric)
    splits = int(rows["n"].max())
    caption = (
        f"{head}: {UNITS.get(metric, metric)}, mean over {splits} split{'' if splits == 1 else 's'} of "
        f"{rows['n_test'].mean():.0f} test samples on average, with 95 % intervals that allow for splits sharing "
        f"samples (Nadeau and Bengio 2003). Dashed: chance."
    )
    drawn = table[(table["control"] == "") | table["reading"].isin([OWN, "linear"])]
    figure = modality_rows(drawn, unit=UNITS.get(metric, metric), chance=chance)
    shown = table.sort_values(["control", "mean"], ascending=[True, False])
    columns = {
        "label": "row", "mean": "mean", "sd": "sd", "lower": "lower", "upper": "upper", "n": "splits",
        "to_joint": "to joint", "p_joint_adjusted": "p to joint", "to_clinical": "to clinical",
        "p_clinical_adjusted": "p to clinical",
    }  # fmt: skip
    said = shown[list(columns)].rename(columns=columns).dropna(axis=1, how="all").reset_index(drop=True)
    forms = dict.fromkeys(("mean", "sd", "lower", "upper", "to joint", "to clinical"), ".3f")
    note = (
        f"{head}: differences are split by split, positive where the row is ahead of the joint model (of the same "
        "architecture), of the clinical columns; p adjusted over rows (Holm)."
    )
    name = "".join(c if c.isalnum() else "_" for c in head)
    return [
        FigureBlock(figure, caption, f"rows_{name}"),
        TableBlock(said, note, f"rows_{name}", forms, 60, sortable=True),
    ]


def _label(row: Any, *, several: bool) -> str:
    """A row by its name, its model where there are several or it is a baseline, and its control."""
    plain = row["model"] in (row["row"],)
    named = several or row["model"] == "PCA"
    text = row["row"] if plain or not named else f"{row['row'].replace(', linear', '')} · {row['model']}"
    if row["reading"] == "linear" and not plain and row["model"] != "PCA":
        text = text if text.endswith(", linear") else f"{text}, linear"
    return f"{row['control']}: {text}" if row["control"] else str(text)
