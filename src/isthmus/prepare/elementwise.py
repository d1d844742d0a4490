"""Steps that treat every value by itself, with nothing to learn: logarithms, arcsinh, clipping.

All keep 0 at 0 (clip: where 0 is within the bounds), so that a sparse table stays sparse.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from isthmus.config import Config
from isthmus.data.table import Array
from isthmus.prepare import checks
from isthmus.prepare.step import Step, clipped, step

LOGGED = "is the table logarithmic already? then leave the step out; arcsinh takes any sign"


class Elementwise(Step):
    """A function of one value; `forward` maps an array of values, `backward` takes it back."""

    invertible: ClassVar[bool] = True
    positive: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x: np.ndarray) -> np.ndarray:
        """The values transformed."""

    def backward(self, x: np.ndarray) -> np.ndarray:
        """The values before."""
        return x

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        self._check(x, ids)
        return ""

    def transform(self, x: Array, *, ids: pd.Index | None = None) -> Array:
        self._check(x, ids)
        if isinstance(x, np.ndarray):
            return self.forward(x)
        out = x.copy()
        out.data = self.forward(x.data)
        return out

    def inverse_transform(self, x: np.ndarray, *, columns: np.ndarray | None = None) -> np.ndarray:
        return self.backward(x)

    def _check(self, x: Array, ids: pd.Index | None) -> None:
        if self.positive:
            checks.nonnegative(x, self.features_in_, ids, hint=LOGGED)


@step("log1p")
class Log1p(Elementwise):
    """ln(x + 1) of values from 0 on."""

    positive: ClassVar[bool] = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.log1p(x))

    def backward(self, x: np.ndarray) -> np.ndarray:
        """Values beyond the largest number of the type give that number."""
        return np.asarray(np.expm1(np.minimum(x, _most(x.dtype))))


@step("log2")
class Log2(Elementwise):
    """log2(x + 1) of values from 0 on."""

    positive: ClassVar[bool] = True

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.log1p(x) / x.dtype.type(np.log(2)))

    def backward(self, x: np.ndarray) -> np.ndarray:
        """Values beyond the largest number of the type give that number."""
        ln = x * x.dtype.type(np.log(2))
        return np.asarray(np.expm1(np.minimum(ln, _most(x.dtype))))


@step("arcsinh")
class Arcsinh(Elementwise):
    """arcsinh(x / cofactor): like a logarithm far from 0, linear near it, for any sign (cytometry uses 5)."""

    class Options(Config):
        """What the step takes."""

        cofactor: Annotated[float, Field(gt=0)] = 5.0
        """Where the linear part ends."""

    options: Options

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.arcsinh(x / x.dtype.type(self.options.cofactor)))

    def backward(self, x: np.ndarray) -> np.ndarray:
        """Values beyond the largest number of the type give that number."""
        most = _most(x.dtype) - x.dtype.type(np.log(max(self.options.cofactor, 1.0)))
        return np.asarray(np.sinh(np.clip(x, -most, most)) * x.dtype.type(self.options.cofactor))


@step("clip")
class Clip(Elementwise):
    """Values outside the bounds become the bound; the inverse leaves values as they are."""

    invertible: ClassVar[bool] = False

    class Options(Config):
        """What the step takes."""

        low: float | None = None
        """Smallest value let through; null for none."""
        high: float | None = None
        """Largest value let through; null for none."""

        @model_validator(mode="after")
        def _ordered(self) -> Clip.Options:
            if self.low is None and self.high is None:
                raise ValueError("has no bounds: give low, high or both")
            if self.low is not None and self.high is not None and self.low > self.high:
                raise ValueError("low is above high")
            return self

    options: Options

    def forward(self, x: np.ndarray) -> np.ndarray:
        return clipped(x, self.options.low, self.options.high).astype(x.dtype, copy=False)


def _most(dtype: np.dtype) -> np.floating:
    """The largest exponent whose power of e the type can hold."""
    return np.nextafter(np.log(np.finfo(dtype).max), dtype.type(0))  # type: ignore[no-any-return]
