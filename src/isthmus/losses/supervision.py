"""What heads that predict a class or a number minimise. Samples without a label take no part."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def cross_entropy(
    logits: Float[Tensor, "n k"], codes: Int[Tensor, " n"], weights: Float[Tensor, " k"] | None = None
) -> Float[Tensor, ""]:
    """-log softmax(logits) at the class, in nats; mean over samples with a class (code 0 or more), 0 without any.

    With `weights` of the classes the mean is weighted, and so stays in nats.
    """
    known = codes >= 0
    if not known.any():
        return logits.sum() * 0.0
    return functional.cross_entropy(logits[known].float(), codes[known], None if weights is None else weights.float())


def squared_error(predicted: Float[Tensor, " n"], values: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """(predicted - value)^2, mean over samples whose value is not NaN, 0 without any."""
    known = torch.isfinite(values)
    if not known.any():
        return predicted.sum() * 0.0
    return (predicted[known].float() - values[known]).square().mean()


def balanced_weights(codes: Int[Tensor, " n"], classes: int) -> Float[Tensor, " k"]:
    """N / (K n_k), so that every class counts alike; 0 for a class without samples."""
    counts = torch.bincount(codes[codes >= 0], minlength=classes).float()
    return torch.where(counts > 0, counts.sum() / (classes * counts.clamp(min=1)), 0.0)
