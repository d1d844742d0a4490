"""Autoencoder over any set of modalities, tables or images (AUTOENCODIX: vanillix).

An encoder f and a decoder g are trained to minimise

    sum_m w_m mean_i sum_{j observed} -log p(x_imj | g_m(f(x_i))),

w_m = p_total / (M p_m) by default, so that every modality contributes alike whatever its number of features. For the
Gaussian likelihood -log p is the squared error.

Hinton & Salakhutdinov, Reducing the dimensionality of data with neural networks, Science 2006,
doi:10.1126/science.1127647.

Departures: trained end to end with Adam rather than by layer-wise pretraining; missing entries and modalities enter as
zero after standardising and do not reach the loss.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from isthmus.architecture import Architecture
from isthmus.config import Joint
from isthmus.nn.conditional import Given
from isthmus.nn.joint import JointDecoder, JointEncoder, reconstruction_terms, reconstruction_weights
from isthmus.types import Batch, Loss, Output, Spec


class Autoencoder(Joint):
    """A deterministic autoencoder."""


class AutoencoderModule(Architecture):
    """Encoder to a hidden layer, a linear map to the latent dimensions, mirrored decoder."""

    unspanned, unprivate = "", ""

    def __init__(self, config: Autoencoder, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder = JointEncoder(config, spec)
        self.to_latent = nn.Linear(self.encoder.width_out, config.latent)
        self.decoder = JointDecoder(config, spec)
        self.weights = reconstruction_weights(config, spec)

    def forward(self, batch: Batch) -> Output:
        z = self.encode(batch)
        return Output(z, self.decoder(z, batch))

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        terms = reconstruction_terms(output.x_hat, batch)
        return Loss(terms, {f"recon/{m}": w for m, w in self.weights.items()})

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        z: Tensor = self.to_latent(self.encoder(batch if source is None else batch.only((source,))))
        return z

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        return {m: p.mean for m, p in self.decoder(z, covariates=covariates).items()}
