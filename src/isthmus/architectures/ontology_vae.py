"""Variational autoencoder whose latent dimensions are terms: pathways, chromosomes, cell types (AUTOENCODIX: ontix).

The encoder and the posterior are those of `VAE`. The decoder is a network in which a connection exists only where the
ontology has one. With T latent terms, hidden terms in further levels, and a 0/1 membership matrix A between each level
and the next,

    h = a(z),  h <- s(h (A_k o W_k)' + b_k) for every level above the features,  x_hat_m = head_m(h (A_m o W_m)' + b_m),

o being the elementwise product, s the `activation` (none unless asked for, as in OntoVAE), and W = softplus(V) with
`nonnegative`. Latent dimension t has the name of its term, and can change a feature only by way of the terms that lead
from t to it. The mask is part of every forward pass: a forbidden weight is zero during and after training. Loss:

    sum_m w_m mean_i sum_{j observed} -log p(x_imj | x_hat_imj)  +  beta a(t) KL(q(z | x) || N(0, I)).

With `dense` the embedding has `latent` unnamed dimensions instead, and a fully connected network leads from them to the
terms: a(z) = dense(z); otherwise a(z) = z. The module's `activities(z)` gives a(z), columns named by `terms`.

*Which modalities.* Those are tied to the terms of which any feature is in one (or those that `tied` names); a feature
must match to the letter. The others are decoded from the terms' activities by an ordinary network.

*Features in no term.* `unassigned: drop` takes them out: the encoder does not read them, and the decoder has their bias
alone, which becomes their training mean, so that the scores count them as not reconstructed (a count likelihood shares
a sample's total among all features, these included). `keep` gathers them in one further term, `unassigned`.

*Without pathways* there are `latent` unnamed terms that every feature belongs to: a VAE with a linear decoder, which is
the control for what the ontology costs or brings. A warning says so.

Doncevic & Herrmann, Biologically informed variational autoencoders allow predictive modeling of genetic and
drug-induced perturbations (OntoVAE), Bioinformatics 2023, doi:10.1093/bioinformatics/btad387. Seninge et al., VEGA is
an interpretable generative model for inferring biological network activity in single-cell transcriptomics, Nature
Communications 2021, doi:10.1038/s41467-021-26017-0. Joas et al., AUTOENCODIX, Nature Computational Science 2025.

Departures: AUTOENCODIX masks before the step of its optimiser and ends with every forbidden weight non-zero; here none
ever is. OntoVAE has three units a term and averages them; here a term is one dimension. Neither normalisation nor
dropout stands between terms: a layer norm would let every term reach every feature. A term at `depth` has the features
of all terms below it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveInt, field_validator, model_validator
from torch import Tensor, nn

from isthmus.architecture import Architecture
from isthmus.config import Joint, Variational, copy_with
from isthmus.data.pathways import Pathways, read_pathways
from isthmus.errors import DataError, RecipeError, closest, listed
from isthmus.losses import annealing, divergence
from isthmus.losses.reconstruction import masked_sum
from isthmus.nn.conditional import Given, Told, given_by
from isthmus.nn.gaussian import GaussianHead
from isthmus.nn.joint import JointEncoder, reconstruction_weights
from isthmus.nn.likelihoods import library_size
from isthmus.nn.masked import MaskedLinear, masked_head, membership
from isthmus.nn.mlp import mlp
from isthmus.nn.single import ModalityDecoder
from isthmus.types import Batch, Distribution, Loss, Modality, Output, Spec

log = logging.getLogger("isthmus.fit")


class OntologyVAE(Variational, Joint):
    """A variational autoencoder whose latent dimensions are named terms, each of which reaches only its features."""

    paths: ClassVar[tuple[str, ...]] = ("pathways", "levels", "hierarchy")

    latent: Annotated[int, Field(ge=1)] = 8
    """Number of latent dimensions with `dense` or without pathways; otherwise there are as many as terms."""
    pathways: str | dict[str, tuple[str, ...]] | None = None
    """Terms and their features: a GMT file, a table of two columns (or see `term_columns`), or a mapping."""
    levels: tuple[str | dict[str, tuple[str, ...]], ...] = ()
    """Further levels, upwards: files or mappings of a term and the terms of the level before that belong to it."""
    hierarchy: str | None = None
    """Table of parent and child among the terms of `pathways` (ReactomePathwaysRelation): its roots are latent."""
    depth: Annotated[int, Field(ge=0)] = 1
    """With `hierarchy`: how far below the roots the terms of the hidden level are; 0 for no hidden level."""
    term_columns: tuple[str, ...] = ()
    """Columns that hold the terms in a table of more than two, from the latent level down."""
    min_size: Annotated[int, Field(ge=1)] = 5
    """Terms with fewer measured features are left out, and listed in the log."""
    unassigned: Literal["drop", "keep"] = "drop"
    """Features in no term: neither read nor reconstructed (`drop`), or in one further term, `unassigned` (`keep`)."""
    nonnegative: bool = True
    """Whether weights from named terms are positive, so that a higher activity means higher values."""
    activation: Literal["none", "relu", "tanh"] = "none"
    """What hidden terms go through before they reach the next level."""
    dense: tuple[PositiveInt, ...] | None = None
    """Widths of fully connected layers from `latent` unnamed dimensions to the terms; `[]` for a linear map alone."""
    tied: tuple[str, ...] | None = None
    """Modalities that the terms reconstruct. Null: those of which any feature is in a term."""

    @field_validator("pathways", "levels", "hierarchy", mode="before")
    @classmethod
    def _terms(cls, value: Any, info: Any) -> Any:
        """A path as text, a mapping with text throughout, a level alone as one of several."""
        if info.field_name == "levels":
            several = [value] if isinstance(value, str | Path | Mapping) else value
            return tuple(cls._plain(v) for v in several) if isinstance(several, list | tuple) else several
        return cls._plain(value)

    @staticmethod
    def _plain(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return str(value) if isinstance(value, Path) else value
        for term, members in value.items():
            if isinstance(members, str) or not isinstance(members, Iterable):
                raise ValueError(f"term {term!r} should hold a list of features, not {members!r}")
        return {str(term): tuple(map(str, members)) for term, members in value.items()}

    @model_validator(mode="after")
    def _agree(self) -> OntologyVAE:
        if self.pathways is None and (self.levels or self.hierarchy or self.term_columns):
            raise ValueError("levels, hierarchy and term_columns need pathways")
        if self.levels and self.hierarchy:
            raise ValueError("levels and hierarchy exclude each other")
        return self

    def loaded(self, features: Mapping[str, Sequence[str]]) -> OntologyVAE:
        """The settings with the terms that were measured, read from the files.

        Raises
        ------
        DataError
            A file is missing or broken, or nothing matches.
        RecipeError
            `tied` names an unknown modality, or keys exclude each other.
        """
        if self.pathways is None:
            log.warning("model.pathways is not given: all features belong to each of %d unnamed terms", self.latent)
            return self
        candidates = {m: features[m] for m in _known(self.tied, features)}
        found = read_pathways(
            self.pathways,
            features={f for names in candidates.values() for f in names},
            levels=self.levels,
            hierarchy=self.hierarchy,
            depth=self.depth,
            term_columns=self.term_columns,
        )
        tied = tuple(m for m, names in candidates.items() if not found.features.isdisjoint(names))
        for m in self.tied or ():
            if m not in tied:
                raise DataError("none of its features is in a term", where=f"model.tied: {m}", met=listed(features[m]))
        names = list(dict.fromkeys(f for m in tied or candidates for f in features[m]))
        found, gone = found.measured(names, self.min_size)
        _report(found, gone, {m: features[m] for m in tied}, self.min_size)
        if self.unassigned == "keep":
            found = found.with_rest(names)
        latent = len(found.terms) if self.dense is None else self.latent
        kept = {"pathways": found.levels[0], "levels": found.levels[1:], "tied": tied, "latent": latent}
        return copy_with(self, **kept, hierarchy=None, term_columns=())


class OntologyVAEModule(Architecture):
    """The encoder of a VAE, and a decoder that follows the ontology."""

    unprivate = ""
    unspanned = "masks weights feature by feature, which leads out of the span of the samples"

    def __init__(self, config: OntologyVAE, spec: Spec) -> None:
        super().__init__(config, spec)
        self.settings, self.weights = config, reconstruction_weights(config, spec)
        levels = _levels(config)
        self.terms = tuple(levels[-1]) if levels else tuple(f"z{i}" for i in range(config.latent))
        latent = len(self.terms) if config.dense is None else config.latent
        masks = {m.name: _mask(config, m, levels) for m in spec}
        self.read = {m: mask.any(dim=1) for m, mask in masks.items() if mask is not None}
        self.encoder = JointEncoder(copy_with(config, latent=latent), spec)
        self.head = GaussianHead(self.encoder.width_out, latent)
        self.dense = nn.Identity() if config.dense is None else _expansion(config, len(self.terms))
        self.decoder = TermDecoder(config, spec, levels, masks)

    @property
    def latent_names(self) -> tuple[str, ...]:
        return self.terms if self.settings.dense is None else super().latent_names

    def encodable(self, batch: Batch) -> Bool[Tensor, " n"]:
        return super().encodable(self.reading(batch))

    def reading(self, batch: Batch) -> Batch:
        """The batch without the features that belong to no term."""
        x, observed = dict(batch.x), dict(batch.observed)
        for m, some in self.read.items():
            if not some.all():
                read = some.to(x[m].device)
                x[m], observed[m] = torch.where(read, x[m], 0.0), observed[m] & read
        return replace(batch, x=x, observed=observed)

    def activities(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n terms"]:
        """The latent terms' activities: the latent dimensions themselves, or what the dense layers make of them."""
        out: Tensor = self.dense(z)
        return out

    def forward(self, batch: Batch) -> Output:
        posterior = self.head(self.encoder(self.reading(batch)))
        z = posterior.sample() if self.training else posterior.mean
        return Output(z, self.decoder(self.activities(z), batch), {"z": posterior})

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        terms = {f"recon/{m}": masked_sum(p.nll(batch.x[m]), batch.observed[m]) for m, p in output.x_hat.items()}
        weights = {f"recon/{m}": w for m, w in self.weights.items()}
        q = output.posteriors["z"]
        rise = self.settings.beta * annealing.weight(self.settings.annealing, progress)
        return Loss(terms | {"kl": divergence.kl_to_standard_normal(q.mean, q.logvar)}, weights | {"kl": rise})

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        kept = batch if source is None else batch.only((source,))
        mean: Tensor = self.head(self.encoder(self.reading(kept))).mean
        return mean

    def decode(self, z: Float[Tensor, "n d"], covariates: Given | None = None) -> dict[str, Float[Tensor, "n f"]]:
        return {m: p.mean for m, p in self.decoder(self.activities(z), covariates=covariates).items()}


