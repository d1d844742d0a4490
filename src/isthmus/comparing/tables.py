"""The results of jobs as one long table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from isthmus import registry
from isthmus.comparing.grid import Cell
from isthmus.workers import Record
from isthmus.yaml_text import dump_yaml

__all__ = ["runs_table", "setting_of"]

NAMES = {
    "pca": "PCA", "balanced_pca": "balanced PCA", "sparse_pca": "sparse PCA", "nmf": "NMF", "umap": "UMAP",
    "mofa": "MOFA", "random_features": "random features", "raw": "raw features", "clinical": "clinical",
    "site alone": "site alone",
}  # fmt: skip
COSTS = ("seconds", "memory_mb", "parameters", "epochs", "dimensions")
COLUMNS = [
    "id", "setting", "kind", "model", "latent", "modalities", "control", "tuned", "keys", "seed", "fold", "group",
    "score", "label", "learner", "metric", "draw", "value", "n_train", "n_test", "job", "note",
]  # fmt: skip


def runs_table(done: Sequence[tuple[Cell, Mapping[str, Any], Record | None]], grid: Sequence[Cell]) -> pd.DataFrame:
    """A row per job and score, and one per job that failed or could not be asked for.

    Parameters
    ----------
    done
        Setting, task and record of every job.
    grid
        All settings: those refused have no job.

    Returns
    -------
    pandas.DataFrame
        `id` numbers the settings; `kind` is `model` or `baseline`; `group` is `reconstruction`, `task`, `clustering` or
        `cost`, empty where `note` says what went wrong; `score` names it whole; `draw` counts random features.
    """
    numbers: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    for cell, task, record in done:
        about = _about(cell, numbers) | {"seed": task["seed"], "fold": task["fold"]}
        if record is None or record.value is None:
            note = "not done" if record is None else " ".join(str(record.error).split("\n")[0].split())
            rows.append(about | {"note": note, "job": None if record is None else record.key})
            continue
        rows += [about | row | {"job": record.key} for row in _scores(record.value)]
    rows += [_about(c, numbers) | {"note": " ".join(c.refused.split())} for c in grid if c.refused is not None]
    table = pd.DataFrame(rows, columns=COLUMNS)
    texts = ["group", "score", "label", "learner", "metric", "note", "job"]
    return table.assign(**{c: table[c].fillna("").astype(str) for c in texts}, draw=table["draw"].fillna(0).astype(int))


def _about(cell: Cell, numbers: dict[str, int]) -> dict[str, Any]:
    """What identifies a setting."""
    model, said = cell.model in registry.names(), _said(cell)
    about = {
        "setting": setting_of(cell),
        "kind": "model" if model else "baseline", "model": cell.model, "latent": cell.latent,
        "modalities": " + ".join(cell.modalities), "control": cell.control, "tuned": cell.tuned, "keys": said,
    }  # fmt: skip
    identity = dump_yaml({**about, "tree": cell.tree.get("model", {}) if model else {}})
    return {"id": numbers.setdefault(identity, len(numbers)), **about}


def _said(cell: Cell) -> str:
    """The values of the grid's keys, but for the number of dimensions."""
    keys = {k: v for k, v in cell.keys.items() if k != "model.latent"}
    return "; ".join(f"{k.removeprefix('model.')}={_shown(v)}" for k, v in keys.items())


def setting_of(cell: Cell) -> str:
    """What a setting is called."""
    model, said = cell.model in registry.names(), _said(cell)
    name = registry.settings(cell.model).__name__ if model else NAMES[cell.model]
    return name + (" (tuned)" if cell.tuned else "") + (f" · {said}" if said else "")


def _shown(value: Any) -> str:
    """A value of the grid on one line, lists without quotation marks."""
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def _scores(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a record, and its costs as further ones."""
    columns = value["rows"]
    sizes: dict[str, Any] = {}
    for values in zip(*columns.values(), strict=True):
        row = dict(zip(columns, values, strict=True))
        sizes = {k: row[k] for k in ("n_train", "n_test")}
        parts = (row["metric"], row["label"], row["learner"])
        yield {**row, "score": "/".join(p for p in parts if p)}
    for name in COSTS:
        cost = value.get(name)
        yield {
            "group": "cost",
            "metric": name,
            "score": name,
            "value": np.nan if cost is None else float(cost),
            **sizes,
        }
