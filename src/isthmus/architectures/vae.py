"""Variational autoencoder over any set of modalities, tables or images (AUTOENCODIX: varix).

The negative evidence lower bound, with the divergence weighted:

    sum_m w_m mean_i sum_{j observed} -log p(x_imj | g_m(z_i))  +  beta a(t) D(q(z | x) || N(0, I)),

q(z | x) = N(mu(x), diag exp(logvar(x))), z = mu + exp(logvar / 2) eps. D is the KL divergence in nats, summed over
latent dimensions, or (`divergence: mmd`) the squared maximum mean discrepancy between the draws of a
batch and as many draws of the prior, times the number of features. a(t) is the annealing schedule. The embedding is
mu, for every sample, in evaluation mode.

Kingma & Welling, Auto-encoding variational Bayes, ICLR 2014, arXiv:1312.6114. Higgins et al., beta-VAE, ICLR 2017.
Zhao, Song & Ermon, InfoVAE, AAAI 2019, arXiv:1706.02262 (MMD).

Departures: modalities are weighted to contribute alike, w_m = p_total / (M p_m); Gaussian reconstruction is the squared
error, that is a decoder variance of 1/2; neither mu nor logvar is rectified or floored (AUTOENCODIX clamps both).
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from isthmus.architecture import Architecture
from isthmus.config import Joint, Variational
from isthmus.losses import annealing, divergence
from isthmus.nn.conditional import Given
from isthmus.nn.gaussian import GaussianHead
from isthmus.nn.joint import JointDecoder, JointEncoder, reconstruction_terms, reconstruction_weights
from isthmus.types import Batch, Loss, Output, Spec


class VAE(Variational, Joint):
    """A variational autoencoder with a diagonal Gaussian posterior."""

    divergence: Literal["kl", "mmd"] = "kl"
    """What holds the embedding near the prior: `kl`, a sample at a time, or `mmd`, a batch as a whole."""


class VAEModule(Architecture):
    """Encoder, Gaussian head, mirrored decoder."""

    unspanned, unprivate = "", ""

    def __init__(self, config: VAE, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder = JointEncoder(config, spec)
        self.head = GaussianHead(self.encoder.width_out, config.latent)
        self.decoder = JointDecoder(config, spec)
        self.settings, self.weights = config, reconstruction_weights(config, spec)
        if config.divergence == "mmd":
            self.unprivate = "with divergence mmd compares the samples of a batch with each other: take kl"

    def forward(self, batch: Batch) -> Output:
        posterior = self.head(self.encoder(batch))
        z = posterior.sample() if self.training else posterior.mean
        return Output(z, self.decoder(z, batch), {"z": posterior})

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        terms = reconstruction_terms(output.x_hat, batch)
        weights = {f"recon/{m}": w for m, w in self.weights.items()}
        rise = self.spec.scale * self.settings.beta * annealing.weight(self.settings.annealing, progress)
        if self.settings.divergence == "kl":
            q = output.posteriors["z"]
            return Loss(terms | {"kl": divergence.kl_to_standard_normal(q.mean, q.logvar)}, weights | {"kl": rise})
        mmd = divergence.mmd(output.z, torch.randn_like(output.z))
        return Loss(terms | {"mmd": mmd}, weights | {"mmd": rise * self.spec.width})

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        mean: Tensor = self.head(self.encoder(batch if source is None else batch.only((source,)))).mean
        return mean

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        return {m: p.mean for m, p in self.decoder(z, covariates=covariates).items()}
