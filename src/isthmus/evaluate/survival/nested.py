"""Whether a risk adds to what is known anyway: the likelihood-ratio test of nested Cox regressions (Wilks 1938)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from isthmus.errors import DataError
from isthmus.evaluate.arrays import check_rows
from isthmus.evaluate.survival.cox import Cox, Ties
from isthmus.evaluate.survival.outcome import finite, outcome


@dataclass(frozen=True)
class Nested:
    """Twice the gain in log partial likelihood, chi-square with `df` degrees of freedom if nothing was added; its `p`.

    `coefficients`: log hazard ratios of what was added, per standard deviation, beside the rest; `gain` in nats per
    event; `n` samples and `events`.
    """

    statistic: float
    p: float
    df: int
    coefficients: np.ndarray
    gain: float
    n: int
    events: int


def nested(time: Any, event: Any, known: Any, *, added: Any, strata: Any = None, ties: Ties = "efron") -> Nested:
    """Compare Cox regression on `known` with that on `known` and `added`.

    Use samples that the added risk has not been fitted on: on train any risk seems to add.

    Parameters
    ----------
    time, event
        Of n samples, as in `concordance`.
    known
        n x p, p from 0: clinical covariates as numbers, finite.
    added
        n or n x q: what is to add to them, such as log risks.
    strata
        Of n samples: groups with baseline hazards of their own, such as folds.
    ties
        `efron` or `breslow`.

    Returns
    -------
    Nested
        p is 1 where nothing independent of `known` was added.

    Raises
    ------
    DataError
        Values are missing, nothing happened, or there are as many covariates as samples.
    """
    t, d = outcome(time, event)
    base, more = (_standard(finite(v, len(t), where=w).reshape(len(t), -1)) for v, w in (
        (known, "known covariates"), (added, "added covariates"),
    ))  # fmt: skip
    check_rows(len(t), len(more), where="added covariates")
    if not d.any():
        raise DataError("nothing can be tested without events", where="survival")
    whole = np.hstack([base, more])
    ranks = [int(np.linalg.matrix_rank(m)) if m.shape[1] else 0 for m in (base, whole)]
    if ranks[1] >= len(t):
        raise DataError("there are as many covariates as samples", where="nested", met=ranks[1], wanted=f"< {len(t)}")
    small, large = (_fitted(m, t, d, strata, ties) for m in (base, whole))
    statistic, df = max(0.0, 2 * (large[0] - small[0])), ranks[1] - ranks[0]
    p = float(stats.chi2.sf(statistic, df)) if df else 1.0
    return Nested(statistic, p, df, large[1][base.shape[1] :], statistic / 2 / int(d.sum()), len(t), int(d.sum()))


def _standard(x: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and standard deviation 1; constant ones are 0."""
    spread = x.std(axis=0)
    return np.asarray((x - x.mean(axis=0)) / np.where(spread > 1e-12, spread, np.inf))


def _fitted(x: np.ndarray, time: np.ndarray, event: np.ndarray, strata: Any, ties: Ties) -> tuple[float, np.ndarray]:
    """Log partial likelihood at its maximum, and the coefficients; columns may depend on each other."""
    # without a penalty features must not outnumber samples: rotate into what is independent
    u, s, v = np.linalg.svd(x, full_matrices=False)
    kept = s > 1e-9 * max(s.max(initial=0.0), 1.0)
    model = Cox(ties=ties).fit(u[:, kept] * np.sqrt(len(x)), time, event, strata=strata)
    return model.log_likelihood_, (model.coef_ * np.sqrt(len(x)) / s[kept]) @ v[kept]
