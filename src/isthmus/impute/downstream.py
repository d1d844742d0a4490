"""What a classifier makes of imputed values: beside the original, the source alone, and both together.

Imputer and classifier are fitted on the training samples of a fold, as everywhere. A method that reads the source can
carry what the source knows of the label into the table it fills: the rows `source alone` and `source + original` are
there so that such a gain is seen as what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from isthmus.evaluate.arrays import feature_means
from isthmus.evaluate.probes import probe
from isthmus.evaluate.spread import nadeau_bengio
from isthmus.impute.imputer import Imputer
from isthmus.impute.tasks import Task

__all__ = ["ORIGINAL", "SOURCE", "downstream", "summary"]

ORIGINAL, SOURCE, BOTH = "original", "source alone", "source + original"
SEEDED = ("forest",)
"""Learners whose answer depends on a seed."""


def downstream(
    task: Task,
    methods: Mapping[str, tuple[Imputer, np.ndarray]],
    labels: pd.Series,
    *,
    learners: Sequence[str] = ("logistic", "forest"),
    seeds: int = 5,
) -> pd.DataFrame:
    """Predict a label from each version of a table, on one fold.

    Parameters
    ----------
    task
        The fold.
    methods
        Name to the method fitted on the task's training samples, and its filled test table, n x f.
    labels
        Index = sample ids.
    learners
        Some of `logistic`, `forest` and `svm`; see `isthmus.evaluate.probes`.
    seeds
        How many forests.

    Returns
    -------
    pandas.DataFrame
        `values` (`original`, `source alone`, `source + original`, or a method), `learner`, `seed`, `metric`, `value`,
        `n_train`, `n_test`.
    """
    means = np.nan_to_num(feature_means(task.train_truth))
    train = {ORIGINAL: _whole(task.train_truth, means)}
    test = {ORIGINAL: _whole(task.truth, means)}
    if task.source is not None:
        centre = np.nan_to_num(feature_means(task.source[0]))
        train[SOURCE], test[SOURCE] = (_whole(s, centre) for s in task.source)
        train[BOTH] = np.hstack([train[SOURCE], train[ORIGINAL]])
        test[BOTH] = np.hstack([test[SOURCE], test[ORIGINAL]])
    for name, (fitted, filled) in methods.items():
        train[name] = _whole(fitted.transform(task.train, **task.given(0)), means)
        test[name] = _whole(filled, means)
    sides = [pd.DataFrame({str(labels.name): labels.loc[ids].to_numpy()}) for ids in (task.train_ids, task.ids)]
    found = []
    for seed in range(seeds):
        asked = [name for name in learners if seed == 0 or name in SEEDED]
        if asked:
            rows = probe(train, test, sides[0], sides[1], learners=asked, seed=seed)
            found.append(rows.assign(seed=seed))
    table = pd.concat(found, ignore_index=True).rename(columns={"representation": "values"})
    return table[["values", "learner", "seed", "metric", "value", "n_train", "n_test"]]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over folds (of the mean over seeds) with a 95 % interval; `rows` also has `fold`.

    An interval ends where the score does: at 1, and at 0 but for R², which has no lower end.
    """
    found = []
    for key, of in rows.groupby(["values", "learner", "metric"], sort=False):
        folds = of.groupby("fold")["value"].mean().to_numpy()
        mean, lower, upper, _ = nadeau_bengio(folds, float(of["n_train"].mean()), float(of["n_test"].mean()))
        lower = lower if key[2] == "r2" else max(lower, 0.0)
        found.append((*key, mean, lower, min(upper, 1.0), len(folds)))
    return pd.DataFrame(found, columns=["values", "learner", "metric", "mean", "lower", "upper", "folds"])


def _whole(x: np.ndarray, means: np.ndarray) -> np.ndarray:
    """What is still missing as the train mean; features that were never observed as 0."""
    return np.where(np.isnan(x), means, x)
