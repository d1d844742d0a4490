"""The recipe of `isthmus associate`: `data` and `prepare` as in `run`, and the section `associate`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from isthmus.config import Config, validate
from isthmus.data.source import expand
from isthmus.errors import RecipeError, closest
from isthmus.recipe import Recipe, parse_recipe, versions
from isthmus.yaml_text import dump_yaml, read_yaml

__all__ = ["AssociateRecipe", "Associating", "StabilitySettings", "load_associate_recipe", "parse_associate_recipe"]

SECTIONS = ("data", "prepare", "associate")
HOMES = {
    "latent": ("isthmus.associating.latent_keys", "LatentSettings"),
    "graph": ("isthmus.associating.graph_keys", "GraphSettings"),
}
"""Where the settings of further lines of evidence are declared."""
FURTHER = ("stability", "latent", "graph", "external")
"""Lines of evidence beside the direct test."""
Level = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(min_length=1)]


class StabilitySettings(Config):
    """Which pairs are among the best in random halves of the samples, again and again."""

    halves: Annotated[int, Field(ge=2)] = 50
    """How often the samples are halved."""
    per_half: Annotated[int, Field(ge=1)] | None = None
    """Best pairs of a half that count. None: so many that one stable pair is expected by chance."""


class Associating(Config):
    """What `isthmus associate` does."""

    paths: ClassVar[tuple[str, ...]] = ("annotations", "external")
    between: tuple[Name, Name]
    """Two modalities: every feature of the first is tested against every feature of the second."""
    correlation: Literal["spearman", "pearson", "bicor"] = "spearman"
    """`bicor` is the biweight midcorrelation."""
    fdr: Annotated[float, Field(gt=0, le=1)] = 0.05
    """False discovery rate; 1 lists every pair."""
    correction: Literal["bh", "by", "bonferroni", "storey"] = "bh"
    """Benjamini-Hochberg, Benjamini-Yekutieli, Bonferroni (`fdr` is then the family-wise level), or Storey."""
    null: Literal["auto", "exact", "permutation", "t"] = "auto"
    """Where p-values come from."""
    design: tuple[Name, ...] | None = None
    """Columns of obs whose effect is taken out; `a*b` stands for the joint groups of two. None: every column of classes
    that leaves half of the freedom or more, unless there are blocks. [] takes nothing out."""
    blocks: str | None = None
    """A column of obs within whose groups samples are permuted, such as the patient of repeated samples."""
    targets: Name | tuple[Name, ...] | None = None
    """Features of interest of the second modality: every feature of the first is ranked for each, with intervals."""
    level: Level = 0.95
    """Of the intervals."""
    network: Annotated[int, Field(ge=1)] = 5000
    """Best pairs that make the network; hits.parquet has all."""
    stability: StabilitySettings | None = None
    """Stability selection over halves of the samples; null leaves it out."""
    latent: SerializeAsAny[Config] | None = None
    """Associations by way of autoencoders: keys of their own, {} for the defaults; null leaves them out."""
    graph: SerializeAsAny[Config] | None = None
    """Refinement by a graph network: keys of its own, {} for the defaults; null leaves it out."""
    annotations: str | None = None
    """A GMT file of gene sets that the modules are tested for, those of three features of a modality or more."""
    external: str | None = None
    """A csv with the columns x, y and score, a row a pair: evidence from elsewhere, larger is stronger."""
    weights: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """Weight of every line of evidence in the combined rank, such as {direct: 1, stability: 0.5}. None: 1 each."""
    scatter: Annotated[int, Field(ge=0, le=48)] = 12
    """Pairs that the report draws sample by sample."""
    colour: str | None = None
    """The column of obs that samples are coloured by. None: the first column of the design, or of classes."""
    views: tuple[Literal["tsne", "umap", "pca"], ...] = ("tsne",)
    """Maps of samples and of features; `umap` needs the extra viz and is PCA without it."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """None: all cores."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of permutations, halves and maps."""

    @field_validator("latent", "graph", mode="before")
    @classmethod
    def _settings(cls, keys: Any, info: Any) -> Any:
        """Checked by the class of the section, which is imported when a recipe has it."""
        if not isinstance(keys, Mapping):
            return keys
        home, name = HOMES[info.field_name]
        return validate(getattr(import_module(home), name), keys, where=f"associate.{info.field_name}")

    @field_validator("between")
    @classmethod
    def _two(cls, between: tuple[str, str]) -> tuple[str, str]:
        if between[0] == between[1]:
            raise ValueError("names one modality twice")
        return between

    @field_validator("design", "targets", "views")
    @classmethod
    def _once(cls, values: Any) -> Any:
        if isinstance(values, tuple) and (twice := next((v for v in values if values.count(v) > 1), None)):
            raise ValueError(f"names {twice!r} twice")
        return values

    @model_validator(mode="after")
    def _lines(self) -> Associating:
        if self.targets == ():
            raise RecipeError("names no feature", where="associate.targets", hint="leave the key out")
        asked = ["direct", *(k for k in FURTHER if getattr(self, k) is not None)]
        weights = self.weights or {}
        if other := next((k for k in weights if k not in asked), None):
            what = "is not asked for by the recipe" if other in FURTHER else "is no line of evidence"
            raise RecipeError(what, where=f"associate.weights.{other}", wanted=" or ".join(asked))
        if not sum(weights.get(k, 1.0) for k in asked):
            raise RecipeError("are all zero", where="associate.weights", met=dict(weights))
        return self

    @property
    def of(self) -> tuple[str, ...]:
        """The targets as a tuple."""
        return (self.targets,) if isinstance(self.targets, str) else self.targets or ()