class TermDecoder(nn.Module):
    """Latent terms by way of hidden terms to the features of the tied modalities; a network of their own for others."""

    def __init__(
        self,
        config: OntologyVAE,
        spec: Spec,
        levels: Sequence[Mapping[str, Sequence[str]]],
        masks: Mapping[str, Tensor | None],
    ) -> None:
        super().__init__()
        self.spec = spec
        self.told = Told(spec.covariates, tuple(m for m in spec if masks[m.name] is not None))
        upper = [membership(levels[i], list(levels[i - 1])) for i in reversed(range(1, len(levels)))]
        positive = config.nonnegative and bool(levels)
        self.levels = nn.ModuleList(MaskedLinear(mask, nonnegative=positive) for mask in upper)
        self.activation = {"none": nn.Identity(), "relu": nn.ReLU(), "tanh": nn.Tanh()}[config.activation]
        terms = len(levels[-1]) if levels else config.latent
        self.parts = nn.ModuleList(
            ModalityDecoder(config, m, terms, covariates=spec.covariates)
            if (mask := masks[m.name]) is None
            else masked_head(m, mask, nonnegative=positive)
            for m in spec
        )

    def forward(
        self, activities: Float[Tensor, "n terms"], batch: Batch | None = None, covariates: Given | None = None
    ) -> dict[str, Distribution]:
        """Distributions per modality; counts take their library size from `batch`, else the typical one.

        Covariates shift the features of the tied modalities directly: no term stands for them.
        """
        h, given = activities, given_by(batch, covariates)
        for level in self.levels:
            h = self.activation(level(h))
        found = {}
        for m, part in zip(self.spec, self.parts, strict=True):
            if isinstance(part, ModalityDecoder):
                found[m.name] = part(activities, batch, covariates)
            else:
                library = None if batch is None else library_size(batch, m)
                found[m.name] = part(h, library, self.told.shift(m.name, activities, given))
        return found


