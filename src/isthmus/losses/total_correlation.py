"""The divergence from the prior in three parts: index-code mutual information, total correlation, dimension-wise KL."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def decomposition(
    z: Float[Tensor, "n d"], mean: Float[Tensor, "n d"], logvar: Float[Tensor, "n d"], *, n_train: int
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Estimates of I(x; z), KL(q(z) || prod_d q(z_d)) and sum_d KL(q(z_d) || N(0, 1)), in nats, mean over samples.

    They sum to the mean of log q(z | x) - log p(z), and each may be negative. Chen et al. 2018, arXiv:1802.04942,
    equation 2.

    Parameters
    ----------
    z
        A draw from each sample's posterior.
    mean, logvar
        The posteriors N(mean, exp(logvar)) of the batch.
    n_train
        Size of the training set that the batch is a draw from; where it is smaller than the batch, the batch's size.
    """
    each = _log_normal(z.unsqueeze(1), mean.unsqueeze(0), logvar.unsqueeze(0))
    log_weights = stratified_log_weights(len(z), n_train).to(z)
    log_q_joint = torch.logsumexp(log_weights + each.sum(dim=2), dim=1)
    log_q_product = torch.logsumexp(log_weights.unsqueeze(2) + each, dim=1).sum(dim=1)
    log_q_given_x = each.diagonal().sum(dim=0)
    log_prior = _log_normal(z, torch.zeros_like(z), torch.zeros_like(z)).sum(dim=1)
    return (
        (log_q_given_x - log_q_joint).mean(),
        (log_q_joint - log_q_product).mean(),
        (log_q_product - log_prior).mean(),
    )


def stratified_log_weights(n: int, n_train: int) -> Float[Tensor, "n n"]:
    """Logarithms of weights w_ij such that sum_j w_ij q(z_i | x_j) estimates q(z_i) without bias from a batch of n.

    The sample itself stands for 1 / N of the training set and the n - 1 others for the rest, alike: appendix C of Chen
    et al. 2018, averaged over which of the others is their last.
    """
    whole = max(n_train, n)
    own = math.log(1 / whole)
    others = math.log((whole - 1) / whole / (n - 1)) if n > 1 else own
    weights = torch.full((n, n), others)
    return weights.fill_diagonal_(own if n > 1 else 0.0)


def _log_normal(x: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * (math.log(2 * math.pi) + logvar + (x - mean).square() * (-logvar).exp())
