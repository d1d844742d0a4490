"""A trial: the recipe with some settings, fitted and judged on every division of the samples to learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

from isthmus import registry
from isthmus.config import copy_with
from isthmus.data.cohort import take_samples
from isthmus.data.split import Split, assign_folds
from isthmus.errors import RecipeError, RunError
from isthmus.fitting import fit
from isthmus.recipe import Recipe
from isthmus.tuning.scores import Held, Score, loss_of
from isthmus.tuning.space import Space
from isthmus.tuning_keys import Tuning

__all__ = ["Bench", "Division", "Stopped", "divisions", "seed_of"]

Report = Callable[[int, float], bool]
"""Told of a step and a value that falls as things get better; answers whether to stop."""
REFERENCE = "valid/reference"
EVERY_EPOCH, SOMETIMES = 20, 5
"""So many epochs are all told, then every fifth."""


class Stopped(Exception):
    """The pruner stops a trial."""


class Hopeless(RunError):
    """Settings under which nothing can be measured."""


@dataclass(frozen=True)
class Division:
    """Sample ids to fit on, to stop early by (none: `fit` sets some aside), and to judge by."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    held: tuple[str, ...]


@dataclass(frozen=True)
class Bench:
    """Where trials are made.

    `mdata` holds no sample but those of `divisions`. `early`: losses of epochs are told while a trial goes on.
    """

    mdata: md.MuData
    space: Space
    scores: tuple[Score, ...]
    divisions: tuple[Division, ...]
    early: bool = False

    def trial(self, task: Mapping[str, Any], report: Report) -> list[float]:
        """Judge proposed parameters: a value per score.

        Raises
        ------
        Stopped
            `report` said so.
        RunError
            Training could not go on, or a score is not finite.
        InputError
            The settings exclude each other, or do not fit the data.
        """
        recipe = self.space.recipe_with(task["parameters"])
        parts: list[list[list[float]]] = [[] for _ in self.scores]
        for k, division in enumerate(self.divisions):
            of = self._fitted(recipe, division, seed_of(task["seed"], k), report if self.early and k == 0 else None)
            for found, score in zip(parts, self.scores, strict=True):
                found.append(score.measure(of))
            if len(self.divisions) > 1 and not self.early and len(self.scores) == 1:
                value = self.scores[0].pooled(parts[0])
                if np.isfinite(value) and report(k, -value if self.scores[0].larger else value):
                    raise Stopped
        values = [score.pooled(found) for score, found in zip(self.scores, parts, strict=True)]
        if wrong := [s.name for s, v in zip(self.scores, values, strict=True) if not np.isfinite(v)]:
            raise Hopeless("cannot be measured", where=wrong[0])
        return values

    def refit(self, task: Mapping[str, Any], report: Report) -> list[float]:
        """Fit `parameters` (None: the recipe's own) with `seed` and give every score on the last division's held."""
        recipe = self.space.recipe if task["parameters"] is None else self.space.recipe_with(task["parameters"])
        of = self._fitted(recipe, self.divisions[task.get("division", 0)], task["seed"], None)
        return [score.pooled([score.measure(of)]) for score in self.scores]

    def _fitted(self, recipe: Recipe, division: Division, seed: int, report: Report | None) -> Held:
        train, held = (take_samples(self.mdata, ids) for ids in (division.train, division.held))
        valid = take_samples(self.mdata, division.valid) if division.valid else None
        training = copy_with(recipe.training, seed=seed, threads=1, devices=1, tensorboard=False)
        weighed = report is not None and bool(self.space.weighing)
        fitted = fit(
            recipe.model, train, valid, prepare=recipe.prepare, likelihood=recipe.likelihood, **recipe.supervision,
            training=training, watch=None if report is None else _Watch(report, _last_phase(recipe)),
            measure=(lambda m, v: {REFERENCE: loss_of(m, v, self.space)}) if weighed else None,
        )  # fmt: skip
        return Held(fitted, train, held)


@dataclass(frozen=True)
class _Watch:
    """Tells the losses of the last phase's epochs: those of others are on other scales."""

    report: Report
    phase: str

    def __call__(self, row: dict[str, Any]) -> None:
        value = row.get(REFERENCE, row.get("valid/total"))
        if row["epoch"] >= EVERY_EPOCH and row["epoch"] % SOMETIMES:
            return
        if row["phase"] == self.phase and value is not None and self.report(row["epoch"], value):
            raise Stopped


def _last_phase(recipe: Recipe) -> str:
    return registry.get(registry.name_of(recipe.model)).phases[-1].name


def seed_of(seed: int, *numbers: int) -> int:
    """A seed of its own for everything that is numbered."""
    return int(np.random.SeedSequence([seed, *numbers]).generate_state(1)[0])


def divisions(parts: pd.Series, obs: pd.DataFrame, split: Split, keys: Tuning) -> tuple[Division, ...]:
    """How trials divide the samples of train and valid; samples of test are in none.

    Parameters
    ----------
    parts
        `train`, `valid` or `test` of every sample id.
    obs
        Annotations of these samples.
    split, keys
        The recipe's.

    Raises
    ------
    DataError
        There are too few samples or groups for the folds.
    """
    train, valid = (tuple(map(str, parts.index[parts == p])) for p in ("train", "valid"))
    if keys.folds is None and valid:
        return (Division(train, valid, valid),) * keys.repeats
    learn = obs.loc[[i for i in map(str, parts.index) if i in {*train, *valid}]]
    found = []
    for r in range(keys.repeats):
        number = _folds(learn, split, keys, seed_of(keys.seed, r))
        for k in sorted(set(number)):
            inside = np.asarray(number == k)
            ids = learn.index.to_numpy().astype(str)
            found.append(Division(tuple(ids[~inside]), (), tuple(ids[inside])))
    return tuple(found)


def _folds(learn: pd.DataFrame, split: Split, keys: Tuning, seed: int) -> pd.Series:
    if keys.folds != "loo":
        columns = {"group": split.group, "sites": split.sites, "stratify": split.stratify, "order": split.order}
        return assign_folds(learn, keys.folds or 5, seed=seed, **columns)
    units = pd.Series(np.arange(len(learn)), index=learn.index)
    if split.group is not None:
        codes, _ = pd.factorize(learn[split.group].astype(object))
        units = pd.Series(np.where(codes >= 0, codes, codes.max() + 1 + np.arange(len(codes))), index=learn.index)
    if units.nunique() < 2:
        raise RecipeError("leaves no sample to fit on", where="tune.folds", met="loo")
    return units
