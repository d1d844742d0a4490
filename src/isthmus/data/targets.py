"""Columns of obs as numbers: what heads are to predict, and what embeddings should not tell of.

Survival is read by `isthmus.data.outcome`.
"""

from __future__ import annotations

import logging
import re

import numpy as np
import pandas as pd

from isthmus.data.obs import class_codes, class_names
from isthmus.data.outcome import survival_of
from isthmus.errors import DataError, closest
from isthmus.labels import Covariate, Target

__all__ = ["column", "covariate_of", "encoded", "is_number", "numbers", "target_values"]

log = logging.getLogger("isthmus.data")
NUMBER = r"(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)"
RANGE = re.compile(rf"{NUMBER}-<{NUMBER}|<{NUMBER}|>={NUMBER}")
"""How a policy of sharing writes the bins of numbers: 40-<50, and <40 and >=70 at the ends."""


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


def target_values(obs: pd.DataFrame, target: Target) -> np.ndarray:
    """What a target says of every sample, as `Batch.targets` holds it (see `Target`).

    Raises
    ------
    DataError
        A column is not there, or holds something else than the target's kind.
    """
    where = target.name.replace("head/", "heads.", 1).replace("confounder/", "confounders.", 1)
    names = target.columns or (target.name,)
    if target.kind == "survival":
        both = survival_of(obs, time=names[0], event=names[1], turned=target.turned, where=where)
        return np.asarray(both, dtype=np.float32)
    values = column(obs, names[0], where)
    if target.kind == "class":
        return class_codes(values, target.classes)
    return np.asarray((numbers(values, where) - target.mean) / target.sd, dtype=np.float32)


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
        values = values if is_number(values) else _middles(values)
        found = (numbers(values, f"confounders: {covariate.name}") - covariate.mean) / covariate.sd
        return np.nan_to_num(found).astype(np.float32)[:, None]
    codes = class_codes(values, covariate.classes)
    if strange := int((codes < 0).sum()):
        log.warning("%d samples have no class of %r known to the model: the mean of train", strange, covariate.name)
    made = np.eye(len(covariate.classes))[codes] - np.asarray(covariate.shares)
    return np.where(codes[:, None] >= 0, made, 0.0).astype(np.float32)


def _middles(values: pd.Series) -> pd.Series:
    """Ranges as numbers: the middle of each, the only end of those that are open.

    Raises
    ------
    DataError
        A value is neither a number nor a range.
    """
    texts = values.astype(object).where(values.notna(), None)
    read = [None if v is None else RANGE.fullmatch(str(v).strip()) for v in texts]
    if bad := [v for v, match in zip(texts, read, strict=True) if v is not None and match is None]:
        hint = "leave the column out of obs: the mean of train then stands for it"
        wanted = "numbers, or ranges such as 40-<50 (the model was told numbers)"
        raise DataError("holds no numbers", where=f"confounders: {values.name}", met=bad[0], wanted=wanted, hint=hint)
    if known := sum(match is not None for match in read):
        log.warning("%d samples have ranges of %r: the middle stands for them, or the only end", known, values.name)
    ends = [[] if match is None else [float(end) for end in match.groups() if end] for match in read]
    return pd.Series([np.mean(e) if e else np.nan for e in ends], values.index, dtype=np.float64, name=values.name)
