"""Confounders in the report of a run: what probes still find of them, and what of the labels holds beyond them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.plot.confounding import MOST_DIMENSIONS, confounder_probes, partial_correlations, sites
from isthmus.plot.scores import main_metric
from isthmus.plot.style import printable
from isthmus.report.blocks import Block, FigureBlock, Items, Section, TableBlock

__all__ = ["baseline_ahead", "confounding_section", "said_of_confounders"]

TITLE = "Confounders"
LEAD = (
    "Fresh probes, a linear one and a random forest, look for each confounder in the embedding of test samples. Here "
    "lower is better, but only where the labels stay: an embedding of noise holds no site. A linear probe alone does "
    "not do: taking out the means of sites hides them from it and not from the forest."
)
NAMES = {"pca": "PCA", "pca_without": "PCA, regressed out", "raw": "raw features", "uncontrolled": "uncontrolled model"}
CHANCE = {"auc": 0.5, "r2": 0.0}
SYMBOL = {"auc": "AUC", "r2": "R²"}
SHOWN = ("confounder", "learner", "fitted", "representation", "mean", "lower", "upper", "difference")
HALF = 0.0005
"""Scores closer than this print alike."""
CLEAR = 0.05
"""By how much the forest has to find more than the linear probe for a sentence of its own."""


def confounding_section(
    found: pd.DataFrame, labels: pd.DataFrame, partial: pd.DataFrame, mixing: pd.DataFrame, *, model: str
) -> Section:
    """Sentences, figures and tables; empty where nothing was looked for.

    Parameters
    ----------
    found
        `representation`, `confounder`, `learner`, `fitted`, `metric`, `mean`, `lower`, `upper`, `difference`, ...
    labels
        As `evaluate.across_sites` gives.
    partial
        As `evaluate.partial_correlation` gives, with `representation`.
    mixing
        `representation`, `confounder`, `mixing`, `n`.
    model
        Its name among the representations.
    """
    if all(t.empty for t in (found, labels, partial, mixing)):
        return Section(TITLE, ())
    said = [*said_of_confounders(found, labels, model=model), *baseline_ahead(found, labels, model=model)]
    blocks: list[Block] = [Items(tuple(said))]
    if not found.empty:
        blocks += _probes(_named(found), model)
    if not labels.empty:
        blocks += _labels(_named(labels), model)
    own = partial[partial["representation"] == model] if not partial.empty else partial
    if not own.empty:
        caption = (
            "What each latent dimension owes to the confounder with the label held fixed, and to the label with the "
            "confounder held fixed; dashed: the size to expect by chance."
        )
        if own["dimension"].nunique() > MOST_DIMENSIONS:
            caption += f" The first {MOST_DIMENSIONS} of {own['dimension'].nunique()} dimensions are drawn."
        blocks.append(FigureBlock(partial_correlations(own), caption, "partial_correlations"))
        table = _named(partial)
        caption = "Partial correlations of the latent dimensions; p of an F test, adjusted over dimensions."
        blocks.append(TableBlock(table, caption, "partial_correlations", _three(table), most_rows=6))
    if not mixing.empty:
        table = _named(mixing)
        bold = tuple(r == model for r in table["representation"])
        caption = "Mixing of each confounder among the nearest neighbours of test samples: 0 apart, 1 mixed."
        blocks.append(TableBlock(table, caption, "confounder_mixing", _three(table), most_rows=30, bold=bold))
    return Section(TITLE, tuple(blocks), LEAD)


def _probes(found: pd.DataFrame, model: str) -> list[Block]:
    main = main_metric(found.rename(columns={"confounder": "label"})).rename(columns={"label": "confounder"})
    shown = main[[c for c in SHOWN if c in main]].rename(columns={"fitted": "probe fitted on"})
    bold = tuple(r == model for r in shown["representation"])
    caption = (
        "How well each confounder is found in the model's embedding (filled) and in the baselines (hollow); lower is "
        "better, the dashed line is chance. Fresh: probes cross-validated among the test samples."
    )
    figure = FigureBlock(confounder_probes(found), caption, "confounder_probes")
    caption = (
        "Scores of probes fitted on train samples, or cross-validated among test samples, with intervals; differences "
        "are to PCA. PCA, regressed out: of values less what a linear regression on the confounders says of them."
    )
    table = TableBlock(found, caption, "confounder_probes", _three(shown), most_rows=60, excerpt=shown, bold=bold)
    return [figure, table]


def _labels(labels: pd.DataFrame, model: str) -> list[Block]:
    caption = (
        "Labels read by a linear probe: all sites together, the same predictions scored inside each site, and at sites "
        "that the probe was not fitted on (the model was). The bar is the interval of the last."
    )
    figure = FigureBlock(sites(labels), caption, "sites")
    keys = ["label", "confounder", "representation"]
    wide = labels.pivot_table(index=keys, columns="way", values="value", sort=False)
    ways = [w for w in ("mixed", "within", "across") if w in wide]
    wide = wide[ways].reset_index().rename_axis(columns=None)
    bold = tuple(r == model for r in wide["representation"])
    caption = "Balanced accuracy (of values: R²) of the labels; within and across are means over sites."
    table = TableBlock(labels, caption, "sites", _three(wide), most_rows=40, excerpt=wide, bold=bold)
    return [figure, table]


def said_of_confounders(found: pd.DataFrame, labels: pd.DataFrame, *, model: str) -> list[str]:
    """A sentence or two per confounder, and one per label and confounder.

    Parameters
    ----------
    found, labels, model
        As `confounding_section` takes them.
    """
    said = []
    for confounder in dict.fromkeys(found["confounder"]) if len(found) else ():
        of = found[(found["confounder"] == confounder) & found["metric"].isin(CHANCE)]
        said += _of_probes(printable(confounder), of, model)
    known = set(found["confounder"]) if len(found) else set()
    away = [s for s in dict.fromkeys(labels["confounder"]) if s not in known] if len(labels) else []
    said += [f"{printable(s)} cannot be looked for: no test sample has a value of it that train has." for s in away]
    if len(labels):
        for (label, site), rows in labels.groupby(["label", "confounder"], sort=False):
            said += _of_label(printable(label), printable(site), rows, model)
    return said


def _of_probes(confounder: str, of: pd.DataFrame, model: str) -> list[str]:
    """By probes fitted on train where there are such, else by fresh ones."""
    of = of[of["fitted"] == ("train" if (of["fitted"] == "train").any() else "test")]
    rows: dict[tuple[str, str], dict[str, Any]] = {
        (str(r["representation"]), str(r["learner"])): {str(k): v for k, v in r.items()} for r in of.to_dict("records")
    }
    linear, forest = (rows.get((model, k)) for k in ("linear", "forest"))
    if linear is None or forest is None:
        return [f"{confounder} could not be looked for in the embedding."]
    unit, chance = SYMBOL[linear["metric"]], CHANCE[linear["metric"]]
    text = f"{confounder}: in {model} a linear probe finds it with {unit} {_score(linear)}, a random forest with "
    text += _score(forest)
    for who, place in (("pca", "in PCA"), ("pca_without", "in PCA after regressing it out")):
        pair = [rows[who, k]["mean"] for k in ("linear", "forest") if (who, k) in rows]
        if len(pair) == 2:
            text += f"; {place} with {_number(pair[0])} and {_number(pair[1])}"
    said = [f"{text} ({chance:g} is chance)."]
    if forest["lower"] > chance and not linear["lower"] > chance:
        said.append(f"{confounder} is hidden from the linear probe only: the forest still finds it.")
    elif forest["mean"] - linear["mean"] > CLEAR and forest["lower"] > chance:
        said.append(f"The forest finds more of {confounder} than the linear probe: what is left is not linear.")
    differences = [r.get("difference_upper", np.nan) for r in (linear, forest)]
    there = any(r["lower"] > chance for r in (linear, forest))
    if there and ("pca", "linear") in rows and not any(d < 0 for d in differences):
        said.append(f"{model} does not hold less of {confounder} than PCA by either probe.")
    return said


def _of_label(label: str, site: str, rows: pd.DataFrame, model: str) -> list[str]:
    by = rows.set_index(["representation", "way"])
    ours = [by["value"].get((model, way), np.nan) for way in ("mixed", "within", "across")]
    if np.isnan(ours[2]):
        return [f"{label} could not be scored across {site}: too few values of {site} hold several of its classes."]
    unit = SYMBOL["r2"] if (rows["metric"] == "r2").any() else "balanced accuracy"
    text = f"{label}, read off {model} at a {site} that the probe has not seen: {unit} {_number(ours[2])}"
    text += f" (inside each {site} {_number(ours[1])}, all together {_number(ours[0])})"
    lower, upper = by.loc[(model, "across"), ["lower", "upper"]]
    for who, name in (("pca", "PCA"), ("pca_without", f"PCA after regressing {site} out")):
        theirs = by["value"].get((who, "across"), np.nan)
        if not np.isnan(theirs):
            within = lower <= theirs <= upper
            text += f"; {name} {_number(theirs)}" + (
                "" if within else f" ({model if ours[2] > theirs else 'PCA'} is ahead)"
            )
    return [f"{text}."]


def baseline_ahead(found: pd.DataFrame, labels: pd.DataFrame, *, model: str) -> list[str]:
    """A sentence for every confounder that plain regression takes out better than the model, labels no worse off.

    Parameters
    ----------
    found, labels, model
        As `confounding_section` takes them.
    """
    said = []
    for confounder in dict.fromkeys(found["confounder"]) if len(found) else ():
        of = found[(found["confounder"] == confounder) & found["metric"].isin(CHANCE)]
        of = of[of["fitted"] == ("train" if (of["fitted"] == "train").any() else "test")]
        ours = of[of["representation"] == model]
        if not (ours["lower"] > ours["metric"].map(CHANCE)).any():
            continue
        worst = of.groupby("representation")["mean"].max()
        if not {model, "pca_without"} <= set(worst.index) or worst["pca_without"] > worst[model] - HALF:
            continue
        across = labels[(labels["confounder"] == confounder) & (labels["way"] == "across")] if len(labels) else labels
        by = across.pivot_table(index="label", columns="representation", values="value") if len(across) else across
        if len(by):
            by = by.reindex(columns=[model, "pca_without"]).dropna()
            if not len(by) or not (by["pca_without"] >= by[model] - HALF).all():
                continue
        name = printable(confounder)
        kept = f", and labels are read across {name} as well or better" if len(by) else ""
        of_both = f"({_number(worst['pca_without'])} against {_number(worst[model])} by the better probe)"
        said.append(f"Regressing {name} out before PCA leaves less of it than {model} {of_both}{kept}.")
    return said


def _score(row: dict[str, Any]) -> str:
    if np.isnan(row["lower"]):
        return _number(row["mean"])
    return f"{_number(row['mean'])} ({_number(row['lower'])} to {_number(row['upper'])})"


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-0.", "\u2212.").replace("0.", ".") if abs(value) < 1 else f"{value:.3f}"


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """Names that a reader knows, the model first."""
    shown = frame.assign(representation=[NAMES.get(str(r), str(r)) for r in frame["representation"]])
    return shown.reset_index(drop=True)


def _three(frame: pd.DataFrame) -> dict[str, str]:
    return {str(c): ".3f" for c in frame.select_dtypes("float").columns}
