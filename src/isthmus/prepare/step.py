"""The interface of a preparation step, the names under which steps are known, and their place in a recipe.

A step is one decorated class whose options are declared once, beside the code that reads them::

    @step("top_variance")
    class TopVariance(Filter):
        '''Keep the k features of largest variance.'''

        class Options(Config):
            k: Annotated[int, Field(ge=1)] = 2000
            '''Number of features to keep.'''

In a recipe it is `top_variance`, `{top_variance: 500}` (the value goes to the first option) or
`{top_variance: {k: 500}}`. A step is found by standing in a file of this folder; other packages add theirs by the
entry-point group `isthmus.steps` (name = "package.module").
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
import pandas as pd

from isthmus.config import Config, validate
from isthmus.data.table import Array
from isthmus.errors import RecipeError, closest

GROUP = "isthmus.steps"
Entry: TypeAlias = str | Mapping[str, Any]
"""A step as a recipe writes it."""
S = TypeVar("S", bound="Step")
_KNOWN: dict[str, type[Step]] = {}


class Step(ABC):
    """One preparation of one modality, fitted on the training samples, replayed on anything.

    What is learnt ends in `_`: arrays are saved as tensors, everything else as JSON. NaN means missing: it passes
    through, and no statistic reads it. `features_in_` and `features_` are the names before and after the step.

    Attributes
    ----------
    name
        The name in a recipe.
    invertible
        Whether `inverse_transform(transform(x))` gives `x` back, within the training range, for what the step keeps.
    rowwise
        Whether a value of a sample depends on the sample's other features.
    paths
        Options that name files; a recipe looks them up from its own folder.
    """

    name: ClassVar[str] = ""
    Options: ClassVar[type[Config]] = Config
    invertible: ClassVar[bool] = False
    rowwise: ClassVar[bool] = False
    paths: ClassVar[tuple[str, ...]] = ()
    options: Config
    features_in_: pd.Index
    features_: pd.Index
    message_: str

    def __init__(self, **options: Any) -> None:
        self.options = validate(self.Options, options, where=self.name)
        self.message_ = ""

    def fit(self: S, x: Array, features: pd.Index, *, ids: pd.Index | None = None) -> S:
        """Learn from training samples.

        Parameters
        ----------
        x
            Training samples, n x f: dense with NaN for missing, or CSR.
        features
            The f names of the columns.
        ids
            The n sample ids, for messages and for steps that look samples up elsewhere.

        Raises
        ------
        DataError
            A value is outside the domain of the step, or nothing would be left.
        """
        self.features_in_ = features
        self.message_ = self.learn(x, ids=ids)
        self.features_ = self.names_out(features)
        return self

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        """Set the attributes ending in `_`; the answer is a phrase for the report, or empty."""
        return ""

    @abstractmethod
    def transform(self, x: Array, *, ids: pd.Index | None = None) -> Array:
        """New samples, n x f in the order of `features_in_`, to n x f' in the order of `features_`."""

    def inverse_transform(self, x: np.ndarray, *, columns: np.ndarray | None = None) -> np.ndarray:
        """Back to the units before the step; `columns` are the positions in `features_` that `x` holds (all)."""
        return x

    def names_out(self, features: pd.Index) -> pd.Index:
        """The names after the step."""
        return features

    def origins(self, columns: np.ndarray) -> np.ndarray:
        """Positions in `features_in_` of what `inverse_transform` gives for some positions in `features_`."""
        return columns

    def get_state(self) -> dict[str, np.ndarray]:
        """Learnt arrays by name."""
        return {k: v for k, v in sorted(vars(self).items()) if k.endswith("_") and isinstance(v, np.ndarray)}

    def get_meta(self) -> dict[str, Any]:
        """Learnt numbers and words by name, fit for JSON; names of features excepted."""
        kept = {k: v for k, v in sorted(vars(self).items()) if k.endswith("_")}
        return {k: v for k, v in kept.items() if not isinstance(v, np.ndarray | pd.Index)}

    def set_state(self: S, state: Mapping[str, np.ndarray], meta: Mapping[str, Any], features: pd.Index) -> S:
        """What `get_state` and `get_meta` gave, with the names of the features before the step."""
        for key, value in [*state.items(), *meta.items()]:
            setattr(self, key, value)
        self.features_in_ = features
        self.features_ = self.names_out(features)
        return self

    def __repr__(self) -> str:
        keys = ", ".join(f"{k}={getattr(self.options, k)!r}" for k in type(self.options).model_fields)
        return f"{type(self).__name__}({keys})"


class Filter(Step):
    """A step that keeps some of the features as they are; `chosen` is all that a filter has to say."""

    invertible: ClassVar[bool] = True
    keep_: np.ndarray

    @abstractmethod
    def chosen(self, x: Array) -> np.ndarray:
        """The positions to keep, from training samples n x f."""

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        self.keep_ = np.sort(self.chosen(x)).astype(np.int64)
        return f"dropped {x.shape[1] - len(self.keep_)} of {x.shape[1]} features"

    def transform(self, x: Array, *, ids: pd.Index | None = None) -> Array:
        return x if len(self.keep_) == x.shape[1] else x[:, self.keep_]

    def names_out(self, features: pd.Index) -> pd.Index:
        return features[self.keep_]

    def origins(self, columns: np.ndarray) -> np.ndarray:
        return np.asarray(self.keep_[columns])


