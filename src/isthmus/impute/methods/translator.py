"""`Translator`: an encoder of the source and a decoder of the table, trained on the samples that have both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from isthmus import registry
from isthmus.config import Config, validate
from isthmus.impute.neural import SOURCE, TARGET, NeuralImputer


class TranslatorImputer(NeuralImputer):
    """The architecture `translator`, from `source` to the table.

    Parameters
    ----------
    epochs, seed
        Of the training; None: 200 epochs, fewer of more than 770 samples, but no fewer than 20.
    settings
        Keys of the architecture; 64 latent dimensions by default.
    loop
        Keys of the training loop, such as `lr`.
    """

    reads: ClassVar[tuple[str, ...]] = ("source",)
    effort: ClassVar[int] = 6
    needs_source: ClassVar[bool] = True

    def model(self, tables: Mapping[str, np.ndarray]) -> Config:
        keys = {"source": SOURCE, "target": TARGET, "latent": 64, "norm": "none", **(self.settings or {})}
        return validate(registry.config_of("translator"), keys, where="impute.methods.translator")
