r"""What latent-mediated scores are worth: refits with permuted samples, and a test of every pair.

Two things must hold before a pair is called linked, and its p-value is the larger of theirs. Its score is beyond those
of refits with one modality's samples permuted: pooled over all pairs and refits, (1 + k) / (1 + N), the penalties of
the cross-map being those of the real fit. And each feature goes with the other as predicted through the latent
dimensions: with :math:`\rho` Spearman's correlation over samples,

.. math:: r_{gm} = \tfrac12 [\rho(g, \hat m)\, c(R_m, H_g) + \rho(\hat g, m)\, c(R_g, H_m)], \quad
          c(R, H) = R / \sqrt{R^2 + (1 - R^2) H^2},

is beyond the exact null of a correlation. :math:`R_m = \rho(m, \hat m)` says how well m is predicted, :math:`H_g^2`
is the share of g in its own latent space. The direction of a prediction in that space is estimated, with an error that
a feature can go along with as far as it lies in the space: the variance of :math:`\mathrm{cov}(g, \hat m)` without a
link is :math:`|g|^2 (|\hat m|^2 + |m - \hat m|^2 H_g^2) / n`, hence c. A feature in the space altogether is tested as
by its direct correlation; one that barely reaches it, by its correlation with the prediction, which is larger.

The permutation alone answers whether *anything* is linked. Once some features share a latent dimension, the chance
weights of the others on it pass the same test: up to 30 % of false pairs at a nominal 5 % in
`benchmarks/latent_links.py`, and up to 90 % where every refit chooses penalties of its own, since it then learns to
predict nothing. The second test alone would not do either: an unlinked pair's prediction is a chance direction.

Products are of low rank and are never held; the kernels are those of `isthmus.associate.pairs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from isthmus.associate import pairs
from isthmus.associate.cutting import stepped_up
from isthmus.associate.design import order_within
from isthmus.associate.latent import Factors
from isthmus.associate.null import exact_p
from isthmus.associate.ranks import standard

__all__ = ["Scored", "permuted", "scored", "tied"]

GUARD = 1e-5
"""Rounding of a scaled score in float32."""
SMALLEST = 1e-4
"""Of the scale of scores."""
LISTED, SPARE = 300_000, 1_000_000
"""Pairs of the largest scores that are tested one by one, and how many more may share a bin with the last of them."""
CHUNK = 1 << 16

Draw: TypeAlias = Callable[["np.ndarray | None"], Factors]
"""From an order of the second modality's samples (None: as they are) to the factors of a fit."""
Tied: TypeAlias = Callable[[Factors, np.ndarray, np.ndarray], np.ndarray]
"""From the factors of the real fit and positions of pairs to p-values."""


@dataclass(frozen=True)
class Scored:
    """Pairs with their scores and what they are worth.

    Attributes
    ----------
    x, y
        Positions of the features of either side.
    score
        In -1..1.
    p, q
        The larger of the two p-values that follow, the smallest first; adjusted after Benjamini & Hochberg for all
        pairs, of which those beyond the 300,000 of the largest scores count as not accepted.
    p_refit
        Of the score against refits with permuted samples, pooled.
    p_tied
        Of the features against each other as predicted through the latent dimensions.
    p_any
        Share of the fits, the real one included, whose largest score reaches the real one's.
    edges
        Lower edges of bins of |score|.
    observed
        Pairs in each bin.
    null
        Refits x bins: pairs in each bin under permutation; the last bin holds everything beyond.
    """

    x: np.ndarray
    y: np.ndarray
    score: np.ndarray
    p: np.ndarray
    q: np.ndarray
    p_refit: np.ndarray
    p_tied: np.ndarray
    p_any: float
    edges: np.ndarray
    observed: np.ndarray
    null: np.ndarray


def permuted(n: int, times: int, *, blocks: np.ndarray | None = None, seed: int = 0) -> list[np.ndarray]:
    """Orders of n samples; within blocks (n labels) where these are given."""
    rng = np.random.default_rng((seed, 0x1A7E))
    return [order_within(n, blocks, rng) for _ in range(times)]


