"""Linear survival models on TCGA cohorts, beside the numbers to beat and what chance gives.

    python benchmarks/survival.py [cohort ...]

Five folds, stratified by the event, of public data (see ISTHMUS_DATA); Uno's C up to 60 months. RNA z-scores are
clipped at 5, and at 10 once standardised by train. Ridge Cox regression on age, sex and stage (where there is one), on
ten principal components of RNA, on both, on all genes (with a penalty equal to their number); and on ten components
with outcomes dealt out anew among the train samples. Then the time that C takes on 10,000 samples.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from isthmus.evaluate.baselines import representations
from isthmus.evaluate.design import Design
from isthmus.evaluate.outcomes import Outcome, linear_answers
from isthmus.evaluate.survival import Cox, Fold, concordance, judge

DATA = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "tcga_cohorts"
COHORTS = ("brca", "luad", "blca", "hnsc", "lihc")
CLINICAL = ("age", "is_female", "stage")
MONTHS = 60.0
TO_BEAT = {
    ("brca", "clinical"): 0.675, ("brca", "RNA, PCA 10"): 0.536, ("brca", "RNA, PCA 10 + clinical"): 0.673,
    ("luad", "clinical"): 0.526, ("luad", "RNA, PCA 10"): 0.661, ("blca", "clinical"): 0.649,
    ("blca", "RNA, PCA 10 + clinical"): 0.663,
}  # fmt: skip


def folds(cohort):
    clinical = pd.read_csv(DATA / cohort / "clinical.csv", index_col=0)
    rna = pd.read_parquet(DATA / cohort / "rnaseq.parquet").loc[clinical.index].clip(-5, 5)
    y = clinical[["survival_months", "event"]].to_numpy(dtype=float)
    columns = [c for c in CLINICAL if c in clinical]
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(rna, y[:, 1]):
        x = rna.to_numpy(dtype=float)
        sd = x[train].std(axis=0)
        x = ((x - x[train].mean(axis=0)) / np.where(sd > 0, sd, 1)).clip(-10, 10)
        pca = representations(x[train], x[test], 10, which=("pca",))["pca"]
        design = Design.of(clinical.iloc[train][columns])
        known = tuple(design.columns(clinical.iloc[rows][columns]) for rows in (train, test))
        tables = {
            "clinical": known,
            "RNA, PCA 10": pca,
            "RNA, PCA 10 + clinical": tuple(np.hstack(pair) for pair in zip(pca, known, strict=True)),
        }
        outcome = Outcome("survival", y[train])
        risks = {k: tuple(linear_answers(a, outcome, a, b)) for k, (a, b) in tables.items()}
        every = Cox(float(x.shape[1])).fit(x[train], *y[train].T)
        risks["RNA, all genes"] = (every.predict(x[train]), every.predict(x[test]))
        shuffled = Outcome("survival", np.random.default_rng(0).permutation(y[train]))
        risks["RNA, PCA 10, outcomes shuffled"] = tuple(linear_answers(pca[0], shuffled, *pca))
        yield Fold(y[train], y[test], risks, clinical.iloc[test][columns])


def report(cohort):
    judged = judge(list(folds(cohort)), model="RNA, PCA 10", horizon=MONTHS)
    for row in judged.scores.to_dict("records"):
        if np.isnan(row["harrell"]):
            print(f"| {cohort} | the same curve for everybody | | | | | {row['integrated_brier']:.3f} | |")
            continue
        beat = TO_BEAT.get((cohort, row["representation"]))
        print(
            f"| {cohort} ({judged.events} of {judged.n}) | {row['representation']} | {beat or ''} | "
            f"{row['harrell']:.3f} ± {row['harrell_sd']:.3f} | {row['null_lower']:.3f}–{row['null_upper']:.3f} | "
            f"{row['uno']:.3f} | {row['integrated_brier']:.3f} | {row['slope']:.2f} |"
        )
    for name, test in judged.nested.items():
        print(
            f"  {cohort}: {name} beyond clinical, folds as strata: chi2 {test.statistic:.2f} (df {test.df}), "
            f"p {test.p:.2g}; log-rank of two groups p {judged.log_rank.p:.2g}"
        )


def speed(n=10_000):
    rng = np.random.default_rng(0)
    risk, when, event = rng.normal(size=n), rng.exponential(size=n), rng.random(n) < 0.5
    concordance(when[:10], event[:10], risk[:10])  # compiled
    for kind in ("harrell", "uno"):
        started = time.perf_counter()
        concordance(when, event, risk, kind=kind, tau=1.0)
        print(f"{kind}, {n:,} samples: {1000 * (time.perf_counter() - started):.1f} ms")


if __name__ == "__main__":
    head = "| cohort (events) | ridge Cox on | to beat | Harrell's C ± sd | by chance | Uno's C | Brier | slope |"
    print(f"{head}\n{'|---' * 8}|")
    for name in sys.argv[1:] or COHORTS:
        report(name)
    speed()
