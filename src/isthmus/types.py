"""The nouns every other file speaks in. Imports torch and jaxtyping only.

One letter per dimension, in every annotation of the package:
    n  samples in the batch          f  features of one modality
    d  latent dimensions             k  classes of a label
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isthmus.config import Likelihood
from isthmus.labels import Covariate as Covariate
from isthmus.labels import Target as Target

Kind = Literal["table", "image", "bag"]
COUNTS: tuple[Likelihood, ...] = ("poisson", "nb", "zinb")


@dataclass(frozen=True)
class Modality:
    """What a model knows of one modality.

    `shape` is `(f,)` for a table and `(H, W, C)` for images, which travel as rows of H W C features everywhere but
    between the layers of an encoder or decoder. `library` is the median total count of a training sample; count
    likelihoods use it where a sample has no count of its own. `features` are the names of the prepared features: `fit`
    and `load` fill them in from the preparation, which stores them. `coordinates`: how many of them stand for the
    features (the step `span`); None where the network reads the features. Of a bag, `shape` is that of the mean of its
    instances, and of each of them.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind = "table"
    likelihood: Likelihood = "gaussian"
    library: float = 1.0
    features: tuple[str, ...] = field(default=(), repr=False, metadata={"stored": False})
    coordinates: int | None = None

    @property
    def width(self) -> int:
        """Features; of images, pixels times channels."""
        return math.prod(self.shape)

    @property
    def units(self) -> int:
        """Columns of `Batch.x`, and of what a decoder gives: coordinates where there are any, else features."""
        return self.width if self.coordinates is None else self.coordinates


@dataclass(frozen=True)
class Spec:
    """All a model knows of the data: shapes, never values."""

    modalities: tuple[Modality, ...]
    targets: tuple[Target, ...] = ()
    covariates: tuple[Covariate, ...] = ()
    n_train: int = 0

    def __iter__(self) -> Iterator[Modality]:
        return iter(self.modalities)

    def __len__(self) -> int:
        return len(self.modalities)

    def __getitem__(self, name: str) -> Modality:
        return next(m for m in self.modalities if m.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.modalities)

    @property
    def width(self) -> int:
        """Features of all modalities together."""
        return sum(m.width for m in self.modalities)

    @property
    def scale(self) -> float:
        """By what every loss is multiplied: 1, or with the step `span` 1 / width (the squared error over n p)."""
        return 1.0 if all(m.coordinates is None for m in self.modalities) else 1.0 / self.width


@dataclass(frozen=True)
class PackedBags:
    """Bags of instances, one after the other without padding: bag i is `x[offsets[i] : offsets[i + 1]]`, maybe empty.

    N instances of f features; `offsets` are one more than there are bags, from 0 to N.
    """

    x: Float[Tensor, "N f"]
    offsets: Int[Tensor, " _"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int[Tensor, " n"]:
        """Instances of every bag."""
        return self.offsets.diff()

    @property
    def owner(self) -> Int[Tensor, " N"]:
        """The bag of every instance."""
        bags = torch.arange(len(self), device=self.x.device)
        return bags.repeat_interleave(self.lengths, output_size=len(self.x))

    def to(self, device: torch.device | str) -> PackedBags:
        """The same bags on another device."""
        return PackedBags(self.x.to(device, non_blocking=True), self.offsets.to(device, non_blocking=True))

    def take(self, index: Int[Tensor, " k"]) -> PackedBags:
        """The bags at these positions, which may repeat."""
        lengths = self.lengths[index]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        shift = (self.offsets[index] - offsets[:-1]).repeat_interleave(lengths)
        return PackedBags(self.x[torch.arange(len(shift), device=shift.device) + shift], offsets)

    def keep(self, bags: Bool[Tensor, " n"]) -> PackedBags:
        """The same number of bags, those that are not kept being empty."""
        if bool(bags.all()):
            return self
        lengths = torch.where(bags, self.lengths, 0)
        return PackedBags(self.x[bags[self.owner]], torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))

    def written(self, where: Bool[Tensor, "n f"], values: Float[Tensor, "n f"]) -> PackedBags:
        """The bags with an entry of every instance replaced by its bag's value where its bag says so."""
        owner = self.owner
        return PackedBags(torch.where(where[owner], values[owner], self.x), self.offsets)


