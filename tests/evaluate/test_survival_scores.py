"""Survival scores against lifelines, scikit-survival and their definitions."""

import time as clock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test
from lifelines.utils import concordance_index
from sksurv.compare import compare_survival
from sksurv.metrics import (
    brier_score,
    concordance_index_censored,
    concordance_index_ipcw,
    cumulative_dynamic_auc,
    integrated_brier_score,
)
from sksurv.util import Surv

from isthmus import evaluate
from isthmus.errors import DataError

survival = evaluate.survival
CLOSE = {"rtol": 0, "atol": 1e-8}


def cohort(n=150, *, seed=0, censored=0.5, tied=True):
    """Times, events and a risk that says something; with ties, and some equal risks."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n).round(1 if tied else 12)
    happens = rng.exponential(np.exp(-risk) * 10)
    stops = rng.exponential(10 * (1 - censored) / censored, n)
    time, event = np.minimum(happens, stops), happens <= stops
    return (np.ceil(time) if tied else time), event, risk


samples = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 12), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.lists(st.integers(-3, 3), min_size=n, max_size=n),
    )
)


def by_pairs(time, event, risk, weight):
    """C by its definition, pair by pair."""
    good = total = 0.0
    for i in np.flatnonzero(event):
        later = (time > time[i]) | ((time == time[i]) & ~event)
        total += weight[i] * later.sum()
        good += weight[i] * ((risk[later] < risk[i]).sum() + 0.5 * (risk[later] == risk[i]).sum())
    return good / total if total else np.nan


@settings(max_examples=60, deadline=None)
@given(samples)
def test_harrell_is_its_definition_whatever_ties(drawn):
    time, event, risk = (np.array(v) for v in drawn)
    found = survival.concordance(time, event, risk)
    np.testing.assert_allclose(found, by_pairs(time, event, risk, np.ones(len(time))), atol=1e-12)
    if not np.isnan(found):
        assert survival.concordance(time, event, -risk) == pytest.approx(1 - found)  # ties count one half
        assert survival.concordance(time * 3, event, np.exp(risk)) == pytest.approx(found)  # the order alone counts
        assert found == pytest.approx(concordance_index(time, -risk, event))


@pytest.mark.parametrize("censored", [0.2, 0.9])
@pytest.mark.parametrize("tied", [False, True])
def test_concordance_of_lifelines_and_scikit_survival(censored, tied):
    time, event, risk = cohort(censored=censored, tied=tied)
    train = cohort(seed=1, censored=censored, tied=tied)[:2]
    found = survival.concordance(time, event, risk)
    np.testing.assert_allclose(found, concordance_index(time, -risk, event), **CLOSE)
    np.testing.assert_allclose(found, concordance_index_censored(event, time, risk)[0], **CLOSE)
    tau = float(np.quantile(train[0], 0.8))
    apart = [(t + 1e-7 * ~e, e) for t, e in ((time, event), train)]  # G(t) of scikit-survival is then G(t-)
    theirs = concordance_index_ipcw(*(Surv.from_arrays(e, t) for t, e in apart[::-1]), risk, tau=tau)[0]
    ours = survival.concordance(time, event, risk, kind="uno", censoring=train, tau=tau)
    np.testing.assert_allclose(ours, theirs, **CLOSE)


def test_uno_weighs_by_the_censoring_before_an_event():
    time, event = np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([1, 1, 0, 1, 0])
    risk = np.array([0.0, 3.0, 2.0, 1.0, 0.5])
    weight = np.array([1, 1, 0, (3 / 2) ** 2, 0])  # one of three that are left after the event at 2 is censored then
    found = survival.concordance(time, event, risk, kind="uno", censoring=(time, event), tau=5)
    assert found == pytest.approx(by_pairs(time, event.astype(bool), risk, weight))


def test_uno_does_not_depend_on_the_censoring_where_harrell_does():
    time, event, risk = cohort(20_000, censored=0.05, tied=False)
    true = survival.concordance(time, event, risk, tau=10)
    stops = np.random.default_rng(2).exponential(3, len(time))
    seen, happened = np.minimum(time, stops), event & (time <= stops)
    harrell = survival.concordance(seen, happened, risk, tau=10)
    uno = survival.concordance(seen, happened, risk, kind="uno", tau=10)
    assert 3 * abs(uno - true) < abs(harrell - true)


def test_pairs_are_compared_within_strata_alone():
    time, event, risk = cohort(120)
    stratum = np.arange(120) % 3
    good = total = 0.0
    for of in (stratum == s for s in range(3)):
        t, e = time[of], event[of]
        pairs = sum(((t > at) | ((t == at) & ~e)).sum() for at in t[e])
        good, total = good + pairs * concordance_index(t, -risk[of], e), total + pairs
    for moved in (risk, risk + 100 * stratum):  # what differs between strata does not count
        found = survival.concordance(time, event, moved, strata=np.array(["a", "b", "c"])[stratum])
        assert found == pytest.approx(good / total, abs=1e-12)
    uno = [survival.concordance(time, event, r, kind="uno", strata=stratum) for r in (risk, risk + 100 * stratum)]
    assert uno[0] == pytest.approx(uno[1], abs=1e-12)
    assert abs(survival.concordance(time, event, risk + 100 * stratum) - good / total) > 0.05
    dealt = survival.Pairs.of(time, event, strata=stratum).dealt(risk + 100 * stratum, np.random.default_rng(0))
    assert (np.rint(dealt / 100) == stratum).all()


def test_ten_thousand_samples_take_less_than_a_second():
    time, event, risk = cohort(10_000, tied=False)
    survival.concordance(time[:50], event[:50], risk[:50])  # compiled
    started = clock.perf_counter()
    survival.concordance(time, event, risk)
    assert clock.perf_counter() - started < 1


@pytest.mark.parametrize("tied", [False, True])
def test_kaplan_meier_of_lifelines(tied):
    time, event, _ = cohort(tied=tied)
    curve, theirs = survival.kaplan_meier(time, event), KaplanMeierFitter().fit(time, event)
    np.testing.assert_allclose(curve.time, theirs.timeline, **CLOSE)
    np.testing.assert_allclose(curve.survival, theirs.survival_function_.iloc[:, 0], **CLOSE)
    np.testing.assert_array_equal(curve.at_risk, theirs.event_table["at_risk"])
    known = curve.survival > 0
    bounds = theirs.confidence_interval_.to_numpy()[known]
    np.testing.assert_allclose(np.column_stack([curve.lower, curve.upper])[known], bounds, **CLOSE)
    assert np.isnan(curve.lower[~known]).all()
    assert curve.median == theirs.median_survival_time_
    assert curve.at([0.0, 1e9]).tolist() == [1.0, curve.survival[-1]]


@settings(max_examples=40, deadline=None)
@given(samples)
def test_kaplan_meier_falls_from_one_within_its_interval(drawn):
    curve = survival.kaplan_meier(*drawn[:2])
    assert curve.survival[0] == 1
    assert (np.diff(curve.survival) <= 0).all()
    known = ~np.isnan(curve.lower)
    assert (curve.lower <= curve.survival + 1e-12)[known].all()
    assert (curve.survival <= curve.upper + 1e-12)[known].all()


@pytest.mark.parametrize("groups", [2, 4])
def test_log_rank_of_lifelines_and_scikit_survival(groups):
    time, event, risk = cohort()
    member = np.digitize(risk, np.quantile(risk, np.arange(1, groups) / groups))
    found = survival.log_rank(time, event, member)
    theirs = multivariate_logrank_test(time, member, event)
    np.testing.assert_allclose([found.statistic, found.p], [theirs.test_statistic, theirs.p_value], **CLOSE)
    chi, p = compare_survival(Surv.from_arrays(event, time), member)
    np.testing.assert_allclose([found.statistic, found.p], [chi, p], **CLOSE)
    assert found.df == groups - 1
    assert survival.log_rank(time, np.zeros(len(time)), member).p == 1


def test_log_rank_within_strata_is_the_score_test_of_cox_regression_in_strata():
    time, event, risk = cohort(120, seed=5, tied=False)
    high, strata = risk > 0, np.arange(120) % 3
    found = survival.log_rank(time, event, high, strata=strata)
    gradient, information = 0.0, 0.0
    for i in np.flatnonzero(event):
        share = high[(time >= time[i]) & (strata == strata[i])].mean()
        gradient, information = gradient + high[i] - share, information + share * (1 - share)
    assert found.statistic == pytest.approx(gradient**2 / information)
    assert found.df == 1
    assert found != survival.log_rank(time, event, high)


def test_brier_and_auc_of_scikit_survival():
    time, event, risk = cohort(300, tied=False)
    train = cohort(300, seed=1, tied=False)[:2]
    times = np.quantile(time[event], [0.1, 0.3, 0.5, 0.7])
    predicted = np.exp(-np.outer(np.exp(risk), times / 10))
    ours, theirs = (time, event), [Surv.from_arrays(e, t) for t, e in (train, (time, event))]
    found = survival.brier(*ours, predicted, times=times, censoring=train)
    np.testing.assert_allclose(found, brier_score(*theirs, predicted, times)[1], **CLOSE)
    found = survival.integrated_brier(*ours, predicted, times=times, censoring=train)
    np.testing.assert_allclose(found, integrated_brier_score(*theirs, predicted, times), **CLOSE)
    values = survival.auc(*ours, risk, times=times, censoring=train)
    expected, mean = cumulative_dynamic_auc(*theirs, risk, times)
    np.testing.assert_allclose(values, expected, **CLOSE)
    np.testing.assert_allclose(survival.mean_auc(*ours, values, times=times), mean, **CLOSE)
    changing = np.column_stack([risk, -risk, risk, -risk])
    flipped = survival.auc(*ours, changing, times=times, censoring=train)
    np.testing.assert_allclose(flipped, np.where([1, 0, 1, 0], values, 1 - values), **CLOSE)


def test_auc_compares_within_strata_alone():
    time, event, risk = cohort(60, seed=3)
    twice = np.concatenate([time, time]), np.concatenate([event, event])
    names, times = np.repeat(["one", "other"], 60), np.array([2.0, 5.0, 9.0])
    shifted = np.concatenate([risk, risk + 50])  # the same ranks within each, another level
    alone = survival.auc(time, event, risk, times=times)
    np.testing.assert_allclose(survival.auc(*twice, shifted, times=times, strata=names), alone, **CLOSE)
    assert (np.abs(survival.auc(*twice, shifted, times=times) - alone) > 0.05).all()
    seen = event | (time > 5)  # nobody censored before: every pair weighs the same, and each can be counted
    t, d, r = time[seen], event[seen], risk[seen]
    of = np.random.default_rng(0).integers(0, 3, len(t))
    pairs = [(i, j) for i in np.flatnonzero(t <= 5) for j in np.flatnonzero(t > 5) if of[i] == of[j]]
    expected = np.mean([(r[i] > r[j]) + 0.5 * (r[i] == r[j]) for i, j in pairs])
    np.testing.assert_allclose(survival.auc(t, d, r, times=[5.0], strata=of), expected, **CLOSE)


def test_true_probabilities_have_the_best_brier_score():
    time, event, risk = cohort(2000, tied=False)
    times = np.array([2.0, 5.0, 9.0])
    true = np.exp(-np.outer(np.exp(risk), times / 10))
    scores = [survival.brier(time, event, true**power, times=times).mean() for power in (0.5, 1, 2)]
    assert scores[1] == min(scores)


def test_the_null_of_c_is_centred_and_narrows_with_events():
    spreads = []
    for n in (40, 400):
        time, event, _ = cohort(n, seed=3)
        risk = np.random.default_rng(5).normal(size=n)
        null = survival.null_concordance(survival.Pairs.of(time, event), risk, resamples=200)
        assert null.mean == pytest.approx(0.5, abs=0.02)
        assert null.p > 0.05
        spreads.append(null.sd)
    assert spreads[0] > 2 * spreads[1]
    time, event, risk = cohort(100)
    assert survival.null_concordance(survival.Pairs.of(time, event), risk, resamples=100).p == pytest.approx(1 / 101)


def test_resampling_compares_risks_on_the_same_samples():
    time, event, risk = cohort(200)
    noise = np.random.default_rng(9).normal(size=200)
    risks = {"good": risk, "same": 2 * risk + 1, "noise": noise}
    table = survival.bootstrap_concordance(
        survival.Pairs.of(time, event), risks, reference="good", resamples=200
    ).set_index("representation")
    assert table.loc["same", ["difference", "difference_lower", "difference_upper"]].tolist() == [0, 0, 0]
    assert table.loc["same", "p"] == 1
    assert table.loc["noise", "difference_upper"] < 0
    assert (table["lower"] < table["value"]).all()
    assert (table["value"] < table["upper"]).all()


def test_groups_are_cut_where_train_says():
    cuts = survival.cut_points(np.arange(10.0), groups=3)
    assert survival.risk_groups([-5.0, 4.0, 100.0, 3.0], cuts).tolist() == ["low", "middle", "high", "low"]
    assert set(survival.risk_groups([9.0, 9.5], survival.cut_points(np.arange(10.0)))) == {"high"}
    time = np.arange(1.0, 101)
    assert (time >= survival.reach(time)).sum() == 20
    assert survival.reach(time[:5]) == 1


def test_calibration_finds_true_probabilities_true_and_steep_ones_wrong():
    time, event, risk = cohort(4000, tied=False, censored=0.3)
    true = np.exp(-np.exp(risk) * 6 / 10)
    table = survival.calibration(time, event, true, horizon=6.0)
    assert len(table) == 5
    assert ((table["lower"] < table["predicted"]) & (table["predicted"] < table["upper"])).sum() >= 4
    steep = survival.calibration(time, event, true**3, horizon=6.0)
    assert (steep["observed"] > steep["predicted"] + 0.05).sum() >= 4
    assert table["n"].sum() == 4000
    assert survival.calibration(time, event, true, horizon=1e6)["observed"].isna().all()


def test_wrong_outcomes_are_refused_in_one_line():
    time, event, risk = cohort(20)
    for bad, words in (
        ({"time": np.where(risk > 9, time, np.nan)}, "is no time"),
        ({"time": -time}, "is no time"),
        ({"event": event + 1.0}, "is no event"),
        ({"risk": risk * np.inf}, "missing or infinite"),
        ({"risk": risk[1:]}, "another number of samples"),
    ):
        with pytest.raises(DataError, match=words):
            survival.concordance(**{"time": time, "event": event, "risk": risk, **bad})
    with pytest.raises(DataError, match="two or more"):
        survival.log_rank(time, event, np.zeros(20))
    short = (np.array([1.0, 2.0]), np.array([1, 0]))
    with pytest.raises(DataError, match="after the last sample of train was censored"):
        survival.concordance(time, event, risk, kind="uno", censoring=short)


def test_series_and_lists_are_taken_too():
    time, event, risk = cohort(30)
    frame = pd.DataFrame({"t": time, "e": event.astype(int), "r": risk})
    plain = survival.concordance(time, event, risk)
    assert survival.concordance(frame["t"], frame["e"], frame["r"]) == plain
    assert survival.concordance(list(time), list(event), list(risk)) == plain
