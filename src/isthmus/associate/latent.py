r"""Associations that latent dimensions mediate: features are given embeddings of their own, and these are compared.

An autoencoder's embedding has a row per sample. A correlation of the latent dimensions of two autoencoders is one of
dimensions with dimensions: nothing in it is a gene or a metabolite. Features get embeddings from the decoder, whose
mean derivatives over the training samples say what a latent dimension writes into a feature,

.. math:: W_{fj} = \frac{1}{n} \sum_i \frac{\partial g_f(z_i)}{\partial z_j} / \mathrm{sd}_f,

and a pair of features is scored by the part of its correlation that passes through the latent dimensions,

.. math:: s_{gm} = w_g^\top S\, w_m .

One joint architecture: S is the covariance of its latent dimensions over the training samples. Two autoencoders: S is
the covariance of the latent dimensions of one side with those of the other *as predicted from the first*, by a ridge
regression whose penalty is chosen by folds, averaged over both directions. The regression is done in the coordinates
:math:`u = (W^\top W)^{1/2} z`, in which distances are those of the (linearised) reconstruction, so that it does not
matter how a latent space is turned or stretched: the score depends on the model alone. A feature's sd is that of its
values, or that of its linearised reconstruction where this is larger, so that a score lies in -1..1. A linear
autoencoder's score without a penalty is the covariance of the two reconstructions over the sds of the values. Scores
are averaged over seeds; latent dimensions are never matched.

What a score is worth is told by `isthmus.associate.refits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Cross", "Embedded", "Factors", "averaged", "common_space", "joint"]

GRID = 10.0 ** np.arange(-3, 4.5, 0.5)
"""Penalties of the cross-map, in units of the mean squared singular value of what it predicts from."""
FOLDS = 5
NOTHING = 1e-10
"""Share of the largest eigenvalue below which a direction of a latent space writes nothing."""


@dataclass(frozen=True)
class Embedded:
    """What one model says of one modality.

    Attributes
    ----------
    z
        n x k, the embedding of the training samples.
    loadings
        p x k, mean derivatives of the decoded features along the latent dimensions.
    sd
        p, of the features in the units of the loadings; 0 for a feature that does not vary.
    """

    z: np.ndarray
    loadings: np.ndarray
    sd: np.ndarray


@dataclass(frozen=True)
class Factors:
    """Scores of all pairs as a product of low rank: `left` (p x r) times the transpose of `right` (q x r).

    What the latent dimensions predict of the first modality from the second is `from_y` (n x k) times the transpose of
    `into_x` (p x k), in standard deviations; and the other way round. `spaces` are orthonormal bases (n x k) of the
    latent spaces of both modalities, a pair for every fit.
    """

    left: np.ndarray
    right: np.ndarray
    from_x: np.ndarray
    into_y: np.ndarray
    from_y: np.ndarray
    into_x: np.ndarray
    spaces: tuple[tuple[np.ndarray, np.ndarray], ...]


class Cross:
    """Two models that see one modality each, and the map between their embeddings.

    Parameters
    ----------
    x, y
        Of the same samples in the same order.
    design
        n x g, orthonormal with its constant: taken out of both embeddings.
    seed
        Of the folds that choose the penalties.
    """

    def __init__(self, x: Embedded, y: Embedded, *, design: np.ndarray | None = None, seed: int = 0) -> None:
        (u, a), (self._v, b) = _isometric(x), _isometric(y)
        self.design, self.df = design, len(u) - (1 if design is None else design.shape[1])
        self.u, v = _without(u, design), _without(self._v, design)
        self.penalties = _penalty(self.u, v, seed), _penalty(v, self.u, seed)
        self.left, self.right = (_bounded(w, s.T @ s / self.df) for w, s in ((a, self.u), (b, v)))

    def factors(self, order: np.ndarray | None = None) -> Factors:
        """Scores with the samples of the second modality as they are, or in another order: a draw of the null.

        Exact for models that see one modality each: what they learn does not depend on the other's samples.
        """
        u, v = self.u, _without(self._v if order is None else self._v[order], self.design)
        forth, back = (_path(s, t, np.array([g]))[0] for s, t, g in zip((u, v), (v, u), self.penalties, strict=True))
        between = (u.T @ u @ forth + (v.T @ v @ back).T) / (2 * self.df)
        thin = self.left.shape[1] <= self.right.shape[1]
        left, right = (self.left, self.right @ between.T) if thin else (self.left @ between, self.right)
        spaces = np.linalg.qr(u)[0], np.linalg.qr(v)[0]
        return Factors(left, right, u @ forth, self.right, v @ back, self.left, (spaces,))


def joint(z: np.ndarray, x: Embedded, y: Embedded, *, design: np.ndarray | None = None) -> Factors:
    """Scores of one model of both modalities, by the covariance of its embedding `z` (n x d) over training samples."""
    centred = _without(z, design)
    covariance = centred.T @ centred / (len(z) - (1 if design is None else design.shape[1]))
    left, right = (_bounded(_unit(s), covariance) for s in (x, y))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    space = np.linalg.qr(centred)[0]
    return Factors(left @ root, right @ root, centred, right, centred, left, ((space, space),))


def averaged(fits: Sequence[Factors]) -> Factors:
    """The mean score over fits, whose latent dimensions need not match."""
    return Factors(
        np.hstack([f.left for f in fits]) / len(fits), np.hstack([f.right for f in fits]),
        np.hstack([f.from_x for f in fits]), np.hstack([f.into_y for f in fits]),
        np.hstack([f.from_y for f in fits]), np.hstack([f.into_x for f in fits]),
        tuple(pair for f in fits for pair in f.spaces),
    )  # fmt: skip


def common_space(factors: Factors) -> tuple[np.ndarray, np.ndarray]:
    """Features of both sides in one space, p x c and q x c: the inner product of two is their score."""
    (q_left, r_left), (q_right, r_right) = np.linalg.qr(factors.left), np.linalg.qr(factors.right)
    u, s, vt = np.linalg.svd(r_left @ r_right.T)
    kept = s > max(1e-6 * s[0], np.finfo(float).tiny) if len(s) else np.zeros(0, bool)
    root = np.sqrt(s[kept])
    left, right = q_left @ u[:, : len(s)][:, kept] * root, q_right @ vt[: len(s)].T[:, kept] * root
    return np.asarray(left), np.asarray(right)


def _unit(side: Embedded) -> np.ndarray:
    """Loadings in standard deviations of the features."""
    varies = side.sd > 0
    return np.asarray(side.loadings / np.where(varies, side.sd, 1.0)[:, None] * varies[:, None])


def _isometric(side: Embedded) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates u (n x r) in which distances are those of the linearised reconstruction, and features x r."""
    loadings = _unit(side)
    values, vectors = np.linalg.eigh(loadings.T @ loadings)
    kept = values > NOTHING * max(values[-1], np.finfo(float).tiny)
    root = np.sqrt(values[kept])
    return np.asarray(side.z @ vectors[:, kept] * root), np.asarray(loadings @ vectors[:, kept] / root)


