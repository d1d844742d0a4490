"""What the report shows: samples of pairs, maps, the tables of every line of evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.associate.design import design_of
from isthmus.associate.hits import Hits
from isthmus.associating.lines import Lines
from isthmus.associating.recipe import AssociateRecipe, Associating
from isthmus.associating.study import Direct, adjusted, lost, sampled
from isthmus.associating.tables import Tables
from isthmus.associating.views import MOST_FEATURES, feature_profiles, view
from isthmus.associating.words import KINDS
from isthmus.evaluate.tasks import kind_of
from isthmus.recipe import versions
from isthmus.report.associate import AssociateResults, Map

__all__ = ["results"]

MOST_DRAWN = 3000
"""Accepted pairs in a volcano."""
MOST_COLUMNS = 30
MODULES, MODULE_EDGES = 200, 400
WITH, WITHOUT = "groups taken out", "as the samples stand"


def results(
    recipe: AssociateRecipe,
    tables: Tables,
    found: Direct,
    lines: Lines,
    *,
    evidence: pd.DataFrame,
    said: list[str],
) -> AssociateResults:
    """Everything for the page."""
    keys = recipe.associate
    hits, gone = adjusted(found), lost(found)
    group = _group(tables, keys)
    return AssociateResults(
        name=f"{keys.between[0]} and {keys.between[1]}",
        subtitle=f"{len(tables.x):,} samples, {tables.x.shape[1]:,} x {tables.y.shape[1]:,} features",
        verdict=said, between=keys.between, unit=KINDS[keys.correlation], summary=_summary(tables, found),
        volcano=_volcano(tables, keys, found), thresholds=_thresholds(found), p_values=_p_values(found), hits=hits,
        lost=gone, pairs=_pairs(tables, hits, gone, keys.scatter), group=group,
        targets=found.targets, level=keys.level, modules=_modules(hits, lines, keys),
        module_table=pd.DataFrame() if lines.modules is None else lines.modules.summary, lines=lines,
        evidence=evidence, maps=_maps(tables, keys, lines, hits), obs=tables.obs,
        recipe=recipe.text(), versions=versions(),
    )  # fmt: skip


def _group(tables: Tables, keys: Associating) -> pd.Series | None:
    """What samples are coloured by."""
    if keys.colour is not None:
        return tables.obs[keys.colour]
    if tables.design is not None:
        return tables.design.iloc[:, 0]
    if tables.blocks is not None:
        return tables.blocks
    classes = [c for c in tables.obs if kind_of(tables.obs[c]) == "class" and 2 <= tables.obs[c].nunique() <= 12]
    return tables.obs[classes[0]] if classes else None


def _analyses(found: Direct) -> dict[str, Hits]:
    if found.marginal is None:
        return {"all pairs": found.hits}
    return {WITHOUT: found.marginal, WITH: found.hits}


def _summary(tables: Tables, found: Direct) -> pd.DataFrame:
    rows = []
    named = {**_analyses(found), "control: one modality permuted": found.control}
    for name, hits in named.items():
        flat = sum(hits.n_flat)
        rows.append(
            {
                "test": name, "samples": hits.n_samples, "pairs": hits.n_tests, "accepted": hits.n_hits,
                "largest accepted p": hits.threshold if hits.n_hits else np.nan,
                "needed alone": hits.minimum_detectable if hits.minimum_detectable <= 1 else np.nan,
                "null": hits.null, "features that do not vary": flat,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _volcano(tables: Tables, keys: Associating, found: Direct) -> pd.DataFrame:
    made = []
    for name, hits in _analyses(found).items():
        background = sampled(tables, keys, hits, design=name == WITH).assign(kind="pair")
        table = hits.table
        other = found.hits.table if name == WITHOUT else None if found.marginal is None else found.marginal.table
        kept = np.ones(len(table), dtype=bool)
        if other is not None:
            both = [pd.MultiIndex.from_frame(t[["x", "y"]].astype(str)) for t in (table, other)]
            kept = np.asarray(both[0].isin(both[1]))
        some: Any = (
            np.unique(np.linspace(0, len(table) - 1, min(len(table), MOST_DRAWN)).astype(int)) if len(table) else []
        )
        drawn = pd.DataFrame(table[["rho", "p"]].assign(kind=np.where(kept, "kept", "lost"))).iloc[some]
        made += [background.assign(panel=name), drawn.assign(panel=name)]
    drawn_all: pd.DataFrame = pd.concat(made, ignore_index=True)
    return drawn_all


def _thresholds(found: Direct) -> dict[str, float]:
    return {name: hits.threshold for name, hits in _analyses(found).items()}


def _p_values(found: Direct) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (hits.p_histogram, found.control.p_histogram) for name, hits in _analyses(found).items()}


def _pairs(
    tables: Tables, hits: pd.DataFrame, gone: pd.DataFrame, most: int
) -> tuple[list[tuple[pd.Series, pd.Series, str]], list[tuple[pd.Series, pd.Series, str]]]:
    """The first accepted pairs, and the first that the design took away, sample by sample."""

    def of(rows: pd.DataFrame, count: int) -> list[tuple[pd.Series, pd.Series, str]]:
        made = []
        for row in rows.head(count).to_dict("records"):
            title = f"{row['rho']:+.2f}"
            if "rho_marginal" in row:
                title += f" ({row['rho_marginal']:+.2f})"
            made.append((tables.x[row["x"]], tables.y[row["y"]], title.replace("-", "−")))
        return made

    return of(hits, most), of(gone, min(most, 4))


def _modules(hits: pd.DataFrame, lines: Lines, keys: Associating) -> list[tuple[str, pd.DataFrame]]:
    """The pairs within the largest modules."""
    if lines.modules is None:
        return []
    table = lines.modules.table
    edges = hits.head(keys.network)
    of = {s: table[table["side"] == s].drop_duplicates("feature").set_index("feature")["module"] for s in ("x", "y")}
    ends = [edges[s].astype(str).map(of[s]) for s in ("x", "y")]
    made = []
    inside = edges[(ends[0] == ends[1]).to_numpy()].assign(module=ends[0])
    for module, of_module in sorted(inside.groupby("module"), key=lambda m: -len(m[1]))[:MODULES]:
        title = f"module {module}: {of_module['x'].nunique()} x {of_module['y'].nunique()}, {len(of_module)} pairs"
        made.append((title, of_module.head(MODULE_EDGES)))
    return made


def _maps(tables: Tables, keys: Associating, lines: Lines, hits: pd.DataFrame) -> list[Map]:
    """Samples by either modality, features by both."""
    made = []
    names = dict(zip(("x", "y"), keys.between, strict=True))
    about_samples = _annotations(tables, keys)
    for kind in keys.views:
        for side, frame in (("x", tables.x), ("y", tables.y)):
            xy = view(frame.to_numpy(np.float64), kind, index=frame.index, seed=keys.seed)
            made.append(Map(xy, about_samples, f"samples by {names[side]}", ""))
        features = _features(tables, lines, hits.head(keys.network))
        if features is not None and len(features[1]) > 2:
            points, about, said = features
            about = about.assign(side=about["side"].map(names))
            xy = view(points, kind, index=about.index, seed=keys.seed)
            made.append(Map(xy, about, "features", said))
    return made


def _annotations(tables: Tables, keys: Associating) -> pd.DataFrame:
    """What samples can be coloured by: what the recipe names first, of a wide obs then its classes alone."""
    obs = tables.obs
    named = [] if tables.design is None else [c for c in tables.design if c in obs]
    named += [c for c in (keys.colour, keys.blocks) if c is not None]
    joint = [] if tables.design is None else [tables.design[c] for c in tables.design if c not in obs]
    others = [c for c in obs if c not in named and (obs.shape[1] <= MOST_COLUMNS or kind_of(obs[c]) == "class")]
    return pd.concat([*joint, obs[[*dict.fromkeys(named), *others]]], axis=1)


def _features(tables: Tables, lines: Lines, edges: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame, str] | None:
    """Features as points: their embeddings by the networks, or their ranks over the samples."""
    if edges.empty:
        return None
    wanted = {s: list(dict.fromkeys(edges[s]))[: MOST_FEATURES // 2] for s in ("x", "y")}
    if lines.latent is not None:
        of = lines.latent.features
        points = np.vstack([of[s].loc[wanted[s]].to_numpy(np.float64) for s in ("x", "y")])
        said = "by their loadings on the latent dimensions"
    else:
        basis = None if tables.design is None else design_of(tables.design, tables.x.index).basis
        points = np.vstack([feature_profiles(t[wanted[s]], basis) for s, t in (("x", tables.x), ("y", tables.y))])
        said = "by their ranks over the samples" + ("" if basis is None else ", groups taken out")
    about = pd.DataFrame({"side": [s for s in ("x", "y") for _ in wanted[s]]})
    about.index = pd.Index([str(f) for s in ("x", "y") for f in wanted[s]])
    if lines.modules is not None:
        table = lines.modules.table
        keyed = dict(zip(zip(table["side"], table["feature"].astype(str), strict=True), table["module"], strict=True))
        about["module"] = [f"module {keyed.get((s, f), '?')}" for s, f in zip(about["side"], about.index, strict=True)]
    return points, about, said
