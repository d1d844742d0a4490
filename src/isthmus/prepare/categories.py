"""A step for categorical columns that stand as number codes, as clinical tables have them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from isthmus.config import Config
from isthmus.data.table import Array
from isthmus.errors import DataError, RecipeError, listed
from isthmus.prepare.step import Step, step


@step("one_hot")
class OneHot(Step):
    """A 0/1 column per level seen in training, and one for levels that were not; missing stays missing in all of them.

    Columns are named `sex=1`, ..., `sex=unknown`; other columns pass as they are. The inverse takes the level of the
    largest column, and gives NaN for `unknown`.
    """

    invertible: ClassVar[bool] = True

    class Options(Config):
        """What the step takes."""

        columns: tuple[str, ...] | None = None
        """Columns to encode; null for all."""
        most: Annotated[int, Field(ge=2)] = 50
        """A column of more levels is refused, since it is hardly categorical."""

    options: Options
    levels_: np.ndarray
    source_: np.ndarray
    coded_: np.ndarray

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        values = self._dense(x)
        self.coded_ = self._coded()
        levels, source = [], []
        for column in range(values.shape[1]):
            if not self.coded_[column]:
                levels.append(np.array([0.0]))
            else:
                levels.append(np.append(self._levels(values[:, column], column), np.nan))
            source.append(np.full(len(levels[-1]), column))
        self.levels_, self.source_ = np.concatenate(levels), np.concatenate(source)
        return f"{int(self.coded_.sum())} columns in {int(self.coded_[self.source_].sum())} levels"

    def transform(self, x: Array, *, ids: pd.Index | None = None) -> Array:
        values = self._dense(x)
        out = values[:, self.source_]
        coded, unknown = self.coded_[self.source_], np.isnan(self.levels_)
        missing = np.isnan(out)
        known = coded & ~unknown
        hot = out[:, known] == self.levels_[known]
        hits = np.zeros((len(values), values.shape[1]))
        np.add.at(hits.T, self.source_[known], hot.T)
        out[:, known] = hot
        out[:, unknown] = hits[:, self.source_[unknown]] == 0
        out[missing] = np.nan
        return out

    def inverse_transform(self, x: np.ndarray, *, columns: np.ndarray | None = None) -> np.ndarray:
        at = np.arange(len(self.levels_)) if columns is None else columns
        sources = self.origins(at)
        out = np.full((len(x), len(sources)), np.nan, x.dtype)
        for i, source in enumerate(sources):
            some = np.flatnonzero(self.source_[at] == source)
            if not self.coded_[source]:
                out[:, i] = x[:, some[0]]
                continue
            here = ~np.isnan(x[:, some]).all(axis=1)
            best = np.where(np.isnan(x[:, some]), -np.inf, x[:, some]).argmax(axis=1)
            out[here, i] = self.levels_[at[some]][best[here]]
        return out

    def names_out(self, features: pd.Index) -> pd.Index:
        pairs = zip(self.source_, self.levels_, strict=True)
        return pd.Index([_name(str(features[s]), v) if self.coded_[s] else features[s] for s, v in pairs], dtype=object)

    def origins(self, columns: np.ndarray) -> np.ndarray:
        return np.unique(self.source_[columns])

    def _coded(self) -> np.ndarray:
        """Which columns are encoded."""
        if self.options.columns is None:
            return np.ones(len(self.features_in_), dtype=bool)
        lost = [c for c in self.options.columns if c not in self.features_in_]
        if lost:
            raise RecipeError("no such column", where="one_hot.columns", met=listed(lost))
        return np.asarray(self.features_in_.isin(list(self.options.columns)))

    def _levels(self, values: np.ndarray, column: int) -> np.ndarray:
        levels = np.unique(values[~np.isnan(values)]).astype(np.float64)
        if len(levels) > self.options.most:
            raise DataError(
                "too many levels for a categorical column",
                where=f"feature {str(self.features_in_[column])!r}",
                met=len(levels),
                wanted=f"at most {self.options.most}",
                hint="name the categorical ones in the option `columns`, or raise `most`",
            )
        return levels

    def _dense(self, x: Array) -> np.ndarray:
        if not isinstance(x, np.ndarray):
            raise RecipeError("needs a dense table", where=self.name, hint="store this modality dense")
        return x


def _name(feature: str, level: Any) -> str:
    return f"{feature}=unknown" if np.isnan(level) else f"{feature}={level:.17g}"
