"""The section `latent` of `isthmus associate`. Imports no torch, so that a recipe can be checked without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from isthmus import registry
from isthmus.config import Config, validate
from isthmus.errors import RecipeError
from isthmus.training.settings import Training

__all__ = ["LatentSettings"]

LOOP: dict[str, Any] = {"epochs": 400, "patience": None, "lr": 3e-3}
"""What `training` is where the settings do not say otherwise: every sample trains."""


class LatentSettings(Config):
    """Latent-mediated associations."""

    mode: Literal["dual", "joint"] = "dual"
    """`dual`: an autoencoder a modality and a map between their embeddings; `joint`: one architecture on both."""
    model: dict[str, Any] = Field(default={"name": "autoencoder", "latent": 8, "hidden": []})
    """The architecture, by `name`, and its settings. By default a linear autoencoder: deeper ones learn few samples by
    heart, and their derivatives then say little of what goes with what."""
    training: Training = Training(**LOOP)
    """The training loop; unless said otherwise 400 epochs at a rate of 0.003, without early stopping."""
    span: bool | None = None
    """Train on coordinates in the span of the samples. null: where there are more features than samples."""
    seeds: Annotated[int, Field(ge=1)] = 3
    """Fits that scores are averaged over, with seeds from `training.seed` on."""
    refits: Annotated[int, Field(ge=0)] = 20
    """Permutations of the second modality's samples that make the null; 0: scores without p-values."""
    top: Annotated[int, Field(ge=1)] = 1000
    """How many of the best pairs are listed."""

    @field_validator("model")
    @classmethod
    def _known(cls, model: dict[str, Any]) -> dict[str, Any]:
        name, where = model.get("name"), "associate.latent.model"
        if not isinstance(name, str):
            wanted = " or ".join(registry.names())
            raise RecipeError("names no architecture", where=f"{where}.name", met=name, wanted=wanted)
        validate(registry.settings(name), {k: v for k, v in model.items() if k != "name"}, where=where)
        return model

    @field_validator("training", mode="before")
    @classmethod
    def _over_defaults(cls, training: Any) -> Any:
        return {**LOOP, **training} if isinstance(training, Mapping) else training
