"""A variational autoencoder with importance-weighted draws, in the manner of MIWAE (see `isthmus.importance`).

A missing entry is the weighted mean of what the decoder makes of K draws; draws for multiple imputation pick one of
them by its weight and add the decoder's noise (Mattei & Frellsen, MIWAE: Deep generative modelling and imputation of
incomplete data sets, ICML 2019, arXiv:1812.02633). Departures: the bound in training is that of the VAE, not the
importance-weighted one, and the decoder's variance is one number per feature, that of the training residuals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from isthmus import registry
from isthmus.config import Config, validate
from isthmus.evaluate.arrays import feature_means
from isthmus.impute.imputer import Positive
from isthmus.impute.neural import TARGET, NeuralImputer, cohort


class MIWAEImputer(NeuralImputer):
    """A VAE with importance-weighted draws.

    Parameters
    ----------
    epochs, seed
        Of the training; None: 200 epochs, fewer of more than 770 samples, but no fewer than 20 (12 of more than 4,000).
    settings
        Keys of the architecture `vae`; 32 latent dimensions without norm by default.
    loop
        Keys of the training loop, such as `lr`.
    draws
        How many z of every sample.
    """

    effort: ClassVar[int] = 7

    def __init__(
        self,
        *,
        epochs: Positive | None = None,
        seed: int = 0,
        settings: Mapping[str, object] | None = None,
        loop: Mapping[str, object] | None = None,
        draws: Positive = 50,
    ) -> None:
        super().__init__(epochs=epochs, seed=seed, settings=settings, loop=loop)
        self.draws = draws

    def model(self, tables: Mapping[str, np.ndarray]) -> Config:
        keys = {"latent": 32, "hidden": (256,), "norm": "none", "beta": 1.0, **(self.settings or {})}
        return validate(registry.config_of("vae"), keys, where="impute.methods.miwae")

    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        super().learn(x, source, classes)
        if self.fitted_ is None:
            return
        tables = self.tables(x, source)
        means = self.fitted_.means(cohort(tables))
        self.sd_ = {
            m: np.sqrt(np.maximum(np.nan_to_num(feature_means((t - means[m]) ** 2), nan=1.0), 1e-4))
            for m, t in tables.items()
            if m in means
        }

    def means(self, tables: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.vstack([np.einsum("kn,knf->nf", w, g) for w, g in self._weighted(tables)])

    def multiple(self, x: np.ndarray, m: int, *, source: np.ndarray | None = None, seed: int = 0) -> np.ndarray:
        """`m` draws of the filled table, m x n x f; observed entries stand as they are."""
        rng = np.random.default_rng(seed)
        found = np.broadcast_to(x, (m, *x.shape)).copy()
        known = ~np.isnan(self.mean_)
        start = 0
        for w, g in self._weighted(self.tables(x, source)):
            n = w.shape[1]
            for i in range(n):
                pick = rng.choice(len(w), size=m, p=w[:, i] / w[:, i].sum())
                value = g[pick, i] + self.sd_[TARGET] * rng.normal(size=(m, g.shape[2]))
                found[:, start + i, known] = self.mean_[known] + value * self.scale_
            start += n
        return np.where(np.isnan(x), found, x)

    def _weighted(self, tables: Mapping[str, np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Some samples at a time: normalised weights K x n and decoder means of the target K x n x f."""
        from isthmus.importance import weighted

        assert self.fitted_ is not None
        return weighted(self.fitted_, cohort(tables), TARGET, sd=self.sd_, draws=self.draws, seed=self.seed)
