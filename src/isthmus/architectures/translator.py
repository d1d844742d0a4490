"""Encoder of one modality, decoder of another: a translation by way of a few latent dimensions.

With x the source, y the target, f the encoder and g the decoder, phase `translate` minimises

    mean_i sum_{j observed} -log p(y_ij | g(f(x_i)))        over the samples that have both.

Encoder and decoder are each the sum of a network and a linear map (`linear`), f(x) = A x + F(x) and g(z) = B z + G(z),
A and B zero at the start: what is linear is left to the maps, so that with few samples and a linear relation it falls
hardly short of ridge regression. In training a share `input_dropout` of the source's entries is hidden, which keeps
both from leaning on single features (for the linear map it is a ridge penalty). The embedding f(x) is so what of the
source speaks of the target: for F = G = 0 and a Gaussian likelihood, reduced-rank regression.

Phase `read back` freezes it and trains a decoder for the source and for every further modality on it, so that
reconstruction, imputation and sampling work as with any model; these decoders do not shape the embedding. Only the
source can be encoded: a sample without it has no embedding.

Linear case: Izenman, Reduced-rank regression for the multivariate linear model, Journal of Multivariate Analysis
1975, doi:10.1016/0047-259X(75)90042-1. Autoencoders between modalities: Ngiam et al., Multimodal deep learning, ICML
2011; Yang et al., Multi-domain translation between single-cell imaging and sequencing data using autoencoders, Nature
Communications 2021, doi:10.1038/s41467-020-20249-2. Hidden inputs: Vincent et al., Extracting and composing robust
features with denoising autoencoders, ICML 2008, doi:10.1145/1390156.1390294.

Departures: one direction, trained end to end on pairs, without adversary or shared latent space; the decoders of the
other modalities come after, on the frozen embedding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, ClassVar, cast

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from isthmus.architecture import Architecture, Phase
from isthmus.config import Network, Tune
from isthmus.errors import RecipeError, closest
from isthmus.losses.reconstruction import masked_sum
from isthmus.nn.conditional import Given
from isthmus.nn.mlp import bypass
from isthmus.nn.single import ModalityDecoder, ModalityEncoder
from isthmus.types import Batch, Loss, Output, Spec


class Translator(Network):
    """An encoder of one modality and a decoder of another."""

    source: str | None = None
    """The modality that is encoded. None: the first that is not the target."""
    target: str | None = None
    """The modality that is predicted. None: the first that is not the source."""
    input_dropout: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.6)] = 0.2
    """Share of the source's entries that are hidden from the encoder in training, drawn anew for every batch."""
    linear: Annotated[bool, Tune(choices=(True, False))] = True
    """Whether linear maps stand beside the encoder and the decoders; they start at zero."""
    read_back: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Share of the epochs in which the other modalities' decoders are trained; they do not shape the embedding."""


class TranslatorModule(Architecture):
    """One encoder, a decoder per modality. In training `Output.x_hat` holds what the phase under way moves."""

    unprivate = ""
    unspanned = "hides a share of its input in training (input_dropout), which leads out of the span of the samples"
    modalities: ClassVar[tuple[int, int | None]] = (2, None)
    phases: tuple[Phase, ...] = (
        Phase("translate", 0.6, ("translator",)),
        Phase("read back", 0.4, ("readouts",)),
    )

    def __init__(self, config: Translator, spec: Spec) -> None:
        super().__init__(config, spec)
        shares = 1 - config.read_back, config.read_back
        self.phases = tuple(replace(phase, share=s) for phase, s in zip(self.phases, shares, strict=True))
        self.source, self.target = _ends(config, spec)
        self.encoder = ModalityEncoder(config, spec[self.source])
        self.to_latent = nn.Linear(self.encoder.width_out, config.latent)
        self.hide = nn.Dropout(config.input_dropout)
        self.bypass = bypass(self.encoder.width_entry, config.latent) if config.linear else None
        self.decoders = nn.ModuleList(
            ModalityDecoder(config, m, config.latent, linear=config.linear, covariates=spec.covariates) for m in spec
        )

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def named(self) -> dict[str, ModalityDecoder]:
        """Every modality with its decoder."""
        return dict(zip(self.spec.names, cast("Iterable[ModalityDecoder]", self.decoders), strict=True))

    def forward(self, batch: Batch) -> Output:
        z = self.encode(batch)
        wanted = {m: d for m, d in self.named().items() if not self.training or _moves(d)}
        return Output(z, {m: decoder(z, batch) for m, decoder in wanted.items()})

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        targets = [self.target] if player == "translator" else [m for m in self.spec.names if m != self.target]
        encoded = batch.present(self.source).unsqueeze(1)
        return Loss(
            {f"recon/{m}": masked_sum(output.x_hat[m].nll(batch.x[m]), batch.observed[m] & encoded) for m in targets}
        )

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        if source not in (None, self.source):
            raise RecipeError("the model does not encode it", met=source, wanted=self.source)
        x = self.hide(self.encoder.entry(batch))
        z: Tensor = self.to_latent(self.encoder.hidden(x))
        return z if self.bypass is None else z + self.bypass(x)

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        return {m: decoder(z, covariates=covariates).mean for m, decoder in self.named().items()}

    def parameters_of(self, player: str) -> Iterable[nn.Parameter]:
        parts = [p for p in (self.encoder, self.to_latent, self.bypass, self.named()[self.target]) if p is not None]
        if player == "readouts":
            parts = [d for m, d in self.named().items() if m != self.target]
        return [p for part in parts for p in part.parameters()]

    def supervised(self, player: str) -> bool:
        return player == "translator"


def _moves(part: nn.Module) -> bool:
    """Whether the phase under way trains a part."""
    return any(p.requires_grad for p in part.parameters())


def _ends(config: Translator, spec: Spec) -> tuple[str, str]:
    """Source and target, given or found."""
    for key, name in (("source", config.source), ("target", config.target)):
        if name is not None and name not in spec.names:
            hint = closest(name, spec.names)
            raise RecipeError("no such modality", where=f"model.{key}", met=name, hint=hint)
    source = config.source or next(m for m in spec.names if m != config.target)
    target = config.target or next(m for m in spec.names if m != source)
    if source == target:
        raise RecipeError("is the source, too", where="model.target", met=target, wanted="another modality")
    return source, target
