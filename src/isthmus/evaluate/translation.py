r"""How well one modality is predicted from another, and whether more than the sample's type is known.

R2 against the train means, as of any reconstruction (see `reconstruction`). Where samples fall into types that differ
in every feature, a translator that recognises the type alone scores high; :math:`R^2` *within* types,

.. math:: 1 - \sum (y - \hat y)^2 / \sum (y - \bar y_{t(i), f})^2,

with the train mean of the sample's true type for reference, is 0 for it.

Beside a model stand predictions that need no network, all fitted on train: ridge regression, in which every principal
component of the target has the penalty that its exact leave-one-out error asks for, at least that of all together
(Golub, Heath & Wahba 1979, https://doi.org/10.2307/1268518, for the errors; the components are orthogonal directions
of Y, so that noise is shrunk more than strong signals); the mean of the k nearest training samples, k by
leave-one-out; the nearest one; the train mean.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.linalg import eigh
from sklearn.neighbors import NearestNeighbors

from isthmus.errors import DataError, RecipeError, closest
from isthmus.evaluate.arrays import Matrix, check_rows, feature_means, zero_filled
from isthmus.evaluate.probes import Answer, run_probes
from isthmus.evaluate.reconstruct import reconstruction
from isthmus.evaluate.ridge import left_out, spectrum

__all__ = ["TRANSLATORS", "Source", "group_means", "label_transfer", "translation", "translation_baselines"]

log = logging.getLogger("isthmus.evaluate")

TRANSLATORS = ("ridge", "knn", "nearest", "mean")
PENALTIES = np.logspace(-4, 4, 17)
"""Of ridge, times the mean squared singular value of the source."""
NEIGHBOURS = (3, 5, 10, 20, 40, 80)
COMPONENTS = 50
"""Neighbours are looked for among so many principal components of the source."""
ROUNDING = 1e-12
"""Times the rows of a Gram matrix: squared singular values below this share of the largest one's are none."""
MOST_COMPONENTS = 256
"""Of the target: so many have a penalty of their own."""


def translation(
    y: Matrix,
    y_hat: np.ndarray,
    *,
    reference: np.ndarray,
    observed: np.ndarray | None = None,
    within: np.ndarray | None = None,
) -> dict[str, float]:
    """Score predictions of one modality from another on held-out samples.

    Parameters
    ----------
    y, y_hat
        True and predicted values (n x f), in the same units; NaN in `y` is missing.
    reference
        Mean of every feature over *train* (f).
    observed
        Which entries count, as in `reconstruction`.
    within
        Train mean of the sample's own group (n x f); see `group_means`.

    Returns
    -------
    dict of str to float
        What `reconstruction` gives. With `within` also `r2_within` (overall) and `r2_within_feature` (mean over
        features): what is known beyond the group; at most 1, 0 for one who knows the group and nothing else, higher
        is better; over the samples whose group occurs in train.

    Raises
    ------
    DataError
        As in `reconstruction`.
    """
    found = reconstruction(y, y_hat, observed=observed, reference=reference)
    if within is not None:
        check_rows(y.shape[0], len(within), where="within")
        known = ~np.isnan(within).all(axis=1)
        if not known.any():
            return found | {"r2_within": float("nan"), "r2_within_feature": float("nan")}
        centre = within[known]
        rest = np.asarray(y[known] if isinstance(y, np.ndarray) else y[known].toarray()) - centre
        seen = None if observed is None else observed[known]
        inner = reconstruction(rest, y_hat[known] - centre, observed=seen, reference=np.zeros(y.shape[1]))
        found |= {"r2_within": inner["r2"], "r2_within_feature": inner["r2_feature"]}
    return found


def group_means(y: Matrix, groups: pd.Series | np.ndarray, asked: pd.Series | np.ndarray) -> np.ndarray:
    """The train mean of every feature in the group of each asked sample.

    Parameters
    ----------
    y
        Training values (n x f), dense or CSR; NaN is missing.
    groups
        Group of each of them (n); missing ones leave a sample out.
    asked
        Group of the samples that are asked for (m).

    Returns
    -------
    np.ndarray
        m x f; NaN for a group that train does not have; a feature never observed in it has its mean over all groups.
    """
    check_rows(y.shape[0], len(groups), where="groups")
    theirs, wanted = (pd.Series(np.asarray(g, dtype=object)) for g in (groups, asked))
    out, overall = np.full((len(wanted), y.shape[1]), np.nan), feature_means(y)
    for name in wanted.dropna().unique():
        rows = np.flatnonzero((theirs == name).to_numpy())
        if len(rows):
            means = feature_means(y[rows])
            out[(wanted == name).to_numpy()] = np.where(np.isnan(means), overall, means)
    return out


