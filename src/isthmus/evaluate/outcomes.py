"""What is to be predicted of samples (classes, a value, survival): linear predictions from any table, and scores.

Linear predictions stand beside heads: logistic regression for classes, ridge regression for values, ridge Cox
regression for survival, all on features standardised by train. The penalties of the two ridges are chosen in train by
cross-validation: for Cox by the cross-validated partial likelihood, sum_k l(b_-k) - l_-k(b_-k) over folds k, where b_-k
is fitted without fold k, l is the log partial likelihood of all of train and l_-k that without the fold (Verweij & van
Houwelingen, Statistics in Medicine 1993, doi:10.1002/sim.4780122407).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold

from isthmus.errors import DataError
from isthmus.evaluate import metrics
from isthmus.evaluate.survival import Cox, concordance

__all__ = ["Outcome", "linear_answers", "main_metric", "scores"]

Kind = Literal["class", "value", "survival"]
PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Of Cox, times the number of events: the log partial likelihood is a sum over these."""
SHRINKING = tuple(10.0 ** np.arange(-2, 5))
FOLDS, MAX_ITER = 5, 2000


@dataclass(frozen=True)
class Outcome:
    """What is to be predicted of the samples of one part.

    Attributes
    ----------
    kind
        `class`, `value` or `survival`.
    y
        Of n samples: the position in `classes`, -1 where missing; a value, NaN where missing; or n x 2, time and
        event (1 where it happened), NaN where missing.
    classes
        Names of the classes of train.
    strata
        Of n samples (survival): groups with baseline hazards of their own, within which risks are compared. None: one.
    """

    kind: Kind
    y: np.ndarray
    classes: tuple[str, ...] = ()
    strata: np.ndarray | None = None

    @property
    def known(self) -> np.ndarray:
        """Which samples have it."""
        if self.kind == "class":
            return np.asarray(self.y >= 0)
        return np.asarray(np.isfinite(self.y).reshape(len(self.y), -1).all(axis=1))

    def take(self, rows: np.ndarray) -> Outcome:
        """That of some samples."""
        return replace(self, y=self.y[rows], strata=None if self.strata is None else self.strata[rows])


def main_metric(kind: Kind) -> str:
    """The score by which predictions are compared: `auc`, `r2` or `harrell`."""
    return {"class": "auc", "value": "r2", "survival": "harrell"}[kind]


def linear_answers(train: np.ndarray, outcome: Outcome, *tables: np.ndarray) -> list[np.ndarray]:
    """Predict an outcome linearly.

    Parameters
    ----------
    train
        n x p features of the training samples; NaN stand for the train mean.
    outcome
        Of these n samples.
    tables
        m x p features of the samples to predict.

    Returns
    -------
    list of ndarray
        Per table m x k probabilities of classes, m values, or m log risks.

    Raises
    ------
    DataError
        Fewer than two classes, or values, or no event among the training samples that have the outcome.
    """
    known = outcome.known
    x, y = np.asarray(train, dtype=np.float64)[known], outcome.y[known]
    if len(x) < 2 or (outcome.kind != "survival" and len(np.unique(y)) < 2):
        raise DataError("does not vary among the training samples that have it", where="outcome", met=len(x))
    seen = ~np.isnan(x).all(axis=0)
    x = x[:, seen]
    mean = np.nanmean(x, axis=0)
    sd = np.nanstd(x, axis=0)

    def scaled(table: np.ndarray) -> np.ndarray:
        return np.asarray(np.nan_to_num((table - mean) / np.where(sd > 0, sd, 1.0)))

    made = [scaled(np.asarray(t, dtype=np.float64)[:, seen]) for t in tables]
    if outcome.kind == "class":
        return _classes(scaled(x), y.astype(int), made, len(outcome.classes))
    if outcome.kind == "value":
        ridge = RidgeCV(SHRINKING).fit(scaled(x), y)
        return [np.asarray(ridge.predict(t)) for t in made]
    cox = _cox(scaled(x), outcome.take(known))
    return [cox.predict(t) for t in made]


