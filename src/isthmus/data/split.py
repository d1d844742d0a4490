"""Samples to train, valid and test, or to folds.

The core, `assign` and `assign_folds`, works on the table of annotations alone (`isthmus.data.deal`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import mudata as md
import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from isthmus.config import Config
from isthmus.data.cohort import take_samples
from isthmus.data.deal import as_text, checked, column_of, numbers
from isthmus.data.preserved import left_out, preserved
from isthmus.data.split_files import PARTS, read_folds
from isthmus.errors import DataError, RecipeError, listed

__all__ = ["Split", "assign", "assign_by", "assign_folds", "folds", "labels", "split", "take"]

log = logging.getLogger("isthmus.data")
DEFAULT = (0.6, 0.2, 0.2)
By = str | Mapping[str, Mapping[str, str]]
Positive = Annotated[float, Field(gt=0, le=1)]


class Split(Config):
    """How the cohort is divided. At most one of `fractions`, `folds`, `leave_out`, `by` and `file` may be given."""

    fractions: tuple[Positive, ...] | None = None
    """Shares of train, valid and test (or of train and test). None: 0.6, 0.2, 0.2 where nothing else is given."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Number of folds, each of them the test part once."""
    leave_out: str | None = None
    """A column of obs, such as the site; a fold for each of its values, which is the test part."""
    by: str | dict[str, dict[str, str]] | None = None
    """A column of obs that says train, valid or test; or {column: {value: part}}."""
    file: str | None = None
    """A saved split: CSV with the columns sample and split (or fold), or JSON with train and test ids per fold."""
    group: str | None = None
    """A column of obs; samples that share its value stay together."""
    sites: str | None = None
    """A column of obs; whole sites are in one part, chosen so that the classes of `stratify` are in balance."""
    stratify: str | None = None
    """A column of obs; each part gets its share of every value."""
    order: str | None = None
    """A column of obs; the parts are contiguous blocks of its values."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the shuffle."""

    @model_validator(mode="after")
    def _agree(self) -> Split:
        ways = [k for k in ("fractions", "folds", "leave_out", "by", "file") if getattr(self, k) is not None]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} exclude each other")
        if self.fractions is not None:
            checked(self.fractions)
        columns = [k for k in ("group", "sites", "stratify", "order") if getattr(self, k) is not None]
        if columns and self.fixed and (ways[0] != "leave_out" or columns != ["group"]):
            raise ValueError(f"{ways[0]} names every sample's part, so {columns[-1]} has no meaning")
        if self.order is not None and self.sites is not None:
            raise ValueError("order and sites exclude each other")
        if self.order is not None and self.stratify is not None:
            raise ValueError("order and stratify exclude each other")
        return self

    @property
    def fixed(self) -> bool:
        """Whether the data themselves say which part a sample is in, whatever the seed."""
        return self.by is not None or self.file is not None or self.leave_out is not None


def split(
    mdata: md.MuData,
    fractions: tuple[float, ...] | None = None,
    *,
    group: str | None = None,
    sites: str | None = None,
    stratify: str | None = None,
    order: str | None = None,
    by: By | None = None,
    seed: int = 0,
    file: str | Path | None = None,
) -> tuple[md.MuData, ...]:
    """Divide a cohort into train, valid and test.

    Parameters
    ----------
    mdata
        The cohort; the columns named below are columns of `mdata.obs`.
    fractions
        Shares of train, valid and test, or of train and test; they sum to 1. By default 0.6, 0.2, 0.2.
    group
        Column whose values stay together (a patient's samples); a sample without a value is a group of its own.
    sites
        Column whose values stay together too, and are dealt so that the classes of `stratify` are in balance
        (Howard et al. 2021); a sample without a value is a site of its own. With `group`, sites that share a group
        stay together.
    stratify
        Column whose every value is shared out evenly; a missing value counts as a value.
    order
        Column by whose values the parts are contiguous blocks: the lowest to train, the highest to test.
    by
        Column that says train, valid or test itself, or `{column: {value: part}}`; instead of `fractions`.
    seed
        Seed of the shuffle.
    file
        A saved split (`write_split`) instead of `fractions`; samples that it does not name are left out.

    Returns
    -------
    tuple of mudata.MuData
        One per part, in the order train, valid, test.

    Raises
    ------
    DataError
        A column is missing, or there are too few samples or groups for a part.
    RecipeError
        The arguments contradict each other.
    """
    keys = Split(
        fractions=None if fractions is None else tuple(fractions),
        group=group,
        sites=sites,
        stratify=stratify,
        order=order,
        by=by,
        seed=seed,
        file=None if file is None else str(file),
    )
    found = labels(mdata.obs, keys)
    if len(found) > 1:
        raise RecipeError("holds several folds", where=str(file), met=f"{len(found)} folds", hint="use ist.folds")
    return take(mdata, found[0])


