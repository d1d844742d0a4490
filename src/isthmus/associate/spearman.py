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
from typing import TypedDict, Unpack

import pandas as pd

from isthmus.associate.cutting import accepted, least, p_histogram, table_of
from isthmus.associate.design import design_of
from isthmus.associate.hits import Hits
from isthmus.associate.inputs import Data, blocks_of, joined, numbers
from isthmus.associate.pools import Settings, merged, n_flat, pooled
from isthmus.associate.ranks import Kind

__all__ = ["bicor", "correlate", "pearson", "spearman"]

log = logging.getLogger("isthmus.associate")
Grouping = pd.Series | pd.DataFrame | None


class Options(TypedDict, total=False):
    """What `correlate` takes besides the tables and the kind, which says what each of these is."""

    fdr: float | int
    correction: str
    null: str
    design: Grouping
    blocks: pd.Series | None
    threads: int | None
    seed: int


def spearman(x: Data, y: Data, **options: Unpack[Options]) -> Hits:
    """Spearman's rank correlation of every feature of `x` with every feature of `y`.

    Options are those of `correlate`: `fdr`, `correction`, `null`, `design`, `blocks`, `threads`, `seed`.
    """
    return correlate(x, y, kind="spearman", **options)


def pearson(x: Data, y: Data, **options: Unpack[Options]) -> Hits:
    """Pearson's correlation of every feature of `x` with every feature of `y`; options as in `spearman`."""
    return correlate(x, y, kind="pearson", **options)


def bicor(x: Data, y: Data, **options: Unpack[Options]) -> Hits:
    """Biweight midcorrelation of all pairs, Pearson's for features whose deviation is 0; options as in `spearman`."""
    return correlate(x, y, kind="bicor", **options)


def correlate(
    x: Data,
    y: Data,
    *,
    kind: Kind = "spearman",
    fdr: float | int = 0.05,
    correction: str = "bh",
    null: str = "auto",
    design: Grouping = None,
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
        `exact` (ranks without ties: the permutation distribution), `permutation` (pooled over pairs), `t`, or `auto`:
        exact for ranks without ties, design or blocks, permutation for other ranks and with `blocks`, else t.
    design
        Groups (a Series of labels) or covariates (a DataFrame) whose effect is taken out, of ranks where `kind` has
        them; per sample id. The marginal correlation stands beside. Samples are then permuted within the joint groups
        of the design; where it holds a covariate, or groups too small for 10,000 arrangements, freely, and the design
        is taken out of the permuted residuals again.
    blocks
        Groups within which samples are permuted.
    threads
        How many; all cores by default.
    seed
        Of permutations.

    Returns
    -------
    Hits
        `.table` with x, y, rho, p, q and n, the smallest p first.

    Raises
    ------
    DataError
        No or too few samples in common (or for any pair), duplicated ids, or too many patterns of missing values.
    RecipeError
        An option is wrong.
    """
    settings = Settings(kind, float(fdr), correction, null, threads, seed)
    a, b, ids = joined(x, y)
    pools = pooled(
        (numbers(a), numbers(b)), settings, design=None if design is None else design_of(design, ids),
        blocks=None if blocks is None else blocks_of(blocks, ids),
    )  # fmt: skip
    found = accepted(pools, settings)
    m = sum(p.size for p in pools)
    alone = min(least(p.null, settings.fdr / max(m, 1)) for p in pools)
    log.info("%s pairs tested, %s accepted; alone, a pair would need |r| >= %.3f", f"{m:,}", f"{len(found.p):,}", alone)
    return Hits(
        table=table_of(found, (a.columns, b.columns)), n_tests=m, n_hits=len(found.p),
        threshold=float(found.p[-1]) if len(found.p) else 0.0, minimum_detectable=alone,
        null=", ".join(dict.fromkeys(p.null.name for p in pools)),
        n_flat=n_flat(pools), histogram=merged(pools), n_samples=len(ids),
        df=max(p.df for p in pools), p_histogram=p_histogram(pools),
        nulls={p.n: p.null for p in pools},
    )  # fmt: skip
