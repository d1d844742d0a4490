import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from isthmus.losses.divergence import kl_to_standard_normal
from isthmus.losses.total_correlation import decomposition, stratified_log_weights


def posteriors(n, d, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=draw), torch.randn(n, d, generator=draw) - 1


def draws(mean, logvar, seed=1):
    return mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))


def test_terms_sum_to_the_divergence():
    mean, logvar = posteriors(40, 3)
    z = draws(mean, logvar)
    q, prior = Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)
    expected = (q.log_prob(z) - prior.log_prob(z)).sum(1).mean()
    torch.testing.assert_close(sum(decomposition(z, mean, logvar, n_train=1000)), expected)
    found = [sum(decomposition(draws(mean, logvar, s), mean, logvar, n_train=1000)).item() for s in range(300)]
    assert sum(found) / 300 == pytest.approx(kl_to_standard_normal(mean, logvar).item(), rel=0.01)


def test_the_whole_training_set_gives_the_mixture_itself():
    """With every training sample in the batch, log q(z) is that of a mixture of Gaussians, which torch knows."""
    mean, logvar = posteriors(30, 2)
    z, sd = draws(mean, logvar), (0.5 * logvar).exp()
    even = Categorical(torch.ones(30))
    joint = MixtureSameFamily(even, Independent(Normal(mean, sd), 1)).log_prob(z)
    alone = sum(MixtureSameFamily(even, Normal(mean[:, d], sd[:, d])).log_prob(z[:, d]) for d in range(2))
    q, prior = Normal(mean, sd).log_prob(z).sum(1), Normal(0.0, 1.0).log_prob(z).sum(1)
    mi, tc, dwkl = decomposition(z, mean, logvar, n_train=30)
    torch.testing.assert_close(mi, (q - joint).mean())
    torch.testing.assert_close(tc, (joint - alone).mean())
    torch.testing.assert_close(dwkl, (alone - prior).mean())


def test_weights_of_a_batch_are_unbiased_for_the_aggregate_posterior():
    n, size = 60, 12
    mean, logvar = (v.double() for v in posteriors(n, 2))
    z = draws(mean, logvar)[:1]
    density = Independent(Normal(mean, (0.5 * logvar).exp()), 1).log_prob(z).exp()
    weights = stratified_log_weights(size, n)[0].exp()
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    draw = torch.Generator().manual_seed(0)
    found = torch.stack([
        (weights * density[torch.cat([torch.tensor([0]), 1 + torch.randperm(n - 1, generator=draw)[: size - 1]])]).sum()
        for _ in range(4000)
    ])  # fmt: skip
    assert abs(found.mean() - density.mean()) < 4 * found.std() / math.sqrt(len(found))


def test_total_correlation_of_a_gaussian():
    """Point-like posteriors spread as a Gaussian: -1/2 log det C, up to the width of the kernels."""
    rho, n, width = 0.8, 2000, 0.15
    cloud = MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, rho], [rho, 1.0]]))
    torch.manual_seed(0)
    mean = cloud.sample((n,))
    logvar = torch.full_like(mean, 2 * math.log(width))
    smoothed = rho / (1 + width**2)
    _, tc, dwkl = decomposition(draws(mean, logvar), mean, logvar, n_train=n)
    assert tc.item() == pytest.approx(-0.5 * math.log(1 - smoothed**2), abs=0.06)
    assert dwkl.item() == pytest.approx(0, abs=0.05)


def test_terms_may_be_negative_and_one_sample_is_finite():
    found = [decomposition(draws(*posteriors(6, 2, s), s), *posteriors(6, 2, s), n_train=500)[1] for s in range(40)]
    assert min(found) < 0
    mean, logvar = posteriors(1, 2)
    mi, tc, dwkl = decomposition(draws(mean, logvar), mean, logvar, n_train=100)
    assert mi == 0
    assert tc == 0
    assert torch.isfinite(dwkl)
