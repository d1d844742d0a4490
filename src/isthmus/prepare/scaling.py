"""Steps that shift and scale each feature: (x - shift) / scale, learnt from observed training values.

A feature with one value throughout, or with fewer than two observed values, gets scale 1 and is counted in the report.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from isthmus.config import Config
from isthmus.data.table import Array
from isthmus.prepare.columns import Moments, moments, quantiles
from isthmus.prepare.step import Affine, step


@step("standardise")
class Standardise(Affine):
    """Mean 0 and standard deviation 1 over observed training values (variance divided by n, as scikit-learn does)."""

    class Options(Config):
        """What the step takes."""

        limit: Annotated[float, Field(gt=0)] | None = 10.0
        """Values beyond so many standard deviations are clipped, since near-constant features explode on new samples;
        null lifts the bound."""
        centre: bool = True
        """Whether to subtract the mean; without it a sparse table stays sparse."""

    options: Options

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        found = moments(x)
        self.shift_ = _shift(found, found.mean) * float(self.options.centre)
        self.scale_ = _scale(found, np.sqrt(found.var))
        return _idle(found)

    def bounds(self) -> tuple[float | None, float | None]:
        return (None, None) if self.options.limit is None else (-self.options.limit, self.options.limit)


@step("robust")
class Robust(Affine):
    """Median 0 and interquartile range 1; a feature whose range is 0 though it varies keeps its scale."""

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        found = moments(x)
        first, middle, third = quantiles(x, (0.25, 0.5, 0.75))
        self.shift_ = _shift(found, middle)
        self.scale_ = _scale(found, third - first)
        flat = int(((third == first) & ~found.idle).sum())
        more = f"{flat} features vary but have an interquartile range of 0: scale 1" if flat else ""
        return "; ".join(filter(None, [_idle(found), more]))


@step("minmax")
class MinMax(Affine):
    """Smallest training value to `low`, largest to `high`; new samples may lie outside."""

    class Options(Config):
        """What the step takes."""

        low: float = 0.0
        """What the smallest training value becomes."""
        high: float = 1.0
        """What the largest training value becomes."""

        @model_validator(mode="after")
        def _ordered(self) -> MinMax.Options:
            if not self.high > self.low:
                raise ValueError("high is not above low")
            return self

    options: Options

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        low, high = self.options.low, self.options.high
        found = moments(x)
        self.scale_ = _scale(found, found.high - found.low) / (high - low)
        self.shift_ = _shift(found, found.low - low * self.scale_)
        return _idle(found)


@step("maxabs")
class MaxAbs(Affine):
    """Largest absolute training value to 1; a sparse table stays sparse."""

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        found = moments(x)
        largest = np.maximum(np.abs(found.low), np.abs(found.high))
        self.shift_ = np.zeros(len(largest))
        self.scale_ = np.where(largest > 0, largest, 1.0)
        zero = int((~(largest > 0)).sum())
        return f"{zero} features without a value other than 0: scale 1" if zero else ""


def _shift(found: Moments, shift: np.ndarray) -> np.ndarray:
    """The shift, 0 where nothing is observed."""
    return np.where(found.count > 0, shift, 0.0)


def _scale(found: Moments, scale: np.ndarray) -> np.ndarray:
    """The scale, 1 where it cannot be told or is 0."""
    return np.where(found.idle | ~(scale > 0), 1.0, scale)


def _idle(found: Moments) -> str:
    """A phrase about the features that have no scale."""
    idle = int(found.idle.sum())
    what = "feature" if idle == 1 else "features"
    return f"{idle} {what} constant or observed less than twice: scale 1" if idle else ""
