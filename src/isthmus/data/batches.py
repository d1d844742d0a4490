"""A prepared cohort in memory, batched by index: no DataLoader, no worker processes, no copy but the batch itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isthmus.data.obs import class_codes
from isthmus.data.table import Array
from isthmus.types import Batch, Spec


@runtime_checkable
class Rows(Protocol):
    """One prepared modality: dense `x`, or CSR of which `rows` makes some dense; NaN where missing."""

    x: Array
    present: np.ndarray

    def rows(self, index: np.ndarray) -> np.ndarray:
        """So many samples, dense, in float32."""

    def reduced(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Coordinates that a network reads instead, and what lies outside their span, squared; None: it reads rows."""


@dataclass(frozen=True)
class Samples:
    """All samples of a cohort, ready to be cut into batches.

    `x[m]` and `observed[m]` hold dense modalities; `sparse[m]` those that become dense a batch at a time; `targets[t]`
    what the spec's targets say of every sample; `outside[m]` as in `Batch`.
    """

    n: int
    x: dict[str, Float[Tensor, "n f"]]
    observed: dict[str, Bool[Tensor, "n _"]]
    sparse: dict[str, Rows] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    targets: dict[str, Int[Tensor, " n"]] = field(default_factory=dict)
    outside: dict[str, Float[Tensor, " n"]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.n

    def batch(self, index: Int[Tensor, " n"]) -> Batch:
        """The samples at these positions."""
        x = {m: v.index_select(0, index) for m, v in self.x.items()}
        observed = {m: v.index_select(0, index) for m, v in self.observed.items()}
        for m, source in self.sparse.items():
            x[m], observed[m] = _tensors(source.rows(index.cpu().numpy()), source.present[index.cpu().numpy()])
        names = self.names or tuple(x)
        targets = {t: v.index_select(0, index) for t, v in self.targets.items()}
        outside = {m: v.index_select(0, index) for m, v in self.outside.items()}
        return Batch({m: x[m] for m in names}, {m: observed[m] for m in names}, index, targets, outside=outside)

    def batches(self, size: int = 1024) -> Iterator[Batch]:
        """Every sample once, in order."""
        device = next((v.device for v in self.x.values()), torch.device("cpu"))
        for index in torch.arange(self.n, device=device).split(size):  # type: ignore[no-untyped-call]
            yield self.batch(index)

    def to(self, device: torch.device | str) -> Samples:
        """The same samples on another device (CSR stays where it is; its batches move)."""
        x = {m: v.to(device) for m, v in self.x.items()}
        observed = {m: v.to(device) for m, v in self.observed.items()}
        targets = {t: v.to(device) for t, v in self.targets.items()}
        outside = {m: v.to(device) for m, v in self.outside.items()}
        return Samples(self.n, x, observed, self.sparse, self.names, targets, outside)


def samples(prepared: Mapping[str, Rows], spec: Spec, obs: pd.DataFrame | None = None) -> Samples:
    """Prepared modalities in the order of a spec; with `obs`, annotations of the same rows, the spec's targets."""
    x, observed, sparse, outside = {}, {}, {}, {}
    for m in spec.names:
        one = prepared[m]
        if (reduced := one.reduced()) is not None:
            x[m], observed[m] = _tensors(reduced[0].astype(np.float32), one.present)
            outside[m] = torch.from_numpy(np.where(one.present, reduced[1], 0.0).astype(np.float32))
        elif isinstance(one.x, np.ndarray):
            x[m], observed[m] = _tensors(one.x, one.present)
        else:
            sparse[m] = one
    known = {} if obs is None else {t.name: torch.from_numpy(class_codes(obs[t.name], t.classes)) for t in spec.targets}
    return Samples(len(prepared[spec.names[0]].present), x, observed, sparse, spec.names, known, outside)


def _tensors(values: np.ndarray, present: np.ndarray) -> tuple[Float[Tensor, "n f"], Bool[Tensor, "n _"]]:
    """Values with 0 for missing, and the mask: of one column where no present sample lacks an entry."""
    missing = np.isnan(values)
    here = torch.from_numpy(np.ascontiguousarray(present, dtype=bool)).unsqueeze(1)
    if not missing.any():
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)), here
    x = torch.from_numpy(np.where(missing, np.float32(0), values).astype(np.float32, copy=False))
    gaps = missing[present]
    return x, here if not gaps.any() else torch.from_numpy(~missing)
