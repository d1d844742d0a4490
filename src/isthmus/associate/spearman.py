r"""Every feature of one modality against every feature of another, with the false discovery rate under control.

Ranks become columns of norm 1, so that correlations are matrix products, computed a tile at a time and never held.
A first pass counts |r| in bins; from the counts follows the lowest bin that any pair accepted by Benjamini & Hochberg's
rule can lie in; a second pass lists the pairs from there on, whose correlations, p-values and ranks are then computed
in float64, so that what is accepted is exact. Pairs with missing values are grouped by the samples they share.

Benjamini & Hochberg 1995 (doi:10.1111/j.2517-6161.1995.tb02031.x); Benjamini & Yekutieli 2001
(doi:10.1214/aos/1013699998); Storey 2002 (doi:10.1111/1467-9868.00346).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import anndata as ad
import numpy as np
import pandas as pd

from isthmus.associate import pairs
from isthmus.associate.groups import Group, groups
from isthmus.associate.hits import Hits
from isthmus.associate.null import LARGEST_TABLE, Null, exact_p, from_sample, t_null
from isthmus.associate.ranks import Kind, Standard, design_matrix, orthonormal, standard
from isthmus.data.table import aligned
from isthmus.errors import DataError, RecipeError, closest

__all__ = ["bicor", "pearson", "spearman"]

log = logging.getLogger("isthmus.associate")
Data: TypeAlias = pd.DataFrame | ad.AnnData
CORRECTIONS = ("bh", "by", "bonferroni", "storey")
NULLS = ("auto", "exact", "permutation", "t")
GUARD = 2e-6
"""Rounding of a correlation in float32."""
MOST_LISTED = 50_000_000
NULL_DRAWS = 20_000_000
"""Pairs of permuted samples that make the pooled null, at least."""
MOST_PERMUTATIONS = 1000
COLUMNS = 8192
"""Columns of permuted samples that are counted together."""
LAMBDA = 0.5


def spearman(x: Data, y: Data, **options: Any) -> Hits:
    """Spearman's correlation of every feature of `x` with every feature of `y`; options as in `correlate`."""
    return correlate(x, y, kind="spearman", **options)


def pearson(x: Data, y: Data, **options: Any) -> Hits:
    """Pearson's correlation of all pairs; options as in `correlate`."""
    return correlate(x, y, kind="pearson", **options)


def bicor(x: Data, y: Data, **options: Any) -> Hits:
    """Biweight midcorrelation of all pairs, Pearson's for features whose deviation is 0; options as in `correlate`."""
    return correlate(x, y, kind="bicor", **options)


@dataclass(frozen=True)
class Settings:
    """How all pairs are tested."""

    fdr: float
    correction: str
    null: str
    threads: int | None
    seed: int


def correlate(
    x: Data,
    y: Data,
    *,
    kind: Kind = "spearman",
    fdr: float | int = 0.05,
    correction: str = "bh",
    null: str = "auto",
    design: pd.Series | pd.DataFrame | None = None,
    blocks: pd.Series | None = None,
    threads: int | None = None,
    seed: int = 0,
) -> Hits:
    """Correlations of all pairs of features, and those that hold at a false discovery rate.

    Parameters
    ----------
    x, y
        Samples x features, joined by sample id (DataFrame's index, AnnData's obs_names); NaN is missing.
    kind
        `spearman`, `pearson` or `bicor`.
    fdr
        Level of the correction; 1 lists every pair.
    correction
        `bh` (Benjamini-Hochberg), `by` (-Yekutieli), `bonferroni` (fdr is then the family-wise level) or `storey`.
    null
        `exact` (ranks without ties: the permutation distribution), `permutation` (pooled over pairs; within `blocks`),
        `t`, or `auto`: exact for ranks without ties or design, permutation with ties, t with a design and for
        Pearson's.
    design
        Groups (a Series of labels) or covariates (a DataFrame) whose effect is taken out, of ranks where `kind` has
        them; per sample id. The marginal correlation stands beside.
    blocks
        Groups within which samples are permuted.
    threads
        How many; all cores by default.
    seed
        Of permutations.

    Returns
    -------
    Hits
        `.table` with x, y, rho, p and q, the smallest p first.

    Raises
    ------
    DataError
        No or too few samples in common (or for any pair), duplicated ids, or too many patterns of missing values.
    RecipeError
        An option is wrong.
    """
    settings = _settings(fdr, correction, null, threads, seed)
    a, b, ids = _joined(x, y)
    basis = None if design is None else design_matrix(design, ids)
    within = None if blocks is None else _blocks(blocks, ids)
    made = []
    for group in groups(a.to_numpy(np.float64), b.to_numpy(np.float64)):
        rows = group.rows
        own = None if basis is None else orthonormal(basis[rows])
        if (df := len(rows) - 1 - (1 if own is None else own.shape[1])) < 1:
            continue  # the design alone explains so few samples
        left, right = (
            standard(v[np.ix_(rows, c)], kind, own)
            for v, c in ((a.to_numpy(np.float64), group.x), (b.to_numpy(np.float64), group.y))
        )
        local = None if within is None else within[rows]
        chosen = _null(settings, kind, (left, right), df=df, blocks=local, design=basis is not None)
        made.append(_Counted(group, left, right, chosen, pairs.count(_live(left), _live(right), threads=threads)))
    if not made:
        raise DataError("no pair of features is shown by enough samples", met=f"{len(ids)} samples in common")
    return _accepted(
        made, settings, (a.columns, b.columns), marginal=_marginal(a, b, kind) if basis is not None else None
    )