def tied(x: np.ndarray, y: np.ndarray, *, design: np.ndarray | None = None) -> Tied:
    """The test whether features go with each other's predictions.

    Parameters
    ----------
    x, y
        n x p and n x q, in the order of the embeddings; a missing value stands at its feature's mean.
    design
        n x g, orthonormal with its constant: taken out of the ranks, whose null is then that of fewer samples.
    """
    null = exact_p(max(len(x) + 1 - (1 if design is None else design.shape[1]), 3))

    def test(factors: Factors, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        (rows, i), (columns, j) = (np.unique(k, return_inverse=True) for k in (i, j))
        sides = _filled(x[:, rows]), _filled(y[:, columns])
        made = factors.from_y @ factors.into_x[rows].T, factors.from_x @ factors.into_y[columns].T
        real, predicted = ([standard(v, "spearman", design).z.T for v in group] for group in (sides, made))
        told = [np.einsum("kn,kn->k", a, b) ** 2 for a, b in zip(real, predicted, strict=True)]
        within = [
            np.mean([((a @ pair[k]) ** 2).sum(axis=1) for pair in factors.spaces], axis=0) for k, a in enumerate(real)
        ]
        p = np.empty(len(i))
        for start in range(0, len(i), CHUNK):
            g, m = i[start : start + CHUNK], j[start : start + CHUNK]
            forth = np.einsum("kn,kn->k", real[0][g], predicted[1][m]) * _known(told[1][m], within[0][g])
            back = np.einsum("kn,kn->k", predicted[0][g], real[1][m]) * _known(told[0][g], within[1][m])
            p[start : start + CHUNK] = null.p(np.minimum(np.abs(forth + back) / 2, 1.0))
        return p

    return test


def scored(
    draw: Draw, orders: Iterable[np.ndarray], test: Tied, *, top: int = 1000,
    asked: tuple[np.ndarray, np.ndarray] | None = None, threads: int | None = None,
) -> Scored:  # fmt: skip
    """The best pairs, and the pairs asked for, tested.

    Parameters
    ----------
    draw
        Gives the factors of a fit; called with None first, then with every order.
    orders
        Permutations of the second modality's samples: one refit each.
    test
        As `tied` makes it.
    top
        How many of the best pairs are listed.
    asked
        Positions of further pairs on both sides.
    threads
        Of the kernels; all cores by default.
    """
    found = draw(None)
    scale = _scale(found, threads)
    counted = _counted(found, scale, threads)
    null = np.array([_counted(draw(order), scale, threads).counts for order in orders]).reshape(-1, pairs.BINS)
    x, y = _best(found, counted, scale, top=max(top, LISTED), threads=threads)
    if asked is not None:
        both = np.unique(np.stack([np.concatenate(p) for p in zip((x, y), asked, strict=True)]), axis=1)
        x, y = both[0].astype(np.int64), both[1].astype(np.int64)
    score = _scores(found, x, y)
    place = np.minimum((np.abs(score) / scale * pairs.BINS).astype(np.int64), pairs.BINS - 1)
    p_refit = ((1 + _beyond(null.sum(axis=0))) / (1 + null.sum()))[place]
    p_tied = test(found, x, y)
    p = np.maximum(p_refit, p_tied)
    order = np.lexsort((y, x, -np.abs(score).round(12), p))
    q = np.empty(len(p))
    q[order] = stepped_up(p[order], int(counted.counts.sum()))
    kept = np.zeros(len(p), dtype=bool)
    kept[order[:top]] = True
    if asked is not None:
        kept |= np.isin(x * len(found.right) + y, asked[0] * len(found.right) + asked[1])
    order = order[kept[order]]
    largest = [int(np.flatnonzero(n)[-1]) for n in (counted.counts, *null)]
    return Scored(
        x[order], y[order], score[order], p[order], q[order], p_refit[order], p_tied[order],
        sum(n >= largest[0] for n in largest) / len(largest), np.arange(pairs.BINS) / pairs.BINS * scale,
        counted.counts, null,
    )  # fmt: skip


def _known(told: np.ndarray, within: np.ndarray) -> np.ndarray:
    """What is left of a correlation with a prediction for the error of its direction: c(R, H) from both squares."""
    return np.asarray(np.sqrt(told / np.maximum(told + (1 - told) * within, np.finfo(float).tiny)))


def _filled(values: np.ndarray) -> np.ndarray:
    """Values with the mean of their feature in the place of gaps."""
    gaps = np.isnan(values)
    if not gaps.any():
        return np.asarray(values)
    seen = np.maximum((~gaps).sum(axis=0), 1)
    return np.where(gaps, np.where(gaps, 0, values).sum(axis=0) / seen, values)


def _rows(factors: Factors, scale: float) -> tuple[np.ndarray, np.ndarray]:
    left, right = factors.left / scale, factors.right
    return np.ascontiguousarray(left, dtype=np.float32), np.ascontiguousarray(right, dtype=np.float32)


def _counted(factors: Factors, scale: float, threads: int | None) -> pairs.Counted:
    return pairs.count(*_rows(factors, scale), threads=threads)


def _scale(factors: Factors, threads: int | None) -> float:
    """The largest |score|, so that all bins are used; not so small that a score of 1 overflows a bin's number."""
    return max(float(_counted(factors, 1.0, threads).peaks.max()), SMALLEST)


def _best(
    factors: Factors, counted: pairs.Counted, scale: float, *, top: int, threads: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the `top` pairs of the largest |score|."""
    reached = _beyond(counted.counts)
    lowest = int(np.flatnonzero(reached >= min(top, reached[0]))[-1])
    if reached[lowest] > top + SPARE:  # a crowd of equal scores: those above it
        lowest = min(lowest + 1, pairs.BINS - 1)
    bound = max(lowest / pairs.BINS - GUARD, 0.0)
    i, j = pairs.listed(*_rows(factors, scale), bound, peaks=counted.peaks, threads=threads)
    size = np.abs(_scores(factors, i, j)).round(12)
    order = np.lexsort((j, i, -size))[:top]
    return i[order].astype(np.int64), j[order].astype(np.int64)


def _scores(factors: Factors, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    out = np.empty(len(x))
    for start in range(0, len(x), 1 << 16):
        part = slice(start, start + (1 << 16))
        out[part] = np.einsum("pr,pr->p", factors.left[x[part]], factors.right[y[part]])
    return out


def _beyond(counts: np.ndarray) -> np.ndarray:
    """How many lie in a bin or above it."""
    return np.asarray(np.cumsum(counts[::-1])[::-1])
