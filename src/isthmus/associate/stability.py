r"""Stability selection of pairs of features: which are among the best again and again in halves of the samples.

The samples are halved `halves` times at random; in either half all pairs are ranked by the size of Spearman's
correlation, and the first `per_half` are selected. A pair's frequency is the share of the 2 `halves` rankings that
select it; stable are the pairs at or above a threshold :math:`\tau > 1/2`. Of m pairs, q selected in every half, the
expected number of stable pairs that are selected in a half no more often than by chance (with probability q / m) is

.. math:: E[V] \le \frac{q^2}{(2\tau - 1)\, m},

without any assumption for complementary halves (Shah & Samworth, theorem 1, of whom Meinshausen & Bühlmann's bound is
the case of exchangeable noise), and at most :math:`C(\tau, B)\, q^2 / m` where the number of complementary pairs of
halves that select a pair has a unimodal distribution (theorem 2).

What is stable in halves need not be a direct link: pairs that share a cause, a group or a batch are stable, too. Hence
`design`, and `blocks`, of each of which either half takes its share.

Meinshausen & Bühlmann 2010 (doi:10.1111/j.1467-9868.2010.00740.x); Shah & Samworth 2013
(doi:10.1111/j.1467-9868.2011.01034.x).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isthmus.associate import pairs
from isthmus.associate.inputs import Data, blocks_of, joined, numbers
from isthmus.associate.ranks import Side, design_matrix, orthonormal, side
from isthmus.errors import DataError, RecipeError

__all__ = ["Stability", "stability_selection"]

log = logging.getLogger("isthmus.associate")
EXPECTED = 1.0
"""Stable pairs that the bound allows by chance, where `per_half` is not given."""
STEP = 1e-5
"""Correlations closer than this count as equal: ties are broken at random, not by rounding."""
FEWEST, FEWEST_FREE = 8, 2
MARGIN = 0.02
"""How far below the last half's cut the next one is looked for."""
MOST_TIED = 20_000_000
CROWD = 4
"""A half that lists so many times the pairs wanted is listed again from a better bound."""


@dataclass(frozen=True)
class Stability:
    """How often every pair was selected.

    Attributes
    ----------
    table
        `x`, `y`, `frequency` (0..1) of the pairs that were selected in at least two halves, the most frequent first.
    threshold
        Frequency from which on a pair is stable.
    n_stable
        How many are.
    expected_false
        Bound on the expected number of stable pairs that are no better than chance.
    expected_false_unimodal
        The same under unimodality.
    per_half, rankings, n_tests
        Pairs selected in a half, halves ranked, and pairs ranked.
    words
        What was done and found, a sentence each.
    """

    table: pd.DataFrame
    threshold: float
    n_stable: int
    expected_false: float
    expected_false_unimodal: float
    per_half: int
    rankings: int
    n_tests: int
    words: list[str]

    @property
    def stable(self) -> pd.DataFrame:
        """The part of the table at or above the threshold."""
        return self.table.iloc[: self.n_stable]


def stability_selection(
    x: Data, y: Data, *, halves: int = 50, per_half: int | None = None, threshold: float = 0.75,
    design: pd.Series | pd.DataFrame | None = None, blocks: pd.Series | None = None, seed: int = 0,
    threads: int | None = None,
) -> Stability:  # fmt: skip
    """Pairs of features that correlate in complementary halves of the samples.

    Parameters
    ----------
    x, y
        Samples x features, joined by sample id; a missing value stands at the median of its feature in a half.
    halves
        How often the samples are halved: twice as many rankings.
    per_half
        Pairs selected in each ranking. None: as many as bound the expected number of false ones by 1.
    threshold
        Share of the rankings that makes a pair stable, above 0.5.
    design
        Groups or covariates per sample id, taken out of the ranks within every half.
    blocks
        Groups per sample id, of each of which either half takes its share.
    seed
        Of the halves and of ties.
    threads
        Of the kernels; all cores by default.

    Raises
    ------
    DataError
        Too few samples in common, or too few for a design in halves.
    RecipeError
        An option is wrong.
    """
    frames = joined(x, y)
    ids = frames[2]
    if len(ids) < FEWEST:
        raise DataError("too few samples in common for halves", met=len(ids), wanted=f"at least {FEWEST}")
    if not 0.5 < threshold <= 1:
        raise RecipeError("is no threshold", where="threshold", met=threshold, wanted="above 0.5, at most 1")
    if halves < 1:
        raise RecipeError("is no number of halvings", where="halves", met=halves, wanted="1 or more")
    m = frames[0].shape[1] * frames[1].shape[1]
    wanted = int(np.sqrt((2 * threshold - 1) * m * EXPECTED)) if per_half is None else per_half
    if not 1 <= wanted <= m:
        raise RecipeError("is no number of pairs", where="per_half", met=wanted, wanted=f"1 to {m}")
    a, b = (numbers(frame) for frame in frames[:2])
    basis = None if design is None else design_matrix(design, ids)
    labels = np.zeros(len(ids), dtype=np.int64) if blocks is None else blocks_of(blocks, ids)
    drawn, ties = (np.random.default_rng((seed, stream)) for stream in (0x57AB, 0x71E5))
    found = _Selector(wanted, b.shape[1], threads)
    for rows in _halves(labels, halves, drawn):
        left, right = (_ranked(v[rows], None if basis is None else basis[rows]) for v in (a, b))
        found.add(left, right, ties)
    return _summary(found, (frames[0].columns, frames[1].columns), threshold=threshold, halves=halves)


def bound(per_half: int, n_tests: int, threshold: float) -> float:
    """Meinshausen & Bühlmann's bound on the expected number of false stable pairs; Shah & Samworth's theorem 1."""
    return per_half**2 / ((2 * threshold - 1) * n_tests)


