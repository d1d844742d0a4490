"""The values of a simulated cohort: signal of factors and pathways, shifts of site and batch, noise, likelihood.

eta = signal + shifts + noise, the signal of each feature of standard deviation 1. Then x = offset + scale eta
(gaussian), 0/1 with log-odds 1.5 eta + offset (bernoulli), or counts whose expectation is the library size times the
softmax of 0.5 eta + offset (poisson, nb).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd

from isthmus.data.simulation_samples import Samples
from isthmus.data.simulation_settings import Simulation

log = logging.getLogger("isthmus.data")
LINK = 0.8
"""Correlation of the noise of two linked features."""
DRIVEN = 0.8
"""Share of the variance of a pathway's activity that is its factor's."""


@dataclass(frozen=True)
class Values:
    """Tables, and the truth behind them."""

    x: dict[str, np.ndarray]
    features: dict[str, pd.Index]
    private: pd.DataFrame
    loadings: dict[str, pd.DataFrame]
    links: pd.DataFrame
    pathways: pd.DataFrame
    activities: pd.DataFrame
    shifts: dict[str, dict[str, pd.DataFrame]] = field(default_factory=dict)
    library: dict[str, pd.DataFrame] = field(default_factory=dict)


def draw_values(s: Simulation, samples: Samples) -> Values:
    """Every table, complete: nothing is missing yet."""
    ids = samples.obs.index
    features = {m: pd.Index([f"{m}_{i:04d}" for i in range(f)], dtype=object) for m, f in s.modalities.items()}
    private = {m: s.rng("private", m).normal(size=(s.n, s.private)) for m in s.modalities}
    noise = {m: s.rng("noise", m).normal(size=(s.n, f)) for m, f in s.modalities.items()}
    links = _link(s, noise, features)
    pathways, activities = _pathways(s, samples, private, features)
    columns = {f"{m}_{i}": v[:, i] for m, v in private.items() for i in range(s.private)}
    named = pd.DataFrame(columns, index=ids, dtype=np.float64)
    made = Values({}, features, named, {}, links, pathways, activities)
    for i, m in enumerate(s.modalities):
        factors = pd.concat([samples.factors, made.private[[f"{m}_{j}" for j in range(s.private)]]], axis=1)
        own = (pathways, activities) if i == 0 else (pathways[:0], activities.iloc[:, :0])
        signal, made.loadings[m] = _signal(s, m, factors, own, features[m])
        eta = signal + _shifts(s, m, samples, made) + s.noise * noise[m]
        made.x[m] = _observe(s, m, eta, made).astype(np.float32)
    return made


def _pathways(
    s: Simulation, samples: Samples, private: dict[str, np.ndarray], features: dict[str, pd.Index]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Gene sets of the first modality (pathway, feature, weight), and the activity of each per sample."""
    ids, first = samples.obs.index, next(iter(s.modalities), None)
    empty = pd.DataFrame({"pathway": [], "feature": [], "weight": []}), pd.DataFrame(index=ids)
    if first is None or not s.pathways:
        return empty
    size, count = _pathway_size(s, s.modalities[first])
    if count < s.pathways:
        log.info("%s: %d features have room for %d of %d pathways", first, s.modalities[first], count, s.pathways)
    if not count:
        return empty
    rng = s.rng("pathways")
    order, step = rng.permutation(s.modalities[first]), size - round(s.overlap * size)
    factors = np.hstack([samples.factors.to_numpy(), private[first]])
    rows, activity = [], {}
    for p in range(count):
        genes = order[p * step : p * step + size]
        name = f"pathway_{p + 1:02d}"
        rows += [(name, features[first][g], w) for g, w in zip(genes, 0.5 + np.abs(rng.normal(size=size)), strict=True)]
        driver = factors[:, p % factors.shape[1]]
        activity[name] = np.sqrt(DRIVEN) * driver + np.sqrt(1 - DRIVEN) * rng.normal(size=s.n)
    return pd.DataFrame(rows, columns=["pathway", "feature", "weight"]), pd.DataFrame(activity, index=ids)


