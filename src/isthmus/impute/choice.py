"""Which method fills the gaps: the one with the smallest error, or a simpler one that is not told apart from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isthmus.errors import DataError
from isthmus.impute.masks import GAPS, ROWS

__all__ = ["BASELINES", "FEWEST", "Choice", "choose", "counted", "of_kind"]

BASELINES = ("mean", "median", "class_mean")
"""Methods that look at nothing of the sample but its class."""
FEWEST = 20
"""Values that have to be hidden, over all folds, so that the pattern `gaps` decides alone or intervals are judged."""
UNIT = ["pattern", "rate", "repeat", "fold"]


@dataclass(frozen=True)
class Choice:
    """The winner among methods.

    Attributes
    ----------
    method
        What is taken.
    best
        The method with the smallest mean error; another one than `method` where that is simpler and as good.
    table
        A row per method, best first: `method`, `mse`, `sd` (over folds and repeats), `difference` to the best,
        `spread` (standard error of the difference), `as_good`, `taken`.
    n
        Folds, repeats, patterns and rates that were compared.
    """

    method: str
    best: str
    table: pd.DataFrame
    n: int


def choose(scores: pd.DataFrame, efforts: Mapping[str, int]) -> Choice:
    """Choose by the mean squared error, fold by fold.

    A method is as good as the best where its mean difference to it is no larger than the standard error of that
    difference, corrected for training samples that folds share (Nadeau & Bengio 2003, doi:10.1023/A:1024068626366).
    Of those the one with the least `effort` is taken.

    Parameters
    ----------
    scores
        Rows of `benchmark`: `method`, `pattern`, `rate`, `fold`, `mse`, and `repeat`. Where the pattern `gaps` is
        among them, and hid enough, the others do not count.
    efforts
        Method to how much there is to it.

    Raises
    ------
    DataError
        No method was scored on every fold.
    """
    rows = counted(scores)
    rows = rows[rows["mse"].notna()]
    wide = rows.assign(rate=rows["rate"].fillna(0)).pivot_table(index=UNIT, columns="method", values="mse", sort=False)
    wide = wide.loc[:, wide.notna().all()]
    if wide.empty:
        raise DataError(
            "no method was scored on every fold", where="impute.methods", met=f"{len(rows)} scores",
            hint="too few samples show the modality for so many folds, or too little of it is hidden",
        )  # fmt: skip
    means = wide.mean().sort_values(kind="stable")
    best, k = str(means.index[0]), len(wide)
    differences = wide[means.index].sub(wide[best], axis=0)
    folds = max(rows["fold"].nunique(), 1)
    factor = 1 / k + (1 / (folds - 1) if folds > 1 else 1.0)
    spread = differences.std(ddof=1).fillna(0.0) * np.sqrt(factor) if k > 1 else differences.mean() * 0.0
    fine = differences.mean() <= spread
    taken = min(means.index[fine.to_numpy()], key=lambda m: (efforts.get(m, 5), means[m]))
    table = pd.DataFrame(
        {
            "method": means.index, "mse": means.to_numpy(), "sd": wide[means.index].std(ddof=1).to_numpy(),
            "difference": differences.mean().to_numpy(), "spread": spread.to_numpy(), "as_good": fine.to_numpy(),
            "taken": means.index == taken,
        }
    )  # fmt: skip
    return Choice(str(taken), best, table, k)


def of_kind(scores: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one kind of gap: `modality`, or `entries`, which are all other patterns."""
    return scores[(scores["pattern"] == ROWS) == (kind == ROWS)]


def counted(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows that count: those of the pattern `gaps`, where it hid enough to tell methods apart; else all."""
    gaps = scores[(scores["pattern"] == GAPS) & scores["mse"].notna()]
    others = scores[scores["pattern"] != GAPS]
    if "n_entries" in gaps and len(others) and gaps.groupby("method")["n_entries"].sum().max() < FEWEST:
        return others
    return gaps if len(gaps) else scores
