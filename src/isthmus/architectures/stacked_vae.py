"""A variational autoencoder per modality, and one over their embeddings (AUTOENCODIX: stackix).

Phase `parts`: each modality has a VAE of its own, q_m(y_m | x_m) = N(mu_m, diag s_m^2), and minimises

    w_m mean_i sum_{j observed} -log p(x_imj | g_m(y_im))  +  beta a(t) KL(q_m(y_m | x_m) || N(0, I)).

Phase `joint`: these are frozen, and a VAE over the joined means, q(z | mu_1 .. mu_M), minimises

    sum_m w_m (p_m / d_m) mean_i sum_k (mu_imk - h_mk(z_i))^2 / v_m  +  beta a(t) KL(q(z | mu) || N(0, I)),

v_m the mean variance of the d_m means, so that they stand for the modality's p_m features as if standardised. A
modality's scale ends with its part: in the joint phase all speak in the same unit. Decoding goes from z to the parts'
means and through their decoders.

After stackix of AUTOENCODIX and the hierarchical VAE of Simidjievski et al., Variational autoencoders for cancer data
integration, Frontiers in Genetics 2019, doi:10.3389/fgene.2019.01205.

Departures: the error of the means is relative to their variance, v_m taken from the batch; a part has floor(p_m / 8)
latent dimensions, but not fewer than `latent` and not more than `cap`; samples without a modality train the others,
and their part enters the joint encoder as zero; modalities are weighted to contribute alike, w_m = p_total / (M p_m),
in both phases.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, cast

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from isthmus.architecture import Architecture, Phase
from isthmus.config import Variational, Weighted
from isthmus.losses import annealing
from isthmus.losses.divergence import kl_per_sample, kl_to_standard_normal
from isthmus.losses.reconstruction import masked_sum, relative_error
from isthmus.nn.conditional import Covariates, Given, Told, given_by
from isthmus.nn.gaussian import Gaussian, GaussianHead
from isthmus.nn.joint import hidden_widths, reconstruction_weights
from isthmus.nn.mlp import mlp
from isthmus.nn.single import ModalityDecoder, ModalityEncoder
from isthmus.types import Batch, Distribution, Loss, Modality, Output, Spec

SHRINK = 8


class StackedVAE(Variational, Weighted):
    """A variational autoencoder over the embeddings of one per modality."""

    parts: Annotated[int | None, Field(ge=1)] = None
    """Latent dimensions of each modality's own VAE. None: an eighth of its features, from `latent` to `cap`."""


