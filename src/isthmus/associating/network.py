"""The network of the accepted pairs, as GraphML and as h5ad."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import scipy.sparse as sp

from isthmus.data.write import atomic, write
from isthmus.plot.style import harmless

__all__ = ["nodes", "write_graphml", "write_h5ad"]


def nodes(edges: pd.DataFrame, sides: tuple[str, str], modules: pd.DataFrame | None) -> pd.DataFrame:
    """The features of a network, `side/feature` each: `side`, `feature`, `degree`, `module` (-1: none).

    Parameters
    ----------
    edges
        `x` and `y`.
    sides
        What `x` and `y` are.
    modules
        `side` (x or y), `feature`, `module`; None where there are none.
    """
    made = []
    for column, side in zip(("x", "y"), sides, strict=True):
        degree = edges[column].astype(str).value_counts(sort=False)
        frame = pd.DataFrame({"side": side, "feature": degree.index, "degree": degree.to_numpy()})
        frame["module"] = -1
        if modules is not None:
            of = modules[modules["side"] == column].drop_duplicates("feature").set_index("feature")["module"]
            frame["module"] = frame["feature"].map(of).fillna(-1).astype(int)
        made.append(frame)
    table = pd.concat(made, ignore_index=True)
    table.index = pd.Index([f"{s}/{f}" for s, f in zip(table["side"], table["feature"], strict=True)], name="node")
    return table.astype({"degree": int, "module": int})


def write_graphml(edges: pd.DataFrame, table: pd.DataFrame, sides: tuple[str, str], path: Path) -> None:
    """Nodes with `side`, `feature`, `degree`, `module`; edges with every number of the pair, and `weight` = |rho|."""
    graph = nx.Graph()
    for node, row in zip(table.index, table.to_dict("records"), strict=True):
        graph.add_node(
            harmless(str(node)), **{str(k): harmless(v) if isinstance(v, str) else v for k, v in row.items()}
        )
    numbers = [c for c in edges if c not in ("x", "y") and edges[c].dtype.kind in "fib"]
    for row in edges.to_dict("records"):
        ends = [harmless(f"{side}/{row[c]}") for side, c in zip(sides, ("x", "y"), strict=True)]
        graph.add_edge(*ends, weight=abs(float(row["rho"])), **{str(c): row[c] for c in numbers})
    with atomic(path) as new:
        nx.write_graphml(graph, str(new))


def write_h5ad(edges: pd.DataFrame, table: pd.DataFrame, sides: tuple[str, str], path: Path) -> None:
    """Features as observations, `obsp["rho"]` and `obsp["p"]` symmetric, `obsp["connectivities"]` = |rho|."""
    place = pd.Series(np.arange(len(table)), table.index)
    ends = [
        place.loc[[f"{side}/{f}" for f in edges[c].astype(str)]].to_numpy()
        for side, c in zip(sides, ("x", "y"), strict=True)
    ]
    obs = table.assign(side=table["side"].astype("category")).set_axis(table.index.astype(str))
    made = ad.AnnData(X=None, obs=obs, var=pd.DataFrame(index=pd.Index([], dtype=object)))
    rho = edges["rho"].to_numpy(float)
    for name, values in (("rho", rho), ("connectivities", np.abs(rho)), ("p", edges["p"].to_numpy(float))):
        both = sp.coo_matrix((np.tile(values, 2), (np.r_[ends[0], ends[1]], np.r_[ends[1], ends[0]])),
                             shape=(len(table), len(table)))  # fmt: skip
        made.obsp[name] = both.tocsr()
    made.uns["sides"] = list(sides)
    write(made, path)
