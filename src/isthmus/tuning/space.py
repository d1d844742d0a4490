"""What is varied: keys of a recipe with their ranges, as Optuna samples them and as a recipe takes them.

Imports no torch: a wrong key is found before any data is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from isthmus.config import Config, Tune, copy_with, validate
from isthmus.errors import RecipeError, closest
from isthmus.prepare.step import describe, get, parse_steps
from isthmus.recipe import ASKED, Recipe
from isthmus.tuning_keys import Tuning, parse_range

__all__ = ["Knob", "Space", "space_of"]

SEEDS = ("training.seed", "training.devices")
"""Keys that the search sets itself."""


@dataclass(frozen=True)
class Place:
    """Where a key stands in a recipe: the settings class that declares it, its name there, its value, its range."""

    schema: type[Config]
    name: str
    value: Any
    declared: Tune | None


@dataclass(frozen=True)
class Knob:
    """A key that is varied, its range, and its value in the recipe."""

    key: str
    range: Tune
    default: Any
    whole: bool

    @property
    def distribution(self) -> BaseDistribution:
        """The range as Optuna has it; choices that are no plain values go by their JSON."""
        if self.range.choices:
            return CategoricalDistribution([_token(c) for c in self.range.choices])
        low, high = _ends(self.range)
        if self.whole:
            return IntDistribution(int(low), int(high), log=self.range.log)
        return FloatDistribution(float(low), float(high), log=self.range.log)

    def value(self, token: CategoricalChoiceType) -> Any:
        """What the recipe gets for what Optuna proposes."""
        if not self.range.choices:
            return token
        return next(c for c in self.range.choices if _token(c) == token and type(_token(c)) is type(token))

    @property
    def start(self) -> CategoricalChoiceType:
        """The recipe's own value, as near to it as the range allows."""
        number = isinstance(self.default, int | float) and not isinstance(self.default, bool)
        if self.range.choices:
            same = [c for c in self.range.choices if _token(c) == _token(self.default)]
            numbers = [c for c in self.range.choices if isinstance(c, int | float)]
            if not same and number and numbers:
                return min(numbers, key=lambda c: abs(c - self.default))
            return _token((same or list(self.range.choices))[0])
        low, high = _ends(self.range)
        return min(max(self.default, low), high) if number else low


@dataclass(frozen=True)
class Space:
    """A recipe and the keys of it that are varied."""

    recipe: Recipe
    knobs: tuple[Knob, ...]
    weighing: tuple[str, ...] = ()
    """Varied keys of the model that weigh terms of its loss."""

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        return {k.key: k.distribution for k in self.knobs}

    @property
    def start(self) -> dict[str, CategoricalChoiceType]:
        """The recipe's own settings."""
        return {k.key: k.start for k in self.knobs}

    def values(self, proposed: Mapping[str, Any]) -> dict[str, Any]:
        """Proposed parameters as the recipe takes them."""
        return {k.key: k.value(proposed[k.key]) for k in self.knobs}

    def recipe_with(self, proposed: Mapping[str, Any]) -> Recipe:
        """The recipe with some parameters; it says nothing of tuning any more.

        Raises
        ------
        RecipeError
            The values exclude each other.
        """
        return changed(self.recipe, self.values(proposed))

    def reference(self, model: Config) -> Config | None:
        """The model's settings with the recipe's own weights of the loss; None where no weight is varied."""
        if not self.weighing:
            return None
        return copy_with(model, **{k: getattr(self.recipe.model, k) for k in self.weighing})


