"""`associate`: read, prepare, test all pairs with the groups taken out and without, look further, write, report."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from isthmus.associate import Hits
from isthmus.associate.hits import write_pairs
from isthmus.associating.lines import Lines, combined, further, outside
from isthmus.associating.network import nodes, write_graphml, write_h5ad
from isthmus.associating.pictures import results
from isthmus.associating.recipe import AssociateRecipe, Associating, load_associate_recipe, parse_associate_recipe
from isthmus.associating.study import Direct, adjusted, direct
from isthmus.associating.tables import tables
from isthmus.associating.words import verdict
from isthmus.data.write import atomic
from isthmus.experiment import cohort, timed
from isthmus.folder import Signals, growing
from isthmus.report import page
from isthmus.report.associate import associate_page
from isthmus.report.table import save_csv

__all__ = ["Associated", "associate"]

log = logging.getLogger("isthmus.associate")


@dataclass(frozen=True)
class Associated:
    """What came of it.

    Attributes
    ----------
    hits
        The test that counts: with the design taken out, where there is one.
    marginal
        As the samples stand; None without a design.
    targets
        Every feature ranked for every target; empty without targets.
    evidence
        The accepted pairs with every line of evidence, the best combined rank first.
    lines
        What else was looked at.
    verdict
        In words.
    report
        The page.
    """

    hits: Hits
    marginal: Hits | None
    targets: pd.DataFrame
    evidence: pd.DataFrame
    lines: Lines
    verdict: list[str]
    report: Path


def associate(
    recipe: AssociateRecipe | Mapping[str, Any] | str | Path, out: str | Path, *, overwrite: bool = False
) -> Associated:
    """Test every feature of one modality against every feature of another.

    Parameters
    ----------
    recipe
        `data`, `prepare` and `associate`; or a file of it.
    out
        The folder; it appears when all is done.
    overwrite
        Replace a folder that a command wrote.

    Returns
    -------
    Associated
        Also written: `hits.parquet`, `network.graphml`, `network.h5ad`, `modules.csv`, `evidence.csv`,
        `targets.parquet` (where targets are named), `metrics.json`, `report.html`.

    Raises
    ------
    InputError
        The recipe, the data or the folder is wrong.
    InterruptedTraining
        A signal asked for a stop; nothing is kept.
    """
    if not isinstance(recipe, AssociateRecipe):
        recipe = parse_associate_recipe(recipe) if isinstance(recipe, Mapping) else load_associate_recipe(recipe)
    out = Path(out)
    signals = Signals()
    with signals.caught(), growing(out, recipe.text(), overwrite=overwrite) as folder:
        found, lines, evidence, said = _carry_out(recipe, folder)
    return Associated(found.hits, found.marginal, found.targets, evidence, lines, said, out / "report.html")


def _carry_out(recipe: AssociateRecipe, folder: Path) -> tuple[Direct, Lines, pd.DataFrame, list[str]]:
    keys = recipe.associate
    with timed("read"):
        given = tables(cohort(recipe.base), recipe)
        known = outside(given, keys)
    with timed("test all pairs"):
        found = direct(given, keys)
    hits = adjusted(found)
    with timed("look further"):
        lines = further(given, keys, hits, known)
        evidence = combined(hits, lines, keys.weights)
    said = verdict(given, keys, found, lines)
    with timed("write"):
        _write(folder, keys, found, lines, evidence)
        (folder / "metrics.json").write_text(json.dumps(_metrics(found, lines), indent=1) + "\n", encoding="utf-8")
    with timed("report"):
        page.write(associate_page(results(recipe, given, found, lines, evidence=evidence, said=said)), folder)
    return found, lines, evidence, said


def _write(folder: Path, keys: Associating, found: Direct, lines: Lines, evidence: pd.DataFrame) -> None:
    hits = adjusted(found)
    write_pairs(hits, folder / "hits.parquet")
    if found.marginal is not None:
        write_pairs(found.marginal.table, folder / "marginal_hits.parquet")
    if len(found.targets):
        with atomic(folder / "targets.parquet") as new:
            found.targets.to_parquet(new, index=False)
    edges = hits.head(keys.network)
    table = nodes(edges, keys.between, None if lines.modules is None else lines.modules.table)
    write_graphml(edges, table, keys.between, folder / "network.graphml")
    write_h5ad(edges, table, keys.between, folder / "network.h5ad")
    frames = {"modules": table.reset_index(drop=True), "evidence": evidence}
    if lines.stability is not None:
        frames["stability"] = lines.stability.table
    if lines.latent is not None:
        frames["latent"] = lines.latent.table
    if lines.graph is not None:
        frames |= {"graph": lines.graph.table, "graph_judgement": lines.graph.judgement}
        if lines.graph.attention is not None:
            frames["attention"] = lines.graph.attention
    save_tables(frames, folder)


def save_tables(frames: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """A csv of each; names that a spreadsheet would run as formulas begin with an apostrophe."""
    for name, frame in frames.items():
        save_csv(frame, folder / f"{name}.csv")


def _metrics(found: Direct, lines: Lines) -> dict[str, float | str]:
    """Flat: sizes, counts of accepted pairs, the smallest effect that could be seen."""
    flat: dict[str, float | str] = {}
    for name, hits in (("direct", found.hits), ("marginal", found.marginal), ("control", found.control)):
        if hits is not None:
            numbers = ("n_samples", "n_tests", "n_hits", "threshold", "minimum_detectable")
            flat |= {f"{name}/{k}": float(getattr(hits, k)) for k in numbers} | {f"{name}/null": hits.null}
    if lines.stability is not None:
        flat["stability/n_stable"] = float(lines.stability.n_stable)
        flat["stability/expected_false"] = float(lines.stability.expected_false)
    if lines.latent is not None:
        flat["latent/p_any"] = float(lines.latent.p_any)
    if lines.graph is not None:
        flat["graph/earned"] = float(lines.graph.earned)
    return flat
