r"""Kaplan-Meier curves and the log-rank test.

:math:`S(t) = \prod_{t_j \le t} (1 - d_j / n_j)` (Kaplan and Meier 1958), intervals by Greenwood's variance on the
scale of :math:`\log(-\log S)`, which keeps them within 0..1 (Kalbfleisch and Prentice 1980). Log-rank: Mantel (1966),
Peto and Peto (1972), with the hypergeometric covariance; with strata, observed less expected events and their
covariance are sums over strata.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from isthmus.errors import DataError
from isthmus.evaluate.arrays import check_rows
from isthmus.evaluate.survival.outcome import Steps, counted, outcome


@dataclass(frozen=True)
class KaplanMeier:
    """A survival curve; an entry per distinct time, 0 first.

    Attributes
    ----------
    time
        Ascending, in the unit of the input; the curve is constant up to the next.
    survival, lower, upper
        Share of samples to which the event has not happened by then, 0..1, and its interval (NaN where the share is
        0: nobody is left who could tell).
    at_risk
        Samples under observation just before.
    """

    time: np.ndarray
    survival: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    at_risk: np.ndarray

    def at(self, times: Any) -> np.ndarray:
        """Survival at some times; flat past the last."""
        return Steps(self.time, self.survival).at(times)

    @property
    def median(self) -> float:
        """First time at which no more than half are left; infinite where that is never seen."""
        under = np.flatnonzero(self.survival <= 0.5)
        return float(self.time[under[0]]) if len(under) else float("inf")


@dataclass(frozen=True)
class LogRank:
    """Whether groups differ in survival: chi-square `statistic` with `df` degrees of freedom, `p`."""

    statistic: float
    p: float
    df: int


def kaplan_meier(time: Any, event: Any, *, level: float = 0.95) -> KaplanMeier:
    """The survival curve of some samples.

    Parameters
    ----------
    time, event
        Of n samples: time to the event or to the end of observation; 1 where it happened, 0 where censored.
    level
        Of the pointwise intervals.

    Returns
    -------
    KaplanMeier
        At 0 and at every distinct time.

    Raises
    ------
    DataError
        See `outcome.outcome`.
    """
    times, events, _, at_risk = counted(*outcome(time, event))
    survival = np.cumprod(1 - events / at_risk)
    left = at_risk * (at_risk - events)
    variance = np.cumsum(np.divide(events, left, out=np.zeros(len(times)), where=left > 0))
    lower, upper = np.ones(len(times)), np.ones(len(times))
    inner = (survival > 0) & (survival < 1)
    log_s = np.log(survival[inner])
    half = stats.norm.ppf((1 + level) / 2) * np.sqrt(variance[inner]) / log_s
    lower[inner], upper[inner] = np.exp(log_s * np.exp(-half)), np.exp(log_s * np.exp(half))
    lower[survival == 0] = upper[survival == 0] = np.nan
    if times[0] > 0:
        times, at_risk = np.concatenate([[0.0], times]), np.concatenate([at_risk[:1], at_risk])
        survival, lower, upper = (np.concatenate([[1.0], v]) for v in (survival, lower, upper))
    return KaplanMeier(times, survival, lower, upper, at_risk.astype(np.int64))


def log_rank(time: Any, event: Any, group: Any, *, strata: Any = None) -> LogRank:
    """Compare the survival of k groups.

    Parameters
    ----------
    time, event
        Of n samples, as in `kaplan_meier`.
    group
        Of n samples: any values; each distinct one is a group.
    strata
        Of n samples: the groups are compared within each. None: among all.

    Returns
    -------
    LogRank
        Chi-square with k - 1 degrees of freedom (fewer where groups share no risk set) and its p; 0 and 1 without
        events.

    Raises
    ------
    DataError
        There are fewer than two groups, or see `outcome.outcome`.
    """
    times, events = outcome(time, event)
    member, stratum = np.asarray(group), np.zeros(len(times)) if strata is None else np.asarray(strata).astype(str)
    check_rows(len(times), len(member), where="group")
    check_rows(len(times), len(stratum), where="strata")
    names, codes = np.unique(member.astype(str), return_inverse=True)
    if len(names) < 2:
        raise DataError("groups cannot be compared", where="group", met=f"{len(names)} group", wanted="two or more")
    each = [_log_rank(times[s], events[s], codes[s], len(names)) for s in (stratum == k for k in np.unique(stratum))]
    difference, covariance = sum(d for d, _ in each), sum(c for _, c in each)
    df = int(np.linalg.matrix_rank(covariance, hermitian=True))
    if df == 0:
        return LogRank(0.0, 1.0, len(names) - 1)
    statistic = float(difference @ np.linalg.pinv(covariance, hermitian=True) @ difference)
    return LogRank(statistic, float(stats.chi2.sf(statistic, df)), df)


def _log_rank(times: np.ndarray, events: np.ndarray, codes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Observed less expected events of k groups, and their covariance (k x k)."""
    distinct, place = np.unique(times, return_inverse=True)
    shape = (len(distinct), k)
    died, leaving = np.zeros(shape), np.zeros(shape)
    np.add.at(died, (place, codes), events)
    np.add.at(leaving, (place, codes), 1)
    at_risk = leaving[::-1].cumsum(axis=0)[::-1]
    d, n = died.sum(axis=1), at_risk.sum(axis=1)
    share = at_risk / n[:, None]
    difference = (died - d[:, None] * share).sum(axis=0)
    spread = d * np.divide(n - d, n - 1, out=np.zeros(len(n)), where=n > 1)
    return difference, np.diag(spread @ share) - (share * spread[:, None]).T @ share
