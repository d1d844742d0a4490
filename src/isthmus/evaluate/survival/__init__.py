"""Survival: concordance, Brier score and AUC over time, Kaplan-Meier, log-rank, ridge Cox regression. No torch."""

from isthmus.evaluate.survival.concordance import (
    Null,
    Pairs,
    bootstrap_concordance,
    concordance,
    null_concordance,
)
from isthmus.evaluate.survival.cox import Cox, baseline_hazard, survival_curves
from isthmus.evaluate.survival.curves import KaplanMeier, LogRank, kaplan_meier, log_rank
from isthmus.evaluate.survival.groups import calibration, cut_points, reach, risk_groups
from isthmus.evaluate.survival.judged import Fold, Judged, judge
from isthmus.evaluate.survival.nested import Nested, nested
from isthmus.evaluate.survival.scores import auc, brier, integrated_brier, mean_auc

__all__ = [
    "Cox",
    "Fold",
    "Judged",
    "KaplanMeier",
    "LogRank",
    "Nested",
    "Null",
    "Pairs",
    "auc",
    "baseline_hazard",
    "bootstrap_concordance",
    "brier",
    "calibration",
    "concordance",
    "cut_points",
    "integrated_brier",
    "judge",
    "kaplan_meier",
    "log_rank",
    "mean_auc",
    "nested",
    "null_concordance",
    "reach",
    "risk_groups",
    "survival_curves",
]