@dataclass(frozen=True)
class AssociateRecipe:
    """A checked recipe.

    Attributes
    ----------
    base
        `data` and `prepare`, checked as `run` checks them, with absolute paths.
    associate
        The section `associate`.
    """

    base: Recipe
    associate: Associating

    def text(self) -> str:
        """The resolved recipe as YAML."""
        tree = self.base.model_dump(mode="json", include={"data", "prepare"}, exclude_none=True)
        tree["data"].pop("split", None)
        return dump_yaml({**tree, "associate": self.associate.model_dump(mode="json"), "versions": versions()})


def load_associate_recipe(path: str | Path, overrides: Sequence[str] = ()) -> AssociateRecipe:
    """Read a recipe file; `overrides` are `key.key=value`.

    Raises
    ------
    RecipeError
        The file is missing, is not YAML, or a key or value is wrong.
    """
    return parse_associate_recipe(read_yaml(path, overrides), root=Path(path).absolute().parent)


def parse_associate_recipe(tree: Mapping[str, Any], *, root: Path | None = None) -> AssociateRecipe:
    """A recipe from a mapping; relative paths count from `root` (the current folder)."""
    for key in tree:
        if key not in (*SECTIONS, "versions"):
            hint = closest(str(key), SECTIONS, most=0) or f"isthmus associate reads {', '.join(SECTIONS)}"
            raise RecipeError("unknown key", where=str(key), hint=hint)
    root = root or Path.cwd()
    keys = validate(Associating, tree.get("associate") or {}, where="associate")
    files = {
        k: os.path.normpath(expand(getattr(keys, k), root=root, where=f"associate.{k}"))
        for k in keys.paths if getattr(keys, k) is not None
    }  # fmt: skip
    data = tree.get("data") or {}
    if isinstance(data, Mapping) and data.get("split") is not None:
        hint = "every sample is tested; the graph's discovery folds have keys of their own"
        raise RecipeError("is not read by isthmus associate", where="data.split", hint=hint)
    prepare = {"prepare": tree["prepare"]} if tree.get("prepare") is not None else {}
    base = parse_recipe({"data": data, **prepare, "model": {"name": "autoencoder"}}, root=root)
    return AssociateRecipe(base, keys.model_copy(update=files))
