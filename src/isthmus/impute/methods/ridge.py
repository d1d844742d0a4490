r"""Ridge regression from another modality, one penalty for all features, chosen by leaving one out.

.. math:: B = (X'X + \lambda I)^{-1} X'Y

of the centred source X (n x p) and table Y (n x f), in its primal or dual form, whichever is smaller (Hoerl & Kennard,
Ridge regression, Technometrics 1970, doi:10.1080/00401706.1970.10488634). Leaving a sample out needs no refit: its
residual is the fitted one over one minus its leverage (Allen's PRESS). Missing entries of Y are filled with what the
regression predicts, three times over; those of X count as the train mean. A sample without the source gets the mean.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from isthmus.evaluate.arrays import feature_means
from isthmus.impute.imputer import Imputer, Penalty
from isthmus.impute.linear import PENALTIES, Decomposition, RidgeSystem, shared_rows, simple_fill

ROUNDS = 3
MOST_FOR_CHOICE = 256
"""Features on which the penalty is chosen; a random draw where there are more."""


class Ridge(Imputer):
    """Ridge regression from `source`, one penalty for all features.

    Parameters
    ----------
    penalty
        In units of the mean eigenvalue of the source's Gram matrix; None chooses by leaving one out.
    """

    reads: ClassVar[tuple[str, ...]] = ("source",)
    effort: ClassVar[int] = 2

    def __init__(self, penalty: Penalty | None = None) -> None:
        self.penalty = penalty

    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        self.coefficients_ = None
        if (both := shared_rows(x, source)) is None:
            return
        y, source = both
        self.source_mean_ = np.nan_to_num(feature_means(source))
        chosen = self.penalty if self.penalty is not None else self._choice(source, y)
        system = RidgeSystem(source, y, (self.source_mean_, self.mean_))
        self.penalty_ = chosen * system.scale
        self.coefficients_ = system.solve(self.penalty_, ROUNDS if np.isnan(y).any() else 1)

    def _choice(self, source: np.ndarray, y: np.ndarray) -> float:
        f = y.shape[1]
        columns = np.arange(f) if f <= MOST_FOR_CHOICE else np.random.default_rng(0).permutation(f)[:MOST_FOR_CHOICE]
        parts = Decomposition.of(simple_fill(source, self.source_mean_))
        return float(PENALTIES[parts.losses(simple_fill(y[:, columns], self.mean_[columns])).mean(axis=1).argmin()])

    def predict(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray:
        if self.coefficients_ is None or source is None:
            return np.broadcast_to(self.mean_, x.shape)
        found = simple_fill(source, self.source_mean_) @ self.coefficients_
        found += self.mean_
        found[np.isnan(source).all(axis=1)] = np.nan
        return np.asarray(found)
