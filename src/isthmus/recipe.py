"""A recipe: YAML or keyword arguments, checked as a whole before any data is read or torch is imported."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from isthmus import registry
from isthmus.comparing_keys import Comparison
from isthmus.config import Config, Likelihood, validate
from isthmus.data.simulation_settings import Simulation
from isthmus.data.source import Source, expand
from isthmus.data.split import Split
from isthmus.errors import RecipeError
from isthmus.evaluating_keys import Evaluate
from isthmus.prepare.step import describe, get, parse_steps
from isthmus.supervising_keys import Confounders, Head, check_head_names
from isthmus.training.settings import Training
from isthmus.tuning_keys import Tuning
from isthmus.yaml_text import dump_yaml, read_yaml

FIXED = ("data", "prepare", "likelihood", "model", "training", "evaluate")
"""The sections that every resolved recipe has."""
ASKED = ("heads", "confounders")
"""Those that it has where there is something in them."""
DOTTED = ("compare.grid", "tune.space")
"""Mappings whose keys are keys of the recipe, such as `model.latent`."""


class Data(Config):
    """Where the cohort comes from and how it is divided. Exactly one of `read` and `simulate` is given."""

    read: dict[str, Source] | str | None = None
    """Modality -> file (or mapping with `path` and options), or one h5mu file."""
    simulate: Simulation | None = None
    """Simulate a cohort with known truth instead."""
    obs: Source | None = None
    """Table of annotations, one row a sample."""
    split: Split = Split()
    """How the cohort is divided."""

    @model_validator(mode="after")
    def _one(self) -> Data:
        if (self.read is None) == (self.simulate is None):
            raise ValueError("give exactly one of `read` and `simulate`")
        return self


class Recipe(Config):
    """All settings of a run."""

    data: Data
    """Where the cohort comes from."""
    prepare: dict[str, list[Any]] = Field(default_factory=dict)
    """Modality -> steps, fitted on train. A modality not named is standardised; counts are left as they are."""
    likelihood: dict[str, Likelihood] = Field(default_factory=dict)
    """Modality -> gaussian (default), bernoulli, poisson, nb or zinb."""
    heads: dict[str, Head] = Field(default_factory=dict)
    """Name -> what is predicted from the embedding; a head named as a column of obs reads that column."""
    confounders: Confounders | None = None
    """Columns of obs that the embedding should not tell of."""
    model: SerializeAsAny[Config]
    """The architecture, by `name`, and its settings."""
    training: Training = Training()
    """The training loop."""
    evaluate: Evaluate = Evaluate()
    """What is measured."""
    compare: Comparison | None = None
    """What `isthmus compare` runs; other commands do not read it."""
    tune: Tuning | None = None
    """How `isthmus tune` searches; other commands do not read it."""
    versions: dict[str, str] | None = None
    """Written into the resolved recipe; not read."""

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and isinstance(model := raw.get("model"), Mapping):
            name = model.get("name")
            if not isinstance(name, str):
                raise RecipeError(
                    "names no architecture", where="model.name", met=name, wanted=" or ".join(registry.names())
                )
            keys = {k: v for k, v in model.items() if k != "name"}
            raw = {**raw, "model": validate(registry.settings(name), keys, where="model")}
        return raw

    @field_validator("heads")
    @classmethod
    def _names(cls, heads: dict[str, Head]) -> dict[str, Head]:
        check_head_names(heads)
        return heads

    @property
    def supervision(self) -> dict[str, Any]:
        """The keywords `heads` and `confounders` of `fit`."""
        return {"heads": self.heads, "confounders": self.confounders}

    @field_validator("prepare")
    @classmethod
    def _steps(cls, prepare: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {m: [describe(s) for s in parse_steps(steps, where=f"prepare.{m}")] for m, steps in prepare.items()}

    def text(self) -> str:
        """The resolved recipe as YAML: every key, and the versions it was run with."""
        tree = self.model_dump(mode="json", exclude={"model", "versions"})
        tree = {k: v for k, v in tree.items() if v is not None and (v or k not in ASKED)}  # every key within is told
        model = {"name": registry.name_of(self.model), **self.model.model_dump(mode="json")}
        order = {k: model if k == "model" else tree.get(k) for k in type(self).model_fields if k in FIXED or k in tree}
        return dump_yaml({**order, "versions": versions()})


def versions() -> dict[str, str]:
    """Of what computes: isthmus, torch, numpy, scikit-learn, Python."""
    found = {name: version(name) for name in ("isthmus", "torch", "numpy", "scikit-learn")}
    return {**found, "python": platform.python_version()}


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file; `overrides` are `key.key=value`.

    Relative paths in the recipe are looked up from the folder of the file, and stand absolute in the result.

    Raises
    ------
    RecipeError
        The file is missing, cannot be read or is not YAML, or a key or value is wrong.
    """
    return parse_recipe(read_yaml(path, overrides, flat=DOTTED), root=Path(path).absolute().parent)


