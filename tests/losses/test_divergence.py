import math

import torch
from torch.distributions import Normal, kl_divergence

from isthmus.losses import divergence


def test_kl_against_torch():
    draw = torch.Generator().manual_seed(0)
    mean, logvar = torch.randn(50, 4, generator=draw), torch.randn(50, 4, generator=draw)
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(divergence.kl_to_standard_normal(mean, logvar), expected)


def test_kl_of_the_prior_is_zero():
    assert divergence.kl_to_standard_normal(torch.zeros(3, 2), torch.zeros(3, 2)) == 0


def expected_kernel(shift, d):
    """E k(x, y) for x ~ N(shift, I), y ~ N(0, I), in closed form."""
    parts = []
    for s in divergence.RBF_SCALES:
        width = d * s
        parts.append((1 + 2 / width) ** (-d / 2) * math.exp(-shift / (2 * (width + 2))))
    return sum(parts) / len(parts)


def test_mmd_against_its_closed_form():
    d, n = 3, 400
    draw = torch.Generator().manual_seed(1)
    shift = torch.tensor([1.0, 0.0, -0.5])
    found = [
        divergence.mmd(torch.randn(n, d, generator=draw) + shift, torch.randn(n, d, generator=draw)).item()
        for _ in range(20)
    ]
    expected = 2 * expected_kernel(0.0, d) - 2 * expected_kernel(shift.square().sum().item(), d)
    assert abs(sum(found) / len(found) - expected) < 0.01


def test_mmd_is_unbiased_and_not_clamped():
    draw = torch.Generator().manual_seed(2)
    found = torch.stack(
        [divergence.mmd(torch.randn(40, 2, generator=draw), torch.randn(40, 2, generator=draw)) for _ in range(200)]
    )
    assert abs(found.mean()) < 4 * found.std() / math.sqrt(len(found))
    assert (found < 0).any()


def test_mmd_below_two_samples_is_zero():
    assert divergence.mmd(torch.ones(1, 2), torch.ones(1, 2)) == 0