def _pathway_size(s: Simulation, width: int) -> tuple[int, int]:
    """Genes in a pathway, and the number of pathways for which there is room."""
    if s.pathway_size is not None:
        return s.pathway_size, s.pathways
    size = next((g for g in range(20, 4, -1) if s.pathway_genes(g) <= width), min(5, width))
    step = max(1, size - round(s.overlap * size))
    return size, min(s.pathways, 0 if width < 5 else (width - size) // step + 1)


def _signal(
    s: Simulation,
    m: str,
    factors: pd.DataFrame,
    pathways: tuple[pd.DataFrame, pd.DataFrame],
    features: pd.Index,
) -> tuple[np.ndarray, pd.DataFrame]:
    """Signal of standard deviation 1 per feature, and its linear loadings on factors and pathway activities."""
    members, activities = pathways
    rng, z = s.rng("loadings", m), factors.to_numpy()
    direct = rng.normal(size=(len(features), z.shape[1])) * (rng.random((len(features), z.shape[1])) < 0.5)
    by_pathway = np.zeros((len(features), activities.shape[1]))
    where = (
        activities.columns.get_indexer(pd.Index(members["pathway"])),
        features.get_indexer(pd.Index(members["feature"])),
    )
    by_pathway[where[1], where[0]] = members["weight"]
    weights, inputs = np.hstack([direct, by_pathway]), np.hstack([z, activities.to_numpy(np.float64)])
    linear = inputs @ weights.T
    spread = _spread(linear)
    signal, weights = linear / spread, weights / spread[:, None]
    if s.nonlinearity:
        inner = rng.normal(size=(z.shape[1], 4 * z.shape[1])) * 1.5 / np.sqrt(z.shape[1])
        curved = np.tanh((z - z.mean(axis=0)) / _spread(z) @ inner) @ rng.normal(size=(inner.shape[1], len(features)))
        signal = (1 - s.nonlinearity) * signal + s.nonlinearity * (curved - curved.mean(axis=0)) / _spread(curved)
    return signal, pd.DataFrame(weights, index=features, columns=[*factors.columns, *activities.columns])


def _spread(x: np.ndarray) -> np.ndarray:
    """Standard deviation per column, 1 where it is 0."""
    sd = x.std(axis=0)
    return np.where(sd > 0, sd, 1.0)


def _shifts(s: Simulation, m: str, samples: Samples, made: Values) -> np.ndarray:
    """The shift of every value by site and batch."""
    total = np.zeros((s.n, len(made.features[m])))
    for what, effect in (("site", s.site_effect), ("batch", s.batch_effect)):
        levels = samples.obs[what].cat
        by_level = effect * s.rng(what, m).normal(size=(len(levels.categories), total.shape[1]))
        if effect:
            frame = pd.DataFrame(by_level.T, index=made.features[m], columns=list(levels.categories))
            made.shifts.setdefault(what, {})[m] = frame
        total += by_level[levels.codes.to_numpy()]
    return total


def _link(s: Simulation, noise: dict[str, np.ndarray], features: dict[str, pd.Index]) -> pd.DataFrame:
    """Correlate the noise of pairs of features of one modality and the next, in place; the pairs."""
    rows = []
    for a, b in pairwise(noise):
        rng = s.rng("links", a, b)
        count = min(s.links, noise[a].shape[1], noise[b].shape[1])
        left = rng.choice(noise[a].shape[1], size=count, replace=False)
        right = rng.choice(noise[b].shape[1], size=count, replace=False)
        r = LINK * rng.choice([-1.0, 1.0], size=count)
        noise[b][:, right] = r * noise[a][:, left] + np.sqrt(1 - r**2) * noise[b][:, right]
        rows += [(a, features[a][i], b, features[b][j], v) for i, j, v in zip(left, right, r, strict=True)]
    return pd.DataFrame(rows, columns=["source_modality", "source", "target_modality", "target", "correlation"])


def _observe(s: Simulation, m: str, eta: np.ndarray, made: Values) -> np.ndarray:
    """Values of a likelihood around eta."""
    rng, f = s.rng("values", m), eta.shape[1]
    kind, offset = s.likelihood.get(m, "gaussian"), rng.normal(size=f)
    if kind == "gaussian":
        return np.asarray(offset + np.exp(0.25 * rng.normal(size=f)) * eta)
    if kind == "bernoulli":
        return (rng.random(eta.shape) < 1 / (1 + np.exp(-(1.5 * eta + 0.5 * offset)))).astype(np.float64)
    library = s.depth * f * np.exp(s.library_spread * rng.normal(size=s.n) - s.library_spread**2 / 2)
    made.library[m] = pd.DataFrame({"library": library}, index=made.private.index)
    logits = 0.5 * eta + offset
    rate = np.exp(logits - logits.max(axis=1, keepdims=True))
    mean = library[:, None] * rate / rate.sum(axis=1, keepdims=True)
    if kind == "nb":
        mean = mean * rng.gamma(s.dispersion, 1 / s.dispersion, size=mean.shape)
    return np.asarray(rng.poisson(mean), dtype=np.float64)
