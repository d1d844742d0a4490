"""The section `tune` of a recipe: what is varied, by what a trial is judged, and how the search goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from isthmus.config import Config, Tune
from isthmus.errors import RecipeError

__all__ = ["Tuning", "Weighed", "parse_range"]


class Weighed(Config):
    """One score of a weighted sum."""

    name: str
    """A score, named as `objective` names it."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Its weight; a loss enters with the opposite sign."""


class Tuning(Config):
    """How `isthmus tune` searches."""

    space: dict[str, Any] | None = None
    """Dotted key -> range: `[2, 64]`, `[2, 64, log]`, `{low: 2, high: 64, log: true}`, `{choices: [a, b]}`, a list of
    three or more choices, or nothing for the declared range. None: every declared range of model and training."""
    objective: str | tuple[str | Weighed, ...] = "valid_loss"
    """`valid_loss`, `reconstruction`, `embedding/<label>/<learner>` or `translation/<a>-><b>`; a list of `{name:,
    weight:}` is their weighted sum, a list of names a search for the best compromises."""
    trials: Annotated[int, Field(ge=1)] = 50
    """Settings to try, the recipe's own first."""
    startup: Annotated[int, Field(ge=1)] = 10
    """Trials drawn at random, before the sampler learns from them and the pruner may stop any."""
    sampler: Literal["tpe", "random"] = "tpe"
    """Who proposes settings: a tree-structured Parzen estimator, or chance."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """Who stops trials early: `median`, those behind the median of earlier trials at the same epoch (or fold)."""
    folds: Annotated[int, Field(ge=2)] | Literal["loo"] | None = None
    """Judge by cross-validation within train and valid; `loo` leaves one sample (or group) out at a time. None: fit on
    train, judge on valid; five folds where the split has no valid."""
    repeats: Annotated[int, Field(ge=1)] = 1
    """Cross-validations with other folds, or fits with other seeds, of which a trial's score is the mean."""
    nested: bool = False
    """A search within every fold of `data.split`, so that each sample is a test sample once; then one on them all."""
    refits: Annotated[int, Field(ge=2)] = 5
    """Seeds with which the best and the default settings are fitted again and scored on test."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seeds proposals, folds and, with its number, every trial."""

    @field_validator("space")
    @classmethod
    def _ranges(cls, space: dict[str, Any] | None) -> dict[str, Any] | None:
        for key, value in (space or {}).items():
            if key in ("model", "training", "prepare"):
                where, hint = f"tune.space.{key}", "write keys whole, with dots, such as model.latent: [2, 64]"
                raise RecipeError("is a section, not a key to vary", where=where, hint=hint)
            parse_range(value, where=f"tune.space.{key}")
        if space is not None and not space:
            raise RecipeError("names nothing to vary", where="tune.space", wanted="such as model.latent: [2, 64, log]")
        return space

    @field_validator("objective")
    @classmethod
    def _several(cls, objective: Any) -> Any:
        if isinstance(objective, tuple):
            names = [o if isinstance(o, str) else o.name for o in objective]
            if not names or len(set(names)) < len(names):
                raise ValueError("names no score, or one twice")
            if len({isinstance(o, str) for o in objective}) > 1:
                raise ValueError("mixes names (compromises) with weights (a sum)")
        return objective

    @property
    def names(self) -> tuple[str, ...]:
        """The scores that a trial is judged by."""
        if isinstance(self.objective, str):
            return (self.objective,)
        return tuple(o if isinstance(o, str) else o.name for o in self.objective)

    @property
    def weights(self) -> tuple[float, ...] | None:
        """Their weights in a sum; None where they are not summed."""
        if isinstance(self.objective, str):
            return None
        given = tuple(o.weight for o in self.objective if isinstance(o, Weighed))
        return given or None

    @property
    def compromises(self) -> bool:
        """Whether several scores are pursued at once."""
        return len(self.names) > 1 and self.weights is None


def parse_range(value: Any, *, where: str) -> Tune | None:
    """A range as a recipe writes it; None for the declared one.

    Raises
    ------
    RecipeError
        It is none of the forms that `Tuning.space` lists, or is empty.
    """
    wanted = "such as [2, 64], [2, 64, log], {choices: [a, b]}, or nothing for the declared range"
    if value is None or value == "default":
        return None
    if isinstance(value, Mapping):
        if extra := sorted(set(value) - {"low", "high", "log", "choices"}):
            raise RecipeError("unknown key", where=f"{where}.{extra[0]}", hint="known: low, high, log, choices")
        if "choices" in value:
            return _choices(value["choices"], where=where)
        ends = (value.get("low"), value.get("high"), "log" if value.get("log") else "linear")
        return _numbers(ends, where=where, wanted=wanted)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise RecipeError("is not a range", where=where, met=value, wanted=wanted)
    numbers = [v for v in value[:2] if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == 2 and (len(value) == 2 or (len(value) == 3 and value[2] in ("log", "linear"))):
        return _numbers((*numbers, *value[2:]), where=where, wanted=wanted)
    return _choices(value, where=where)


def _numbers(ends: Sequence[Any], *, where: str, wanted: str) -> Tune:
    low, high, *scale = ends
    for end in (low, high):
        if isinstance(end, bool) or not isinstance(end, int | float):
            raise RecipeError("is not a range", where=where, met=end, wanted=wanted)
    log = bool(scale) and scale[0] == "log"
    if low >= high:
        raise RecipeError("is an empty range", where=where, met=[low, high], wanted="low below high")
    if log and low <= 0:
        raise RecipeError("has no logarithm", where=where, met=low, wanted="low above 0, or a range without log")
    return Tune(low, high, log=log)


def _choices(values: Any, *, where: str) -> Tune:
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) < 2:
        raise RecipeError("has too few choices", where=where, met=values, wanted="a list of two or more")
    return Tune(choices=tuple(values))
