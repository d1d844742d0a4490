"""What every model is printed beside: representations and reconstructions that need no network.

Everything is fitted on *train* and applied to *test*. PCA is that of scikit-learn (randomised for large tables; on
CSR an implicit centring, so that nothing becomes dense); UMAP is that of McInnes, Healy and Melville 2018
(https://arxiv.org/abs/1802.03426). Random features are the yardstick of the AUTOENCODIX benchmark (its equation 5).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA

from isthmus.errors import DataError, RecipeError, closest
from isthmus.evaluate.arrays import Matrix, dense, feature_means, floating, zero_filled

__all__ = ["BASELINES", "mean_reconstruction", "pca_reconstruction", "representations"]

log = logging.getLogger("isthmus.evaluate")

BASELINES = ("pca", "umap", "random_features", "raw")
UMAP_LIMIT = 4_000
"""Above 4,096 training rows umap compiles an approximate neighbour search, for two minutes."""
UMAP_NEIGHBOURS = 15
UMAP_COLUMNS = 50
"""CSR is brought to so many principal components before UMAP."""

Pair = tuple[Matrix, Matrix]


def representations(
    train: Matrix,
    test: Matrix,
    d: int,
    *,
    which: Sequence[str] = BASELINES,
    seed: int = 0,
    repeats: int = 5,
    umap_limit: int | None = UMAP_LIMIT,
) -> dict[str, Pair]:
    """Represent samples without a network, fitted on train and applied to test.

    Parameters
    ----------
    train, test
        Standardised values, samples x features, dense or CSR; missing entries (NaN) count as 0.
    d
        Number of dimensions; PCA gives fewer where train has fewer samples or features.
    which
        Some of `pca`, `umap`, `random_features`, `raw`.
    seed
        Of the random features, of UMAP and of the randomised PCA.
    repeats
        How many draws of random features.
    umap_limit
        Largest number of training samples for which UMAP is run; None for no limit.

    Returns
    -------
    dict of str to (train, test)
        `pca`, `umap`, `random_features/0`, `random_features/1`, ..., `raw`: n x d each, `raw` n x f (CSR stays CSR).
        What could not be run is absent, and the log says why.

    Raises
    ------
    RecipeError
        `which` holds an unknown name, or `d` is below 1.
    DataError
        Train and test differ in their features, or train is empty.
    """
    _check(train, test, d)
    for name in which:
        if name not in BASELINES:
            hint = closest(name, BASELINES)
            raise RecipeError("no such baseline", where="evaluate.embedding.baselines", met=name, hint=hint)
    train, test = zero_filled(train), zero_filled(test)
    found: dict[str, Pair] = {}
    for name in which:
        if name == "pca":
            found[name] = _pca(train, test, d, seed)
        elif name == "umap":
            if pair := _umap(train, test, d, seed=seed, limit=umap_limit):
                found[name] = pair
        elif name == "random_features":
            found |= _random_features(train, test, d, seed=seed, repeats=repeats)
        else:
            found[name] = (train, test)
    return found


def pca_reconstruction(train: Matrix, test: Matrix, d: int, *, seed: int = 0) -> np.ndarray:
    """Reconstruct test samples from d principal components of train.

    Parameters
    ----------
    train, test
        Samples x features in any one unit, dense or CSR; a missing entry (NaN) stands as the feature's train mean.
    d
        Number of components; at most what train has.
    seed
        Of the randomised solver.

    Returns
    -------
    np.ndarray
        n_test x f, dense, in the units of the input.

    Raises
    ------
    DataError, RecipeError
        As in `representations`.
    """
    _check(train, test, d)
    means = np.nan_to_num(feature_means(train))
    model = _fitted_pca(_mean_filled(train, means), d, seed)
    return np.asarray(model.inverse_transform(model.transform(_mean_filled(test, means))))


def mean_reconstruction(train: Matrix, test: Matrix) -> np.ndarray:
    """Reconstruct every test sample as the train feature means: an R2 of 0 by definition.

    Parameters
    ----------
    train, test
        Samples x features, dense or CSR; NaN is missing.

    Returns
    -------
    np.ndarray
        n_test x f (a read-only view of f numbers); 0 for a feature that train never observes.
    """
    _check(train, test, 1)
    means: np.ndarray = np.broadcast_to(np.nan_to_num(feature_means(train)), test.shape)
    return means


def _mean_filled(x: Matrix, means: np.ndarray) -> Matrix:
    """NaN as the train mean of its feature; CSR stays CSR."""
    x = floating(x)
    if not isinstance(x, np.ndarray):
        missing = np.isnan(x.data)
        x = x.copy()
        x.data[missing] = means[x.indices[missing]]
        return x
    return np.where(np.isnan(x), means.astype(x.dtype), x)


def _fitted_pca(train: Matrix, d: int, seed: int) -> PCA:
    most = min(train.shape)
    solver = "auto"
    if sp.issparse(train):
        most -= 1  # arpack finds all but the last component
        solver = "arpack"
    if d > most:
        log.info("PCA has %d dimensions instead of %d: train is %d x %d", most, d, *train.shape)
    with np.errstate(invalid="ignore", divide="ignore"):  # where nothing varies
        return PCA(n_components=min(d, most), svd_solver=solver, random_state=seed).fit(train)


def _pca(train: Matrix, test: Matrix, d: int, seed: int) -> Pair:
    model = _fitted_pca(train, d, seed)
    return model.transform(train), model.transform(test)


def _random_features(train: Matrix, test: Matrix, d: int, *, seed: int, repeats: int) -> dict[str, Pair]:
    rng = np.random.default_rng(seed)
    found: dict[str, Pair] = {}
    for k in range(repeats):
        columns = np.sort(rng.choice(train.shape[1], size=min(d, train.shape[1]), replace=False))
        found[f"random_features/{k}"] = dense(train[:, columns]), dense(test[:, columns])
    return found


def _umap(train: Matrix, test: Matrix, d: int, *, seed: int, limit: int | None) -> Pair | None:
    """UMAP on one thread and with a seed; None, with the reason in the log, where it cannot or should not run."""
    n = train.shape[0]
    reason = None
    if find_spec("umap") is None:
        reason = 'the package umap-learn is not installed (pip install "isthmus[viz]")'
    elif limit is not None and n > limit:
        reason = f"{n} training samples are more than {limit}"
    elif n < max(10, d + 3):
        reason = f"{n} training samples are too few for {d} dimensions"
    if reason:
        log.info("UMAP is left out: %s", reason)
        return None
    if sp.issparse(train):
        train, test = _pca(train, test, UMAP_COLUMNS, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # umap, numba and pynndescent warn of each other's versions and of our seed
        import umap

        neighbours = min(UMAP_NEIGHBOURS, n - 1)
        model = umap.UMAP(n_components=d, n_neighbors=neighbours, random_state=seed, n_jobs=1)
        return np.asarray(model.fit_transform(train)), np.asarray(model.transform(test))


def _check(train: Matrix, test: Matrix, d: int) -> None:
    if d < 1:
        raise RecipeError("there is no such number of dimensions", met=d, wanted="1 or more")
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise DataError("train and test differ in their features", met=(train.shape, test.shape))
    if train.shape[0] < 2 or train.shape[1] < 1:
        raise DataError("is too small to fit a baseline on", where="train", met=train.shape, wanted="2 x 1 or more")
    if test.shape[0] < 1:
        raise DataError("holds no samples", where="test", met=test.shape)
