"""The report of an audit: what attacks on a model find, what would lower it, and how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isthmus.plot import audit as plot
from isthmus.report.blocks import Block, CodeBlock, Facts, FigureBlock, Items, Page, Section, TableBlock
from isthmus.report.private import privacy_section

__all__ = ["AuditResults", "audit_page"]

WORDS = {
    "Membership": "Whether a sample was in training. AUC: how often a member looks more like one than another sample "
    "does; .5 is chance. `tpr_at_fpr_01`: the share of members found where one other sample in a hundred is taken for "
    "one (.01 is chance); of few samples, those that lie above all others. Intervals: 95 %, a bootstrap over samples.",
    "Threshold": "Samples of low loss (of each modality, and of heads) are taken for members (Yeom et al. 2018, https://arxiv.org/abs/1709.01604).",
    "Likelihood ratio": "The recipe is fitted again on random halves; a sample is a member if its loss looks more as "
    "in the refits that had it than in those that had not (LiRA with few refits: Carlini et al. 2022, "
    "https://arxiv.org/abs/2112.03570).",
    "This model, its recipe": "The very model of the run, its training samples against its held-out ones; and the mean "
    "over the refits, each attacked with the help of the others.",
    "Annotations": "A linear model learns each annotation from the embeddings of training samples and predicts those "
    "of held-out ones; the same from the data, and from all other annotations together. What is told beyond the other "
    "annotations comes from the embedding.",
    "Features": "The steps of the recipe are fitted on one half of the samples, as a model that is given away, and on "
    "the other half, as a public cohort with names; their stored statistics are matched (Kuhn 1955).",
    "What this is not": "A proof. Attacks that are not tried here may find more; private training alone bounds all.",
}


@dataclass(frozen=True)
class AuditResults:
    """What an audit found: tables and arrays, as `isthmus.share.audit_report.Report` has them."""

    name: str
    subtitle: str
    verdict: list[str]
    remedies: list[str]
    membership: pd.DataFrame
    attributes: pd.DataFrame
    features: pd.DataFrame
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]]
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    privacy: Mapping[str, Any] | None
    recipe: str
    versions: Mapping[str, str]


def audit_page(results: AuditResults) -> Page:
    """The verdict first, then what would lower it; then every attack."""
    sections = [
        Section("What would lower it", (Items(tuple(results.remedies)),)),
        _membership(results),
        *([_attributes(results)] if len(results.attributes) else []),
        *([_features(results)] if len(results.features) else []),
        *([privacy_section(results.privacy)] if results.privacy else []),
        Section("How it was measured", (Facts(WORDS),)),
        Section("Recipe", (CodeBlock(results.recipe, "The recipe of the run."), Facts(dict(results.versions)))),
    ]
    return Page(results.name, results.subtitle, results.verdict, sections)


def _membership(results: AuditResults) -> Section:
    others = max((int((~member).sum()) for member, _ in results.scores.values()), default=1)
    formats = {str(c): ".3f" for c in results.membership if str(c).startswith(("auc", "tpr"))}
    table = results.membership.assign(
        auc=_with_interval(results.membership, "auc"), found=_with_interval(results.membership, "tpr_at_fpr_01")
    )
    excerpt = table[["attack", "target", "auc", "found", "members", "others"]].rename(
        columns={"found": "found at 1 % false alarms"}
    )
    caption = (
        "Who was in training: each attack on this model and, on average, on refits of its recipe (95 % intervals)."
    )
    blocks: tuple[Block, ...] = (
        TableBlock(results.membership, caption, "membership", formats, 20, excerpt),
        FigureBlock(
            plot.curves(results.curves, others=others),
            "Members found against others taken for members; both axes logarithmic, since an attacker who is sure of "
            "few is dangerous to those few.",
            "roc",
        ),
        FigureBlock(
            plot.histograms(results.scores), "Scores of members and of others; apart where members are told.", "scores"
        ),
    )
    return Section("Who was in training", blocks)


def _with_interval(rows: pd.DataFrame, name: str) -> list[str]:
    parts = zip(rows[name], rows[f"{name}_lower"], rows[f"{name}_upper"], strict=True)
    return [f"{v:.3f} ({low:.3f} to {high:.3f})" for v, low, high in parts]


def _attributes(results: AuditResults) -> Section:
    formats = dict.fromkeys(["embedding", "lower", "upper", "data", "other annotations"], ".3f") | {"majority": ".1f"}
    caption = "Annotations of held-out samples, predicted from their embedding and from what is known without it."
    blocks: tuple[Block, ...] = (
        FigureBlock(plot.inferred(results.attributes), f"{caption} Lines: 95 % intervals.", "attributes"),
        TableBlock(results.attributes, "The same as numbers.", "attributes", formats, 30),
    )
    return Section("What embeddings tell of people", blocks)


def _features(results: AuditResults) -> Section:
    caption = (
        "The share of features that their stored statistics alone give their own name; 'kept by both': features that "
        "the steps keep in both halves. Empty where the steps store no statistic of a feature."
    )
    formats = {"matched": ".3f", "chance": ".2g"}
    return Section("Which feature is which", (TableBlock(results.features, caption, "features", formats),))