class Part(nn.Module):
    """The VAE of one modality."""

    def __init__(self, config: StackedVAE, modality: Modality, covariates: Covariates) -> None:
        super().__init__()
        most = max(config.cap or modality.width, config.latent)
        self.width = config.parts or min(max(modality.width // SHRINK, config.latent), most)
        self.encoder = ModalityEncoder(config, modality)
        self.head = GaussianHead(self.encoder.width_out, self.width)
        self.decoder = ModalityDecoder(config, modality, self.width, covariates=covariates)

    def forward(self, batch: Batch) -> Gaussian:
        q: Gaussian = self.head(self.encoder(batch))
        return q


class Joint(nn.Module):
    """The VAE over the joined means of the parts."""

    def __init__(self, config: StackedVAE, widths: tuple[int, ...], spec: Spec) -> None:
        super().__init__()
        self.widths, self.told = widths, Told(spec.covariates, ())
        latent = config.latent + self.told.width
        inner = hidden_widths(config, sum(widths))
        self.encoder = mlp((sum(widths), *inner), norm=config.norm, dropout=config.dropout)
        self.head = GaussianHead(inner[-1] if inner else sum(widths), config.latent)
        self.decoder = mlp((latent, *reversed(inner)), norm=config.norm, dropout=config.dropout)
        self.out = nn.Linear(inner[0] if inner else latent, sum(widths))

    def forward(self, means: Float[Tensor, "n p"]) -> Gaussian:
        q: Gaussian = self.head(self.encoder(means))
        return q

    def expected(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> tuple[Float[Tensor, "n _"], ...]:
        """What an embedding expects of each part's mean."""
        out: tuple[Tensor, ...] = self.out(self.decoder(self.told(z, covariates))).split(self.widths, dim=1)
        return out


class StackedVAEModule(Architecture):
    """Parts, then the joint one over them; each phase freezes the other. In training `Output.x_hat` is left empty."""

    unprivate = "measures errors of a batch in units of its samples' variance"
    phases: tuple[Phase, ...] = (Phase("parts", 0.5, ("parts",)), Phase("joint", 0.5, ("joint",)))

    def __init__(self, config: StackedVAE, spec: Spec) -> None:
        super().__init__(config, spec)
        parts = [Part(config, m, spec.covariates) for m in spec]
        self.parts, self.joint = nn.ModuleList(parts), Joint(config, tuple(p.width for p in parts), spec)
        self.settings, self.weights = config, reconstruction_weights(config, spec)
        stands_for = {m.name: m.width / part.width for m, part in zip(spec, parts, strict=True)}
        self.mean_weights = {f"means/{m}": self.weights[m] * share for m, share in stands_for.items()}

    def forward(self, batch: Batch) -> Output:
        each, q = self.posteriors(batch)
        z = q.sample() if self.training else q.mean
        x_hat = {} if self.training else self.distributions(z, batch)
        return Output(z, x_hat, {"z": q, **{f"z/{m}": p for m, p in each.items()}})

    def named(self) -> list[tuple[str, Part]]:
        """Every modality with its part."""
        return list(zip(self.spec.names, cast("Iterable[Part]", self.parts), strict=True))

    def posteriors(self, batch: Batch) -> tuple[dict[str, Gaussian], Gaussian]:
        """Of every part, and of the joint embedding."""
        each: dict[str, Gaussian] = {m: part(batch) for m, part in self.named()}
        means = [q.mean * batch.present(m).unsqueeze(1) for m, q in each.items()]
        return each, self.joint(torch.cat(means, dim=1))

    def distributions(
        self, z: Float[Tensor, "n d"], batch: Batch | None = None, covariates: Given | None = None
    ) -> dict[str, Distribution]:
        """From the joint embedding to the parts' means, and through their decoders."""
        means = self.joint.expected(z, given_by(batch, covariates))
        return {m: part.decoder(y, batch, covariates) for (m, part), y in zip(self.named(), means, strict=True)}

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        rise = self.settings.beta * annealing.weight(self.settings.annealing, progress)
        here = {m: batch.present(m).unsqueeze(1) for m in self.spec.names}
        each = {m: output.posteriors[f"z/{m}"] for m in self.spec.names}
        if player == "joint":
            q, means = output.posteriors["z"], self.joint.expected(output.z, batch.covariates)
            apart = {
                f"means/{m}": relative_error(p.mean, y, batch.present(m))
                for (m, p), y in zip(each.items(), means, strict=True)
            }
            return Loss(apart | {"kl": kl_to_standard_normal(q.mean, q.logvar)}, self.mean_weights | {"kl": rise})
        terms: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for m, part in self.named():
            p = each[m]
            y = Gaussian(p.mean, p.logvar).sample() if self.training else p.mean
            terms[f"recon/{m}"] = masked_sum(part.decoder(y, batch).nll(batch.x[m]), batch.observed[m])
            terms[f"kl/{m}"] = masked_sum(kl_per_sample(p.mean, p.logvar).unsqueeze(1), here[m])
            weights |= {f"recon/{m}": self.weights[m], f"kl/{m}": rise}
        return Loss(terms, weights)

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        return self.posteriors(batch if source is None else batch.only((source,)))[1].mean

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        return {m: p.mean for m, p in self.distributions(z, covariates=covariates).items()}

    def parameters_of(self, player: str) -> Iterable[nn.Parameter]:
        return self.parts.parameters() if player == "parts" else self.joint.parameters()

    def supervised(self, player: str) -> bool:
        return player == "joint"
