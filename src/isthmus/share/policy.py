"""What may leave the house: a policy file, in which everything that is not named stays.

columns:
  age: {bins: 10}                # 40 <= age < 50 becomes "40-<50"
  diagnosed: {date: year}        # 2011-03-04 becomes 2011
  histology: {rare: 10}          # levels of fewer than ten samples become "other"
  PAM50: {keep: true, sensitive: true}
k: 5
l: 2
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from isthmus.config import Config, validate
from isthmus.errors import DataError
from isthmus.yaml_text import load_yaml

__all__ = ["Column", "Policy", "generalised", "load_policy", "unlisted"]

Artefact = Literal["embedding", "metadata", "model"]
YEAR = re.compile(r"(?:^|\D)((?:1[89]|20)\d{2})(?:\D|$)")


class Column(Config):
    """What happens to one column of obs: exactly one of the first six keys."""

    wanted: ClassVar[str] = "keep, drop, or one of {keep: true}, {bins: 10}, {date: year}, {rare: 10}"
    keep: bool = False
    """The values stay as they are."""
    drop: bool = False
    """Nothing of it leaves, as of every column that is not named."""
    bins: Annotated[float, Field(gt=0)] | Annotated[tuple[float, ...], Field(min_length=1)] | None = None
    """Numbers become bins: of this width, or between these edges (below the first and from the last on are bins)."""
    date: Literal["year", "decade"] | None = None
    """Dates become years or decades."""
    rare: Annotated[int, Field(ge=2)] | None = None
    """Levels of fewer samples than this become one."""
    levels: dict[str, str] | None = None
    """Level -> what it becomes; one that is not named becomes `other`."""
    other: str = "other"
    """What rare levels become."""
    sensitive: bool = False
    """Not a quasi-identifier but what nobody should learn of a person: `l` and `t` guard it."""

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, raw: Any) -> Any:
        return {raw: True} if raw in ("keep", "drop") else raw

    @model_validator(mode="after")
    def _one(self) -> Column:
        given = [self.keep, self.drop, *(getattr(self, k) is not None for k in ("bins", "date", "rare", "levels"))]
        if sum(given) != 1:
            raise ValueError("say exactly one of keep, drop, bins, date, rare and levels")
        if isinstance(self.bins, tuple) and len(set(self.bins)) < len(self.bins):
            raise ValueError("an edge of bins occurs twice")
        return self


class Policy(Config):
    """What may leave the house. Every key has a careful default."""

    project: str = ""
    """Part of every pseudonym: bundles of another project do not join."""
    site: str = ""
    """Part of the pseudonyms of samples: two sites may both have a sample `1`."""
    columns: dict[str, Column] = Field(default_factory=dict)
    """Column of obs -> what happens to it. A column that is not named is dropped."""
    k: Annotated[int, Field(ge=1)] = 5
    """At least so many samples share every combination of quasi-identifiers; others are taken out."""
    l: Annotated[int, Field(ge=1)] = 1  # noqa: E741 - its name in the literature
    """Distinct values of every sensitive column in each such class, at least."""
    t: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Largest distance between a sensitive column in such a class and in all; 1 allows any."""
    smallest_cell: Annotated[int, Field(ge=1)] = 5
    """Counts below are suppressed, and so many others that no subtraction gives them back."""
    rounding: Annotated[int, Field(ge=1)] = 5
    """Counts in tables are rounded to multiples of this; 1 leaves them."""
    keep_feature_names: bool = False
    """Features keep their names."""
    include: tuple[Artefact, ...] = ()
    """Personal artefacts that are shared all the same: `embedding`, `metadata`, and a `model` that holds samples."""
    harmless: tuple[str, ...] = ()
    """Words that may stand in a bundle though they are values of a column that is dropped, such as `Positive`."""
    threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.6
    """AUC of the membership audit above which a bundle has to be accepted by name."""

    @property
    def kept(self) -> dict[str, Column]:
        """The columns that are shared in some form."""
        return {name: c for name, c in self.columns.items() if not c.drop}

    @property
    def quasi(self) -> list[str]:
        """The quasi-identifiers: every kept column that is not sensitive."""
        return [name for name, c in self.kept.items() if not c.sensitive]

    @property
    def sensitive(self) -> list[str]:
        return [name for name, c in self.kept.items() if c.sensitive]

    def told(self) -> dict[str, Any]:
        """The policy as the manifest tells it: without what is dropped, and without the levels that were merged."""
        tree = self.model_dump(mode="json", exclude={"columns", "site", "harmless"})
        columns = {n: c.model_dump(mode="json", exclude_defaults=True) for n, c in self.kept.items()}
        for told in columns.values():
            if "levels" in told:
                told["levels"] = sorted(set(told["levels"].values()))
        return {**tree, "columns": columns}


