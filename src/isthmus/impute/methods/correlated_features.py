r"""The shrunken mean of the observed features that correlate best with the missing one in training.

For feature j of a sample, take the k features with the largest |r| among those it shows, turn each into its prediction
of j, :math:`r_{jl} z_l` on standardised values, and average them with weights :math:`r^2 / (1 - r^2)`, which is what
independent errors of their variances ask for; the mean is shrunk by what of it held up when training entries were
predicted so. Copy number is the case it is made for: neighbours on a chromosome share their segments. (In the spirit of
LSimpute: Bø, Dysvik & Jonassen, Nucleic Acids Research 2004, doi:10.1093/nar/gnh026.)
"""

from __future__ import annotations

from typing import ClassVar, no_type_check

import numpy as np
from numba import njit

from isthmus.impute.imputer import Imputer, Positive

CANDIDATES = 8
"""Of the best correlated features so many times k are kept, since a sample may miss the best."""
LARGE = 500_000
"""Of tables with more entries the correlations are single-precision products."""


class CorrelatedFeatures(Imputer):
    """Shrunken mean of the k observed features that correlate best.

    Parameters
    ----------
    k
        How many features speak for the missing one.
    """

    reads: ClassVar[tuple[str, ...]] = ("entries",)
    effort: ClassVar[int] = 3

    def __init__(self, k: Positive = 5) -> None:
        self.k = k

    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        shown = (~np.isnan(x)).astype(np.float64)
        n = np.maximum(shown.sum(axis=0), 1)
        centred = self.centred(x)
        self.sd_ = np.sqrt(np.maximum((centred**2).sum(axis=0) / n, 1e-12))
        z = centred / self.sd_
        keep = min(CANDIDATES * self.k, x.shape[1] - 1)
        f = x.shape[1]
        values, seen = (m.astype(np.float32) if x.size > LARGE else m for m in (z, shown))
        self.near_, self.r_ = np.zeros((f, keep), dtype=np.intp), np.zeros((f, keep))
        for start in range(0, f, 512):
            block = slice(start, min(start + 512, f))
            r = _correlations(values, seen, block)
            r[np.arange(r.shape[0]), np.arange(block.start, block.stop)] = 0
            order = _largest(np.abs(r), keep)
            self.near_[block], self.r_[block] = order, np.take_along_axis(r, order, axis=1)
        self.slope_ = np.ones(f)
        self.slope_ = self._slopes(z, shown.astype(bool))

    def _slopes(self, z: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Regression of each feature's values on what the others said of it, kept within 0 and 1."""
        said = self._said(np.where(shown, z, np.nan), np.ones_like(shown))
        both = shown & ~np.isnan(said)
        said = np.where(both, said, 0)
        power = (said**2).sum(axis=0)
        return np.asarray(
            np.clip(np.divide((said * z).sum(axis=0), power, out=np.zeros(z.shape[1]), where=power > 0), 0, 1)
        )

    def _said(self, z: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """What the k best observed features say of the wanted entries, standardised; NaN where none is observed."""
        said = np.full(z.shape, np.nan)
        weight = self.r_**2 / np.maximum(1 - self.r_**2, 1e-3)
        _speak(z, wanted, (self.near_, self.r_, weight), self.k, said)
        return said

    def predict(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray:
        said = self._said((x - self.mean_) / self.sd_, np.isnan(x))
        return np.asarray(self.mean_ + said * self.slope_ * self.sd_)


@njit(nogil=True, cache=True)
@no_type_check  # what numba compiles must not be wrapped by the tests' type checks
def _speak(z, wanted, neighbours, k, said) -> None:  # noqa: ANN001
    """Weighted means of the first k neighbours that are observed, for the wanted entries."""
    near, r, weight = neighbours
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            if not wanted[i, j]:
                continue
            count, power, total = 0, 0.0, 0.0
            for c in range(near.shape[1]):
                value = z[i, near[j, c]]
                if value == value:
                    power += weight[j, c]
                    total += weight[j, c] * r[j, c] * value
                    count += 1
                    if count == k:
                        break
            if power > 0:
                said[i, j] = total / power


def _largest(size: np.ndarray, keep: int) -> np.ndarray:
    """Places of the `keep` largest of every row, largest first."""
    if keep >= size.shape[1]:
        return np.argsort(-size, axis=1, kind="stable")
    near = np.sort(np.argpartition(-size, keep, axis=1)[:, :keep], axis=1)
    order = np.argsort(-np.take_along_axis(size, near, axis=1), axis=1, kind="stable")
    return np.take_along_axis(near, order, axis=1)


def _correlations(z: np.ndarray, shown: np.ndarray, block: slice) -> np.ndarray:
    """Correlations of some features with all, over the samples that show both; 0 with fewer than three."""
    if shown.all():
        return np.asarray(z[:, block].T @ z / len(z))
    a, s = z[:, block], shown[:, block]
    n = s.T @ shown
    cross, left, right = a.T @ z, s.T @ z, a.T @ shown
    covariance = n * cross - right * left
    variance = (n * ((a**2).T @ shown) - right**2) * (n * (s.T @ z**2) - left**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = covariance / np.sqrt(variance)
    return np.where((n >= 3) & np.isfinite(r), np.clip(r, -1, 1), 0)
