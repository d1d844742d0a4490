"""Steps that look at a whole sample: library size and centred log-ratios.

References
----------
Aitchison (1982), The statistical analysis of compositional data, https://doi.org/10.1111/j.2517-6161.1982.tb01195.x.
Departure: mean and total run over the observed features of a sample, and `pseudocount` is added before the logarithm.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from isthmus.config import Config
from isthmus.data.table import Array
from isthmus.errors import DataError, RecipeError
from isthmus.prepare import checks
from isthmus.prepare.columns import row_sums
from isthmus.prepare.step import Step, step


@step("normalise_total")
class NormaliseTotal(Step):
    """Scale each sample to one total over its observed features; a sample of total 0 stays 0.

    The inverse leaves values in these normalised units, since the totals of new samples are not known.
    """

    rowwise: ClassVar[bool] = True

    class Options(Config):
        """What the step takes."""

        target: Annotated[float, Field(gt=0)] | None = None
        """The total of every sample afterwards; null for the median of the training samples."""

    options: Options
    target_: float

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        checks.nonnegative(x, self.features_in_, ids)
        totals, _ = row_sums(x)
        empty = int((totals <= 0).sum())
        if empty == len(totals):
            raise DataError("every training sample has a total of 0")
        median = float(np.median(totals[totals > 0]))
        self.target_ = median if self.options.target is None else self.options.target
        return f"total {self.target_:g}" + (f"; {empty} samples of total 0 left as they are" if empty else "")

    def transform(self, x: Array, *, ids: pd.Index | None = None) -> Array:
        checks.nonnegative(x, self.features_in_, ids)
        totals, _ = row_sums(x)
        factor = np.where(totals > 0, self.target_ / np.where(totals > 0, totals, 1.0), 1.0).astype(x.dtype)
        if isinstance(x, np.ndarray):
            return x * factor[:, None]
        out = x.copy()
        out.data = x.data * np.repeat(factor, np.diff(x.indptr))
        return out


@step("clr")
class CentredLogRatio(Step):
    """ln(x + pseudocount) minus its mean over the observed features of the sample; needs a dense table.

    The inverse gives the composition: parts of the observed total that add up to 1 per sample, pseudocount included.
    """

    rowwise: ClassVar[bool] = True

    class Options(Config):
        """What the step takes."""

        pseudocount: Annotated[float, Field(ge=0)] = 1.0
        """Added to every value, so that 0 has a logarithm."""

    options: Options

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        self._check(x, ids)
        return ""

    def transform(self, x: Array, *, ids: pd.Index | None = None) -> Array:
        self._check(x, ids)
        logs = np.log(np.asarray(x) + np.asarray(x).dtype.type(self.options.pseudocount))
        total, observed = row_sums(logs)
        return np.asarray(logs - (total / np.maximum(observed, 1)).astype(logs.dtype)[:, None])

    def inverse_transform(self, x: np.ndarray, *, columns: np.ndarray | None = None) -> np.ndarray:
        some = ~np.isnan(x).all(axis=1, keepdims=True)
        top = np.fmax.reduce(x, axis=1, keepdims=True, initial=-np.inf)
        parts = np.exp(x - np.where(some, top, 0.0))
        total = np.where(some, np.nansum(parts, axis=1, keepdims=True), 1.0)
        return np.asarray(parts / total).astype(x.dtype, copy=False)

    def _check(self, x: Array, ids: pd.Index | None) -> None:
        if not isinstance(x, np.ndarray):
            raise RecipeError(
                "would fill every zero of a sparse table", where=self.name, hint="store this modality dense"
            )
        checks.nonnegative(x, self.features_in_, ids)
        if self.options.pseudocount == 0 and (x == 0).any():
            raise DataError("a value of 0 has no logarithm", hint="set a pseudocount above 0")
