"""The section `compare` of a recipe: what is varied, how often it is repeated, and what stands beside it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator

from isthmus.config import Config
from isthmus.errors import RecipeError, closest, shortened

__all__ = ["Baseline", "Comparison", "Control", "Rows"]

Baseline = Literal["pca", "balanced_pca", "sparse_pca", "nmf", "umap", "mofa", "random_features", "raw"]
Control = Literal["labels", "pairing", "noise", "mean"]
VARIED = ("model", "training", "prepare", "likelihood", "heads", "confounders")


class Rows(Config):
    """What stands in the table of modalities, beside the model on each of them and on all."""

    heads: tuple[str, ...] | None = None
    """The heads whose predictions are compared. None: all of the recipe."""
    clinical: tuple[str, ...] = ()
    """Columns of obs for the rows `clinical` and `clinical + joint`: a linear prediction from them alone."""
    site: str | None = None
    """A column of obs for the row `site alone`: what the place that a sample comes from predicts."""


class Comparison(Config):
    """What `isthmus compare` runs."""

    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Dotted key of the recipe -> values; every combination is run. A key that an architecture lacks is left out for
    it. The key `model` takes whole sections, such as `{name: vae, beta: 0.1}`."""
    modalities: tuple[tuple[str, ...], ...] | None = None
    """Combinations of modalities. None: all of them together."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**32)], ...] = (0, 1, 2, 3, 4)
    """Each draws a new split and new initial weights, in place of the recipe's two seeds."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Folds of every seed, in place of the recipe's shares. None: the recipe's split."""
    baselines: tuple[Baseline, ...] = get_args(Baseline)
    """What stands beside the models, at every latent size; PCA always does."""
    controls: tuple[Control, ...] = ()
    """Every model and PCA once more with all labels and outcomes permuted (`labels`), with the training samples of all
    modalities but the first permuted (`pairing`), with every feature of the last modality permuted (`noise`), or with
    the last modality replaced by its mean (`mean`)."""
    rows: Rows | None = None
    """What each modality adds to the prediction of the recipe's heads; {} for the defaults. With it, and without
    `modalities`, every modality is run alone and all together."""
    tuned: dict[str, str] = Field(default_factory=dict)
    """Architecture -> a recipe, such as the `best.yaml` of `isthmus tune`, whose `model`, `training` and `prepare` are
    run beside its settings here."""
    correction: Literal["bh", "holm"] = "bh"
    """For the number of comparisons with PCA: false discovery rate (Benjamini-Hochberg), or family-wise (Holm)."""

    @field_validator("grid")
    @classmethod
    def _values(cls, grid: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for key, values in grid.items():
            where = f"compare.grid.{key}"
            if not values:
                raise RecipeError("names no value", where=where, wanted="a list")
            if len({repr(v) for v in values}) < len(values):
                raise RecipeError("names a value twice", where=where, met=list(values))
            if key.split(".")[0] not in VARIED:
                hint = closest(key.split(".")[0], VARIED, most=0)
                hint = hint or "compare.seeds, compare.folds and compare.modalities are keys of their own"
                raise RecipeError(
                    "cannot be varied",
                    where=where,
                    wanted=f"a key of {', '.join(VARIED[:-1])} or {VARIED[-1]}",
                    hint=hint,
                )
            if key in ("training.seed", "training.devices", "training.strategy"):
                raise RecipeError(
                    "cannot be varied",
                    where=where,
                    hint="compare.seeds sets the seeds" if key.endswith("seed") else "a job has one thread",
                )
        return grid

    @field_validator("modalities")
    @classmethod
    def _named(cls, modalities: tuple[tuple[str, ...], ...] | None) -> tuple[tuple[str, ...], ...] | None:
        for k, names in enumerate(modalities or ()):
            if not names or len(set(names)) < len(names):
                raise RecipeError("names no modality, or one twice", where=f"compare.modalities.{k}", met=list(names))
        if modalities is not None and (not modalities or len({frozenset(m) for m in modalities}) < len(modalities)):
            raise RecipeError(
                "is empty, or names a combination twice", where="compare.modalities", met=shortened(modalities)
            )
        return modalities

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError("names no seed, or one twice")
        return seeds
