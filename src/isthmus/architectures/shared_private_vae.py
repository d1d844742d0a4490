"""Variational autoencoder with a block of latent dimensions for all modalities and one for each alone.

The embedding is z = [s | u_1 | ... | u_M]. Modality m's encoder says something of both, q_m(s | x_m) and q_m(u_m |
x_m), all Gaussian; the posterior of s is the product q(s | x) ~ N(0, I) prod_m q_m(s | x_m) over the modalities that
are there, and that of u_m the prior where m is not. Decoder m reads [s | u_m] and nothing else. Minimised is

    sum_m w_m recon_m  +  cross sum_m w_m cross_m  +  align sum_{m < o} |mu_m(s) - mu_o(s)|^2
      +  a(t) (beta KL(q(z | x) || N(0, I))  +  orthogonal sum_{blocks} R^2),

    recon_m   sum_j -log p(x_mj | g_m(s, u_m)),  s from all modalities
    cross_m   the same with s from another modality alone and u_m = 0, mean over the others
    mu_m(s)   the mean of N(0, I) q_m(s | x_m)
    R^2       squared correlations of the posterior means in the batch, summed over pairs of dimensions of two blocks,

sums over observed features, means over samples. Cross-prediction fills s with what modalities tell of each other,
alignment keeps out of it what only one of them knows, and the correlations keep u_m from telling the same again.
`translate` goes by s alone. mu_m is the sum of a network and of a linear map (`linear`), zero at the start: layer
normalisation alone mixes the factors of a sample, and so the blocks.

Lee & Pavlovic, Private-shared disentangled multimodal VAE for learning of latent representations, CVPR workshops
2021, arXiv:2012.13024 (blocks, product over s, cross-reconstruction). Bousmalis et al., Domain separation networks,
NeurIPS 2016, arXiv:1608.06019 (orthogonality of blocks).

Departures: s is continuous; in cross-prediction u_m is the prior's mean, not a draw of it; orthogonality is of
correlations and not of raw products, so that it does not shrink with the scale of a block, and it sets in with the
divergence, once cross-prediction has filled s; modalities are weighted to contribute alike, w_m = p_total / (M p_m);
`align` and `orthogonal` are multiplied by p_total / M, so that they mean the same at any width.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Annotated, ClassVar, cast

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from isthmus.architecture import Architecture
from isthmus.config import Tune, Variational, Weighted
from isthmus.losses import annealing
from isthmus.losses.divergence import kl_to_standard_normal
from isthmus.losses.independence import squared_correlation
from isthmus.losses.reconstruction import masked_sum
from isthmus.nn.conditional import Covariates, Given
from isthmus.nn.experts import product
from isthmus.nn.gaussian import Gaussian, GaussianHead
from isthmus.nn.joint import reconstruction_weights
from isthmus.nn.mlp import bypass
from isthmus.nn.single import ModalityDecoder, ModalityEncoder
from isthmus.types import Batch, Distribution, Loss, Modality, Output, Posterior, Spec


class SharedPrivateVAE(Variational, Weighted):
    """A variational autoencoder that tells what modalities share from what each has alone."""

    latent: Annotated[int, Field(ge=1), Tune(2, 64, log=True)] = 8
    """Dimensions of the shared block, unless `shared` says otherwise."""
    shared: Annotated[int | None, Field(ge=1)] = None
    """Dimensions of the shared block. None: `latent`."""
    private: Annotated[int, Field(ge=1), Tune(1, 16, log=True)] = 4
    """Dimensions of each modality's private block."""
    linear: Annotated[bool, Tune(choices=(True, False))] = True
    """Whether a linear map of the features, zero at the start, is added to the means that each encoder gives."""
    cross: Annotated[float, Field(ge=0), Tune(0.1, 3.0, log=True, weighs=True)] = 1.0
    """Weight of predicting a modality from what another says of the shared block."""
    align: Annotated[float, Field(ge=0), Tune(0.01, 3.0, log=True, weighs=True)] = 0.1
    """Weight of the distance between what two modalities say of the shared block."""
    orthogonal: Annotated[float, Field(ge=0), Tune(0.01, 3.0, log=True, weighs=True)] = 0.3
    """Weight of the squared correlations between blocks."""


class Part(nn.Module):
    """What belongs to one modality: its encoder with a head for each block, and its decoder."""

    def __init__(self, config: SharedPrivateVAE, modality: Modality, covariates: Covariates = ()) -> None:
        super().__init__()
        shared = config.shared or config.latent
        self.encoder = ModalityEncoder(config, modality)
        self.shared = GaussianHead(self.encoder.width_out, shared)
        self.private = GaussianHead(self.encoder.width_out, config.private)
        self.decoder = ModalityDecoder(config, modality, shared + config.private, covariates=covariates)
        self.bypass = bypass(self.encoder.width_entry, shared + config.private) if config.linear else None

    def forward(self, batch: Batch) -> tuple[Gaussian, Gaussian]:
        """What the modality says of the shared block, and of its own; of its own, the prior where it is absent."""
        x, here = self.encoder.entry(batch), batch.present(self.encoder.modality.name).unsqueeze(1)
        h = self.encoder.hidden(x)
        shared, own = self.shared(h), self.private(h)
        if self.bypass is not None:
            more = self.bypass(x).split([shared.mean.shape[1], own.mean.shape[1]], dim=1)
            shared, own = (Gaussian(q.mean + m, q.logvar) for q, m in zip((shared, own), more, strict=True))
        return shared, Gaussian(torch.where(here, own.mean, 0.0), torch.where(here, own.logvar, 0.0))


