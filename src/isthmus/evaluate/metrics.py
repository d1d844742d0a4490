"""Scores of a prediction under many weightings of the samples at once.

`weights` is R x n: one row of ones gives the score itself, rows of counts give its bootstrap. With weights of one the
numbers are scikit-learn's; a test says so.
"""

from __future__ import annotations

import numpy as np

__all__ = ["CLASSIFICATION", "REGRESSION", "auc", "classification", "regression"]

CLASSIFICATION = ("auc", "accuracy", "balanced_accuracy", "f1")
REGRESSION = ("r2",)


def classification(
    truth: np.ndarray, predicted: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Score the prediction of classes.

    Parameters
    ----------
    truth, predicted
        Class codes 0..C-1 (n).
    scores
        How much a sample looks like each class (n x C); only their order within a class matters.
    weights
        Non-negative (R x n).

    Returns
    -------
    dict of str to np.ndarray
        R numbers each, higher is better, all within 0 to 1: `auc` (one class against the rest, mean over classes that
        have samples within and without; chance is .5), `accuracy`, `balanced_accuracy` (mean recall over classes
        that have samples), `f1` (mean over classes that have samples or predictions). NaN where the mean is over
        nothing.
    """
    n_classes = scores.shape[1]
    hit = truth == predicted
    total, right, called, areas = (np.zeros((n_classes, len(weights))) for _ in range(4))
    for c in range(n_classes):
        total[c] = weights @ (truth == c)
        right[c] = weights @ (hit & (truth == c))
        called[c] = weights @ (predicted == c)
        areas[c] = auc(truth == c, scores[:, c], weights)
    return {
        "auc": _mean(areas),
        "accuracy": _ratio(right.sum(axis=0), total.sum(axis=0)),
        "balanced_accuracy": _mean(_ratio(right, total)),
        "f1": _mean(_ratio(2 * right, total + called)),
    }


def auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted share of (positive, negative) pairs in the right order, ties counting half (Mann and Whitney 1947).

    Parameters
    ----------
    positive
        Which samples are of the class (n, bool).
    score
        Higher where the class is more likely (n).
    weights
        Non-negative (R x n).

    Returns
    -------
    np.ndarray
        R numbers, 0 to 1, chance .5; NaN where there are no positives or no negatives.
    """
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    sorted_weights = weights[:, order]
    yes = np.add.reduceat(sorted_weights * positive[order], starts, axis=1)
    no = np.add.reduceat(sorted_weights * ~positive[order], starts, axis=1)
    below = np.cumsum(no, axis=1) - no / 2
    return _ratio((yes * below).sum(axis=1), yes.sum(axis=1) * no.sum(axis=1))


def regression(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Score the prediction of values.

    Parameters
    ----------
    truth, predicted
        Values (n).
    weights
        Non-negative (R x n).

    Returns
    -------
    dict of str to np.ndarray
        `r2`, R numbers: 1 is perfect, 0 what the mean of these samples gives, no lower bound; NaN where they do
        not vary.
    """
    mean = _ratio(weights @ truth, weights.sum(axis=1))
    sst = (weights * (truth - mean[:, None]) ** 2).sum(axis=1)
    sse = weights @ (truth - predicted) ** 2
    return {"r2": 1 - _ratio(sse, sst)}


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A quotient that is NaN where the divisor is 0."""
    quotient = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN; NaN over nothing."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0).sum(axis=0), known.sum(axis=0))
