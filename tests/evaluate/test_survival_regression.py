"""Ridge Cox regression and the nested test against lifelines and scikit-survival."""

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from scipy import stats
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from isthmus.errors import DataError
from isthmus.evaluate.survival import Cox, baseline_hazard, nested, survival_curves
from isthmus.losses.survival import cox


def cohort(n=150, p=3, *, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    time = np.ceil(rng.exponential(np.exp(-x[:, 0] + 0.5 * x[:, 1])) * 8)
    return x, time, rng.random(n) < 0.7, rng.integers(0, 3, n)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("alpha", [0.0, 7.5])
def test_coefficients_of_scikit_survival(ties, alpha):
    x, time, event, _ = cohort()
    theirs = CoxPHSurvivalAnalysis(alpha=alpha, ties=ties, n_iter=500, tol=1e-14)
    theirs.fit(x, Surv.from_arrays(event, time))
    ours = Cox(alpha, ties=ties).fit(x, time, event)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-8, rtol=0)
    np.testing.assert_allclose(ours.predict(x), x @ ours.coef_, atol=1e-12)
    if ties == "breslow":  # whose baseline scikit-survival takes
        times = np.array([0.5, 1, 3, 8, 30])
        curves = np.array([f(times[1:]) for f in theirs.predict_survival_function(x[:5])])
        np.testing.assert_allclose(ours.survival(x[:5], times)[:, 1:], curves, atol=1e-8)
        assert (ours.survival(x[:5], times)[:, 0] == 1).all()


def test_strata_likelihood_and_penalty_of_lifelines():
    x, time, event, strata = cohort()
    frame = pd.DataFrame(x, columns=list("abc")).assign(t=time, e=event, s=strata)
    options = {"fit_options": {"precision": 1e-12}}
    theirs = CoxPHFitter().fit(frame, "t", "e", strata="s", **options)
    ours = Cox().fit(x, time, event, strata=strata)
    np.testing.assert_allclose(ours.coef_, theirs.params_, atol=1e-6)  # as far as lifelines goes
    assert ours.log_likelihood_ == pytest.approx(theirs.log_likelihood_, abs=1e-8)
    assert sorted(ours.baseline_) == ["0", "1", "2"]
    standard = (x - x.mean(0)) / x.std(0, ddof=1)
    frame = pd.DataFrame(standard, columns=list("abc")).assign(t=time, e=event)
    theirs = CoxPHFitter(penalizer=0.1).fit(frame, "t", "e", **options)
    np.testing.assert_allclose(Cox(0.1 * len(x)).fit(standard, time, event).coef_, theirs.params_, atol=1e-5)


def test_more_features_than_samples_are_found_in_their_span():
    x, time, event, _ = cohort(40, 90)
    ours = Cox(5.0).fit(x, time, event)
    padded = CoxPHSurvivalAnalysis(alpha=5.0, ties="efron", n_iter=500, tol=1e-14).fit(x, Surv.from_arrays(event, time))
    np.testing.assert_allclose(ours.coef_, padded.coef_, atol=1e-7)
    with pytest.raises(DataError, match="give alpha > 0"):
        Cox().fit(x, time, event)


@pytest.mark.parametrize("alpha", [1e-6, 0.05])
def test_a_slight_penalty_on_many_features_of_any_scale_converges(alpha):
    x, time, event, _ = cohort(100, 400)
    model = Cox(alpha).fit(x * 50, time, event)
    risk = model.predict(x * 50)
    assert np.isfinite(risk).all()
    log_risk = torch.tensor(risk, requires_grad=True)
    cox(log_risk, torch.tensor(time), torch.tensor(event, dtype=torch.float64)).backward()
    slope = (x * 50).T @ log_risk.grad.numpy() * event.sum() + alpha * model.coef_
    assert np.abs(slope).max() < 1e-3  # the gradient of the penalised likelihood


def test_shift_and_scale_of_a_feature_do_not_change_the_risk_without_a_penalty():
    x, time, event, _ = cohort()
    moved = Cox().fit(x * 1e3 + 1e4, time, event)
    np.testing.assert_allclose(moved.coef_ * 1e3, Cox().fit(x, time, event).coef_, rtol=1e-6)


def test_separated_outcomes_end_without_an_error():
    time, event = np.arange(1.0, 21), np.ones(20, dtype=bool)
    model = Cox().fit(-time, time, event)  # the risk orders everything: no finite optimum
    assert np.isfinite(model.coef_).all()
    assert model.log_likelihood_ > -1e-2
    with pytest.raises(DataError, match="no event"):
        Cox().fit(time, time, np.zeros(20))


def test_the_baseline_of_risks_from_elsewhere_is_the_true_hazard():
    rng = np.random.default_rng(0)
    risk = rng.normal(size=5000)
    time = rng.exponential(10 * np.exp(-risk))
    baseline = baseline_hazard(time, np.ones(5000), risk)
    np.testing.assert_allclose(baseline.at([2, 5, 10]), [0.2, 0.5, 1.0], rtol=0.06)
    curves = survival_curves(baseline, np.array([-1.0, 0.0, 800.0]), [0.0, 5.0])
    assert (curves[:, 0] == 1).all()
    assert curves[0, 1] > curves[1, 1] > curves[2, 1] >= 0


def test_nested_is_twice_the_gain_in_likelihood_of_lifelines():
    x, time, event, strata = cohort()
    frame = pd.DataFrame(x, columns=list("abc")).assign(t=time, e=event, s=strata)
    fits = [
        CoxPHFitter().fit(frame[[*columns, "t", "e", "s"]], "t", "e", strata="s", fit_options={"precision": 1e-12})
        for columns in ("a", "abc")
    ]
    expected = 2 * (fits[1].log_likelihood_ - fits[0].log_likelihood_)
    found = nested(time, event, x[:, :1], added=x[:, 1:], strata=strata)
    assert found.statistic == pytest.approx(expected, abs=1e-7)
    assert found.p == pytest.approx(stats.chi2.sf(expected, 2), rel=1e-6)
    np.testing.assert_allclose(found.coefficients, fits[1].params_[["b", "c"]] * x[:, 1:].std(0), atol=1e-5)


def test_what_is_known_already_adds_nothing():
    x, time, event, _ = cohort()
    found = nested(time, event, x[:, :2], added=x[:, 0] - x[:, 1])
    assert (found.df, found.p) == (0, 1.0)
    assert found.statistic == pytest.approx(0, abs=1e-8)
    alone = nested(time, event, np.zeros((len(x), 0)), added=x[:, 0])
    assert alone.df == 1
    assert alone.p < 1e-6


def test_p_of_a_risk_that_adds_nothing_is_uniform():
    rng, found = np.random.default_rng(0), []
    for seed in range(150):
        x, time, event, _ = cohort(80, 2, seed=seed)
        found.append(nested(time, event, x, added=rng.normal(size=80)).p)
    assert stats.kstest(found, "uniform").pvalue > 0.01