def space_of(recipe: Recipe, keys: Tuning) -> Space:
    """The keys to vary, each range checked at its ends.

    Raises
    ------
    RecipeError
        A key is unknown, declares no range and is given none, or a range holds what the key does not take.
    """
    known = dict(_places(recipe))
    asked = keys.space
    if asked is None:
        asked = {
            k: None
            for k, p in known.items()
            if p.declared and not p.declared.asked and k.partition(".")[0] != "prepare"
        }
    knobs = tuple(_knob(key, value, known) for key, value in asked.items())
    summed = ("prepare.", *(f"{section}." for section in ASKED))
    if "valid_loss" in keys.names and (varied := [k.key for k in knobs if k.key.startswith(summed)]):
        raise RecipeError(
            "changes what the loss is summed over, so that losses cannot be compared", where=f"tune.space.{varied[0]}",
            hint="judge by tune.objective: reconstruction, or embedding/<label>/<learner>",
        )  # fmt: skip
    for knob in knobs:
        for end in knob.range.choices or _ends(knob.range):
            try:
                changed(recipe, {knob.key: int(end) if knob.whole and not knob.range.choices else end})
            except RecipeError as error:
                met = error.met if error.met is not None else end
                where, wanted = f"tune.space.{knob.key}", error.wanted
                raise RecipeError(error.what, where=where, met=met, wanted=wanted, hint=error.hint) from None
    weighing = [
        k.removeprefix("model.") for k in asked if k.startswith("model.") and (d := known[k].declared) and d.weighs
    ]
    return Space(recipe, knobs, tuple(weighing))


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with some keys changed, validated again, without its section `tune`."""
    update: dict[str, Any] = {"tune": None}
    for section, settings in (("model", recipe.model), ("training", recipe.training)):
        new = {k.partition(".")[2]: v for k, v in values.items() if k.partition(".")[0] == section}
        if new:
            old = {k: getattr(settings, k) for k in type(settings).model_fields}
            update[section] = validate(type(settings), old | new, where=section)
    for place, settings in _supervising(recipe):
        old = {k: getattr(settings, k) for k in type(settings).model_fields}
        if new := {k.removeprefix(f"{place}."): v for k, v in values.items() if k.rpartition(".")[0] == place}:
            made = validate(type(settings), old | new, where=place)
            section, _, name = place.partition(".")
            update[section] = {**update.get(section, recipe.heads), name: made} if name else made
    prepare = {m: list(steps) for m, steps in recipe.prepare.items()}
    for key, value in values.items():
        if key.startswith("prepare."):
            modality, at, option = _step_at(recipe, key)
            (name, options), *_ = _described(prepare[modality][at]).items()
            steps = parse_steps([{name: {**options, option: value}}], where=f"prepare.{modality}")
            prepare[modality][at] = describe(steps[0])
    return recipe.model_copy(update=update | {"prepare": prepare})


def _supervising(recipe: Recipe) -> list[tuple[str, Config]]:
    """`heads.<name>` and `confounders`, as far as the recipe has them, with their settings."""
    found: list[tuple[str, Config]] = [(f"heads.{name}", head) for name, head in recipe.heads.items()]
    return found if recipe.confounders is None else [*found, ("confounders", recipe.confounders)]


def _places(recipe: Recipe) -> Iterator[tuple[str, Place]]:
    """Every key that could be varied."""
    for section, settings in (("model", recipe.model), ("training", recipe.training), *_supervising(recipe)):
        ranges = type(settings).tunable()
        for name in type(settings).model_fields:
            if f"{section}.{name}" not in SEEDS:
                yield f"{section}.{name}", Place(type(settings), name, getattr(settings, name), ranges.get(name))
    for modality, steps in recipe.prepare.items():
        for step in steps:
            (name, options), *_ = _described(step).items()
            kind = get(name)
            ranges = kind.Options.tunable()
            for option in kind.Options.model_fields:
                place = Place(kind.Options, option, options.get(option), ranges.get(option))
                yield f"prepare.{modality}.{name}.{option}", place


def _described(step: Any) -> dict[str, dict[str, Any]]:
    return {step: {}} if isinstance(step, str) else step


def _step_at(recipe: Recipe, key: str) -> tuple[str, int, str]:
    """Modality, position of the step and option that a known key of `prepare` names."""
    rest, _, option = key.removeprefix("prepare.").rpartition(".")
    modality, _, name = rest.rpartition(".")
    names = [next(iter(_described(s))) for s in recipe.prepare[modality]]
    return modality, names.index(name), option


def _knob(key: str, value: Any, known: Mapping[str, Place]) -> Knob:
    where = f"tune.space.{key}"
    if key == "model.name":
        raise RecipeError(
            "is not varied here", where=where, hint="isthmus compare tries architectures beside each other"
        )
    if key in SEEDS:
        raise RecipeError("is set by the search itself", where=where, hint="tune.repeats averages over seeds")
    if key not in known:
        order = sorted(known, key=lambda k: known[k].declared is None)
        raise RecipeError("no such key in this recipe", where=where, hint=closest(key, order))
    place = known[key]
    found = parse_range(value, where=where) or place.declared
    if found is None:
        raise RecipeError("declares no range", where=where, wanted="one, such as [1, 8] or {choices: [a, b]}")
    whole = _is_whole(place.schema.model_fields[place.name].annotation)
    if whole and not found.choices and any(float(end) != int(end) for end in _ends(found)):
        raise RecipeError("takes whole numbers", where=where, met=list(_ends(found)))
    return Knob(key, found, place.value, whole)


def _is_whole(annotation: Any) -> bool:
    """Whether a key takes whole numbers, and no others."""
    members = [annotation]
    for m in members:
        members += get_args(m)
    return int in members and float not in members


def _ends(found: Tune) -> tuple[int | float, int | float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def _token(choice: Any) -> CategoricalChoiceType:
    """A choice as Optuna stores it."""
    if choice is None or isinstance(choice, bool | int | float | str):
        return choice
    return json.dumps(list(choice) if isinstance(choice, tuple) else choice)
