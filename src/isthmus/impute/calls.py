"""Discrete targets, such as copy-number calls from -2 to 2: imputed values as calls, and their scores."""

from __future__ import annotations

import numpy as np

__all__ = ["as_calls", "call_scores", "levels_of"]

MOST_LEVELS = 12


def levels_of(x: np.ndarray) -> np.ndarray | None:
    """The levels of a table that holds a few whole numbers; None for any other. NaN is missing."""
    known = x[~np.isnan(x)]
    whole = np.round(known)
    if not len(known) or np.abs(known - whole).max() > 1e-4:
        return None
    levels = np.unique(whole) + 0.0  # no -0
    return levels if 2 <= len(levels) <= MOST_LEVELS else None


def as_calls(x: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The nearest level of every value; the lower of two as near. NaN stays."""
    middles = (levels[1:] + levels[:-1]) / 2
    return np.where(np.isnan(x), np.nan, levels[np.searchsorted(middles, np.nan_to_num(x), side="left")])


def call_scores(truth: np.ndarray, guess: np.ndarray, levels: np.ndarray) -> dict[str, float]:
    """Balanced accuracy (0..1, higher is better) and mean distance in levels (lower is better) of values 1-d."""
    if not len(truth):
        return {"balanced_accuracy": np.nan, "ordinal_error": np.nan}
    a, b = (np.searchsorted(levels, as_calls(v, levels)) for v in (np.round(truth), guess))
    seen = np.unique(a)
    accuracy = float(np.mean([(b[a == k] == k).mean() for k in seen]))
    return {"balanced_accuracy": accuracy, "ordinal_error": float(np.abs(a - b).mean())}
