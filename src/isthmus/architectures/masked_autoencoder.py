"""Autoencoder that predicts entries hidden from it (AUTOENCODIX: maskix).

A share `rate` of the observed entries of a batch is masked: C sets them to zero, the mean after standardising, or
swaps in the entry of another sample's same feature. Encoder f and decoder g see C(x) and are trained to give x:

    sum_m w_m mean_i sum_{j observed} 2 v_imj (-log p(x_imj | g_m(f(C(x_i))))),

v = `masked_weight` for a masked entry, 1 - v for another, so that 1/2 weighs all alike. Masks are drawn anew for
every batch; with probability `whole` a modality of a sample is masked from end to end. What is missing of a sample
is, to the model, one more masked entry, so `impute` asks what training has practised.

Vincent et al., Extracting and composing robust features with denoising autoencoders, ICML 2008,
doi:10.1145/1390156.1390294. Fang, Zheng & Li, scMAE: a masked autoencoder for single-cell RNA-seq clustering,
Bioinformatics 2024, doi:10.1093/bioinformatics/btae020 (swapping within a feature, weighted terms).

Departures: no head that guesses which entries are masked (scMAE); the divisor is the sample, not the masked entry;
modalities are weighted to contribute alike, w_m = p_total / (M p_m). In evaluation the embedding is that of the whole
sample, while the loss masks entries as in training, the same ones for a batch of the same size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from isthmus.architecture import Architecture
from isthmus.config import Joint, Tune
from isthmus.losses.reconstruction import masked_sum
from isthmus.nn.conditional import Given
from isthmus.nn.corruption import corrupt_entries
from isthmus.nn.joint import JointDecoder, JointEncoder, reconstruction_weights
from isthmus.types import Batch, Loss, Output, Spec

VALID_SEED = 0


class MaskedAutoencoder(Joint):
    """A deterministic autoencoder trained to predict masked entries."""

    rate: Annotated[float, Field(gt=0, lt=1), Tune(0.05, 0.6)] = 0.25
    """Share of the observed entries that are masked in training."""
    whole: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.5)] = 0.0
    """Probability that a modality of a sample is masked from end to end, as it is in a sample that lacks it."""
    corruption: Annotated[Literal["zero", "swap"], Tune(choices=("zero", "swap"))] = "zero"
    """What stands in a masked entry's place: `zero`, or by `swap` the entry of another sample's same feature."""
    masked_weight: Annotated[float, Field(ge=0, le=1), Tune(0.3, 1.0, weighs=True)] = 0.7
    """Weight of masked entries in the loss; that of the others is one minus it."""


@dataclass(frozen=True)
class MaskedOutput(Output):
    """A pass that has seen its batch through a mask."""

    masked: dict[str, Bool[Tensor, "n f"]] = field(default_factory=dict)


class MaskedAutoencoderModule(Architecture):
    """Encoder to a hidden layer, a linear map to the latent dimensions, mirrored decoder."""

    unprivate = ""
    unspanned = "hides entries of its input, which leads out of the span of the samples as dropout on the input does"

    def __init__(self, config: MaskedAutoencoder, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder = JointEncoder(config, spec)
        self.to_latent = nn.Linear(self.encoder.width_out, config.latent)
        self.decoder = JointDecoder(config, spec)
        self.settings, self.weights = config, reconstruction_weights(config, spec)
        if config.corruption == "swap":
            self.unprivate = "with corruption swap puts entries of other samples into a sample: take zero"

    def forward(self, batch: Batch) -> Output:
        if self.training:
            return self.masked(batch)
        z = self.encode(batch)
        return Output(z, self.decoder(z, batch))

    def masked(self, batch: Batch, generator: torch.Generator | None = None) -> MaskedOutput:
        """A pass that sees the batch through a mask, and so knows no library size but that of the other entries."""
        keys = self.settings
        found = corrupt_entries(batch, keys.rate, keys.corruption, generator, whole=keys.whole)
        z = self.encode(found.read)
        return MaskedOutput(z, self.decoder(z, found.seen), masked=found.masked)

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        if not isinstance(output, MaskedOutput):
            output = self.masked(batch, torch.Generator().manual_seed(VALID_SEED))
        hidden, shown = 2 * self.settings.masked_weight, 2 * (1 - self.settings.masked_weight)
        terms = {
            f"recon/{m}": masked_sum(
                p.nll(batch.x[m]) * torch.where(output.masked[m], hidden, shown), batch.observed[m]
            )
            for m, p in output.x_hat.items()
        }
        return Loss(terms, {f"recon/{m}": w for m, w in self.weights.items()})

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        z: Tensor = self.to_latent(self.encoder(batch if source is None else batch.only((source,))))
        return z

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        return {m: p.mean for m, p in self.decoder(z, covariates=covariates).items()}