class SharedPrivateVAEModule(Architecture):
    """An encoder and a decoder per modality; blocks in the order shared, then the modalities."""

    unprivate = "correlates blocks of latent dimensions over the samples of a batch"
    modalities: ClassVar[tuple[int, int | None]] = (2, None)

    def __init__(self, config: SharedPrivateVAE, spec: Spec) -> None:
        super().__init__(config, spec)
        self.parts = nn.ModuleList(Part(config, m, spec.covariates) for m in spec)
        self.settings, self.weights = config, reconstruction_weights(config, spec)
        self.shared = config.shared or config.latent

    @property
    def blocks(self) -> tuple[str, ...]:
        return ("shared",) * self.shared + tuple(m for m in self.spec.names for _ in range(self.settings.private))

    def named(self) -> dict[str, Part]:
        """Every modality with its part."""
        return dict(zip(self.spec.names, cast("Iterable[Part]", self.parts), strict=True))

    def split(self, z: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n s"], dict[str, Float[Tensor, "n u"]]]:
        """The shared block, and each modality's own."""
        shared, *private = z.split([self.shared, *[self.settings.private] * len(self.spec)], dim=1)  # type: ignore[no-untyped-call]
        return shared, dict(zip(self.spec.names, private, strict=True))

    def posteriors(self, batch: Batch) -> tuple[Gaussian, dict[str, Gaussian]]:
        """Of the whole embedding, and of the shared block by each modality alone."""
        said = [part(batch) for part in self.parts]
        means, logvars = torch.stack([s.mean for s, _ in said]), torch.stack([s.logvar for s, _ in said])
        there = torch.stack([batch.present(m) for m in self.spec.names])
        blocks = [product(means, logvars, there), *(own for _, own in said)]
        whole = Gaussian(torch.cat([q.mean for q in blocks], dim=1), torch.cat([q.logvar for q in blocks], dim=1))
        one = (slice(k, k + 1) for k in range(len(said)))
        return whole, {m: product(means[k], logvars[k], there[k]) for m, k in zip(self.spec.names, one, strict=True)}

    def forward(self, batch: Batch) -> Output:
        q, alone = self.posteriors(batch)
        z = q.sample() if self.training else q.mean
        posteriors: dict[str, Posterior] = {"z": q, **{f"shared/{m}": p for m, p in alone.items()}}
        return Output(z, self.distributions(z, batch), posteriors)

    def distributions(
        self, z: Float[Tensor, "n d"], batch: Batch | None = None, covariates: Given | None = None
    ) -> dict[str, Distribution]:
        """Each modality from the shared block and its own."""
        shared, own = self.split(z)
        each = {m: torch.cat([shared, own[m]], dim=1) for m in self.spec.names}
        return {m: part.decoder(each[m], batch, covariates) for m, part in self.named().items()}

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        names, q = self.spec.names, output.posteriors["z"]
        alone = {m: self._draw(output.posteriors[f"shared/{m}"]) for m in names}
        terms = {f"recon/{m}": masked_sum(p.nll(batch.x[m]), batch.observed[m]) for m, p in output.x_hat.items()}
        terms |= {f"cross/{m}": self._cross(m, alone, batch) for m in names}
        terms |= {"kl": kl_to_standard_normal(q.mean, q.logvar), "align": self._apart(output, batch)}
        terms |= {"orthogonal": self._dependence(q.mean, batch)}
        unit = self.spec.width / len(self.spec)
        rise = annealing.weight(self.settings.annealing, progress)
        weights = {"align": self.settings.align * unit, "orthogonal": rise * self.settings.orthogonal * unit}
        weights["kl"] = rise * self.settings.beta
        for m, w in self.weights.items():
            weights |= {f"recon/{m}": w, f"cross/{m}": w * self.settings.cross}
        return Loss(terms, weights)

    def _draw(self, q: Posterior) -> Float[Tensor, "n s"]:
        return Gaussian(q.mean, q.logvar).sample() if self.training else q.mean

    def _cross(self, name: str, alone: dict[str, Tensor], batch: Batch) -> Float[Tensor, ""]:
        """A modality predicted from each other's word on the shared block; the mean over the others."""
        decoder, found = self.named()[name].decoder, []
        for other in (o for o in alone if o != name):
            own = alone[other].new_zeros(len(batch), self.settings.private)
            nll = decoder(torch.cat([alone[other], own], dim=1), batch).nll(batch.x[name])
            found.append(masked_sum(nll, batch.observed[name] & batch.present(other).unsqueeze(1)))
        return torch.stack(found).mean()

    def _apart(self, output: Output, batch: Batch) -> Float[Tensor, ""]:
        """Squared distance between two modalities' words on the shared block; the sum over pairs."""
        found = []
        for a, b in combinations(self.spec.names, 2):
            both = (batch.present(a) & batch.present(b)).unsqueeze(1)
            off = output.posteriors[f"shared/{a}"].mean - output.posteriors[f"shared/{b}"].mean
            found.append(masked_sum(off.square(), both))
        return torch.stack(found).sum()

    def _dependence(self, means: Float[Tensor, "n d"], batch: Batch) -> Float[Tensor, ""]:
        """Squared correlations between blocks, over the samples that have both; the sum over pairs of blocks."""
        shared, own = self.split(means)
        here = {m: batch.present(m) for m in own}
        found = [squared_correlation(shared[here[m]], own[m][here[m]]) for m in own]
        for a, b in combinations(own, 2):
            both = here[a] & here[b]
            found.append(squared_correlation(own[a][both], own[b][both]))
        return torch.stack(found).sum()

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        return self.posteriors(batch if source is None else batch.only((source,)))[0].mean

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        return {m: p.mean for m, p in self.distributions(z, covariates=covariates).items()}
