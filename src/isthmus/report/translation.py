"""Translations between modalities in the report of a run, beside baselines that need no network."""

from __future__ import annotations

import pandas as pd

from isthmus.plot.reconstruction import reconstruction_by_feature
from isthmus.plot.scores import is_baseline
from isthmus.plot.translation import LOWEST, MOST_PANELS, translations
from isthmus.report.blocks import Block, FigureBlock, Section, TableBlock

NAMES = {
    "ridge": "ridge",
    "knn": "kNN",
    "nearest": "nearest neighbour",
    "mean": "train mean",
    "group": "mean of the true class",
    "true": "measured values",
}
SHOWN = (
    *("source", "target", "representation", "r2", "r2_sd", "r2_within", "pearson_feature", "pearson_within"),
    *("predicted", "pearson_within_pathways", "predicted_pathways", "pearson_sample", "mse", "ssim"),
)
MOST_HISTOGRAMS = 6
TITLE = "Translation"
LEAD = (
    "Each modality is predicted from another alone, on test samples that have both. A translator is worth its "
    "training where it beats ridge regression and the neighbours, and has learnt more than the class of a sample "
    "where R² within classes is above 0."
)


def translation_section(
    scores: pd.DataFrame,
    transfer: pd.DataFrame,
    by_feature: pd.DataFrame,
    by_pathway: pd.DataFrame | None = None,
    *,
    model: str,
) -> Section:
    """A figure and a table of scores, what labels are read off the translations, features; empty without scores.

    Parameters
    ----------
    scores
        A row per `source`, `target` and `representation`.
    transfer
        `source`, `target`, `representation`, `label`, `metric`, `value`.
    by_feature
        `source`, `target`, `feature`, `r2`, ..., of the model.
    by_pathway
        `source`, `target`, `term`, `size`, `pearson`, ..., of the model.
    model
        Its name among the representations.
    """
    if scores.empty:
        return Section(TITLE, ())
    named = _named(scores)
    shown = named[[c for c in SHOWN if c in named]]
    bold = tuple(r == model for r in shown["representation"])
    caption = "R² of the model (filled) and of its baselines (hollow) on the test samples; the dashed line is 0."
    if (pairs := scores[["source", "target"]].drop_duplicates().shape[0]) > MOST_PANELS:
        caption += f" {MOST_PANELS} of {pairs} pairs are drawn."
    if (scores["r2"] < LOWEST).any():
        caption += f" What is below \u2212{-LOWEST:g} stands there, with its number."
    blocks: list[Block] = [FigureBlock(translations(named), caption, "translation")]
    caption = "Translations on the test samples."
    if "r2_within" in named:
        caption += " The mean of the true class is told the class of every test sample: a yardstick, not a rival."
    formats = {str(c): ".3f" for c in shown.select_dtypes("float").columns}
    blocks.append(TableBlock(named, caption, "translation", formats, most_rows=84, excerpt=shown, bold=bold))
    if not (read := _transfer(transfer)).empty:
        label = transfer["label"].iloc[0]
        caption = (
            f"AUC of {label}, read off the translated test samples by a logistic regression that learnt it from "
            "measured train samples; last, the same of measured test samples, which may know less than the source does."
        )
        blocks.append(TableBlock(transfer, caption, "label_transfer", _three(read), most_rows=40, excerpt=read))
    if not by_feature.empty:
        titled = by_feature.assign(modality=by_feature["source"] + " → " + by_feature["target"])
        few = titled[titled["modality"].isin(titled["modality"].unique()[:MOST_HISTOGRAMS])]
        caption = "R² of every translated feature on the test samples; the line is the median."
        blocks.append(FigureBlock(reconstruction_by_feature(few), caption, "translation_by_feature"))
        columns = [c for c in titled if c not in ("source", "target", "modality")]
        every = titled[["source", "target", *columns]].sort_values("r2", ascending=False, kind="stable")
        caption = "The ten best translated features."
        blocks.append(TableBlock(every, caption, "translation_by_feature", _three(every), most_rows=10))
    if by_pathway is not None and not by_pathway.empty:
        blocks.append(_pathways(by_pathway))
    return Section(TITLE, tuple(blocks), LEAD)


def _pathways(by_pathway: pd.DataFrame) -> TableBlock:
    """The best predicted pathways of all pairs."""
    columns = [c for c in by_pathway if c not in ("source", "target", "p", "q")]
    every = by_pathway[["source", "target", *columns]].sort_values("pearson_within", ascending=False, kind="stable")
    caption = "The ten best predicted pathways: the mean of their standardised members, within classes."
    return TableBlock(every, caption, "translation_by_pathway", _three(every), most_rows=10)


def _transfer(transfer: pd.DataFrame) -> pd.DataFrame:
    """A row per pair, a column per representation."""
    if transfer.empty or not (transfer["metric"] == "auc").any():
        return pd.DataFrame()
    rows = _named(transfer[transfer["metric"] == "auc"])
    order = list(dict.fromkeys(rows["representation"]))
    order = sorted(order, key=lambda r: (is_baseline(r), r == "train mean"))
    wide = rows.pivot_table(index=["source", "target"], columns="representation", values="value", sort=False)
    return wide[[c for c in order if c in wide and c != "train mean"]].reset_index().rename_axis(columns=None)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(representation=[NAMES.get(str(r), str(r)) for r in frame["representation"]])


def _three(frame: pd.DataFrame) -> dict[str, str]:
    return {str(c): ".3f" for c in frame.select_dtypes("float").columns}
