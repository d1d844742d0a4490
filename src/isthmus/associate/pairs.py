"""All products of two sets of features, a tile at a time: counted into bins, or those above a bound listed.

Nothing of the size of all pairs is ever held. The kernels are compiled by numba and run beside each other in threads.
Counting notes the largest product of every tile, so that listing works on few tiles again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar, no_type_check

import numpy as np
from numba import njit
from threadpoolctl import threadpool_limits

__all__ = ["BINS", "Counted", "count", "listed"]

BINS = 1 << 15
"""Equal bins of |r| in 0..1."""
TILE = (256, 2048)
"""Features of either side worked on at once: 2 MiB of float32, which a core's cache holds."""
ALONE = 4
"""Fewer tiles than this are not worth a second thread."""
Tile = tuple[int, slice, slice]
T = TypeVar("T")


@dataclass(frozen=True)
class Counted:
    """Counts of |r| of all pairs in `BINS` equal bins of 0..1, and the largest |r| of every tile."""

    counts: np.ndarray
    peaks: np.ndarray


@njit(nogil=True, cache=True)
@no_type_check  # what numba compiles must not be wrapped by the tests' type checks
def _count_kernel(tile: np.ndarray, counts: np.ndarray) -> float:
    bins = np.float32(counts.shape[0])
    last = np.int32(counts.shape[0] - 1)
    peak = np.float32(0)
    where = np.empty(tile.shape[1], dtype=np.int32)
    for i in range(tile.shape[0]):
        for j in range(tile.shape[1]):
            size = abs(tile[i, j])
            peak = max(peak, size)
            where[j] = min(np.int32(size * bins), last)
        for j in range(tile.shape[1]):
            counts[where[j]] += 1
    return peak


@njit(nogil=True, cache=True)
@no_type_check  # what numba compiles must not be wrapped by the tests' type checks
def _list_kernel(tile: np.ndarray, bound: float, rows: np.ndarray, columns: np.ndarray) -> int:
    found = 0
    for i in range(tile.shape[0]):
        for j in range(tile.shape[1]):
            if abs(tile[i, j]) >= bound:
                if found < len(rows):
                    rows[found] = i
                    columns[found] = j
                found += 1
    return found


def count(a: np.ndarray, b: np.ndarray, *, threads: int | None = None) -> Counted:
    """Count the products of rows of `a` (p x n, float32) and rows of `b` (q x n, float32) by size."""
    tiles = _tiles(len(a), len(b))

    def work(share: list[Tile]) -> Counted:
        counts, peaks = np.zeros(BINS, dtype=np.int64), np.zeros(len(share))
        buffer = np.empty(TILE, dtype=np.float32)
        for k, (_, i, j) in enumerate(share):
            peaks[k] = _count_kernel(_product(a[i], b[j], buffer), counts)
        return Counted(counts, peaks)

    total, peaks = np.zeros(BINS, dtype=np.int64), np.zeros(len(tiles))
    for share, made in _shared(work, tiles, threads):
        total += made.counts
        peaks[[number for number, _, _ in share]] = made.peaks
    return Counted(total, peaks)


def listed(
    a: np.ndarray, b: np.ndarray, bound: float, *, peaks: np.ndarray | None = None, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of rows whose product is at least `bound` in size: their positions in `a` and `b`.

    With the `peaks` that `count` gave, tiles that hold none are left out.
    """
    tiles = [t for t in _tiles(len(a), len(b)) if peaks is None or peaks[t[0]] >= bound]

    def work(share: list[Tile]) -> list[tuple[np.ndarray, np.ndarray]]:
        found: list[tuple[np.ndarray, np.ndarray]] = []
        buffer = np.empty(TILE, dtype=np.float32)
        rows, columns = np.empty(4096, dtype=np.int32), np.empty(4096, dtype=np.int32)
        for _, i, j in share:
            tile = _product(a[i], b[j], buffer)
            n = _list_kernel(tile, bound, rows, columns)
            if n > len(rows):
                rows, columns = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
                n = _list_kernel(tile, bound, rows, columns)
            if n:
                found.append((rows[:n] + np.int32(i.start), columns[:n] + np.int32(j.start)))
        return found

    parts = [part for _, made in _shared(work, tiles, threads) for part in made]
    empty = np.zeros(0, dtype=np.int32)
    return np.concatenate([empty, *(p[0] for p in parts)]), np.concatenate([empty, *(p[1] for p in parts)])


def _product(a: np.ndarray, b: np.ndarray, buffer: np.ndarray) -> np.ndarray:
    return np.matmul(a, b.T, out=buffer.reshape(-1)[: len(a) * len(b)].reshape(len(a), len(b)))


def _tiles(p: int, q: int) -> list[Tile]:
    """Number, rows of one side, rows of the other."""
    corners = [(i, j) for i in range(0, p, TILE[0]) for j in range(0, q, TILE[1])]
    return [(k, slice(i, min(i + TILE[0], p)), slice(j, min(j + TILE[1], q))) for k, (i, j) in enumerate(corners)]


def _shared(work: Callable[[list[Tile]], T], tiles: list[Tile], threads: int | None) -> Iterator[tuple[list[Tile], T]]:
    """The tiles dealt out to threads; every share, and what was made of it."""
    many = max(1, min(threads or os.cpu_count() or 1, len(tiles)))
    if many == 1 or len(tiles) < ALONE:
        yield tiles, work(tiles)
        return
    shares = [tiles[k::many] for k in range(many)]
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(many) as pool:
        yield from zip(shares, pool.map(work, shares), strict=True)