def load_policy(policy: Policy | Mapping[str, Any] | str | Path | None) -> Policy:
    """A policy from a file, a mapping, or the default, under which no column leaves.

    Raises
    ------
    RecipeError
        A key or value is wrong.
    DataError
        There is no such file.
    """
    if policy is None:
        return Policy()
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, Mapping):
        return validate(Policy, policy, where="policy")
    path = Path(policy)
    if not path.is_file():
        raise DataError("there is no such policy", where=str(path.absolute()), wanted="a YAML file")
    return validate(Policy, load_yaml(path.read_bytes(), str(path)), where="policy")


def generalised(obs: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """The columns that the policy shares, as text; NaN where nothing was known.

    Raises
    ------
    DataError
        The policy names a column that is not there, asks for numbers or dates of something else, or a value is
        infinite.
    """
    for name in policy.columns:
        if name not in obs.columns:
            raise DataError("the policy names a column that is not there", where="policy.columns", met=name)
    return pd.DataFrame({n: _column(obs[n], c, n) for n, c in policy.kept.items()}, index=obs.index)


def unlisted(obs: pd.DataFrame, policy: Policy) -> dict[str, int]:
    """Of every column with `levels:`, how many levels occur that it does not list: all of them become `other`."""
    rules = {name: c for name, c in policy.kept.items() if c.levels is not None}
    counts = {n: len({_text(v) for v in obs[n].dropna()} - set(c.levels or ())) for n, c in rules.items()}
    return {name: n for name, n in counts.items() if n}


def _column(values: pd.Series, rule: Column, name: str) -> pd.Series:
    values = values.astype(object).where(values.notna(), None)
    if any(isinstance(v, float | np.floating) and math.isinf(v) for v in values):
        raise DataError("holds an infinite value", where=f"policy.columns.{name}", wanted="numbers, or a missing value")
    if rule.bins is not None:
        return _binned(values, rule.bins, name)
    if rule.date is not None:
        return values.map(lambda v: None if v is None else _year(v, name, decade=rule.date == "decade"))
    texts = values.map(lambda v: None if v is None else _text(v))
    if rule.levels is not None:
        levels = rule.levels
        return texts.map(lambda v: None if v is None else levels.get(v, rule.other))
    if rule.rare is not None:
        counts = texts.value_counts()
        few = set(counts.index[counts < rule.rare])
        return texts.map(lambda v: rule.other if v in few else v)
    return texts


def _text(value: Any) -> str:
    """A value as text; whole numbers without a point."""
    return str(int(value)) if isinstance(value, float) and value == int(value) and abs(value) < 1e15 else str(value)


def _edge(value: float) -> str:
    """An edge of bins as text; twelve digits, so that neighbours stay apart and 0.1 + 0.2 is 0.3."""
    return f"{value:.12g}"


def _binned(values: pd.Series, bins: float | tuple[float, ...], name: str) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    if (numbers.isna() & values.notna()).any() or np.isinf(numbers).any():
        raise DataError("holds something else than numbers", where=f"policy.columns.{name}.bins")
    if isinstance(bins, tuple):
        edges = np.array(sorted(bins))
        names = [
            f"<{_edge(edges[0])}",
            *(f"{_edge(a)}-<{_edge(b)}" for a, b in pairwise(edges)),
            f">={_edge(edges[-1])}",
        ]
        place = np.searchsorted(edges, numbers.fillna(edges[0]), side="right")
        found = pd.Series([names[i] for i in place], index=values.index, dtype=object)
    else:
        low = np.floor(numbers.fillna(0) / bins) * bins
        found = pd.Series([f"{_edge(a)}-<{_edge(a + bins)}" for a in low], index=values.index, dtype=object)
    return found.where(numbers.notna(), None)


def _year(value: Any, name: str, *, decade: bool) -> str:
    year = str(value.year) if hasattr(value, "year") else None
    if year is None and (match := YEAR.search(_text(value))):
        year = match[1]
    if year is None:
        raise DataError("holds something without a year", where=f"policy.columns.{name}.date")
    return f"{year[:3]}0s" if decade else year
