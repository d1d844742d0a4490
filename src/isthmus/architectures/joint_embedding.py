"""An encoder per modality into one space, in which the modalities of a sample lie together.

Each modality that a sample has is embedded on its own, u_m = f_m(x_m); the joint embedding z is the mean of those that
are there (or their sum under weights that attention gives). With A an alignment loss over the samples that have both
of two modalities, minimised is

    sum_m w_m ( recon_m(z) + predict mean_{o != m} recon_m(u_o) )  +  alignment q mean_{a < b} A(u_a, u_b),

recon_m(y) = mean_i sum_{j observed} -log p(x_imj | g_m(y_i)), g_m the decoder of modality m and q = sum_m w_m p_m / M,
what the features of a modality weigh. A is, by `objective`, symmetric InfoNCE at temperature tau, one minus the cosine,
minus the sum of canonical correlations (`cca`, or without bias from small batches `cca_ey`), Barlow twins or VICReg: as
in `isthmus.losses.contrast`. In training a modality is left out of z with probability `modality_dropout`, never the
last one, so that the decoders and heads learn to do without it.

Heads read z. With `stages: align_then_task` a first phase goes without them, and a second one trains them, on
encoders that learn on (`finetune`) or stay as they are. `Output.parts` holds every u_m for auxiliary heads.

InfoNCE between modalities: Radford et al., ICML 2021, arXiv:2103.00020; of slides and expression: Jaume et al.,
Transcriptomics-guided slide representation learning, CVPR 2024, arXiv:2405.11618. Canonical correlation: Andrew et
al., ICML 2013; Chapman, Wells & Lawry Aguila, ICLR 2024, arXiv:2310.01012. Prediction of the other modality:
Ngiam et al., Multimodal deep learning, ICML 2011.

Departures: no projection network between embedding and contrast: what is aligned is what `embed` returns; more than
two modalities by pairs; the terms of VICReg are divided by 25, which leaves their proportions; alignment counts as
much as features do, so that its weight means the same at any width. The CCA of `cca` does not see in which basis
each side lies: the decoders, which all read, tie them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations
from typing import Annotated, ClassVar, Literal, cast, get_args

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from isthmus.architecture import Architecture, Phase
from isthmus.config import Tune, Weighted
from isthmus.losses import contrast
from isthmus.losses.reconstruction import masked_sum
from isthmus.nn.conditional import Covariates, Given
from isthmus.nn.convolution import flat_width
from isthmus.nn.corruption import drop_modalities, turned
from isthmus.nn.joint import reconstruction_weights
from isthmus.nn.mlp import bypass
from isthmus.nn.single import ModalityDecoder, ModalityEncoder
from isthmus.types import Batch, Loss, Modality, Output, Spec

Objective = Literal["infonce", "cosine", "cca", "cca_ey", "barlow", "vicreg"]
ORIENTATIONS: tuple[tuple[int, ...], ...] = ((), (1,), (2,), (1, 2))
"""Axes along which images are flipped."""
COOLEST, WARMEST = 0.01, 1.0
"""Bounds of a temperature, given or learnt."""


class JointEmbedding(Weighted):
    """An encoder per modality into one aligned space, for retrieval, prediction of the other modality and heads."""

    objective: Annotated[Objective, Tune(choices=get_args(Objective), asked=True)] = "infonce"
    """What brings the modalities of a sample together: `infonce`, `cosine`, `cca`, `cca_ey`, `barlow` or `vicreg`."""
    alignment: Annotated[float, Field(ge=0), Tune(0.01, 3.0, log=True, weighs=True)] = 0.1
    """Weight of the alignment: of its unit against the whole variance of a modality."""
    temperature: Annotated[float, Field(ge=0.01, le=1), Tune(0.02, 0.5, log=True, weighs=True)] = 0.1
    """Of `infonce`: how sharply a sample's partner must stand out; where it is learnt, its start."""
    learn_temperature: bool = False
    """Whether the temperature is learnt, within 0.01 and 1."""
    predict: Annotated[float, Field(ge=0), Tune(0.1, 3.0, log=True, weighs=True)] = 1.0
    """Weight of predicting a modality from another's embedding."""
    fuse: Annotated[Literal["mean", "attention"], Tune(choices=("mean", "attention"))] = "mean"
    """The joint embedding: the `mean` of those that are there, or a sum under weights by `attention`."""
    modality_dropout: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.6)] = 0.3
    """Probability of leaving a modality of a sample out of the joint embedding in training; one always stays."""
    input_dropout: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.6)] = 0.2
    """Share of a table's entries that are hidden from its encoder in training, drawn anew for every batch."""
    linear: Annotated[bool, Tune(choices=(True, False))] = True
    """Whether linear maps, zero at the start, stand beside the encoders and decoders of tables."""
    turns: bool = False
    """Whether images are flipped and turned at random for their encoder in training, and embedded as the mean over four
    flips: for patches of tissue."""
    stages: Literal["align_then_task", "together"] = "align_then_task"
    """With heads: `align_then_task` trains half of the epochs without them first, `together` with them throughout."""
    finetune: bool = True
    """Whether the encoders learn on in the stage of the heads."""


