"""How unlikely each entry is under a decoder's distribution, and their sum over what is observed."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

TINY = 1e-8
"""Keeps log(rate) finite where a rate underflows to zero; below any count rate worth the name."""


def squared_error(x: Float[Tensor, "n f"], mean: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
    """(x - mean)^2: twice the Gaussian negative log-likelihood at unit variance, less its constant."""
    return (x - mean).square()


def bernoulli(x: Float[Tensor, "n f"], logits: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
    """Binary cross-entropy in nats; x in 0..1."""
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none")


def poisson(x: Float[Tensor, "n f"], rate: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
    """Negative log-likelihood in nats, with the factorial."""
    return rate - x * (rate + TINY).log() + torch.lgamma(x + 1)


def negative_binomial(
    x: Float[Tensor, "n f"], rate: Float[Tensor, "n f"], log_theta: Float[Tensor, " f"]
) -> Float[Tensor, "n f"]:
    """Negative log-likelihood in nats of counts with mean `rate` and variance rate + rate^2 / theta.

    log Gamma(x + theta) - log Gamma(theta) is taken in float64: in float32 it is noise where theta is large.
    """
    theta = log_theta.exp()
    wide = theta if theta.device.type == "mps" else theta.double()
    rising = (torch.lgamma(x + wide) - torch.lgamma(wide)).to(x.dtype)
    excess = torch.log1p(rate / theta)
    return torch.lgamma(x + 1) - rising + theta * excess + x * (log_theta + excess - (rate + TINY).log())


def zero_inflated(
    x: Float[Tensor, "n f"],
    rate: Float[Tensor, "n f"],
    log_theta: Float[Tensor, " f"],
    zero_logits: Float[Tensor, "n f"],
) -> Float[Tensor, "n f"]:
    """Negative log-likelihood in nats where an entry is zero for another reason with probability sigmoid(logit)."""
    counts = functional.logsigmoid(-zero_logits) - negative_binomial(x, rate, log_theta)
    excess = torch.logaddexp(functional.logsigmoid(zero_logits), counts)
    return -torch.where(x == 0, excess, counts)


def masked_sum(nll: Float[Tensor, "n f"], observed: Bool[Tensor, "n _"]) -> Float[Tensor, ""]:
    """Sum over observed features, mean over the samples that have any; 0 where none has."""
    if observed.shape[1] == 1:
        mask = observed[:, 0]
        return (nll.sum(dim=1) * mask).sum() / mask.sum().clamp(min=1)
    present = observed.any(dim=1).sum().clamp(min=1)
    return (nll * observed).sum() / present


def relative_error(
    x: Float[Tensor, "n f"], mean: Float[Tensor, "n f"], present: Bool[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Squared error, summed over features, mean over present samples, divided by the features' mean variance.

    From 0, and f for a constant. 0 where fewer than two samples are present, or all are alike.
    """
    x, error = x[present], squared_error(x, mean)[present]
    if len(x) < 2:
        return mean.sum() * 0.0
    variance = x.detach().var(dim=0, correction=0).mean()
    return torch.where(variance > 0, error.sum(dim=1).mean() / variance.clamp(min=TINY), error.sum() * 0.0)
