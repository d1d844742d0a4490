"""Variational autoencoder that penalises dependence between latent dimensions (AUTOENCODIX: disentanglix).

The divergence from the prior, averaged over the training set, is a sum of three,

    mean_i KL(q(z | x_i) || p(z))  =  I(x; z)  +  KL(q(z) || prod_d q(z_d))  +  sum_d KL(q(z_d) || p(z_d)),
                                      mi          tc                           dwkl

with q(z) = mean_i q(z | x_i). Minimised is

    sum_m w_m mean_i sum_{j observed} -log p(x_imj | g_m(z_i))  +  a(t) (alpha mi + beta tc + gamma dwkl).

Only `beta` punishes dependence, so that more of it need not cost information. q(z) is estimated from a batch of B of
the N training samples by stratified weights: 1 / N for the sample itself, (N - 1) / (N (B - 1)) for each other.

Chen, Li, Grosse & Duvenaud, Isolating sources of disentanglement in variational autoencoders, NeurIPS 2018,
arXiv:1802.04942.

Departures: the weights of appendix C are averaged over which of the other samples is the last one, which has the same
expectation and less variance (the published code sets the weight of the first column, not of the sample itself); no
term is clamped: each is an estimate and may be negative; modalities are weighted to contribute alike, w_m = p_total /
(M p_m). In evaluation the reconstruction is taken at the posterior mean, the three terms at a draw.
"""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from isthmus.architecture import Architecture
from isthmus.config import Joint, Tune, Variational
from isthmus.losses import annealing
from isthmus.losses.reconstruction import masked_sum
from isthmus.losses.total_correlation import decomposition
from isthmus.nn.conditional import Given
from isthmus.nn.gaussian import Gaussian, GaussianHead
from isthmus.nn.joint import JointDecoder, JointEncoder, reconstruction_weights
from isthmus.types import Batch, Loss, Output, Spec


class BetaTCVAE(Variational, Joint):
    """A variational autoencoder whose latent dimensions are pressed to be independent."""

    beta: Annotated[float, Field(ge=0), Tune(0.5, 20.0, log=True, weighs=True)] = 4.0
    """Weight of the total correlation, in nats."""
    alpha: Annotated[float, Field(ge=0), Tune(0.1, 2.0, log=True, weighs=True)] = 1.0
    """Weight of the mutual information of samples and embedding, in nats."""
    gamma: Annotated[float, Field(ge=0), Tune(0.1, 2.0, log=True, weighs=True)] = 1.0
    """Weight of the divergence of each latent dimension from the prior, in nats summed over dimensions."""


class BetaTCVAEModule(Architecture):
    """Encoder, Gaussian head, mirrored decoder."""

    unprivate = "estimates total correlation by comparing the samples of a batch with each other"

    def __init__(self, config: BetaTCVAE, spec: Spec) -> None:
        super().__init__(config, spec)
        self.encoder = JointEncoder(config, spec)
        self.head = GaussianHead(self.encoder.width_out, config.latent)
        self.decoder = JointDecoder(config, spec)
        self.settings, self.weights = config, reconstruction_weights(config, spec)

    def forward(self, batch: Batch) -> Output:
        posterior = self.head(self.encoder(batch))
        z = posterior.sample() if self.training else posterior.mean
        return Output(z, self.decoder(z, batch), {"z": posterior})

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        terms = {f"recon/{m}": masked_sum(p.nll(batch.x[m]), batch.observed[m]) for m, p in output.x_hat.items()}
        weights = {f"recon/{m}": w for m, w in self.weights.items()}
        q = output.posteriors["z"]
        z = output.z if self.training else Gaussian(q.mean, q.logvar).sample()
        mi, tc, dwkl = decomposition(z, q.mean, q.logvar, n_train=self.spec.n_train)
        rise = annealing.weight(self.settings.annealing, progress)
        factors = {"mi": self.settings.alpha, "tc": self.settings.beta, "dwkl": self.settings.gamma}
        return Loss(terms | {"mi": mi, "tc": tc, "dwkl": dwkl}, weights | {k: rise * v for k, v in factors.items()})

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        mean: Tensor = self.head(self.encoder(batch if source is None else batch.only((source,)))).mean
        return mean

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        return {m: p.mean for m, p in self.decoder(z, covariates=covariates).items()}