class Part(nn.Module):
    """Encoder and decoder of one modality."""

    def __init__(self, config: JointEmbedding, modality: Modality, covariates: Covariates = ()) -> None:
        super().__init__()
        picture = modality.kind == "image"
        linear = config.linear and (not picture or config.places == "averaged")
        self.encoder = ModalityEncoder(config, modality)
        self.to_latent = nn.Linear(self.encoder.width_out, config.latent)
        self.hide = nn.Dropout(config.input_dropout)
        self.orientations = ORIENTATIONS if config.turns and picture else ORIENTATIONS[:1]
        self.bypass = bypass(flat_width(config, modality), config.latent) if linear else None
        self.decoder = ModalityDecoder(
            config, modality, config.latent, linear=config.linear and not picture, covariates=covariates
        )

    def forward(self, batch: Batch) -> Float[Tensor, "n d"]:
        """The modality's own embedding."""
        x, modality = self.encoder.entry(batch), self.encoder.modality
        if modality.kind != "image":
            return self.placed(x)
        if len(self.orientations) == 1:
            return self.placed(self.encoder.input(x))
        if self.training:
            return self.placed(self.encoder.input(turned(x, modality.shape)))
        images = x.view(len(x), *modality.shape)
        every = [self.placed(self.encoder.input(images.flip(axes).flatten(1))) for axes in self.orientations]
        return torch.stack(every).mean(dim=0)

    def placed(self, x: Float[Tensor, "n f"]) -> Float[Tensor, "n d"]:
        """What the fully connected layers, and beside them the linear map, make of what they read."""
        x = self.hide(x)
        z: Tensor = self.to_latent(self.encoder.layers(x))
        return z if self.bypass is None else z + self.bypass(x)