def bound_unimodal(per_half: int, n_tests: int, threshold: float, halves: int) -> float:
    """Shah & Samworth's theorem 2; the assumption-free bound where its conditions do not hold or it is no better."""
    share, plain = per_half / n_tests, bound(per_half, n_tests, threshold)
    least = min(0.5 + share**2, 0.5 + 1 / (2 * halves) + 0.75 * share**2)
    if share > 1 / np.sqrt(3) or threshold <= least:
        return plain
    if threshold <= 0.75:
        room = 2 * threshold - 1 - 1 / (2 * halves)
        factor = 1 / (2 * room) if room > 0 else np.inf
    else:
        factor = 4 * (1 - threshold + 1 / (2 * halves)) / (1 + 1 / halves)
    return float(min(plain, factor * per_half * share))


class _Selector:
    """Counts how often every pair is among the best of a half."""

    def __init__(self, per_half: int, width: int, threads: int | None) -> None:
        self.per_half, self.width, self.threads = per_half, width, threads
        self.keys: list[np.ndarray] = []
        self.bound: float | None = None

    def add(self, left: Side, right: Side, rng: np.random.Generator) -> None:
        """Select the best of the products of two features."""
        i, j = self._listed(left.z, right.z)
        size = np.empty(len(i))
        for start in range(0, len(i), 1 << 18):
            part = slice(start, start + (1 << 18))
            size[part] = np.abs(np.einsum("kn,kn->k", left.z[i[part]], right.z[j[part]], dtype=np.float64))
        level = np.rint(size / STEP)
        order = np.lexsort((rng.random(len(level)), -level))[: self.per_half]
        chosen = order[level[order] > 0]
        self.keys.append(left.live[i[chosen]].astype(np.int64) * self.width + right.live[j[chosen]])
        self.bound = max(level[order[-1]] * STEP - MARGIN, 0.0) if len(order) else None

    def _listed(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """At least `per_half` pairs, all those above some bound: the last half's where it does, else from counts."""
        if self.bound is not None:
            i, j = pairs.listed(left, right, self.bound, threads=self.threads)
            if self.per_half <= len(i) <= CROWD * self.per_half:
                return i, j
        found = pairs.count(left, right, threads=self.threads)
        reached = np.cumsum(found.counts[::-1])[::-1]
        lowest = int(np.flatnonzero(reached >= min(self.per_half, reached[0]))[-1])
        if reached[lowest] > self.per_half + MOST_TIED:
            met = f"{int(reached[lowest]):,} pairs that correlate alike in halves of {left.shape[1]}"
            raise DataError(
                "too few samples for stability selection", met=met, wanted="more samples, or fewer features"
            )
        bound = max(lowest / pairs.BINS - STEP, STEP)
        return pairs.listed(left, right, bound, peaks=found.peaks, threads=self.threads)


def _halves(labels: np.ndarray, times: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Positions of complementary halves, one after the other; every block dealt out evenly, one sample left if odd."""
    n = len(labels)
    for _ in range(times):
        order = rng.permutation(n)
        turn = rng.permutation(labels.max() + 1)[labels[order]]
        order = order[np.argsort(turn, kind="stable")]
        for start in (0, 1):
            yield np.sort(order[start : 2 * (n // 2) : 2])


def _ranked(values: np.ndarray, basis: np.ndarray | None) -> Side:
    """Ranks of a half, of norm 1, without the design; gaps at the median."""
    own = None if basis is None else orthonormal(basis)
    if own is not None and (free := len(values) - own.shape[1]) < FEWEST_FREE:
        raise DataError(
            "leaves no freedom in halves", where="design", met=f"{own.shape[1]} columns for {len(values)} samples",
            wanted=f"at least {FEWEST_FREE} samples more than columns", hint=f"{FEWEST_FREE - free} more would do",
        )  # fmt: skip
    gaps = np.isnan(values)
    if gaps.any():
        seen = ~gaps.all(axis=0)
        middle = np.zeros(values.shape[1])
        middle[seen] = np.nanmedian(values[:, seen], axis=0)
        values = np.where(gaps, middle, values)
    return side(values, np.arange(len(values)), np.arange(values.shape[1]), "spearman", design=own)


def _summary(found: _Selector, names: tuple[pd.Index, pd.Index], *, threshold: float, halves: int) -> Stability:
    m, rankings = len(names[0]) * len(names[1]), len(found.keys)
    keys, times = np.unique(np.concatenate(found.keys), return_counts=True)
    keys, times = keys[times > 1], times[times > 1]
    order = np.lexsort((keys, -times))
    keys, frequency = keys[order], times[order] / rankings
    table = pd.DataFrame(
        {"x": names[0][keys // len(names[1])], "y": names[1][keys % len(names[1])], "frequency": frequency}
    )
    stable = int((frequency >= threshold - 1e-9).sum())
    expected = bound(found.per_half, m, threshold)
    unimodal = bound_unimodal(found.per_half, m, threshold, halves)
    words = [
        f"{rankings} rankings in complementary halves of the samples, the first {found.per_half:,} of {m:,} pairs "
        "selected in each.",
        f"{stable:,} pairs are selected in at least {100 * threshold:g} % of them; among these at most {expected:.2g} "
        f"are expected that are no better than chance ({unimodal:.2g} if frequencies are unimodal).",
    ]
    for line in words:
        log.info("%s", line)
    return Stability(
        table=table, threshold=threshold, n_stable=stable, expected_false=expected, expected_false_unimodal=unimodal,
        per_half=found.per_half, rankings=rankings, n_tests=m, words=words,
    )  # fmt: skip
