import numpy as np
import pytest
import scipy.stats
import torch

from isthmus.losses import reconstruction as loss

X = torch.tensor([[0.0, 1.0, 7.0], [3.0, 0.0, 120.0]])
RATE = torch.tensor([[0.3, 1.5, 6.0], [2.0, 0.01, 100.0]])
LOG_THETA = torch.tensor([-1.0, 0.0, 2.0])


def nbinom():
    theta, rate = LOG_THETA.exp().double().numpy(), RATE.double().numpy()
    return scipy.stats.nbinom(theta, theta / (theta + rate))


def test_poisson_against_scipy():
    expected = -scipy.stats.poisson(RATE.numpy()).logpmf(X.numpy())
    np.testing.assert_allclose(loss.poisson(X, RATE), expected, rtol=1e-4)


def test_negative_binomial_against_scipy():
    np.testing.assert_allclose(
        loss.negative_binomial(X, RATE, LOG_THETA), -nbinom().logpmf(X.numpy()), rtol=2e-4, atol=1e-5
    )


def test_zero_inflated_is_the_mixture():
    logits = torch.tensor([[-2.0, 0.0, 1.0], [0.5, 2.0, -1.0]])
    share = logits.sigmoid().double().numpy()
    pmf = share * (X.numpy() == 0) + (1 - share) * np.exp(nbinom().logpmf(X.numpy()))
    np.testing.assert_allclose(loss.zero_inflated(X, RATE, LOG_THETA, logits), -np.log(pmf), rtol=2e-4, atol=1e-5)


def test_negative_binomial_tends_to_poisson():
    wide = torch.full((3,), 12.0)
    torch.testing.assert_close(loss.negative_binomial(X, RATE, wide), loss.poisson(X, RATE), rtol=2e-2, atol=2e-2)


def test_bernoulli_is_cross_entropy():
    x, logits = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.7, -0.2]])
    p = logits.sigmoid()
    torch.testing.assert_close(loss.bernoulli(x, logits), -(x * p.log() + (1 - x) * (1 - p).log()))


@pytest.mark.parametrize("observed", [torch.tensor([[True], [False]]), torch.tensor([[True] * 3, [False] * 3])])
def test_masked_sum_adds_features_and_averages_present_samples(observed):
    nll = torch.tensor([[1.0, 2.0, 3.0], [100.0, 100.0, 100.0]])
    assert loss.masked_sum(nll, observed) == 6


def test_masked_sum_of_nothing_is_zero_with_a_gradient():
    nll = torch.ones(2, 3, requires_grad=True)
    total = loss.masked_sum(nll, torch.zeros(2, 1, dtype=torch.bool))
    total.backward()
    assert total == 0
    assert (nll.grad == 0).all()


def test_relative_error_knows_no_scale_and_is_the_number_of_features_for_the_mean():
    draw = torch.Generator().manual_seed(0)
    x, guess = torch.randn(50, 4, generator=draw), torch.randn(50, 4, generator=draw)
    present = torch.arange(50) < 40
    found = loss.relative_error(x, guess, present)
    torch.testing.assert_close(loss.relative_error(30 * x, 30 * guess, present), found)
    mean = x[present].mean(0).expand(50, 4)
    torch.testing.assert_close(loss.relative_error(x, mean, present), torch.tensor(4.0))
    assert loss.relative_error(x, x, present) == 0
    assert loss.relative_error(x, guess, torch.arange(50) < 1) == 0
    assert loss.relative_error(x * 0, guess, present) == 0
