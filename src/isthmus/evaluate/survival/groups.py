"""Risk groups cut on train, and whether predicted survival is what happened."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from isthmus.errors import DataError
from isthmus.evaluate.survival.curves import kaplan_meier
from isthmus.evaluate.survival.outcome import finite, outcome

NAMES = {2: ("low", "high"), 3: ("low", "middle", "high")}


def cut_points(risk: Any, *, groups: int = 2) -> np.ndarray:
    """Quantiles of the risks of train samples that divide these into groups of equal size (groups - 1 values).

    Raises
    ------
    DataError
        There are fewer samples than groups, or fewer than two groups.
    """
    risks = finite(risk, np.size(risk), where="risk")
    if groups < 2 or len(risks) < groups:
        raise DataError("cannot be cut into groups", where="risk", met=f"{len(risks)} samples, {groups} groups")
    return np.asarray(np.quantile(risks, np.arange(1, groups) / groups))


def risk_groups(risk: Any, cuts: Any) -> np.ndarray:
    """The group of each sample (n names): `low` and `high`, with a `middle` of three, else `1` to `k`.

    A risk equal to a cut belongs to the lower group.
    """
    names = NAMES.get(len(cuts) + 1) or tuple(str(k + 1) for k in range(len(cuts) + 1))
    return np.asarray(np.array(names, dtype=object)[np.searchsorted(cuts, risk, side="left")])


def calibration(
    time: Any, event: Any, survival: Any, *, horizon: float | int, groups: int = 5, level: float = 0.95
) -> pd.DataFrame:
    """Predicted survival at a horizon beside the Kaplan-Meier estimate, in groups of equal size by prediction.

    Parameters
    ----------
    time, event
        Of n test samples, as in `concordance`.
    survival
        Of n samples: predicted probability that the event happens after `horizon`.
    horizon
        A time within observation, in the unit of `time`.
    groups
        Quantile groups of the prediction; fewer where predictions are equal.
    level
        Of the intervals.

    Returns
    -------
    pandas.DataFrame
        A row per group, lowest prediction first: `predicted` (mean), `observed` with `lower` and `upper`
        (Kaplan-Meier; NaN where nobody of the group was observed for so long), `n`, `events` by the horizon.
    """
    t, d = outcome(time, event)
    predicted = finite(survival, len(t), where="survival")
    cuts = np.unique(np.quantile(predicted, np.arange(1, groups) / groups))
    member = np.searchsorted(cuts, predicted, side="left")
    rows = []
    for k in np.unique(member):
        here = member == k
        curve = kaplan_meier(t[here], d[here], level=level)
        seen = t[here].max() >= horizon or curve.survival[-1] == 0
        place = int(np.searchsorted(curve.time, horizon, side="right")) - 1
        observed = (curve.survival[place], curve.lower[place], curve.upper[place]) if seen else (np.nan,) * 3
        events = int((d[here] & (t[here] <= horizon)).sum())
        rows.append((float(predicted[here].mean()), *map(float, observed), int(here.sum()), events))
    return pd.DataFrame(rows, columns=["predicted", "observed", "lower", "upper", "n", "events"])


def reach(time: Any, *, share: float = 0.2, least: int = 10) -> float:
    """The longest time at which at least `share` of the samples, and `least` of them, were still observed.

    Parameters
    ----------
    time
        Of the n train samples.
    share, least
        How many must be left; of fewer than `least` samples the shortest time.

    Returns
    -------
    float
        A horizon for scores over time: further on, few samples decide.
    """
    ordered = np.sort(np.asarray(time, dtype=np.float64))[::-1]
    wanted = max(int(np.ceil(share * len(ordered))), least)
    return float(ordered[min(wanted, len(ordered)) - 1])
