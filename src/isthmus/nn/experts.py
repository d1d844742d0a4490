"""One posterior from several: products and mixtures of diagonal Gaussian experts, whichever of them are there.

In every function `means` and `logvars` hold k experts, and `there` says which of them a sample has.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isthmus.losses.divergence import kl_per_sample
from isthmus.nn.gaussian import Gaussian


def product(means: Float[Tensor, "k n d"], logvars: Float[Tensor, "k n d"], there: Bool[Tensor, "k n"]) -> Gaussian:
    """The prior N(0, I) times every expert that is there, normalised; the prior where none is.

    The precisions add: 1 / var = 1 + sum_m 1 / var_m, mean = var sum_m mean_m / var_m (Wu & Goodman 2018,
    arXiv:1802.05335, section 2).
    """
    precisions = torch.where(there.unsqueeze(2), (-logvars).exp(), 0.0)
    total = 1 + precisions.sum(dim=0)
    return Gaussian((precisions * means).sum(dim=0) / total, -total.log())


@dataclass(frozen=True)
class Mixture:
    """Per sample, the Gaussians that are there, with equal weights; every sample has one at least."""

    means: Float[Tensor, "k n d"]
    logvars: Float[Tensor, "k n d"]
    there: Bool[Tensor, "k n"]

    @property
    def weights(self) -> Float[Tensor, "k n 1"]:
        """1 / number of components that a sample has, or 0."""
        return (self.there / self.there.sum(dim=0)).unsqueeze(2)

    @property
    def mean(self) -> Float[Tensor, "n d"]:
        return (self.weights * self.means).sum(dim=0)

    @property
    def logvar(self) -> Float[Tensor, "n d"]:
        """Logarithm of the mixture's variance: within components and between their means."""
        spread = self.logvars.exp() + (self.means - self.mean).square()
        return (self.weights * spread).sum(dim=0).log()

    def sample(self) -> Float[Tensor, "n d"]:
        """One draw: a component by lot, then a draw of it, differentiable in the component's mean and variance."""
        lot = torch.multinomial(self.there.T.float(), 1).T.unsqueeze(2).expand(1, *self.means.shape[1:])
        return Gaussian(self.means.gather(0, lot)[0], self.logvars.gather(0, lot)[0]).sample()

    def kl(self) -> Float[Tensor, ""]:
        """Mean over components of KL(component || N(0, I)), in nats, mean over samples.

        With one component the divergence itself; with more an upper bound of the mixture's, by convexity (Sutter et
        al. 2021, arXiv:2105.02470, lemma 1).
        """
        each = torch.stack([kl_per_sample(m, v) for m, v in zip(self.means, self.logvars, strict=True)])
        return (self.weights.squeeze(2) * each).sum(dim=0).mean()


def mixture(means: Float[Tensor, "k n d"], logvars: Float[Tensor, "k n d"], there: Bool[Tensor, "k n"]) -> Mixture:
    """The experts that are there with equal weights; the prior where none is."""
    prior = torch.zeros_like(means[:1])
    none = ~there.any(dim=0, keepdim=True)
    return Mixture(torch.cat([means, prior]), torch.cat([logvars, prior]), torch.cat([there, none]))


def mixture_of_products(
    means: Float[Tensor, "k n d"], logvars: Float[Tensor, "k n d"], there: Bool[Tensor, "k n"]
) -> Mixture:
    """The products of all non-empty subsets of the experts that are there; the prior where none is."""
    subsets = [list(s) for size in range(1, len(means) + 1) for s in combinations(range(len(means)), size)]
    products = [product(means[s], logvars[s], there[s]) for s in subsets]
    whole = torch.stack([there[s].all(dim=0) for s in subsets])
    return mixture(torch.stack([p.mean for p in products]), torch.stack([p.logvar for p in products]), whole)
