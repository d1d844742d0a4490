"""A variational autoencoder per modality, all in one latent space, to translate one into another (x-modalix).

Each modality m has an encoder q_m(z | x_m) = N(mu_m, diag s_m^2) and a decoder g_m of its own. What makes their latent
spaces one is that nobody should tell which modality an embedding is from, and that samples known to belong together
lie together. The model minimises

    sum_m w_m mean_i sum_{j observed} -log p(x_imj | g_m(z_im))  +  beta a(t) sum_m KL(q_m(z | x_m) || N(0, I))
      +  gamma b(t) p adversarial  +  delta_pair p pair  +  delta_class p class,      z_im ~ q_m(z | x_im),

    adversarial   cross-entropy of the critic's guesses to the other modality (M = 2), or to all alike (M > 2)
    pair          mean_d |z_ia - z_ib| of two modalities of one sample, mean over samples and pairs of modalities
    class         mean_d |z_im - c_y| / s_d to the centre of the sample's class y, mean over modalities and classes

and the critic, an MLP d-64-32-M and a player of its own, the cross-entropy of its guess of m from z_im. c_y is the
moving average of the embeddings of class y over all modalities and batches, s_d the standard deviation of the batch's
embeddings in dimension d, each class alike. Samples that have several modalities are
pairs, and those with a class (`classes`: a column of obs) are drawn to its centre: so modalities may be paired by
sample, by class only, or both; a missing label (as on samples to which the model is applied) takes no part.

Modalities named by `pretrain` first train alone, with the first two terms, for `pretrain_share` of the epochs; the
same parameters go on with all the others.

Translation encodes with one modality's encoder and decodes with another's decoder. The embedding of a sample is the
mean of the means of the modalities that it has (not their product: each was trained to say it all, and none of them
knows how far it is from the others), its sd that of the mixture, which counts their disagreement. Each modality is
reconstructed from its own posterior, one that is absent from the embedding.

Yang, Belyaeva, Venkatachalapathy, Damodaran, Katcoff, Radhakrishnan, Shivashankar & Uhler, Multi-domain translation
between single-cell imaging and sequencing data using autoencoders, Nature Communications 12:31, 2021,
doi:10.1038/s41467-020-20249-2. As extended by x-modalix of AUTOENCODIX (pmc.ncbi.nlm.nih.gov/articles/PMC12855006).

Departures: any number of modalities; gamma and the deltas are multiplied by p = p_total, so that they mean the same at
any width and number of modalities; Yang et al. classify z by a network where here classes have centres; the distance
to them is in units of the spread s_d of all embeddings, as a plain distance shrinks when the whole latent space does,
which brings no class nearer to itself than to another; in the critic's loss and in that to mislead it every modality
has an equal say, and within it every class, as modalities may differ in how frequent a class is, and to hide that
would mix classes; modalities are weighted to contribute alike, w_m = p_total / (M p_m). Distances are between draws:
posterior means come near to each other for nothing where posteriors are vague.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, ClassVar, cast

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from isthmus.architecture import Architecture, Phase
from isthmus.config import Annealing, Tune, Variational, Weighted
from isthmus.errors import RecipeError, closest
from isthmus.losses import annealing
from isthmus.losses.alignment import alike, confusion, critic_loss, moved_centres, pair_distance, spread
from isthmus.losses.divergence import kl_per_sample
from isthmus.losses.reconstruction import masked_sum
from isthmus.nn.conditional import Covariates, Given
from isthmus.nn.experts import Mixture, mixture
from isthmus.nn.gaussian import Gaussian, GaussianHead
from isthmus.nn.joint import reconstruction_weights
from isthmus.nn.mlp import mlp
from isthmus.nn.single import ModalityDecoder, ModalityEncoder
from isthmus.types import Batch, Loss, Modality, Output, Posterior, Spec

CRITIC = (64, 32)
KEEP = 0.9
"""Share of a class centre that a batch leaves as it was."""


class CrossModalVAE(Variational, Weighted):
    """A variational autoencoder per modality in one latent space, to translate between them, paired or by class."""

    columns: ClassVar[tuple[str, ...]] = ("classes",)

    classes: str | None = None
    """Column of obs with the classes that draw modalities together. None: none do."""
    gamma: Annotated[float, Field(ge=0), Tune(0.01, 1.0, log=True)] = 0.1
    """Weight of misleading the critic."""
    gamma_annealing: Annealing = "logistic_early"
    """How the weight of misleading the critic rises to `gamma` in the course of the joint phase."""
    delta_pair: Annotated[float, Field(ge=0), Tune(0.1, 3.0, log=True)] = 0.5
    """Weight of the distance between the modalities of a sample."""
    delta_class: Annotated[float, Field(ge=0), Tune(0.01, 3.0, log=True)] = 0.3
    """Weight of the distance to the centre of a sample's class."""
    pretrain: tuple[str, ...] = ()
    """Modalities that first train alone."""
    pretrain_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the epochs for that; the others are for all together."""


class Part(nn.Module):
    """The VAE of one modality."""

    def __init__(self, config: CrossModalVAE, modality: Modality, covariates: Covariates = ()) -> None:
        super().__init__()
        self.encoder = ModalityEncoder(config, modality)
        self.head = GaussianHead(self.encoder.width_out, config.latent)
        self.decoder = ModalityDecoder(config, modality, config.latent, covariates=covariates)

    def forward(self, batch: Batch) -> Drawn:
        q: Gaussian = self.head(self.encoder(batch))
        return Drawn(q.mean, q.logvar, q.sample() if self.training else q.mean)


@dataclass(frozen=True)
class Drawn:
    """A modality's posterior, and the draw of it that every term reads (in evaluation the mean)."""

    mean: Float[Tensor, "n d"]
    logvar: Float[Tensor, "n d"]
    z: Float[Tensor, "n d"]


