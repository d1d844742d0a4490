"""What rankings say of the pairs of a graph, learnt from nothing but the samples that the graph was made of.

These samples are split again: of each inner fold the others make a graph, and the fold says which of its pairs
replicate. That is what the network learns from; then it is asked about the pairs of the graph of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from isthmus.associate.graph import (
    FeatureGraph,
    Tables,
    common_neighbours,
    correlations,
    degrees,
    feature_graph,
    link_split,
    negatives,
    orientation,
    profiles,
    replicated,
    rewired,
)
from isthmus.associating.graph_keys import GraphSettings

if TYPE_CHECKING:
    from isthmus.nn.graph import LinkNetwork, Links

__all__ = ["Candidates", "Groups", "Problem", "Trained", "attention_table", "dealt", "rankings", "stated", "trained"]

Control = Literal["none", "rewired", "shuffled"]
SEVERAL = 2
"""Blocks per fold from which on a block is held out as a whole."""
ASIDE = 0.2
"""Share of the training pairs on which training is stopped."""


@dataclass(frozen=True)
class Groups:
    """Of every sample its block and its cell of the design, as codes; None where there are none."""

    blocks: np.ndarray | None
    cells: np.ndarray | None

    def of(self, rows: np.ndarray) -> Groups:
        """The same of some samples."""
        return Groups(*(None if v is None else np.unique(v[rows], return_inverse=True)[1] for v in (
            self.blocks, self.cells)))  # fmt: skip

    def folds(self, n: int, folds: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Folds of samples: many blocks are held out whole, few ones, and cells, are spread."""
        if self.blocks is not None and self.blocks.max() + 1 >= SEVERAL * folds:
            return dealt(n, folds, seed, whole=self.blocks)
        return dealt(n, folds, seed, spread=self.cells if self.blocks is None else self.blocks)


@dataclass(frozen=True)
class Candidates:
    """A graph and the pairs in question: its edges first, then as many negatives.

    Attributes
    ----------
    tables
        The samples that the graph is of.
    graph
        The graph.
    x, y, rho, strength
        The pairs, as in `FeatureGraph`.
    edge
        Whether a pair is an edge.
    label
        1 where it replicated in other samples, 0 where it did not, NaN where that is not known.
    """

    tables: Tables
    graph: FeatureGraph
    x: np.ndarray
    y: np.ndarray
    rho: np.ndarray
    strength: np.ndarray
    edge: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class Problem:
    """Candidates in question, those to learn from, and the features (of x, of y) that occur in any."""

    asked: Candidates
    inner: list[Candidates]
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Trained:
    """Logits of the pairs in question, averaged over seeds, the first network and what it was asked."""

    scores: np.ndarray
    network: LinkNetwork
    asked: Links


