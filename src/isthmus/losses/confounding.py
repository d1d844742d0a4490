"""What an embedding z tells of a confounder c, as terms of a loss; rows are samples that have both.

hsic           tr(K H L H) / (B - 1)^2, K of z and L of c, both with RBF kernels whose width is the median distance
               between different samples, H = I - 1/B (Gretton et al., Measuring statistical dependence with
               Hilbert-Schmidt norms, ALT 2005). 0 where z and c are independent.
correlation    squared Pearson correlations of every dimension of z with every column of c, summed.
reversed_for   the gradient reversal of Ganin et al., Domain-adversarial training of neural networks, JMLR 2016,
               arXiv:1505.07818: an adversary that reads z learns to find c, and the encoder to mislead it.

The median is taken as a constant: a network that could move it might hide dependence by changing the unit.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from isthmus.losses.independence import squared_correlation

FEWEST = 4


def hsic(z: Float[Tensor, "n d"], c: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Hilbert-Schmidt independence criterion, the biased estimate; 0 below four samples."""
    if len(z) < FEWEST:
        return z.sum() * 0.0
    k, centred = _kernel(z.float()), _kernel(c.float())
    centred = centred - centred.mean(dim=0, keepdim=True)
    centred = centred - centred.mean(dim=1, keepdim=True)
    return (k * centred).sum() / (len(z) - 1) ** 2


def correlation(z: Float[Tensor, "n d"], c: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Squared correlations, summed over all pairs of a column of z and one of c; 0 below three samples."""
    return squared_correlation(z.float(), c.float())


def reversed_for(z: Float[Tensor, "n d"], strength: float) -> Float[Tensor, "n d"]:
    """Z itself, through which a gradient returns multiplied by -strength."""
    return (1 + strength) * z.detach() - strength * z


def _kernel(x: Float[Tensor, "n d"]) -> Float[Tensor, "n n"]:
    """exp(-|x_i - x_j|^2 / (2 m^2)), m the median distance of different samples (1 where that is 0)."""
    squared = (x.unsqueeze(0) - x.unsqueeze(1)).square().sum(dim=2)
    apart = squared.detach()[~torch.eye(len(x), dtype=torch.bool, device=x.device)]
    apart = apart[apart > 0]
    width = apart.median() if len(apart) else torch.ones((), device=x.device)
    return (-squared / (2 * width)).exp()
