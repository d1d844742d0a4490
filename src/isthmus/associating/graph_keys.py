"""The section `graph` of `isthmus associate`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from isthmus.config import Config

__all__ = ["GraphSettings"]

Share = Annotated[float, Field(gt=0, lt=1)]


class GraphSettings(Config):
    """How the graph of the strongest associations is refined by a graph network."""

    layer: Literal["gcn", "gat"] = "gcn"
    """`gcn`: graph convolution; `gat`: graph attention, whose weights are written out."""
    hidden: Annotated[int, Field(ge=1)] = 32
    """Width of the two layers."""
    heads: Annotated[int, Field(ge=1)] = 4
    """Heads of attention in the first layer; `hidden` is a multiple of it."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of node features and hidden units dropped in training."""
    epochs: Annotated[int, Field(ge=1)] = 200
    """At most so many; training ends earlier when the pairs set aside say so."""
    patience: Annotated[int, Field(ge=1)] = 25
    """Epochs without a smaller loss of the pairs set aside."""
    rate: Annotated[float, Field(gt=0)] = 0.01
    """Adam's learning rate."""
    dimensions: Annotated[int, Field(ge=1)] = 16
    """At most so many leading directions of the samples as node features."""
    fdr: Share = 0.05
    """Pairs accepted at this rate by Benjamini & Hochberg are edges."""
    least: Annotated[int, Field(ge=10)] = 1000
    """Where fewer are accepted, this many of the strongest pairs are edges (at most a twentieth of all pairs)."""
    most: Annotated[int, Field(ge=10)] = 10_000
    """No more edges than this: the strongest."""
    folds: Annotated[int, Field(ge=2)] = 3
    """Of samples: each is held out once, and within the others folds again say what replicates in training."""
    level: Share = 0.05
    """A pair replicates with the same sign and a one-sided p-value of at most this in the samples held out."""
    seeds: Annotated[int, Field(ge=1)] = 3
    """Networks whose scores are averaged."""
    controls: bool = True
    """Train again with rewired edges, shuffled profiles and permuted samples."""
    draws: Annotated[int, Field(ge=50)] = 500
    """Of the bootstrap behind the intervals."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of folds, negatives, networks and bootstrap."""

    @model_validator(mode="after")
    def _fits(self) -> GraphSettings:
        if self.most < self.least:
            raise ValueError(f"most: {self.most} is below least: {self.least}")
        if self.layer == "gat" and self.hidden % self.heads:
            raise ValueError(f"hidden: {self.hidden} is no multiple of heads: {self.heads}")
        return self