class Affine(Step):
    """A step that gives clip((x - shift_) / scale_) per feature; `learn` sets both.

    On CSR a shift cannot be applied without storing every zero: `Pipeline` then leaves the matrix as it is and
    `Prepared` shifts the rows of a batch.
    """

    invertible: ClassVar[bool] = True
    shift_: np.ndarray
    scale_: np.ndarray

    def bounds(self) -> tuple[float | None, float | None]:
        """What the result is clipped to."""
        return None, None

    def transform(self, x: Array, *, ids: pd.Index | None = None) -> Array:
        if isinstance(x, np.ndarray):
            return affine(x, self.shift_, self.scale_, bounds=self.bounds())
        if self.shift_.any():
            raise RecipeError("would fill every zero of a sparse table", where=self.name, hint="fit it in a Pipeline")
        out = x.copy()
        out.data = clipped((x.data / self.scale_[x.indices]).astype(x.dtype), *self.bounds())
        return out

    def inverse_transform(self, x: np.ndarray, *, columns: np.ndarray | None = None) -> np.ndarray:
        shift, scale = (self.shift_, self.scale_) if columns is None else (self.shift_[columns], self.scale_[columns])
        return np.asarray(x * scale + shift).astype(x.dtype, copy=False)


def affine(
    x: np.ndarray,
    shift: np.ndarray | None,
    scale: np.ndarray | None,
    *,
    bounds: tuple[float | None, float | None] = (None, None),
    rows: int = 512,
) -> np.ndarray:
    """clip((x - shift) / scale), computed in float64 and stored in the type of `x`, some rows at a time."""
    out = np.empty(x.shape, x.dtype)
    for start in range(0, len(x), rows):
        block = x[start : start + rows].astype(np.float64)
        block = block if shift is None else block - shift
        block = block if scale is None else block / scale
        out[start : start + rows] = clipped(block, *bounds)
    return out


def clipped(x: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    """`x` within bounds, either of which may be None."""
    return x if low is None and high is None else np.asarray(np.clip(x, low, high))


def step(name: str) -> Callable[[type[S]], type[S]]:
    """Register a `Step` class under its name in a recipe.

    Raises
    ------
    RecipeError
        The name belongs to another class already.
    """

    def known(kind: type[S]) -> type[S]:
        other = _KNOWN.get(name)
        if other is not None and (other.__module__, other.__qualname__) != (kind.__module__, kind.__qualname__):
            raise RecipeError("two steps have one name", where=GROUP, met=name)
        kind.name = name
        _KNOWN[name] = kind
        return kind

    return known


@cache
def _load() -> None:
    """Import the files of this folder and the modules that other packages announce."""
    for found in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"isthmus.prepare.{found.name}")
    for point in entry_points(group=GROUP):
        importlib.import_module(point.value.partition(":")[0])


def names() -> list[str]:
    """Every step there is, in alphabetical order."""
    _load()
    return sorted(_KNOWN)


def get(name: str, *, where: str = "prepare") -> type[Step]:
    """The class of a step.

    Raises
    ------
    RecipeError
        There is no step of this name; the nearest one is named.
    """
    if name not in names():
        hint = closest(name, names())
        raise RecipeError("no such step", where=where, met=name, hint=hint)
    return _KNOWN[name]


def parse_step(entry: Entry | Step | Any, *, where: str = "prepare") -> Step:
    """A step from `log1p`, `{top_variance: 2000}` or `{clip: {low: -5, high: 5}}`; a `Step` passes."""
    if isinstance(entry, Step):
        return entry
    if isinstance(entry, str):
        name, value = entry, None
    elif isinstance(entry, Mapping) and len(entry) == 1:
        name, value = next(iter(entry.items()))
    else:
        raise RecipeError("is not a step", where=where, met=entry, wanted="a name or a mapping of one name")
    kind = get(str(name), where=where)
    if value is None or isinstance(value, Mapping):
        keys = dict(value or {})
    elif kind.Options.model_fields:
        keys = {next(iter(kind.Options.model_fields)): value}
    else:
        raise RecipeError("takes no options", where=f"{where}.{name}", met=value)
    validate(kind.Options, keys, where=f"{where}.{name}")
    return kind(**keys)


def parse_steps(entries: Sequence[Entry | Step | Any] | None, where: str = "prepare") -> list[Step]:
    """The steps of one modality, from the list in a recipe.

    Raises
    ------
    RecipeError
        A name, an option or a value is wrong; the message says which of the list it is.
    """
    if entries is None:
        return []
    if isinstance(entries, str | Mapping):
        raise RecipeError("is not a list of steps", where=where, met=entries, hint=f"write [{entries}]")
    return [parse_step(entry, where=f"{where}.{i}") for i, entry in enumerate(entries)]


def describe(step: Step) -> str | dict[str, Any]:
    """A step as a recipe writes it, with every option: `log1p` or `{clip: {low: -5.0, high: 5.0}}`."""
    options = step.options.model_dump(mode="json")
    return {step.name: options} if options else step.name
