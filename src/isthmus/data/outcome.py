"""Survival in a table of annotations: time, and whether the event happened. Censoring is turned round here alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from isthmus.errors import DataError, RecipeError, closest

HAPPENED = {"1": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "false": 0.0, "no": 0.0}
"""Spellings of an event; those of cBioPortal (`1:DECEASED`) are read by their number."""


def event_of(column: pd.Series, *, turned: bool = False, where: str = "obs") -> Float[np.ndarray, " n"]:
    """1 where the event happened, 0 where observation ended before it, NaN where nothing is known.

    Parameters
    ----------
    column
        Numbers 0 and 1, booleans, or text (`yes`, `no`, `1:DECEASED`, `0:LIVING`).
    turned
        The column says 1 where the sample was *censored*.
    where
        What an error names.

    Raises
    ------
    DataError
        Another value.
    """

    def one(value: Any) -> float:
        if isinstance(value, bool | np.bool_):
            return float(value)
        if isinstance(value, str):
            return HAPPENED.get(value.split(":")[0].strip().lower(), -1.0)
        return float(value) if value in (0, 1) else -1.0

    known = column.notna().to_numpy(dtype=bool)
    event = np.array([one(v) if k else np.nan for v, k in zip(column, known, strict=True)], dtype=np.float64)
    if (event < 0).any():
        bad = column.iloc[int(np.flatnonzero(event < 0)[0])]
        bad = bad.item() if isinstance(bad, np.generic) else bad
        name = f"{where}, column {str(column.name)!r}"
        raise DataError("holds something else than events", where=name, met=bad, wanted="0 and 1, or true and false")
    return 1.0 - event if turned else event


def survival_of(
    obs: pd.DataFrame, *, time: str, event: str, turned: bool = False, where: str = "obs"
) -> Float[np.ndarray, "n 2"]:
    """Time and event (1 = happened) of every sample; NaN in both where either is missing.

    Parameters
    ----------
    obs
        Annotations, a row per sample.
    time, event
        Columns: of the time to the event or to the end of observation, in any unit, and of whether it happened.
    turned
        The column `event` says 1 where the sample was censored.
    where
        What an error names, such as `heads.os`.

    Raises
    ------
    RecipeError
        There is no such column.
    DataError
        A time is negative, infinite or no number, or an event is neither 0 nor 1.
    """
    for column in (time, event):
        if column not in obs.columns:
            raise RecipeError("no such column in obs", where=where, met=column, hint=closest(column, obs.columns))
    if not pd.api.types.is_numeric_dtype(obs[time]) or pd.api.types.is_bool_dtype(obs[time]):
        known = obs[time].dropna()
        words = known[pd.to_numeric(known.astype(str), errors="coerce").isna()]
        met, hint = next(iter([*words, *known]), None), f"sample {words.index[0]}" if len(words) else ""
        raise DataError(
            "is no column of times", where=f"{where}, column {time!r}", met=met, wanted="numbers", hint=hint
        )
    times = obs[time].to_numpy(dtype=np.float64, na_value=np.nan)
    if (wrong := np.flatnonzero((times < 0) | np.isinf(times))).size:
        raise DataError(
            "is no time", where=f"{where}, column {time!r}", met=float(times[wrong[0]]), wanted="numbers from 0",
            hint=f"sample {obs.index[wrong[0]]}; leave the cell empty where the time is not known",
        )  # fmt: skip
    both = np.column_stack([times, event_of(obs[event], turned=turned, where=where)])
    both[np.isnan(both).any(axis=1)] = np.nan
    return both
