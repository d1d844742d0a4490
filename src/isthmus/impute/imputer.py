"""What every imputation method is: an estimator that fills a table, with a second table of the same samples to help.

A method is one file of `impute/methods`; its stem is the name in a recipe. It is found by being there.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_type_hints

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field, create_model
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from isthmus.config import Config, validate
from isthmus.errors import DataError, RecipeError, closest
from isthmus.evaluate.arrays import feature_means

__all__ = ["Imputer", "Penalty", "Positive", "check_reads", "make", "names", "usable"]

METHODS = "isthmus.impute.methods"
UNKNOWN = ""
"""The class of a sample of which none is known."""
Array = np.ndarray | pd.DataFrame
"""Samples x features."""
Positive = Annotated[int, Field(ge=1)]
"""An option that counts."""
Penalty = Annotated[float, Field(gt=0)]
"""An option that shrinks."""


class Imputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Fills the missing entries of a table.

    As in scikit-learn, `fit` learns from training samples and `transform` fills any samples; keyword `source` is a
    second table of the same samples (another modality), `classes` an array of their classes
    (`UNKNOWN` where a sample has none). What a method reads of
    these is its `reads`; the rest it ignores. Values are expected on comparable scales (standardised).

    Attributes
    ----------
    mean_
        Train mean of every feature over its observed entries (f); NaN for one that was never observed.
    """

    reads: ClassVar[tuple[str, ...]] = ("entries",)
    """Of `entries` (what is visible of the sample's own row), `source` and `classes`."""
    effort: ClassVar[int] = 5
    """How much there is to it, 0 (a mean) to 9; of methods that are as good, the one with the least is taken."""
    storable: ClassVar[bool] = True
    """Whether what it learns is arrays, numbers and model directories, so that it can be saved without pickle."""
    mean_: np.ndarray

    @classmethod
    def available(cls) -> bool:
        """Whether what it needs is installed."""
        return True

    def fit(
        self, x: Array, y: object = None, *, source: Array | None = None, classes: np.ndarray | None = None
    ) -> Imputer:
        """Learn from training samples.

        Parameters
        ----------
        x
            n x f, NaN where missing; the columns of a frame are kept as `feature_names_in_`.
        y
            Not used; scikit-learn's pipelines pass it.
        source
            n x p of the same samples, NaN where missing.
        classes
            n labels.

        Raises
        ------
        DataError
            No entry is observed, the tables differ in samples, or a value is infinite.
        RecipeError
            An option is not what the method's signature says.
        """
        check_options(self)
        self.__dict__.pop("feature_names_in_", None)
        if isinstance(x, pd.DataFrame):
            self.feature_names_in_ = np.asarray(x.columns, dtype=object)
        x, source = checked(x, "x"), None if source is None else checked(source, "source")
        _check_same(x, source, classes)
        if np.isnan(x).all():
            raise DataError("has no observed entry to learn from", where="x", met=f"{x.shape[0]} x {x.shape[1]}")
        self.n_features_in_ = x.shape[1]
        self.mean_ = feature_means(x)
        self.learn(x, source if "source" in self.reads else None, classes if "classes" in self.reads else None)
        return self

    def transform(self, x: Array, *, source: Array | None = None, classes: np.ndarray | None = None) -> np.ndarray:
        """The table with its missing entries filled; observed entries stand as they are.

        Parameters
        ----------
        x, source, classes
            As in `fit`, of any samples.

        Returns
        -------
        n x f; NaN only in features that training never observed.

        Raises
        ------
        DataError
            Other features than in training, or a frame that has them in another order.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self, "mean_")
        columns = list(x.columns) if isinstance(x, pd.DataFrame) else None
        x, source = checked(x, "x"), None if source is None else checked(source, "source")
        _check_same(x, source, classes)
        if x.shape[1] != self.n_features_in_:
            wanted = str(self.n_features_in_)
            raise DataError("has other features than training", where="x", met=x.shape[1], wanted=wanted)
        if columns is not None and columns != list(getattr(self, "feature_names_in_", columns)):
            raise DataError(
                "has other features than training, or another order", where="x", wanted="the columns of fit"
            )
        missing = np.isnan(x)
        if not missing.any():
            return x
        guess = self.predict(x, source if "source" in self.reads else None, classes)
        guess = np.where(np.isnan(guess), self.mean_, guess)
        return np.where(missing, np.where(np.isnan(self.mean_), np.nan, guess), x)

    @abstractmethod
    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        """Learn what `predict` needs; `mean_` is there already."""

    @abstractmethod
    def predict(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray:
        """A value for every entry, n x f; NaN gives the train mean."""

    def centred(self, x: np.ndarray) -> np.ndarray:
        """`x` minus the train means, 0 where missing."""
        return np.asarray(np.nan_to_num(x - self.mean_))


def checked(x: Array, where: str) -> np.ndarray:
    """A table as float64, NaN for missing; nothing infinite."""
    try:
        x = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("holds what is no number", where=where, wanted="numbers, or NaN") from error
    if x.ndim != 2:
        raise DataError("is not samples x features", where=where, met=x.shape, wanted="two axes")
    if np.isinf(x).any():
        raise DataError("holds infinite values", where=where, met=int(np.isinf(x).sum()), wanted="numbers, or NaN")
    return x


def _check_same(x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
    for name, other in (("source", source), ("classes", classes)):
        if other is not None and len(other) != len(x):
            raise DataError("has other samples than x", where=name, met=len(other), wanted=f"{len(x)}")


@cache
def _found() -> dict[str, type[Imputer]]:
    folder = Path(__file__).parent / "methods"
    found = {}
    for name in sorted(m.name for m in pkgutil.iter_modules([str(folder)])):
        module = importlib.import_module(f"{METHODS}.{name}")
        own = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
        found[name] = next(c for c in own if issubclass(c, Imputer) and not c.__name__.startswith("_"))
    return found


def names() -> list[str]:
    """Every method there is, in alphabetical order."""
    return list(_found())


def make(entry: str | Mapping[str, Mapping[str, Any]] | Imputer) -> tuple[str, Imputer]:
    """Name and estimator of what a recipe writes: `knn`, or `{knn: {k: 5}}`; an `Imputer` goes by its class.

    Raises
    ------
    RecipeError
        There is no such method or option (the nearest one is named), or an option has a wrong value.
    """
    if isinstance(entry, Imputer):
        check_options(entry)
        return next((n for n, c in _found().items() if c is type(entry)), type(entry).__name__), entry
    if isinstance(entry, Mapping) and len(entry) != 1:
        raise RecipeError("is not a method", where="impute.methods", met=dict(entry), wanted="a name, or {name: {...}}")
    (name, options) = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
    if name not in _found():
        hint = closest(name, names())
        raise RecipeError("no such method", where="impute.methods", met=name, hint=hint)
    schema = _options(_found()[name])  # type: ignore[arg-type]  # mypy: a class with a metaclass is no Hashable
    checked = validate(schema, options or {}, where=f"impute.methods.{name}")
    return name, _found()[name](**{k: getattr(checked, k) for k in options or {}})


def check_options(method: Imputer) -> None:
    """Refuse what no recipe could say: `KNN(k=0)`, or text for a number. The options stay as they are.

    Raises
    ------
    RecipeError
        An option is not what the signature says; the line names it.
    """
    kind, given = type(method), method.get_params(deep=False)
    schema = _options(kind)  # type: ignore[arg-type]
    validate(schema, {k: _plain(v) for k, v in given.items()}, where=kind.__name__, strict=True)


def _plain(value: Any) -> Any:
    """A number of numpy as Python's, a list as a tuple: what a signature means by int or tuple."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(_plain(v) for v in value)
    return value


