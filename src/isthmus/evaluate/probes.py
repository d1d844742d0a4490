"""What can be read off a representation: simple learners, fitted on train, scored on test.

Learners: `logistic` (L2, C = 1), `svm` (RBF kernel, C = 1, gamma 1/(d var)) and `forest` (100 trees, leaves of two
samples or more) for classes; under the same names ridge regression (alpha = 1), RBF support vector regression (C = 1)
and a regression forest for values, which are standardised by train. Representations are standardised by the training
samples of the task. Where a dense representation has more columns than samples, the logistic and the ridge learner
work on its coordinates in the span of the training samples, which changes no prediction (METHODS 3).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from isthmus.errors import DataError, RecipeError, closest
from isthmus.evaluate import metrics
from isthmus.evaluate.arrays import Matrix, check_rows, check_table
from isthmus.evaluate.tasks import MIN_CLASS, Task, task

__all__ = ["LEARNERS", "Answer", "Probes", "probe", "run_probes"]

log = logging.getLogger("isthmus.evaluate")

LEARNERS = ("logistic", "svm", "forest")
MOST_COLUMNS = 5_000
"""Wider representations (raw features) are given to the logistic learner only."""
MOST_ROWS = 10_000
"""With more training samples the support vector machine, quadratic in them, is left out."""
MOST_PRODUCTS = 20_000_000_000
"""It is left out, too, where samples^2 x columns are more than this: some twenty seconds."""
TREES = 100
LEAF = 2
MAX_ITER = 2_000


@dataclass(frozen=True)
class Answer:
    """What a learner said of the test samples: class scores (n x C) and codes, or values twice."""

    task: Task
    representation: str
    learner: str
    scores: np.ndarray
    predicted: np.ndarray

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Its scores under R weightings of the test samples (R x n)."""
        if self.task.kind == "class":
            return metrics.classification(self.task.y_test, self.predicted, self.scores, weights)
        return metrics.regression(self.task.y_test, self.predicted, weights)


@dataclass(frozen=True)
class Probes:
    """The answers of every learner on every representation and label, and what was skipped and why."""

    answers: tuple[Answer, ...]
    skipped: tuple[dict[str, str], ...]

    def table(self) -> pd.DataFrame:
        """The scores as a long table; see `probe`."""
        rows = [
            (a.representation, a.task.label, a.learner, metric, float(value[0]), len(a.task.y_train), n)
            for a in self.answers
            for n in [len(a.task.y_test)]
            for metric, value in a.metrics(np.ones((1, n))).items()
        ]
        columns = ["representation", "label", "learner", "metric", "value", "n_train", "n_test"]
        long = pd.DataFrame(rows, columns=columns)
        long.attrs["skipped"] = list(self.skipped)
        return long


def probe(
    train: dict[str, Matrix],
    test: dict[str, Matrix],
    labels_train: pd.DataFrame,
    labels_test: pd.DataFrame,
    *,
    learners: Sequence[str] = LEARNERS,
    seed: int = 0,
    min_class: int = MIN_CLASS,
) -> pd.DataFrame:
    """Score how well labels can be predicted from representations.

    Parameters
    ----------
    train, test
        Representation name -> samples x dimensions (n_train x d and n_test x d), dense or CSR, without NaN.
    labels_train, labels_test
        One column per label, rows in the order of the samples. Text, categories, bool and numbers with at most ten
        distinct values are classes; other numbers are values. A missing label leaves the sample out of that task.
    learners
        Some of `logistic`, `svm`, `forest`; see the module for what they are for a value.
    seed
        Of the forest.
    min_class
        Classes with fewer training samples are left out, in train and in test (logged).

    Returns
    -------
    pandas.DataFrame
        `representation`, `label`, `learner`, `metric`, `value`, `n_train`, `n_test`. Metrics of classes: `auc` (one
        against the rest, macro), `accuracy`, `balanced_accuracy`, `f1` (macro); of values: `r2` about the mean of
        the test samples. Higher is better. `attrs["skipped"]` lists what was not run: dictionaries with `label`,
        `representation`, `learner` (empty for all) and `reason`.

    Raises
    ------
    DataError
        Numbers of samples or dimensions do not agree, or a representation is not finite.
    RecipeError
        An unknown learner.

    See Also
    --------
    run_probes : the same, keeping every prediction, as `bootstrap` needs them.
    """
    return run_probes(train, test, labels_train, labels_test, learners=learners, seed=seed, min_class=min_class).table()


