r"""Does it help to know the neighbours of an association? A graph network, judged against the correlation itself.

Of every fold of samples the others make a graph of their strongest associations, and the fold says which of these
replicate: same sign, one-sided p of at most `level`. A network that reads the graph, the profiles and |rho| ranks
them, and so do |rho|, degree, common neighbours, and a logistic regression on these three. The network has earned its
place if its AUC among the edges is above that of |rho| with the 95 % interval of the difference above 0; if not, |rho|
ranks the table. Either way the score of a pair is its calibrated chance to replicate (isotonic regression on what the
folds showed).

The network learns from inner folds of the samples that made the graph, never from those held out. Its controls: edges
rewired with every degree kept (what gain is left does not come from the neighbours), profiles dealt out anew among
features (what is left does not come from them), samples of one side permuted (nothing may be left, of |rho| neither).
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from isthmus.associate.design import design_of, order_within
from isthmus.associate.graph import Tables
from isthmus.associate.inputs import Data, blocks_of, joined, numbers
from isthmus.associate.judging import AGAINST, Calibration, Split, judge
from isthmus.associate.ranks import Kind
from isthmus.associating.graph_keys import GraphSettings
from isthmus.associating.links import (
    Candidates,
    Groups,
    Problem,
    Trained,
    attention_table,
    rankings,
    stated,
    trained,
)
from isthmus.errors import DataError

__all__ = ["GraphSettings", "Refined", "refine"]

log = logging.getLogger("isthmus.associating")
NETWORK = "network"
CONTROLS = {"rewired": "network, edges rewired", "shuffled": "network, profiles shuffled"}
PERMUTED = "network, samples permuted"
ALIKE = 0.005
"""Of two AUCs, which are then as good as each other."""


@dataclass(frozen=True)
class Refined:
    """The strongest associations, ranked by what says best whether they replicate.

    Attributes
    ----------
    table
        A row per edge of the graph of all samples, the best first: `x`, `y`, `rho`, `score` (calibrated chance, 0..1,
        to replicate in as many samples as a fold holds) and `network` (its logit; NaN where nothing could be learnt).
    judgement
        A row per ranking: see `associate.judging.judge`. Of the controls, `gain` is over |rho|; with permuted samples
        over the |rho| of those.
    earned
        Whether the network's gain over |rho| is above 0 with its whole interval; then it ranks the table.
    attention
        How features attend to each other in the graph of all samples (`gat` only): layer, source, target, their sides
        and attention, which sums to 1 per layer and target.
    words
        What a reader should know, in sentences.
    """

    table: pd.DataFrame
    judgement: pd.DataFrame
    earned: bool
    attention: pd.DataFrame | None
    words: list[str]


def refine(
    x: Data,
    y: Data,
    *,
    settings: GraphSettings | None = None,
    design: pd.Series | pd.DataFrame | None = None,
    blocks: pd.Series | None = None,
    kind: Kind = "spearman",
) -> Refined:
    """Rank the strongest associations by their chance to replicate.

    Parameters
    ----------
    x, y
        Samples x features, joined by sample id; NaN is missing.
    settings
        See `GraphSettings`.
    design
        Groups or covariates that are taken out of every correlation, in each part of the samples anew.
    blocks
        Groups of samples within which the control permutes (without them, those of the design). At least twice as many
        as folds, such as the patients of repeated samples, are held out whole; fewer are spread over folds.
    kind
        Of correlation: `spearman`, `pearson` or `bicor`.

    Raises
    ------
    MissingExtraError
        torch-geometric is not installed.
    DataError
        Too few samples for the folds, or what `associate.spearman` refuses.
    """
    from isthmus.nn.graph import installed

    settings = settings or GraphSettings()
    installed()
    a, b, ids = joined(x, y)
    made = None if design is None else design_of(design, ids)
    tables = Tables(numbers(a), numbers(b), kind, None if made is None else made.basis)
    groups = Groups(None if blocks is None else blocks_of(blocks, ids), None if made is None else made.cells)
    splits, first = _splits(tables, groups, settings)
    judgement = judge(splits, draws=settings.draws, seed=settings.seed)
    earned = bool(judgement.set_index("ranking")["gain_low"].get(NETWORK, np.nan) > 0)
    if settings.controls:
        judgement = pd.concat([judgement, _permuted(tables, groups, settings)], ignore_index=True)
    whole = stated(tables, None, groups, settings, seed=_seed(settings, settings.folds))
    found = trained(whole, settings, seed=settings.seed)
    table = _table(whole, found, splits, earned=earned, names=(a.columns, b.columns))
    attention = (
        attention_table(found, whole, (a.columns, b.columns)) if settings.layer == "gat" and found is not None else None
    )
    words = [*_what(whole, first, splits, settings), *_verdict(judgement, earned=earned)]
    return Refined(table, judgement, earned, attention, words)


def _seed(settings: GraphSettings, k: int) -> int:
    """A seed of its own for each fold."""
    return settings.seed + 1000 * (k + 1)


def _splits(
    tables: Tables, groups: Groups, settings: GraphSettings, *, plain: bool = False
) -> tuple[list[Split], Candidates]:
    """What every ranking says of every fold's pairs, and the candidates of the first; `plain`: without controls."""
    splits, asked = [], []
    for k, (found, held) in enumerate(groups.folds(len(tables.a), settings.folds, settings.seed)):
        if not len(found) or not len(held):
            raise _too_few(tables, settings, len(held))
        problem = stated(tables.rows(found), tables.rows(held), groups.of(found), settings, seed=_seed(settings, k))
        known = np.isfinite(problem.asked.label)
        if not known.any():
            raise _too_few(tables, settings, len(held))
        scores = rankings(problem) | _networks(problem, settings, plain=plain)
        c = problem.asked
        splits.append(Split(c.x, c.y, c.label, c.edge, scores).of(np.flatnonzero(known)))
        asked.append(c)
        log.info("fold %d of %d: %d edges, %.3g of them replicate", k + 1, settings.folds, len(c.graph.x),
                 float(np.nanmean(c.label[c.edge])))  # fmt: skip
    return splits, asked[0]


