"""The report of a test of all pairs: what could be seen, what survives the groups, who goes with whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isthmus.plot import associate as plot
from isthmus.plot.associate import short_name
from isthmus.report.blocks import (
    Block,
    CodeBlock,
    Facts,
    FigureBlock,
    Items,
    Page,
    Prose,
    ScatterBlock,
    Section,
    TableBlock,
)

__all__ = ["AssociateResults", "Map", "associate_page"]

Drawn = list[tuple[pd.Series, pd.Series, str]]
NUMBERS = {
    "rho": "+.3f", "rho_marginal": "+.3f", "lower": "+.3f", "upper": "+.3f", "needed alone": ".3f", "frequency": ".2f",
    "p": ".2e", "p_refit": ".2e", "p_tied": ".2e", "q": ".2g", "largest accepted p": ".2e", "score": ".4g",
}  # fmt: skip
MOST_INTERVALS = 25
MOST_LISTED = 1000
LONGEST = 28
WORDS = {
    "Minimum detectable effect": "The correlation that one pair needs to be accepted if it were the only link among "
    "all pairs tested; and the true correlation that reaches it in 80 % of such studies (Fisher's transformation).",
    "p": "Two-sided. exact: the permutation distribution of ranks without ties; permutation: pooled over all pairs of "
    "permuted samples, within groups where these are known; t: Student's t.",
    "q": "The smallest false discovery rate at which the pair is accepted.",
    "Groups taken out": "Group means of the ranks (or values) are subtracted before they are correlated, so that "
    "features that merely differ between the same groups no longer correlate. rho_marginal is the correlation as the "
    "samples stand.",
    "Control": "The same test after the samples of one modality are permuted: what it accepts is chance.",
    "A correlation is no cause": "A pair may go together by something that was not measured, or not taken out.",
    "Targets": "Intervals are Fisher's, with the variance of Bonett and Wright (2000) for ranks, each by itself: pairs "
    "that were picked because they are large are smaller in truth. q is within one target.",
}


@dataclass(frozen=True)
class Map:
    """Points in two dimensions, what is known of them, what they are and by what they are placed."""

    xy: pd.DataFrame
    about: pd.DataFrame
    what: str
    by: str


@dataclass(frozen=True)
class AssociateResults:
    """What a test of all pairs found.

    Attributes
    ----------
    name, subtitle, verdict
        A title; size; what came of it, in words.
    between, unit
        The two modalities, and what the correlation is called.
    summary
        A row per test: samples, pairs, accepted, ...
    volcano, thresholds, p_values
        For the figures of the same names.
    hits, lost
        Accepted pairs; pairs that are accepted as the samples stand and not with the groups taken out.
    pairs
        The first of both, sample by sample.
    group
        What samples are coloured by, or None.
    targets, level
        Features ranked for targets, and the level of their intervals.
    modules, module_table
        Pairs within the largest modules; the summary of all.
    lines
        Further lines of evidence: `stability`, `latent`, `graph`, `enrichment`, `external`.
    evidence
        Accepted pairs with every line of evidence.
    maps, obs
        Maps of samples and of features; annotations of the samples.
    recipe, versions
        Resolved, as YAML; package to version.
    """

    name: str
    subtitle: str
    verdict: list[str]
    between: tuple[str, str]
    unit: str
    summary: pd.DataFrame
    volcano: pd.DataFrame
    thresholds: dict[str, float]
    p_values: dict[str, tuple[np.ndarray, np.ndarray]]
    hits: pd.DataFrame
    lost: pd.DataFrame
    pairs: tuple[Drawn, Drawn]
    group: pd.Series | None
    targets: pd.DataFrame
    level: float
    modules: list[tuple[str, pd.DataFrame]]
    module_table: pd.DataFrame
    lines: Any
    evidence: pd.DataFrame
    maps: list[Map]
    obs: pd.DataFrame
    recipe: str
    versions: dict[str, str]


def associate_page(results: AssociateResults) -> Page:
    """The verdict first; then all pairs, the accepted ones, targets, network, further evidence, maps."""
    sections = [
        _all_pairs(results), _accepted(results), _lost(results), _targets(results), _network(results),
        _stability(results), _latent(results), _graph(results), _evidence(results), _maps(results),
        Section("Methods", (Facts(WORDS),)), _recipe(results),
    ]  # fmt: skip
    return Page(results.name, results.subtitle, results.verdict, [s for s in sections if s.blocks])


def _all_pairs(r: AssociateResults) -> Section:
    caption = "What was tested, and what a pair alone would need; a dash where no pair could be accepted alone."
    several = len(r.p_values) > 1
    volcano = (
        "Every accepted pair (of very many, some) and a sample of all pairs, by correlation and p; dashed: the largest "
        "accepted p. Of as many samples p is a function of the correlation, so that the points lie on a curve."
        + (" Orange on the left: pairs that do not survive when groups are taken out." if several else "")
    )
    chance = (
        "p of all pairs in 40 bins, and the same with the samples of one modality permuted. Chance alone gives equal "
        "shares; a peak at the left is what there is to find, and where groups are not taken out, what groups do."
    )
    blocks: tuple[Block, ...] = (
        TableBlock(r.summary, caption, "tests", NUMBERS),
        FigureBlock(plot.volcano(r.volcano, unit=r.unit, threshold=r.thresholds), volcano, "volcano"),
        FigureBlock(plot.p_values(r.p_values), chance, "p-values"),
    )
    return Section("All pairs", blocks)


def _listed(
    r: AssociateResults, table: pd.DataFrame, caption: str, name: str, *, rows: int, whole: str,
    excerpt: Sequence[str] | None = None,
) -> TableBlock:  # fmt: skip
    """A table of pairs: its first thousand rows as csv, its first `rows` on the page."""
    named = {"x": r.between[0], "y": r.between[1]}
    more = f" (the first {MOST_LISTED:,} of {len(table):,}; all are in {whole})" if len(table) > MOST_LISTED else ""
    part = table.head(MOST_LISTED)
    alike = "n" in part and part["n"].nunique() == 1  # said above, for all
    shown = part.drop(columns=["n"] if alike else []) if excerpt is None else part[[c for c in excerpt if c in part]]
    shown = shown.assign(**{c: _short(shown[c]) for c in ("x", "y", "feature") if c in shown}).rename(columns=named)
    return TableBlock(part.rename(columns=named), f"{caption}{more}.", name, NUMBERS, rows, shown)


def _short(names: pd.Series) -> list[str]:
    """Names for a narrow column; of a long one the end, which is what tells lineages apart."""
    return [short_name(n, LONGEST) for n in names]


def _scattered(r: AssociateResults, drawn: Drawn, caption: str, name: str) -> FigureBlock:
    coloured = "" if r.group is None else f", coloured by {r.group.name}"
    note = f"{caption}{coloured}; prepared values. A pair that is only a group effect shows as groups side by side."
    return FigureBlock(plot.pairs(drawn, r.group), note, name)


def _accepted(r: AssociateResults) -> Section:
    if r.hits.empty:
        return Section("Accepted pairs", (Prose("No pair is accepted."),))
    caption = "The accepted pairs, the smallest p first"
    blocks: list[Block] = [_listed(r, r.hits, caption, "hits", rows=25, whole="hits.parquet")]
    if r.pairs[0]:
        beside = ", with rho (in brackets as the samples stand)" if "rho_marginal" in r.hits else ", with rho"
        blocks.append(_scattered(r, r.pairs[0], f"The first accepted pairs, sample by sample{beside}", "pairs"))
    return Section("Accepted pairs", tuple(blocks))


def _lost(r: AssociateResults) -> Section:
    if r.lost.empty:
        return Section("", ())
    caption = "Pairs that are accepted as the samples stand and not once groups are taken out, the smallest p first"
    blocks: list[Block] = [_listed(r, r.lost, caption, "lost", rows=10, whole="marginal_hits.parquet")]
    if r.pairs[1]:
        blocks.append(_scattered(r, r.pairs[1], "The first of these, sample by sample", "lost-pairs"))
    return Section("What the groups explain", tuple(blocks))


def _targets(r: AssociateResults) -> Section:
    blocks: list[Block] = []
    for target, of in r.targets.groupby("target", sort=False) if len(r.targets) else ():
        marginal = "rho_marginal" if "rho_marginal" in of else None
        hollow = "; hollow: as the samples stand" if marginal else ""
        caption = (
            f"{target}: the first {min(len(of), MOST_INTERVALS)} of {len(of):,} features of {r.between[0]}, with "
            f"{100 * r.level:g} % intervals{hollow}. All are in targets.parquet."
        )
        figure = plot.intervals(of.head(MOST_INTERVALS), names="feature", unit=r.unit, marginal=marginal)
        blocks.append(FigureBlock(figure, caption, f"target-{target}"))
        table = of.drop(columns="target")
        caption = f"{target}: the same as numbers"
        blocks.append(_listed(r, table, caption, f"target-{target}", rows=15, whole="targets.parquet"))
    return Section("Targets", tuple(blocks))


def _network(r: AssociateResults) -> Section:
    if r.module_table.empty:
        return Section("", ())
    caption = (
        "The modules with most pairs: features that are joined more with each other than with others, of each at most "
        "36; the best connected are named. Dashed: one rises as the other falls."
    )
    hubs = r.module_table.assign(**{c: _short(r.module_table[c].fillna("")) for c in ("hub_x", "hub_y")})
    blocks: list[Block] = [
        FigureBlock(plot.modules(r.modules, sides=r.between), caption, "modules"),
        TableBlock(r.module_table, "All modules; features are in modules.csv.", "modules", NUMBERS, 12, hubs),
    ]
    enrichment = r.lines.enrichment
    if len(enrichment):
        caption = "Annotated sets that a module holds more of than chance (hypergeometric test, q over all)."
        some = enrichment[enrichment["overlap"] > 0]
        blocks.append(TableBlock(enrichment, caption, "enrichment", NUMBERS, 20, some))
    return Section("Network", tuple(blocks))


def _stability(r: AssociateResults) -> Section:
    found = r.lines.stability
    if found is None:
        return Section("", ())
    caption = (
        f"Pairs by how often they are among the best of half of the samples; stable from {found.threshold:.2f} on, of "
        f"which at most {found.expected_false:.2g} are expected by chance"
    )
    table = _listed(r, found.table, caption, "stability", rows=20, whole="stability.csv")
    return Section("Stability", (Items(tuple(found.words)), table))


def _latent(r: AssociateResults) -> Section:
    found = r.lines.latent
    if found is None:
        return Section("", ())
    caption = "Pairs that go together by way of the latent dimensions, the largest score first"
    table = _listed(r, found.table, caption, "latent", rows=20, whole="latent.csv")
    return Section("By way of latent dimensions", (Items(tuple(found.words)), table))


def _graph(r: AssociateResults) -> Section:
    found = r.lines.graph
    if found is None:
        return Section("", ())
    formats = {str(c): ".3f" for c in found.judgement.select_dtypes("number")}
    blocks: tuple[Block, ...] = (
        Items(tuple(found.words)),
        TableBlock(found.judgement, "Every ranking, judged by samples that it did not see.", "judgement", formats, 20),
        _listed(r, found.table, "The strongest pairs by what ranks them best", "graph", rows=15, whole="graph.csv"),
    )
    return Section("Refined by a graph network", blocks)


def _evidence(r: AssociateResults) -> Section:
    if r.evidence.empty:
        return Section("", ())
    weights = r.evidence.attrs.get("weights", {})
    said = ", ".join(f"{k} {v:.2f}" for k, v in weights.items())
    caption = (
        "What each line of evidence says of the pairs that any of them lists (a dash: nothing). In every line pairs "
        "are ranked from 1 (strongest) to 0; combined is the mean of these ranks, by weight: " + said
    )
    columns = ["x", "y", "rank", "combined", "lines", *weights]
    table = _listed(r, r.evidence, caption, "evidence", rows=20, whole="evidence.csv", excerpt=columns)
    return Section("Evidence", (table,))


def _maps(r: AssociateResults) -> Section:
    blocks: list[Block] = []
    for k, m in enumerate(r.maps):
        by = f" {m.by}" if m.by else ""
        caption = f"{m.what[:1].upper()}{m.what[1:]}{by}. Distances between far points say little."
        colour = "module" if "module" in m.about else None
        if r.group is not None and r.group.name in m.about:
            colour = str(r.group.name)
        blocks.append(ScatterBlock(m.xy, m.about, m.xy.index, caption, f"map-{k + 1}", colour))
    return Section("Maps", tuple(blocks))


def _recipe(r: AssociateResults) -> Section:
    return Section("Recipe", (CodeBlock(r.recipe, "The resolved recipe."), Facts(dict(r.versions))))
