"""The train mean of every feature within the sample's class; the overall mean where the class is unknown.

Beside it, what a method has found beyond the class shows: one that only knows the class does no better.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from isthmus.evaluate.arrays import feature_means
from isthmus.impute.imputer import UNKNOWN, Imputer


class ClassMean(Imputer):
    """Train mean of the feature in the sample's class; the overall mean where the class is new or unknown."""

    reads: ClassVar[tuple[str, ...]] = ("classes",)
    effort: ClassVar[int] = 1

    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        self.means_: dict[str, np.ndarray] = {}
        if classes is None:
            return
        names = np.asarray(classes).astype(str)
        for name in np.unique(names[names != UNKNOWN]):
            means = feature_means(x[names == name])
            self.means_[name] = np.where(np.isnan(means), self.mean_, means)

    def predict(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray:
        if classes is None:
            return np.broadcast_to(self.mean_, x.shape)
        return np.stack([self.means_.get(c, self.mean_) for c in np.asarray(classes).astype(str)])
