"""The report of a bundle: what is in it, what was kept back, and what a reader can still learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from isthmus import plot
from isthmus.plot.scores import is_baseline
from isthmus.plot.training import TOTALS, terms_of
from isthmus.report.blocks import Block, CodeBlock, Facts, FigureBlock, Items, Page, Prose, Section, TableBlock
from isthmus.report.run import NAMES

MOST_ROWS, MOST_COLUMNS = 12, 8
"""Of a table of scores on the page."""
COUNTS = ("splits", "combinations", "cohort")


@dataclass(frozen=True)
class ShareResults:
    """What a bundle holds and what was found when it was made.

    Attributes
    ----------
    lead
        The first paragraph, a sentence each.
    files, left_out
        file, class; left out, class, why.
    policy, recipe
        As YAML.
    grants, removed
        k, l, t of the samples' metadata (empty without any), and how many samples were taken out for it.
    tables, history
        As they stand in the bundle.
    audit
        What may be told of it; empty without one.
    learnable
        What a reader can still learn, a sentence each.
    statistics
        Modality to what the preparation stores of its features.
    versions
        Package -> version.
    """

    lead: list[str]
    files: pd.DataFrame
    left_out: pd.DataFrame
    policy: str
    grants: dict[str, Any]
    removed: int
    tables: dict[str, pd.DataFrame]
    history: pd.DataFrame
    audit: dict[str, Any]
    learnable: list[str]
    statistics: dict[str, Any]
    versions: dict[str, str]
    recipe: str


def share_page(results: ShareResults) -> Page:
    """The report of a bundle."""
    made = [_remains(results), _contents(results), _cohort(results), _audit(results), _training(results)]
    made += [_scores(results), _settings(results)]
    return Page("A pseudonymised bundle", "", results.lead, [s for s in made if s.blocks])


def _remains(results: ShareResults) -> Section:
    return Section("What a reader can still learn", (Items(tuple(results.learnable)),))


def _contents(results: ShareResults) -> Section:
    caption = (
        "What is in the bundle beside this report. Public: nothing of any sample. Aggregate: over many samples. "
        "Personal: rows of samples, there because the policy names them."
    )
    blocks: list[Block] = [TableBlock(results.files, caption, "files", most_rows=60)]
    if len(results.left_out):
        blocks.append(TableBlock(results.left_out, "What was left out, and why.", "left_out", most_rows=60))
    rows = [(m, s["class"], ", ".join(s["stored"]), s["what"]) for m, s in results.statistics.items()]
    frame = pd.DataFrame(rows, columns=["modality", "class", "stored", "what"])
    caption = "What the model stores of every feature to prepare new samples. These statistics are data."
    return Section("Contents", (*blocks, TableBlock(frame, caption, "statistics")))


def _cohort(results: ShareResults) -> Section:
    blocks: list[Block] = []
    if results.grants:
        facts = {"k, smallest class": results.grants["k"], "classes": results.grants["classes"]}
        facts |= {"samples": results.grants["n"], "samples taken out for it": results.removed}
        if results.grants["l"] is not None:
            facts |= {
                "l, fewest distinct values": results.grants["l"],
                "t, largest distance": round(results.grants["t"], 3),
            }
        blocks.append(Facts({k: str(v) for k, v in facts.items()}))
    note = "Small counts are suppressed (a dash), others rounded."
    for name, table in results.tables.items():
        if name in COUNTS or name.startswith("levels_"):
            what = f"Samples by {table['column'].iloc[0]} and split" if "column" in table else f"Samples: {name}"
            blocks.append(TableBlock(table, f"{what}. {note}", name, most_rows=60))
    return Section("Cohort", tuple(blocks))


def _audit(results: ShareResults) -> Section:
    if not results.audit:
        return Section("Audit", (Prose("No audit was made: nobody has tried what this model gives away."),))
    columns = [
        "attack",
        "target",
        "auc",
        "auc_lower",
        "auc_upper",
        "tpr_at_fpr_01",
        "tpr_at_fpr_01_lower",
        "tpr_at_fpr_01_upper",
    ]
    frame = pd.DataFrame(results.audit["membership"])
    caption = (
        "Membership inference: how well an attacker tells training samples from others (AUC, .50 is chance), and how "
        "many are found at one false alarm in a hundred; 95 % intervals."
    )
    blocks: list[Block] = [TableBlock(frame[[c for c in columns if c in frame]], caption, "membership")]
    for key, caption in (
        ("features", "Features told from their statistics alone, between two halves of the samples."),
        ("attributes", "Annotations told from embeddings."),
    ):
        if rows := results.audit[key]:
            blocks.append(TableBlock(pd.DataFrame(rows), caption, f"audit_{key}", most_rows=40))
    return Section("Audit", tuple(blocks))


def _training(results: ShareResults) -> Section:
    if results.history.empty or not any(t in TOTALS or t for t in terms_of(results.history)):
        return Section("Training", ())
    caption = "The loss and each of its terms, on train (dashed) and valid samples. Panels differ in scale."
    return Section("Training", (FigureBlock(plot.loss_curves(results.history), caption, "loss"),))


def _scores(results: ShareResults) -> Section:
    blocks: list[Block] = []
    for name, table in results.tables.items():
        if name in COUNTS or name.startswith("levels_"):
            continue
        title = name.replace("_", " ")
        if "representation" in table:
            table = table.assign(representation=[NAMES.get(str(r), str(r)) for r in table["representation"]])
        if name == "benchmark" and {"label", "learner", "mean"} <= set(table.columns):
            blocks.append(
                FigureBlock(plot.benchmark(table), "Scores on the test samples, with intervals.", "benchmark")
            )
        bold = tuple(not is_baseline(str(r)) for r in table["representation"]) if "representation" in table else ()
        caption = f"From the run: {title}. Counts are rounded, rows of few samples left out."
        shown = table.iloc[:MOST_ROWS, :MOST_COLUMNS]
        caption += " The whole table is in tables/." if shown.shape != table.shape else ""
        blocks.append(TableBlock(table, caption, name, excerpt=shown, bold=bold[:MOST_ROWS]))
    return Section("Scores", tuple(blocks))


def _settings(results: ShareResults) -> Section:
    blocks: tuple[Block, ...] = (
        CodeBlock(results.policy, "The policy, without what was dropped."),
        CodeBlock(results.recipe, "The recipe; places of files and columns that are not shared are withheld."),
        Facts(results.versions),
    )
    return Section("Policy, recipe and versions", blocks)
