"""What two tables say of each other: tested with the design and without, and with the samples of one permuted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isthmus.associate import Hits, correlate, targets
from isthmus.associate.design import design_of, order_within
from isthmus.associate.groups import groups
from isthmus.associate.inputs import numbers
from isthmus.associate.ranks import side
from isthmus.associating.recipe import Associating
from isthmus.associating.tables import Tables

__all__ = ["Direct", "adjusted", "control_cells", "control_order", "direct", "lost", "sampled"]

log = logging.getLogger("isthmus.associate")
SAMPLED = (60, 50)
"""Features of either side whose pairs stand for all in a figure."""


@dataclass(frozen=True)
class Direct:
    """Direct correlations.

    Attributes
    ----------
    hits
        With the design taken out, where there is one; the table has `marginal_hit` then.
    marginal
        As the samples stand; None without a design.
    control
        The same test as `hits` with the samples of the second modality permuted (within groups).
    targets
        Every feature ranked for every target; empty without targets.
    """

    hits: Hits
    marginal: Hits | None
    control: Hits
    targets: pd.DataFrame


def direct(tables: Tables, keys: Associating) -> Direct:
    """Test all pairs."""
    options = _options(keys)
    grouping: dict[str, Any] = {"design": tables.design, "blocks": tables.blocks}
    hits = correlate(tables.x, tables.y, **options, **grouping)
    marginal = None
    if tables.design is not None:
        marginal = correlate(tables.x, tables.y, **options, blocks=tables.blocks)
    y = tables.y.iloc[control_order(tables, keys.seed)].set_axis(tables.y.index)
    control = correlate(tables.x, y, **options, **grouping)
    ranked = pd.DataFrame()
    if keys.of:
        few = {"kind": keys.correlation, "null": keys.null, "level": keys.level, "seed": keys.seed}
        ranked = targets(tables.x, tables.y, list(keys.of), **few, **grouping)  # type: ignore[arg-type]
    return Direct(hits, marginal, control, ranked)


def _options(keys: Associating) -> Mapping[str, Any]:
    return {
        "kind": keys.correlation, "fdr": keys.fdr, "correction": keys.correction, "null": keys.null,
        "threads": keys.threads, "seed": keys.seed,
    }  # fmt: skip


def control_order(tables: Tables, seed: int) -> np.ndarray:
    """An order of the samples that breaks every link, and keeps what groups do where these are known."""
    return order_within(len(tables.x), control_cells(tables), np.random.default_rng((seed, 0xC0)))


def control_cells(tables: Tables) -> np.ndarray | None:
    """The groups within which the control permutes samples; None with a covariate, where it permutes freely."""
    if tables.blocks is not None:
        return np.asarray(pd.factorize(tables.blocks)[0])
    return None if tables.design is None else design_of(tables.design, tables.x.index).cells


def adjusted(found: Direct) -> pd.DataFrame:
    """The accepted pairs, and whether each is accepted as the samples stand, too."""
    table = found.hits.table
    if found.marginal is None:
        return table
    return table.assign(marginal_hit=_in(table, found.marginal.table))


def _in(pairs: pd.DataFrame, others: pd.DataFrame) -> np.ndarray:
    """Which pairs are among others."""
    keys = [pd.MultiIndex.from_frame(t[["x", "y"]].astype(str)) for t in (pairs, others)]
    return np.asarray(keys[0].isin(keys[1]))


def lost(found: Direct) -> pd.DataFrame:
    """Pairs that are accepted as the samples stand, and no longer with the design."""
    if found.marginal is None:
        return found.hits.table.iloc[:0]
    table = found.marginal.table
    return table[~_in(table, found.hits.table)].reset_index(drop=True)


def sampled(tables: Tables, keys: Associating, hits: Hits, *, design: bool) -> pd.DataFrame:
    """`rho` and `p` of the pairs of some features drawn at random, by the nulls of `hits`."""
    rng = np.random.default_rng((keys.seed, 0x5A))
    a, b = (
        numbers(t.iloc[:, np.sort(rng.permutation(t.shape[1])[:most])])
        for t, most in zip((tables.x, tables.y), SAMPLED, strict=True)
    )
    whole = design_of(tables.design, tables.x.index) if design and tables.design is not None else None
    made = [pd.DataFrame({"rho": np.zeros(0), "p": np.zeros(0)})]
    for group in groups(a, b):
        if (null := hits.nulls.get(len(group.rows))) is None:
            continue
        basis = None if whole is None else whole.of(group.rows).basis
        left, right = (side(v, group.rows, c, keys.correlation, design=basis) for v, c in ((a, group.x), (b, group.y)))
        rho = (left.z @ right.z.T).ravel().astype(np.float64)
        made.append(pd.DataFrame({"rho": rho, "p": null.p(np.abs(rho))}))
    return pd.concat(made, ignore_index=True)
