"""`MosaicVAE`: one expert per modality, joined over those that a sample has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from isthmus import registry
from isthmus.config import Config, validate
from isthmus.impute.neural import NeuralImputer


class MosaicVAEImputer(NeuralImputer):
    """The architecture `mosaic_vae`.

    Parameters
    ----------
    epochs, seed
        Of the training; None: 200 epochs, fewer of more than 770 samples, but no fewer than 20 (12 of more than 4,000).
    settings
        Keys of the architecture; 32 latent dimensions without norm and beta .1 by default.
    loop
        Keys of the training loop, such as `lr`.
    """

    effort: ClassVar[int] = 7

    def model(self, tables: Mapping[str, np.ndarray]) -> Config:
        keys = {"latent": 32, "hidden": (256,), "norm": "none", "beta": 0.1, **(self.settings or {})}
        return validate(registry.config_of("mosaic_vae"), keys, where="impute.methods.mosaic_vae")
