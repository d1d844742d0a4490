r"""The bipartite graph of the strongest associations: its edges, pairs that are none, splits of pairs, simple rankings.

Edges are the hits of the direct test in some of the samples: those Benjamini & Hochberg accept, but not fewer than
`least` of the strongest pairs (with few samples nothing may be accepted) and not more than `most`.

Negatives are pairs without an edge in which every feature takes part as often as in edges (the endpoints of the edges
dealt out anew), so that degree does not tell the two apart. A pair replicates where, in samples that had no part in the
graph, its correlation has the same sign and a one-sided p-value of at most `level`: pairs without a relation do so at
that rate.

Common neighbours of two features on different sides are paths of three edges between them that do not use their own
edge: :math:`(A A^T A)_{xy} - A_{xy} (k_x + k_y - 1)` (two features on different sides never share a neighbour). Kovács
et al. 2019, doi:10.1038/s41467-019-09177-y, count the same paths, each over the root of its inner degrees. The
rewired graph follows Maslov & Sneppen 2002, doi:10.1126/science.1065103: endpoints of pairs of edges are exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from isthmus.associate import pairs
from isthmus.associate.groups import FEWEST, Group, groups
from isthmus.associate.null import Null, exact_p, t_null
from isthmus.associate.ranks import Kind, Side, orthonormal, side, standard
from isthmus.errors import DataError

__all__ = [
    "FeatureGraph",
    "Tables",
    "common_neighbours",
    "correlations",
    "degrees",
    "feature_graph",
    "link_split",
    "negatives",
    "orientation",
    "profiles",
    "replicated",
    "rewired",
]

GUARD = 2e-6
"""Rounding of a correlation in float32."""
GRID = np.arange(pairs.BINS) / pairs.BINS
CHUNK = 1 << 14
ROUNDS = 200
SWAPS = 20
"""Attempts to exchange the endpoint of every edge."""
LARGEST_R = 1 - 1e-9


@dataclass(frozen=True)
class Tables:
    """Two tables of the same samples, and what is taken out of them.

    Attributes
    ----------
    a, b
        Samples x features; NaN is missing.
    kind
        Of correlation.
    design
        Samples x columns, with its constant; None takes nothing out.
    """

    a: np.ndarray
    b: np.ndarray
    kind: Kind = "spearman"
    design: np.ndarray | None = None

    def rows(self, rows: np.ndarray) -> Tables:
        """The same of some samples."""
        return Tables(self.a[rows], self.b[rows], self.kind, None if self.design is None else self.design[rows])

    def freedom(self, rows: np.ndarray) -> tuple[np.ndarray | None, int]:
        """The design of some samples, and the degrees of freedom that it leaves."""
        own = None if self.design is None else orthonormal(self.design[rows])
        return own, len(rows) - 1 - (1 if own is None else own.shape[1])


@dataclass(frozen=True)
class FeatureGraph:
    """Edges between features of two sides, the strongest first.

    Attributes
    ----------
    x, y
        Positions of an edge's features on their sides.
    rho, strength
        Its correlation, and Fisher's z of the size of it in standard errors.
    n_hits
        Edges that Benjamini & Hochberg accept; at most as many as there are edges.
    n_tests
        Pairs that were tested.
    """

    x: np.ndarray
    y: np.ndarray
    rho: np.ndarray
    strength: np.ndarray
    n_hits: int
    n_tests: int

    def matrix(self, shape: tuple[int, int]) -> csr_array:
        """Features of one side x features of the other, 1 for an edge."""
        return csr_array(coo_array((np.ones(len(self.x)), (self.x, self.y)), shape=shape))


# ---- correlations


def _null(tables: Tables, n: int, df: int, *, tied: bool) -> Null:
    plain = tables.kind == "spearman" and tables.design is None and not tied
    return exact_p(n) if plain else t_null(df)


def _strength(rho: np.ndarray, df: int) -> np.ndarray:
    """Fisher's z in standard errors."""
    return np.asarray(np.arctanh(np.minimum(np.abs(rho), LARGEST_R)) * np.sqrt(max(df - 1, 0.5)))


