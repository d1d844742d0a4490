"""From counts of |r| to the pairs that are accepted: the bound that no accepted pair lies below, the list, the cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isthmus.associate import pairs
from isthmus.associate.null import Null
from isthmus.associate.pools import Part, Pool, Settings
from isthmus.associate.ranks import Side
from isthmus.errors import DataError

__all__ = ["Found", "accepted", "least", "p_histogram", "stepped_up", "table_of"]

GUARD = 2e-6
"""Rounding of a correlation in float32."""
MOST_LISTED = 50_000_000
LAMBDA = 0.5
CHUNK = 1 << 18
P_BINS = 40


@dataclass(frozen=True)
class Found:
    """Listed pairs, an entry each, the smallest p first: positions of the features, correlation, p, q, samples."""

    x: np.ndarray
    y: np.ndarray
    rho: np.ndarray
    p: np.ndarray
    n: np.ndarray
    q: np.ndarray
    marginal: np.ndarray | None

    def take(self, rows: np.ndarray | slice) -> Found:
        """Some of them."""
        values = (None if v is None else v[rows] for v in vars(self).values())
        return Found(*values)  # type: ignore[arg-type]


def accepted(pools: Sequence[Pool], settings: Settings) -> Found:
    """List the pairs that may be accepted, test them exactly, keep those that are."""
    m = sum(p.size for p in pools)
    level = _level(settings, pools, m)
    bound_p = 1.0 if settings.fdr == 1 else _bound(pools, level, m, bonferroni=settings.correction == "bonferroni")
    made = []
    for pool in pools:
        bound = 0.0 if settings.fdr == 1 else least(pool.null, bound_p)
        expected = int(pool.counts[int(bound * pairs.BINS) :].sum()) if bound <= 1 else 0
        if expected > MOST_LISTED:
            raise DataError(
                f"{expected:,} pairs would be listed",
                met=f"fdr {settings.fdr}",
                wanted="a smaller fdr, or fewer features",
            )
        if bound <= 1:
            made += [_listed(part, pool.null, bound, settings.threads) for part in pool.parts]
    found = _ordered(made)
    found = _with_q(found, settings, level, m)
    return found if settings.fdr == 1 else found.take(found.q <= settings.fdr)


def _level(settings: Settings, pools: Sequence[Pool], m: int) -> float:
    """The level that is compared with p m / rank."""
    if settings.correction == "by":
        return settings.fdr / float((1 / np.arange(1, m + 1)).sum() if m < 10**6 else np.log(m) + np.euler_gamma)
    if settings.correction == "storey":
        edges = np.arange(pairs.BINS) / pairs.BINS
        null = sum(float(p.counts[p.null.p(edges) > LAMBDA].sum()) / (1 - LAMBDA) for p in pools)
        return settings.fdr / float(np.clip(null / max(m, 1), 1 / max(m, 1), 1.0))
    return settings.fdr


def _bound(pools: Sequence[Pool], level: float, m: int, *, bonferroni: bool) -> float:
    """A p-value that no accepted pair exceeds."""
    if bonferroni:
        return level / max(m, 1)
    edges = np.arange(pairs.BINS + 1) / pairs.BINS
    p_low = np.concatenate([p.null.p(np.minimum(edges[1:] + GUARD, 1.0)) for p in pools])
    p_high = np.concatenate([p.null.p(np.maximum(edges[:-1] - GUARD, 0.0)) for p in pools])
    n = np.concatenate([p.counts for p in pools])
    order = np.argsort(p_low, kind="stable")
    reached = np.cumsum(n[order])
    possible = (p_low[order] <= level * reached / max(m, 1)) & (n[order] > 0)
    return float(p_high[order[: np.flatnonzero(possible)[-1] + 1]].max()) if possible.any() else 0.0


def least(null: Null, p: float) -> float:
    """The smallest |r| (on a grid of float32's rounding) whose p-value is at most `p`; above 1 where there is none."""
    if float(null.p(np.array([1.0]))[0]) > p:
        return 1.0 + GUARD
    low, high = 0.0, 1.0
    if float(null.p(np.array([0.0]))[0]) <= p:
        return 0.0
    while high - low > GUARD / 4:
        middle = (low + high) / 2
        low, high = (low, middle) if float(null.p(np.array([middle]))[0]) <= p else (middle, high)
    return high


def _listed(part: Part, null: Null, bound: float, threads: int | None) -> Found:
    """The pairs of a part from `bound` on, with r and p in float64."""
    left, right = part.sides()
    i, j = pairs.listed(left.z, right.z, max(bound - GUARD, 0.0), peaks=part.peaks, threads=threads)
    rho = _products(left, right, (i, j), marginal=False)
    marginal = None if part.design is None else _products(left, right, (i, j), marginal=True)
    n = np.full(len(i), len(left.rows), dtype=np.int32)
    p = null.p(np.abs(rho))
    return Found(left.live[i].astype(np.int32), right.live[j].astype(np.int32), rho, p, n, p, marginal)


def _products(left: Side, right: Side, where: tuple[np.ndarray, np.ndarray], *, marginal: bool) -> np.ndarray:
    """Correlations of listed pairs in float64."""
    i, j = where
    rho = np.empty(len(i))
    for start in range(0, len(i), CHUNK):
        part = slice(start, start + CHUNK)
        (a, at_a), (b, at_b) = (np.unique(w[part], return_inverse=True) for w in (i, j))
        one, other = left.exact(a, marginal=marginal), right.exact(b, marginal=marginal)
        rho[part] = np.einsum("kn,kn->k", one[at_a], other[at_b])
    return np.clip(rho, -1, 1)


def _ordered(made: Sequence[Found]) -> Found:
    """All together: by p, of equal p by size of the correlation, then by feature."""
    if not made:
        none, place = np.zeros(0), np.zeros(0, dtype=np.int32)
        return Found(place, place, none, none, place, none, None)
    columns = [[vars(f)[k] for f in made] for k in vars(made[0])]
    joined = [None if c[0] is None else np.concatenate(c) for c in columns]
    found = Found(*joined)  # type: ignore[arg-type]
    return found.take(np.lexsort((found.y, found.x, -np.abs(found.rho).round(12), found.p)))


def _with_q(found: Found, settings: Settings, level: float, m: int) -> Found:
    """Adjusted p-values of pairs that are sorted by p."""
    p = found.p
    if settings.correction == "bonferroni":
        q = np.minimum(p * m, 1.0)
    else:
        ratio = settings.fdr / level  # of BY the harmonic sum, of Storey the share of nulls
        q = stepped_up(p, m * ratio)
    return Found(found.x, found.y, found.rho, found.p, found.n, q, found.marginal)


def stepped_up(p: np.ndarray, m: float | int) -> np.ndarray:
    """Benjamini & Hochberg's q-values (0..1) of the smallest p-values, sorted, of m."""
    scaled = p * m / np.arange(1, len(p) + 1)
    return np.asarray(np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0))


def p_histogram(pools: Sequence[Pool]) -> np.ndarray:
    """How many pairs have a p-value in each of 40 equal bins of 0..1."""
    middle = (np.arange(pairs.BINS) + 0.5) / pairs.BINS
    counts = np.zeros(P_BINS)
    for pool in pools:
        places = np.minimum((pool.null.p(middle) * P_BINS).astype(int), P_BINS - 1)
        counts += np.bincount(places, weights=pool.counts, minlength=P_BINS)
    return counts.astype(np.int64)


def table_of(found: Found, names: tuple[pd.Index, pd.Index]) -> pd.DataFrame:
    """Listed pairs by name."""
    columns = {
        "x": names[0][found.x], "y": names[1][found.y], "rho": found.rho, "p": found.p, "q": found.q,
        "n": found.n.astype(np.int64),
    }  # fmt: skip
    return pd.DataFrame(columns | ({} if found.marginal is None else {"rho_marginal": found.marginal}))
