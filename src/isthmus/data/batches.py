"""A prepared cohort in memory, batched by index: no DataLoader, no worker processes, no copy but the batch itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isthmus.data.table import Array
from isthmus.data.targets import encoded, target_values
from isthmus.types import Batch, PackedBags, Spec

INSTANCES = 1 << 17
"""Instances that a batch holds outside training, unless a single bag has more."""


@runtime_checkable
class Rows(Protocol):
    """One prepared modality: dense `x`, or CSR of which `rows` makes some dense; NaN where missing."""

    x: Array
    present: np.ndarray

    def rows(self, index: np.ndarray) -> np.ndarray:
        """So many samples, dense, in float32."""

    def reduced(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Coordinates that a network reads instead, and what lies outside their span, squared; None: it reads rows."""


@runtime_checkable
class Instances(Protocol):
    """Prepared bags of some samples."""

    lengths: np.ndarray

    def packed(
        self, index: np.ndarray, most: int | None = None, seed: Sequence[int] = (0,)
    ) -> tuple[np.ndarray, np.ndarray]:
        """The instances of some samples (of each at most so many, drawn), one sample after the other; offsets."""


@dataclass(frozen=True)
class Draw:
    """How instances are drawn from bags: at most so many of each, by a seed."""

    most: int | None = None
    seed: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Samples:
    """All samples of a cohort, ready to be cut into batches.

    `x[m]` and `observed[m]` hold dense modalities; `sparse[m]` those that become dense a batch at a time; `targets[t]`
    what the spec's targets say of every sample; `outside[m]` and `covariates[c]` as in `Batch`.
    """

    n: int
    x: dict[str, Float[Tensor, "n f"]]
    observed: dict[str, Bool[Tensor, "n _"]]
    sparse: dict[str, Rows] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    targets: dict[str, Tensor] = field(default_factory=dict)
    outside: dict[str, Float[Tensor, " n"]] = field(default_factory=dict)
    covariates: dict[str, Float[Tensor, "n _"]] = field(default_factory=dict)
    bags: dict[str, Instances] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.n

    def batch(self, index: Int[Tensor, " n"], draw: Draw | None = None) -> Batch:
        """The samples at these positions; of their bags, all instances unless a draw of them is asked for."""
        x = {m: v.index_select(0, index) for m, v in self.x.items()}
        observed = {m: v.index_select(0, index) for m, v in self.observed.items()}
        for m, source in self.sparse.items():
            x[m], observed[m] = _tensors(source.rows(index.cpu().numpy()), source.present[index.cpu().numpy()])
        names = self.names or tuple(x)
        targets = {t: v.index_select(0, index) for t, v in self.targets.items()}
        outside = {m: v.index_select(0, index) for m, v in self.outside.items()}
        told = {c: v.index_select(0, index) for c, v in self.covariates.items()}
        return Batch({m: x[m] for m in names}, {m: observed[m] for m in names}, index, targets, told, outside,
                     {m: self._packed(b, index, draw or Draw()) for m, b in self.bags.items()})  # fmt: skip

    def _packed(self, bags: Instances, index: Int[Tensor, " n"], draw: Draw) -> PackedBags:
        x, offsets = bags.packed(index.cpu().numpy(), draw.most, draw.seed)
        return PackedBags(torch.from_numpy(x), torch.from_numpy(offsets)).to(index.device)

    def batches(self, size: int = 1024) -> Iterator[Batch]:
        """Every sample once, in order."""
        device = next((v.device for v in self.x.values()), torch.device("cpu"))
        for index in torch.arange(self.n, device=device).split(size):  # type: ignore[no-untyped-call]
            for part in self._within(index):
                yield self.batch(part)

    def _within(self, index: Int[Tensor, " n"]) -> Iterator[Int[Tensor, " k"]]:
        """The same positions in parts whose bags have `INSTANCES` instances, or are one."""
        if not self.bags:
            yield index
            return
        at = index.cpu().numpy()
        before = np.cumsum(np.stack([b.lengths[at] for b in self.bags.values()]).max(axis=0))
        part = before // INSTANCES
        for cut in np.split(np.arange(len(at)), np.flatnonzero(np.diff(part)) + 1):
            yield index[torch.from_numpy(cut).to(index.device)]

    @property
    def without_bags(self) -> Samples:
        """The samples without the instances of their bags."""
        return replace(self, bags={})

    @property
    def bounded(self) -> Draw:
        """A draw so small that the instances of all samples fit into memory at once."""
        return Draw(max(1, INSTANCES // max(1, self.n)) if self.bags else None)

    def to(self, device: torch.device | str) -> Samples:
        """The same samples on another device (CSR stays where it is; its batches move)."""
        x = {m: v.to(device) for m, v in self.x.items()}
        observed = {m: v.to(device) for m, v in self.observed.items()}
        targets = {t: v.to(device) for t, v in self.targets.items()}
        outside = {m: v.to(device) for m, v in self.outside.items()}
        covariates = {c: v.to(device) for c, v in self.covariates.items()}
        return Samples(self.n, x, observed, self.sparse, self.names, targets, outside, covariates, self.bags)


def samples(
    prepared: Mapping[str, Rows], spec: Spec, obs: pd.DataFrame | None = None, *, targets: bool = True
) -> Samples:
    """Prepared modalities in the order of a spec.

    With `obs`, annotations of the same rows, the spec's covariates, and its targets unless these are not asked for.
    """
    x, observed, sparse, outside, bags = {}, {}, {}, {}, {}
    for m in spec.names:
        one = prepared[m]
        if (instances := getattr(one, "instances", None)) is not None:
            bags[m] = instances
        if (reduced := one.reduced()) is not None:
            x[m], observed[m] = _tensors(reduced[0].astype(np.float32), one.present)
            outside[m] = torch.from_numpy(np.where(one.present, reduced[1], 0.0).astype(np.float32))
        elif isinstance(one.x, np.ndarray):
            x[m], observed[m] = _tensors(one.x, one.present)
        else:
            sparse[m] = one
    asked = spec.targets if obs is not None and targets else ()
    known = {t.name: torch.from_numpy(target_values(obs, t)) for t in asked if obs is not None}
    told = {c.name: torch.from_numpy(encoded(obs, c)) for c in spec.covariates if obs is not None}
    return Samples(len(prepared[spec.names[0]].present), x, observed, sparse, spec.names, known, outside, told, bags)


def _tensors(values: np.ndarray, present: np.ndarray) -> tuple[Float[Tensor, "n f"], Bool[Tensor, "n _"]]:
    """Values with 0 for missing, and the mask: of one column where no present sample lacks an entry."""
    missing = np.isnan(values)
    here = torch.from_numpy(np.ascontiguousarray(present, dtype=bool)).unsqueeze(1)
    if not missing.any():
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)), here
    x = torch.from_numpy(np.where(missing, np.float32(0), values).astype(np.float32, copy=False))
    gaps = missing[present]
    return x, here if not gaps.any() else torch.from_numpy(~missing)
