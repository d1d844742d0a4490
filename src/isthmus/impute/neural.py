"""Isthmus's own architectures as imputers: arrays to a small cohort, and the decoder's mean back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from isthmus.evaluate.arrays import feature_means
from isthmus.impute.imputer import Imputer, Positive
from isthmus.memory import give_back

if TYPE_CHECKING:
    import mudata as md

    from isthmus.config import Config
    from isthmus.fitted import Fitted

TARGET, SOURCE = "target", "source"
BATCH, EPOCHS, FEWEST, ALL = 64, 200, 20, 154_000
"""Samples a step; at most so many epochs and at least so many; within these, so many samples over all epochs."""
LARGE, FEWEST_LARGE, ALL_LARGE = 4000, 12, 93_000
IN_LARGE = {"batch_size": 2 * BATCH, "lr": 2e-3, "schedule": "linear"}
"""Cohorts of more samples: the least epochs, samples over all epochs, and steps: larger, from a higher rate to none."""
READ_BACK = 0.05
"""Share of a translator's epochs for the decoder of the source, which nobody asks here."""


class NeuralImputer(Imputer):
    """What the methods share that train a network: they differ in the architecture and its settings."""

    reads: ClassVar[tuple[str, ...]] = ("entries", "source")
    needs_source: ClassVar[bool] = False

    def __init__(
        self,
        *,
        epochs: Positive | None = None,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        loop: Mapping[str, Any] | None = None,
    ) -> None:
        self.epochs, self.seed, self.settings, self.loop = epochs, seed, settings, loop

    @abstractmethod
    def model(self, tables: Mapping[str, np.ndarray]) -> Config:
        """Settings of the architecture for these tables."""

    def training(self) -> dict[str, Any]:
        """Settings of the training loop; what the caller sets comes last."""
        epochs = EPOCHS if self.epochs is None else self.epochs
        return {"epochs": epochs, "batch_size": BATCH, "patience": 20, "seed": self.seed, **(self.loop or {})}

    def _loop(self, n: int) -> dict[str, Any]:
        """The same for n samples: where nobody sets epochs, a cohort is seen as often in all as one of 770."""
        loop = self.training()
        if self.epochs is None and "epochs" not in (self.loop or {}):
            fewest, seen = (FEWEST_LARGE, ALL_LARGE) if n > LARGE else (FEWEST, ALL)
            loop["epochs"] = min(loop["epochs"], max(fewest, seen // n))
            loop |= {**IN_LARGE, **(self.loop or {})} if n > LARGE else {}
        return loop

    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        from isthmus.fitting import fit

        self.fitted_: Fitted | None = None
        self.scale_ = _scale(x, self.mean_)
        self.source_mean_ = np.zeros(0) if source is None else np.nan_to_num(feature_means(source))
        self.source_scale_ = np.ones(0) if source is None else _scale(source, self.source_mean_)
        tables = self.tables(x, source)
        if self.needs_source and len(tables) < 2:
            return
        prepare: dict[str, list[Any]] = {m: [] for m in tables}
        self.fitted_ = fit(self.model(tables), cohort(tables), prepare=prepare, training=self._loop(len(x)))
        give_back()

    def tables(self, x: np.ndarray, source: np.ndarray | None) -> dict[str, np.ndarray]:
        """What the network reads, centred, each table on a scale of one."""
        made = {TARGET: _scaled(x, self.mean_, self.scale_)[:, ~np.isnan(self.mean_)]}
        if source is not None and len(self.source_mean_):
            made[SOURCE] = _scaled(source, self.source_mean_, self.source_scale_)
        return made

    def predict(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray:
        found = np.full(x.shape, np.nan)
        if self.fitted_ is None:
            return found
        tables = {m: t for m, t in self.tables(x, source).items() if m in self.fitted_.spec.names}
        rows = ~np.all([np.isnan(tables[m]).all(axis=1) for m in self.fitted_.module.sources if m in tables], axis=0)
        if rows.any():
            means = self.means({m: t[rows] for m, t in tables.items()})
            give_back()
            found[np.ix_(rows, ~np.isnan(self.mean_))] = means
        return np.asarray(self.mean_ + found * self.scale_)

    def means(self, tables: Mapping[str, np.ndarray]) -> np.ndarray:
        """What the network predicts of the target, on its scale."""
        assert self.fitted_ is not None
        return np.asarray(self.fitted_.means(cohort(tables))[TARGET], dtype=np.float64)


def _scaled(x: np.ndarray, mean: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """(x - mean) / scale in single precision, with which networks calculate."""
    made = np.empty(x.shape, dtype=np.float32)
    np.subtract(x, mean, out=made, casting="same_kind")
    made /= np.float32(scale) if np.ndim(scale) == 0 else scale
    return made


def _scale(x: np.ndarray, mean: np.ndarray) -> float:
    """One number for a table: the root mean square of its observed entries about the means."""
    squares = _scaled(x, mean, 1.0) ** 2
    return float(np.sqrt(np.nansum(squares, dtype=np.float64) / max(int((~np.isnan(squares)).sum()), 1))) or 1.0


def cohort(tables: Mapping[str, np.ndarray]) -> md.MuData:
    """Arrays as a cohort; a row without an observed entry is an absent sample."""
    import anndata as ad

    from isthmus.data.cohort import build

    n = len(next(iter(tables.values())))
    ids = pd.Index([f"s{i}" for i in range(n)])
    mods = {}
    for m, x in tables.items():
        rows = ~np.isnan(x).all(axis=1)
        var = pd.DataFrame(index=[f"f{j}" for j in range(x.shape[1])])
        mods[m] = ad.AnnData(x[rows].astype(np.float32), pd.DataFrame(index=ids[rows]), var)
    return build(mods, pd.DataFrame(index=ids))
