"""Covariates regressed out of prepared features: the method `residualise` of confounders.

With c the covariates of a sample (see `Covariate`: centred by train) and x a prepared feature, ordinary least squares
over the training samples in which it is observed gives x = a + c b, and what goes on is x - c b. Collinear columns take
the solution of smallest norm. A linear probe finds nothing of the covariates in the features of train then; an effect
on variances, or a non-linear one, stays. Nothing is put back in the end: a reconstruction is that of a sample at the
mean of the covariates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from isthmus.data.targets import column, encoded
from isthmus.errors import RecipeError
from isthmus.labels import Covariate
from isthmus.prepare.prepared import Prepared

__all__ = ["Residual", "ols"]

WHERE = "confounders.method: residualise"
HINT = "method: conditional takes anything"


@dataclass(eq=False)
class Residual:
    """What is regressed out of every modality: `coefficients_[m]` is c x f, learnt from train."""

    covariates: tuple[Covariate, ...]
    coefficients_: dict[str, np.ndarray] = field(default_factory=dict)

    def fit(self, prepared: Mapping[str, Prepared], obs: pd.DataFrame) -> Residual:
        """Learn from training samples.

        Raises
        ------
        RecipeError
            A modality is sparse, an image or a bag, or has the step `span`.
        """
        design = self.design(obs)
        for name, p in prepared.items():
            refuse(name, p)
            self.coefficients_[name] = ols(design[p.present], np.asarray(p.x)[p.present])
        return self

    def design(self, obs: pd.DataFrame) -> Float[np.ndarray, "n c"]:
        """The covariates side by side, in float64.

        Raises
        ------
        DataError
            A column is not in obs.
        """
        for c in self.covariates:
            column(obs, c.name, WHERE)
        return np.concatenate([encoded(obs, c).astype(np.float64) for c in self.covariates], axis=1)

    def transform(self, prepared: Mapping[str, Prepared], obs: pd.DataFrame) -> dict[str, Prepared]:
        """Any samples without what goes along with their covariates."""
        design = self.design(obs)
        found = dict(prepared)
        for name, p in prepared.items():
            if p.present.any():
                x = np.asarray(p.x)
                found[name] = replace(p, x=(x - design @ self.coefficients_[name]).astype(x.dtype))
        return found

    def get_state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Coefficients by modality, and the covariates fit for JSON."""
        return self.coefficients_, {"covariates": [asdict(c) for c in self.covariates]}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Residual:
        """What `get_state` gave."""
        made: list[Covariate] = []
        for saved in meta["covariates"]:
            keys: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
            made.append(Covariate(**keys))
        return cls(tuple(made), dict(arrays))


def refuse(name: str, prepared: Prepared) -> None:
    """Only dense tables can be regressed."""
    met = "a sparse table" if not prepared.dense else "images" if prepared.picture is not None else ""
    met = "the step span" if prepared.span is not None else met
    met = "a bag" if getattr(prepared, "instances", None) is not None else met
    if met:
        where = f"{WHERE}, modality {name!r}"
        raise RecipeError("is for dense tables", where=where, met=met, wanted="a dense table", hint=HINT)


def ols(design: Float[np.ndarray, "n c"], x: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "c f"]:
    """Slopes of every column of x on the design, with an intercept, over the samples in which it is not NaN."""
    x, full = x.astype(np.float64), np.concatenate([np.ones((len(design), 1)), design], axis=1)
    gaps = np.isnan(x)
    found = np.zeros((full.shape[1], x.shape[1]))
    whole = ~gaps.any(axis=0)
    if whole.any():
        found[:, whole] = np.linalg.pinv(full) @ x[:, whole]
    for j in np.flatnonzero(~whole):
        found[:, j] = np.linalg.pinv(full[~gaps[:, j]]) @ x[~gaps[:, j], j]
    return found[1:]
