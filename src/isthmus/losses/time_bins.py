"""Intervals of time for discrete survival, and the way back to survival curves. numpy only.

Intervals are (e_k, e_{k+1}], cut at quantiles of the event times of train, so that each holds about as many events.
Within an interval the hazard is constant: log S is linear between the edges (Kvamme and Borgan 2021, "CDI").
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from isthmus.errors import DataError

Times = Float[np.ndarray, " n"]


def edges(time: Times, event: Times | Bool[np.ndarray, " n"], *, bins: int = 10) -> Float[np.ndarray, " e"]:
    """Edges of at most `bins` intervals: 0, quantiles of the times with an event, and the longest time.

    Quantiles that coincide are one edge. NaN times and events are left out.

    Raises
    ------
    DataError
        If no event is known to have happened after time 0.
    """
    happened = np.isfinite(time) & (np.nan_to_num(np.asarray(event, dtype=float)) > 0.5)
    times = time[happened & (time > 0)]
    if not len(times):
        raise DataError(
            "intervals of time cannot be cut", where="survival", met="no event after time 0", wanted="events in train"
        )
    inner = np.quantile(times, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf")
    last = float(np.nanmax(time))
    return np.concatenate([[0.0], np.unique(inner[inner < last]), [last]])


def bin_of(time: Times, event: Times | Bool[np.ndarray, " n"], edges: Float[np.ndarray, " e"]) -> Int[np.ndarray, " n"]:
    """The interval of each event; for a censored sample the last interval of which it lived at least half, or -1.

    Half an interval counts as one (Gensheimer and Narasimhan 2019), so that censoring within intervals neither adds
    nor takes away hazard on average. NaN times give -1. Times past the last edge belong to the last interval.
    """
    known = np.isfinite(time)
    time = np.where(known, time, 0.0)
    inside = np.searchsorted(edges[1:-1], time, side="left")
    half = (edges[:-1] + edges[1:]) / 2
    happened = np.nan_to_num(np.asarray(event, dtype=float)) > 0.5
    lived = inside - (time < half[inside])
    return np.where(known, np.where(happened, inside, lived), -1).astype(np.int64)


def survival_curves(
    logits: Float[np.ndarray, "n b"], edges: Float[np.ndarray, " e"], times: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "n t"]:
    """S(t) of each sample, 0..1, from hazards sigmoid(logits); flat past the last edge, 1 before the first."""
    hazard = np.concatenate([np.zeros((len(logits), 1)), np.cumsum(_softplus(logits), axis=1)], axis=1)
    return np.exp(-np.stack([np.interp(times, edges, row) for row in hazard])) if len(hazard) else hazard[:, :0]


def log_risk(logits: Float[np.ndarray, "n b"]) -> Float[np.ndarray, " n"]:
    """Log of the cumulative hazard, mean over the ends of the intervals: a log risk, up to a constant, if hazards are
    proportional, and an order by how early and how surely the event comes if they are not.
    """
    return np.asarray(np.log(np.cumsum(_softplus(logits), axis=1).mean(axis=1)))


def _softplus(logits: Float[np.ndarray, "n b"]) -> Float[np.ndarray, "n b"]:
    """-log(1 - sigmoid(logits)), in float64."""
    return np.logaddexp(0.0, np.asarray(logits, dtype=np.float64))
