"""What is hidden and how samples are divided, as files: written by every run, and read again by `impute.masks`.

masks/<target>-<pattern>-<rate>-<repeat>.json.gz   entries that are hidden; see `isthmus.impute.write_mask`
masks/<target>-folds-<repeat>.json                 ids of the training and of the test samples of every fold
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import mudata as md
import pandas as pd

from isthmus.data.split import Split
from isthmus.data.split_files import read_folds
from isthmus.data.write import atomic
from isthmus.errors import DataError
from isthmus.impute.masks import ROWS, write_mask
from isthmus.impute.tasks import Plan
from isthmus.imputing.fold import Setting
from isthmus.imputing.recipe import ImputeRecipe

__all__ = ["MASKS", "check_protocol", "plan_of", "write_protocol"]

MASKS = "masks"


def plan_of(recipe: ImputeRecipe, target: str, setting: Setting) -> Plan:
    """How a setting hides and divides."""
    given = None if recipe.impute.masks is None or setting.pattern == ROWS else Path(recipe.impute.masks)
    return Plan(
        setting.pattern, setting.rate, folds=_split(recipe, target, setting.repeat),
        seed=recipe.base.training.seed + setting.repeat, classes=recipe.impute.classes, prepare=recipe.base.prepare,
        hidden=None if given is None else given / _name(target, setting),
    )  # fmt: skip


def _split(recipe: ImputeRecipe, target: str, repeat: int) -> Split:
    """The folds of a repeat: those of the masks, or what the data name themselves; others are drawn anew."""
    if recipe.impute.masks is not None:
        return Split(file=str(Path(recipe.impute.masks) / _folds(target, repeat)))
    given = recipe.base.data.split
    if given.fixed:
        return given
    return given.model_copy(update={"seed": given.seed + repeat})


def check_protocol(recipe: ImputeRecipe, mdata: md.MuData, target: str, settings: Sequence[Setting]) -> None:
    """Refuse masks and folds of other samples or features, if any are given.

    Raises
    ------
    DataError
        A file is missing, or of another cohort.
    """
    if recipe.impute.masks is None:
        return
    for setting in settings:
        plan = plan_of(recipe, target, setting)
        plan.mask(mdata, target)
        file = str(plan.split().file)
        named = {i for parts in read_folds(file) for i in parts.index}
        if away := named - set(mdata.mod[target].obs_names):
            met, wanted = f"{len(away):,} of its {len(named):,} samples are not there", "samples of this cohort"
            raise DataError("holds the folds of another cohort", where=file, met=met, wanted=wanted)


def write_protocol(
    folder: Path, recipe: ImputeRecipe, mdata: md.MuData, settings: Mapping[str, Sequence[Setting]]
) -> None:
    """Masks and folds of every setting, by target."""
    folder.mkdir(exist_ok=True)
    for target, several in settings.items():
        for setting in several:
            plan = plan_of(recipe, target, setting)
            if (hidden := plan.mask(mdata, target)) is not None:
                told = {"target": target, "pattern": plan.pattern, "rate": plan.rate, "seed": plan.seed}
                write_mask(hidden, folder / _name(target, setting), **told)
            _write_folds(plan.parts(mdata, target), folder / _folds(target, setting.repeat))


def _write_folds(folds: Sequence[pd.Series], path: Path) -> None:
    ids = [{p: [str(i) for i in parts.index[parts == p]] for p in ("train", "test")} for parts in folds]
    with atomic(path) as new:
        new.write_text(json.dumps({"folds": ids}) + "\n", encoding="utf-8")


def _name(target: str, setting: Setting) -> str:
    return f"{target}-{setting.pattern}-{setting.rate:g}-{setting.repeat}.json.gz"


def _folds(target: str, repeat: int) -> str:
    return f"{target}-folds-{repeat}.json"
