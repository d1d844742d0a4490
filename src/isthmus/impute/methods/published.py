"""The autoencoder of the published study "CNV from mRNA": 512-128-512, Adam at 1e-3, ten epochs, as its text has it.

A network from the source through 512, 128 and 512 rectified units to the table, without norm or dropout, ten epochs in
batches of 32. It stands here as a named preset, so that the study can be repeated; see the docs for what its table got
wrong (a regression at an MSE of 1.00 is what misaligned rows give).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from isthmus import registry
from isthmus.config import Config, validate
from isthmus.impute.imputer import Positive
from isthmus.impute.neural import READ_BACK, SOURCE, TARGET, NeuralImputer

EPOCHS = 10


class PublishedImputer(NeuralImputer):
    """512-128-512 from `source` to the table, ten epochs.

    Parameters
    ----------
    epochs, seed
        Of the training.
    """

    reads: ClassVar[tuple[str, ...]] = ("source",)
    effort: ClassVar[int] = 6
    needs_source: ClassVar[bool] = True

    def __init__(self, *, epochs: Positive = EPOCHS, seed: int = 0) -> None:
        super().__init__(epochs=epochs, seed=seed)

    def model(self, tables: Mapping[str, np.ndarray]) -> Config:
        keys = {"source": SOURCE, "target": TARGET, "latent": 128, "hidden": (512,), "norm": "none", "dropout": 0.0}
        return validate(
            registry.config_of("translator"), {**keys, "read_back": READ_BACK}, where="impute.methods.published"
        )

    def training(self) -> dict[str, Any]:
        epochs = round((self.epochs or EPOCHS) / (1 - READ_BACK))
        return {"epochs": epochs, "batch_size": 32, "lr": 1e-3, "patience": None, "seed": self.seed}
