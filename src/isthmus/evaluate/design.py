"""Columns of obs as numbers to regress on, and values with what these explain taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from isthmus.errors import DataError
from isthmus.evaluate.arrays import check_rows
from isthmus.evaluate.tasks import absent, kind_of, names_of

__all__ = ["Design", "without_confounders"]


@dataclass(frozen=True)
class Design:
    """Classes as one indicator a class less its share, numbers in standard deviations; learnt from train.

    `classes` maps a column to its classes and their shares, `numbers` to its mean and standard deviation.
    """

    classes: dict[str, tuple[tuple[str, ...], np.ndarray]]
    numbers: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, train: pd.DataFrame) -> Design:
        """Learn classes, means and spreads."""
        classes, numbers = {}, {}
        for column in map(str, train.columns):
            if kind_of(train[column]) == "class":
                names = names_of(train[column])
                counts = pd.Series(names[~absent(names)], dtype=object).value_counts().sort_index()
                classes[column] = tuple(map(str, counts.index)), (counts / max(counts.sum(), 1)).to_numpy(dtype=float)
            else:
                values = _values(train[column])
                known = values[np.isfinite(values)]
                numbers[column] = float(known.mean()), float(known.std()) or 1.0
        return cls(classes, numbers)

    def columns(self, obs: pd.DataFrame) -> np.ndarray:
        """N x k, without a constant; a missing value or a class that train has not stands as the mean of train."""
        parts = [np.zeros((len(obs), 0))]
        for column in map(str, obs.columns):
            if column in self.classes:
                names, (levels, shares) = names_of(obs[column]), self.classes[column]
                hot = np.array([[name == level for level in levels] for name in names], dtype=float)
                hot = hot.reshape(len(obs), len(levels))
                parts.append(np.where(hot.any(axis=1, keepdims=True), hot - shares, 0.0))
            else:
                mean, sd = self.numbers[column]
                parts.append(np.nan_to_num((_values(obs[column]) - mean) / sd, posinf=0, neginf=0)[:, None])
        return np.hstack(parts)


def without_confounders(
    train: np.ndarray, test: np.ndarray, obs_train: pd.DataFrame, obs_test: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Values less what a linear regression on confounders, fitted on train, says of them.

    For one confounder of classes this is centring by class. It takes the linear part only: a non-linear probe may
    still find the confounder (see `confounding`).

    Parameters
    ----------
    train, test
        Values (n_train x f and n_test x f), without NaN.
    obs_train, obs_test
        The confounders, a column each; classes and numbers as in `probe`. A missing value, or a class that train does
        not have, is taken for the mean of train: of such a site nothing can be taken out.

    Returns
    -------
    (train, test)
        In the units and about the means of the input.

    Raises
    ------
    DataError
        Numbers of samples do not agree.
    """
    check_rows(len(train), len(obs_train), where="confounders of train")
    check_rows(len(test), len(obs_test), where="confounders of test")
    if list(obs_train.columns) != list(obs_test.columns):
        raise DataError("train and test hold different confounders", met=(list(obs_train), list(obs_test)))
    design = Design.of(obs_train)
    c, mean = design.columns(obs_train), train.mean(axis=0)
    slopes = np.linalg.lstsq(c - c.mean(axis=0), train - mean, rcond=None)[0]
    return train - (c - c.mean(axis=0)) @ slopes, test - (design.columns(obs_test) - c.mean(axis=0)) @ slopes


def _values(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