def _classes(x: np.ndarray, y: np.ndarray, tables: list[np.ndarray], k: int) -> list[np.ndarray]:
    """Probabilities of all classes; 0 for one that no training sample has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = LogisticRegression(max_iter=MAX_ITER).fit(x, y)
    found = []
    for table in tables:
        whole = np.zeros((len(table), k))
        whole[:, fitted.classes_] = fitted.predict_proba(table)
        found.append(whole)
    return found


def _cox(x: np.ndarray, of: Outcome) -> Cox:
    """Ridge Cox regression with the penalty that the cross-validated partial likelihood prefers."""
    (time, event), strata = of.y.T, of.strata
    if len(x) < 2 * FOLDS or event.sum() < FOLDS:
        return Cox(PENALTIES[-1] * max(float(event.sum()), 1.0)).fit(x, time, event, strata=strata)
    total = dict.fromkeys(PENALTIES, 0.0)
    for rest, _ in KFold(FOLDS, shuffle=True, random_state=0).split(x):
        if not event[rest].any():
            continue
        for penalty in PENALTIES:
            seen = of.take(rest)
            cox = Cox(penalty * float(event[rest].sum())).fit(x[rest], *seen.y.T, strata=seen.strata)
            whole = partial_likelihood(cox.predict(x), time, event, strata=strata)
            total[penalty] += whole - partial_likelihood(cox.predict(x[rest]), *seen.y.T, strata=seen.strata)
    best = max(total, key=lambda p: total[p])
    return Cox(best * float(event.sum())).fit(x, time, event, strata=strata)


def partial_likelihood(
    risk: np.ndarray, time: np.ndarray, event: np.ndarray, *, strata: np.ndarray | None = None
) -> float:
    """Log partial likelihood of log risks (n), in nats, ties by Breslow; a sum over events."""
    if strata is not None:
        of = [strata == s for s in np.unique(strata)]
        return float(sum(partial_likelihood(risk[s], time[s], event[s]) for s in of))
    order = np.argsort(-time, kind="stable")
    reached = np.logaddexp.accumulate(risk[order])
    last = np.searchsorted(-time[order], -time[order], side="right") - 1  # everyone of the same time is at risk
    return float((risk[order] - reached[last])[event[order] > 0].sum())


def scores(outcome: Outcome, answer: np.ndarray, *, train: Outcome | None = None) -> dict[str, float]:
    """Score predictions where the outcome is known.

    Parameters
    ----------
    outcome
        Of n samples.
    answer
        n x k probabilities, n values, or n log risks; NaN where nothing is predicted, which is left out.
    train
        The outcome of the training samples: for survival, where censoring is learnt for Uno's concordance.

    Returns
    -------
    dict of str to float
        `auc` (one against the rest, mean), `accuracy`, `balanced_accuracy`, `f1` of classes, 0 to 1; `r2` of values,
        at most 1; `harrell` and `uno` of survival, 0 to 1, chance .5. NaN where they are not defined.
    """
    here = outcome.known & np.isfinite(answer).reshape(len(answer), -1).all(axis=1)
    y, said = outcome.y[here], np.asarray(answer, dtype=np.float64)[here]
    if outcome.kind == "survival":
        return _of_survival(outcome.take(here), said, train)
    one = np.ones((1, len(y)))
    if outcome.kind == "value":
        return {"r2": float(metrics.regression(y, said, one)["r2"][0])}
    if not len(y):
        return dict.fromkeys(metrics.CLASSIFICATION, float("nan"))
    found = metrics.classification(y.astype(int), said.argmax(axis=1), said, one)
    return {k: float(v[0]) for k, v in found.items()}


def _of_survival(outcome: Outcome, risk: np.ndarray, train: Outcome | None) -> dict[str, float]:
    y, strata = outcome.y, outcome.strata
    if not len(y) or not y[:, 1].any():
        return {"harrell": float("nan"), "uno": float("nan")}
    time, event = y.T
    found = {"harrell": concordance(time, event, risk, strata=strata)}
    of = y if train is None else train.y[train.known]
    if not (of[:, 1] == 0).any():
        return found | {"uno": found["harrell"]}
    tau = float(min(of[of[:, 1] == 0, 0].max(), time.max()))  # beyond it nothing is known of censoring
    censoring = of[:, 0], of[:, 1]
    return found | {"uno": concordance(time, event, risk, kind="uno", censoring=censoring, tau=tau, strata=strata)}