def _bounded(loadings: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Rows divided by the standard deviation of what they write, where this exceeds 1."""
    wrote = np.sqrt(np.maximum((loadings @ covariance * loadings).sum(axis=1), 0))
    return np.asarray(loadings / np.maximum(wrote, 1.0)[:, None])


def _without(z: np.ndarray, design: np.ndarray | None) -> np.ndarray:
    """Residuals of a design, of the mean without one."""
    return np.asarray(z - z.mean(axis=0) if design is None else z - design @ (design.T @ z))


def _penalty(u: np.ndarray, v: np.ndarray, seed: int) -> float:
    """The penalty of a ridge regression of v on u (both centred) that predicts best across folds."""
    n = len(u)
    penalties = GRID * max((u**2).sum() / max(u.shape[1], 1), np.finfo(float).tiny)
    fold = np.random.default_rng((seed, 0xF01D)).permutation(n) % min(FOLDS, n)
    errors = np.zeros(len(GRID))
    for k in range(min(FOLDS, n)):
        held = fold == k
        path = _path(u[~held], v[~held], penalties)
        errors += ((v[held] - u[held] @ path) ** 2).sum(axis=(1, 2))
    return float(penalties[int(np.argmin(errors))])


def _path(u: np.ndarray, v: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Ridge regressions of v on u, penalties x k x l."""
    left, s, right = np.linalg.svd(u, full_matrices=False)
    shrunk = s / (s**2 + penalties[:, None])
    return np.asarray((right.T * shrunk[:, None, :]) @ (left.T @ v))
