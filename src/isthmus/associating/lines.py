"""Further lines of evidence beside the direct test: stability, latent links, the graph, modules, what others know."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from isthmus.associate.evidence import evidence
from isthmus.associate.modules import LEAST, Modules, enriched, modules
from isthmus.associate.stability import Stability, stability_selection
from isthmus.associating.recipe import Associating
from isthmus.associating.tables import Tables
from isthmus.data.pathways import read_pathways
from isthmus.data.source import existing
from isthmus.errors import DataError, listed

if TYPE_CHECKING:
    from isthmus.associating.graph import Refined
    from isthmus.associating.latent import LatentLinks

__all__ = ["Lines", "Outside", "combined", "external", "further", "grouped", "outside"]

log = logging.getLogger("isthmus.associate")
LEAST_OF_A_SET = 5
MOST_WEIGHED = 100_000
"""Accepted pairs in the evidence table."""
MOST_ASKED = 5000
"""Accepted pairs that the latent links are asked about."""


@dataclass(frozen=True)
class Lines:
    """What was looked at besides; None where the recipe leaves it out.

    Attributes
    ----------
    stability, latent, graph
        Of the lines of evidence.
    modules
        Communities of the network; None where it has no pair.
    enrichment
        Gene sets of the modules; empty without annotations.
    external
        `x`, `y`, `score` from elsewhere; empty without.
    """

    stability: Stability | None = None
    latent: LatentLinks | None = None
    graph: Refined | None = None
    modules: Modules | None = None
    enrichment: pd.DataFrame = field(default_factory=pd.DataFrame)
    external: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Outside:
    """What comes from elsewhere: scores of pairs (`x`, `y`, `score`), and sets of features by name."""

    scores: pd.DataFrame
    sets: Mapping[str, Sequence[str]]


def outside(tables: Tables, keys: Associating) -> Outside:
    """What the recipe names besides the data, looked at before anything is computed.

    Raises
    ------
    DataError
        A file is missing or broken, or has nothing to do with the features.
    MissingExtraError
        The recipe asks for a graph network, and torch-geometric is not installed.
    """
    if keys.graph is not None:
        from isthmus.nn.graph import installed

        installed()
    sets: Mapping[str, Sequence[str]] = {}
    if keys.annotations is not None:
        features = _names(tables)
        sets = read_pathways(keys.annotations, features={*features["x"], *features["y"]}).levels[0]
        if not _spoken(sets, features):
            raise DataError(
                "no set has enough features that are tested", where=f"associate.annotations, {keys.annotations}",
                wanted=f"{LEAST_OF_A_SET} of a modality", met=listed(s for of in sets.values() for s in of),
            )  # fmt: skip
    return Outside(pd.DataFrame() if keys.external is None else external(keys.external, tables), sets)


def further(tables: Tables, keys: Associating, hits: pd.DataFrame, known: Outside) -> Lines:
    """The lines that the recipe asks for; `hits` are the accepted pairs."""
    stability = latent = graph = None
    grouping: dict[str, Any] = {"design": tables.design, "blocks": tables.blocks}
    if keys.stability is not None:
        of = keys.stability
        stability = stability_selection(
            tables.x, tables.y, halves=of.halves, per_half=of.per_half, seed=keys.seed, threads=keys.threads, **grouping
        )
    if keys.latent is not None:
        from isthmus.associating.latent import LatentSettings, latent_links

        assert isinstance(keys.latent, LatentSettings)
        latent = latent_links(
            tables.x, tables.y, settings=keys.latent, pairs=hits[["x", "y"]].head(MOST_ASKED), threads=keys.threads,
            **grouping,
        )  # fmt: skip
    if keys.graph is not None:
        from isthmus.associating.graph import refine
        from isthmus.associating.graph_keys import GraphSettings

        assert isinstance(keys.graph, GraphSettings)
        graph = refine(tables.x, tables.y, settings=keys.graph, kind=keys.correlation, **grouping)
    edges = hits.head(keys.network)
    found = modules(edges, seed=keys.seed) if len(edges) else None
    return Lines(stability, latent, graph, found, grouped(found, tables, keys, known.sets), known.scores)


def grouped(
    found: Modules | None, tables: Tables, keys: Associating, sets: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Gene sets that modules hold more of than chance; empty without annotations or modules."""
    if keys.annotations is None or found is None:
        return pd.DataFrame()
    features = _names(tables)
    made = [
        enriched(found, sets, side=s, background=features[s], min_size=LEAST_OF_A_SET)
        .assign(modality=keys.between["xy".index(s)]) for s in _spoken(sets, features)
    ]  # fmt: skip
    made = [table for table in made if len(table)]
    if not made:
        log.warning("annotations: no module has %d features of a modality that sets speak of: none is tested", LEAST)
        return pd.DataFrame()
    return pd.concat(made, ignore_index=True).sort_values("p", kind="stable", ignore_index=True)