@dataclass(frozen=True)
class Batch:
    """Some samples.

    `observed[m]` is False for an absent modality (whole row) and for a missing entry; what is not observed stands as
    0 in `x[m]` and never reaches a loss. A mask of width 1 speaks for the whole row. `targets` are there in training
    alone: a model is applied without them. `outside[m]`: the squared length of what the coordinates in `x[m]` leave out
    of a sample (the step `span`); 0 for every training sample. `bags[m]`: the instances of a modality of bags, of which
    `x[m]` are the means; the bag of an absent sample is empty.
    """

    x: dict[str, Float[Tensor, "n ..."]]
    observed: dict[str, Bool[Tensor, "n _"]]
    index: Int[Tensor, " n"]
    targets: dict[str, Tensor] = field(default_factory=dict)
    covariates: dict[str, Tensor] = field(default_factory=dict)
    outside: dict[str, Float[Tensor, " n"]] = field(default_factory=dict)
    bags: dict[str, PackedBags] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        x, observed, targets, covariates, outside = (
            {k: v.to(device, non_blocking=True) for k, v in group.items()}
            for group in (self.x, self.observed, self.targets, self.covariates, self.outside)
        )
        bags = {m: b.to(device) for m, b in self.bags.items()}
        return Batch(x, observed, self.index.to(device), targets, covariates, outside, bags)

    def only(self, names: tuple[str, ...]) -> Batch:
        """The batch with every other modality marked as absent."""
        observed = {m: o if m in names else torch.zeros_like(o) for m, o in self.observed.items()}
        x = {m: v if m in names else torch.zeros_like(v) for m, v in self.x.items()}
        none = self.index.new_zeros(len(self), dtype=torch.bool)
        bags = {m: b if m in names else b.keep(none) for m, b in self.bags.items()}
        return replace(self, x=x, observed=observed, bags=bags)

    def present(self, name: str) -> Bool[Tensor, " n"]:
        """Which samples have any observed entry of a modality."""
        return self.observed[name].any(dim=1)


@runtime_checkable
class Distribution(Protocol):
    """What a decoder says of one modality: a mean, and how unlikely each entry of `x` is."""

    @property
    def mean(self) -> Float[Tensor, "n f"]: ...

    def nll(self, x: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]: ...


@runtime_checkable
class Posterior(Protocol):
    """A distribution over latent dimensions."""

    @property
    def mean(self) -> Float[Tensor, "n d"]: ...

    @property
    def logvar(self) -> Float[Tensor, "n d"]: ...


@dataclass(frozen=True)
class Output:
    """One forward pass; every loss, head and penalty reads it.

    `parts[m]`: the embedding of each modality alone, in the space of `z`, where the architecture has one; of a sample
    without the modality it means nothing.
    """

    z: Float[Tensor, "n d"]
    x_hat: dict[str, Distribution]
    posteriors: dict[str, Posterior] = field(default_factory=dict)
    parts: dict[str, Float[Tensor, "n d"]] = field(default_factory=dict)


@dataclass(frozen=True)
class Loss:
    """Named terms, and the weights under which they are summed."""

    terms: dict[str, Float[Tensor, ""]]
    weights: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> Float[Tensor, ""]:
        """The weighted sum; a term without a weight counts once."""
        return torch.stack([self.weights.get(k, 1.0) * v for k, v in self.terms.items()]).sum()

    def under(self, prefix: str) -> Loss:
        """The same loss with every term renamed `prefix/term`."""
        return Loss(
            {f"{prefix}/{k}": v for k, v in self.terms.items()}, {f"{prefix}/{k}": w for k, w in self.weights.items()}
        )

    def __or__(self, other: Loss) -> Loss:
        return Loss(self.terms | other.terms, self.weights | other.weights)


def plain(value: Any) -> Any:
    """A dataclass as JSON-able dictionaries and lists, without the fields that are not stored."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.metadata.get("stored", True)}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value