def _known(tied: Sequence[str] | None, features: Mapping[str, Sequence[str]]) -> list[str]:
    """The modalities that may be tied."""
    for m in tied or ():
        if m not in features:
            hint = closest(m, features)
            raise RecipeError("no such modality", where="model.tied", met=m, hint=hint)
    return list(features) if tied is None else list(tied)


def _report(found: Pathways, gone: Mapping[str, int], tied: Mapping[str, Sequence[str]], min_size: int) -> None:
    """What matches and what does not, in the log."""
    for m, names in tied.items():
        n = sum(f in found.features for f in names)
        log.info("%s: %d of %d features (%.0f %%) are in a term", m, n, len(names), 100 * n / len(names))
    log.info("%s latent terms over %s", len(found.terms), " and ".join(f"{len(v)} sets" for v in found.levels))
    if gone:
        sizes = ", ".join(f"{t} ({n})" for t, n in gone.items())
        log.info("%d terms are left out, with fewer than %d measured features: %s", len(gone), min_size, sizes)


def _levels(config: OntologyVAE) -> list[dict[str, tuple[str, ...]]]:
    """The levels of terms, features first; none without pathways."""
    if config.pathways is None:
        return []
    found = [config.pathways, *config.levels]
    if config.hierarchy is not None or not all(isinstance(level, dict) for level in found):
        raise RecipeError("names a file that has not been read", where="model.pathways", hint="`fit` reads it")
    return [level for level in found if isinstance(level, dict)]


def _mask(config: OntologyVAE, modality: Modality, levels: Sequence[Mapping[str, Sequence[str]]]) -> Tensor | None:
    """Features by terms of the first level; None for a modality that the terms do not reconstruct."""
    if modality.kind != "table" or (config.tied is not None and modality.name not in config.tied):
        return None
    if not levels:
        return torch.ones(modality.width, config.latent, dtype=torch.bool)
    mask = membership(levels[0], modality.features)
    return mask if config.tied is not None or mask.any() else None


def _expansion(config: OntologyVAE, terms: int) -> nn.Sequential:
    """Fully connected layers from the latent dimensions to the terms."""
    widths = (config.latent, *(config.dense or ()))
    layers = mlp(widths, norm=config.norm, dropout=config.dropout)
    return nn.Sequential(*layers, nn.Linear(widths[-1], terms))
