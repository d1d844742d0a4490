"""A model's log risks judged beside those of baselines."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from isthmus.evaluate import survival

HORIZON = 12.0


def split(n=300, *, seed=0, steep=1.0):
    """A model that knows the true log risk (times `steep`), one that knows a part, and a covariate of its own."""
    rng = np.random.default_rng(seed)
    signal, clinical = rng.normal(size=(2, n))
    happens = rng.exponential(10 * np.exp(-signal - 0.7 * clinical))
    stops = rng.uniform(0, 30, n)
    outcome = np.column_stack([np.minimum(happens, stops), happens <= stops])
    half = n // 2
    risks = {
        "pca": (signal + rng.normal(size=n) * 2),
        "VAE": signal * steep,
        "clinical": clinical,
    }
    pairs = {k: (v[:half], v[half:]) for k, v in risks.items()}
    return survival.Fold(outcome[:half], outcome[half:], pairs, pd.DataFrame({"age": clinical[half:]}))


def judged(*folds, **options):
    return survival.judge(folds, model="VAE", horizon=HORIZON, resamples=100, **options)


def test_every_number_of_one_split_is_that_of_its_own_function():
    fold = split()
    found = judged(fold)
    scores = found.scores.set_index("representation")
    assert list(scores.index) == ["VAE", "pca", "clinical", "kaplan_meier"]
    time, event = fold.test.T
    train = tuple(fold.train.T)
    for name, (_, risk) in fold.risks.items():
        assert scores.loc[name, "harrell"] == pytest.approx(survival.concordance(time, event, risk))
        uno = survival.concordance(time, event, risk, kind="uno", censoring=train, tau=HORIZON)
        assert scores.loc[name, "uno"] == pytest.approx(uno)
    assert scores.loc["VAE", "harrell_lower"] < scores.loc["VAE", "harrell"] < scores.loc["VAE", "harrell_upper"]
    gap = scores["harrell"]["VAE"] - scores["harrell"]["pca"]
    assert scores.loc["pca", "harrell_difference"] == pytest.approx(gap)
    assert scores.loc["pca", "harrell_difference_lower"] < gap < scores.loc["pca", "harrell_difference_upper"]
    assert np.isnan(scores.loc["VAE", "harrell_difference"])
    assert np.isnan(scores.loc["kaplan_meier", "harrell"])
    assert scores.loc["kaplan_meier", "auc"] == pytest.approx(0.5)
    high = fold.risks["VAE"][1] > np.median(fold.risks["VAE"][0])
    assert found.log_rank == survival.log_rank(time, event, high)
    assert found.groups["high"].at([5.0]) == survival.kaplan_meier(time[high], event[high]).at([5.0])
    expected = survival.nested(time, event, fold.clinical.to_numpy(), added=fold.risks["VAE"][1])
    assert found.nested["VAE"].statistic == pytest.approx(expected.statistic, abs=1e-6)
    assert (found.n, found.events, found.folds, found.horizon) == (150, event.sum(), 1, HORIZON)


def test_what_knows_more_predicts_better_and_too_steep_a_risk_is_found():
    right, steep = (judged(split(1200, steep=s)).scores.set_index("representation") for s in (1.0, 4.0))
    brier = right["integrated_brier"]
    assert brier["VAE"] < brier["pca"]
    assert brier["VAE"] < brier["kaplan_meier"]
    assert steep.loc["VAE", "integrated_brier"] > brier["VAE"] + 0.02
    assert steep.loc["VAE", "harrell"] == pytest.approx(right.loc["VAE", "harrell"])
    assert right.loc["VAE", "slope"] == pytest.approx(4 * steep.loc["VAE", "slope"])
    assert 0.6 < right.loc["VAE", "slope"] < 1.1  # 1, less what the covariate that it does not know takes away
    assert right.loc["VAE", "null_p"] == pytest.approx(1 / 51)
    assert right.loc["VAE", "null_upper"] < right.loc["VAE", "harrell"]


def test_folds_on_different_scales_are_pooled_within_folds():
    folds = [split(seed=0), split(seed=1), split(seed=2)]
    moved = [
        replace(f, risks={k: (a * 3**i + 10 * i, b * 3**i + 10 * i) for k, (a, b) in f.risks.items()})
        for i, f in enumerate(folds)
    ]
    plain, shifted = judged(*folds), judged(*moved)
    each = [judged(f).scores.set_index("representation").loc["VAE", "harrell"] for f in folds]
    row, again = (j.scores.set_index("representation").loc["VAE"] for j in (plain, shifted))
    assert row["harrell"] == pytest.approx(np.mean(each))
    assert row["harrell_sd"] == pytest.approx(np.std(each, ddof=1))
    np.testing.assert_allclose(row["harrell":"null_p"].astype(float), again["harrell":"null_p"].astype(float))
    assert plain.log_rank == shifted.log_rank
    assert plain.nested["VAE"].statistic == pytest.approx(shifted.nested["VAE"].statistic)
    assert row["null_sd"] < judged(folds[0]).scores.set_index("representation").loc["VAE", "null_sd"]
    assert plain.n == 450


def test_unknown_outcomes_and_risks_are_left_out_of_all():
    fold = split()
    test = fold.test.copy()
    test[0] = np.nan
    risk = fold.risks["VAE"][1].copy()
    risk[1] = np.nan
    found = judged(replace(fold, test=test, risks=fold.risks | {"VAE": (fold.risks["VAE"][0], risk)}))
    fewer = judged(
        replace(
            fold, test=fold.test[2:], risks={k: (a, b[2:]) for k, (a, b) in fold.risks.items()},
            clinical=fold.clinical[2:],
        )
    )  # fmt: skip
    assert found.n == 148
    np.testing.assert_allclose(found.scores["harrell"], fewer.scores["harrell"])
    censored = fold.test * [1, 0]
    assert judged(replace(fold, test=censored)) is None
    early = replace(fold, train=fold.train * [0, 1], test=fold.test * [0, 1])
    assert survival.judge([early], model="VAE", resamples=10) is None
    few = np.vstack([fold.train[:9], [[0.0, 1.0]]])  # so few that nobody else is left at its horizon
    small = replace(fold, train=few, risks={k: (a[:10], b) for k, (a, b) in fold.risks.items()})
    assert survival.judge([small], model="VAE", resamples=10).horizon > 0


def test_a_horizon_beyond_observation_is_cut_and_told(caplog):
    fold = split()
    found = survival.judge([fold], model="VAE", horizon=1e6, resamples=10)
    assert 20 < found.horizon <= fold.train[:, 0].max()
    assert found.scores["uno"].iloc[:3].notna().all()
    assert "no sample of train was observed up to 1e+06" in caplog.text


def test_curves_that_a_model_predicts_itself_are_taken_as_they_are():
    fold = split()
    at = np.array([3.0, 6.0, HORIZON])
    curves = np.exp(-np.outer(np.exp(fold.risks["VAE"][1]), at / 10))
    found = replace(fold, predicted={"VAE": (at, curves)}).survival("VAE", np.array([0.0, 1.5, 6.0, 99.0]))
    half = np.sqrt(curves[:, 0])  # between two times the hazard is constant
    expected = np.column_stack([np.ones(len(curves)), half, curves[:, 1], curves[:, 2]])
    np.testing.assert_allclose(found, expected)


def test_too_few_events_for_the_covariates_leave_the_nested_test_out():
    fold = split(60)
    wide = replace(fold, clinical=pd.DataFrame(np.random.default_rng(0).normal(size=(30, 20))).add_prefix("c"))
    found = judged(wide)
    assert found.nested == {}
    assert found.covariates == 20


def test_what_differs_between_strata_changes_no_score_within_them():
    fold = split()
    codes = [np.arange(len(y)) % 3 for y in (fold.train, fold.test)]
    strata = tuple(np.array(["a", "b", "c"])[k] for k in codes)
    plain = replace(fold, strata=strata)
    moved = replace(plain, risks={n: (a + 4 * codes[0], b + 4 * codes[1]) for n, (a, b) in plain.risks.items()})
    one, other = judged(plain), judged(moved)
    row, again = (j.scores.set_index("representation").loc["VAE"] for j in (one, other))
    kept = [*row["harrell":"null_p"].index, "slope", "integrated_brier", "auc"]
    np.testing.assert_allclose(row[kept].astype(float), again[kept].astype(float), rtol=1e-6)
    assert one.nested["VAE"].statistic == pytest.approx(other.nested["VAE"].statistic, abs=1e-4)
    risk = fold.risks["VAE"][1]
    assert row["harrell"] == pytest.approx(survival.concordance(*fold.test.T, risk, strata=strata[1]))
    assert (one.strata, judged(fold).strata) == (3, 1)
    assert one.log_rank == other.log_rank
    frames = [j.calibration.drop(columns="representation") for j in (one, other)]
    np.testing.assert_allclose(*frames, rtol=1e-6)
    first = strata[1] == "a"
    high = risk[first] > np.median(fold.risks["VAE"][0][strata[0] == "a"])
    alone = replace(
        plain, test=fold.test[first], risks={k: (a, b[first]) for k, (a, b) in plain.risks.items()},
        clinical=fold.clinical[first], strata=(strata[0], strata[1][first]),
    )  # fmt: skip
    assert judged(alone).groups["high"].at_risk[0] == high.sum()
    curve = survival.kaplan_meier(*fold.train[strata[0] == "a"].T).at([5.0])
    np.testing.assert_allclose(plain.survival("kaplan_meier", np.array([5.0]))[first], [curve] * first.sum())
    met = judged(replace(plain, strata=(np.where(strata[0] == "c", "a", strata[0]), strata[1])))
    assert met.n == 150  # of a stratum that train has not, groups are cut, and survival predicted, as of all
