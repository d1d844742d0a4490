"""The dual autoencoders of omics-ae-gnn: an autoencoder of its own for each modality, trained side by side.

    sum_m w_m mean_i sum_{j observed} -log p(x_imj | g_m(f_m(x_im)))

with f_m and g_m of one modality: nothing passes from one to another, so that there is no translation, and the embedding
is a block of `latent` dimensions a modality (0 where the sample lacks it). Associations between the blocks are the
matter of `isthmus associate`.

The page that describes them (omics-ae-gnn: 132,129 genes, 6,980 metabolites, 21 samples) gives layer widths and numbers
of parameters, and these do not belong together. Both readings are here, with the exact counts that follow from them:

    widths   gene_ae         132129-8192-1024-128-64, mirrored, no norm             2,182,008,161
             metabolite_ae   6980-1024-256-64, mirrored, no norm                       14,861,700
    counts   either          d-2048-512-128-64, mirrored, batch norm after every layer but the last
                             at d = 132,129 (132,574; 6,980)     543,593,441 (545,416,606; 30,857,988)

The first two counts are what the stated widths make; the last three are what the page states.

Hinton & Salakhutdinov, Reducing the dimensionality of data with neural networks, Science 2006,
doi:10.1126/science.1127647.

Departures: with the step `span` either is trained exactly on as many coordinates as there are samples (docs/span.md);
the loss is weighted so that both modalities contribute alike.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from isthmus.architecture import Architecture
from isthmus.config import Norm, Tune, Weighted, copy_with
from isthmus.errors import RecipeError, closest
from isthmus.nn.conditional import Given
from isthmus.nn.joint import reconstruction_terms, reconstruction_weights
from isthmus.nn.single import ModalityDecoder, ModalityEncoder
from isthmus.types import Batch, Loss, Modality, Output, Spec

Reading = Literal["counts", "widths"]
Preset = Literal["gene_ae", "metabolite_ae"]
FEATURES = {"gene_ae": 132_129, "metabolite_ae": 6_980}
"""As published."""
HIDDEN = {
    ("counts", "gene_ae"): (2048, 512, 128),
    ("counts", "metabolite_ae"): (2048, 512, 128),
    ("widths", "gene_ae"): (8192, 1024, 128),
    ("widths", "metabolite_ae"): (1024, 256),
}


class DualAutoencoder(Weighted):
    """A published autoencoder of its own for each modality: nothing is shared."""

    latent: Annotated[int, Field(ge=1), Tune(2, 64, log=True)] = 64
    """Number of latent dimensions of each modality."""
    dropout: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.5)] = 0.3
    """Share of hidden units dropped in training."""
    reading: Reading = "counts"
    """Which of the page's statements the layers follow: its numbers of parameters (`counts`) or its widths."""
    networks: dict[str, Preset] | None = None
    """Modality to `gene_ae` or `metabolite_ae`. None: the one with most features is `gene_ae`, others are not."""
    norm: Annotated[Norm | None, Tune(choices=("layer", "batch", "none"))] = None  # type: ignore[assignment]
    """Normalisation within a block. None: as the reading has it (`batch`, of the embedding too, or `none`)."""


class DualAutoencoderModule(Architecture):
    """Encoder, a linear map to the latent dimensions, mirrored decoder, for each modality."""

    unspanned, unprivate = "", ""

    def __init__(self, config: DualAutoencoder, spec: Spec) -> None:
        super().__init__(config, spec)
        self.weights, self.settings = reconstruction_weights(config, spec), config
        networks = _networks(config, spec)
        settings = [_layers(config, networks[m.name]) for m in spec]
        self.encoders = nn.ModuleList(Encoder(s, m, config) for s, m in zip(settings, spec, strict=True))
        self.decoders = nn.ModuleList(
            ModalityDecoder(s, m, s.latent, covariates=spec.covariates) for s, m in zip(settings, spec, strict=True)
        )

    @property
    def blocks(self) -> tuple[str, ...]:
        return tuple(m for m in self.spec.names for _ in range(self.settings.latent))

    def forward(self, batch: Batch) -> Output:
        z = self.encode(batch)
        each = zip(self.spec.names, self.decoders, z.split(self.settings.latent, dim=1), strict=True)  # type: ignore[no-untyped-call]
        return Output(z, {m: decoder(part, batch) for m, decoder, part in each})

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        return Loss(reconstruction_terms(output.x_hat, batch), {f"recon/{m}": w for m, w in self.weights.items()})

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        kept = batch if source is None else batch.only((source,))
        here = [kept.present(m).unsqueeze(1) for m in self.spec.names]
        return torch.cat([encoder(kept) * p for encoder, p in zip(self.encoders, here, strict=True)], dim=1)

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        each = zip(self.spec.names, self.decoders, z.split(self.settings.latent, dim=1), strict=True)  # type: ignore[no-untyped-call]
        return {m: decoder(part, covariates=covariates).mean for m, decoder, part in each}


class Encoder(nn.Module):
    """One modality to its latent dimensions."""

    def __init__(self, settings: DualAutoencoder, modality: Modality, asked: DualAutoencoder) -> None:
        super().__init__()
        self.hidden = ModalityEncoder(settings, modality)
        self.to_latent = nn.Linear(self.hidden.width_out, settings.latent)
        published = asked.norm is None and settings.norm == "batch"
        self.norm = nn.BatchNorm1d(settings.latent) if published else nn.Identity()

    def forward(self, batch: Batch) -> Float[Tensor, "n d"]:
        z: Tensor = self.norm(self.to_latent(self.hidden(batch)))
        return z


def _networks(config: DualAutoencoder, spec: Spec) -> dict[str, Preset]:
    """Which network every modality has."""
    for name in config.networks or {}:
        if name not in spec.names:
            hint = closest(name, spec.names)
            raise RecipeError("no such modality", where=f"model.networks.{name}", hint=hint)
    widest = max(spec, key=lambda m: m.width).name
    made: dict[str, Preset] = {m: "gene_ae" if m == widest else "metabolite_ae" for m in spec.names}
    return made | (config.networks or {})


def _layers(config: DualAutoencoder, network: Preset) -> DualAutoencoder:
    """The settings of one modality's layers."""
    hidden = HIDDEN[config.reading, network] if config.hidden is None else config.hidden
    norm = ("batch" if config.reading == "counts" else "none") if config.norm is None else config.norm
    return copy_with(config, hidden=hidden, norm=norm)
