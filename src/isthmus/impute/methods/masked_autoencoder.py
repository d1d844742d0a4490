"""`MaskedAutoencoder`, trained to predict hidden entries of the table and of the other modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from isthmus import registry
from isthmus.config import Config, validate
from isthmus.impute.neural import NeuralImputer


class MaskedAutoencoderImputer(NeuralImputer):
    """The architecture `masked_autoencoder`.

    Parameters
    ----------
    epochs, seed
        Of the training; None: 200 epochs, fewer of more than 770 samples, but no fewer than 20 (12 of more than 4,000).
    settings
        Keys of the architecture; 32 latent dimensions without norm by default, and one table in twenty masked whole.
    loop
        Keys of the training loop, such as `lr`.
    """

    effort: ClassVar[int] = 6

    def model(self, tables: Mapping[str, np.ndarray]) -> Config:
        keys = {"latent": 32, "hidden": (256,), "norm": "none", "whole": 0.05, **(self.settings or {})}
        return validate(registry.config_of("masked_autoencoder"), keys, where="impute.methods.masked_autoencoder")
