"""How far off an imputed value is: split-conformal intervals per feature, and Rubin's rules for several draws.

A part of the training samples is set aside, the method is fitted on the rest, and what is hidden of the part set aside,
in the pattern of the gaps, gives the errors of which `half_widths` takes the conformal rank (see `isthmus.conformal`).
The interval stands around the prediction of the method fitted on all training samples, which is the better of the two,
so that it errs on the wide side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.base import clone

from isthmus.conformal import half_widths
from isthmus.errors import DataError
from isthmus.impute.imputer import Imputer

__all__ = ["Pooled", "coverage", "half_widths", "multiple", "pooled", "residuals", "rubin"]

SET_ASIDE, ROUNDS, STREAM = 0.25, 5, 0xC0F
ENOUGH = 40
"""Residuals of a feature that the rounds of hiding aim for."""
FEWEST = 8

Hide = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""From a table, n x f, to what is to be hidden of it."""


def residuals(
    method: Imputer,
    x: np.ndarray,
    hide: Hide,
    *,
    source: np.ndarray | None = None,
    classes: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Errors of a method, hidden value minus prediction, on training samples set aside.

    Parameters
    ----------
    method
        An unfitted estimator; it is cloned.
    x, source, classes
        The training samples, as `Imputer.fit` takes them.
    hide
        What is hidden of those set aside: n x f to Bool n x f.
    seed
        Of the draw.

    Returns
    -------
    n x f of those set aside, NaN where nothing was hidden; no rows where there are too few samples. A value counts
    once, in however many rounds it is hidden: its errors are not independent, and the rank counts them as if they were.
    """
    here = np.flatnonzero(~np.isnan(x).all(axis=1))
    rng = np.random.default_rng((seed, STREAM))
    aside = np.sort(rng.permutation(here)[: int(SET_ASIDE * len(here))])
    if len(aside) < FEWEST:
        return np.zeros((0, x.shape[1]))
    rest = np.setdiff1d(np.arange(len(x)), aside)
    extra = {k: v for k, v in (("source", source), ("classes", classes)) if v is not None}
    fitted = clone(method).fit(x[rest], **{k: v[rest] for k, v in extra.items()})
    found = np.full(x[aside].shape, np.nan)
    for _ in range(ROUNDS):
        hidden = hide(x[aside], rng)
        guess = fitted.transform(np.where(hidden, np.nan, x[aside]), **{k: v[aside] for k, v in extra.items()})
        found = np.where(hidden & np.isnan(found), x[aside] - guess, found)
        if (~np.isnan(found)).sum(axis=0).min() >= ENOUGH or hidden.all():
            break
    return found


def coverage(truth: np.ndarray, guess: np.ndarray, widths: np.ndarray, hidden: np.ndarray) -> tuple[float, float]:
    """Share of hidden entries within the interval, and its mean width, in the units of the values."""
    known = hidden & ~np.isnan(truth) & ~np.isnan(widths)[None, :]
    if not known.any():
        return math.nan, math.nan
    inside = np.abs(truth - guess) <= widths
    return float(inside[known].mean()), float(2 * np.broadcast_to(widths, truth.shape)[known].mean())


def multiple(x: np.ndarray, filled: np.ndarray, errors: np.ndarray, m: int, *, seed: int = 0) -> np.ndarray:
    """`m` draws of a filled table: each imputed value plus a residual of its feature, drawn with replacement.

    Parameters
    ----------
    x
        n x f, NaN where missing.
    filled
        The same, filled.
    errors
        As `residuals` gives them.
    m
        How many draws.
    seed
        Of the draws.

    Returns
    -------
    m x n x f; observed entries stand as they are.
    """
    rng = np.random.default_rng((seed, STREAM, 1))
    out = np.broadcast_to(filled, (m, *filled.shape)).copy()
    everything = errors[~np.isnan(errors)]
    for j in np.flatnonzero(np.isnan(x).any(axis=0)):
        rows = np.flatnonzero(np.isnan(x[:, j]))
        pool = errors[~np.isnan(errors[:, j]), j]
        pool = pool if len(pool) >= FEWEST else everything
        if len(pool):
            out[:, rows, j] += rng.choice(pool, size=(m, len(rows)))
    return out


@dataclass(frozen=True)
class Pooled:
    """An estimate over several imputations.

    Attributes
    ----------
    estimate, standard_error
        In the units of the estimates.
    lower, upper
        Ends of the interval.
    df
        Degrees of freedom of Student's t.
    missing_information
        Share of the variance that is due to what is missing.
    """

    estimate: float
    standard_error: float
    lower: float
    upper: float
    df: float
    missing_information: float


def rubin(estimates: np.ndarray, variances: np.ndarray, *, level: float = 0.95) -> Pooled:
    r"""Pool estimates over m imputations: :math:`T = \bar U + (1 + 1/m) B` (Rubin 1987, Multiple imputation, ch. 3).

    Parameters
    ----------
    estimates, variances
        m of each; the variances are squared standard errors.
    level
        Of the interval.

    Raises
    ------
    DataError
        Fewer than two estimates, or another number of variances.
    """
    q, u = np.asarray(estimates, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if len(q) < 2 or q.shape != u.shape:
        raise DataError("needs an estimate and a variance of each of at least two draws", met=(q.shape, u.shape))
    if not 0 < level < 1:
        raise DataError("is no level", where="level", met=level, wanted="above 0 and below 1")
    m, within, between = len(q), float(u.mean()), float(q.var(ddof=1))
    total = within + (1 + 1 / m) * between
    share = (1 + 1 / m) * between / total if total > 0 else 0.0
    df = (m - 1) / share**2 if share > 0 else math.inf
    half = float(stats.t.ppf(0.5 + level / 2, df) if math.isfinite(df) else stats.norm.ppf(0.5 + level / 2))
    mean, error = float(q.mean()), math.sqrt(total)
    return Pooled(mean, error, mean - half * error, mean + half * error, df, share)


Estimate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From a table, n x f, to k estimates and their k variances."""


def pooled(draws: np.ndarray, names: Sequence[str], estimate: Estimate | None = None) -> pd.DataFrame:
    """Estimates from every draw of a filled table, pooled by Rubin's rules.

    Parameters
    ----------
    draws
        m x n x f, as `multiple` or `Filler.draws` gives them.
    names
        Of the k estimates.
    estimate
        From one table to estimates and variances; the mean of every feature by default.

    Returns
    -------
    pandas.DataFrame
        `name`, `estimate`, `standard_error`, `lower`, `upper` (95 %), `df`, `missing_information` (0..1).

    Raises
    ------
    DataError
        Fewer than two draws, or another number of names.
    """
    try:
        said = [tuple(map(np.atleast_1d, (estimate or _means)(table))) for table in draws]
    except TypeError as error:
        raise DataError("gives no estimates and variances", where="estimate", met=str(error)) from error
    if len(said) < 2 or len(said[0][0]) != len(names):
        raise DataError("needs two draws and a name for each estimate", met=(len(said), len(names)))
    q, u = (np.stack([s[i] for s in said]) for i in (0, 1))
    rows = [vars(rubin(q[:, j], u[:, j])) for j in range(len(names))]
    columns = ["name", "estimate", "standard_error", "lower", "upper", "df", "missing_information"]
    return pd.DataFrame([{"name": str(n), **r} for n, r in zip(names, rows, strict=True)])[columns]


def _means(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of every feature, and the square of its standard error."""
    n = np.maximum((~np.isnan(table)).sum(axis=0), 1)
    mean = np.nansum(table, axis=0) / n
    return mean, np.nansum((table - mean) ** 2, axis=0) / np.maximum(n - 1, 1) / n
