"""The study of one modality: what is hidden, how every method does, what wins."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

from isthmus.data.table import aligned
from isthmus.errors import DataError, InputError, RecipeError, RunError, closest
from isthmus.impute.choice import Choice, choose, of_kind
from isthmus.impute.filling import ENTRIES, ROWS
from isthmus.impute.imputer import check_reads, make
from isthmus.impute.masks import GAPS, STANDARD
from isthmus.imputing.fold import Setting, methods_of
from isthmus.imputing.protocol import check_protocol, plan_of
from isthmus.imputing.recipe import ImputeRecipe
from isthmus.imputing.work import WORK, fold_of, jobs_of
from isthmus.training.engine import InterruptedTraining
from isthmus.workers import InterruptedWork, Job, Progress, run_jobs

__all__ = ["Labour", "Study", "missing", "planned", "study", "targets_of"]

log = logging.getLogger("isthmus.impute")


@dataclass(frozen=True)
class Labour:
    """Where jobs are done, by how many processes (None: one per core; 0: in this one), and who is told."""

    folder: Path
    workers: int | None = None
    watch: Callable[[Progress], None] | None = None

    def done(self, jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
        """What the jobs found; what was done before is not done again."""
        try:
            records = run_jobs(jobs, self.folder, work=WORK, workers=self.workers, watch=self.watch)
        except InterruptedWork as stop:
            raise InterruptedTraining(stop.signum, kept=any(self.folder.glob("*.json"))) from None
        for key, record in records.items():
            if record.value is None:
                (self.folder / f"{key}.json").unlink(missing_ok=True)  # another run may do better
                what, _, hint = (record.error or "a job left no result").partition("\n")
                raise (RunError if record.crashed else InputError)(what, hint=hint)
        return {k: r.value for k, r in records.items() if r.value is not None}


@dataclass
class Study:
    """What was found about one modality.

    Attributes
    ----------
    settings
        Patterns, rates and repeats.
    scores
        A row per method, pattern, rate, repeat and fold; see `isthmus.impute.benchmark`.
    choices
        Kind of gap to the choice of its method.
    samples, features
        `kind`, `method`, `pearson`; and `kind`, `method`, `feature`, `r2`, `mse`, `pearson`, `coverage`, `width`.
    calibration
        `kind`, `method`, `nominal`, `actual`, a row per fold.
    components
        Kind to method (or `truth`) to the first fold's test samples on two principal components, n x 2.
    downstream
        Rows of `isthmus.impute.downstream`, with `kind` and `fold`.
    """

    target: str
    settings: list[Setting] = field(default_factory=list)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    choices: dict[str, Choice] = field(default_factory=dict)
    samples: list[pd.DataFrame] = field(default_factory=list)
    features: list[pd.DataFrame] = field(default_factory=list)
    calibration: list[dict[str, Any]] = field(default_factory=list)
    components: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    downstream: list[pd.DataFrame] = field(default_factory=list)


def missing(mdata: md.MuData) -> pd.DataFrame:
    """What every table lacks: `modality`, `samples`, `absent`, `features`, `entries`, `missing` (where present)."""
    rows = []
    for name, adata in mdata.mod.items():
        table = aligned(adata, mdata.obs_names)
        x = table.x if isinstance(table.x, np.ndarray) else table.x.data[None, :]
        here = x[table.present] if isinstance(table.x, np.ndarray) else x
        gone = int(np.isnan(here).sum())
        size = int(table.present.sum()) * len(table.features)
        rows.append((name, mdata.n_obs, int((~table.present).sum()), len(table.features), size, gone))
    return pd.DataFrame(rows, columns=["modality", "samples", "absent", "features", "entries", "missing"])


def targets_of(recipe: ImputeRecipe, lacks: pd.DataFrame) -> list[str]:
    """The modalities to fill."""
    known = list(lacks["modality"])
    for row in lacks.to_dict("records"):
        if 0 < row["entries"] == row["missing"]:
            met, hint = f"{row['entries']:,} missing entries", "leave it out of data.read"
            raise DataError("holds no value", where=f"data: {row['modality']}", met=met, hint=hint)
    if (asked := recipe.impute.targets) is not None:
        for name in asked:
            if name not in known:
                raise RecipeError("no such modality", where="impute.target", met=name, hint=closest(name, known))
        return list(asked)
    found = [r["modality"] for r in lacks.to_dict("records") if r["absent"] or r["missing"]]
    if not found:
        hint = "impute.target: NAME scores the methods on what is known, all the same"
        raise DataError("lacks nothing", where="data", met=f"{len(known)} complete modalities", hint=hint)
    return found


def settings_of(recipe: ImputeRecipe, lack: Mapping[str, Any], *, alone: bool) -> list[Setting]:
    """Patterns, rates and repeats that have a meaning for a modality; `alone`: there is no other."""
    keys = recipe.impute
    patterns = [p for p in keys.patterns or STANDARD if not (p == GAPS and not lack["missing"])]
    patterns = [p for p in patterns if not (alone and p in (ROWS, "mar"))]
    patterns.sort(key=lambda p: p != GAPS)  # the one that counts is the one that is looked at closely
    if not patterns:
        hint = "random, sample and feature always have one"
        raise RecipeError("have no meaning here", where="impute.patterns", met=list(keys.patterns or ()), hint=hint)
    made: list[Setting] = []
    fixed = recipe.base.data.split.fixed
    for pattern in patterns:
        rates = keys.rates if pattern != ROWS else (keys.rates[0],)
        repeats = 1 if pattern == ROWS and fixed else keys.repeats
        for rate in rates:
            first = not any(s.kind == (ROWS if pattern == ROWS else ENTRIES) for s in made)
            made += [Setting(pattern, rate, r, first and r == 0) for r in range(repeats)]
    return made


def planned(mdata: md.MuData, target: str, recipe: ImputeRecipe, lack: Mapping[str, Any]) -> Study:
    """What will be studied, with all that can be refused before anything is scored."""
    settings = settings_of(recipe, lack, alone=len(mdata.mod) < 2)
    given = [ENTRIES, *(["source"] if len(mdata.mod) > 1 else []), *(["classes"] if recipe.impute.classes else [])]
    for name, method in map(make, recipe.impute.methods or ()):
        check_reads(name, method, given, where="impute.methods")
    check_protocol(recipe, mdata, target, settings)
    return Study(target, settings)


def study(found: Study, mdata: md.MuData, recipe: ImputeRecipe, labour: Labour) -> None:
    """Score every method in every setting, and choose; what is found is put into `found`."""
    target = found.target
    folds = len(plan_of(recipe, target, found.settings[0]).parts(mdata, target))
    jobs = jobs_of(recipe, target, found.settings, folds)
    records = labour.done(jobs)
    rows: list[dict[str, Any]] = []
    for job in jobs:
        part = fold_of(records[job.key], labour.folder / job.key)
        kind = Setting(**job.task["setting"]).kind
        rows += part.rows
        for name in ("samples", "features", "calibration", "downstream"):
            getattr(found, name).extend(getattr(part, name))
        if part.components:
            found.components[kind] = part.components
    found.scores = pd.DataFrame(rows)
    _told(found)
    for kind in (ENTRIES, ROWS):
        of = of_kind(found.scores, kind)
        if len(of):
            efforts = {n: type(m).effort for n, m in methods_of(recipe, list(dict.fromkeys(of["method"])))}
            found.choices[kind] = choose(of, efforts)
            log.info("%s, %s: %s", target, kind, found.choices[kind].method)


def _told(found: Study) -> None:
    """What was found, into the log."""
    keys = ["pattern", "rate", "method"]
    for (pattern, rate, method), of in found.scores.groupby(keys, dropna=False, sort=False):
        seconds, r2 = of["seconds"].mean(), of["r2"].mean()
        log.info("%s, %s %s, %s: r2 %.3f, %.1f s a fold", found.target, pattern, rate, method, r2, seconds)
