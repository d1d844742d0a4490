"""From the section `compare` to cells: one whole recipe each, but for seed and fold. Imports no torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from isthmus import registry
from isthmus.comparing_keys import Comparison
from isthmus.errors import RecipeError, closest
from isthmus.recipe import Recipe, load_recipe, parse_recipe
from isthmus.yaml_text import dump_yaml

__all__ = ["Cell", "cells", "comparison_of"]

FIRST = ("model", "model.name")
"""Keys that say which architecture the others are for."""
SECTIONS = ("prepare", "likelihood", "training", "heads", "confounders")
"""Besides `model`, what of a recipe makes a setting."""
OF_MODALITIES = ("prepare", "likelihood")
"""Sections that say something of each modality."""


@dataclass(frozen=True)
class Cell:
    """One setting of the grid.

    Attributes
    ----------
    model
        Name of the architecture.
    keys
        Value of every key of the grid that it has, `model` and `model.name` left out.
    tree
        `prepare`, `likelihood`, `model`, `training`, `heads` and `confounders` of its recipe, resolved.
    modalities, control, tuned
        What it sees of the data; `labels`, `pairing`, `noise` or nothing; whether the settings are those of
        `compare.tuned`.
    refused
        Why it cannot be run; None where it can.
    """

    model: str
    keys: Mapping[str, Any]
    tree: Mapping[str, Any]
    modalities: tuple[str, ...]
    control: str = ""
    tuned: bool = False
    refused: str | None = None

    @property
    def latent(self) -> int:
        """The key `model.latent`."""
        return int(self.tree["model"]["latent"])


def comparison_of(recipe: Recipe) -> Comparison:
    """The section `compare`; its defaults where the recipe has none."""
    return recipe.compare or Comparison()


def cells(recipe: Recipe, names: Sequence[str]) -> list[Cell]:
    """Every setting of the grid, in its order; a key that an architecture lacks makes no further ones of it.

    Parameters
    ----------
    recipe
        With or without a section `compare`.
    names
        The modalities of the cohort.

    Raises
    ------
    RecipeError
        A key or value of the grid is wrong, or a modality is unknown.
    """
    compare = comparison_of(recipe)
    _check_keys(compare, _architectures(recipe, compare))
    _check_modalities([f"compare.grid.{k}" for k in compare.grid], names)
    _check_modalities([f"{s}.{m}" for s in OF_MODALITIES for m in getattr(recipe, s)], names)
    combinations = [_known(c, names) for c in compare.modalities or _default(compare, names)]
    settings = [*_settings(recipe, compare), *_tuned(recipe, compare)]
    controls = ["", *compare.controls]
    return [
        replace(s, tree=_narrowed(s.tree, m), modalities=m, control=control)
        for m in combinations
        for control in controls
        if not control or control == "labels" or len(m) > 1
        for s in settings
    ]


def _default(compare: Comparison, names: Sequence[str]) -> list[tuple[str, ...]]:
    """All modalities together, and for the table of rows each alone, too."""
    alone = [(n,) for n in names] if compare.rows is not None and len(names) > 1 else []
    return [*alone, tuple(names)]


def _known(combination: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """A combination in the order of the cohort."""
    for name in combination:
        if name not in names:
            hint = closest(name, names)
            raise RecipeError("no such modality", where="compare.modalities", met=name, hint=hint)
    return tuple(n for n in names if n in combination)


def _narrowed(tree: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, Any]:
    """Without what is said of other modalities."""
    some = {k: {m: v for m, v in tree[k].items() if m in modalities} for k in OF_MODALITIES}
    return {**tree, **some}


def _architectures(recipe: Recipe, compare: Comparison) -> list[str]:
    """Those that the grid, or the recipe alone, names."""
    found = [
        v["name"] for v in compare.grid.get("model", ()) if isinstance(v, Mapping) and isinstance(v.get("name"), str)
    ]
    found += [v for v in compare.grid.get("model.name", ()) if isinstance(v, str)]
    return list(dict.fromkeys(found or [registry.name_of(recipe.model)]))


def _check_keys(compare: Comparison, architectures: Iterable[str]) -> None:
    """Refuse what no architecture of the grid has: there it is a slip, and no cell would show it."""
    known = {f"model.{k}" for name in architectures for k in registry.settings(name).model_fields} | {"model.name"}
    for key in compare.grid:
        if key.startswith("model.") and ".".join(key.split(".")[:2]) not in known:
            hint = closest(key, sorted(known))
            raise RecipeError("no architecture of the grid has this key", where=f"compare.grid.{key}", hint=hint)
    for name in compare.tuned:
        if name not in architectures:
            raise RecipeError("is not in the grid", where=f"compare.tuned.{name}", wanted=" or ".join(architectures))


def _check_modalities(keys: Iterable[str], names: Sequence[str]) -> None:
    """Refuse what is said of a modality that the cohort lacks: no setting would show it."""
    for where in keys:
        section, _, rest = where.removeprefix("compare.grid.").partition(".")
        if section in OF_MODALITIES and rest and not any(rest == n or rest.startswith(f"{n}.") for n in names):
            raise RecipeError("no such modality", where=where, hint=closest(rest, names))


def _settings(recipe: Recipe, compare: Comparison) -> list[Cell]:
    """Every combination of the grid on all modalities, each once."""
    tree = recipe.model_dump(mode="json", include={"data", *SECTIONS})
    given = recipe.model.model_dump(mode="json", exclude_unset=True)
    tree["model"] = {"name": registry.name_of(recipe.model), **given}
    order = sorted(compare.grid, key=lambda k: FIRST.index(k) if k in FIRST else len(FIRST))
    found: dict[str, Cell] = {}
    for values in itertools.product(*(compare.grid[k] for k in order)):
        cell = _cell(tree, dict(zip(order, values, strict=True)))
        found.setdefault(dump_yaml({**cell.tree, "refused": cell.refused}), cell)
    return list(found.values())


def _tuned(recipe: Recipe, compare: Comparison) -> list[Cell]:
    """The same with the settings of a tuned recipe, but for the keys of the grid."""
    found: list[Cell] = []
    for name, path in compare.tuned.items():
        best = load_recipe(path)
        if (met := registry.name_of(best.model)) != name:
            raise RecipeError(
                "is a recipe of another architecture", where=f"compare.tuned.{name}", met=met, wanted=name
            )
        grid = {k: v for k, v in compare.grid.items() if k not in FIRST}
        instead = recipe.model_copy(
            update={
                "model": best.model, "training": best.training, "prepare": {**recipe.prepare, **best.prepare},
                "compare": compare.model_copy(update={"grid": {**grid, "model.name": (name,)}}),
            }
        )  # fmt: skip
        found += [replace(cell, tuned=True) for cell in _settings(instead, comparison_of(instead))]
    return found


def _cell(tree: Mapping[str, Any], values: Mapping[str, Any]) -> Cell:
    """The recipe with these values of the grid's keys, as far as its architecture has them."""
    model = {**tree["model"]}
    if "model" in values:
        section = values["model"]
        if not isinstance(section, Mapping):
            raise RecipeError("is no section", where="compare.grid.model", met=section, wanted="such as {name: vae}")
        model |= section
    model |= {"name": values["model.name"]} if "model.name" in values else {}
    fields = registry.settings(str(model["name"])).model_fields
    own = {k: v for k, v in model.items() if k == "name" or k in fields or k in dict(values.get("model", {}))}
    keys = {
        k: v for k, v in values.items() if k not in FIRST and (not k.startswith("model.") or k.split(".")[1] in fields)
    }
    made: dict[str, Any] = {**tree, "model": own}
    for key, value in keys.items():
        made = _set(made, key.split("."), value)
    try:
        resolved = parse_recipe(made)
    except RecipeError as error:
        if error.what != "is missing":
            raise _of_grid(error, values) from None
        whole = {**own, "latent": own.get("latent", 8)}
        return Cell(own["name"], keys, {**tree, "model": whole}, (), refused=str(error))
    dumped = resolved.model_dump(mode="json", include=set(SECTIONS))
    dumped["model"] = {"name": own["name"], **resolved.model.model_dump(mode="json")}
    return Cell(str(own["name"]), keys, dumped, ())


def _of_grid(error: RecipeError, keys: Iterable[str]) -> RecipeError:
    """The error, with its place in the grid where that is what is wrong."""
    at = error.where or ""
    if any(at == k or at.startswith(f"{k}.") for k in keys):
        at = f"compare.grid.{at}"
    return RecipeError(error.what, where=at or None, met=error.met, wanted=error.wanted, hint=error.hint)


def _set(tree: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of the tree in which a path of keys leads to a value."""
    head, *rest = path
    below = tree.get(head) or {}
    if rest and not isinstance(below, Mapping):
        raise RecipeError("has no keys below it", where=f"compare.grid.{'.'.join(path)}", met=below)
    return {**tree, head: _set(below, rest, value) if rest else value}
