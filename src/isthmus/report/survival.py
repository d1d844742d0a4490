"""Survival in the report of a run: risk groups, concordance beside baselines and chance, scores over time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from isthmus.evaluate.survival import Judged
from isthmus.evaluate.words import number
from isthmus.plot import survival as plot
from isthmus.plot.style import number as digits
from isthmus.plot.style import printable
from isthmus.report.blocks import Block, FigureBlock, Prose, Section, TableBlock

NAMES = {"pca": "PCA + ridge Cox", "clinical": "clinical ridge Cox", "kaplan_meier": "Kaplan-Meier of train"}
TITLE = "Survival"
LEAD = (
    "What the heads predict on the test samples, whose outcomes no fit has seen. C is the share of pairs that are put "
    "into the right order: 0.5 is chance, and with few events chance alone goes far from it."
)
SHOWN = {
    "representation": "representation", "harrell": "Harrell's C", "ends": "interval", "more": "the model minus it",
    "uno": "Uno's C", "integrated_brier": "Brier", "auc": "AUC", "slope": "slope",
}  # fmt: skip
CONCORDANCE = (
    "Harrell's and Uno's C of the model (filled) and of its baselines (hollow), with 95 % intervals; the shaded band "
    "holds 95 % of what the model's risks give when outcomes are dealt out anew among the test samples."
)
TABLE = (
    "Scores on the test samples, with 95 % intervals; a difference (of Harrell's C) whose interval holds 0 may be "
    "none. "
    "Uno's C, and the mean AUC and Brier score (lower is better) over time, are taken up to {horizon}. Slope: the log "
    "hazard ratio of the predicted log risk, 1 where it is as steep as predicted, less where it is too sure of itself."
)
OVER_TIME = (
    "AUC: to whom the event has happened by then against to whom it has not. Brier score: mean squared error of the "
    "predicted survival. Kaplan-Meier of train predicts the same for everybody."
)
STRATA = " Risks compare within a stratum alone: cuts are those of each stratum, and so is the log-rank test."
WITHIN = " Samples are compared, and Kaplan-Meier curves are, within strata."
CALIBRATION = (
    "Survival at {horizon}: predicted and observed (Kaplan-Meier, 95 % interval) in groups of equal size by the "
    "prediction. On the line, predictions are what happens."
)
WORSE = (
    "The survival that it predicts (integrated Brier score {}) is worse than the same Kaplan-Meier curve for everybody"
    "{} ({})."
)
NO_MORE_THAN_CHANCE = 0.05
FEW = "Too few events for {covariates} columns of clinical covariates: the nested test is left out."


def survival_section(found: Mapping[str, Judged], *, model: str, units: Mapping[str, str]) -> Section:
    """Figures and tables of every survival head; empty without one.

    Parameters
    ----------
    found
        Head -> how well it predicts.
    model
        Its name among the representations.
    units
        Head -> the column of its times, as the axis of time is called.
    """
    blocks: list[Block] = []
    for head, judged in found.items():
        blocks += _blocks(head, judged, model, units.get(head, "time"))
    return Section(TITLE, tuple(blocks), LEAD if blocks else "")


def survival_words(found: Mapping[str, Judged], *, model: str) -> list[str]:
    """What was found, a sentence or two per head: a baseline that is as good is named first."""
    return [f"Survival ({printable(head)}): {_said(judged, model)}" for head, judged in found.items()]


def _blocks(head: str, judged: Judged, model: str, unit: str) -> list[Block]:
    name, when = f"survival_{head}", f"{digits(judged.horizon)} ({unit})"
    blocks: list[Block] = [Prose(f"{head}: {_said(judged, model)}")]
    scores = _named(judged.scores)
    blocks.append(FigureBlock(plot.concordance(scores), f"{head}: {CONCORDANCE}", f"{name}_concordance"))
    shown = _shown(scores)
    bold = tuple(r == model for r in shown["representation"])
    formats = {str(c): ".3f" for c in shown.select_dtypes("float").columns} | {"slope": ".2f"}
    caption = f"{head}: {TABLE.format(horizon=when)}"
    blocks.append(TableBlock(scores, caption, name, formats, excerpt=shown, bold=bold))
    figure = plot.kaplan_meier(judged.groups, unit=unit, title=_tested(judged))
    blocks.append(FigureBlock(figure, f"{head}: {_groups(judged)}", f"{name}_groups"))
    figure = plot.over_time(_named(judged.curves), unit=unit)
    caption = f"{head}: {OVER_TIME}{WITHIN if judged.strata > 1 else ''}"
    blocks.append(FigureBlock(figure, caption, f"{name}_over_time"))
    figure, caption = plot.calibration(_named(judged.calibration), horizon=when), CALIBRATION.format(horizon=when)
    blocks.append(FigureBlock(figure, f"{head}: {caption}", f"{name}_calibration"))
    if judged.nested:
        blocks.append(_nested(head, judged))
    elif judged.covariates:
        blocks.append(Prose(FEW.format(covariates=judged.covariates)))
    return blocks


def _said(judged: Judged, model: str) -> str:
    rows = {str(r["representation"]): r for r in judged.scores.to_dict("records")}
    own = rows.pop(model)
    where = f"on {judged.n:,} test samples with {judged.events:,} events"
    where += f", pairs compared within {judged.strata:,} strata" if judged.strata > 1 else ""
    if not np.isfinite(own["harrell"]):
        return f"No pair of test samples can be compared {where}."
    text = f"C {number(own['harrell'])}{_range(own)} {where}. "
    if own["null_p"] > NO_MORE_THAN_CHANCE:
        low, high = own["null_lower"], own["null_upper"]
        text += f"That is no more than chance gives ({number(low)} to {number(high)} with outcomes dealt out anew). "
    nobody = rows["kaplan_meier"]["integrated_brier"]
    of = " of a stratum" if judged.strata > 1 else ""
    worse = own["integrated_brier"] > nobody
    after = WORSE.format(number(own["integrated_brier"]), of, number(nobody)) if worse else ""
    others = {name: row for name, row in rows.items() if np.isfinite(row["harrell"])}
    if not others:
        return (text + after).strip()
    best = max(others, key=lambda name: float(others[name]["harrell"]))
    name, row = NAMES.get(best, best), others[best]
    if row["harrell"] >= own["harrell"]:
        text += f"{_capital(name)} has {number(row['harrell'])}: the network is not needed for this. "
    else:
        sure = "" if row["harrell_difference_lower"] > 0 else ", a difference that may be none"
        less = number(row["harrell_difference"])
        text += f"The best baseline, {name}, has {number(row['harrell'])}: {less} less{sure}. "
    return (text + after).strip()


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]


def _range(row: Mapping[Hashable, Any]) -> str:
    low, high = row["harrell_lower"], row["harrell_upper"]
    return f" ({number(low)} to {number(high)})" if np.isfinite(low) and np.isfinite(high) else ""


def _tested(judged: Judged) -> str:
    test = judged.log_rank
    return "" if test is None else f"log-rank p = {test.p:.3f}" if test.p >= 1e-3 else f"log-rank p = {test.p:.1e}"


def _groups(judged: Judged) -> str:
    """The caption of the curves."""
    text = (
        "Kaplan-Meier curves of the test samples by the model's risk, cut at quantiles of the train samples' risks, "
        "with 95 % intervals, marks where observation ended (up to 150 a group), and numbers at risk."
    )
    text += STRATA if judged.strata > 1 else ""
    return text if judged.log_rank else text + " All test samples are in one group."


def _nested(head: str, judged: Judged) -> TableBlock:
    """What the model adds to the clinical covariates."""
    rows = [
        {
            "added": f"log risk of {name}", "chi-square": t.statistic, "df": t.df, "p": t.p,
            "hazard ratio per sd": float(np.exp(t.coefficients[0])), "samples": t.n, "events": t.events,
        }
        for name, t in judged.nested.items()
    ]  # fmt: skip
    caption = (
        f"{head}: likelihood-ratio test of Cox regression on the clinical covariates with and without the model's log "
        "risk, on the test samples."
    )
    formats = {"chi-square": ".2f", "hazard ratio per sd": ".2f"}
    return TableBlock(pd.DataFrame(rows), caption, f"survival_{head}_nested", formats)


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(representation=[NAMES.get(str(r), str(r)) for r in frame["representation"]])


def _shown(scores: pd.DataFrame) -> pd.DataFrame:
    """The columns that fit beside each other: scores, the interval of Harrell's C and that of its difference."""
    rows = scores.assign(ends=_ranges(scores, "harrell"), more=_ranges(scores, "harrell_difference"))
    return rows[list(SHOWN)].rename(columns=SHOWN)


def _ranges(rows: pd.DataFrame, key: str) -> list[str]:
    """The interval of a score; a dash for what is not known."""
    if key not in rows:
        return ["–"] * len(rows)
    found = []
    for low, high in zip(rows[f"{key}_lower"], rows[f"{key}_upper"], strict=True):
        low, high = low + 0.0, high + 0.0  # -0 is 0
        text = f"{low:.3f}–{high:.3f}" if low >= 0 else f"{low:.3f} to {high:.3f}"
        text = text if np.isfinite(low) and np.isfinite(high) else "–"
        found.append(text.replace("-", "\u2212"))
    return found
