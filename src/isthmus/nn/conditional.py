"""Decoders that are told the covariates of a sample, so that the embedding need not tell of them.

With c the covariates of a sample side by side, each centred by train (see `Covariate`), a decoder reads [z | c] where
it would read z, and a linear map of c, zero at the start, is added to what its last layer gives. c = 0, the mean of
train, stands for whatever is not known. Nothing is told to encoders: with the covariates on both sides a network may
leave out of z what goes along with them, the signal included.

Sohn, Lee & Yan, Learning structured output representation using deep conditional generative models, NeurIPS 2015;
Lopez et al., Deep generative modeling for single-cell transcriptomics, Nature Methods 2018,
doi:10.1038/s41592-018-0229-2.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isthmus.nn.mlp import bypass
from isthmus.nn.outer import writes
from isthmus.types import Batch, Covariate, Modality

Covariates = tuple[Covariate, ...]
Given = Mapping[str, Tensor]


class Told(nn.Module):
    """The covariates of a decoder: as columns beside what it reads, and through a linear map to what it gives."""

    def __init__(self, covariates: Covariates, modalities: tuple[Modality, ...]) -> None:
        super().__init__()
        self.covariates = covariates
        self.width = sum(c.width for c in covariates)
        told = modalities if self.width else ()
        self.names = tuple(m.name for m in told)
        self.shifts = nn.ModuleList(writes(bypass(self.width, m.units), m.width) for m in told)

    def columns(self, n: int, like: Tensor, given: Given | None) -> Float[Tensor, "n c"]:
        """Covariates side by side; 0 for what is not given."""
        parts = [(given or {}).get(c.name, like.new_zeros(n, c.width)) for c in self.covariates]
        return torch.cat([p.to(like.dtype) for p in parts], dim=1) if parts else like.new_zeros(n, 0)

    def forward(self, z: Float[Tensor, "n d"], given: Given | None) -> Float[Tensor, "n dc"]:
        """What a decoder reads."""
        return torch.cat([z, self.columns(len(z), z, given)], dim=1) if self.width else z

    def shift(self, name: str, z: Float[Tensor, "n d"], given: Given | None) -> Float[Tensor, "n f"] | None:
        """What is added to what a decoder gives of a modality; None without covariates."""
        if not self.width:
            return None
        out: Tensor = self.shifts[self.names.index(name)](self.columns(len(z), z, given))
        return out


def given_by(batch: Batch | None, covariates: Given | None) -> Given | None:
    """Covariates as they are given, else those of a batch."""
    return batch.covariates if covariates is None and batch is not None else covariates
