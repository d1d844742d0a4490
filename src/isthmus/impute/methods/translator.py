"""`Translator`: an encoder of the source and a decoder of the table, trained on the samples that have both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from isthmus import registry
from isthmus.config import Config, validate
from isthmus.impute.neural import READ_BACK, SOURCE, TARGET, NeuralImputer

TRANSLATING = 0.63
"""Of the epochs of the other networks: what is left of them without the source's decoder."""


class TranslatorImputer(NeuralImputer):
    """The architecture `translator`, from `source` to the table.

    Parameters
    ----------
    epochs, seed
        Of the training; None: 126 epochs, fewer of more than 770 samples, but no fewer than 13 (8 of more than 4,000).
    settings
        Keys of the architecture; 64 latent dimensions by default.
    loop
        Keys of the training loop, such as `lr`.
    """

    reads: ClassVar[tuple[str, ...]] = ("source",)
    effort: ClassVar[int] = 6
    needs_source: ClassVar[bool] = True

    def model(self, tables: Mapping[str, np.ndarray]) -> Config:
        keys = {"source": SOURCE, "target": TARGET, "latent": 64, "norm": "none", "read_back": READ_BACK}
        keys |= self.settings or {}
        return validate(registry.config_of("translator"), keys, where="impute.methods.translator")

    def _loop(self, n: int) -> dict[str, Any]:
        loop = super()._loop(n)
        if self.epochs is None and "epochs" not in (self.loop or {}):
            loop["epochs"] = round(TRANSLATING * loop["epochs"])
        return loop
