"""K medoids: FasterPAM on a distance matrix, CLARA where the matrix would be too large.

A medoid is one of the points; the loss is the sum over points of the distance to the nearest medoid.

References
----------
FasterPAM: Schubert and Rousseeuw (2021), Fast and eager k-medoids clustering, Information Systems 101,
https://doi.org/10.1016/j.is.2021.101804. Kept: eager swaps, removal losses, random start. Departure: a swap updates
only the points whose nearest or second medoid changes, and the start is greedy on request.
CLARA: Kaufman and Rousseeuw (1986), Clustering large data sets; sample size 80 + 4k as in FastCLARA (same paper).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Distances = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Positions a and b to the len(a) x len(b) distances between them."""
PASSES = 100


def loss(distance: np.ndarray, medoids: np.ndarray) -> float:
    """Sum over points of the distance to the nearest medoid, from a p x p matrix."""
    return float(distance[:, medoids].min(axis=1).sum(dtype=np.float64))


def fasterpam(distance: np.ndarray, k: int, *, rng: np.random.Generator) -> np.ndarray:
    """Positions of k medoids, a local optimum under swaps of one medoid for one point.

    Parameters
    ----------
    distance
        p x p distances, 0 on the diagonal.
    k
        Number of medoids, at most p.
    rng
        Draws the start and the order in which points are tried.
    """
    p = len(distance)
    if k >= p:
        return np.arange(p)
    if k == 1:
        return np.array([int(distance.sum(axis=1, dtype=np.float64).argmin())])
    state = _State(distance, rng.choice(p, size=k, replace=False))
    order = rng.permutation(p)
    unchanged, at = 0, 0
    while unchanged < p and at < PASSES * p:
        unchanged = 0 if state.improve(int(order[at % p])) else unchanged + 1
        at += 1
    return np.sort(state.medoids)


class _State:
    """Medoids, and for every point the nearest and second nearest of them."""

    def __init__(self, distance: np.ndarray, medoids: np.ndarray) -> None:
        self.distance, self.medoids = distance, medoids.copy()
        p = len(distance)
        self.near, self.second = np.zeros(p, np.int64), np.zeros(p, np.int64)
        self.d_near, self.d_second = np.zeros(p), np.zeros(p)
        self._assign(np.arange(p))

    def _assign(self, points: np.ndarray) -> None:
        """Find nearest and second nearest medoid of some points afresh."""
        to = self.distance[np.ix_(points, self.medoids)]
        rows = np.arange(len(points))
        best = np.argpartition(to, 1, axis=1)[:, :2]
        first, second = best[:, 0], best[:, 1]
        self.near[points], self.d_near[points] = first, to[rows, first]
        self.second[points], self.d_second[points] = second, to[rows, second]
        self.removal = np.bincount(self.near, weights=self.d_second - self.d_near, minlength=len(self.medoids))

    def improve(self, point: int) -> bool:
        """Swap a point for the medoid whose loss it makes up for best; False where none gains."""
        if point in self.medoids:
            return False
        d = self.distance[point].astype(np.float64)
        shared = np.minimum(d - self.d_near, 0.0).sum()
        kept = np.bincount(
            self.near, weights=np.clip(d, self.d_near, self.d_second) - self.d_second, minlength=len(self.medoids)
        )
        change = self.removal + kept
        out = int(change.argmin())
        if change[out] + shared >= -1e-9 * (1.0 + self.d_near.sum()):
            return False
        self.medoids[out] = point
        moved = (self.near == out) | (self.second == out) | (d < self.d_second)
        self._assign(np.flatnonzero(moved))
        return True


def clara(distances: Distances, p: int, k: int, *, rng: np.random.Generator, repeats: int = 5) -> np.ndarray:
    """Positions of k medoids among p points, from FasterPAM on samples of 80 + 4k points, the best of `repeats`.

    `distances` gives blocks of the matrix; p x p is never held.
    """
    size = min(p, 80 + 4 * k)
    best, lowest = np.arange(min(k, p)), np.inf
    for _ in range(repeats):
        sample = np.sort(rng.choice(p, size=size, replace=False))
        medoids = sample[fasterpam(distances(sample, sample), k, rng=rng)]
        total = sum(_nearest(distances, block, medoids) for block in np.array_split(np.arange(p), -(-p // 1024)))
        if total < lowest:
            best, lowest = medoids, total
    return best


def _nearest(distances: Distances, points: np.ndarray, medoids: np.ndarray) -> float:
    """The loss of some points."""
    return float(distances(points, medoids).min(axis=1).sum(dtype=np.float64))
