"""Survival losses against lifelines, scikit-survival, the definitions, and what a loss of a batch must not do."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter, KaplanMeierFitter
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from isthmus.errors import DataError
from isthmus.losses import time_bins
from isthmus.losses.survival import cox, discrete


def cohort(n=120, seed=0):
    """Rounded (tied) times, a third censored, two covariates, three strata."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    time = np.ceil(rng.exponential(np.exp(-x[:, 0])) * 8)
    event = (rng.random(n) < 0.65).astype(float)
    return x, time, event, rng.integers(0, 3, n)


def loss_and_slope(x, beta, *targets, **options):
    beta = torch.tensor(np.asarray(beta), dtype=torch.float64, requires_grad=True)
    loss = cox(torch.from_numpy(x) @ beta, *map(torch.from_numpy, targets), **options)
    loss.backward()
    return loss.item(), beta.grad.numpy()


@pytest.mark.parametrize("stratified", [False, True])
def test_efron_is_that_of_lifelines_and_flat_at_its_optimum(stratified):
    x, time, event, strata = cohort()
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "t": time, "e": event, "s": strata})
    frame = frame if stratified else frame.drop(columns="s")
    fitter = CoxPHFitter().fit(frame, "t", "e", strata="s" if stratified else None)
    options = {"strata": torch.from_numpy(strata)} if stratified else {}
    loss, slope = loss_and_slope(x, fitter.params_.to_numpy(), time, event, **options)
    assert loss == pytest.approx(-fitter.log_likelihood_ / event.sum(), abs=1e-9)
    assert np.abs(slope).max() < 1e-4  # as far as lifelines goes


def test_breslow_is_flat_at_the_optimum_of_scikit_survival_and_differs_from_efron_by_ties_only():
    x, time, event, _ = cohort()
    model = CoxPHSurvivalAnalysis(ties="breslow", n_iter=200, tol=1e-12)
    model.fit(x, Surv.from_arrays(event.astype(bool), time))
    _, slope = loss_and_slope(x, model.coef_, time, event, ties="breslow")
    assert np.abs(slope).max() < 1e-8
    assert loss_and_slope(x, [1, 0], time, event, ties="breslow")[0] > loss_and_slope(x, [1, 0], time, event)[0] + 0.01
    apart = time + np.linspace(0, 0.5, len(time))
    breslow, efron = (loss_and_slope(x, [1, 0], apart, event, ties=ties)[0] for ties in ("breslow", "efron"))
    assert breslow == pytest.approx(efron, abs=1e-12)


def test_without_events_the_loss_is_zero_with_a_gradient():
    for n in (0, 5):
        risk = torch.randn(n, requires_grad=True)
        loss = cox(risk, torch.rand(n), torch.zeros(n))
        loss.backward()
        assert loss.item() == 0
        assert risk.grad.abs().sum() == 0
    logits = torch.randn(3, 4, requires_grad=True)
    loss = discrete(logits, torch.full((3,), -1), torch.full((3,), math.nan))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0


def test_unknown_outcomes_and_the_order_of_samples_do_not_matter():
    x, time, event, strata = (torch.from_numpy(np.asarray(a)) for a in cohort(40))
    risk, shuffled = x[:, 0], torch.randperm(40, generator=torch.Generator().manual_seed(0))
    whole = cox(risk, time, event, strata=strata)
    mixed = cox(risk[shuffled], time[shuffled], event[shuffled], strata=strata[shuffled])
    assert mixed.item() == pytest.approx(whole.item(), abs=1e-12)
    nan = torch.tensor([math.nan])
    longer = (torch.cat([a, b]) for a, b in ((risk, nan * 0 + 3), (time, nan), (event, nan * 0 + 1)))
    longer = [torch.nan_to_num(a, nan=3.0) if i == 0 else a for i, a in enumerate(longer)]
    assert cox(*longer).item() == pytest.approx(cox(risk, time, event).item(), abs=1e-12)


def test_extreme_risks_of_float32_stay_finite():
    x, time, event, _ = cohort(60)
    risk = torch.tensor(x[:, 0] * 200, dtype=torch.float32, requires_grad=True)
    loss = cox(risk, torch.tensor(time, dtype=torch.float32), torch.tensor(event, dtype=torch.float32))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(risk.grad).all()
    assert risk.grad.sum().item() == pytest.approx(0, abs=1e-4)  # a constant added to all risks changes nothing


def test_discrete_likelihood_is_the_sum_by_hand():
    hazard = np.array([[0.1, 0.2, 0.3], [0.5, 0.4, 0.3], [0.2, 0.2, 0.2]])
    logits = torch.from_numpy(np.log(hazard / (1 - hazard)))
    loss = discrete(logits, torch.tensor([1, 1, -1]), torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    by_hand = -(math.log(0.9) + math.log(0.2)) - (math.log(0.5) + math.log(0.6)) - 0.0
    assert loss.item() == pytest.approx(by_hand / 3, abs=1e-12)
    sure = discrete(torch.full((1, 3), -200.0), torch.tensor([1]), torch.tensor([1.0]))
    assert sure.item() == pytest.approx(200)  # never clamped


def test_hazards_without_covariates_are_the_kaplan_meier_curve():
    rng = np.random.default_rng(0)
    happens, stops = rng.exponential(10, 4000), rng.uniform(0, 25, 4000)
    time, event = np.minimum(happens, stops), (happens <= stops).astype(float)
    edges = time_bins.edges(time, event, bins=8)
    index = time_bins.bin_of(time, event, edges)
    deaths = np.bincount(index[event > 0.5], minlength=len(edges) - 1)
    lived = np.array([(index - event >= k).sum() for k in range(len(edges) - 1)])
    logits = torch.tensor(np.log(deaths / lived)[None], requires_grad=True)  # deaths / (deaths + lived) is the hazard
    discrete(logits.expand(len(time), -1), torch.from_numpy(index), torch.from_numpy(event)).backward()
    assert logits.grad.abs().max() < 1e-12  # the optimum of the loss
    at = np.array([1.0, 3.0, 7.0, 12.0, 18.0])
    curve = time_bins.survival_curves(logits.detach().numpy(), edges, at)[0]
    np.testing.assert_allclose(curve, KaplanMeierFitter().fit(time, event).predict(at), atol=0.02)


def test_intervals_hold_as_many_events_each_and_curves_fall_from_one():
    _, time, event, _ = cohort(400)
    time = time + np.linspace(0, 0.9, 400)
    edges = time_bins.edges(time, event, bins=5)
    index = time_bins.bin_of(time, event, edges)
    counts = np.bincount(index[event > 0.5])
    assert np.ptp(counts) <= 2
    assert index.min() >= -1
    assert (index[event < 0.5] <= np.searchsorted(edges[1:-1], time[event < 0.5])).all()
    curves = time_bins.survival_curves(np.random.default_rng(0).normal(size=(3, 5)), edges, np.linspace(0, 100, 50))
    assert (curves[:, 0] == 1).all()
    assert (np.diff(curves, axis=1) <= 0).all()
    with pytest.raises(DataError, match="no event"):
        time_bins.edges(time, np.zeros_like(time))


def test_log_risk_of_proportional_hazards_differs_by_the_log_hazard_ratio():
    cumulative = np.array([0.1, 0.3, 0.7, 1.1])
    steps = np.diff(cumulative, prepend=0)
    logits = np.log(np.expm1(np.stack([steps, 3 * steps])))  # softplus of these are the steps
    assert np.diff(time_bins.log_risk(logits)) == pytest.approx(math.log(3))