def parse_recipe(tree: Mapping[str, Any], *, root: Path | None = None) -> Recipe:
    """A recipe from a mapping; relative paths count from `root` (the current folder)."""
    recipe = validate(Recipe, tree, where="")
    return _absolute(recipe, root or Path.cwd())


def _absolute(recipe: Recipe, root: Path) -> Recipe:
    """The recipe with every path absolute, so that it means the same wherever it is copied to."""

    def at_root(source: Source, where: str) -> Source:
        given = {k: v for k in ("path", "slides") if (v := getattr(source, k)) is not None}
        return source.model_copy(
            update={k: os.path.normpath(expand(v, root=root, where=where)) for k, v in given.items()}
        )

    data = recipe.data
    keys: dict[str, Any] = {}
    if isinstance(data.read, str):
        keys["read"] = at_root(Source(path=data.read), "data.read").path
    elif data.read is not None:
        keys["read"] = {m: at_root(s, f"data.read.{m}") for m, s in data.read.items()}
    if data.obs is not None:
        keys["obs"] = at_root(data.obs, "data.obs")
    if data.split.file is not None:
        file = os.path.normpath(expand(data.split.file, root=root, where="data.split.file"))
        keys["split"] = data.split.model_copy(update={"file": file})
    prepare = {m: [_step_at(root, s, f"prepare.{m}") for s in steps] for m, steps in recipe.prepare.items()}
    model = recipe.model.model_copy(update=_files_at(root, recipe.model))
    compare = None if recipe.compare is None else _comparison_at(root, recipe.compare)
    made = {"data": data.model_copy(update=keys), "prepare": prepare, "model": model, "compare": compare}
    made["evaluate"] = _evaluation_at(root, recipe.evaluate)
    return recipe.model_copy(update=made)


def _comparison_at(root: Path, compare: Comparison) -> Comparison:
    """The section `compare` with the files that it names made absolute."""

    def at_root(value: Any, key: str) -> Any:
        if key == "model" and isinstance(value, Mapping):
            return {k: at_root(v, f"model.{k}") for k, v in value.items()}
        if key not in files or not isinstance(value, str):
            return value
        return os.path.normpath(expand(value, root=root, where=f"compare.grid.{key}"))

    files = {"tuned"} | {f"model.{k}" for name in registry.names() for k in registry.settings(name).paths}
    grid = {key: tuple(at_root(value, key) for value in values) for key, values in compare.grid.items()}
    tuned = {k: at_root(v, "tuned") for k, v in compare.tuned.items()}
    return compare.model_copy(update={"grid": grid, "tuned": tuned})


def _evaluation_at(root: Path, evaluate: Evaluate) -> Evaluate:
    """The section `evaluate` with the file that it names made absolute."""
    of, where = evaluate.translation, "evaluate.translation.pathways"
    if of is None or of.pathways is None:
        return evaluate
    file = os.path.normpath(expand(of.pathways, root=root, where=where))
    return evaluate.model_copy(update={"translation": of.model_copy(update={"pathways": file})})


def _files_at(root: Path, settings: Config) -> dict[str, Any]:
    """The keys of settings that name files, with these absolute."""

    def at_root(value: Any, where: str) -> Any:
        if isinstance(value, tuple):
            return tuple(at_root(v, where) for v in value)
        if isinstance(value, str | Path):
            return type(value)(os.path.normpath(expand(value, root=root, where=where)))
        return value

    return {k: at_root(getattr(settings, k), f"model.{k}") for k in settings.paths}


def _step_at(root: Path, step: Any, where: str) -> Any:
    """A described step with the files that its options name made absolute."""
    if not isinstance(step, Mapping):
        return step
    (name, options), *_ = step.items()
    files = {k: os.path.normpath(expand(options[k], root=root, where=where)) for k in get(name).paths if options.get(k)}
    return {name: {**options, **files}}