def dealt(
    n: int, folds: int, seed: int, *, spread: np.ndarray | None = None, whole: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Samples to find with and samples to hold out, for every fold.

    The samples of a group of `spread` go to different folds, those of one of `whole` to the same.
    """
    rng = np.random.default_rng((seed, 0xF0))
    if whole is not None:
        groups = rng.permutation(int(whole.max()) + 1)[whole]
        fold = groups % folds
    else:
        order = rng.permutation(n)
        if spread is not None:
            order = order[np.argsort(spread[order], kind="stable")]
        fold = np.empty(n, dtype=int)
        fold[order] = np.arange(n) % folds
    for k in range(folds):
        yield np.flatnonzero(fold != k), np.flatnonzero(fold == k)


def candidates(tables: Tables, held: Tables | None, settings: GraphSettings, seed: int) -> Candidates:
    """The graph of some samples, its negatives, and what replicates in the samples `held`."""
    graph = feature_graph(tables, fdr=settings.fdr, least=settings.least, most=settings.most, seed=seed, threads=None)
    x, y = negatives(graph, seed)
    rho, strength = correlations(tables, x, y)
    known = np.isfinite(rho)
    x, y, rho, strength = (np.concatenate([a, b[known]]) for a, b in (
        (graph.x, x), (graph.y, y), (graph.rho, rho), (graph.strength, strength)))  # fmt: skip
    label = np.full(len(x), np.nan) if held is None else replicated(held, x, y, rho, level=settings.level)
    return Candidates(tables, graph, x, y, rho, strength, np.arange(len(x)) < len(graph.x), label)


def stated(tables: Tables, held: Tables | None, groups: Groups, settings: GraphSettings, *, seed: int) -> Problem:
    """The pairs of `tables` as a question, their inner folds to learn from; `held` says what replicated."""
    asked = candidates(tables, held, settings, seed)
    inner = [
        candidates(tables.rows(a), tables.rows(b), settings, seed + 1 + k)
        for k, (a, b) in enumerate(groups.folds(len(tables.a), settings.folds, seed))
        if len(a) and len(b)
    ]
    inner = [c for c in inner if np.isfinite(c.label).any()]
    x, y = (np.unique(np.concatenate([getattr(c, side) for c in (asked, *inner)])) for side in "xy")
    return Problem(asked, inner, x, y)


def _placed(c: Candidates, problem: Problem) -> tuple[FeatureGraph, np.ndarray, np.ndarray]:
    """The graph and the pairs with features numbered as in the problem."""
    g = c.graph
    moved = FeatureGraph(
        np.searchsorted(problem.x, g.x), np.searchsorted(problem.y, g.y), g.rho, g.strength, g.n_hits, g.n_tests
    )
    return moved, np.searchsorted(problem.x, c.x), np.searchsorted(problem.y, c.y)


def _standardised(values: np.ndarray) -> np.ndarray:
    sd = values.std()
    return np.asarray((values - values.mean()) / (sd if sd > 0 else 1.0))


def rankings(problem: Problem) -> dict[str, np.ndarray]:
    """Scores of the pairs in question that need no network: |rho|, degree, common neighbours, and these by regression.

    The logistic regression of the three is learnt from the inner folds, as the network is.
    """
    asked, shape = problem.asked, (len(problem.x), len(problem.y))
    columns = [_simple(c, problem, shape) for c in (asked, *problem.inner)]
    out = {"|rho|": asked.strength, "degree": columns[0][:, 1], "common neighbours": columns[0][:, 2]}
    label = np.concatenate([c.label for c in problem.inner]) if problem.inner else np.zeros(0)
    known = np.isfinite(label)
    if len(np.unique(label[known])) < 2:
        return out | {"regression": asked.strength}
    learnt = np.vstack(columns[1:])[known]
    model = LogisticRegression(max_iter=1000).fit(learnt, label[known].astype(int))
    return out | {"regression": np.asarray(model.decision_function(columns[0]))}


def _simple(c: Candidates, problem: Problem, shape: tuple[int, int], graph: FeatureGraph | None = None) -> np.ndarray:
    """Pairs x (strength, log of the product of degrees, log of common neighbours), standardised."""
    own, x, y = _placed(c, problem)
    graph = own if graph is None else graph
    kx, ky = degrees(graph, shape)
    paths = common_neighbours(graph, shape, x, y)
    columns = (c.strength, np.log1p(kx[x]) + np.log1p(ky[y]), np.log1p(paths))
    return np.stack([_standardised(np.asarray(v, np.float64)) for v in columns], axis=1)


def trained(problem: Problem, settings: GraphSettings, *, control: Control = "none", seed: int = 0) -> Trained | None:
    """The network's scores of the pairs in question; None where the inner folds teach nothing (all replicate, or none).

    `rewired` passes messages along a rewired graph, `shuffled` deals the profiles out anew among features of a side.
    """
    from isthmus.nn.graph import Fit, Links, fit_links

    arrays = _arrays(problem, settings, control, seed)
    label = np.concatenate([a["label"] for a in arrays[1:]]) if problem.inner else np.zeros(0)
    if len(np.unique(label[np.isfinite(label)])) < 2:
        return None
    asked, *lessons = [Links.of(a) for a in arrays]
    ends = np.hstack([a["pairs"] for a in arrays[1:]]).T
    fit = Fit(**{k: getattr(settings, k) for k in Fit.__dataclass_fields__})
    seeds = range(seed, seed + (settings.seeds if control == "none" else 1))
    networks = [fit_links(lessons, link_split(ends, ASIDE, s), fit, seed=s) for s in seeds]
    return Trained(np.mean([network.scores(asked) for network in networks], axis=0), networks[0], asked)


def _arrays(problem: Problem, settings: GraphSettings, control: Control, seed: int) -> list[dict[str, np.ndarray]]:
    """What the network reads of the graph in question and of the inner ones."""
    every = [problem.asked, *problem.inner]
    room = min(c.tables.freedom(np.arange(len(c.tables.a)))[1] for c in every) + 1
    wide = [profiles(c.tables, problem.x, problem.y, max(1, min(settings.dimensions, room))) for c in every]
    shape = (len(problem.x), len(problem.y))
    rng = np.random.default_rng((seed, 0x5F))
    mixed = np.concatenate([rng.permutation(shape[0]), shape[0] + rng.permutation(shape[1])])
    out = []
    for k, (c, own) in enumerate(zip(every, wide, strict=True)):
        graph, x, y = _placed(c, problem)
        turned = orientation(graph, shape)
        coordinates = own * turned[:, None]
        coordinates = coordinates[mixed] if control == "shuffled" else coordinates
        kept = rewired(graph, seed + k) if control == "rewired" else graph
        degree = np.log1p(np.concatenate(degrees(graph, shape)))
        side = np.repeat([0.5, -0.5], shape)
        out.append({
            "nodes": coordinates / max(float(coordinates.std()), 1e-12),
            "known": np.column_stack([side, degree]),
            "edges": np.stack([kept.x, shape[0] + kept.y]),
            "weight": np.abs(kept.rho),
            "pairs": np.stack([x, shape[0] + y]),
            "given": _simple(c, problem, shape, kept),
            "sign": turned[x] * turned[shape[0] + y] * np.where(c.rho < 0, -1.0, 1.0),
            "label": c.label,
        })  # fmt: skip
    return out


def attention_table(found: Trained, problem: Problem, names: tuple[pd.Index, pd.Index]) -> pd.DataFrame:
    """How much each linked `target` attends to every `source`, itself among them, per layer: sums to 1 per target."""
    at = np.concatenate([names[0][problem.x].astype(str), names[1][problem.y].astype(str)])
    side = np.repeat(["x", "y"], [len(problem.x), len(problem.y)])
    parts = []
    for layer, (edges, share) in enumerate(found.network.attention(found.asked), start=1):
        source, target = edges
        linked = np.zeros(len(at), dtype=bool)
        linked[target[source != target]] = True
        kept = linked[target]  # a feature without an edge attends to itself alone
        columns = {"layer": layer, "source": at[source], "source_side": side[source],
                   "target": at[target], "target_side": side[target], "attention": share}  # fmt: skip
        parts.append(pd.DataFrame(columns).loc[kept])
    table: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return table
