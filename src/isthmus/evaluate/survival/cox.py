r"""Proportional hazards by ridge regression: a baseline for survival heads, and tests of what they add.

:math:`\lambda(t \mid x) = \lambda_0(t) e^{x'b}`; b minimises minus the log partial likelihood (ties by Efron 1977 or
Breslow 1974) plus :math:`\alpha |b|^2 / 2`, by Newton steps that are halved until they descend. The Hessian is
:math:`X' \mathrm{diag}(w) X - M'M` with a row of M per event, so that nothing of n x p x p is held. The penalty is the
same in any rotation of X: of more features than samples, b is found exactly in the span of the samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from isthmus.errors import DataError
from isthmus.evaluate.survival.outcome import Steps, finite, outcome

Ties = Literal["efron", "breslow"]
HALVINGS = 30
LONGEST_STEP = 10.0
"""By which a log risk changes at most in one Newton step, so that no exponential leaves float64."""
TINY = np.finfo(np.float64).tiny
"""Stands for the sum of a risk set that underflows: its likelihood is then too low, never too high."""
LARGEST = 700.0
"""Log of what float64 holds."""


@dataclass(frozen=True)
class _RiskSets:
    """Samples of one stratum in descending time, and what a partial likelihood needs of them.

    Per event: `last`, where its risk set ends; `tied`, its time among those of events; `share`, the part k/d of the
    sum over that time's events that Efron's k-th event leaves out.
    """

    order: np.ndarray
    events: np.ndarray
    last: np.ndarray
    tied: np.ndarray
    share: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, time: np.ndarray, event: np.ndarray, ties: Ties) -> _RiskSets:
        order = rows[np.argsort(-time[rows], kind="stable")]
        distinct, counts = np.unique(-time[order], return_counts=True)
        moment = np.repeat(np.arange(len(distinct)), counts)
        events = np.flatnonzero(event[order])
        _, tied, sizes = np.unique(moment[events], return_inverse=True, return_counts=True)
        place = np.arange(len(events)) - (np.cumsum(sizes) - sizes)[tied]
        share = place / sizes[tied] if ties == "efron" else np.zeros(len(events))
        return cls(order, events, np.cumsum(counts)[moment[events]] - 1, tied, share)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Per event: the sum of `values` (n risks, or n x p) over its risk set, less Efron's share; risks above 0."""
        every = np.cumsum(values, axis=0)[self.last]
        of_ties = np.zeros((self.tied.max() + 1 if len(self.tied) else 0, *values.shape[1:]))
        np.add.at(of_ties, self.tied, values[self.events])
        share = self.share.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray(np.maximum(every - share * of_ties[self.tied], TINY if values.ndim == 1 else -np.inf))

    def shares(self, per_event: np.ndarray) -> np.ndarray:
        """Per sample: the sum of `per_event` over the events at whose risk it was, less Efron's share in its own."""
        n = len(self.order)
        ends = np.bincount(self.last, weights=per_event, minlength=n)
        found = ends[::-1].cumsum()[::-1]
        own = np.bincount(self.tied, weights=per_event * self.share)
        found[self.events] -= own[self.tied]
        return np.asarray(found)


def _risk_sets(time: np.ndarray, event: np.ndarray, strata: Any, ties: Ties) -> list[_RiskSets]:
    codes = np.zeros(len(time), dtype=np.int64)
    if strata is not None:
        codes = np.unique(np.asarray(strata).astype(str), return_inverse=True)[1]
    return [_RiskSets.of(np.flatnonzero(codes == k), time, event, ties) for k in range(codes.max() + 1)]


def _solved(hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """The Newton step; the shortest where features depend on each other."""
    try:
        return np.asarray(cho_solve(cho_factor(hessian), gradient))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(hessian, gradient, rcond=None)[0])


def _log_likelihood(eta: np.ndarray, sets: list[_RiskSets]) -> float:
    """Log partial likelihood, summed over events, in nats."""
    total = 0.0
    for s in sets:
        of = eta[s.order]
        peak = of.max()
        total += float((of[s.events] - peak - np.log(s.sums(np.exp(of - peak)))).sum()) if len(s.events) else 0.0
    return total


