"""Scores and losses as they may be shared: what was computed from few samples can be solved back where it is exact."""

from __future__ import annotations

from typing import Any

import pandas as pd

__all__ = ["coarse", "losses", "significant"]

DECIMALS, DIGITS = 2, 3
SPENT = "epsilon"
"""The column of the history that counts steps and tells of no sample; rounded, it could say too little."""


def coarse(score: Any) -> Any:
    """A score to two decimals: with more, sizes of small classes follow from it by integer equations."""
    return round(score, DECIMALS) if isinstance(score, float) else score


def significant(column: str, loss: Any) -> Any:
    """A loss of a column of the history to three digits: an exact mean over few samples tells of each."""
    return float(f"{loss:.{DIGITS}g}") if isinstance(loss, float) and column != SPENT else loss


def losses(history: pd.DataFrame) -> pd.DataFrame:
    """A history with every loss to three digits."""
    return pd.DataFrame({c: [significant(str(c), v) for v in history[c].tolist()] for c in history.columns})