def feature_graph(
    tables: Tables, *, fdr: float = 0.05, least: int = 1000, most: int = 10_000, seed: int = 0, threads: int | None = 1
) -> FeatureGraph:
    """The graph of the pairs of smallest p; a bound's ties are drawn at random.

    p-values are exact for ranks without ties and design, else Student's t: they choose edges, no more.

    Raises
    ------
    DataError
        No pair of features that vary is shown by enough samples.
    """
    made = [m for group in groups(tables.a, tables.b) if (m := _counted(tables, group, threads))]
    total = sum(int(m.found.counts.sum()) for m in made)
    if not total:
        raise DataError("no pair of features is shown by enough samples", met=f"{len(tables.a)} samples")
    least, most = (max(1, min(k, total // 20)) for k in (least, most))
    wanted = _size(np.concatenate([m.null.p(GRID) for m in made]), most, np.concatenate([m.found.counts for m in made]))
    x, y, rho, strength, p = (np.concatenate(c) for c in zip(*(_listed(m, wanted, threads) for m in made), strict=True))
    order = np.lexsort((np.random.default_rng((seed, 0x6A)).random(len(p)), -strength, p))[:most]
    accepted = np.flatnonzero(p[order] <= fdr * np.arange(1, len(order) + 1) / total)
    hits = int(accepted[-1]) + 1 if len(accepted) else 0
    kept = order[: max(hits, least)]
    return FeatureGraph(x[kept], y[kept], rho[kept], strength[kept], hits, total)


@dataclass(frozen=True)
class _Counted:
    """Pairs that share their samples."""

    left: Side
    right: Side
    null: Null
    df: int
    found: pairs.Counted


def _counted(tables: Tables, group: Group, threads: int | None) -> _Counted | None:
    own, df = tables.freedom(group.rows)
    if df < 1:
        return None
    left, right = (
        side(v, group.rows, c, tables.kind, design=own) for v, c in ((tables.a, group.x), (tables.b, group.y))
    )
    null = _null(tables, len(group.rows), df, tied=left.tied or right.tied)
    return _Counted(left, right, null, df, pairs.count(left.z, right.z, threads=threads))


def _size(p: np.ndarray, most: int, counts: np.ndarray) -> float:
    """A p-value that at least `most` pairs do not exceed, from the counts of |r| in bins and the p of their edges."""
    order = np.argsort(p, kind="stable")
    reached = np.cumsum(counts[order])
    return float(p[order[min(int(np.searchsorted(reached, most)), len(p) - 1)]])


def _listed(m: _Counted, p: float, threads: int | None) -> tuple[np.ndarray, ...]:
    """Pairs of a group up to a p-value: positions, correlation, strength, p."""
    within = np.flatnonzero(m.null.p(GRID) <= p)
    if not len(within):
        return (m.left.live[:0], m.right.live[:0], *(np.zeros(0) for _ in range(3)))
    bound = max(GRID[within[0]] - GUARD, 0.0)
    i, j = pairs.listed(m.left.z, m.right.z, bound, peaks=m.found.peaks, threads=threads)
    rho = np.empty(len(i))
    for start in range(0, len(i), CHUNK):
        part = slice(start, start + CHUNK)
        rho[part] = np.einsum("kn,kn->k", m.left.exact(i[part]), m.right.exact(j[part]))
    rho = np.clip(rho, -1, 1)
    return m.left.live[i], m.right.live[j], rho, _strength(rho, m.df), m.null.p(np.abs(rho))


def _patterns(tables: Tables, x: np.ndarray, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Given pairs by the samples that show both of their features: samples, pairs."""
    sides = []
    for values, at in ((tables.a, x), (tables.b, y)):
        columns, place = np.unique(at, return_inverse=True)
        seen, pattern = np.unique(~np.isnan(values[:, columns]), axis=1, return_inverse=True)
        sides.append((seen, pattern.ravel()[place.ravel()]))
    key = sides[0][1] * sides[1][0].shape[1] + sides[1][1]
    for k in np.unique(key):
        chosen = np.flatnonzero(key == k)
        first = chosen[0]
        yield np.flatnonzero(sides[0][0][:, sides[0][1][first]] & sides[1][0][:, sides[1][1][first]]), chosen


def _given(tables: Tables, x: np.ndarray, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, Null, int]]:
    """Given pairs group by group: which (of those testable), rho, null, degrees of freedom."""
    if not len(x):
        return
    for rows, chosen in _patterns(tables, x, y):
        if len(rows) < FEWEST:
            continue
        own, df = tables.freedom(rows)
        if df < 1:
            continue
        (u, i), (v, j) = (np.unique(at[chosen], return_inverse=True) for at in (x, y))
        left, right = (
            standard(t[np.ix_(rows, c)].astype(np.float64), tables.kind, own) for t, c in ((tables.a, u), (tables.b, v))
        )
        live = ~left.flat[i] & ~right.flat[j]
        rho = np.clip(np.einsum("nk,nk->k", left.z[:, i[live]], right.z[:, j[live]]), -1, 1)
        yield chosen[live], rho, _null(tables, len(rows), df, tied=left.tied or right.tied), df


def correlations(tables: Tables, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of given pairs and its strength (see `FeatureGraph`); NaN and 0 where they cannot be told."""
    rho, strength = np.full(len(x), np.nan), np.zeros(len(x))
    for chosen, found, _, df in _given(tables, x, y):
        rho[chosen], strength[chosen] = found, _strength(found, df)
    return rho, strength


def replicated(tables: Tables, x: np.ndarray, y: np.ndarray, rho: np.ndarray, *, level: float = 0.05) -> np.ndarray:
    """1 for pairs whose correlation here has the sign of `rho` and a one-sided p of at most `level`, else 0.

    NaN where a pair cannot be tested here, or could not reach the level even with a correlation of 1.
    """
    out = np.full(len(x), np.nan)
    for chosen, found, null, _ in _given(tables, x, y):
        if null.p(np.array([1.0]))[0] / 2 <= level:
            agrees = np.sign(found) == np.sign(rho[chosen])
            out[chosen] = agrees & (null.p(np.abs(found)) / 2 <= level)
    return out


# ---- pairs that are no edges, splits, controls


def negatives(graph: FeatureGraph, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pairs without an edge, no pair twice, in which every feature takes part as often as in edges.

    Where a feature is linked to so many that this cannot be had, it takes part less often.
    """
    rng = np.random.default_rng((seed, 0x4E))
    width = int(graph.y.max()) + 1
    taken = graph.x.astype(np.int64) * width + graph.y
    x, y = graph.x.copy(), rng.permutation(graph.y)
    for _ in range(ROUNDS):
        bad = _clashes(x.astype(np.int64) * width + y, taken)
        if not len(bad):
            return x, y
        other = rng.permutation(len(x))[: len(bad)]
        other = other[~np.isin(other, bad)]
        mixed = np.concatenate([bad, other])
        y[mixed] = y[rng.permutation(mixed)]
    kept = np.setdiff1d(np.arange(len(x)), _clashes(x.astype(np.int64) * width + y, taken))
    return x[kept], y[kept]


def _clashes(key: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Which are among `taken`, or occur before."""
    _, first = np.unique(key, return_index=True)
    again = np.ones(len(key), dtype=bool)
    again[first] = False
    return np.flatnonzero(again | np.isin(key, taken))


def rewired(graph: FeatureGraph, seed: int = 0) -> FeatureGraph:
    """Edges between other pairs, every feature with as many as before; strengths stay with the first feature."""
    rng = np.random.default_rng((seed, 0x2E))
    x, y = graph.x, graph.y.copy()
    width = int(y.max()) + 1
    for _ in range(SWAPS):
        order = rng.permutation(len(x))
        half = len(x) // 2
        i, j = order[:half], order[half : 2 * half]
        new = np.stack([x[i].astype(np.int64) * width + y[j], x[j].astype(np.int64) * width + y[i]])
        values, counts = np.unique(new, return_counts=True)
        wrong = np.isin(new, x.astype(np.int64) * width + y) | np.isin(new, values[counts > 1])
        good = ~wrong.any(axis=0)
        y[i[good]], y[j[good]] = y[j[good]], y[i[good]].copy()
    return FeatureGraph(x, y, graph.rho, graph.strength, graph.n_hits, graph.n_tests)


def link_split(ends: np.ndarray, share: float = 0.2, seed: int = 0) -> np.ndarray:
    """Which links (m x 2, node numbers) are set aside; a link that occurs again, in either direction, goes along."""
    low, high = np.sort(ends, axis=1).T
    _, link = np.unique(np.stack([low, high], axis=1), axis=0, return_inverse=True)
    many = int(link.max()) + 1 if len(link) else 0
    aside = np.zeros(many, dtype=bool)
    aside[np.random.default_rng((seed, 0x15)).permutation(many)[: round(share * many)]] = True
    return np.asarray(aside[link.ravel()])


# ---- what is said of features and pairs


def degrees(graph: FeatureGraph, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Edges of every feature of both sides."""
    return np.bincount(graph.x, minlength=shape[0]), np.bincount(graph.y, minlength=shape[1])


def common_neighbours(graph: FeatureGraph, shape: tuple[int, int], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Paths of three edges between given pairs that do not use their own edge."""
    a = graph.matrix(shape)
    two = csr_array(a @ a.T)
    kx, ky = degrees(graph, shape)
    columns = csr_array(a.T)
    out = np.empty(len(x))
    for start in range(0, len(x), 4096):
        i, j = x[start : start + 4096], y[start : start + 4096]
        paths = np.asarray((two[i] * columns[j]).sum(axis=1)).ravel()
        own = np.asarray((a[i] * _unit(j, shape[1])).sum(axis=1)).ravel()
        out[start : start + 4096] = paths - own * (kx[i] + ky[j] - 1)
    return out


def _unit(columns: np.ndarray, width: int) -> csr_array:
    return csr_array((np.ones(len(columns)), (np.arange(len(columns)), columns)), shape=(len(columns), width))


def orientation(graph: FeatureGraph, shape: tuple[int, int]) -> np.ndarray:
    """A sign for every feature (of x, then of y), so that the strongest edges join profiles that rise together.

    A correlation means the same with either feature turned around; along a maximum spanning tree of |rho| every edge
    can be made positive.
    """
    p, nodes = shape[0], sum(shape)
    ends = (graph.x, p + graph.y)
    tree = minimum_spanning_tree(csr_array(coo_array((2.0 - np.abs(graph.rho), ends), shape=(nodes, nodes))))
    sign = csr_array(coo_array((np.where(graph.rho < 0, -1.0, 1.0), ends), shape=(nodes, nodes)))
    sign = csr_array(sign + sign.T)
    turned = np.ones(nodes)
    many, part = connected_components(tree, directed=False)
    _, first = np.unique(part, return_index=True)
    for root in first[np.bincount(part, minlength=many) > 1]:
        order, before = breadth_first_order(tree, root, directed=False)
        steps = np.asarray(sign[before[order[1:]], order[1:]]).ravel()
        for node, step in zip(order[1:], steps, strict=True):
            turned[node] = turned[before[node]] * step
    return turned


def profiles(tables: Tables, x: np.ndarray, y: np.ndarray, dimensions: int) -> np.ndarray:
    """Coordinates of features of both sides (x first) on the leading directions of samples: features x dimensions.

    Profiles are standardised as for their correlation (gaps at the median), so inner products approach correlations.
    """
    rows = np.arange(len(tables.a))
    filled = []
    for values, at in ((tables.a, x), (tables.b, y)):
        part = values[:, at].astype(np.float64)
        part[:, np.isnan(part).all(axis=0)] = 0.0
        part = np.where(np.isnan(part), np.nanmedian(part, axis=0), part)
        filled.append(standard(part, tables.kind, tables.freedom(rows)[0]).z)
    z = np.hstack(filled)
    _, vectors = np.linalg.eigh(z @ z.T)
    return np.asarray(z.T @ vectors[:, ::-1][:, :dimensions])
