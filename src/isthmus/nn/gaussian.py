"""Diagonal Gaussians over latent dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

LOGVAR_BOUND = 20.0
"""Far outside what any posterior reaches (sd from 4.5e-5 to 2.2e4): a guard against overflow, not a floor."""


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution per sample and latent dimension."""

    mean: Float[Tensor, "n d"]
    logvar: Float[Tensor, "n d"]

    def sample(self) -> Float[Tensor, "n d"]:
        """One draw, differentiable in mean and variance."""
        return torch.addcmul(self.mean, torch.randn_like(self.mean), (0.5 * self.logvar).exp())


class GaussianHead(nn.Module):
    """Mean and log-variance from two linear maps of the same hidden layer."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.mean = nn.Linear(width, latent)
        self.logvar = nn.Linear(width, latent)

    def forward(self, h: Float[Tensor, "n h"]) -> Gaussian:
        return Gaussian(self.mean(h), self.logvar(h).clamp(-LOGVAR_BOUND, LOGVAR_BOUND))
