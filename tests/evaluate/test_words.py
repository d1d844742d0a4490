import numpy as np
import pandas as pd
import pytest

from isthmus.evaluate.spread import SUMMARY
from isthmus.evaluate.words import number, verdict


def summary(*rows, basis="bootstrap"):
    """Rows of (representation, label, mean, difference_lower, difference_upper)."""
    table = pd.DataFrame(
        [
            dict.fromkeys(SUMMARY, np.nan)
            | {"representation": r, "label": label, "learner": "logistic", "metric": "auc", "mean": mean}
            | {"difference_lower": low, "difference_upper": high}
            for r, label, mean, low, high in rows
        ]
    )
    table.attrs.update(reference="pca", basis=basis)
    return table


NAN = np.nan
LOSS = summary(
    ("pca", "cancer", 0.992, NAN, NAN),
    ("vae", "cancer", 0.991, -0.004, 0.002),
    ("pca", "gender", 0.834, NAN, NAN),
    ("vae", "gender", 0.814, -0.035, -0.005),
    ("pca", "stage", 0.590, NAN, NAN),
    ("vae", "stage", 0.600, -0.010, 0.030),
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9912, ".991"), (-0.0041, "-.004"), (1, "1.000"), (-0.0001, ".000"), (-3.21, "-3.210"), (0.9999, "1.000")],
)
def test_numbers_have_one_style(value, text):
    assert number(value) == text
    assert number(float("nan")) == "not known"


def test_what_pca_wins_is_said_first_and_how_sure():
    lines = verdict(LOSS, model="vae", title="the VAE", dimensions=8)
    assert lines[0] == (
        "PCA is ahead of the VAE on 1 of 3 labels; the VAE and PCA are not told apart on 2 of 3 labels."
    )
    assert lines[1] == (
        "On the test samples, the VAE's 8 dimensions predict cancer with AUC .991 (logistic), PCA's with .992: "
        "PCA is ahead by .001, not told from 0 (interval -.002 to .004)."
    )
    assert lines[2].endswith("PCA is ahead by .020, beyond chance (interval .005 to .035).")
    assert lines[3].endswith("the VAE is ahead by .010, not told from 0 (interval -.010 to .030).")


def test_without_a_sure_difference_that_is_said():
    lines = verdict(LOSS[LOSS["label"] == "cancer"], model="vae")
    assert lines[0] == "The vae and PCA are not told apart on 1 of 1 label."