@dataclass(frozen=True)
class Source:
    """What a source says of its samples, computed once for all targets.

    `u` (n x r) and `s` (r): left singular vectors and singular values of the training values about their means;
    `scores` (m x r): the test samples in the same axes, in units of the source.
    """

    u: np.ndarray
    s: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, train: Matrix, test: Matrix) -> Source:
        """Decompose n x p and m x p values; missing entries count as the train mean, CSR stays CSR.

        The smaller of the n x n and the p x p product is decomposed.
        """
        if train.shape[1] != test.shape[1]:
            raise DataError("train and test differ in their features", met=(train.shape, test.shape))
        a, b, mean = _filled(train, test)
        if train.shape[1] <= train.shape[0]:
            s, v = spectrum(_product(a.T, a) - train.shape[0] * np.outer(mean, mean), ROUNDING * train.shape[1])
            shift = mean @ v
            return cls((_product(a, v) - shift) / s, s, _product(b, v) - shift)
        ours, theirs = _product(a, mean), _product(b, mean)
        gram = _product(a, a.T) - ours[:, None] - ours[None] + mean @ mean
        s, u = spectrum(gram, ROUNDING * train.shape[0])
        cross = _product(b, a.T) - theirs[:, None] - ours[None] + mean @ mean
        return cls(u, s, cross @ (u / s))


def _filled(train: Matrix, test: Matrix) -> tuple[Matrix, Matrix, np.ndarray]:
    """Both in float64 without gaps, and the means of the first."""
    mean = np.nan_to_num(feature_means(train))
    sides = []
    for x in (train, test):
        if isinstance(x, np.ndarray):
            sides.append(np.where(np.isnan(x), mean, x).astype(np.float64))
        else:
            kept = sp.csr_matrix(x, dtype=np.float64, copy=True)
            missing = np.isnan(kept.data)
            kept.data[missing] = mean[kept.indices[missing]]
            sides.append(kept)
    return sides[0], sides[1], np.asarray(feature_means(sides[0]))


def _product(a: Any, b: Any) -> np.ndarray:
    """A dense product of matrices of any kind."""
    found = a @ b
    return found if isinstance(found, np.ndarray) else np.asarray(found.toarray())


def translation_baselines(
    x_train: Matrix | Source,
    y_train: np.ndarray,
    x_test: Matrix | None = None,
    *,
    which: Sequence[str] = TRANSLATORS,
) -> dict[str, np.ndarray]:
    """Predict one modality from another without a network, fitted on train.

    Parameters
    ----------
    x_train, x_test
        The source: n x p and m x p in comparable units (standardised), dense or CSR; missing entries count as the
        train mean. Or one `Source`, made once for several targets.
    y_train
        The target (n x f, dense); missing entries count as the train mean.
    which
        Some of `ridge`, `knn`, `nearest`, `mean`.

    Returns
    -------
    dict of str to np.ndarray
        m x f predictions each, in the units of `y_train`.

    Raises
    ------
    DataError
        Numbers of samples or features do not agree, or there are fewer than three training samples.
    RecipeError
        An unknown name.
    """
    for name in which:
        if name not in TRANSLATORS:
            hint = closest(name, TRANSLATORS)
            raise RecipeError("no such baseline of translation", met=name, hint=hint)
    if not isinstance(x_train, Source):
        if x_test is None:
            raise DataError("test samples are missing", where="x_test")
        check_rows(x_train.shape[0], len(y_train), where="y_train")
        if len(y_train) < 3:
            raise DataError("are too few to learn from", where="y_train", met=len(y_train), wanted="3 samples or more")
        x_train = Source.of(x_train, x_test)
    check_rows(len(x_train.u), len(y_train), where="y_train")
    mean = np.nan_to_num(feature_means(y_train))
    rest = np.where(np.isnan(y_train), 0.0, y_train - mean).astype(np.float64)
    makers = {"ridge": _ridge, "knn": _knn, "nearest": _nearest, "mean": _nothing}
    return {name: mean + makers[name](x_train, rest) for name in which}