def _names(tables: Tables) -> dict[str, list[str]]:
    return {s: list(map(str, t.columns)) for s, t in (("x", tables.x), ("y", tables.y))}


def _spoken(sets: Mapping[str, Sequence[str]], features: Mapping[str, Sequence[str]]) -> list[str]:
    """The sides that some set has enough features of."""
    known = {side: set(names) for side, names in features.items()}
    return [s for s in known if any(len(known[s].intersection(of)) >= LEAST_OF_A_SET for of in sets.values())]


def external(path: str | Path, tables: Tables) -> pd.DataFrame:
    """Scores from elsewhere for pairs of features that are tested.

    Raises
    ------
    DataError
        The file is missing or broken, lacks a column, names no pair of features, or gives one two scores.
    """
    where = f"associate.external, {path}"
    try:
        table = pd.read_csv(existing(Path(path)), dtype=str, keep_default_na=False, skipinitialspace=True)
    except OSError as error:
        raise DataError("cannot be read", where=where, met=error.strerror) from None
    except UnicodeError:
        raise DataError("is not UTF-8 text", where=where, hint="save it as UTF-8") from None
    except ValueError as error:
        raise DataError("cannot be read", where=where, met=str(error).splitlines()[0]) from None
    if missing := [c for c in ("x", "y", "score") if c not in table]:
        raise DataError(f"lacks the column {missing[0]!r}", where=where, met=list(table.columns), wanted="x, y, score")
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError("has rows with more cells than the header", where=where, met=list(table.columns))
    score = pd.to_numeric(table["score"], errors="coerce")
    if score.isna().any() or np.isinf(score).any():
        row = int(np.flatnonzero(score.isna() | np.isinf(score))[0])
        raise DataError("a score is no number", where=f"{where}, line {row + 2}", met=table["score"].iloc[row])
    table = table[["x", "y"]].assign(score=score)
    known = table["x"].isin(tables.x.columns.astype(str)) & table["y"].isin(tables.y.columns.astype(str))
    if not known.any():
        wanted = f"x such as {listed(tables.x.columns)}, y such as {listed(tables.y.columns)}"
        raise DataError("names no pair of features that are tested", where=where, met=listed(table["x"]), wanted=wanted)
    if not known.all():
        log.info("external evidence: %d of %d pairs are tested here", int(known.sum()), len(table))
    return _each_once(table[known], where)


def _each_once(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """One row a pair; says how many repeat one.

    Raises
    ------
    DataError
        A pair has two scores.
    """
    again = table.duplicated(["x", "y"])
    if (other := again & ~table.duplicated()).any():
        x, y = table.loc[other, ["x", "y"]].iloc[0]
        scores = table.loc[(table["x"] == x) & (table["y"] == y), "score"].unique()
        lines = [f"{i + 2}" for i in table.index[(table["x"] == x) & (table["y"] == y)]]
        met = f"{x} - {y} with {listed(map(float, scores))} on lines {', '.join(lines[:4])}"
        raise DataError("gives a pair two scores", where=where, met=met, wanted="one row a pair")
    if again.any():
        x, y = table.loc[again, ["x", "y"]].iloc[0]
        log.warning("%s: %d rows repeat a pair and its score, such as %s - %s", where, int(again.sum()), x, y)
    return table[~again].reset_index(drop=True)


def combined(hits: pd.DataFrame, lines: Lines, weights: Mapping[str, float] | None) -> pd.DataFrame:
    """The evidence table: every pair that a line lists, with all that speaks for it, the best combined rank first."""
    parts = {"direct": hits.head(MOST_WEIGHED)}
    if lines.stability is not None:
        parts["stability"] = lines.stability.table
    if lines.latent is not None:
        parts["latent"] = lines.latent.table
    if lines.graph is not None:
        parts["graph"] = lines.graph.table
    if len(lines.external):
        parts["external"] = lines.external
    parts = {name: part for name, part in parts.items() if len(part) or weights}
    if not any(map(len, parts.values())):
        return pd.DataFrame(columns=["x", "y", "rank", "combined"])
    return evidence(parts, weights=weights)
