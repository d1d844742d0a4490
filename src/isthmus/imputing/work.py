"""The folds of a study as jobs: in processes of their own, and none that is done is done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

from isthmus.data.content import content_of, fingerprint
from isthmus.experiment import cohort
from isthmus.impute.tasks import tasks
from isthmus.imputing.fold import Fold, Setting, scored_fold
from isthmus.imputing.protocol import plan_of
from isthmus.imputing.recipe import ImputeRecipe, parse_impute_recipe
from isthmus.workers import Job
from isthmus.yaml_text import load_yaml

__all__ = ["WORK", "fold_of", "jobs_of", "read_cohort", "work"]

WORK = "isthmus.imputing.work:work"
FORMAT = 2
TABLES = ("samples", "features", "downstream")
CLOSER = 3.0
"""How much longer a fold takes that is looked at closely."""


def jobs_of(recipe: ImputeRecipe, target: str, settings: Sequence[Setting], folds: int) -> list[Job]:
    """A job per setting and fold; its key says what comes of it: recipe, content of the files, setting, fold."""
    text, mark = recipe.text(), fingerprint(recipe.base.data.model_dump(mode="json"))
    mark += "" if recipe.impute.masks is None else content_of(Path(recipe.impute.masks))
    made = []
    for setting in settings:
        for fold in range(folds):
            task = {"target": target, "setting": asdict(setting), "fold": fold}
            key = hashlib.sha256(json.dumps([text, mark, FORMAT, task]).encode()).hexdigest()[:32]
            made.append(Job(key, {**task, "recipe": text}, CLOSER if setting.main else 1.0))
    return made


def work(task: dict[str, Any], place: Path) -> dict[str, Any]:
    """Carry out a job of `isthmus impute`.

    Parameters
    ----------
    task
        `recipe` (YAML), `target`, `setting` (of `Setting`), `fold`.
    place
        Tables are left beside it, as `<place>-<name>.parquet` and `<place>-components.npz`.

    Returns
    -------
    dict
        `rows` and `calibration` of `Fold`.

    Raises
    ------
    IsthmusError
        A method cannot be fitted to these samples.
    """
    recipe, mdata = _recipe(task["recipe"]), read_cohort(task["recipe"])
    setting, fold = Setting(**task["setting"]), int(task["fold"])
    (one,) = tasks(mdata, task["target"], plan_of(recipe, task["target"], setting), only=fold)
    found = scored_fold(one, recipe, mdata.obs, setting, fold)
    for name in TABLES:
        if parts := getattr(found, name):
            pd.concat(parts, ignore_index=True).to_parquet(_beside(place, f"{name}.parquet"))
    if found.components:
        np.savez(_beside(place, "components.npz"), **found.components)  # type: ignore[arg-type]
    return {"rows": found.rows, "calibration": found.calibration}


def fold_of(value: dict[str, Any], place: Path) -> Fold:
    """What a job found."""
    found = Fold(rows=value["rows"], calibration=value["calibration"])
    for name in TABLES:
        if (path := _beside(place, f"{name}.parquet")).exists():
            getattr(found, name).append(pd.read_parquet(path))
    if (path := _beside(place, "components.npz")).exists():
        with np.load(path, allow_pickle=False) as arrays:
            found.components = dict(arrays)
    return found


@lru_cache(maxsize=1)
def read_cohort(recipe: str) -> md.MuData:
    """The cohort of a recipe's text, read once in a process."""
    return cohort(_recipe(recipe).base)


@lru_cache(maxsize=1)
def _recipe(text: str) -> ImputeRecipe:
    return parse_impute_recipe(load_yaml(text.encode(), "recipe.yaml"))


def _beside(place: Path, name: str) -> Path:
    return place.with_name(f"{place.name}-{name}")