def _components(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n x c) and directions (c x f) of the largest principal components of a centred target."""
    wide = y.shape[1] > y.shape[0]
    side = min(y.shape)
    keep = (max(0, side - MOST_COMPONENTS), side - 1)
    vectors = eigh(y @ y.T if wide else y.T @ y, subset_by_index=keep)[1][:, ::-1]
    if not wide:
        return y @ vectors, np.asarray(vectors.T)
    scores = vectors.T @ y
    sizes = np.linalg.norm(scores, axis=1)
    known = sizes > max(float(sizes.max()), 0.0) * 1e-10
    return vectors[:, known] * sizes[known], scores[known] / sizes[known, None]


def _ridge(source: Source, y: np.ndarray) -> np.ndarray:
    """Ridge regression of every principal component of y, each with a penalty of its own.

    That of its least leave-one-out error, but not below that of all components together: few samples would let some
    component find by chance that it needs none. What lies beyond the largest components has the penalty of the last.
    """
    if not len(source.s) or not y.any():
        return _nothing(source, y)
    parts, axes = _components(y)
    squares = source.s**2
    loadings = source.u.T @ parts
    grid = PENALTIES * squares.mean()
    table = np.stack([(rest**2).sum(axis=0) for rest in left_out(source.u, source.s, parts, grid)])
    penalties = grid[np.maximum(table.argmin(axis=0), table.sum(axis=1).argmin())]
    slopes = source.s[:, None] / (squares[:, None] + penalties) * loadings
    found = source.scores @ slopes @ axes
    if len(axes) == MOST_COMPONENTS:
        rest = source.u.T @ (y - parts @ axes)
        found += source.scores @ ((source.s / (squares + penalties[-1]))[:, None] * rest)
    return np.asarray(found)


def _neighbours(source: Source, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest training samples of every training sample (itself left out) and of every test sample."""
    train = (source.u * source.s)[:, :COMPONENTS]
    found = NearestNeighbors(n_neighbors=k).fit(train)
    test = source.scores[:, :COMPONENTS]
    return found.kneighbors(return_distance=False), found.kneighbors(test, return_distance=False)


def _knn(source: Source, y: np.ndarray) -> np.ndarray:
    """The mean of k neighbours, with the k of the least leave-one-out error over the largest components of y."""
    if not len(source.s) or not y.any():
        return _nothing(source, y)
    choices = [k for k in NEIGHBOURS if k < len(y)] or [1]
    among, near = _neighbours(source, choices[-1])
    parts, total, errors = _components(y)[0], 0.0, {}
    for k, column in enumerate(among.T, start=1):
        total = total + parts[column]
        if k in choices:
            errors[k] = float(((parts - total / k) ** 2).sum())
    best = min(errors, key=lambda k: errors[k])
    out = np.zeros((len(near), y.shape[1]))
    for column in near[:, :best].T:
        out += y[column]
    return out / best


def _nearest(source: Source, y: np.ndarray) -> np.ndarray:
    return np.asarray(y[_neighbours(source, 1)[1][:, 0]]) if len(source.s) else _nothing(source, y)


def _nothing(source: Source, y: np.ndarray) -> np.ndarray:
    return np.zeros((len(source.scores), y.shape[1]))


def label_transfer(
    y_train: np.ndarray, labels_train: pd.Series, predicted: dict[str, np.ndarray], labels_test: pd.Series
) -> pd.DataFrame:
    """Whether a translation can be used as if it had been measured: a classifier of real samples reads it.

    A logistic regression (ridge for values, see `probe`) learns the label from the true values of the training samples
    and is asked about the translated test samples. Missing entries count as the train mean.

    Parameters
    ----------
    y_train, labels_train
        True values of the target (n x f) and the label (n).
    predicted
        Name -> values of the same m test samples (m x f): the model's, the baselines', the true ones.
    labels_test
        The label of these (m).

    Returns
    -------
    pandas.DataFrame
        `representation`, `metric`, `value`: `auc`, `accuracy`, `balanced_accuracy`, `f1`, or `r2`; see `probe`. No rows
        where the label cannot be learnt.
    """
    mean = np.nan_to_num(feature_means(y_train))
    stacked = np.vstack(list(predicted.values())) - mean
    names, m = list(predicted), len(labels_test)
    labels = pd.concat([labels_test] * len(names), ignore_index=True).to_frame(str(labels_train.name))
    train = zero_filled(np.asarray(y_train - mean))
    probes = run_probes(
        {"target": train}, {"target": zero_filled(stacked)}, labels_train.to_frame(), labels, learners=("logistic",)
    )
    return pd.DataFrame(
        [row for answer in probes.answers for row in _by_block(answer, names, m)],
        columns=["representation", "metric", "value"],
    )


def _by_block(answer: Answer, names: list[str], m: int) -> list[tuple[str, str, float]]:
    """The scores of each of several stacked sets of m samples."""
    block = answer.task.rows_test // m
    weights = (block[None] == np.arange(len(names))[:, None]).astype(np.float64)
    scores = answer.metrics(weights)
    return [(name, metric, float(values[k])) for metric, values in scores.items() for k, name in enumerate(names)]
