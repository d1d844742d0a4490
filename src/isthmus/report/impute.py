"""The report of an imputation: what is missing, who fills it best, how sure it is, what a classifier makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isthmus.impute.choice import BASELINES, FEWEST, counted, of_kind
from isthmus.impute.downstream import BOTH, ORIGINAL, SOURCE
from isthmus.impute.masks import ENTRIES, ROWS
from isthmus.plot import compare as boxes
from isthmus.plot import impute as plot
from isthmus.report.blocks import Block, CodeBlock, Facts, FigureBlock, Page, Section, TableBlock

__all__ = ["ImputeResults", "impute_page"]

KINDS = {ENTRIES: "single entries missing", ROWS: "samples without it"}
NUMBERS = {
    "mse": ".4f", "nrmse": ".3f", "r2": ".3f", "r2_feature": ".3f", "pearson_sample": ".3f", "pearson_feature": ".3f",
    "mse_raw": ".4g", "r2_raw": ".3f", "r2_feature_raw": ".3f", "balanced_accuracy": ".3f", "ordinal_error": ".3f",
    "coverage": ".3f", "width": ".3f", "seconds": ".3g", "rate": "g",
}  # fmt: skip
WORST = 3.0
"""Errors above this are drawn there; that of the mean is about 1, more where low values are lost or a few extreme."""
SHOWN = ("method", "mse", "sd", "r2", "r2_feature", "pearson_sample", "pearson_feature")
SHOWN_CALLS = ("method", "mse", "sd", "r2", "r2_feature", "balanced_accuracy", "ordinal_error")
"""Of calls; their correlations are in the figure and the file."""
WORDS = {
    "Hidden": "Known entries (or, for `modality`, whole test samples) that no method sees. By folds of samples; "
    "scaling, methods and widths are fitted on visible training entries. All methods get the same inputs.",
    "gaps, modality, random, sample, feature": "How entries are hidden: as in the real gaps; whole samples; anywhere; "
    "half of the entries of some samples; half of those of some features.",
    "mar, mnar_low": "The likelier to be hidden, the higher the sample lies on the first component of another "
    "modality; low values sooner than high ones.",
    "MSE, sd": "Mean squared error of hidden entries, in units of the training samples' standard deviation; its "
    "standard deviation over folds, repeats, patterns and rates.",
    "R²": "Over all hidden values together, against the train means (the method `mean` has 0 but for chance): what the "
    "verdict says, and what goes with the MSE by which methods are chosen. R² by feature is the mean over features, "
    "each counted alike; where few values of a feature are hidden it is noise.",
    "Pearson": "Within features and within samples, then averaged.",
    "balanced accuracy, ordinal error": "Where values are a few whole numbers: of the nearest call; and the mean "
    "distance in calls.",
    "As good": "The mean difference to the best method, fold by fold, is no larger than its standard error, corrected "
    "for training samples that folds share (Nadeau and Bengio 2003, https://doi.org/10.1023/A:1024068626366). Of these "
    "the simplest is taken.",
    "Interval": "Split conformal, by feature: the method is fitted on three quarters of the training samples, and its "
    "errors on hidden values of the rest give the width (Lei et al. 2018, https://arxiv.org/abs/1604.04173).",
    "Pooled": "Rubin's rules over draws of the filled table, residuals added (Rubin 1987).",
    "Downstream": "A classifier fitted on the filled training samples, scored on the filled test samples; means and "
    "95 % intervals over folds (of means over seeds). What a method that reads the other modality gains over the "
    "original may come from that modality: compare `source alone`.",
}


@dataclass(frozen=True)
class ImputeResults:
    """What an imputation found.

    Attributes
    ----------
    name, subtitle, verdict
        A title; size; what came of it, in words.
    missing
        modality, samples, absent, features, entries, missing.
    combinations
        A row per combination of modalities, and how many samples have it.
    level
        Of the intervals.
    parts
        Per target: `target`; `scores`, `samples`, `features`, `calibration`, `downstream`, `pooled` (tables); `choices`
        and `chosen` (kind of gap to table and to method); `components` (kind to method to n x 2); `masks` (title to
        booleans); `label`.
    recipe, versions
        Resolved, as YAML; package to version.
    """

    name: str
    subtitle: str
    verdict: list[str]
    missing: pd.DataFrame
    combinations: pd.DataFrame
    level: float
    parts: list[dict[str, Any]]
    recipe: str
    versions: dict[str, str]


def impute_page(results: ImputeResults) -> Page:
    """The verdict first; then gaps, scores, choice, intervals and downstream per modality."""
    sections = [_gaps(results)]
    for part in results.parts:
        sections += [_scores(part), _looks(part), _sure(part, results.level), _downstream(part), _pooled(part)]
    sections += [Section("Methods", (Facts(WORDS),)), _recipe(results)]
    return Page(results.name, results.subtitle, results.verdict, [s for s in sections if s.blocks])


def _gaps(results: ImputeResults) -> Section:
    caption = "What every modality lacks: samples that are absent from it, and missing entries of the others."
    blocks: list[Block] = [TableBlock(results.missing, caption, "missing")]
    if len(results.combinations) > 1:
        caption = "How many samples have which modalities."
        blocks.append(TableBlock(results.combinations, caption, "combinations"))
    for part in results.parts:
        caption = (
            f"{part['target']}: what is really missing, and what was hidden to score methods (at the first rate and "
            "repeat; of whole samples, the first fold); samples in the order of the data, features in "
            "that of the table; the colour is the share of a block of entries; above, the share of all."
        )
        blocks.append(FigureBlock(plot.mask_maps(part["masks"]), caption, f"masks-{part['target']}"))
    return Section("What is missing", tuple(blocks))


def _scores(part: dict[str, Any]) -> Section:
    target, scores = part["target"], part["scores"]
    blocks: list[Block] = []
    for kind, table in part["choices"].items():
        of = counted(of_kind(scores, kind))
        means = of.groupby("method", sort=False).mean(numeric_only=True).reset_index()
        shown = table.merge(means.drop(columns=["mse"]), on="method")
        excerpt = shown[[c for c in (*_columns(shown), "coverage", "width", "as_good") if c in shown]]
        caption = (
            f"{target}, {KINDS[kind]}: mean over folds, repeats and the patterns that count, best first; the method "
            f"that fills the real gaps is bold ({part['chosen'][kind]})."
        )
        formats = {**NUMBERS, "sd": ".3f", "width": ".2f"}  # so that a long name of a method leaves room for all
        bold = tuple(bool(t) for t in excerpt["method"] == part["chosen"][kind])
        blocks.append(TableBlock(shown, caption, f"choice-{target}-{kind}", formats, 30, excerpt, bold))
    for kind in part["choices"]:
        by = "" if kind == ROWS else " by pattern and share of entries hidden"
        caption = f"{target}, {KINDS[kind]}: error of every method{by}, a dot per fold; 1: the variance in train."
        of = of_kind(scores, kind)
        blocks.append(FigureBlock(_errors(of), caption, f"errors-{target}-{kind}"))
    keys = ["pattern", "rate", "method"]
    numeric = scores.drop(columns=["inputs", "fold", "repeat"])
    means = numeric.groupby(keys, dropna=False, sort=False).mean(numeric_only=True).reset_index()
    caption = f"{target}: every pattern and rate, mean over folds and repeats."
    columns = [c for c in ("pattern", "rate", *_columns(means), "seconds") if c in means]
    excerpt = means[columns].sort_values(["pattern", "rate", "mse"], kind="stable")
    blocks.append(TableBlock(means, caption, f"scores-{target}", NUMBERS, 120, excerpt, sortable=True))
    return Section(f"{target}: who fills it best", tuple(blocks))


def _columns(table: pd.DataFrame) -> tuple[str, ...]:
    return SHOWN_CALLS if "balanced_accuracy" in table and table["balanced_accuracy"].notna().any() else SHOWN


def _errors(scores: pd.DataFrame) -> Any:
    """MSE by method, pattern and rate."""
    order = scores.groupby("method")["mse"].mean().sort_values().index
    rows = scores.assign(
        value=np.minimum(scores["mse"], WORST),
        kind=np.where(scores["method"].isin(BASELINES), "baseline", "model"),
    )  # fmt: skip
    shares = (100 * scores["rate"]).fillna(0).round(6)
    rows["% hidden"] = shares.astype(int) if (shares % 1 == 0).all() else shares
    rows["method"] = pd.Categorical(rows["method"], categories=order)
    rows = rows.sort_values(["method", "pattern"]).astype({"method": str})
    unit = "mean squared error" + (f" (values above {WORST:g} at {WORST:g})" if scores["mse"].max() > WORST else "")
    return boxes.boxes(rows, rows="method", colours="% hidden", panels="pattern", unit=unit)


def _looks(part: dict[str, Any]) -> Section:
    target = part["target"]
    blocks: list[Block] = []
    for kind, scores in part["components"].items():
        order = [m for m in part["choices"][kind]["method"] if m in scores]
        shown = {
            "truth": scores["truth"],
            **{m: scores[m] for m in dict.fromkeys([part["chosen"][kind], *order[:4], order[-1]])},
        }
        caption = (
            f"{target}, {KINDS[kind]}: test samples of the first fold as they are (grey) and as filled, on the "
            "principal components of the training samples. What shrinks to the middle has been filled with little but "
            "the mean."
        )
        blocks.append(FigureBlock(plot.real_and_filled(shown), caption, f"pca-{target}-{kind}"))
    caption = (
        f"{target}: Pearson correlation of hidden and filled values, by sample and by feature (averaged over folds)."
    )
    blocks.append(FigureBlock(_correlations(part), caption, f"correlations-{target}"))
    return Section(f"{target}: real and filled", tuple(blocks))


def _correlations(part: dict[str, Any]) -> Any:
    both = [part[k][["kind", "method", "pearson"]].assign(of=f"by {k[:-1]}") for k in ("samples", "features")]
    rows = pd.concat(both, ignore_index=True).rename(columns={"pearson": "value", "kind": "gap"})
    rows["gap"] = rows["gap"].map({ENTRIES: "single entries", ROWS: "whole samples"})
    order = rows.groupby("method")["value"].mean().fillna(0).sort_values(ascending=False).index
    rows["method"] = pd.Categorical(rows["method"], categories=order)
    rows = rows.sort_values(["method", "of"]).astype({"method": str})
    rows["kind"] = np.where(rows["method"].isin(BASELINES), "baseline", "model")
    return boxes.boxes(rows, rows="method", colours="gap", panels="of", unit="Pearson correlation")


def _sure(part: dict[str, Any], level: float) -> Section:
    target, blocks = part["target"], list[Block]()
    rows, features = part["calibration"], part["features"]
    kinds = [k for k in part["choices"] if len(rows) and rows.loc[rows["kind"] == k, "actual"].notna().any()]
    kinds = [k for k in kinds if _judged(features, k, part["chosen"][k])]
    if kinds:
        first = {k: [part["chosen"][k], part["choices"][k]["method"].iloc[0]] for k in kinds}
        chosen = {KINDS[k]: list(dict.fromkeys(v)) for k, v in first.items()}
        caption = (
            f"{target}: how many of the hidden values of test samples lie within their intervals. On the dashed line "
            "intervals hold what they promise; grey are the other methods."
        )
        figure = plot.calibration(rows.assign(panel=rows["kind"].map(KINDS)), chosen=chosen)
        blocks.append(FigureBlock(figure, caption, f"calibration-{target}"))
    for kind in kinds:
        every = features[features["kind"] == kind].drop(columns=["kind"])
        own = every[every["method"] == part["chosen"][kind]]
        worst = own.drop(columns="method").sort_values("coverage", kind="stable").head(10)
        caption = (
            f"{target}, {KINDS[kind]}: {part['chosen'][kind]} by feature, the least covered first. {100 * level:g} % "
            f"intervals hold {own['coverage'].mean():.3f} of a feature's hidden values on average, {_range(own)} "
            "between the 5th and the 95th percentile of features. The file has all features and methods."
        )
        formats = {**NUMBERS, "pearson": ".3f"}
        blocks.append(TableBlock(every, caption, f"features-{target}-{kind}", formats, 10, worst))
    return Section(f"{target}: how sure it is", tuple(blocks))


def _judged(features: pd.DataFrame, kind: str, method: str) -> bool:
    """Whether enough values were hidden to say how much the intervals of a method hold."""
    own = features[(features["kind"] == kind) & (features["method"] == method)]
    return "n" not in own or int(own["n"].sum()) >= FEWEST


def _range(rows: pd.DataFrame) -> str:
    low, high = np.nanquantile(rows["coverage"].to_numpy(dtype=float), [0.05, 0.95])
    return f"{low:.3f} to {high:.3f}"


def _downstream(part: dict[str, Any]) -> Section:
    rows: pd.DataFrame = part["downstream"]
    if rows.empty:
        return Section("", ())
    blocks: list[Block] = []
    for kind, of in rows.groupby("kind", sort=False):
        metric = "accuracy" if "accuracy" in set(of["metric"]) else "r2"
        shown = _by_mean(of[of["metric"] == metric])
        unit = f"{metric} of {part['label']} on test samples, with 95 % intervals over folds"
        marked = _originals(shown)
        figure = plot.with_intervals(shown, names="values", panels="learner", unit=unit, marked=marked)
        caption = (
            f"{part['label']} predicted from {part['target']} ({KINDS[str(kind)]}) as it is, as filled by each method, "
            "from the other modalities alone, and from both (coloured: no method filled it; what is really missing is "
            "the train mean)."
        )
        blocks.append(FigureBlock(figure, caption, f"downstream-{part['target']}-{kind}"))
        formats = {"mean": ".3f", "lower": ".3f", "upper": ".3f"}
        name = f"downstream-{part['target']}-{kind}"
        whole, part_of = (t.drop(columns="kind") for t in (of, shown))
        blocks.append(TableBlock(whole, "The same as numbers.", name, formats, 60, part_of))
    return Section(f"{part['target']}: what a classifier makes of it", tuple(blocks))


def _by_mean(rows: pd.DataFrame) -> pd.DataFrame:
    """Learner by learner, what was read in the order of its mean over learners."""
    place = {v: k for k, v in enumerate(rows.groupby("values")["mean"].mean().sort_values(ascending=False).index)}
    first = {v: k for k, v in enumerate(sorted(set(rows["learner"]), reverse=True))}  # svm, logistic, forest
    keys = rows.assign(_learner=rows["learner"].map(first), _place=rows["values"].map(place))
    return rows.loc[keys.sort_values(["_learner", "_place"], kind="stable").index]


def _originals(rows: pd.DataFrame) -> Sequence[str]:
    return [v for v in dict.fromkeys(rows["values"]) if v in (ORIGINAL, SOURCE, BOTH)]


def _pooled(part: dict[str, Any]) -> Section:
    rows: pd.DataFrame = part["pooled"]
    if rows.empty:
        return Section("", ())
    caption = (
        f"{part['target']}: the mean of every feature over all samples from draws of the filled table, pooled by "
        "Rubin's rules, with 95 % intervals, beside the mean of what is observed; most missing information first."
    )
    shown = rows.sort_values("missing_information", ascending=False, kind="stable")
    table = TableBlock(shown, caption, f"pooled-{part['target']}", {}, 15)
    return Section(f"{part['target']}: pooled estimates", (table,))


def _recipe(results: ImputeResults) -> Section:
    versions = Facts(dict(results.versions))
    return Section("Recipe", (CodeBlock(results.recipe, "The resolved recipe."), versions))
