"""Encoder and decoder over several modalities at once, tables or images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from isthmus.config import Joint, Network, Weighted
from isthmus.errors import RecipeError, closest
from isthmus.losses.reconstruction import masked_sum
from isthmus.nn.conditional import Given, Told, given_by
from isthmus.nn.convolution import flat_width, from_input, full_width
from isthmus.nn.likelihoods import LikelihoodHead, encoder_input, library_size
from isthmus.nn.mlp import funnel, mlp
from isthmus.nn.pooling import bags_in
from isthmus.types import Batch, Distribution, Modality, Spec


def hidden_widths(config: Network, width: int) -> tuple[int, ...]:
    """The config's own widths, or the funnel for so many features."""
    return config.hidden if config.hidden is not None else funnel(width, config.latent, cap=config.cap)


class JointEncoder(nn.Module):
    """All modalities to one hidden layer of `width_out` units.

    `direct`: one network over the concatenated features (of images, what their convolutions leave). `after`: a network
    a modality, whose hidden layers, zero where the modality is absent, are joined by one more block.
    """

    def __init__(self, config: Joint, spec: Spec) -> None:
        super().__init__()
        self.spec, self.parts = spec, nn.ModuleList()
        self.inputs = nn.ModuleList(from_input(config, m) for m in spec)
        starts, full = [flat_width(config, m) for m in spec], [full_width(config, m) for m in spec]
        blocks = partial(mlp, norm=config.norm, dropout=config.dropout)
        if config.join == "direct":
            widths = (sum(starts), *hidden_widths(config, sum(full)))
        else:
            each = [(s, *hidden_widths(config, f)) for s, f in zip(starts, full, strict=True)]
            self.parts.extend(blocks(w, features=f) for w, f in zip(each, full, strict=True))
            last = [w[-1] for w in each]
            widths = (sum(last), max(*last, config.latent))
        self.trunk = blocks(widths, features=None if self.parts else sum(full))
        self.width_out = widths[-1]

    def forward(self, batch: Batch) -> Float[Tensor, "n h"]:
        inputs = [entered(batch, m, start) for start, m in zip(self.inputs, self.spec, strict=True)]
        if self.parts:
            present = [batch.present(m.name).unsqueeze(1) for m in self.spec]
            inputs = [part(x) * here for part, x, here in zip(self.parts, inputs, present, strict=True)]
        out: Tensor = self.trunk(inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=1))
        return out


def entered(batch: Batch, modality: Modality, start: nn.Module) -> Float[Tensor, "n h"]:
    """What the fully connected layers of an encoder see of a modality, by way of what `from_input` gave for it."""
    read = bags_in(batch, modality) if modality.kind == "bag" else encoder_input(batch, modality)
    out: Tensor = start(read)
    return out


class JointDecoder(nn.Module):
    """Latent dimensions to a distribution per modality; the mirror of `JointEncoder`."""

    def __init__(self, config: Joint, spec: Spec) -> None:
        super().__init__()
        self.spec, self.told = spec, Told(spec.covariates, spec.modalities)
        latent = config.latent + self.told.width
        blocks = partial(mlp, norm=config.norm, dropout=config.dropout)
        own, full = config.join == "after", [full_width(config, m) for m in spec]
        shared = () if own else tuple(reversed(hidden_widths(config, sum(full))))
        self.trunk = blocks((latent, *shared))
        each = [tuple(reversed(hidden_widths(config, f))) if own else () for f in full]
        start = shared[-1] if shared else latent
        self.parts = nn.ModuleList(blocks((start, *widths)) for widths in each)
        last = [w[-1] if w else start for w in each]
        self.heads = nn.ModuleList(LikelihoodHead(w, m, config) for w, m in zip(last, spec, strict=True))

    def forward(
        self, z: Float[Tensor, "n d"], batch: Batch | None = None, covariates: Given | None = None
    ) -> dict[str, Distribution]:
        """Distributions per modality; counts take their library size from `batch`, else the typical one.

        Covariates are those given, those of `batch`, or the mean of train.
        """
        given = given_by(batch, covariates)
        h = self.trunk(self.told(z, given))
        return {
            m.name: head(part(h), None if batch is None else library_size(batch, m), self.told.shift(m.name, z, given))
            for m, part, head in zip(self.spec, self.parts, self.heads, strict=True)
        }


def reconstruction_terms(x_hat: Mapping[str, Distribution], batch: Batch) -> dict[str, Float[Tensor, ""]]:
    """`recon/<m>`: summed over observed features, those outside the samples' span included; mean over samples."""
    terms = {f"recon/{m}": masked_sum(p.nll(batch.x[m]), batch.observed[m]) for m, p in x_hat.items()}
    for m, outside in batch.outside.items():
        terms[f"recon/{m}"] = terms[f"recon/{m}"] + masked_sum(outside.unsqueeze(1), batch.present(m).unsqueeze(1))
    return terms


def reconstruction_weights(config: Weighted, spec: Spec) -> dict[str, float]:
    """Equal contribution of every modality, p_total / (M p_m), or what the config says; with the step `span` over p."""
    if config.weights is not None:
        for name in config.weights:
            if name not in spec.names:
                hint = closest(name, spec.names)
                raise RecipeError("no such modality", where=f"model.weights.{name}", hint=hint)
        weights = {m.name: spec.scale * config.weights.get(m.name, 1.0) for m in spec}
        if not any(weights.values()):
            raise RecipeError("leaves nothing to learn", where="model.weights", met=weights, wanted="one above 0")
        return weights
    return {m.name: spec.scale * spec.width / (len(spec) * m.width) for m in spec}