def test_every_label_where_the_score_is_lower_counts_as_lost():
    """Truthful for any numbers: the counts in the first sentence are those of the table."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        ours, theirs = np.round(rng.uniform(0.5, 1, (2, 6)), 2)
        rows = [
            r
            for k in range(6)
            for gap in [ours[k] - theirs[k]]
            for r in (("pca", f"l{k}", theirs[k], NAN, NAN), ("vae", f"l{k}", ours[k], gap - 1e-3, gap + 1e-3))
        ]
        first = verdict(summary(*rows), model="vae")[0]
        lost, won = (theirs > ours).sum(), (ours > theirs).sum()
        assert (f"PCA is ahead of the vae on {lost} of 6" in first) == (lost > 0)
        assert (f"the vae is ahead of PCA on {won} of 6" in first.replace("The vae", "the vae")) == (won > 0)


def test_a_baseline_that_wins_comes_first_even_if_the_model_wins_elsewhere():
    won = summary(("pca", "cancer", 0.90, NAN, NAN), ("vae", "cancer", 0.95, 0.01, 0.09))
    fits = {"rna": {"vae": {"r2": 0.30}, "pca": {"r2": 0.45}, "mean": {"r2": 0.0}}}
    lines = verdict(won, fits, model="vae", title="the VAE")
    assert lines[0] == "PCA reconstructs 1 of 1 modality better than the VAE."
    assert lines[1].startswith("The VAE is ahead of PCA on 1 of 1 label")
    assert lines[-1] == (
        "On the test samples, the VAE reconstructs rna with R2 .300 (the train mean: .000), PCA with .450: "
        "PCA is ahead by .150."
    )


def test_other_baselines_that_score_higher_are_named():
    table = summary(
        ("pca", "cancer", 0.90, NAN, NAN), ("vae", "cancer", 0.95, 0.01, 0.09), ("raw", "cancer", 0.98, 0.0, 0.1),
        ("umap", "cancer", 0.94, 0.0, 0.1),
    )  # fmt: skip
    lines = verdict(table, model="vae")
    assert lines[0] == (
        "Further baselines score above the vae (not tested): the raw features on 1 of 1 label (by .030 on average)."
    )


def test_worse_than_the_train_mean_is_said():
    fits = {"rna": {"vae": {"r2": -0.2}, "pca": {"r2": -0.3}}}
    lines = verdict(None, fits, model="vae", title="the VAE")
    assert lines[0] == (
        "The VAE reconstructs 1 of 1 modality better than PCA; on 1 the VAE is worse than the train mean."
    )


def test_level_missing_and_absent():
    level = summary(("pca", "cancer", 0.9, NAN, NAN), ("vae", "cancer", 0.9001, -0.01, 0.01), basis="folds")
    lines = verdict(level, model="vae")
    assert lines[0] == "The vae and PCA are not told apart on 1 of 1 label."
    assert lines[1].startswith("Over the folds, ")
    assert lines[1].endswith("they are level (interval of the difference -.010 to .010).")
    unknown = verdict(summary(("vae", "cancer", NAN, NAN, NAN)), model="vae")
    assert "could not be scored" in unknown[-1]
    alone = verdict(summary(("vae", "cancer", 0.9, NAN, NAN)), model="vae")
    assert alone == [
        "The vae was compared with no baseline in prediction.",
        "On the test samples, the vae predicts cancer with AUC .900 (logistic); no baseline stands beside it.",
    ]
    assert verdict(summary(), model="vae") == verdict(None, model="vae") == []


def ways(*rows):
    """Rows of (source, target, model, ridge, kNN, within)."""
    return pd.DataFrame(
        [
            {"source": a, "target": b, "representation": who, "r2": r2, "r2_within": w if who == "vae" else 0.0}
            for a, b, ours, ridge, knn, w in rows
            for who, r2 in (("vae", ours), ("ridge", ridge), ("knn", knn), ("mean", 0.0), ("group", 0.9))
        ]
    )


def test_a_baseline_that_translates_better_is_said_first():
    table = ways(("rna", "cnv", 0.40, 0.45, 0.30, 0.1), ("cnv", "rna", 0.20, 0.1, 0.25, -0.02))
    lines = verdict(None, None, model="vae", title="the VAE", translation=table)
    assert lines[0] == (
        "A baseline translates 2 of 2 directions better than the VAE (ridge regression on 1 and kNN on 1); "
        "on 1 the mean of the sample's true class would do as well or better."
    )
    assert lines[1] == (
        "On the test samples, the VAE translates rna to cnv with R2 .400 (.100 beyond the mean of the true class), "
        "ridge regression, the best baseline, with .450: ridge regression is ahead by .050."
    )
    assert lines[2].endswith("kNN, the best baseline, with .250: kNN is ahead by .050.")


def test_a_translation_ahead_of_all_baselines_is_said_and_the_true_class_is_no_rival():
    lines = verdict(None, None, model="vae", translation=ways(("rna", "cnv", 0.50, 0.45, 0.30, 0.1)))
    assert lines[0] == "The vae translates 1 of 1 direction better than every baseline."
    assert "the vae is ahead by .050" in lines[1]
    level = verdict(None, None, model="vae", translation=ways(("rna", "cnv", 0.45, 0.45, 0.30, 0.1)))
    assert "level on 1 of 1 direction" in level[0]
    assert verdict(None, None, model="vae", translation=pd.DataFrame()) == []
    assert verdict(None, None, model="other", translation=ways(("rna", "cnv", 0.5, 0.4, 0.3, 0.1))) == []
