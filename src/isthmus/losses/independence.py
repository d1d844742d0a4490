"""How far blocks of latent dimensions depend on each other."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

TINY = 1e-3
"""Added to every variance: a dimension that varies much less than this correlates with nothing."""


def squared_correlation(a: Float[Tensor, "n p"], b: Float[Tensor, "n q"]) -> Float[Tensor, ""]:
    """Squared Pearson correlation over samples, summed over all pairs of a column of a and one of b.

    From 0 to min(p, q) where the columns within a and within b are uncorrelated. 0 below three samples.
    """
    if len(a) < 3:
        return (a.sum() + b.sum()) * 0.0
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    a = a / (a.square().mean(dim=0) + TINY).sqrt()
    b = b / (b.square().mean(dim=0) + TINY).sqrt()
    return (a.T @ b / len(a)).square().sum()
