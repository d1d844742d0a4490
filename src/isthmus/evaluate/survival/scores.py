r"""Scores over time: Brier score of survival curves, cumulative/dynamic AUC of risks.

With G(t) the share not yet censored, learnt on train, and n test samples (Graf et al. 1999, Stat Med 18, 2529):

.. math:: BS(t) = \frac1n \sum_i \frac{S_i(t)^2\,[t_i \le t, \delta_i = 1]}{G(t_i-)}
    + \frac{(1 - S_i(t))^2\,[t_i > t]}{G(t)}

.. math:: AUC(t) = P(r_i > r_j \mid t_i \le t < t_j), \quad \text{events weighed by } 1 / G(t_i-)

(Hung and Chiang 2010; Uno et al. 2007). scikit-survival takes G(t_i) for G(t_i-): the same unless an event and a
censoring fall on one time. With strata, pairs (i, j) of one stratum alone count: the mean of the strata's AUC, each
weighed by its pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.errors import DataError
from isthmus.evaluate.arrays import check_rows
from isthmus.evaluate.survival.curves import kaplan_meier
from isthmus.evaluate.survival.outcome import Outcome, censoring_curve, check_reach, finite, outcome, weights


def brier(time: Any, event: Any, survival: Any, *, times: Any, censoring: Outcome | None = None) -> np.ndarray:
    """Mean squared error of predicted survival at some times.

    Parameters
    ----------
    time, event
        Of n test samples, as in `concordance`.
    survival
        n x k: predicted probability that the event of a sample happens after each of `times`.
    times
        k times, in the unit of `time`.
    censoring
        (time, event) of the train samples, from which the censoring is learnt. None: of the samples themselves.

    Returns
    -------
    np.ndarray
        k scores, from 0 (perfect); 0.25 is what a probability of one half gives.

    Raises
    ------
    DataError
        Shapes do not agree, or a time lies beyond the times that train was observed.
    """
    t, d = outcome(time, event)
    at = finite(times, np.size(times), where="times")
    predicted = finite(survival, len(t), where="survival")
    if predicted.shape != (len(t), len(at)):
        raise DataError("has another shape", where="survival", met=predicted.shape, wanted=f"{len(t)} x {len(at)}")
    g = censoring_curve((t, d) if censoring is None else censoring)
    check_reach(t, d, g, horizon=float(at.max()))
    left = g.at(at)
    if ((left <= 0) & (t[:, None] > at).any(axis=0)).any():
        bad = float(at[left <= 0][0])
        raise DataError("by then every sample of train was censored", where="times", met=bad, wanted="earlier times")
    past = (t[:, None] <= at) & d[:, None]
    still = (t[:, None] > at) / np.where(left > 0, left, 1.0)
    error = predicted**2 * past * weights(t, d, g)[:, None] + (1 - predicted) ** 2 * still
    return np.asarray(error.mean(axis=0))


def integrated_brier(time: Any, event: Any, survival: Any, *, times: Any, censoring: Outcome | None = None) -> float:
    """The mean of `brier` over time, by trapezoids between `times` (ascending, at least two).

    Raises
    ------
    DataError
        Fewer than two times, or see `brier`.
    """
    at = np.asarray(times, dtype=np.float64)
    if len(at) < 2 or (np.diff(at) <= 0).any():
        raise DataError("is no grid of times", where="times", met=len(at), wanted="two or more, ascending")
    return mean_over(at, brier(time, event, survival, times=at, censoring=censoring))


def mean_over(times: np.ndarray, values: np.ndarray) -> float:
    """The mean of a curve over time, by trapezoids."""
    return float((np.diff(times) * (values[1:] + values[:-1])).sum() / 2 / (times[-1] - times[0]))


def auc(
    time: Any, event: Any, risk: Any, *, times: Any, censoring: Outcome | None = None, strata: Any = None
) -> np.ndarray:
    """How well risks tell those to whom the event has happened by t from those to whom it has not.

    Parameters
    ----------
    time, event
        Of n test samples, as in `concordance`.
    risk
        Of n samples (higher: earlier), or n x k: at each of `times`.
    times
        k times, in the unit of `time`.
    censoring
        (time, event) of the train samples, from which the censoring is learnt. None: of the samples themselves.
    strata
        Of n samples: groups within which samples are compared, as in `concordance`. None: all are compared.

    Returns
    -------
    np.ndarray
        k values 0..1, 0.5 being chance; NaN at a time by which no event has happened or after which nobody is left (in
        any one stratum).

    Raises
    ------
    DataError
        See `brier`.
    """
    t, d = outcome(time, event)
    at = finite(times, np.size(times), where="times")
    risks = finite(risk, len(t), where="risk")
    if risks.ndim == 1:
        risks = np.broadcast_to(risks[:, None], (len(t), len(at)))
    g = censoring_curve((t, d) if censoring is None else censoring)
    check_reach(t, d, g, horizon=float(at.max()))
    weight, names = weights(t, d, g), np.zeros(len(t)) if strata is None else np.asarray(strata).astype(str)
    check_rows(len(t), len(names), where="strata")
    groups = [names == name for name in np.unique(names)]
    each = np.array([[_pairs_at(t[s], weight[s], risks[s, k], at[k]) for s in groups] for k in range(len(at))])
    right, pairs = each.reshape(len(at), len(groups), 2).sum(axis=1).T
    return np.asarray(np.divide(right, pairs, out=np.full(len(at), np.nan), where=pairs > 0))


def _pairs_at(time: np.ndarray, weight: np.ndarray, risk: np.ndarray, moment: float) -> tuple[float, float]:
    """Of the pairs of an event by a moment and a sample past it: those in the right order, and all, in weight."""
    later = np.sort(risk[time > moment])
    case = (time <= moment) & (weight > 0)
    below = np.searchsorted(later, risk[case], side="left")
    upto = np.searchsorted(later, risk[case], side="right")
    return float((weight[case] * (below + upto)).sum() / 2), float(weight[case].sum() * len(later))


def mean_auc(time: Any, event: Any, values: Any, *, times: Any) -> float:
    """The mean of `auc` over time, each weighed by the share of events that fall to its interval (Kaplan-Meier).

    Parameters
    ----------
    time, event
        Of n test samples.
    values, times
        What `auc` returned, and for which times (ascending); NaN are left out.
    """
    known = ~np.isnan(values)
    if not known.any():
        return float("nan")
    survival = kaplan_meier(time, event).at(np.asarray(times, dtype=np.float64)[known])
    fall = -np.diff(np.concatenate([[1.0], survival]))
    return float(np.asarray(values)[known] @ fall / fall.sum()) if fall.sum() > 0 else float("nan")
