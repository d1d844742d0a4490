"""How far the encoded samples are from the prior N(0, I)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

RBF_SCALES = (0.2, 0.5, 0.9, 1.3)
"""Bandwidths as multiples of 2d, the mean squared distance between two draws of N(0, I_d)."""


def kl_to_standard_normal(mean: Float[Tensor, "n d"], logvar: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """KL(N(mean, exp(logvar)) || N(0, I)) in nats: sum over latent dimensions, mean over samples.

    1/2 sum_d (mean^2 + var - 1 - log var); Kingma & Welling 2014, appendix B.
    """
    return kl_per_sample(mean, logvar).mean()


def kl_per_sample(mean: Float[Tensor, "n d"], logvar: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """KL(N(mean, exp(logvar)) || N(0, I)) in nats of every sample, summed over latent dimensions."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(dim=1)


def rbf_mixture(a: Float[Tensor, "n d"], b: Float[Tensor, "b d"]) -> Float[Tensor, "n b"]:
    """Mean over `RBF_SCALES` of exp(-|a - b|^2 / (2 d s))."""
    squared = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()
    width = 2.0 * a.shape[1]
    return torch.stack([(-squared / (width * s)).exp() for s in RBF_SCALES]).mean(dim=0)


def mmd(z: Float[Tensor, "n d"], prior: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Unbiased estimate of the squared maximum mean discrepancy; it may be negative. 0 below two samples.

    Gretton et al. 2012, JMLR 13:723, equation 3; as a regulariser Zhao, Song & Ermon 2019, arXiv:1706.02262.
    """
    n, m = len(z), len(prior)
    if n < 2 or m < 2:
        return z.sum() * 0.0
    zz, pp, zp = rbf_mixture(z, z), rbf_mixture(prior, prior), rbf_mixture(z, prior)
    within = (zz.sum() - zz.diagonal().sum()) / (n * (n - 1)) + (pp.sum() - pp.diagonal().sum()) / (m * (m - 1))
    return within - 2 * zp.mean()
