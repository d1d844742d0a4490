"""Columns of obs as numbers: what heads are to predict, and what embeddings should not tell of."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from isthmus.data.obs import class_codes, class_names
from isthmus.errors import DataError, closest
from isthmus.types import Covariate, Target

__all__ = ["column", "covariate_of", "encoded", "events", "is_number", "numbers", "target_values"]

log = logging.getLogger("isthmus.data")
HAPPENED, NOT = {"1", "true", "yes"}, {"0", "false", "no"}


def column(obs: pd.DataFrame, name: str, where: str) -> pd.Series:
    """A column of obs.

    Raises
    ------
    DataError
        There is no such column; the nearest one is named.
    """
    if name not in obs.columns:
        raise DataError("no such column in obs", where=where, met=name, hint=closest(name, obs.columns))
    return obs[name]


def is_number(values: pd.Series) -> bool:
    """Whether a column holds numbers (booleans are none)."""
    return pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)


def numbers(values: pd.Series, where: str) -> np.ndarray:
    """A column as float64, NaN where missing.

    Raises
    ------
    DataError
        It holds something else than numbers, or an infinite one.
    """
    if not (is_number(values) or values.isna().all()):
        met = values.dropna().iloc[0]
        raise DataError("holds no numbers", where=f"{where}: {values.name}", met=met, wanted="a column of numbers")
    found = values.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(found).any():
        raise DataError("holds an infinite number", where=f"{where}: {values.name}", wanted="finite numbers")
    return found


def events(values: pd.Series, where: str, *, turned: bool = False) -> np.ndarray:
    """A column of events as 0 and 1, float64, NaN where missing; `turned`: it says who was censored instead.

    Takes 0 and 1, false and true, no and yes, and text that begins like `1:DECEASED`.

    Raises
    ------
    DataError
        It holds something else.
    """

    def one(value: object) -> float:
        if isinstance(value, float | np.floating) and value.is_integer():
            value = int(value)
        word = str(value).strip().lower().partition(":")[0]
        if word not in HAPPENED | NOT:
            what = "does not say whether the event happened"
            raise DataError(what, where=f"{where}: {values.name}", met=value, wanted="0 or 1, or false or true")
        return float(word in HAPPENED)

    known = values.notna().to_numpy()
    found = np.full(len(values), np.nan)
    found[known] = [one(v) for v in values[known]]
    return 1 - found if turned else found


def target_values(obs: pd.DataFrame, target: Target) -> np.ndarray:
    """What a target says of every sample, as `Batch.targets` holds it (see `Target`).

    Raises
    ------
    DataError
        A column is not there, or holds something else than the target's kind.
    """
    where = target.name
    first, *rest = [column(obs, name, where) for name in target.columns or (target.name,)]
    if target.kind == "class":
        return class_codes(first, target.classes)
    if target.kind == "value":
        return ((numbers(first, where) - target.mean) / target.sd).astype(np.float32)
    time, event = numbers(first, where), events(rest[0], where, turned=target.turned)
    if (time < 0).any():
        met = float(time[time < 0][0])
        raise DataError(
            "holds a time before the beginning", where=f"{where}: {first.name}", met=met, wanted="0 or more"
        )
    both = np.stack([time, event], axis=1).astype(np.float32)
    both[np.isnan(both).any(axis=1)] = np.nan
    return both


def covariate_of(values: pd.Series, where: str, *, as_class: bool = False) -> Covariate:
    """What is to be known of a column to encode it, from training samples: its classes and shares, or mean and sd.

    Raises
    ------
    DataError
        It does not vary.
    """
    name = str(values.name)
    if as_class or not is_number(values):
        classes = class_names(values)
        if len(classes) < 2:
            met = ", ".join(classes) or "nothing"
            raise DataError("holds fewer than two classes in train", where=f"{where}: {name}", met=met)
        codes = class_codes(values, classes)
        shares = np.bincount(codes[codes >= 0], minlength=len(classes)) / (codes >= 0).sum()
        return Covariate(name, classes, tuple(map(float, shares)))
    found = numbers(values, where)
    sd = float(np.nanstd(found)) if (~np.isnan(found)).any() else 0.0
    if not sd > 0:
        raise DataError("does not vary in train", where=f"{where}: {name}")
    return Covariate(name, mean=float(np.nanmean(found)), sd=sd)


def encoded(obs: pd.DataFrame, covariate: Covariate) -> np.ndarray:
    """A covariate of every sample, n x width, float32; 0 (the mean of train) where it is missing or an unknown class.

    A column that is not there is missing throughout; what is unknown is counted in the log.
    """
    if covariate.name not in obs.columns:
        log.warning("no column %r in obs: the mean of train stands for it", covariate.name)
        return np.zeros((len(obs), covariate.width), dtype=np.float32)
    values = obs[covariate.name]
    if not covariate.classes:
        found = (numbers(values, f"confounders: {covariate.name}") - covariate.mean) / covariate.sd
        return np.nan_to_num(found).astype(np.float32)[:, None]
    codes = class_codes(values, covariate.classes)
    if strange := int((codes < 0).sum()):
        log.warning("%d samples have no class of %r known to the model: the mean of train", strange, covariate.name)
    made = np.eye(len(covariate.classes))[codes] - np.asarray(covariate.shares)
    return np.where(codes[:, None] >= 0, made, 0.0).astype(np.float32)
