"""What survival scores take: time and event per sample, checked once; step functions of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from isthmus.errors import DataError
from isthmus.evaluate.arrays import check_rows

Outcome: TypeAlias = tuple[Any, Any]
"""Time and event (1 or True = happened, 0 or False = censored), a value per sample each."""


def outcome(time: Any, event: Any, *, where: str = "survival") -> tuple[np.ndarray, np.ndarray]:
    """Times as float64 and events as bool.

    Raises
    ------
    DataError
        Lengths differ, there is no sample, a time is negative or not finite, or an event is neither 0 nor 1.
    """
    times, events = np.asarray(time, dtype=np.float64).ravel(), np.asarray(event).ravel()
    check_rows(len(times), len(events), where=where)
    if not len(times):
        raise DataError("holds no sample", where=where)
    if not np.isfinite(times).all() or (times < 0).any():
        bad = float(times[~np.isfinite(times) | (times < 0)][0])
        raise DataError("is no time", where=where, met=bad, wanted="finite numbers from 0", hint="leave NaN out first")
    if events.dtype != bool:
        wrong = ~np.isin(events.astype(np.float64), (0, 1))
        if wrong.any():
            raise DataError("is no event", where=where, met=float(events[wrong][0]), wanted="0 or 1")
        events = events.astype(bool)
    return times, events


def finite(values: Any, n: int, *, where: str) -> np.ndarray:
    """Numbers of n samples (n, or n x anything) as float64, none missing."""
    found = np.asarray(values, dtype=np.float64)
    check_rows(n, len(found), where=where)
    if not np.isfinite(found).all():
        raise DataError("holds missing or infinite numbers", where=where, wanted="finite numbers")
    return found


@dataclass(frozen=True)
class Steps:
    """A function that is constant between `time` (ascending, k), and `start` before the first."""

    time: np.ndarray
    value: np.ndarray
    start: float = 1.0

    def at(self, times: Any) -> np.ndarray:
        """The value at each of some times, a jump at the time itself included."""
        return np.asarray(self._values[np.searchsorted(self.time, times, side="right")])

    def before(self, times: Any) -> np.ndarray:
        """The value just before each of some times: f(t-)."""
        return np.asarray(self._values[np.searchsorted(self.time, times, side="left")])

    @property
    def _values(self) -> np.ndarray:
        return np.concatenate([[self.start], self.value])


def counted(time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct times ascending (k), and at each: events, censored, samples at risk just before."""
    times, place = np.unique(time, return_inverse=True)
    events = np.bincount(place, weights=event, minlength=len(times))
    leaving = np.bincount(place, minlength=len(times))
    at_risk = leaving[::-1].cumsum()[::-1]
    return times, events, leaving - events, at_risk.astype(np.float64)


def censoring_curve(censoring: Outcome) -> Steps:
    """G(t), the share not yet censored by t: Kaplan-Meier of the censoring, events at the same time first."""
    time, event = outcome(*censoring, where="censoring")
    times, events, censored, at_risk = counted(time, event)
    left = at_risk - events
    share = np.divide(censored, left, out=np.zeros(len(times)), where=left > 0)
    return Steps(times, np.cumprod(1 - share))


def weights(time: np.ndarray, event: np.ndarray, g: Steps) -> np.ndarray:
    """1 / G(t-) of every event, 0 of the censored and where G is 0 (see `check_reach`)."""
    share = g.before(time)
    return np.asarray(np.divide(1.0, share, out=np.zeros(len(time)), where=event & (share > 0)))


def check_reach(time: np.ndarray, event: np.ndarray, g: Steps, *, horizon: float | int) -> None:
    """Refuse events at a time by which everybody of train was censored: nothing says what they weigh."""
    if (bad := event & (time <= horizon) & (g.before(time) <= 0)).any():
        raise DataError(
            "an event happened after the last sample of train was censored", where="censoring",
            met=float(time[bad][0]), hint="give `tau` (or `times`) within the times that train was observed",
        )  # fmt: skip
