"""Encoder and decoder of one modality, a table or images."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from isthmus.config import Network
from isthmus.nn.conditional import Covariates, Given, Told, given_by
from isthmus.nn.convolution import flat_width, from_input, full_width
from isthmus.nn.joint import entered, hidden_widths
from isthmus.nn.likelihoods import LikelihoodHead, encoder_input, library_size
from isthmus.nn.mlp import bypass, mlp
from isthmus.types import Batch, Distribution, Modality


class ModalityEncoder(nn.Module):
    """One modality to a hidden layer of `width_out` units."""

    def __init__(self, config: Network, modality: Modality) -> None:
        super().__init__()
        full = full_width(config, modality)
        widths = (flat_width(config, modality), *hidden_widths(config, full))
        self.modality, self.width_out = modality, widths[-1]
        self.width_entry = full if modality.kind == "bag" else modality.width
        self.input = from_input(config, modality)
        self.layers = mlp(widths, norm=config.norm, dropout=config.dropout, features=full)

    def forward(self, batch: Batch) -> Float[Tensor, "n h"]:
        return self.hidden(self.entry(batch))

    def entry(self, batch: Batch) -> Float[Tensor, "n f"]:
        """What the modality's values enter as, `width_entry` columns: of bags, what pooling leaves of them."""
        if self.modality.kind == "bag":
            return entered(batch, self.modality, self.input)
        return encoder_input(batch, self.modality)

    def hidden(self, x: Float[Tensor, "n f"]) -> Float[Tensor, "n h"]:
        """The hidden layer for values as `entry` gives them."""
        out: Tensor = self.layers(x if self.modality.kind == "bag" else self.input(x))
        return out


class ModalityDecoder(nn.Module):
    """`latent` dimensions to a distribution over one modality; the mirror of `ModalityEncoder`.

    With `linear`, a linear map of the latent dimensions is added to the last layer's output. It is told `covariates`.
    """

    def __init__(
        self, config: Network, modality: Modality, latent: int, *, linear: bool = False, covariates: Covariates = ()
    ) -> None:
        super().__init__()
        self.told = Told(covariates, (modality,))
        widths = (latent + self.told.width, *reversed(hidden_widths(config, full_width(config, modality))))
        self.modality = modality
        self.layers = mlp(widths, norm=config.norm, dropout=config.dropout)
        self.head = LikelihoodHead(widths[-1], modality, config)
        self.bypass = bypass(latent, modality.width) if linear else None

    def forward(
        self, z: Float[Tensor, "n d"], batch: Batch | None = None, covariates: Given | None = None
    ) -> Distribution:
        """A distribution per sample; counts take their library size from `batch`, else the typical one.

        Covariates are those given, those of `batch`, or the mean of train.
        """
        library = None if batch is None else library_size(batch, self.modality)
        given = given_by(batch, covariates)
        more = self.told.shift(self.modality.name, z, given)
        if self.bypass is not None:
            more = self.bypass(z) if more is None else more + self.bypass(z)
        out: Distribution = self.head(self.layers(self.told(z, given)), library, more)
        return out
