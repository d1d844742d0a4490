"""The recipe of `isthmus impute`: `data`, `prepare` and `training` as in `run`, and the section `impute`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from isthmus.config import Config, validate
from isthmus.errors import RecipeError, closest
from isthmus.impute.imputer import make
from isthmus.impute.masks import GAPS, PATTERNS, Pattern
from isthmus.recipe import Recipe, parse_recipe, versions
from isthmus.yaml_text import dump_yaml, read_yaml

__all__ = ["Downstream", "ImputeRecipe", "Imputing", "load_impute_recipe", "parse_impute_recipe"]

SECTIONS = ("data", "prepare", "training", "impute")
Rate = Annotated[float, Field(gt=0, lt=1)]
Learner = Literal["logistic", "forest", "svm"]
FOLDS = 5


class Downstream(Config):
    """What is predicted from the filled table, beside the original, the other modalities alone, and both."""

    label: str
    """A column of obs."""
    learners: tuple[Learner, ...] = ("logistic", "forest")
    """`forest` is the study's random forest."""
    seeds: Annotated[int, Field(ge=1)] = 5
    """Forests of different seeds."""


class Imputing(Config):
    """What `isthmus impute` does."""

    target: str | tuple[str, ...] | None = None
    """Modalities to fill. None: all that lack something."""
    methods: tuple[str | dict[str, dict[str, Any]], ...] | None = None
    """Names, or {name: {option: value}}. None: all that can read something of what is there."""
    patterns: tuple[Pattern, ...] | None = None
    """How known entries are hidden: `gaps` (as in the real gaps), `modality` (whole samples), `random`, `sample`,
    `feature`, `mar`, `mnar_low`. None: `gaps`, `random`, `sample`, `feature`, and `modality` where there is another
    modality; what has no meaning for a modality is left out for it."""
    rates: tuple[Rate, ...] = (0.1,)
    """Shares of the known entries that are hidden (by `gaps` at most)."""
    masks: str | None = None
    """A folder of masks and folds, such as `masks` in the folder of another run of the same cohort: what is hidden is
    read from it, not drawn. It needs a file for every pattern, rate and repeat that the recipe asks for."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """How often folds and masks are drawn anew."""
    classes: str | None = None
    """A column of classes, for the method `class_mean`."""
    level: Rate = 0.9
    """Of the intervals."""
    draws: Annotated[int, Field(ge=0)] = 0
    """Draws of the filled table, for estimates pooled by Rubin's rules; 0 leaves them out."""
    calls: bool = False
    """Return whole numbers where a modality holds few distinct ones, such as copy-number calls; others stay as they
    are."""
    downstream: Downstream | None = None
    """A label that is predicted from the filled values."""
    write: tuple[Literal["h5mu", "csv", "parquet"], ...] = ("h5mu",)
    """Files of the filled cohort: imputed.h5mu, or folders of tables."""

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        names = [make(m)[0] for m in methods or ()]
        if methods is not None and not methods:
            raise RecipeError("names no method", where="impute.methods", hint="leave the key out for all there are")
        if twice := next((n for n in names if names.count(n) > 1), None):
            raise RecipeError("names a method twice", where="impute.methods", met=twice)
        return methods

    @field_validator("patterns")
    @classmethod
    def _some(cls, patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if patterns is not None and (not patterns or len(set(patterns)) < len(patterns)):
            wanted = f"some of {', '.join((GAPS, *PATTERNS))}"
            raise RecipeError("names none, or one twice", where="impute.patterns", met=list(patterns), wanted=wanted)
        return patterns

    @field_validator("rates", "write")
    @classmethod
    def _different(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values or len(set(values)) < len(values):
            raise ValueError("names none, or one twice")
        return values

    @field_validator("target")
    @classmethod
    def _each_once(cls, target: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if isinstance(target, tuple) and (not target or len(set(target)) < len(target)):
            raise ValueError("names none, or one twice")
        return target

    @field_validator("draws")
    @classmethod
    def _several(cls, draws: int) -> int:
        if draws == 1:
            raise ValueError("one draw has no spread: 0, or at least 2")
        return draws

    @model_validator(mode="after")
    def _readable(self) -> Imputing:
        for name, method in map(make, self.methods or ()):
            if method.reads == ("classes",) and self.classes is None:
                wanted = "impute.classes: a column of classes"
                raise RecipeError("has nothing to read", where=f"impute.methods: {name}", wanted=wanted)
        return self

    @property
    def targets(self) -> tuple[str, ...] | None:
        """The modalities as a tuple."""
        return (self.target,) if isinstance(self.target, str) else self.target


@dataclass(frozen=True)
class ImputeRecipe:
    """A checked recipe.

    Attributes
    ----------
    base
        `data`, `prepare` and `training`, checked as `run` checks them, with absolute paths.
    impute
        The section `impute`.
    loop
        What `training` says itself: it overrides the methods' own epochs, rate and so on.
    """

    base: Recipe
    impute: Imputing
    loop: Mapping[str, Any]

    def text(self) -> str:
        """The resolved recipe as YAML."""
        tree = self.base.model_dump(mode="json", include={"data", "prepare"}, exclude_none=True)
        loop = {k: v for k, v in self.base.training.model_dump(mode="json").items() if k in self.loop or k == "seed"}
        impute = self.impute.model_dump(mode="json")
        return dump_yaml({**tree, "training": loop, "impute": impute, "versions": versions()})


def load_impute_recipe(path: str | Path, overrides: Sequence[str] = ()) -> ImputeRecipe:
    """Read a recipe file; `overrides` are `key.key=value`.

    Raises
    ------
    RecipeError
        The file is missing, is not YAML, or a key or value is wrong.
    """
    return parse_impute_recipe(read_yaml(path, overrides), root=Path(path).absolute().parent)


def parse_impute_recipe(tree: Mapping[str, Any], *, root: Path | None = None) -> ImputeRecipe:
    """A recipe from a mapping; relative paths count from `root` (the current folder)."""
    for key in tree:
        if key not in (*SECTIONS, "versions"):
            hint = closest(key, SECTIONS)
            raise RecipeError("unknown key", where=str(key), hint=hint)
    impute = validate(Imputing, tree.get("impute") or {}, where="impute")
    data = dict(tree.get("data") or {})
    data["split"] = data.get("split") or {"folds": FOLDS}
    if impute.masks is not None:
        impute = impute.model_copy(update={"masks": str(_masks(impute.masks, root))})
    sections = {k: tree[k] for k in ("prepare", "training") if tree.get(k) is not None}
    base = parse_recipe({"data": data, **sections, "model": {"name": "autoencoder"}}, root=root)
    return ImputeRecipe(base, impute, dict(tree.get("training") or {}))


def _masks(given: str, root: Path | None) -> Path:
    folder = ((root or Path.cwd()) / given).absolute()
    if not folder.is_dir():
        wanted = "masks and folds that isthmus impute wrote"
        raise RecipeError("there is no such folder", where="impute.masks", met=str(folder), wanted=wanted)
    return folder
