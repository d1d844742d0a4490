"""What is missing from a simulated cohort: entries by one of three mechanisms, and whole modalities.

An entry is missing with probability logistic(a - 1.5 s): s is 0 (MCAR), the rank-normal score of the first feature of
the next modality (MAR; that feature itself is never missing), or of the value itself within its feature (MNAR, low
values go first). a is solved for such that the expected share is the one asked for.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit, ndtri
from scipy.stats import rankdata

from isthmus.data.simulation_settings import Simulation

STEEP = 1.5
SAMPLE = 1_000_000
"""Scores that the intercept is solved on."""


def hide_entries(s: Simulation, x: dict[str, np.ndarray], features: dict[str, pd.Index]) -> pd.DataFrame:
    """Put NaN into tables, in place; which feature drove which modality (MAR)."""
    names = list(x)
    first = {m: v[:, 0].copy() for m, v in x.items()}
    drivers = []
    for i, m in enumerate(names):
        rate, after = s.missing_of(m), names[(i + 1) % len(names)]
        if not rate:
            continue
        gone = s.rng("missing", m).random(x[m].shape) < _probability(s, x[m], first[after], rate)
        if s.mechanism == "mar":
            gone[:, 0] = False
            drivers.append((m, after, features[after][0]))
        x[m][gone] = np.nan
    return pd.DataFrame(drivers, columns=["modality", "driver_modality", "driver"])


def _probability(s: Simulation, x: np.ndarray, driver: np.ndarray, rate: float) -> np.ndarray:
    """The probability that an entry is missing, n x f (or n x 1)."""
    if s.mechanism == "mcar":
        return np.full((len(x), 1), rate)
    if s.mechanism == "mnar":
        score = -STEEP * _normal(x)
        asked = rate
    else:
        score = -STEEP * _normal(driver[:, None])
        asked = min(0.99, rate * x.shape[1] / max(1, x.shape[1] - 1))
    return np.asarray(expit(_intercept(score, asked) + score))


def _normal(x: np.ndarray) -> np.ndarray:
    """Rank-normal scores per column."""
    return np.asarray(ndtri((rankdata(x, axis=0) - 0.5) / len(x)))


def _intercept(score: np.ndarray, rate: float) -> float:
    """The intercept at which the mean probability is the rate, by bisection."""
    values = score.ravel()[:: max(1, score.size // SAMPLE)]
    low, high = -50.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(middle + values).mean() < rate else (low, middle)
    return (low + high) / 2


def absences(s: Simulation) -> pd.DataFrame:
    """Which samples (rows) have which modality (columns); every sample keeps at least one.

    As many samples as the rate says, rounded, lack a modality, drawn among those that keep another one.
    """
    rng, names = s.rng("absent"), s.names
    here = pd.DataFrame(np.ones((s.n, len(names)), dtype=bool), columns=names)
    for m in sorted(names, key=s.absent_of, reverse=True):
        free = np.flatnonzero(here.sum(axis=1).to_numpy() > 1)
        count = min(round(s.absent_of(m) * s.n), len(free))
        here.loc[rng.choice(free, size=count, replace=False), m] = False
    return here
