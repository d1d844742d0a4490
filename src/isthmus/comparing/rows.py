"""The table of modality rows: asked for by `compare.rows`, made of what jobs answered, and put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from isthmus.comparing.grid import Cell
from isthmus.comparing.modality_rows import CLINICAL, OWN, answered, modality_rows
from isthmus.comparing.tables import setting_of
from isthmus.comparing_keys import Rows
from isthmus.errors import RecipeError, closest
from isthmus.evaluate.words import number
from isthmus.recipe import Recipe
from isthmus.workers import Record

__all__ = ["check_rows", "rows_of", "rows_verdict"]

ALPHA = 0.05
METRICS = {"harrell": "Harrell's C", "auc": "AUC", "r2": "R²"}


def check_rows(rows: Rows, recipe: Recipe, obs: pd.DataFrame) -> None:
    """Refuse heads and columns that are not there."""
    if not recipe.heads:
        raise RecipeError("compares what heads predict", where="compare.rows", wanted="the section heads")
    for name in rows.heads or ():
        if name not in recipe.heads:
            raise RecipeError("no such head", where="compare.rows.heads", met=name, hint=closest(name, recipe.heads))
    for key, columns in (("clinical", rows.clinical), ("site", (rows.site,) if rows.site else ())):
        for column in columns:
            if column not in obs.columns:
                hint = closest(column, obs.columns)
                raise RecipeError("no such column in obs", where=f"compare.rows.{key}", met=column, hint=hint)


def rows_of(
    done: Sequence[tuple[Cell, Mapping[str, Any], Record | None]], whole: Sequence[str]
) -> pd.DataFrame:  # fmt: skip
    """The table of all jobs that answered; `whole` are the modalities of the joint model."""
    found, sizes = [], {cell.latent for cell, _, _ in done if cell.latent}
    for cell, task, record in done:
        if record is None or record.value is None or not record.value.get("answers"):
            continue
        size = f", {cell.latent} dimensions" if len(sizes) > 1 and cell.latent else ""
        about: dict[str, Any] = {"model": cell.model, "setting": setting_of(cell) + size, "modalities": cell.modalities}
        about |= {"control": cell.control, "seed": task["seed"], "fold": task["fold"], "heads": task.get("heads"),
                  "columns": task.get("columns")}  # fmt: skip
        found += answered(about, record.value, whole)
    return modality_rows(found, whole)


def rows_verdict(rows: pd.DataFrame) -> list[str]:
    """What the table says: who predicts best, and what is told ahead of clinical columns and of one modality."""
    return [text for head, of in rows[rows["control"] == ""].groupby("head", sort=False) for text in _said(head, of)]


def _said(head: Any, rows: pd.DataFrame) -> list[str]:
    metric = METRICS.get(str(rows["metric"].iloc[0]), str(rows["metric"].iloc[0]))
    if not rows["mean"].notna().any():
        return [f"{head}: no row could be scored."]
    best = _best(rows)
    said = [f"{head}: the highest mean {metric} is {number(float(best['mean']))}, of {_named(best)}."]
    clinical = rows[rows["row"] == CLINICAL]
    if len(clinical):
        ahead = rows[(rows["to_clinical"] > 0) & (rows["p_clinical_adjusted"] < ALPHA)]
        who = ", ".join(dict.fromkeys(_named(r) for _, r in ahead.iterrows())) or "no row"
        said.append(
            f"{head}: clinical columns alone give {number(float(clinical['mean'].iloc[0]))}; told ahead of them: {who}."
        )
    joint = rows[(rows["reading"] == OWN) & (rows["row"] == "joint")]
    alone = rows[(rows["reading"] == OWN) & ~rows["modalities"].str.contains(" + ", regex=False)]
    alone = alone[alone["row"] == alone["modalities"]]
    for _, row in joint.iterrows():
        same = alone[alone["model"] == row["model"]]
        if same.empty:
            continue
        top = _best(same)
        told = "told apart" if top["p_joint_adjusted"] < ALPHA else "not told apart"
        said.append(
            f"{head}: {row['model']} on all modalities has {number(float(row['mean']))}, on {top['row']} alone "
            f"{number(float(top['mean']))}: {told}."
        )
    return said


def _best(rows: pd.DataFrame) -> pd.Series:
    """The row with the highest mean."""
    return rows.iloc[int(np.nanargmax(rows["mean"].to_numpy(dtype=float)))]


def _named(row: Any) -> str:
    """A row by its name, with the model where several could be meant."""
    return str(row["row"]) if row["row"] == row["model"] else f"{row['row']} ({row['model']})"