def run_probes(
    train: dict[str, Matrix],
    test: dict[str, Matrix],
    labels_train: pd.DataFrame,
    labels_test: pd.DataFrame,
    *,
    learners: Sequence[str] = LEARNERS,
    seed: int = 0,
    min_class: int = MIN_CLASS,
) -> Probes:
    """Fit every learner on every representation and label, and keep what it says of the test samples.

    Takes the parameters of `probe` and raises its errors.

    Returns
    -------
    Probes
        `.table()` is what `probe` returns; `bootstrap` takes the whole.
    """
    _check(train, test, labels_train, labels_test)
    for learner in learners:
        if learner not in LEARNERS:
            hint = closest(learner, LEARNERS)
            raise RecipeError("no such learner", where="evaluate.embedding.learners", met=learner, hint=hint)
    answers: list[Answer] = []
    skipped: list[dict[str, str]] = []

    def skip(reason: str, label: str, representation: str = "", learner: str = "") -> None:
        about = " of ".join(t for t in (learner, representation) if t) or "every probe"
        whole = not (learner or representation)
        log.log(logging.WARNING if whole else logging.INFO, "label %r: %s is left out: %s", label, about, reason)
        skipped.append({"label": label, "representation": representation, "learner": learner, "reason": reason})

    for label in labels_train.columns:
        asked = task(labels_train[label], labels_test[label], min_class=min_class)
        if isinstance(asked, str):
            skip(asked, str(label))
            continue
        for name in train:
            scaled = _scaled(train[name][asked.rows_train], test[name][asked.rows_test])
            for learner in learners:
                if reason := _too_much(learner, *scaled[0].shape):
                    skip(reason, str(label), name, learner)
                else:
                    answers.append(_answer(asked, name, learner, scaled, seed))
    return Probes(tuple(answers), tuple(skipped))


def _too_much(learner: str, n: int, columns: int) -> str | None:
    """Why a learner would take too long; None where it would not."""
    if learner != "logistic" and columns > MOST_COLUMNS:
        return f"{columns} columns are more than {MOST_COLUMNS}"
    if learner == "svm" and n > MOST_ROWS:
        return f"{n} training samples are more than {MOST_ROWS}"
    if learner == "svm" and n * n * columns > MOST_PRODUCTS:
        return f"{n} training samples of {columns} columns would take too long"
    return None


def _scaled(train: Matrix, test: Matrix) -> tuple[Matrix, Matrix]:
    """Both in units of train's standard deviations, about its mean (CSR: not centred)."""
    scaler = StandardScaler(with_mean=not sp.issparse(train))
    return scaler.fit_transform(train.astype(np.float64)), scaler.transform(test.astype(np.float64))


def _in_span(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in the span of the training samples: the same inner products with every one of them."""
    squares, u = np.linalg.eigh(train @ train.T)
    kept = squares > max(squares[-1], 0) * len(squares) * np.finfo(np.float64).eps
    root = np.sqrt(squares[kept])
    return u[:, kept] * root, test @ (train.T @ (u[:, kept] / root))


def _answer(asked: Task, name: str, learner: str, scaled: tuple[Matrix, Matrix], seed: int) -> Answer:
    x_train, x_test = scaled
    wide = not sp.issparse(x_train) and x_train.shape[1] > x_train.shape[0]
    if learner == "logistic" and wide and x_train.any():
        x_train, x_test = _in_span(x_train, x_test)
    if asked.kind == "value":
        centre, spread = asked.y_train.mean(), asked.y_train.std() or 1.0
        model = _regressor(learner, seed).fit(x_train, (asked.y_train - centre) / spread)
        values = model.predict(x_test) * spread + centre
        return Answer(asked, name, learner, values, values)
    model = _classifier(learner, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told below, with its name
        model.fit(x_train, asked.y_train)
    if learner == "logistic" and model.n_iter_.max() >= MAX_ITER:
        log.warning("label %r: logistic of %s had not converged after %d steps", asked.label, name, MAX_ITER)
    scores = model.decision_function(x_test) if learner == "svm" else model.predict_proba(x_test)
    if scores.ndim == 1:
        scores = np.column_stack([-scores, scores])
    return Answer(asked, name, learner, scores, model.predict(x_test))


def _classifier(learner: str, seed: int) -> Any:
    if learner == "logistic":
        return LogisticRegression(max_iter=MAX_ITER)
    if learner == "svm":
        return SVC(kernel="rbf")
    return RandomForestClassifier(TREES, min_samples_leaf=LEAF, random_state=seed, n_jobs=1)


def _regressor(learner: str, seed: int) -> Any:
    if learner == "logistic":
        return Ridge()
    if learner == "svm":
        return SVR(kernel="rbf")
    return RandomForestRegressor(TREES, min_samples_leaf=LEAF, max_features="sqrt", random_state=seed, n_jobs=1)


def _check(
    train: dict[str, Matrix], test: dict[str, Matrix], labels_train: pd.DataFrame, labels_test: pd.DataFrame
) -> None:
    if list(train) != list(test):
        raise DataError("train and test hold different representations", met=(list(train), list(test)))
    if list(labels_train.columns) != list(labels_test.columns):
        raise DataError(
            "train and test hold different labels", met=(list(labels_train.columns), list(labels_test.columns))
        )
    for name in train:
        for side, x, labels in (("train", train[name], labels_train), ("test", test[name], labels_test)):
            check_table(x, where=f"{name} ({side})")
            check_rows(len(labels), x.shape[0], where=f"{name} ({side})")
        if train[name].shape[1] != test[name].shape[1]:
            raise DataError(
                "train and test differ in their dimensions", where=name, met=(train[name].shape, test[name].shape)
            )
