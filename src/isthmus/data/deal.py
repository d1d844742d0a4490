"""Which part a sample belongs to: the arithmetic behind `split`, on the table of annotations alone.

Nothing here depends on the order of the rows or on how a column is stored: ids are sorted first, and groups and
classes are told apart by value and numbered by their first sample id.

Samples without groups are dealt: classes one after the other, each shuffled, and each sample to the part that is most
behind its share. So every part has its share of every class and of the whole to within a sample or so. Groups are
dealt whole, largest first, to the part most behind in the classes that the group holds.
"""

from __future__ import annotations

import logging
from math import gcd

import numpy as np
import pandas as pd

from isthmus.errors import DataError, RecipeError, closest, listed

log = logging.getLogger("isthmus.data")


def checked(fractions: tuple[float, ...]) -> tuple[int, ...]:
    """Fractions as whole numbers of a billionth."""
    wanted = "two or three positive numbers that sum to 1"
    if len(fractions) not in (2, 3) or not all(f > 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        raise RecipeError("cannot be fractions of a cohort", where="data.split.fractions", met=fractions, wanted=wanted)
    return tuple(round(f * 10**9) for f in fractions)


def column_of(obs: pd.DataFrame, name: str, *, key: str) -> pd.Series:
    """A column of the annotations that a key of the split names, or an error that names the nearest one."""
    if name not in obs.columns:
        hint = closest(name, obs.columns)
        raise DataError("there is no such column in obs", where=f"data.split.{key}", met=name, hint=hint)
    return obs[name]


def as_text(column: pd.Series) -> pd.Series:
    """Values as text, the same for 1, 1.0 and '1'; missing stays missing."""

    def plain(value: object) -> object:
        if isinstance(value, float | np.floating) and float(value).is_integer():
            value = int(value)
        return str(value)

    values = column.astype(object)
    return values.where(values.isna(), values.map(plain)).where(values.notna(), None)


def codes_of(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """A number per value in the order of first appearance, missing as the last one; and where it is missing."""
    codes, values = pd.factorize(as_text(column))
    missing = codes < 0
    return np.where(missing, len(values), codes), missing


def numbers(obs: pd.DataFrame, shares: tuple[int, ...], *, columns: dict[str, str | None], seed: int) -> pd.Series:
    """The number of the part of each sample."""
    if not obs.index.is_unique:
        raise DataError("a sample id occurs twice", met=obs.index[obs.index.duplicated()][0])
    if columns["order"] is not None and columns["stratify"] is not None:
        raise RecipeError("order and stratify exclude each other", where="data.split")
    table = obs.set_axis(obs.index.astype(str)).sort_index()
    groups = np.arange(len(table))
    if columns["group"] is not None:
        codes, missing = codes_of(column_of(table, columns["group"], key="group"))
        groups = pd.factorize(np.where(missing, codes.max(initial=0) + 1 + groups, codes))[0]
    n_groups = int(groups.max(initial=-1)) + 1
    if n_groups < len(shares):
        what = "too few samples for the parts" if columns["group"] is None else "too few groups for the parts"
        met = f"{len(table)} samples" + ("" if columns["group"] is None else f" in {n_groups} groups")
        raise DataError(what, where="data.split", met=met, wanted=f"at least {len(shares)}")
    strata = np.zeros(len(table), int)
    if columns["stratify"] is not None:
        strata = strata_of(column_of(table, columns["stratify"], key="stratify"), len(shares))
    rng = np.random.default_rng(seed)
    if columns["order"] is not None:
        number = _blocks(column_of(table, columns["order"], key="order"), groups, shares)
    elif n_groups == len(table):
        number = _dealt(strata, shares, rng)
    else:
        number = dealt_groups(groups, strata, shares, rng)
    return pd.Series(number, table.index, name="fold").reindex(obs.index.astype(str)).set_axis(obs.index)


def strata_of(column: pd.Series, parts: int) -> np.ndarray:
    """The class of each sample; says where a class is too rare to be in every part."""
    codes, missing = codes_of(column)
    counts = as_text(column).value_counts()
    if len(rare := counts[counts < parts]):
        what = "split: %d classes of %r have fewer samples than the %d parts, so that some parts lack them: %s"
        log.warning(what, len(rare), column.name, parts, listed(rare.index))
    if missing.any():
        log.info("split: %d samples without %r are a class of their own", missing.sum(), column.name)
    return codes


def _sequence(n: int, shares: tuple[int, ...]) -> np.ndarray:
    """Part numbers such that every run has each part in proportion; no part is empty."""
    whole = sum(shares)
    period = min(n, whole // gcd(*shares))
    counts, found = [0] * len(shares), np.zeros(period, int)
    for t in range(period):
        behind = [s * (t + 1) - whole * c for s, c in zip(shares, counts, strict=True)]
        found[t] = behind.index(max(behind))
        counts[found[t]] += 1
    found = np.resize(found, n)
    for part in range(len(shares)):
        if not (found == part).any():
            largest = np.bincount(found, minlength=len(shares)).argmax()
            found[np.flatnonzero(found == largest)[-1]] = part
    return found


def _dealt(strata: np.ndarray, shares: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Samples one class after the other, shuffled within it."""
    shuffled = np.lexsort((rng.permutation(len(strata)), strata))
    number = np.empty(len(strata), int)
    number[shuffled] = _sequence(len(strata), shares)
    return number


def dealt_groups(
    groups: np.ndarray, strata: np.ndarray, shares: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray:
    """Groups whole, largest first, each to the part most behind in what the group holds."""
    table = np.zeros((groups.max() + 1, strata.max() + 2))
    np.add.at(table, (groups, strata), 1.0)
    table[:, -1] = table[:, :-1].sum(1)
    behind = np.outer(np.array(shares) / sum(shares), table.sum(0))
    weight = 1 / np.maximum(table.sum(0), 1)
    part_of, left, empty = np.zeros(len(table), int), len(table), set(range(len(shares)))
    for group in np.lexsort((rng.permutation(len(table)), -table[:, -1])):
        gain = (behind * weight) @ table[group]
        if left <= len(empty):
            gain[[p for p in range(len(shares)) if p not in empty]] = -np.inf
        part = int(np.round(gain, 9).argmax())
        part_of[group] = part
        behind[part] -= table[group]
        empty.discard(part)
        left -= 1
    found: np.ndarray = part_of[groups]
    return found


def _blocks(column: pd.Series, groups: np.ndarray, shares: tuple[int, ...]) -> np.ndarray:
    """Contiguous blocks of the ordering column; a group goes where its first sample does."""
    if n := int(column.isna().sum()):
        raise DataError(
            "samples have no value to be ordered by", where=f"obs column {column.name!r}", met=f"{n} samples"
        )
    rank = _sortable(column).rank(method="min").to_numpy()
    first = pd.Series(rank).groupby(groups).min().to_numpy()
    turn = np.argsort(first, kind="stable")
    sizes = np.bincount(groups)[turn]
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    wanted = np.searchsorted(np.cumsum(shares) / sum(shares), middle)
    part = np.zeros(len(turn), int)
    for i in range(1, len(part)):
        part[i] = max(part[i - 1], min(wanted[i], part[i - 1] + 1), len(shares) - len(part) + i)
    part_of = np.empty(len(turn), int)
    part_of[turn] = part
    found: np.ndarray = part_of[groups]
    return found


def _sortable(column: pd.Series) -> pd.Series:
    """Values whose order is that of numbers, dates or named levels where they are such, else of text."""
    if isinstance(column.dtype, pd.CategoricalDtype) and column.cat.ordered:
        return column.cat.codes
    if column.dtype == object or isinstance(column.dtype, pd.CategoricalDtype | pd.StringDtype):
        numbers = pd.to_numeric(column.astype(object), errors="coerce")
        return numbers if numbers.notna().all() else as_text(column)
    return column
