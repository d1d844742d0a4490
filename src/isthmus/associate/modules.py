"""Modules of a network of associations: features linked more among each other than chance would have it.

Communities by Louvain's algorithm (Blondel et al. 2008, doi:10.1088/1742-5468/2008/10/P10008, as networkx has it),
edges weighed by |rho|, over features of both sides at once. The result depends on the order in which it visits
features, which `seed` draws: modules are a way to look at a network, not a test of one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd

from isthmus.errors import DataError
from isthmus.evaluate.enrichment import enrichment

__all__ = ["Modules", "enriched", "modules"]

log = logging.getLogger("isthmus.associate")
MOST = 100_000
LEAST = 3
"""Features of one side that a module is tested for terms with."""


@dataclass(frozen=True)
class Modules:
    """Features and the modules they belong to.

    Attributes
    ----------
    table
        `feature`, `side` (x or y), `module` (1 has the most features), `degree`; by module, the highest degree first.
    summary
        A row per module: `module`, `n_x`, `n_y`, `edges` within, `density` (of the edges there could be), `rho` (mean
        size within), `inside` (share of its features' edges that stay within), `hub_x`, `hub_y`.
    modularity
        Share of the weight within modules, less what is expected from degrees alone; below 1.
    """

    table: pd.DataFrame
    summary: pd.DataFrame
    modularity: float


def modules(hits: pd.DataFrame, *, seed: int = 0, most: int = MOST, resolution: float = 1.0) -> Modules:
    """The modules of a network.

    Parameters
    ----------
    hits
        A row per edge: `x`, `y` and `rho` (without it all edges weigh the same), in any order.
    seed
        Of the order in which features are visited.
    most
        Edges taken at most, those with the largest |rho|; the log says how many were left out.
    resolution
        Above 1 gives more and smaller modules, below 1 fewer and larger ones.

    Raises
    ------
    DataError
        There is no edge, an edge occurs twice, or a rho is no number.
    """
    edges = _edges(hits, most)
    net = nx.Graph()
    ends = [("x", a) for a in edges["x"]], [("y", b) for b in edges["y"]]
    net.add_weighted_edges_from(zip(*ends, edges["weight"], strict=True))
    found = nx.community.louvain_communities(net, weight="weight", resolution=resolution, seed=seed)
    found = sorted(found, key=lambda c: (-len(c), min(c)))
    place = {node: k for k, community in enumerate(found, start=1) for node in community}
    rows = [(name, side, place[side, name], net.degree((side, name))) for side, name in net]
    table = pd.DataFrame(rows, columns=["feature", "side", "module", "degree"])
    order = ["module", "degree", "side", "feature"]
    table = table.sort_values(order, ascending=[True, False, True, True], kind="stable", ignore_index=True)
    inside = [(place[a], place[b]) for a, b in zip(*ends, strict=True)]
    summary = _summary(table, edges.assign(a=[i for i, _ in inside], b=[j for _, j in inside]))
    return Modules(table, summary, float(nx.community.modularity(net, found, weight="weight", resolution=resolution)))


def _edges(hits: pd.DataFrame, most: int) -> pd.DataFrame:
    """x, y and weight, in an order of their own."""
    if missing := [c for c in ("x", "y") if c not in hits]:
        raise DataError("lacks a column", where="hits", met=missing[0], wanted="x, y and rho")
    weight = hits["rho"].abs().to_numpy(np.float64) if "rho" in hits else np.ones(len(hits))
    edges = pd.DataFrame({"x": hits["x"].astype(str), "y": hits["y"].astype(str), "weight": weight})
    if edges.empty:
        raise DataError("there is no edge: a network without hits has no modules", where="hits", hint="a larger fdr")
    if not np.isfinite(weight).all():
        raise DataError("holds correlations that are no numbers", where="hits", met=int((~np.isfinite(weight)).sum()))
    if (again := edges.duplicated(["x", "y"])).any():
        raise DataError("has an edge twice", where="hits", met=" - ".join(edges.loc[again, ["x", "y"]].iloc[0]))
    edges = edges.sort_values(["weight", "x", "y"], ascending=[False, True, True], kind="stable", ignore_index=True)
    if len(edges) > most:
        log.warning("modules of the %s strongest of %s edges", f"{most:,}", f"{len(edges):,}")
    return edges.head(most)


def _summary(table: pd.DataFrame, edges: pd.DataFrame) -> pd.DataFrame:
    """A row per module; `edges` has the modules of its ends as a and b."""
    rows = []
    for module, part in table.groupby("module"):
        sides = {s: part.loc[part["side"] == s, "feature"] for s in ("x", "y")}
        within = edges[(edges["a"] == module) & (edges["b"] == module)]
        touching = ((edges["a"] == module) | (edges["b"] == module)).sum()
        possible = len(sides["x"]) * len(sides["y"])
        rows.append({
            "module": module, "n_x": len(sides["x"]), "n_y": len(sides["y"]), "edges": len(within),
            "density": len(within) / possible if possible else 0.0,
            "rho": float(within["weight"].mean()) if len(within) else np.nan, "inside": len(within) / int(touching),
            **{f"hub_{s}": names.iloc[0] if len(names) else None for s, names in sides.items()},
        })  # fmt: skip
    return pd.DataFrame(rows)


def enriched(
    found: Modules,
    gene_sets: Mapping[str, Sequence[str]] | str | Path,
    *,
    side: str = "x",
    background: Sequence[str] | None = None,
    min_size: int = 5,
    min_features: int = LEAST,
) -> pd.DataFrame:
    """Terms that the features of a module belong to more often than chance, by `evaluate.enrichment`.

    A pair of features is no group that could be rich in anything: modules of fewer than `min_features` are left out.

    Parameters
    ----------
    found
        What `modules` gave.
    gene_sets
        Term to features, or a GMT file.
    side
        `x` or `y`: the side that the terms speak of.
    background
        All features of that side that were tested. Without it those of the network, among which a term that the whole
        network has in common does not stand out.
    min_size
        The fewest background features of a term that is tested.
    min_features
        The fewest features of that side of a module that is tested.

    Returns
    -------
    pandas.DataFrame
        `module`, `term`, `overlap`, `size`, `p`, `q` (over all modules and terms that are tested), the smallest p
        first; empty where no module has so many features.

    Raises
    ------
    DataError
        No term has so many features, or the file is broken.
    """
    part = found.table[found.table["side"] == side]
    if part.empty:
        raise DataError("has no features in the network", where="side", met=side, wanted="x or y")
    names = pd.Index(part["feature"] if background is None else [str(f) for f in background]).unique()
    if missing := part.loc[~part["feature"].isin(names), "feature"].tolist():
        raise DataError("lacks features of the network", where="background", met=missing[0])
    sizes = part["module"].value_counts()
    part = part[part["module"].map(sizes) >= min_features]
    if part.empty:
        return pd.DataFrame(columns=["module", "term", "overlap", "size", "p", "q"])
    member = pd.crosstab(part["feature"], part["module"]).reindex(names, fill_value=0)
    tested = enrichment(member, gene_sets, top=len(names), min_size=min_size)
    tested = tested.rename(columns={"dimension": "module"}).drop(columns="direction")
    return tested.astype({"module": int})