def _networks(problem: Problem, settings: GraphSettings, *, plain: bool) -> dict[str, np.ndarray]:
    """Scores of the network and of its controls; |rho| where nothing could be learnt."""
    wanted = {"none": NETWORK} | (CONTROLS if settings.controls and not plain else {})
    out = {}
    for control, name in wanted.items():
        made = trained(problem, settings, control=control, seed=settings.seed)  # type: ignore[arg-type]
        out[name] = problem.asked.strength if made is None else made.scores
    return out


def _too_few(tables: Tables, settings: GraphSettings, held: int) -> DataError:
    columns = 1 if tables.design is None else tables.design.shape[1]
    return DataError(
        f"no pair can replicate at {settings.level:g} in the {held} samples that a fold holds out",
        where="graph", met=f"{len(tables.a)} samples, {settings.folds} folds, {columns} columns of the design",
        wanted="at least 4 samples more per fold than columns",
        hint="fewer graph.folds, a smaller design, or no graph refinement",
    )  # fmt: skip


def _permuted(tables: Tables, groups: Groups, settings: GraphSettings) -> pd.DataFrame:
    """The network's row where one side's samples are permuted and all is done again."""
    within = groups.cells if groups.blocks is None else groups.blocks
    order = order_within(len(tables.a), within, np.random.default_rng((settings.seed, 0x9E)))
    splits, _ = _splits(replace(tables, b=tables.b[order]), groups, settings, plain=True)
    row = judge(splits, draws=settings.draws, seed=settings.seed)
    return row[row["ranking"] == NETWORK].assign(ranking=PERMUTED)


