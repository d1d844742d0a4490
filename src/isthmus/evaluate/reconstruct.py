r"""How well values are reconstructed, against the train feature means.

With :math:`\bar x_f` the mean of feature f over *train* and sums over observed entries,

.. math:: R^2 = 1 - \sum (x - \hat x)^2 / \sum (x - \bar x_f)^2

overall, per sample (sums over its features) and per feature (sums over its samples). 0 is what the train mean gives,
1 is perfect, there is no lower bound. The sum of squares of a sample against **its own** mean, as published with
AUTOENCODIX (Joas et al. 2025), counts the differences between features as explained: in original units, where
features differ in level, the train mean alone scores near 1. It is given as `r2_paper`, for comparison only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isthmus.errors import DataError
from isthmus.evaluate.arrays import Matrix, blocks, check_rows, dense

__all__ = ["reconstruction", "reconstruction_by_feature"]


def reconstruction(
    x: Matrix, x_hat: np.ndarray, *, observed: np.ndarray | None = None, reference: np.ndarray
) -> dict[str, float]:
    """Score a reconstruction over the observed entries of held-out samples.

    Parameters
    ----------
    x
        Samples x features (n x f), dense or CSR; NaN is missing, an absent entry of CSR is zero.
    x_hat
        Its reconstruction (n x f), in the same units.
    observed
        Which entries count (n x f, or n x 1 for whole samples); by default those that are not NaN.
    reference
        Mean of every feature over *train* (f); see `feature_means`. A feature whose reference is NaN is left out.

    Returns
    -------
    dict of str to float
        - `r2`: over all observed entries; `r2_sample`: mean over samples; `r2_feature`: mean over features that vary
          in these samples. Higher is better; at most 1, and 0 is what the train means give.
        - `r2_paper`: mean over samples of the R2 against the sample's own mean; it flatters (see the module).
        - `mse`, `mae`: mean over observed entries, in (squared) units of `x`; lower is better.
        - `pearson_feature`, `pearson_sample`: mean correlation over features (samples) that vary; -1 to 1. A
          constant reconstruction of values that vary counts as 0. In original units, where features differ in
          level, `pearson_sample` flatters.
        - `n_samples`, `n_features`, `n_entries`: with at least one observed entry; `n_features_constant`: features
          without variance in these samples, left out of `r2_feature` and `pearson_feature`.

        A mean over nothing is NaN.

    Raises
    ------
    DataError
        Shapes differ, or an observed entry or its reconstruction is infinite or NaN.

    Examples
    --------
    >>> x = np.array([[0.0, 2.0], [2.0, 0.0]])
    >>> reconstruction(x, x / 2 + 0.5, reference=np.array([1.0, 1.0]))["r2"]
    0.75
    """
    features, samples = _sums(x, x_hat, observed, reference)
    entries = features.n.sum()
    return {
        "r2": _r2(features.sse.sum(), features.sst.sum()),
        "r2_sample": _mean(samples.r2),
        "r2_feature": _mean(features.r2[features.varies]),
        "r2_paper": _mean(samples.r2_own),
        "mse": float(features.sse.sum() / entries) if entries else np.nan,
        "mae": float(features.sae.sum() / entries) if entries else np.nan,
        "pearson_feature": _mean(features.pearson),
        "pearson_sample": _mean(samples.pearson),
        "n_samples": float((samples.n > 0).sum()),
        "n_features": float((features.n > 0).sum()),
        "n_entries": float(entries),
        "n_features_constant": float(((features.n > 0) & ~features.varies).sum()),
    }


def reconstruction_by_feature(
    x: Matrix,
    x_hat: np.ndarray,
    *,
    features: Sequence[str] | pd.Index,
    observed: np.ndarray | None = None,
    reference: np.ndarray,
) -> pd.DataFrame:
    """Score the reconstruction of every feature on its own.

    Parameters
    ----------
    x, x_hat, observed, reference
        As in `reconstruction`.
    features
        f names, in the order of the columns of `x`.

    Returns
    -------
    pandas.DataFrame
        f rows in the order of `features`: `feature`, `n` (observed entries), `r2` (against the train mean; NaN where
        the feature does not vary in these samples), `mse` (squared units of `x`), `pearson` (NaN where it does not
        vary; 0 where only its reconstruction does not).

    Raises
    ------
    DataError
        As in `reconstruction`, or the number of names is wrong.
    """
    if len(features) != x.shape[1]:
        raise DataError("there is not one name per feature", met=len(features), wanted=str(x.shape[1]))
    s, _ = _sums(x, x_hat, observed, reference)
    mse = np.divide(s.sse, s.n, out=np.full(len(s.n), np.nan), where=s.n > 0)
    return pd.DataFrame(
        {
            "feature": list(features),
            "n": s.n.astype(int),
            "r2": np.where(s.varies, s.r2, np.nan),
            "mse": mse,
            "pearson": s.pearson,
        }
    )


@dataclass(frozen=True)
class _Sums:
    """Per feature or per sample: sums over observed entries; `sst` about train, `sxx`, `shh`, `sxh` about own means."""

    n: np.ndarray
    sse: np.ndarray
    sae: np.ndarray
    sst: np.ndarray
    sxx: np.ndarray
    shh: np.ndarray
    sxh: np.ndarray
    varies: np.ndarray
    varies_hat: np.ndarray

    @property
    def r2(self) -> np.ndarray:
        return 1 - _ratio(self.sse, self.sst)

    @property
    def r2_own(self) -> np.ndarray:
        return np.where(self.varies, 1 - _ratio(self.sse, self.sxx), np.nan)

    @property
    def pearson(self) -> np.ndarray:
        r = np.clip(_ratio(self.sxh, np.sqrt(self.sxx * self.shh)), -1, 1)
        return np.where(self.varies, np.where(self.varies_hat, r, 0.0), np.nan)


def _sums(x: Matrix, x_hat: np.ndarray, observed: np.ndarray | None, reference: np.ndarray) -> tuple[_Sums, _Sums]:
    """The sums per feature and per sample, in one pass over blocks of samples."""
    _check(x, x_hat, observed, reference)
    n, f = x.shape
    known = np.isfinite(reference)
    centre = np.where(known, reference, 0.0).astype(np.float64)
    total = np.zeros((8, f))
    low, high = np.full((2, f), np.inf), np.full((2, f), -np.inf)
    samples = []
    for rows in blocks(n, f):
        a, b = dense(x[rows]), dense(x_hat[rows])
        seen = ~np.isnan(a) & known
        if observed is not None:
            seen &= observed[rows]
        if not (np.isfinite(a[seen]).all() and np.isfinite(b[seen]).all()):
            raise DataError("an observed entry, or its reconstruction, is NaN or infinite", wanted="finite numbers")
        a, b = np.where(seen, a - centre, 0.0), np.where(seen, b - centre, 0.0)
        total += _moments(a, b, seen, axis=0)
        block_low, block_high = _range(a, b, seen, axis=0)
        low, high = np.minimum(low, block_low), np.maximum(high, block_high)
        samples.append(_of_samples(a, b, seen, centre))
    fields = ("n", "sse", "sae", "sst", "sxx", "shh", "sxh", "varies", "varies_hat")
    per_sample = [np.concatenate([getattr(s, k) for s in samples] or [np.zeros(0)]) for k in fields]
    return _centred(total, low, high), _Sums(*per_sample)


def _of_samples(a: np.ndarray, b: np.ndarray, seen: np.ndarray, centre: np.ndarray) -> _Sums:
    """Sums per sample; `a` and `b` come about the train means and are put back, then taken about the sample's mean."""
    sst = (a * a).sum(axis=1)
    a, b = a + centre, b + centre
    n = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    shift = np.where(seen, a, 0.0).sum(axis=1, keepdims=True) / n
    a, b = np.where(seen, a - shift, 0.0), np.where(seen, b - shift, 0.0)
    low, high = _range(a, b, seen, axis=1)
    sums = _centred(_moments(a, b, seen, axis=1), low, high)
    return _Sums(sums.n, sums.sse, sums.sae, sst, sums.sxx, sums.shh, sums.sxh, sums.varies, sums.varies_hat)


