"""Scores of an embedding that fit nothing to it but clusters: silhouette, ARI, NMI, neighbourhoods."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score, silhouette_score
from sklearn.neighbors import NearestNeighbors

from isthmus.evaluate.arrays import check_rows, check_table

__all__ = ["batch_mixing", "clustering"]

NEIGHBOURS = 15
SILHOUETTE_ROWS = 5_000
"""The silhouette, quadratic in the samples, is computed on a seeded draw of so many."""


def clustering(
    z: np.ndarray, labels: pd.Series | np.ndarray, *, k: int = NEIGHBOURS, seed: int = 0
) -> dict[str, float]:
    """How well an embedding falls into the classes of a label.

    Parameters
    ----------
    z
        Embedding (n x d), used in its own scale.
    labels
        One class per sample (n); samples with a missing label are left out.
    k
        Neighbours for `knn_purity`.
    seed
        Of k-means, and of the draw of 5,000 samples for the silhouette of more.

    Returns
    -------
    dict of str to float
        Higher is better. `silhouette` of the classes (-1 to 1; Rousseeuw 1987); `ari` (at most 1, 0 by chance) and
        `nmi` (0 to 1, arithmetic mean, not adjusted for chance) between the classes and k-means with as many
        clusters, ten starts; `knn_purity` (0 to 1), the mean share of a sample's k nearest neighbours that have its
        class; chance is the sum of the squared class frequencies. NaN where there are fewer than two classes, or no
        more samples than classes.

    Raises
    ------
    DataError
        Numbers of samples do not agree, or the embedding is not finite.
    """
    z, codes = _labelled(z, labels)
    n, classes = len(codes), len(np.unique(codes))
    if classes < 2 or n <= classes:
        return dict.fromkeys(("silhouette", "ari", "nmi", "knn_purity"), float("nan"))
    few = min(classes, len(np.unique(z, axis=0)))
    clusters = KMeans(few, n_init=10, random_state=seed).fit_predict(z)
    return {
        "silhouette": _silhouette(z, codes, seed),
        "ari": float(adjusted_rand_score(codes, clusters)),
        "nmi": float(normalized_mutual_info_score(codes, clusters)),
        "knn_purity": float((codes[_nearest(z, k)] == codes[:, None]).mean()),
    }


def batch_mixing(z: np.ndarray, batch: pd.Series | np.ndarray, *, k: int = NEIGHBOURS) -> float:
    """How well batches are mixed among nearest neighbours.

    The entropy of the batches among a sample's k neighbours, averaged over samples and divided by the entropy of the
    batches overall, so that batches of unequal size can reach 1.

    Parameters
    ----------
    z
        Embedding (n x d), used in its own scale.
    batch
        One batch per sample (n); samples with a missing batch are left out.
    k
        Neighbours, without the sample itself.

    Returns
    -------
    float
        0: every neighbourhood is of one batch; 1: perfectly mixed (higher is better). k neighbours are a small
        sample: with two equal batches and k = 15 random mixing gives about .95. NaN with fewer than two batches.

    Raises
    ------
    DataError
        Numbers of samples do not agree, or the embedding is not finite.
    """
    z, codes = _labelled(z, batch)
    batches = len(np.unique(codes))
    if batches < 2:
        return float("nan")
    near = codes[_nearest(z, k)]
    shares = np.stack([(near == b).mean(axis=1) for b in range(batches)], axis=1)
    overall = np.bincount(codes, minlength=batches) / len(codes)
    return float(_entropy(shares).mean() / _entropy(overall))


def _labelled(z: np.ndarray, labels: pd.Series | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The samples that have a label, and its code."""
    check_table(z, where="embedding")
    check_rows(len(z), len(labels), where="labels")
    codes, _ = pd.factorize(pd.Series(np.asarray(labels, dtype=object)))
    known = codes >= 0
    return z[known].astype(np.float64), codes[known]


def _nearest(z: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k nearest neighbours (at most n - 1), the sample itself left out even among its copies."""
    k = min(k, len(z) - 1)
    found: np.ndarray = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False)
    return found


def _silhouette(z: np.ndarray, codes: np.ndarray, seed: int) -> float:
    if len(z) > SILHOUETTE_ROWS:
        rows = np.random.default_rng(seed).choice(len(z), SILHOUETTE_ROWS, replace=False)
        z, codes = z[rows], codes[rows]
    if not 1 < len(np.unique(codes)) < len(codes):
        return float("nan")
    return float(silhouette_score(z, codes))


def _entropy(shares: np.ndarray) -> np.ndarray:
    """In nats, over the last axis."""
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=-1))