def folds(
    mdata: md.MuData,
    k: int | None = None,
    *,
    leave_out: str | None = None,
    group: str | None = None,
    sites: str | None = None,
    stratify: str | None = None,
    order: str | None = None,
    seed: int = 0,
    file: str | Path | None = None,
) -> Iterator[tuple[md.MuData, ...]]:
    """Pairs (train, test), each sample in one test part; arguments as in `split`.

    With one of `k` folds; a `file`; or the column `leave_out`, each of whose values (sites) is the test part once,
    where training samples of a `group` (patient) that the site has too are left out of its fold.
    """
    if sum(way is not None for way in (k, leave_out, file)) != 1:
        raise RecipeError("needs either a number of folds, a column to leave out or a file", where="folds")
    keys = Split(
        folds=k, leave_out=leave_out, group=group, sites=sites, stratify=stratify, order=order, seed=seed,
        file=None if file is None else str(file),
    )  # fmt: skip
    return (take(mdata, parts) for parts in labels(mdata.obs, keys))


def labels(obs: pd.DataFrame, keys: Split, *, root: Path | None = None) -> list[pd.Series]:
    """What the settings say of every sample.

    Parameters
    ----------
    obs
        Annotations; index = sample ids.
    keys
        The settings.
    root
        The folder below which a relative `file` lies.

    Returns
    -------
    list of pandas.Series
        One per fold (a single one unless there are folds): index = sample ids in the order of `obs`, values `train`,
        `valid`, `test`. Samples that a file or column leaves out are not in it.
    """
    columns = {"group": keys.group, "sites": keys.sites, "stratify": keys.stratify, "order": keys.order}
    if keys.leave_out is not None:
        return left_out(obs, keys.leave_out, group=keys.group)
    if keys.file is not None:
        path = Path(keys.file) if root is None else root / keys.file
        return [_of_cohort(found, obs.index, str(path)) for found in read_folds(path)]
    if keys.by is not None:
        return [assign_by(obs, keys.by)]
    if keys.folds is not None:
        number = assign_folds(obs, keys.folds, seed=keys.seed, **columns)
        return [
            pd.Series(np.where(number == i, "test", "train"), obs.index, dtype=object, name="split")
            for i in range(keys.folds)
        ]
    return [assign(obs, keys.fractions or DEFAULT, seed=keys.seed, **columns)]


def take(mdata: md.MuData, parts: pd.Series) -> tuple[md.MuData, ...]:
    """The samples of each part that `parts` names, as copies, in the order train, valid, test."""
    present = [p for p in PARTS if (parts == p).any()]
    log.info("split: %s", ", ".join(f"{(parts == p).sum()} {p}" for p in present))
    return tuple(take_samples(mdata, parts.index[parts == p]) for p in present)