def _settings(fdr: float | int, correction: str, null: str, threads: int | None, seed: int) -> Settings:
    for where, met, known in (("correction", correction, CORRECTIONS), ("null", null, NULLS)):
        if met not in known:
            hint = closest(met, known)
            raise RecipeError("no such choice", where=where, met=met, hint=hint)
    if not 0 < fdr <= 1:
        raise RecipeError("is no level", where="fdr", met=fdr, wanted="above 0, at most 1")
    return Settings(float(fdr), correction, null, threads, seed)


def _joined(x: Data, y: Data) -> tuple[pd.DataFrame, pd.DataFrame, pd.Index]:
    """Both tables for the samples they share, in the order of the ids."""
    frames = [_frame(v, name) for v, name in ((x, "x"), (y, "y"))]
    ids = frames[0].index.intersection(frames[1].index).sort_values()
    if len(ids) < 4:
        raise DataError(
            "too few samples in common", met=len(ids), wanted="at least 4",
            hint=f"ids such as {list(frames[0].index[:2])} and {list(frames[1].index[:2])}",
        )  # fmt: skip
    if len(ids) < max(map(len, frames)):
        log.info("%d samples are in both tables (%d and %d)", len(ids), *map(len, frames))
    return frames[0].loc[ids], frames[1].loc[ids], ids


def _frame(data: Data, name: str) -> pd.DataFrame:
    if isinstance(data, ad.AnnData):
        table = aligned(data, data.obs_names)
        values = table.x if isinstance(table.x, np.ndarray) else table.x.toarray()
        data = pd.DataFrame(values, data.obs_names, table.features)
    for what, index in (("sample ids", data.index), ("features", data.columns)):
        if index.has_duplicates:
            raise DataError(f"has {what} twice", where=name, met=str(index[index.duplicated()][0]))
    wrong = [c for c in data.columns if not pd.api.types.is_numeric_dtype(data[c])]
    if wrong:
        raise DataError("does not hold numbers", where=f"{name}, feature {wrong[0]!r}", met=str(data[wrong[0]].dtype))
    return data


def _blocks(blocks: pd.Series, ids: pd.Index) -> np.ndarray:
    if missing := len(ids) - int(ids.isin(blocks.dropna().index).sum()):
        raise DataError(f"lacks {missing} of the samples", where="blocks", wanted=f"a group for each of {len(ids)}")
    return np.asarray(pd.factorize(blocks.loc[ids])[0])


@dataclass(frozen=True)
class _Counted:
    """Pairs that share their samples: columns, null, and counts of |r| in bins."""

    group: Group
    left: Standard
    right: Standard
    null: Null
    counts: np.ndarray

    @property
    def n(self) -> int:
        return int(self.counts.sum())


def _live(side: Standard) -> np.ndarray:
    return side.z[:, ~side.flat]


