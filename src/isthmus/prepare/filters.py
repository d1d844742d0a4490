"""Steps that keep some features, by what observed training values show."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from isthmus.config import Config, Tune
from isthmus.data.table import Array
from isthmus.prepare.columns import mad, moments, nonzero
from isthmus.prepare.step import Filter, step


@step("top_variance")
class TopVariance(Filter):
    """Keep the k features of largest variance."""

    class Options(Config):
        """What the step takes."""

        k: Annotated[int, Field(ge=1), Tune(100, 10_000, log=True)] = 2000
        """Number of features to keep; all where there are no more."""

    options: Options

    def chosen(self, x: Array) -> np.ndarray:
        return largest(moments(x).var, self.options.k, self.features_in_)


@step("mad")
class MedianDeviation(Filter):
    """Keep the k features of largest median absolute deviation."""

    class Options(Config):
        """What the step takes."""

        k: Annotated[int, Field(ge=1), Tune(100, 10_000, log=True)] = 2000
        """Number of features to keep; all where there are no more."""

    options: Options

    def chosen(self, x: Array) -> np.ndarray:
        return largest(mad(x), self.options.k, self.features_in_)


@step("nonzero_variance")
class NonzeroVariance(Filter):
    """Keep the features that vary: at least two different observed values, and a variance above the threshold."""

    class Options(Config):
        """What the step takes."""

        threshold: Annotated[float, Field(ge=0)] = 0.0
        """Variance that a feature must exceed."""

    options: Options

    def chosen(self, x: Array) -> np.ndarray:
        found = moments(x)
        return np.flatnonzero(~found.idle & (found.var > self.options.threshold))


@step("detected_in")
class DetectedIn(Filter):
    """Keep the features that are not 0 in at least a fraction of the samples in which they are observed."""

    class Options(Config):
        """What the step takes."""

        fraction: Annotated[float, Field(ge=0, le=1), Tune(0.0, 0.5)] = 0.1
        """Share of observed training samples with a value other than 0."""

    options: Options

    def chosen(self, x: Array) -> np.ndarray:
        return np.flatnonzero(nonzero(x) >= self.options.fraction)


def largest(score: np.ndarray, k: int, features: pd.Index) -> np.ndarray:
    """Positions of the k largest scores; NaN ranks last, ties go by name."""
    order = np.asarray(features.argsort())
    ranked = order[np.argsort(-np.where(np.isnan(score), -np.inf, score)[order], kind="stable")]
    return np.asarray(ranked[:k])
