"""Every method on the same hidden entries, by folds of patients: who fills gaps best, and how sure it is.

Whatever is fitted (scaling, methods, interval widths) is fitted on the visible training entries of a fold; scores are
of hidden entries of its test samples alone. Two tasks that must not be mixed: with `pattern="modality"` a test sample
shows nothing of the target and is filled from the other modalities; with any other pattern single entries are hidden,
of training samples, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from isthmus.data.accepted import Data
from isthmus.errors import RecipeError
from isthmus.evaluate.arrays import feature_means
from isthmus.evaluate.reconstruct import reconstruction
from isthmus.impute.calls import call_scores, levels_of
from isthmus.impute.imputer import Imputer, check_reads, make, usable
from isthmus.impute.intervals import Hide, coverage, half_widths, residuals
from isthmus.impute.masks import GAPS, ROWS, draw
from isthmus.impute.tasks import Plan, Task, options, tasks

__all__ = ["Plan", "Scored", "Task", "benchmark", "given", "hiding", "score", "tasks"]

log = logging.getLogger("isthmus.impute")
Entry = str | Mapping[str, Mapping[str, Any]] | Imputer


@dataclass(frozen=True)
class Scored:
    """One method on one task.

    Attributes
    ----------
    scores
        Name to number; see `benchmark`.
    fitted
        The estimator, fitted on the training samples.
    filled
        The test table with its gaps filled, n x f, standardised.
    observed
        The hidden entries that are scored, n x f.
    errors
        Residuals of training samples set aside, k x f, NaN where nothing was hidden; None where none were asked for.
    """

    scores: dict[str, float | str]
    fitted: Imputer
    filled: np.ndarray
    observed: np.ndarray
    errors: np.ndarray | None


def benchmark(
    mdata: Data,
    target: str,
    *,
    methods: Entry | Sequence[Entry] | None = None,
    intervals: float | None = 0.9,
    **keys: Any,
) -> pd.DataFrame:
    """Hide what is known, fill it by every method, and score.

    Parameters
    ----------
    mdata
        The cohort; modalities other than `target` are the source.
    target
        The modality to fill.
    methods
        Names, `{name: {option: value}}` or estimators; all by default that the pattern gives something to read.
    intervals
        Level of the split-conformal intervals; None leaves them out, and with them a second fit of each method.
    **keys
        `pattern`, `rate`, `folds`, `group`, `seed`, `classes`, `prepare`, `hidden`: see `Plan`.

    Returns
    -------
    pandas.DataFrame
        A row per method and fold: `method`, `pattern`, `rate`, `fold`; of values standardised by train `mse`, `nrmse`,
        `r2` (over all hidden values together, against the train means: 0 is what these give), `r2_feature` (mean
        over features; noise where few values of a feature are hidden), `pearson_sample`, `pearson_feature`;
        `mse_raw`, `r2_raw`, `r2_feature_raw` in original units; `balanced_accuracy` (0..1) and `ordinal_error`
        (levels) where the target is discrete; `coverage`, `width` of the intervals; `seconds`; `n_entries`;
        `inputs`, a digest of what the method saw, the same for all.

    Raises
    ------
    RecipeError
        An unknown modality, method, option, pattern or column; a method that has nothing to read.
    DataError
        No sample has both the target and another modality (pattern `modality`).
    """
    if intervals is not None and not 0 < intervals < 1:
        raise RecipeError("is no level", where="intervals", met=intervals, wanted="above 0 and below 1")
    if methods is not None and not isinstance(methods, Imputer) and not methods:
        raise RecipeError("names no method", where="methods", hint="leave it out for all there are")
    plan = options(Plan, keys)
    rows = []
    if isinstance(methods, str | Mapping | Imputer):
        methods = [methods]
    chosen = [make(m) for m in methods] if methods is not None else None
    hide, where = hiding(plan.pattern, plan.rate), {"pattern": plan.pattern, "rate": plan.rate}
    for fold, task in enumerate(tasks(mdata, target, plan)):
        for name, method in chosen or [make(n) for n in usable(given(task, plan.pattern))]:
            check_reads(name, method, given(task, plan.pattern))
            scores = score(task, method, hide, level=intervals, seed=plan.seed).scores
            log.info("%s, fold %d, %s: r2 %.3f in %.1f s", plan.pattern, fold, name, scores["r2"], scores["seconds"])
            rows.append({"method": name, **where, "fold": fold, **scores})
    return pd.DataFrame(rows)


def given(task: Task, pattern: str) -> list[str]:
    """What a method can read here: `entries`, `source`, `classes`."""
    return [
        *(["entries"] if pattern != ROWS else []),
        *(["source"] if task.source is not None else []),
        *(["classes"] if task.classes is not None else []),
    ]


def hiding(pattern: str, rate: float) -> Hide:
    """What is hidden of training samples set aside, in the pattern of the gaps."""
    if pattern == ROWS:
        return lambda x, rng: np.ones(x.shape, dtype=bool)
    plain = "random" if pattern == "mar" else pattern
    if pattern == GAPS:
        return lambda x, rng: _some(x, rate, rng)
    return lambda x, rng: draw(x, plain, rate=rate, rng=rng)


def _some(x: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """As the gaps of the table; at random where it has none."""
    hidden = draw(x, GAPS, rate=rate, rng=rng)
    return hidden if hidden.any() else draw(x, "random", rate=rate, rng=rng)


def score(task: Task, method: Imputer, hide: Hide, *, level: float | None = 0.9, seed: int = 0) -> Scored:
    """One method on one task; `level` None leaves out the intervals, and with them a second fit."""
    started = time.perf_counter()
    fitted = clone(method).fit(task.train, **task.given(0))
    filled = fitted.transform(task.test, **task.given(1))
    seconds = time.perf_counter() - started
    observed = task.hidden & ~np.isnan(task.truth) & ~np.isnan(filled)
    scores = _accuracy(task, filled, observed)
    errors = None
    if level is not None:
        errors = residuals(method, task.train, hide, seed=seed, **task.given(0))
        inside, width = coverage(task.truth, filled, half_widths(errors, level), observed)
        scores |= {"coverage": inside, "width": width}
    scores |= {"seconds": seconds, "n_entries": float(observed.sum()), "inputs": task.digest()}
    return Scored(scores, fitted, filled, observed, errors)


def _accuracy(task: Task, filled: np.ndarray, observed: np.ndarray) -> dict[str, float | str]:
    """How near the filled entries are to the truth, standardised and in original units."""
    means = np.nan_to_num(feature_means(task.train))
    guess = np.nan_to_num(filled)
    found = reconstruction(np.nan_to_num(task.truth), guess, observed=observed, reference=means)
    raw_truth, raw_guess = (task.pipeline.inverse(v) for v in (task.truth, guess))
    centre = task.pipeline.inverse(means[None, :])[0]
    raw = reconstruction(np.nan_to_num(raw_truth), raw_guess, observed=observed, reference=centre)
    spread = np.sqrt(np.mean((np.nan_to_num(task.truth) - means)[observed] ** 2)) if observed.any() else np.nan
    scores: dict[str, float | str] = {
        "mse": found["mse"], "nrmse": float(np.sqrt(found["mse"]) / spread) if spread else np.nan,
        "r2": found["r2"], "r2_feature": found["r2_feature"],
        "pearson_sample": found["pearson_sample"], "pearson_feature": found["pearson_feature"],
        "mse_raw": raw["mse"], "r2_raw": raw["r2"], "r2_feature_raw": raw["r2_feature"],
    }  # fmt: skip
    if (known := levels_of(raw_truth)) is not None:
        scores |= call_scores(raw_truth[observed], raw_guess[observed], known)
    return scores