class _Options(Config):
    """Options of a method of others may be objects of any kind."""

    model_config = ConfigDict(arbitrary_types_allowed=True)


@cache
def _options(method: type[Imputer]) -> type[Config]:
    """The arguments of a method as settings, so that wrong ones are told as everywhere."""
    hints = get_type_hints(method.__init__, include_extras=True)
    known = inspect.signature(method).parameters.items()
    fields = {k: (hints.get(k, Any), ... if p.default is p.empty else p.default) for k, p in known}
    return create_model(f"{method.__name__}Options", __base__=_Options, **fields)  # type: ignore[call-overload,no-any-return]


def check_reads(name: str, method: Imputer, given: Sequence[str], *, where: str = "methods") -> None:
    """Refuse a method that reads one thing alone of `given`, and it is not there: it would be the mean by another name.

    Raises
    ------
    RecipeError
        The method reads `source` or `classes` alone, which is not among what is given.
    """
    wanted = {("source",): "another modality", ("classes",): "classes: a column of obs"}
    if method.reads in wanted and method.reads[0] not in given:
        raise RecipeError("has nothing to read", where=f"{where}: {name}", wanted=wanted[method.reads])


def usable(given: Sequence[str]) -> list[str]:
    """The methods that are installed and can read something of what is given: `entries`, `source`, `classes`."""
    return [n for n, c in _found().items() if c.available() and (not c.reads or set(c.reads) & set(given))]
