r"""Component ridge from a source and its bounded values side by side.

The source X enters as :math:`[X \mid w \tanh(X - \bar x)]`: beside every value stands one that extreme samples cannot
pull along, such as expression z-scores of ten. The weight w is 0 (component ridge as it is), 1, 3 or 10, whichever
leaves the smaller squared error when training samples are left out one at a time, over all components together. Values
are expected on a scale of one.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from sklearn.base import clone

from isthmus.evaluate.arrays import feature_means
from isthmus.impute.imputer import Imputer, make

WEIGHTS = (0.0, 1.0, 3.0, 10.0)
MOST_FOR_CHOICE = 1400
"""Samples on which the weight is chosen; a random draw where there are more."""


class BoundedRidge(Imputer):
    """Component ridge from `source` and its bounded values.

    Parameters
    ----------
    weights
        Of the bounded values; the one that leaves one out best is taken.
    """

    reads: ClassVar[tuple[str, ...]] = ("source",)
    effort: ClassVar[int] = 4

    def __init__(self, weights: Annotated[tuple[float, ...], Field(min_length=1)] = WEIGHTS) -> None:
        self.weights = weights

    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        inner = make("component_ridge")[1]
        self.weight_ = 0.0
        self.centre_ = np.zeros(0) if source is None else np.nan_to_num(feature_means(source))
        few = np.sort(np.random.default_rng(0).permutation(len(x))[:MOST_FOR_CHOICE])
        some, given = (x, source) if len(few) == len(x) else (x[few], None if source is None else source[few])
        fitted = {w: clone(inner).fit(some, source=self._beside(given, w)) for w in self.weights}
        losses = {w: getattr(m, "left_out_loss_", np.zeros(1)).sum() for w, m in fitted.items()}
        self.weight_ = min(losses, key=lambda w: float(losses[w]))
        self.inner_ = fitted[self.weight_]
        if some is not x:
            self.inner_ = clone(inner).fit(x, source=self._beside(source, self.weight_))

    def _beside(self, source: np.ndarray | None, weight: float) -> np.ndarray | None:
        if source is None or weight == 0:
            return source
        return np.hstack([source, weight * np.tanh(source - self.centre_)])

    def predict(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray:
        filled: np.ndarray = self.inner_.transform(np.full(x.shape, np.nan), source=self._beside(source, self.weight_))
        return filled
