r"""Which features of a modality another one predicts beyond the class of a sample, and which pathways.

For every feature the Pearson correlation over test samples of its true and its predicted values, over all samples and
*within* classes (both centred by the class means of the test samples, so that it is no merit to know the class). The
null: the predictions of the samples permuted (within classes), R times over all features at once,

.. math:: p_f = \frac{1 + \#\{r_{0} \ge r_f\}}{1 + R F},

one-sided, r_0 the R F correlations of F features under R permutations; correlations over the same samples have the same
mean 0 and variance 1 / (n - 1) under permutation, whatever the feature (Pitman 1937), which is why features share
them. q after Benjamini & Hochberg 1995, https://doi.org/10.1111/j.2517-6161.1995.tb02031.x.

A pathway's score in a sample is the mean of its members, each standardised over the test samples; the same is made of
predictions, and the two are compared as if it were a feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from isthmus.errors import DataError
from isthmus.evaluate.arrays import check_rows, check_table

__all__ = ["crossmodal", "pathway_scores"]

DRAWS = 20_000
"""Correlations under the null that are asked for, from 50 permutations on (1,000 at most)."""


def crossmodal(
    y: np.ndarray,
    y_hat: np.ndarray,
    *,
    features: Sequence[str],
    groups: pd.Series | np.ndarray | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate true and predicted values of every feature over samples, and tell it from chance.

    Parameters
    ----------
    y, y_hat
        True and predicted values of test samples (n x f); NaN in `y` is missing and left out.
    features
        Their names (f).
    groups
        Class of every sample (n); missing ones make a class of their own. None: all are of one class.
    seed
        Of the permutations.

    Returns
    -------
    pandas.DataFrame
        In the order of `features`: `feature`, `pearson` and `pearson_within` (-1 to 1, higher is better; NaN where the
        feature or its prediction does not vary), `p`, `q` (of `pearson_within`; 1 where that is NaN).

    Raises
    ------
    DataError
        Shapes differ.
    """
    check_table(y_hat, where="y_hat")
    check_rows(len(y), len(y_hat), where="y_hat")
    if y.shape != y_hat.shape or len(features) != y.shape[1]:
        met = (y.shape, y_hat.shape, len(features))
        raise DataError("true values, predictions and names differ in their features", where="y_hat", met=met)
    seen = ~np.isnan(y)
    whole = np.zeros(len(y), dtype=np.int64)
    codes = whole if groups is None else pd.factorize(np.asarray(groups, dtype=object))[0] + 1
    overall = _correlations(*(_centred(v, seen, whole) for v in (y, y_hat)))
    a, b = (_centred(v, seen, codes) for v in (y, y_hat))
    within = _correlations(a, b)
    p = _beyond_chance(within, a, b, codes, np.random.default_rng(seed))
    q = false_discovery_control(p, method="bh") if len(p) else p
    found = {"pearson": overall, "pearson_within": within, "p": p, "q": q}
    return pd.DataFrame({"feature": list(features), **found})


def pathway_scores(
    y: np.ndarray,
    y_hat: np.ndarray,
    *,
    features: Sequence[str],
    pathways: Mapping[str, Sequence[str]],
    groups: pd.Series | np.ndarray | None = None,
    min_size: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare true and predicted scores of pathways.

    Parameters
    ----------
    y, y_hat, features, groups, seed
        As in `crossmodal`.
    pathways
        Term to features.
    min_size
        The fewest features among `features` of a term that is scored.

    Returns
    -------
    pandas.DataFrame
        A row per term that is large enough, empty where none is: `term`, `size` (members among `features`), and the
        columns of `crossmodal`, with the family of tests the terms.

    Raises
    ------
    DataError
        As in `crossmodal`.
    """
    check_rows(len(y), len(y_hat), where="y_hat")
    index, scored = pd.Index(list(features), dtype=object), {}
    for term, members in pathways.items():
        places = index.get_indexer(pd.Index(list(dict.fromkeys(members)), dtype=object))
        if (places >= 0).sum() >= min_size:
            scored[term] = places[places >= 0]
    if not scored:
        return pd.DataFrame(columns=["term", "size", "pearson", "pearson_within", "p", "q"])
    seen, whole = ~np.isnan(y), np.zeros(len(y), dtype=np.int64)
    a, b = (_standardised(_centred(v, seen, whole)) for v in (y, y_hat))
    sides = [np.stack([v[:, at].mean(axis=1) for at in scored.values()], axis=1) for v in (a, b)]
    found = crossmodal(sides[0], sides[1], features=list(scored), groups=groups, seed=seed)
    found.insert(1, "size", [len(at) for at in scored.values()])
    return found.rename(columns={"feature": "term"})


def _centred(x: np.ndarray, seen: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Every feature minus its mean over the seen samples of a class; 0 where it is not seen."""
    out = np.where(seen, x, 0.0).astype(np.float64)
    for code in np.unique(codes):
        rows = codes == code
        known = seen[rows]
        out[rows] -= out[rows].sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(seen, out, 0.0)


def _standardised(x: np.ndarray) -> np.ndarray:
    """Columns of length 1; zeros stay. What rounding leaves of a constant counts as 0."""
    length = np.sqrt((x**2).sum(axis=0))
    return np.asarray(x / np.where(length > 1e-10, length, np.inf))


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of every centred column; NaN where one does not vary."""
    a, b = _standardised(a), _standardised(b)
    varies = a.any(axis=0) & b.any(axis=0)
    return np.where(varies, (a * b).sum(axis=0), np.nan)


def _beyond_chance(
    r: np.ndarray, a: np.ndarray, b: np.ndarray, codes: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The p-value of every correlation, from those of permuted predictions over all features that vary."""
    known = np.flatnonzero(~np.isnan(r))
    p = np.ones(len(r))
    if not len(known):
        return p
    a, b = _standardised(a[:, known]), _standardised(b[:, known])
    rounds = int(np.clip(DRAWS // len(known), 50, 1000))
    null = np.concatenate([(a * b[_permuted(codes, rng)]).sum(axis=0) for _ in range(rounds)])
    above = len(null) - np.searchsorted(np.sort(null), r[known], side="left")
    p[known] = (1 + above) / (1 + len(null))
    return p


def _permuted(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An order of the samples in which each stays within its class."""
    order = np.empty(len(codes), dtype=np.int64)
    order[np.lexsort((np.arange(len(codes)), codes))] = np.lexsort((rng.random(len(codes)), codes))
    return order
