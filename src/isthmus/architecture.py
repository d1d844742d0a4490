"""The interface between a model and the engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from isthmus.config import Config
from isthmus.types import Batch, Loss, Output, Spec


@dataclass(frozen=True)
class Phase:
    """A stretch of training, `share` of all epochs long, in which the players take a step in turn."""

    name: str
    share: float = 1.0
    players: tuple[str, ...] = ("model",)


class Architecture(nn.Module):
    """What an architecture has to say for itself; the engine, `Fitted` and the heads do the rest.

    A subclass lives in one file of `architectures/`, named as users write it in a recipe, together with its config
    class. It sees a `Spec` and batches: never a file, a DataFrame or the training settings.
    """

    phases: tuple[Phase, ...] = (Phase("fit"),)
    """What happens in training, one after the other; an instance may have phases of its own where settings say so."""
    modalities: ClassVar[tuple[int, int | None]] = (1, None)
    """The fewest and the most modalities it takes; None: no bound."""
    balance: ClassVar[Mapping[str, tuple[tuple[str, ...], float, float]]] = {}
    """Parts of the loss that ought to keep a balance to the end of training: name -> terms (whole, or what stands
    before a `/`), the least and the greatest share recommended. The report shows them and warns outside."""
    opposed: ClassVar[tuple[str, ...]] = ()
    """Loss terms that two players pull in opposite directions: every other part of the loss falls in training."""

    gives_parts: ClassVar[bool] = False
    """Whether `Output.parts` has the embedding from each modality alone, in the space of z."""
    unspanned: ClassVar[str] = "is not known to keep its gradients in the span of the samples"
    """Why it does not take the step `span`; empty: it does, and its test says so."""

    unprivate: str = "is not known to have a loss of its own for every sample"
    """Why it does not take private training; empty: it does. An instance may have a reason where settings say so."""

    def __init__(self, config: Config, spec: Spec) -> None:
        super().__init__()
        self.config, self.spec = config, spec

    @property
    def blocks(self) -> tuple[str, ...]:
        """Per latent dimension `shared` or the modality that it belongs to; empty: all are shared."""
        return ()

    @property
    def joins(self) -> bool:
        """Whether modalities have latent dimensions in common, so that one can be had from another."""
        return not self.blocks or "shared" in self.blocks

    @property
    def latent_names(self) -> tuple[str, ...]:
        """Per latent dimension its name: `z0`, `z1`, ... where it has none of its own."""
        return tuple(f"z{i}" for i in range(len(self.blocks) or getattr(self.config, "latent", 0)))

    @property
    def sources(self) -> tuple[str, ...]:
        """The modalities that can be encoded; a sample with none of them has no embedding."""
        return self.spec.names

    @property
    def nearness(self) -> Literal["euclidean", "cosine"]:
        """By what embeddings of two modalities are near: distance, or direction alone."""
        return "euclidean"

    def encodable(self, batch: Batch) -> Bool[Tensor, " n"]:
        """Which samples have anything observed that can be encoded."""
        return torch.stack([batch.present(m) for m in self.sources]).any(dim=0)

    def train(self, mode: bool = True) -> Any:  # noqa: FBT001, FBT002 - torch's own signature
        """Parts that the phase under way freezes stay in evaluation mode: no dropout, and no statistics that move."""
        super().train(mode)
        frozen = mode and not all(p.requires_grad for p in self.parameters())
        for part in list(self.modules())[1:] if frozen else ():
            weights = list(part.parameters())
            if weights and not any(p.requires_grad for p in weights):
                part.eval()
        return self

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """One pass: sampled in training mode, deterministic in evaluation mode."""

    @abstractmethod
    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        """The terms a player minimises; `progress` runs from 0 to 1 over the phase (annealing reads it)."""

    @abstractmethod
    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        """Posterior means, from every observed modality or from `source` alone."""

    @abstractmethod
    def decode(
        self, z: Float[Tensor, "n d"], covariates: Mapping[str, Tensor] | None = None
    ) -> dict[str, Float[Tensor, "n f"]]:
        """The likelihood's mean per modality, columns in the order of the spec; covariates at their train mean where
        none are given.
        """

    def parameters_of(self, player: str) -> Iterable[nn.Parameter]:
        """What a player's optimiser may move."""
        return self.parameters()

    def supervised(self, player: str) -> bool:
        """Whether heads and penalties on the embedding count in a player's steps: where these shape `Output.z`."""
        return True

    def rebuilt(self, config: Config) -> Architecture:
        """An untrained model of the same spec with other settings."""
        return type(self)(config, self.spec)