def assign(
    obs: pd.DataFrame,
    fractions: tuple[float, ...] = DEFAULT,
    *,
    group: str | None = None,
    sites: str | None = None,
    stratify: str | None = None,
    order: str | None = None,
    seed: int = 0,
) -> pd.Series:
    """`train`, `valid` or `test` for every sample id of `obs` (arguments and errors as in `split`)."""
    shares = checked(fractions)
    names = np.array(PARTS if len(shares) == 3 else ("train", "test"), dtype=object)
    columns = {"group": group, "stratify": stratify, "order": order}
    number = _numbers(obs, shares, sites=sites, columns=columns, seed=seed)
    return pd.Series(names[number.to_numpy()], obs.index, dtype=object, name="split")


def assign_folds(
    obs: pd.DataFrame,
    k: int,
    *,
    group: str | None = None,
    sites: str | None = None,
    stratify: str | None = None,
    order: str | None = None,
    seed: int = 0,
) -> pd.Series:
    """The number 0..k-1 of the fold whose test part each sample id of `obs` belongs to."""
    if k < 2:
        raise RecipeError("too few folds", where="folds", met=k, wanted="at least 2")
    columns = {"group": group, "stratify": stratify, "order": order}
    return _numbers(obs, (1,) * k, sites=sites, columns=columns, seed=seed)


def _numbers(
    obs: pd.DataFrame, shares: tuple[int, ...], *, sites: str | None, columns: dict[str, str | None], seed: int
) -> pd.Series:
    """The number of the part of each sample, whole sites in one part where there are sites."""
    if sites is None:
        return numbers(obs, shares, columns=columns, seed=seed)
    if columns["order"] is not None:
        raise RecipeError("order and sites exclude each other", where="data.split")
    return preserved(obs, shares, sites=sites, group=columns["group"], stratify=columns["stratify"], seed=seed)


def assign_by(obs: pd.DataFrame, by: By) -> pd.Series:
    """The part that a column names itself; samples without a (mapped) value are left out."""
    column, parts = (by, {p: p for p in PARTS}) if isinstance(by, str) else next(iter(by.items()))
    if not isinstance(by, str) and len(by) != 1:
        raise RecipeError(
            "names several columns", where="data.split.by", met=list(by), wanted="{column: {value: part}}"
        )
    if unknown := sorted(set(parts.values()) - set(PARTS)):
        raise RecipeError("is no part", where=f"data.split.by.{column}", met=unknown[0], wanted=", ".join(PARTS))
    values = as_text(column_of(obs, column, key="by"))
    other = values[values.notna() & ~values.isin(list(parts))]
    if isinstance(by, str) and len(other):
        hint = f"or name a part for each value: by: {{{column}: {{value: part}}}}"
        raise DataError(f"column {column!r} names no part", met=other.iloc[0], wanted=", ".join(PARTS), hint=hint)
    found = values.map(parts)
    if left_out := int(found.isna().sum()):
        log.warning("split: %d samples have no part in column %r and are left out", left_out, column)
    found = found[found.notna()].astype(object).rename("split")
    for part in ("train", "test"):
        if not (found == part).any():
            raise DataError(f"column {column!r} gives no sample to {part}", met=dict(found.value_counts()))
    return found


def _of_cohort(found: pd.Series, ids: pd.Index, where: str) -> pd.Series:
    """A saved split, narrowed to the cohort."""
    known = ids[ids.isin(found.index)]
    if not len(known):
        raise DataError(
            "names none of the cohort's samples", where=where, met=listed(found.index), wanted=f"such as {listed(ids)}"
        )
    if gone := len(found) - len(known):
        log.info("split: %s names %d samples that are not in the cohort", where, gone)
    if len(known) < len(ids):
        left = ids[~ids.isin(found.index)]
        log.warning("split: %d samples are not in %s and are left out: %s", len(left), where, listed(left))
    found = found.loc[known]
    for part in ("train", "test"):
        if not (found == part).any():
            raise DataError(f"leaves the cohort no sample for {part}", where=where, met=dict(found.value_counts()))
    return found