def _slopes(x: np.ndarray, eta: np.ndarray, sets: list[_RiskSets]) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (p) and negative Hessian (p x p) of the log partial likelihood."""
    p = x.shape[1]
    gradient, hessian = np.zeros(p), np.zeros((p, p))
    for s in sets:
        if not len(s.events):
            continue
        z, of = x[s.order], eta[s.order]
        w = np.exp(of - of.max())
        total = s.sums(w)
        means = s.sums(w[:, None] * z) / total[:, None]
        gradient += z[s.events].sum(axis=0) - means.sum(axis=0)
        hessian += (z * (w * s.shares(1 / total))[:, None]).T @ z - means.T @ means
    return gradient, hessian


class Cox:
    """Ridge regression of proportional hazards, in the shape of a scikit-learn estimator.

    Parameters
    ----------
    alpha
        Penalty: alpha |b|^2 / 2 is added to minus the log partial likelihood, which is a sum over events; 0 for none.
        Standardise the features first. (scikit-survival's alpha; lifelines' penalizer times n.)
    ties
        `efron` or `breslow`.
    tol
        Newton steps end when one promises less than this many nats per sample.
    max_iter
        Most of them.

    Attributes
    ----------
    coef_
        p log hazard ratios per unit of a feature.
    log_likelihood_
        Log partial likelihood at `coef_`, in nats, without the penalty.
    baseline_
        Cumulative baseline hazard of each stratum (by its name; "" without strata) of a sample with features 0.
    n_iter_
        Newton steps taken.
    """

    def __init__(self, alpha: float = 0.0, *, ties: Ties = "efron", tol: float = 1e-14, max_iter: int = 100) -> None:
        self.alpha, self.ties, self.tol, self.max_iter = alpha, ties, tol, max_iter

    def fit(self, x: Any, time: Any, event: Any, *, strata: Any = None) -> Cox:
        """Learn coefficients and baseline hazards.

        Parameters
        ----------
        x
            n x p features, finite; p may exceed n where `alpha` > 0.
        time, event
            Of n samples, as in `concordance`.
        strata
            Of n samples: groups with baseline hazards of their own.

        Raises
        ------
        DataError
            Values are missing, nothing happened, or features outnumber samples without a penalty.
        """
        t, d = outcome(time, event)
        x = finite(x, len(t), where="features").reshape(len(t), -1)
        if not d.any():
            raise DataError("Cox regression learns from events", where="survival", met="no event")
        if self.alpha <= 0 and x.shape[1] >= len(t):
            raise DataError(
                "has more features than samples can tell apart", where="Cox", met=x.shape[1], hint="give alpha > 0"
            )
        mean = x.mean(axis=0)
        rotation = None
        centred = x - mean
        if x.shape[1] > len(t):
            u, s, rotation = np.linalg.svd(centred, full_matrices=False)
            centred = u * s
        found = self._newton(centred, _risk_sets(t, d, strata, self.ties))
        self.coef_ = found if rotation is None else found @ rotation
        names = np.full(len(t), "") if strata is None else np.asarray(strata).astype(str)
        eta = x @ self.coef_
        self.baseline_ = {
            str(k): baseline_hazard(t[names == k], d[names == k], eta[names == k], ties=self.ties)
            for k in np.unique(names)
        }
        return self

    def _newton(self, x: np.ndarray, sets: list[_RiskSets]) -> np.ndarray:
        """The coefficients at the optimum; sets `log_likelihood_` and `n_iter_`."""
        b = np.zeros(x.shape[1])
        value, self.n_iter_ = _log_likelihood(x @ b, sets), 0
        while self.n_iter_ < self.max_iter:
            gradient, hessian = _slopes(x, x @ b, sets)
            gradient, hessian = gradient - self.alpha * b, hessian + self.alpha * np.eye(len(b))
            step = _solved(hessian, gradient)
            if not np.isfinite(step).all() or gradient @ step <= self.tol * len(x):
                break
            self.n_iter_ += 1
            size, moved = 1.0 / max(1.0, float(np.abs(x @ step).max()) / LONGEST_STEP), -np.inf
            for _ in range(HALVINGS):
                trial = b + size * step
                moved = _log_likelihood(x @ trial, sets) - self.alpha * float(trial @ trial) / 2
                if moved >= value:
                    break
                size /= 2
            if not moved > value:
                break
            b, value = b + size * step, moved
        self.log_likelihood_ = _log_likelihood(x @ b, sets)
        return b

    def predict(self, x: Any) -> np.ndarray:
        """Log risk x'b (n) of samples with features x (n x p)."""
        found = np.asarray(x, dtype=np.float64)
        return np.asarray(finite(found, len(found), where="features").reshape(len(found), -1) @ self.coef_)

    def survival(self, x: Any, times: Any, *, stratum: str = "") -> np.ndarray:
        """Predicted survival (n x k) of samples at k times; flat past the last event of train."""
        return survival_curves(self.baseline_[stratum], self.predict(x), times)


def baseline_hazard(time: Any, event: Any, log_risk: Any, *, ties: Ties = "breslow") -> Steps:
    """Cumulative hazard of a sample of log risk 0, given everybody's: sum over events of 1 / sum exp(log risk).

    Parameters
    ----------
    time, event
        Of n train samples, as in `concordance`.
    log_risk
        Of n samples, from any model.
    ties
        `breslow` (1974), or `efron`, which shares the risk set among events at one time.

    Returns
    -------
    Steps
        A step function of time, from 0 up.
    """
    t, d = outcome(time, event)
    eta = finite(log_risk, len(t), where="log risk")
    (sets,) = _risk_sets(t, d, None, ties)
    if not len(sets.events):
        return Steps(np.zeros(0), np.zeros(0), 0.0)
    peak = eta.max()
    jump = 1 / sets.sums(np.exp(eta - peak)[sets.order])
    when = t[sets.order][sets.events]
    times, place = np.unique(when, return_inverse=True)
    return Steps(times, np.cumsum(np.bincount(place, weights=jump)) * np.exp(-peak), 0.0)


def survival_curves(baseline: Steps, log_risk: Any, times: Any) -> np.ndarray:
    """exp(-H0(t) exp(log risk)): predicted survival (n x k), 0..1, at k times."""
    ratio = np.exp(np.minimum(np.asarray(log_risk, dtype=np.float64), LARGEST))
    return np.asarray(np.exp(-np.minimum(ratio[:, None] * baseline.at(times), LARGEST)))
