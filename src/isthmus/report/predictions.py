"""Heads in the report of a run: what they predict of the test samples, beside linear predictions."""

from __future__ import annotations

from typing import Any

import pandas as pd

from isthmus.plot.style import printable
from isthmus.report.blocks import Block, Section, TableBlock

TITLE = "Predictions"
LEAD = (
    "What the heads predict of the test samples. Beside them logistic, ridge and ridge Cox regression on as many "
    "principal components, and on all features where these are not too many; penalties of ridges are chosen in train."
)
NAMES = {"pca": "linear on PCA", "raw": "linear on all features"}
METRICS = {"auc": "AUC", "r2": "R²", "harrell": "Harrell's C"}
MAIN = {"class": "auc", "value": "r2", "survival": "harrell"}
CAPTION = (
    "Score of each head: AUC of classes (one against the rest; chance is 0.5), R² of values (0 is the train mean), "
    "Harrell's C of survival (chance is 0.5){}. Further scores are in tables/predictions.csv."
)
INTERVALS = (
    ", with 95 % bootstrap intervals over test samples (those of survival are in its own section); a difference (the "
    "model minus it) whose interval holds 0 may be none"
)


def predictions_section(found: pd.DataFrame, *, model: str) -> Section:
    """A table of heads and baselines; empty without heads.

    Parameters
    ----------
    found
        head, kind, representation, metric, value, n, and `lower`, `upper`, `difference_lower`, `difference_upper` or
        `value_sd`.
    model
        The model's name among the representations.
    """
    if found.empty:
        return Section(TITLE, ())
    main = _main(found)
    shown = pd.DataFrame({"head": main["head"].astype(str) + " (" + main["metric"].map(METRICS) + ")"})
    shown["predicted by"], shown["score"] = main["representation"].map(lambda r: NAMES.get(r, r)), main["value"]
    if "value_sd" in main:
        shown["sd over folds"] = main["value_sd"]
    elif main.get("lower", pd.Series(dtype=float)).notna().any():
        shown["interval"] = [_range(a, b) for a, b in zip(main["lower"], main["upper"], strict=True)]
        if "difference_lower" in main:
            ends = zip(main["difference_lower"], main["difference_upper"], strict=True)
            shown["the model minus it"] = [_range(a, b) for a, b in ends]
    shown["samples"] = main["n"].astype(int)
    caption = CAPTION.format(INTERVALS if "interval" in shown else "")
    bold = tuple(r == model for r in main["representation"])
    formats = {"score": ".3f", "sd over folds": ".3f"}
    blocks: tuple[Block, ...] = (TableBlock(found, caption, "predictions", formats, excerpt=shown, bold=bold),)
    return Section(TITLE, blocks, LEAD)


def prediction_words(found: pd.DataFrame, *, model: str) -> list[str]:
    """A sentence per head of classes or values: a baseline that is as good is named first."""
    if found.empty:
        return []
    main = _main(found)
    said = []
    for head, rows in main[main["kind"] != "survival"].groupby("head", sort=False):
        by = {str(r["representation"]): {str(k): v for k, v in r.items()} for r in rows.to_dict("records")}
        own = by.pop(model, None)
        if own is not None and not pd.isna(own["value"]):
            said.append(f"Prediction ({printable(str(head))}): {_sentence(own, by)}")
    return said


def _sentence(own: dict[str, Any], others: dict[str, dict[str, Any]]) -> str:
    score = f"{METRICS[own['metric']]} {own['value']:.3f} by the head"
    known = {k: r for k, r in others.items() if not pd.isna(r["value"])}
    if not known:
        return f"{score}."
    who = max(known, key=lambda k: float(known[k]["value"]))
    best = known[who]
    beside = f"{best['value']:.3f} by {'principal components' if who == 'pca' else 'all features'} and a linear model"
    sure = not pd.isna(best.get("difference_lower", float("nan"))) and best["difference_lower"] > 0
    if own["value"] <= best["value"]:
        return f"a baseline is as good or better: {beside}, {score}."
    return f"{score}, {beside}" + ("." if sure or "value_sd" in best else "; the difference may be none.")


def _main(found: pd.DataFrame) -> pd.DataFrame:
    """The main metric of every head."""
    return found[found["metric"] == found["kind"].map(MAIN)].reset_index(drop=True)


def _range(low: float, high: float) -> str:
    if pd.isna(low) or pd.isna(high):
        return "–"
    text = f"{low:.3f}–{high:.3f}" if low >= 0 else f"{low:.3f} to {high:.3f}"
    return text.replace("-", "\u2212")
