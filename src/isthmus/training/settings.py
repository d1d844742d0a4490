"""How a model is trained. Imports no torch, so that a recipe can be checked without it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from isthmus.config import Config, Tune


def upward(epsilon: float, decimals: int = 3) -> str:
    """A privacy budget as text, rounded so that it is never said to be smaller than it is."""
    return f"{math.ceil(epsilon * 10**decimals) / 10**decimals:.{decimals}f}"


SOME_PROTECTION = 10.0
"""Epsilon above which nothing much is promised (Ponomareva et al. 2023, https://arxiv.org/abs/2303.00654)."""


def hardly_private(epsilon: float) -> str:
    """What is to be said of a budget that promises next to nothing; empty for others."""
    if epsilon <= SOME_PROTECTION:
        return ""
    return (
        f"epsilon {epsilon:.6g} promises next to nothing to anybody: what an attacker sees may be exp({epsilon:.6g}) "
        f"times as likely with a sample as without it; up to {SOME_PROTECTION:g} counts as some protection, up to 1 as "
        "strong"
    )


class Private(Config):
    """Training with differential privacy (extra `private`); what it does and does not cover is told by every run."""

    epsilon: Annotated[float, Field(gt=0, le=1e6)] = 8.0
    """Most that all steps together may spend; smaller is more private, and noisier. Above 10 it is warned of."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """Probability that the bound by epsilon does not hold; far below one over the number of training samples."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest norm of a single sample's gradient; it takes the place of `gradient_clip`."""
    secret: bool = True
    """Whether samples and noise of a step come from a secret that is thrown away, so that no two runs are alike.
    False: from `seed`, for tests; it then protects against those alone who do not know the seed."""


class Training(Config):
    """Settings of the training loop, the same for every architecture."""

    epochs: Annotated[int, Field(ge=1), Tune(50, 500, log=True, asked=True)] = 200
    """Passes over the training samples, all phases together, unless early stopping ends a phase before."""
    batch_size: Annotated[int, Field(ge=1), Tune(choices=(32, 64, 128, 256))] = 64
    """Samples a step."""
    instances: Annotated[int, Field(ge=1)] | None = None
    """For bags: instances of a sample drawn for a step, anew in every epoch; None: all, as always in evaluation."""
    lr: Annotated[float, Field(gt=0), Tune(1e-4, 1e-2, log=True)] = 1e-3
    """Learning rate at its highest."""
    optimizer: Literal["adam", "adamw", "sgd", "rowwise_adam", "muon"] = "adam"
    """Optimiser; the first two are fused, the other three are those that the step `span` takes."""
    weight_decay: Annotated[float, Field(ge=0), Tune(1e-6, 1e-1, log=True)] = 0.0
    """Weight decay (decoupled, but for adam and sgd)."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls to zero over the epochs of a phase."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a phase in which the learning rate rises from zero."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of a player's gradient; None: no bound."""
    private: Private | None = None
    """Differential privacy: such as `{epsilon: 8, delta: 1.0e-5}`. None: without."""
    patience: Annotated[int, Field(ge=1)] | None = 30
    """Epochs without a better validation loss before a phase ends and its best weights return; None: never."""
    valid_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Part of train held out for early stopping where no validation samples are given."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seeds initial weights, batch order, dropout and sampling."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    """Device; `auto` takes the best there is."""
    devices: Annotated[int, Field(ge=1)] = 1
    """How many devices (or processes, on CPU) share each batch."""
    strategy: Literal["auto", "ddp"] = "auto"
    """How they share it: `ddp` splits each batch and averages gradients; `auto` is `ddp` for more than one device."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of a step on the CPU. None: one for a small network, where more cost time; else what torch takes."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true", "64-true"] = "32-true"
    """Number format of weights and arithmetic."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 10
    """Epochs between two checkpoints of a run folder."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run folder (needs the extra `tensorboard`); `fit` alone has none."""