@dataclass(frozen=True)
class Cloud:
    """The embeddings of all modalities of a batch, one below the other, with the weights under which a term is a mean.

    `codes` are the samples' classes, -1 where there is none.
    """

    z: Float[Tensor, "n d"]
    modality: Int[Tensor, " n"]
    codes: Int[Tensor, " n"]
    weights: Float[Tensor, " n"]


class Centres(nn.Module):
    """A moving average of the embeddings of every class; saved with the model, so that a training resumes alike."""

    mean: Tensor
    seen: Tensor

    def __init__(self, classes: int, latent: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(classes, latent))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    def forward(
        self, z: Float[Tensor, "n d"], codes: Int[Tensor, " n"], weights: Float[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """Distance of each embedding to the centre of its class, mean over dimensions; in training it moves first."""
        if self.training:
            mean, seen = moved_centres(self.mean, self.seen, z, codes, KEEP)
            self.mean.copy_(mean)
            self.seen.copy_(seen)
        apart: Tensor = ((z - self.mean[codes]) / spread(z, weights)).abs().mean(dim=1)
        return apart


class CrossModalVAEModule(Architecture):
    """A VAE per modality, and the critic. In training `Output.x_hat` is left empty."""

    unprivate = "has a critic that steps in turn with the model, and class centres that move with every batch"
    modalities: ClassVar[tuple[int, int | None]] = (2, None)
    opposed: ClassVar[tuple[str, ...]] = ("adversarial", "critic")
    balance: ClassVar[Mapping[str, tuple[tuple[str, ...], float, float]]] = {
        "reconstruction": (("recon",), 0.5, 1.0),
        "divergence": (("kl",), 0.0, 0.1),
        "adversarial": (("adversarial",), 0.1, 0.2),
        "pairs and classes": (("pair", "class"), 0.1, 0.2),
    }
    phases: tuple[Phase, ...] = (Phase("joint", 1.0, ("critic", "model")),)

    def __init__(self, config: CrossModalVAE, spec: Spec) -> None:
        super().__init__(config, spec)
        self.parts = nn.ModuleList(Part(config, m, spec.covariates) for m in spec)
        inner = mlp((config.latent, *CRITIC), norm="none", dropout=0.0)
        self.critic = nn.Sequential(*inner, nn.Linear(CRITIC[-1], len(spec)))
        target = next((t for t in spec.targets if t.name == config.classes), None)
        self.centres = None if target is None else Centres(len(target.classes), config.latent)
        self.settings, self.weights = config, reconstruction_weights(config, spec)
        for name in config.pretrain:
            if name not in spec.names:
                hint = closest(name, spec.names)
                raise RecipeError("no such modality", where="model.pretrain", met=name, hint=hint)
        if config.pretrain:
            share = config.pretrain_share
            self.phases = (Phase("pretrain", share, ("pretrain",)), Phase("joint", 1 - share, ("critic", "model")))

    def named(self) -> dict[str, Part]:
        """Every modality with its VAE."""
        return dict(zip(self.spec.names, cast("Iterable[Part]", self.parts), strict=True))

    def forward(self, batch: Batch) -> Output:
        each = {m: part(batch) for m, part in self.named().items()}
        q = self.joined(each, batch)
        there = {m: batch.present(m).unsqueeze(1) for m in each}
        if self.training:
            z, x_hat = q.weights[: len(each)].mul(torch.stack([d.z for d in each.values()])).sum(dim=0), {}
        else:
            z, own = q.mean, {m: torch.where(there[m], d.z, q.mean) for m, d in each.items()}
            x_hat = {m: part.decoder(own[m], batch) for m, part in self.named().items()}
        posteriors: dict[str, Posterior] = {"z": q, **{f"z/{m}": d for m, d in each.items()}}
        return Output(z, x_hat, posteriors)

    def joined(self, each: dict[str, Drawn], batch: Batch) -> Mixture:
        """The modalities that a sample has, alike; the prior where it has none."""
        there = torch.stack([batch.present(m) for m in each])
        return mixture(
            torch.stack([d.mean for d in each.values()]), torch.stack([d.logvar for d in each.values()]), there
        )

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        each = {m: cast("Drawn", output.posteriors[f"z/{m}"]) for m in self.spec.names}
        if player == "critic":
            cloud = self.cloud({m: d.z.detach() for m, d in each.items()}, batch)
            return Loss({"critic": critic_loss(self.critic(cloud.z), cloud.modality, cloud.weights)})
        names = self.settings.pretrain if player == "pretrain" else self.spec.names
        own = self.elbo({m: each[m] for m in dict.fromkeys(names)}, batch, progress)
        if player == "pretrain":
            return own
        cloud = self.cloud({m: d.z for m, d in each.items()}, batch)
        terms = {"adversarial": confusion(self.critic(cloud.z), cloud.modality, cloud.weights)}
        terms["pair"] = self.apart({m: d.z for m, d in each.items()}, batch)
        if self.centres is not None:
            terms["class"] = self.off_centre(cloud)
        s, rise = self.settings, annealing.weight(self.settings.gamma_annealing, progress)
        weights = {"adversarial": rise * s.gamma, "pair": s.delta_pair, "class": s.delta_class}
        return own | Loss(terms, {term: weights[term] * self.spec.width for term in terms})

    def elbo(self, each: dict[str, Drawn], batch: Batch, progress: float) -> Loss:
        """Reconstruction and divergence of some modalities, each on its own."""
        terms: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        rise = self.settings.beta * annealing.weight(self.settings.annealing, progress)
        for m, d in each.items():
            x_hat = self.named()[m].decoder(d.z, batch)
            here = batch.present(m).unsqueeze(1)
            terms[f"recon/{m}"] = masked_sum(x_hat.nll(batch.x[m]), batch.observed[m])
            terms[f"kl/{m}"] = masked_sum(kl_per_sample(d.mean, d.logvar).unsqueeze(1), here)
            weights |= {f"recon/{m}": self.weights[m], f"kl/{m}": rise}
        return Loss(terms, weights)

    def cloud(self, each: dict[str, Tensor], batch: Batch) -> Cloud:
        """The embeddings of all modalities that are there."""
        there = {m: batch.present(m) for m in each}
        z = torch.cat([each[m][there[m]] for m in each])
        counts = [int(t.sum()) for t in there.values()]
        modality = torch.arange(len(counts), device=z.device).repeat_interleave(torch.tensor(counts, device=z.device))
        known = batch.targets.get(str(self.settings.classes))
        codes = torch.full_like(modality, -1) if known is None else torch.cat([known[t] for t in there.values()])
        return Cloud(z, modality, codes, alike(modality, codes))

    def apart(self, each: dict[str, Tensor], batch: Batch) -> Float[Tensor, ""]:
        """Distance between two modalities of a sample, mean over samples and over the pairs of modalities there are."""
        here = {m: batch.present(m) for m in each}
        found = [pair_distance(each[a], each[b], here[a] & here[b]) for a, b in combinations(each, 2)]
        return torch.stack([d for d, _ in found]).sum() / torch.stack([any_ for _, any_ in found]).sum().clamp(min=1)

    def off_centre(self, cloud: Cloud) -> Float[Tensor, ""]:
        """Distance to the centre of the class, mean over the embeddings that have one."""
        assert self.centres is not None
        known = cloud.codes >= 0
        z, codes, weights = cloud.z[known], cloud.codes[known], alike(cloud.modality[known], cloud.codes[known])
        apart: Tensor = (self.centres(z, codes, weights) * weights).sum()
        return apart

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        seen = batch if source is None else batch.only((source,))
        return self.joined({m: part(seen) for m, part in self.named().items()}, seen).mean

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        return {m: part.decoder(z, covariates=covariates).mean for m, part in self.named().items()}

    def parameters_of(self, player: str) -> Iterable[nn.Parameter]:
        if player == "critic":
            return self.critic.parameters()
        names = self.settings.pretrain if player == "pretrain" else self.spec.names
        return [p for m, part in self.named().items() if m in names for p in part.parameters()]

    def supervised(self, player: str) -> bool:
        return player == "model"
