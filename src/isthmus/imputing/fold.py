"""One fold of a study: every method on the same hidden values, and what the report shows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from isthmus.evaluate.arrays import feature_means
from isthmus.evaluate.reconstruct import reconstruction_by_feature
from isthmus.impute.benchmark import Scored, given, hiding, score
from isthmus.impute.downstream import downstream
from isthmus.impute.filling import ENTRIES, ROWS
from isthmus.impute.imputer import Imputer, make, usable
from isthmus.impute.intervals import coverage, half_widths
from isthmus.impute.tasks import Task
from isthmus.imputing.recipe import ImputeRecipe

__all__ = ["Fold", "Setting", "methods_of", "scored_fold", "with_training"]

NOMINAL = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
MOST_SAMPLES = 2000
"""Samples whose correlations are kept per method and fold."""


@dataclass(frozen=True)
class Setting:
    """One pattern, rate and repeat; `main` for the one of a kind of gap that is looked at closely."""

    pattern: str
    rate: float
    repeat: int
    main: bool

    @property
    def kind(self) -> str:
        """Of gap."""
        return ROWS if self.pattern == ROWS else ENTRIES


@dataclass
class Fold:
    """What was found on one fold.

    Attributes
    ----------
    rows
        A row per method; see `isthmus.impute.benchmark`.
    calibration
        `kind`, `method`, `nominal`, `actual`.
    samples, features, downstream
        As in `isthmus.imputing.study.Study`; empty but for the main setting.
    components
        Method (or `truth`) to the test samples on two principal components, n x 2; of the main setting's first fold.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    calibration: list[dict[str, Any]] = field(default_factory=list)
    samples: list[pd.DataFrame] = field(default_factory=list)
    features: list[pd.DataFrame] = field(default_factory=list)
    downstream: list[pd.DataFrame] = field(default_factory=list)
    components: dict[str, np.ndarray] = field(default_factory=dict)


def methods_of(recipe: ImputeRecipe, names: Sequence[str]) -> list[tuple[str, Imputer]]:
    """What the recipe names, or these; with the recipe's training in those that train a network."""
    chosen = [make(m) for m in recipe.impute.methods or names]
    return [(n, with_training(m, recipe)) for n, m in chosen]


def with_training(method: Imputer, recipe: ImputeRecipe) -> Imputer:
    """The method under the recipe's own training settings, where it has any use for them."""
    known = method.get_params(deep=False)
    loop = {k: getattr(recipe.base.training, k) for k in recipe.loop}
    if "loop" in known:
        seed, epochs = loop.pop("seed", known["seed"]), loop.pop("epochs", known["epochs"])
        own = {k: known["loop"][k] for k in known["loop"] or {}}
        method.set_params(seed=seed, epochs=epochs, loop={**loop, **own} or None)
    return method


def scored_fold(task: Task, recipe: ImputeRecipe, obs: pd.DataFrame, setting: Setting, fold: int) -> Fold:
    """Every method on one fold; what the report shows of the main settings is kept."""
    found, filled = Fold(), {}
    keys, seed = recipe.impute, recipe.base.training.seed
    where = {"pattern": setting.pattern, "rate": np.nan if setting.kind == ROWS else setting.rate}
    for name, method in methods_of(recipe, usable(given(task, setting.pattern))):
        level = keys.level if setting.main else None
        got = score(task, method, hiding(setting.pattern, setting.rate), level=level, seed=seed)
        found.rows.append({"method": name, **where, "repeat": setting.repeat, "fold": fold, **got.scores})
        if setting.main:
            _keep(found, task, got, {"kind": setting.kind, "method": name}, keys.level)
            filled[name] = (got.fitted, got.filled)
    if setting.main and fold == 0:
        found.components = _components(task, {n: f for n, (_, f) in filled.items()})
    if setting.main and (asked := keys.downstream) is not None:
        told = keys.classes == asked.label  # what reads the label to fill the table would be asked for what it was told
        fair = {n: f for n, f in filled.items() if not (told and "classes" in f[0].reads)}
        said = downstream(task, fair, obs[asked.label], learners=asked.learners, seeds=asked.seeds)
        found.downstream.append(said.assign(kind=setting.kind, fold=fold))
    return found


def _keep(found: Fold, task: Task, got: Scored, label: dict[str, str], level: float) -> None:
    """Correlations by sample and feature, coverage by feature and by level."""
    truth, guess = np.nan_to_num(task.truth), np.nan_to_num(got.filled)
    means = np.nan_to_num(feature_means(task.train))
    features = reconstruction_by_feature(
        truth, guess, features=task.pipeline.features_out_, observed=got.observed, reference=means
    )
    if got.errors is not None:
        for nominal in NOMINAL:
            widths = half_widths(got.errors, nominal)
            inside, _ = coverage(task.truth, got.filled, widths, got.observed)
            found.calibration.append({**label, "nominal": nominal, "actual": inside})
        widths = half_widths(got.errors, level)
        known = got.observed & ~np.isnan(widths)  # without a width nothing is said, which is not the same as missed
        within = np.where(known, np.abs(truth - guess) <= widths, np.nan)
        n = known.sum(axis=0)
        features["coverage"] = np.nansum(within, axis=0) / np.where(n > 0, n, np.nan)
        features["width"] = 2 * widths
    found.features.append(features.assign(**label))
    few = slice(0, MOST_SAMPLES)
    pearson = [_pearson(a[s], b[s]) for a, b, s in zip(truth[few], guess[few], got.observed[few], strict=True)]
    found.samples.append(pd.DataFrame({**label, "pearson": pearson}))


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 3 or a.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1]) if b.std() > 0 else 0.0


def _components(task: Task, filled: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Test samples on the first two principal components of the training samples, as they are and as filled."""
    centre = np.nan_to_num(task.train_truth)
    mean = centre.mean(axis=0)
    x = centre - mean
    square = x @ x.T if len(x) <= x.shape[1] else x.T @ x
    vectors = np.linalg.eigh(square)[1][:, -2:][:, ::-1]
    axes = x.T @ vectors if len(x) <= x.shape[1] else vectors
    axes /= np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
    axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))  # one feature, or one sample, has no second
    tables = {"truth": task.truth, **filled}
    return {name: (np.nan_to_num(t) - mean) @ axes for name, t in tables.items()}
