"""Fully connected blocks: linear, norm, activation, dropout."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from isthmus.config import Norm
from isthmus.nn.outer import reads

SHRINK = 4
LAYERS = 2
NARROWEST = 32
"""A panel of some dozen features asks for layers of two or three units, which layer normalisation leaves no more than a
sign of: no hidden layer is narrower than this."""


def funnel(width: int, latent: int, *, cap: int | None = 1024, layers: int = LAYERS) -> tuple[int, ...]:
    """Hidden widths h_i = max(floor(h_{i-1} / 4), d, 32), none above `cap` (nor, for its sake, below d)."""
    widths: list[int] = []
    last = width
    for _ in range(layers):
        last = max(last // SHRINK, latent, NARROWEST)
        widths.append(last if cap is None else min(last, max(cap, latent)))
    return tuple(widths)


def block(width_in: int, width_out: int, *, norm: Norm, dropout: float) -> list[nn.Module]:
    """Linear, norm, ReLU, dropout; a norm or dropout that does nothing is left out."""
    parts: list[nn.Module] = [nn.Linear(width_in, width_out)]
    if norm == "layer":
        parts.append(nn.LayerNorm(width_out))
    elif norm == "batch":
        parts.append(nn.BatchNorm1d(width_out))
    parts.append(nn.ReLU())
    if dropout:
        parts.append(nn.Dropout(dropout))
    return parts


def bypass(width_in: int, width_out: int) -> nn.Linear:
    """A linear map to be added to what a network says: zero until training has found a use for it."""
    layer = nn.Linear(width_in, width_out, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def mlp(widths: Sequence[int], *, norm: Norm, dropout: float, features: int | None = None) -> nn.Sequential:
    """Blocks from each width to the next; with one width, the identity.

    `features`: how many there are behind the first width, where the first layer reads features (see `nn.outer`).
    """
    made = nn.Sequential(*[part for a, b in pairwise(widths) for part in block(a, b, norm=norm, dropout=dropout)])
    if features is not None and len(made) and isinstance(first := made[0], nn.Linear):
        reads(first, features)
    return made
