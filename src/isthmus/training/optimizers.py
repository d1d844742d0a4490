"""The optimisers, and which of them keep the weights of the outer layers in the span of the samples (step `span`).

Let W be a first weight (h x p) and G its gradient, in the span: W = A V', G = D V', V orthonormal (p x r). Momentum,
weight decay, and a norm over all gradients to clip by are linear in W and G, or see them through |G| = |D|.

rowwise_adam   AdamW, but where features lie along an axis of a weight its second moment is averaged over them, so that

                   v <- b2 v + (1 - b2) mean_j G_ij^2,      mean_j G_ij^2 = |D_i|^2 / p,

               and one step size serves all features of a unit: the step stays D's times V'. Weights of inner layers
               have the elementwise second moment. Elementwise on an outer layer, the step is no longer in the span.
muon           momentum orthogonalised by Newton-Schulz: polynomials (a + b G G' + c (G G')^2) G = (...) D V'. Vectors
               take the step of rowwise_adam.

Kingma & Ba, Adam, ICLR 2015, arXiv:1412.6980; Loshchilov & Hutter, AdamW, ICLR 2019, arXiv:1711.05101; second moments
that weights share: Shazeer & Stern, Adafactor, ICML 2018, arXiv:1804.04235, and Zhang et al., Adam-mini, ICLR 2025,
arXiv:2406.16793. Muon: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; the factor .2 sqrt(larger side),
which gives its steps the size of Adam's: Liu et al. 2025, arXiv:2502.16982.

Departures: Newton-Schulz runs in the weights' own number format, not bfloat16; the larger side counts features, not
coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from isthmus.nn.outer import features_of
from isthmus.training.settings import Training

REDUCIBLE = ("sgd", "rowwise_adam", "muon")
"""Those that give in the span of the samples what they give at full width."""
MOMENTUM = 0.9
BETAS = (0.9, 0.999)
EPSILON = 1e-8
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
MUON_MOMENTUM = 0.95
MUON_SIZE = 0.2


def build(settings: Training, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser that the settings name, over some parameters."""
    moving = list(parameters)
    match settings.optimizer:
        case "sgd":
            return torch.optim.SGD(
                moving, lr=settings.lr, momentum=MOMENTUM, weight_decay=settings.weight_decay, fused=True
            )
        case "rowwise_adam":
            return RowwiseAdam(moving, lr=settings.lr, weight_decay=settings.weight_decay)
        case "muon":
            return Muon(moving, lr=settings.lr, weight_decay=settings.weight_decay)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(moving, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


class RowwiseAdam(Optimizer):
    """AdamW whose second moment is averaged over the features where a weight has any."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            moving = [p for p in group["params"] if p.grad is not None]
            for p in moving:
                _begin(p, self.state[p])
                if features_of(p) is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    _rowwise(p, p.grad, self.state[p], group["lr"])
            inner = [p for p in moving if features_of(p) is None]
            memory = [[self.state[p][k] for p in inner] for k in ("mean", "square", "step")]
            adamw(
                inner, [p.grad for p in inner], memory[0], memory[1], [], memory[2], fused=True, amsgrad=False,
                beta1=BETAS[0], beta2=BETAS[1], lr=group["lr"], weight_decay=group["weight_decay"], eps=EPSILON,
                maximize=False,
            )  # fmt: skip
        return None


class Muon(Optimizer):
    """Orthogonalised momentum (Nesterov) for matrices, `RowwiseAdam` for vectors; decoupled weight decay."""

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.mul_(1 - group["lr"] * group["weight_decay"])
                if p.ndim < 2:
                    _begin(p, self.state[p])
                    _rowwise(p, p.grad, self.state[p], group["lr"])
                else:
                    self._orthogonal(p, p.grad, group["lr"])
        return None

    def _orthogonal(self, p: Tensor, gradient: Tensor, lr: float) -> None:
        memory = self.state[p].setdefault("momentum", torch.zeros_like(p))
        memory.lerp_(gradient, 1 - MUON_MOMENTUM)
        ahead = gradient.lerp(memory, MUON_MOMENTUM).flatten(1)
        sides = list(ahead.shape)
        if (features := features_of(p)) is not None:
            sides[features.axis] = features.number
        p.add_(orthogonalised(ahead).view_as(p), alpha=-lr * MUON_SIZE * max(sides) ** 0.5)


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought near 1 (to .7 .. 1.2) by five rounds of Newton-Schulz."""
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + EPSILON)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x


def _begin(p: Tensor, memory: dict[str, Any]) -> None:
    """An empty memory of Adam: steps taken, first moment, second moment."""
    if not memory:
        memory |= {"step": torch.tensor(0.0), "mean": torch.zeros_like(p), "square": torch.zeros_like(_square(p, p))}


def _rowwise(p: Tensor, gradient: Tensor, memory: dict[str, Any], lr: float) -> None:
    """A step of Adam, its second moment averaged over the features where they lie along an axis of `p`."""
    memory["step"] += 1
    t, (first, second) = float(memory["step"]), BETAS
    memory["mean"].lerp_(gradient, 1 - first)
    memory["square"].lerp_(_square(p, gradient), 1 - second)
    size = (memory["square"] / (1 - second**t)).sqrt_().add_(EPSILON)
    p.addcdiv_(memory["mean"], size, value=-lr / (1 - first**t))


def _square(p: Tensor, gradient: Tensor) -> Tensor:
    """The squared gradient, its mean over the features of an outer weight."""
    if (features := features_of(p)) is None:
        return gradient**2
    whole: Tensor = (gradient**2).sum(dim=features.axis, keepdim=True)
    return whole / features.number