def _table(
    whole: Problem, found: Trained | None, splits: list[Split], *, earned: bool, names: tuple[pd.Index, pd.Index]
) -> pd.DataFrame:
    """The edges of all samples, calibrated by what the folds showed of such scores."""
    c = whole.asked
    logit = np.full(len(c.x), np.nan) if found is None else found.scores
    by_network = earned and found is not None
    own, ranking = (logit, NETWORK) if by_network else (c.strength, AGAINST)
    edges = [s.of(np.flatnonzero(s.edge)) for s in splits]
    chance = Calibration.fit(np.concatenate([s.scores[ranking] for s in edges]),
                             np.concatenate([s.label for s in edges]))  # fmt: skip
    n = len(c.graph.x)
    columns = {"x": names[0][c.x[:n]], "y": names[1][c.y[:n]], "rho": c.rho[:n], "score": chance(own[:n]),
               "network": logit[:n]}  # fmt: skip
    return pd.DataFrame(columns).iloc[np.lexsort((-c.strength[:n], -own[:n]))].reset_index(drop=True)


# ---- words


def _what(whole: Problem, first: Candidates, splits: list[Split], settings: GraphSettings) -> list[str]:
    """What the graph is of, and how much of it replicates."""
    g = whole.asked.graph
    chosen = f"{g.n_hits:,} accepted at a false discovery rate of {settings.fdr:g}"
    if len(g.x) > g.n_hits:
        chosen += ", the rest the strongest beyond"
    elif len(g.x) >= settings.most:
        chosen = f"the strongest; no more than {settings.most:,} are taken"
    edge, other = (np.concatenate([s.label[s.edge == e] for s in splits]) for e in (True, False))
    shares = f"{edge.mean():.1%} of a fold's edges replicate in the samples held out"
    if len(other):
        shares += f", {other.mean():.1%} of negatives with the same degrees (by chance: {settings.level:.0%})"
    samples = f"{len(first.tables.a)} of {len(whole.asked.tables.a)} samples make a fold's graph"
    return [
        f"The graph has {len(g.x):,} edges among {g.n_tests:,} pairs: {chosen}.",
        f"{samples}; {shares}.",
    ]


def _verdict(judgement: pd.DataFrame, *, earned: bool) -> list[str]:
    """Whether the network earned its place, what its controls say, and which simple ranking does as well."""
    rows = {str(row["ranking"]): row for row in judgement.to_dict("records")}
    own, plain = rows[NETWORK], rows[AGAINST]
    if not np.isfinite(own["gain"]):
        return ["All edges replicate or none does: there is nothing to rank, and the table is by |rho|."]
    verdict = "earned its place and ranks the table" if earned else "did not earn its place: the table is by |rho|"
    words = [
        f"AUC of what replicates: graph network {_told(own, 'auc')}, |rho| {_told(plain, 'auc')}; "
        f"difference {_told(own, 'gain')}. The network {verdict}."
    ]
    for control, name in CONTROLS.items():
        if name in rows:
            done = "With edges rewired" if control == "rewired" else "With profiles shuffled"
            words.append(f"{done} the difference to |rho| is {_told(rows[name], 'gain')}.")
    if PERMUTED in rows:
        words.append(f"With the samples of one side permuted the network's AUC is {_told(rows[PERMUTED], 'auc')}.")
    better = [k for k in ("regression", "common neighbours", "degree") if rows[k]["auc"] >= own["auc"] - ALIKE]
    for k in better:
        name = "A logistic regression of |rho|, degree and common neighbours" if k == "regression" else k.capitalize()
        words.append(f"{name} reaches {_told(rows[k], 'auc')}: as good as the network, or better.")
    return words


def _told(row: Mapping[Hashable, Any], column: str) -> str:
    sign = "+" if column == "gain" else ""
    low, high = (format(row[f"{column}_{end}"], f"{sign}.3f") for end in ("low", "high"))
    return f"{format(row[column], f'{sign}.3f')} ({low} to {high})"
