"""Variational autoencoder of a mosaic: one encoder per modality, joined over whichever modalities a sample has.

Each modality's encoder is an expert, q_m(z | x_m) = N(mu_m(x_m), diag exp(logvar_m(x_m))). With S the modalities of a
sample that are there, the posterior is, by `experts`,

    product               q(z | x)  ~  N(0, I) prod_{m in S} q_m(z | x_m)
    mixture               q(z | x)  =  1 / |S| sum_{m in S} q_m(z | x_m)
    mixture_of_products   q(z | x)  =  mean over the non-empty subsets A of S of the products over A,

the first of which is Gaussian, with precision 1 + sum_m 1 / var_m. Minimised is

    sum_m w_m mean_i sum_{j observed} -log p(x_imj | g_m(z_i))  +  beta a(t) D(q(z | x) || N(0, I)),

where D is the KL divergence in nats, for the mixtures the mean of their components' divergences. In training each
modality is hidden from the encoders with probability `modality_dropout`, but not from the reconstruction, so that
every expert learns to speak for the others. The embedding is the mean of q(z | x): for the mixtures, the mean of the
components' means.

Product: Wu & Goodman, Multimodal generative models for scalable weakly-supervised learning, NeurIPS 2018,
arXiv:1802.05335. Mixture: Shi et al., Variational mixture-of-experts autoencoders for multi-modal deep generative
models, NeurIPS 2019, arXiv:1911.03393. Mixture of products: Sutter, Daunhawer & Vogt, Generalized multimodal ELBO,
ICLR 2021, arXiv:2105.02470.

Departures: modality dropout stands in for the sum of bounds over sub-sampled sets of modalities (Wu & Goodman); a
mixture is sampled by one component drawn by lot per sample, which is unbiased, instead of all in turn, and its
divergence is the bound of Sutter et al. rather than an importance-weighted estimate (Shi et al.); experts are
Gaussian, not Laplace; modalities are weighted to contribute alike, w_m = p_total / (M p_m), and the product of a
subset includes the prior.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from isthmus.architecture import Architecture
from isthmus.config import Tune, Variational, Weighted
from isthmus.errors import RecipeError
from isthmus.losses import annealing
from isthmus.losses.reconstruction import masked_sum
from isthmus.nn.conditional import Given
from isthmus.nn.corruption import drop_modalities
from isthmus.nn.experts import Mixture, mixture, mixture_of_products, product
from isthmus.nn.gaussian import GaussianHead
from isthmus.nn.joint import reconstruction_weights
from isthmus.nn.single import ModalityDecoder, ModalityEncoder
from isthmus.types import Batch, Loss, Output, Spec

MOST_FOR_SUBSETS = 8


class MosaicVAE(Variational, Weighted):
    """A variational autoencoder with one expert per modality, for samples that lack some."""

    experts: Annotated[
        Literal["product", "mixture", "mixture_of_products"],
        Tune(choices=("product", "mixture", "mixture_of_products")),
    ] = "product"
    """How the modalities' posteriors become one: their `product`, their `mixture`, or a `mixture_of_products`."""
    modality_dropout: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.6)] = 0.3
    """Probability of hiding a modality of a sample from the encoders in training; one always stays."""


class MosaicVAEModule(Architecture):
    """An encoder, a Gaussian head and a decoder per modality."""

    unprivate = ""

    def __init__(self, config: MosaicVAE, spec: Spec) -> None:
        super().__init__(config, spec)
        if config.experts == "mixture_of_products" and len(spec) > MOST_FOR_SUBSETS:
            raise RecipeError(
                "is for few modalities, as their subsets are many",
                where="model.experts", met=len(spec), wanted=f"at most {MOST_FOR_SUBSETS}, or product, or mixture",
            )  # fmt: skip
        told = spec.covariates
        encoders = [ModalityEncoder(config, m) for m in spec]
        self.experts = nn.ModuleList(nn.Sequential(e, GaussianHead(e.width_out, config.latent)) for e in encoders)
        self.decoders = nn.ModuleList(ModalityDecoder(config, m, config.latent, covariates=told) for m in spec)
        self.settings, self.weights = config, reconstruction_weights(config, spec)

    def posterior(self, batch: Batch) -> Mixture:
        """What the modalities that are there say together."""
        each = [expert(batch) for expert in self.experts]
        means, logvars = torch.stack([q.mean for q in each]), torch.stack([q.logvar for q in each])
        there = torch.stack([batch.present(m) for m in self.spec.names])
        match self.settings.experts:
            case "product":
                q = product(means, logvars, there)
                return Mixture(q.mean.unsqueeze(0), q.logvar.unsqueeze(0), torch.ones_like(there[:1]))
            case "mixture":
                return mixture(means, logvars, there)
            case "mixture_of_products":
                return mixture_of_products(means, logvars, there)

    def forward(self, batch: Batch) -> Output:
        seen = drop_modalities(batch, self.settings.modality_dropout) if self.training else batch
        q = self.posterior(seen)
        z = q.sample() if self.training else q.mean
        x_hat = {m: decoder(z, batch) for m, decoder in zip(self.spec.names, self.decoders, strict=True)}
        return Output(z, x_hat, {"z": q})

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        terms = {f"recon/{m}": masked_sum(p.nll(batch.x[m]), batch.observed[m]) for m, p in output.x_hat.items()}
        weights = {f"recon/{m}": w for m, w in self.weights.items()}
        q = output.posteriors["z"]
        assert isinstance(q, Mixture)
        rise = self.settings.beta * annealing.weight(self.settings.annealing, progress)
        return Loss(terms | {"kl": q.kl()}, weights | {"kl": rise})

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        return self.posterior(batch if source is None else batch.only((source,))).mean

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        return {
            m: decoder(z, covariates=covariates).mean for m, decoder in zip(self.spec.names, self.decoders, strict=True)
        }