def _moments(a: np.ndarray, b: np.ndarray, seen: np.ndarray, *, axis: int) -> np.ndarray:
    """n, squared error, absolute error, and the sums of a, b, a^2, b^2, ab; unobserved entries are 0 in both."""
    e = a - b
    terms = (seen, e * e, np.abs(e), a, b, a * a, b * b, a * b)
    return np.stack([t.sum(axis=axis, dtype=np.float64) for t in terms])


def _range(a: np.ndarray, b: np.ndarray, seen: np.ndarray, *, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest observed value of both, exactly, so that `constant` does not depend on rounding."""
    low = np.stack([np.where(seen, v, np.inf).min(axis=axis, initial=np.inf) for v in (a, b)])
    high = np.stack([np.where(seen, v, -np.inf).max(axis=axis, initial=-np.inf) for v in (a, b)])
    return low, high


def _centred(total: np.ndarray, low: np.ndarray, high: np.ndarray) -> _Sums:
    """Moments about a shift as sums about own means."""
    n, sse, sae, a, b, aa, bb, ab = total
    over = np.maximum(n, 1)
    varies, varies_hat = low < high
    return _Sums(
        n, sse, sae, aa, np.maximum(aa - a * a / over, 0), np.maximum(bb - b * b / over, 0), ab - a * b / over,
        varies, varies_hat,
    )  # fmt: skip


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A quotient that is NaN where the divisor is 0."""
    quotient = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def _r2(sse: float, sst: float) -> float:
    return float(1 - sse / sst) if sst > 0 else float("nan")


def _mean(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN over nothing."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def _check(x: Matrix, x_hat: np.ndarray, observed: np.ndarray | None, reference: np.ndarray) -> None:
    if x.ndim != 2 or x_hat.ndim != 2:
        raise DataError("values and reconstruction are samples x features", met=(x.shape, x_hat.shape))
    check_rows(x.shape[0], x_hat.shape[0], where="x_hat")
    if x.shape != x_hat.shape:
        raise DataError("has another number of features than x", where="x_hat", met=x_hat.shape, wanted=str(x.shape))
    if reference.shape != (x.shape[1],):
        raise DataError(
            "is not one mean per feature", where="reference", met=reference.shape, wanted=f"({x.shape[1]},)"
        )
    if observed is not None:
        if observed.dtype != np.bool_:
            raise DataError("is not a mask", where="observed", met=str(observed.dtype), wanted="bool")
        if observed.shape not in {x.shape, (x.shape[0], 1)}:
            raise DataError("does not fit x", where="observed", met=observed.shape, wanted=str(x.shape))
