"""Maps in two dimensions: of samples by one modality, and of the features of a network by both."""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from isthmus.associate.ranks import standard

__all__ = ["NAMES", "feature_profiles", "view"]

log = logging.getLogger("isthmus.associate")
NAMES = {"tsne": "t-SNE", "umap": "UMAP", "pca": "PCA"}
COMPONENTS = 50
FEWEST = 10
"""Fewer points are shown by their principal components."""
MOST_FEATURES = 2000


def view(values: np.ndarray, kind: str, *, index: pd.Index, seed: int) -> pd.DataFrame:
    """Points (n x f, NaN: missing) in two dimensions, the columns named after the method.

    t-SNE (van der Maaten & Hinton 2008) starts from the principal components, with a perplexity of 30 or a quarter of
    the points; UMAP (McInnes, Healy & Melville 2018) falls back to PCA where it is not installed.
    """
    few = _components(values, seed)
    kind = "pca" if len(values) < FEWEST or few.shape[1] < 3 else kind
    if kind == "umap" and find_spec("umap") is None:
        log.warning('UMAP is not installed, PCA stands in its place: pip install "isthmus[viz]"')
        kind = "pca"
    if kind == "tsne":
        tsne = TSNE(
            perplexity=min(30.0, (len(few) - 1) / 4), init="pca", learning_rate="auto", random_state=seed, n_jobs=1
        )
        few = tsne.fit_transform(few.astype(np.float32))
    elif kind == "umap":
        few = _umap(few, seed)
    xy = np.zeros((len(values), 2))
    xy[:, : min(2, few.shape[1])] = few[:, :2]
    return pd.DataFrame(xy, index, [f"{NAMES[kind]} 1", f"{NAMES[kind]} 2"])


def _components(values: np.ndarray, seed: int) -> np.ndarray:
    """Principal components of standardised features; a missing value stands at the mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a feature of nothing but gaps has no mean
        x = values - np.nanmean(values, axis=0)
        x = x / np.nanstd(x, axis=0)
    x = np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    most = min(COMPONENTS, *x.shape)
    return np.asarray(PCA(most, random_state=seed).fit_transform(x))


def _umap(values: np.ndarray, seed: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        return np.asarray(UMAP(n_neighbors=min(15, len(values) - 1), random_state=seed).fit_transform(values))


def feature_profiles(values: pd.DataFrame, design: np.ndarray | None) -> np.ndarray:
    """Features as points: their ranks over the samples, free of the design, of norm 1; gaps at the median."""
    filled = values.fillna(values.median()).fillna(0.0)
    return standard(filled.to_numpy(np.float64), "spearman", design).z.T
