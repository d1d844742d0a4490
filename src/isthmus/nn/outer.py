"""The layers that meet the features: the first of an encoder, the last of a decoder.

Of these the width may be that of the samples' span (the step `span`) instead of the features'. They start at the scale
of full width, and the optimisers that stay in the span ask here along which axis the features lie, and how many.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

KEY = "features"


@dataclass(frozen=True)
class Features:
    """Along `axis` of a weight or bias lie so many features, or coordinates that stand for them."""

    axis: int
    number: int


def reads(layer: nn.Linear, number: int) -> nn.Linear:
    """Mark a first layer; its start, uniform over +-1/sqrt(inputs), is brought to the scale of `number` inputs."""
    if layer.in_features != number:
        with torch.no_grad():
            for p in layer.parameters():
                p.mul_((layer.in_features / number) ** 0.5)
    vars(layer.weight)[KEY] = Features(1, number)
    return layer


def writes(layer: nn.Linear, number: int) -> nn.Linear:
    """Mark a last layer; its start depends on its inputs alone."""
    for p in layer.parameters():
        vars(p)[KEY] = Features(0, number)
    return layer


def features_of(parameter: torch.Tensor) -> Features | None:
    """Where the features of a weight lie; None for a weight of an inner layer."""
    found = vars(parameter).get(KEY)
    return found if isinstance(found, Features) else None
