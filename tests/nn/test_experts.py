import math

import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from isthmus.losses.divergence import kl_to_standard_normal
from isthmus.nn.experts import mixture, mixture_of_products, product

DRAW = torch.Generator().manual_seed(0)
MEANS, LOGVARS = torch.randn(3, 5, 2, generator=DRAW), torch.randn(3, 5, 2, generator=DRAW)
THERE = torch.tensor([[1, 1, 0, 0, 0], [1, 0, 1, 1, 0], [1, 0, 1, 0, 0]], dtype=torch.bool)


def density(mean, logvar, grid):
    return Normal(mean, (0.5 * logvar).exp()).log_prob(grid).exp()


def moments(weights, grid):
    """Mean and variance of an unnormalised density on a grid."""
    share = weights / weights.sum()
    mean = (share * grid).sum()
    return mean, (share * (grid - mean).square()).sum()


def test_product_is_the_normalised_product_of_densities():
    grid = torch.linspace(-12, 12, 40001, dtype=torch.float64)
    found = product(MEANS, LOGVARS, THERE)
    for i in range(5):
        for d in range(2):
            weights = density(torch.tensor(0.0), torch.tensor(0.0), grid)
            for k in range(3):
                if THERE[k, i]:
                    weights = weights * density(MEANS[k, i, d].double(), LOGVARS[k, i, d].double(), grid)
            mean, variance = moments(weights, grid)
            assert abs(found.mean[i, d] - mean) < 1e-4
            assert abs(found.logvar[i, d] - variance.log()) < 1e-3


def test_product_of_no_expert_is_the_prior_and_of_many_is_narrower():
    found = product(MEANS, LOGVARS, THERE)
    assert (found.mean[4] == 0).all()
    assert (found.logvar[4] == 0).all()
    assert (found.logvar[0] < product(MEANS[:2], LOGVARS[:2], THERE[:2]).logvar[0]).all()


def torch_mixture(i):
    kept = THERE[:, i]
    parts = Independent(Normal(MEANS[kept, i], (0.5 * LOGVARS[kept, i]).exp()), 1)
    return MixtureSameFamily(Categorical(torch.ones(int(kept.sum()))), parts)


def test_mixture_has_the_moments_of_torchs():
    found = mixture(MEANS, LOGVARS, THERE)
    for i in range(4):
        torch.testing.assert_close(found.mean[i], torch_mixture(i).mean)
        torch.testing.assert_close(found.logvar[i], torch_mixture(i).variance.log())
    assert (found.mean[4] == 0).all()
    assert (found.logvar[4] == 0).all()


def test_draws_of_a_mixture_have_its_moments():
    torch.manual_seed(0)
    n = 40000
    found = mixture(*(v[:, :1].expand(3, n, 2) for v in (MEANS, LOGVARS)), THERE[:, :1].expand(3, n))
    z = found.sample()
    torch.testing.assert_close(z.mean(0), found.mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(0), found.logvar[0].exp(), atol=0.05, rtol=0.05)


def test_divergence_of_one_component_is_exact_and_of_several_a_bound():
    alone = mixture(MEANS[:1], LOGVARS[:1], THERE[:1])
    here = THERE[0]
    expected = kl_to_standard_normal(MEANS[0, here], LOGVARS[0, here]) * here.float().mean()
    torch.testing.assert_close(alone.kl(), expected)
    torch.manual_seed(0)
    whole = mixture(MEANS[:, :1], LOGVARS[:, :1], THERE[:, :1])
    q, prior = torch_mixture(0), Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
    z = q.sample((20000,))
    exact = (q.log_prob(z) - prior.log_prob(z)).mean()
    parts = [kl_divergence(Normal(MEANS[k, 0], (0.5 * LOGVARS[k, 0]).exp()), Normal(0.0, 1.0)).sum() for k in range(3)]
    torch.testing.assert_close(whole.kl(), torch.stack(parts).mean())
    assert exact < whole.kl() < exact + math.log(3)


def test_mixture_of_products_is_over_the_subsets_that_are_there():
    found = mixture_of_products(MEANS, LOGVARS, THERE)
    subsets = [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]]
    for i, expected in enumerate([subsets, [[0]], [[1], [2], [1, 2]], [[1]]]):
        parts = [product(MEANS[s][:, i : i + 1], LOGVARS[s][:, i : i + 1], THERE[s][:, i : i + 1]) for s in expected]
        torch.testing.assert_close(found.mean[i], torch.stack([p.mean[0] for p in parts]).mean(0))
        assert found.there[:, i].sum() == len(expected)
    assert (found.mean[4] == 0).all()
