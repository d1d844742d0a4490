"""Pairs that share a null: counted tile by tile, permuted where no formula holds, listed from a bound on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from isthmus.associate import pairs
from isthmus.associate.design import Design, orders_within
from isthmus.associate.groups import Group, groups
from isthmus.associate.null import LARGEST_TABLE, Null, exact_p, from_sample, t_null
from isthmus.associate.ranks import Kind, Side, side
from isthmus.errors import DataError, RecipeError, closest

__all__ = ["NULLS", "Part", "Pool", "Settings", "merged", "n_flat", "pooled"]

log = logging.getLogger("isthmus.associate")
NULLS = ("auto", "exact", "permutation", "t")
CORRECTIONS = ("bh", "by", "bonferroni", "storey")
FEW_DRAWS, MOST_DRAWS = 60_000_000, 400_000_000
"""Pairs of permuted samples that make the nulls of all pools together at least, and of one at most unless it has more
pairs."""
PER_PAIR = 20
"""Draws of a pool for each pair tested: with so many, one pair can be accepted alone at a level of .05."""
PERMUTATIONS = (20, 10_000)
"""Features that correlate with each other are no independent draws: few pairs are permuted often."""
COLUMNS = 1 << 15
"""Permuted features that are counted together."""


@dataclass(frozen=True)
class Settings:
    """How all pairs are tested."""

    kind: Kind
    fdr: float
    correction: str
    null: str
    threads: int | None
    seed: int

    def __post_init__(self) -> None:
        for where, met, known in (("correction", self.correction, CORRECTIONS), ("null", self.null, NULLS)):
            if met not in known:
                hint = closest(met, known)
                raise RecipeError("no such choice", where=where, met=met, hint=hint)
        if not 0 < self.fdr <= 1:
            raise RecipeError("is no level", where="fdr", met=self.fdr, wanted="above 0, at most 1")


@dataclass
class Part:
    """Pairs of features shown by the same samples.

    `peaks` are those of `pairs.count`. The sides are made anew when they are asked for, but where there is one part.
    """

    tables: tuple[np.ndarray, np.ndarray]
    group: Group
    kind: Kind
    design: Design | None
    blocks: np.ndarray | None
    keep: bool
    peaks: np.ndarray = field(default_factory=lambda: np.zeros(0))
    _sides: tuple[Side, Side] | None = None

    @property
    def df(self) -> int:
        """Degrees of freedom of a correlation: n - 2, less what the design takes."""
        return len(self.group.rows) - 1 - (1 if self.design is None else self.design.basis.shape[1])

    def sides(self) -> tuple[Side, Side]:
        """Both tables over the samples of this part."""
        if self._sides is not None:
            return self._sides
        basis = None if self.design is None else self.design.basis
        made = tuple(
            side(values, self.group.rows, columns, self.kind, design=basis)
            for values, columns in zip(self.tables, (self.group.x, self.group.y), strict=True)
        )
        if self.keep:
            self._sides = made[0], made[1]
        return made[0], made[1]

    def cells(self) -> np.ndarray | None:
        """Groups within which samples are permuted."""
        return self.blocks if self.blocks is not None else None if self.design is None else self.design.within


@dataclass
class Pool:
    """Parts of the same number of samples and degrees of freedom, and whether all their ranks are untied."""

    n: int
    df: int
    tied: bool
    null: Null
    parts: list[Part] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.zeros(pairs.BINS, dtype=np.int64))
    live: tuple[np.ndarray, np.ndarray] = field(default_factory=lambda: (np.zeros(0, bool), np.zeros(0, bool)))
    """Whether each feature of either side varies in any part."""

    @property
    def size(self) -> int:
        """Number of pairs."""
        return int(self.counts.sum())


def pooled(
    tables: tuple[np.ndarray, np.ndarray], settings: Settings, *, design: Design | None, blocks: np.ndarray | None
) -> list[Pool]:
    """Every pair of features counted, in pools that have a null each.

    Parameters
    ----------
    tables
        Samples x features, in the same order of samples; NaN is missing.
    settings
        How they are tested.
    design, blocks
        Of these samples.
    """
    pools: dict[tuple[int, int, bool], Pool] = {}
    made = list(groups(*tables))
    for group in made:
        own = None if design is None else design.of(group.rows)
        within = None if blocks is None else blocks[group.rows]
        part = Part(tables, group, settings.kind, own, within, len(made) == 1)
        if part.df < 1:
            continue  # the design alone explains so few samples
        left, right = part.sides()
        key = len(group.rows), part.df, left.tied or right.tied
        varies = np.zeros(tables[0].shape[1], dtype=bool), np.zeros(tables[1].shape[1], dtype=bool)
        pool = pools.setdefault(key, Pool(*key, t_null(part.df), live=varies))
        found = pairs.count(left.z, right.z, threads=settings.threads)
        part.peaks, pool.counts = found.peaks, pool.counts + found.counts
        pool.parts.append(part)
        pool.live[0][left.live], pool.live[1][right.live] = True, True
    if not pools:
        raise DataError("no pair of features is shown by enough samples", met=f"{len(tables[0])} samples in common")
    total = sum(p.size for p in pools.values())
    for pool in pools.values():
        pool.null = _null(pool, settings, total)
    return list(pools.values())


def n_flat(pools: Sequence[Pool]) -> tuple[int, int]:
    """Features of either side that do not vary over any samples that they were to be tested on."""
    live = [np.any([p.live[k] for p in pools], axis=0) for k in (0, 1)]
    asked = [np.zeros_like(v) for v in live]
    for group in (part.group for p in pools for part in p.parts):
        asked[0][group.x], asked[1][group.y] = True, True
    return int((asked[0] & ~live[0]).sum()), int((asked[1] & ~live[1]).sum())


def _null(pool: Pool, settings: Settings, total: int) -> Null:
    """The null that is asked for, or that fits."""
    ranks, first = settings.kind == "spearman", pool.parts[0]
    plain = ranks and not pool.tied and first.design is None and first.blocks is None
    choice = settings.null
    if choice == "auto":
        choice = "exact" if plain else "permutation" if ranks or first.blocks is not None else "t"
    if choice == "exact" and not plain:
        what = "needs Spearman's ranks without ties, design or blocks"
        raise RecipeError(what, where="null", met="exact", wanted="permutation or auto")
    if choice == "exact":
        return exact_p(pool.n)
    if choice == "t":
        if ranks and pool.n <= 2 * LARGEST_TABLE:
            log.warning("null t: too small in the tail for the ranks of %d samples; permutation is safer", pool.n)
        return t_null(pool.df)
    return from_sample(_permuted(pool, settings, total))


def _permuted(pool: Pool, settings: Settings, total: int) -> np.ndarray:
    """Counts of |r| between one side, its samples permuted, and the other; `total` pairs are tested in all."""
    few = int(FEW_DRAWS * pool.size / max(total, 1))
    draws = max(few, min(PER_PAIR * total, MOST_DRAWS), pool.size)
    times = int(np.clip(np.ceil(draws / max(pool.size, 1)), *PERMUTATIONS))
    share = min(1.0, draws / (times * max(pool.size, 1)))
    rng = np.random.default_rng((settings.seed, 0x5BEA, pool.n, pool.df))
    counts = np.zeros(pairs.BINS, dtype=np.int64)
    for part in pool.parts:
        small, large = sorted(part.sides(), key=lambda s: len(s.z))
        for permuted in _orders(small, part, (times, share), rng):
            counts += pairs.count(permuted, large.z, threads=settings.threads).counts
    return counts


def _orders(left: Side, part: Part, effort: tuple[int, float], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Features of a side with their samples permuted, some thousand rows at a time.

    What a design took out is taken out again, since permuted residuals are no longer free of it.
    """
    times, share = effort
    n, cells = len(left.rows), part.cells()
    many = max(1, round(share * len(left.z)))
    together = max(1, COLUMNS // many)
    for start in range(0, times, together):
        orders = orders_within(min(together, times - start), n, cells, rng)
        if many == len(left.z):
            permuted = np.take(left.z, orders, axis=1).reshape(-1, n)
        else:
            some = (np.sort(rng.permutation(len(left.z))[:many]) for _ in orders)
            permuted = np.concatenate([left.z[s][:, o] for s, o in zip(some, orders, strict=True)])
        if part.design is not None and (part.blocks is not None or part.design.within is None):
            basis = part.design.basis.astype(np.float32)
            permuted = permuted - (permuted @ basis) @ basis.T
            permuted /= np.maximum(np.linalg.norm(permuted, axis=1, keepdims=True), np.float32(1e-6))
        yield permuted


def merged(pools: Sequence[Pool]) -> np.ndarray:
    """Counts of |r| of all pairs."""
    return sum((p.counts for p in pools), np.zeros(pairs.BINS, dtype=np.int64))