class JointEmbeddingModule(Architecture):
    """Parts and what joins them."""

    modalities: ClassVar[tuple[int, int | None]] = (2, None)
    unprivate = "aligns modalities by comparing the samples of a batch with each other"
    gives_parts = True
    unspanned = "hides a share of its input in training (input_dropout), which leads out of the span of the samples"

    def __init__(self, config: JointEmbedding, spec: Spec) -> None:
        super().__init__(config, spec)
        self.parts = nn.ModuleList(Part(config, m, spec.covariates) for m in spec)
        self.attention = nn.Linear(config.latent, 1) if config.fuse == "attention" else None
        self.settings, self.weights = config, reconstruction_weights(config, spec)
        place = (math.log(config.temperature / COOLEST)) / math.log(WARMEST / COOLEST)
        start = torch.tensor(place).logit(eps=1e-3)
        self.warmth = nn.Parameter(start) if config.learn_temperature else None
        if spec.targets and config.stages == "align_then_task":
            self.phases = (Phase("align", 0.5, ("align",)), Phase("task", 0.5, ("task",)))

    @property
    def nearness(self) -> Literal["euclidean", "cosine"]:
        return "cosine" if self.settings.objective in ("infonce", "cosine") else "euclidean"

    def supervised(self, player: str) -> bool:
        """Heads count in every stage but the first of two."""
        return player != "align"

    def named(self) -> dict[str, Part]:
        """Every modality with its part."""
        return dict(zip(self.spec.names, cast("Iterable[Part]", self.parts), strict=True))

    def joined(self, each: dict[str, Tensor], there: Bool[Tensor, "m n"]) -> Float[Tensor, "n d"]:
        """One embedding from those that are there; 0 where none is."""
        u = torch.stack([each[m] for m in self.spec.names])
        scores = there.to(u.dtype) if self.attention is None else self.attention(u).squeeze(2).sigmoid() * there
        return (u * scores.unsqueeze(2)).sum(dim=0) / scores.sum(dim=0).clamp(min=1e-6).unsqueeze(1)

    def embedded(self, batch: Batch) -> dict[str, Tensor]:
        """Every modality's own embedding; 0 where it is absent."""
        return {m: part(batch) * batch.present(m).unsqueeze(1) for m, part in self.named().items()}

    def forward(self, batch: Batch) -> Output:
        each = self.embedded(batch)
        kept = drop_modalities(batch, self.settings.modality_dropout) if self.training else batch
        z = self.joined(each, torch.stack([kept.present(m) for m in each]))
        wanted = {m: p.decoder for m, p in self.named().items() if self.weights[m] > 0 or not self.training}
        return Output(z, {m: decoder(z, batch) for m, decoder in wanted.items()}, parts=each)

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        s, each = self.settings, output.parts
        terms = {f"recon/{m}": masked_sum(p.nll(batch.x[m]), batch.observed[m]) for m, p in output.x_hat.items()}
        weights = {f"recon/{m}": self.weights[m] for m in output.x_hat}
        if s.predict:
            terms |= {f"cross/{m}": self._cross(m, each, batch) for m in output.x_hat}
            weights |= {f"cross/{m}": s.predict * self.weights[m] for m in output.x_hat}
        weights["align"] = s.alignment * sum(self.weights[m.name] * m.width for m in self.spec) / len(self.spec)
        return Loss(terms | {"align": self._aligned(each, batch)}, weights)

    def _cross(self, name: str, each: dict[str, Tensor], batch: Batch) -> Float[Tensor, ""]:
        """A modality predicted from each other's embedding; the mean over the others."""
        decoder, found = self.named()[name].decoder, []
        for other in (o for o in each if o != name):
            both = batch.observed[name] & batch.present(other).unsqueeze(1)
            found.append(masked_sum(decoder(each[other], batch).nll(batch.x[name]), both))
        return torch.stack(found).mean()

    def _aligned(self, each: dict[str, Tensor], batch: Batch) -> Float[Tensor, ""]:
        """The objective, mean over the pairs of modalities that samples of the batch have; 0 where there is none."""
        found, pairs = [], 0
        for a, b in combinations(each, 2):
            both = batch.present(a) & batch.present(b)
            found.append(self._apart(each[a][both], each[b][both]))
            pairs += int(both.sum() >= contrast.FEWEST)
        return torch.stack(found).sum() / max(pairs, 1)

    def _apart(self, u: Float[Tensor, "n d"], v: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        match self.settings.objective:
            case "infonce":
                return contrast.info_nce(u, v, self.temperature)
            case "vicreg":
                return contrast.vicreg(u, v, invariance=1.0, variance=1.0, covariance=0.04)
            case "barlow":
                return contrast.barlow_twins(u, v)
            case name:
                return {"cosine": contrast.cosine, "cca": contrast.cca, "cca_ey": contrast.cca_ey}[name](u, v)

    @property
    def temperature(self) -> float | Tensor:
        """Fixed, or learnt within its bounds."""
        if self.warmth is None:
            return self.settings.temperature
        return COOLEST * (WARMEST / COOLEST) ** self.warmth.sigmoid()

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        seen = batch if source is None else batch.only((source,))
        return self.joined(self.embedded(seen), torch.stack([seen.present(m) for m in self.spec.names]))

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        return {m: part.decoder(z, covariates=covariates).mean for m, part in self.named().items()}

    def parameters_of(self, player: str) -> Iterable[nn.Parameter]:
        return () if player == "task" and not self.settings.finetune else self.parameters()