def _null(
    settings: Settings,
    kind: Kind,
    sides: tuple[Standard, Standard],
    *,
    df: int,
    blocks: np.ndarray | None,
    design: bool,
) -> Null:
    """The null that is asked for, or that fits."""
    tied, n = any(s.tied for s in sides), len(sides[0].z)
    plain = kind == "spearman" and not tied and not design and blocks is None
    choice = settings.null
    if choice == "auto":
        choice = (
            "exact" if plain else "permutation" if blocks is not None or (kind == "spearman" and not design) else "t"
        )
    if choice == "exact" and not plain:
        what = "needs Spearman's ranks without ties, design or blocks"
        raise RecipeError(what, where="null", met="exact", wanted="permutation or auto")
    if choice == "exact":
        return exact_p(n)
    if choice == "t":
        if kind == "spearman" and n <= 2 * LARGEST_TABLE:
            log.warning("null t: too small in the tail for the ranks of %d samples; permutation is safer", n)
        return t_null(df)
    return from_sample(_permuted(sides, settings, blocks))


def _permuted(sides: tuple[Standard, Standard], settings: Settings, blocks: np.ndarray | None) -> np.ndarray:
    """Counts of |r| between one side and shared permutations of the other's samples."""
    left, right = (_live(s) for s in sides)
    rng = np.random.default_rng((settings.seed, 0x5BEA))
    n_pairs = max(left.shape[1] * right.shape[1], 1)
    times = int(np.clip(np.ceil(NULL_DRAWS / n_pairs), 20, MOST_PERMUTATIONS))
    share = min(1.0, max(NULL_DRAWS, n_pairs) / (times * n_pairs))
    many = max(1, round(share * left.shape[1]))
    counts, together = np.zeros(pairs.BINS, dtype=np.int64), max(1, COLUMNS // many)
    for start in range(0, times, together):
        permuted = [
            left[np.ix_(_order(len(left), blocks, rng), np.sort(rng.permutation(left.shape[1])[:many]))]
            for _ in range(min(together, times - start))
        ]
        counts += pairs.count(np.hstack(permuted), right, threads=settings.threads)
    return counts


def _order(n: int, blocks: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    if blocks is None:
        return rng.permutation(n)
    order = np.arange(n)
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        order[rows] = rng.permutation(rows)
    return order


def _accepted(
    made: list[_Counted],
    settings: Settings,
    names: tuple[pd.Index, pd.Index],
    marginal: Callable[[np.ndarray, np.ndarray], np.ndarray] | None,
) -> Hits:
    """List the pairs that may be accepted, test them exactly, keep those that are."""
    m = sum(c.n for c in made)
    level = _level(settings, made, m)
    bound_p = _bound(made, level, m, bonferroni=settings.correction == "bonferroni") if settings.fdr < 1 else 1.0
    rows = []
    for c in made:
        bound = 0.0 if settings.fdr == 1 else _least(c.null, bound_p)
        expected = int(c.counts[int(bound * pairs.BINS) :].sum()) if bound <= 1 else 0
        if expected > MOST_LISTED:
            raise DataError(
                f"{expected:,} pairs would be listed",
                met=f"fdr {settings.fdr}",
                wanted="a smaller fdr, or fewer features",
            )
        rows.append(_listed(c, bound, settings.threads))
    found = pd.concat(rows, ignore_index=True).sort_values(
        ["p", "size", "x", "y"], ascending=[True, False, True, True], kind="stable"
    )
    hits = _cut(found, settings, level, m)
    table = pd.DataFrame(
        {
            "x": names[0][hits["x"]],
            "y": names[1][hits["y"]],
            "rho": hits["rho"].to_numpy(),
            "p": hits["p"].to_numpy(),
            "q": hits["q"].to_numpy(),
        }
    )
    if marginal is not None:
        table["rho_marginal"] = marginal(hits["x"].to_numpy(), hits["y"].to_numpy())
    least = float(min((_least(c.null, settings.fdr / max(m, 1)) for c in made), default=np.nan))
    log.info("%s pairs tested, %s accepted; alone, a pair would need |r| >= %.3f", f"{m:,}", f"{len(table):,}", least)
    return Hits(
        table=table, n_tests=m, n_hits=len(table), threshold=float(hits["p"].max()) if len(hits) else 0.0,
        minimum_detectable=least, null=", ".join(dict.fromkeys(c.null.name for c in made)),
        n_flat=(int(sum(c.left.flat.sum() for c in made)), int(sum(c.right.flat.sum() for c in made))),
        histogram=sum((c.counts for c in made), np.zeros(pairs.BINS, dtype=np.int64)),
    )  # fmt: skip


def _level(settings: Settings, made: list[_Counted], m: int) -> float:
    """The level that is compared with p m / rank."""
    if settings.correction == "by":
        return settings.fdr / float((1 / np.arange(1, m + 1)).sum() if m < 10**6 else np.log(m) + np.euler_gamma)
    if settings.correction == "storey":
        edges = np.arange(pairs.BINS) / pairs.BINS
        null = sum(float(c.counts[c.null.p(edges) > LAMBDA].sum()) / (1 - LAMBDA) for c in made)
        return settings.fdr / float(np.clip(null / max(m, 1), 1 / max(m, 1), 1.0))
    return settings.fdr


def _bound(made: list[_Counted], level: float, m: int, *, bonferroni: bool) -> float:
    """A p-value that no accepted pair exceeds."""
    if bonferroni:
        return level / max(m, 1)
    edges = np.arange(pairs.BINS + 1) / pairs.BINS
    p_low = np.concatenate([c.null.p(np.minimum(edges[1:] + GUARD, 1.0)) for c in made])
    p_high = np.concatenate([c.null.p(np.maximum(edges[:-1] - GUARD, 0.0)) for c in made])
    n = np.concatenate([c.counts for c in made])
    order = np.argsort(p_low, kind="stable")
    reached = np.cumsum(n[order])
    possible = (p_low[order] <= level * reached / max(m, 1)) & (n[order] > 0)
    return float(p_high[order[: np.flatnonzero(possible)[-1] + 1]].max()) if possible.any() else 0.0


def _least(null: Null, p: float) -> float:
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


def _listed(c: _Counted, bound: float, threads: int | None) -> pd.DataFrame:
    """The pairs of a group from `bound` on, with r and p in float64."""
    left, right = _live(c.left), _live(c.right)
    i, j = (
        pairs.listed(left, right, max(bound - GUARD, 0.0), threads=threads) if bound <= 1 else (np.zeros(0, int),) * 2
    )
    rho = np.empty(len(i))
    for start in range(0, len(i), 1 << 18):
        part = slice(start, start + (1 << 18))
        rho[part] = np.einsum("nk,nk->k", left[:, i[part]], right[:, j[part]])
    rho = np.clip(rho, -1, 1)
    x, y = c.group.x[np.flatnonzero(~c.left.flat)], c.group.y[np.flatnonzero(~c.right.flat)]
    return pd.DataFrame({"x": x[i], "y": y[j], "rho": rho, "size": np.abs(rho).round(12), "p": c.null.p(np.abs(rho))})


def _cut(found: pd.DataFrame, settings: Settings, level: float, m: int) -> pd.DataFrame:
    """The accepted of the listed pairs (sorted by p), with their adjusted p-values."""
    p = found["p"].to_numpy()
    if settings.correction == "bonferroni":
        q = np.minimum(p * m, 1.0)
    else:
        ratio = settings.fdr / level  # of BY the harmonic sum, of Storey the share of nulls
        scaled = p * m * ratio / np.arange(1, len(p) + 1)
        q = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0) if len(p) else scaled
    found = found.assign(q=q)
    return found if settings.fdr == 1 else found[found["q"] <= settings.fdr]


def _marginal(a: pd.DataFrame, b: pd.DataFrame, kind: Kind) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Correlations of given pairs without the design, over the samples that show both."""
    left, right = a.to_numpy(np.float64), b.to_numpy(np.float64)

    def of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        out = np.empty(len(x))
        for k, (i, j) in enumerate(zip(x, y, strict=True)):
            both = ~np.isnan(left[:, i]) & ~np.isnan(right[:, j])
            u, v = (standard(s[both, c : c + 1], kind).z[:, 0] for s, c in ((left, i), (right, j)))
            out[k] = u @ v
        return out

    return of
