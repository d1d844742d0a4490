"""A fitted model beside its baselines on samples it has not seen: arrays for `evaluate`, tables for the report.

Baselines see what the model sees: the prepared values, fitted on the same training samples. Counts are compared as
log(1 + count); for the baselines they are first scaled to the typical library size, logged and standardised by train,
and a baseline's reconstruction is scaled back by the sample's own library size, which the model is given too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp

from isthmus.data.cohort import take_samples
from isthmus.data.table import Array, aligned
from isthmus.evaluate.arrays import feature_means
from isthmus.evaluate.baselines import pca_reconstruction, representations
from isthmus.evaluate.neighbours import clustering
from isthmus.evaluate.probes import Probes, run_probes
from isthmus.evaluate.reconstruct import reconstruction, reconstruction_by_feature
from isthmus.evaluate.tasks import kind_of
from isthmus.fitted import Fitted
from isthmus.prepare.prepared import Prepared
from isthmus.types import COUNTS

log = logging.getLogger("isthmus.assess")
CHUNK = 1024
MOST_CELLS = 200_000_000
"""Samples x features of one part that are reconstructed at a time for scoring: 1.6 GB in float64."""
MOST_LABELS = 5
MOST_LOGGED = 30.0
"""Far above the logarithm of any count: keeps a linear reconstruction of logs from overflowing."""
MOST_CLASSES = 20


@dataclass(frozen=True)
class Measured:
    """What was measured of one fit; the model goes by the name of its settings (`VAE`).

    `reconstruction`: a row per modality, split and representation; `by_feature`: per feature of the test samples;
    `probes`: every answer of every learner; `clustering`: a row per label.
    """

    reconstruction: pd.DataFrame
    by_feature: pd.DataFrame
    probes: Probes
    clustering: pd.DataFrame


@dataclass(frozen=True)
class Scale:
    """How one modality is compared: typical library size (counts), train means and standard deviations."""

    counts: bool
    library: float
    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, train: Prepared, likelihood: str, library: float) -> Scale:
        """Learn from training samples."""
        counts = likelihood in COUNTS
        plain = cls(counts, library, np.zeros(train.width), np.ones(train.width))
        logged = plain.matrix(train)
        here = logged[train.present]
        mean = np.nan_to_num(feature_means(here))
        if not counts:
            return cls(counts, library, mean, np.ones(train.width))
        square = here.multiply(here) if sp.issparse(here) else here**2
        sd = np.sqrt(np.clip(np.nan_to_num(feature_means(square)) - mean**2, 0, None))
        return cls(counts, library, mean, np.where(sd > 0, sd, 1.0))

    def matrix(self, prepared: Prepared) -> Array:
        """What the baselines read: centred where dense, scaled alone where CSR (PCA centres without filling it)."""
        if isinstance(prepared.x, np.ndarray):
            x = prepared.x.astype(np.float64)
            if self.counts:
                x = np.log1p(x * (self.library / _libraries(prepared))[:, None])
            return (x - self.mean) / self.sd
        x = prepared.x.astype(np.float64)
        if self.counts:
            x = sp.csr_matrix(sp.diags(self.library / _libraries(prepared)) @ x).log1p()
            return sp.csr_matrix(x @ sp.diags(1 / self.sd))
        return x if prepared.scale is None else sp.csr_matrix(x @ sp.diags(1 / prepared.scale))

    def compared(self, values: np.ndarray) -> np.ndarray:
        """Prepared values or predicted means on the scale of the scores."""
        return np.asarray(np.log1p(values)) if self.counts else values

    def predicted(self, values: np.ndarray, prepared: Prepared) -> np.ndarray:
        """Predicted means (counts: at the typical library size) in the units of `matrix(prepared)`."""
        if isinstance(prepared.x, np.ndarray):
            return np.asarray((self.compared(values.astype(np.float64)) - self.mean) / self.sd)
        if self.counts:
            return np.asarray(np.log1p(values.astype(np.float64)) / self.sd)
        shift = 0 if prepared.shift is None else prepared.shift
        return np.asarray(values + shift / (1 if prepared.scale is None else prepared.scale))

    def from_matrix(self, x: np.ndarray, prepared: Prepared) -> np.ndarray:
        """A reconstruction of `matrix(prepared)` on the scale of the scores."""
        if self.counts:
            logged = x * self.sd + (0 if sp.issparse(prepared.x) else self.mean)
            rate = np.expm1(np.clip(logged, 0, MOST_LOGGED)) * (_libraries(prepared) / self.library)[:, None]
            return np.asarray(np.log1p(rate))
        if not sp.issparse(prepared.x):
            return np.asarray(x + self.mean)
        if prepared.shift is None:
            return x
        return np.asarray(x - prepared.shift / (1 if prepared.scale is None else prepared.scale))


def _libraries(prepared: Prepared) -> np.ndarray:
    """Total count per sample, at least 1."""
    x = prepared.x
    total = np.nansum(x, axis=1) if isinstance(x, np.ndarray) else np.asarray(x.sum(axis=1)).ravel()
    return np.asarray(np.maximum(total, 1.0))


def model_name(fitted: Fitted) -> str:
    """What the model is called beside its baselines."""
    return type(fitted.module.config).__name__


def labels_of(obs: pd.DataFrame, named: Sequence[str] | None) -> list[str]:
    """The labels to benchmark on: those named, else the first columns that hold two to twenty classes."""
    if named is not None:
        return list(named)
    found = []
    for column in obs.columns:
        values = obs[column].dropna()
        classes = values.astype(str).value_counts()
        if kind_of(obs[column]) == "class" and (classes >= 5).sum() >= 2 and len(classes) <= MOST_CLASSES:
            found.append(str(column))
    if found:
        log.info("no labels named in evaluate.embedding: taking %s", ", ".join(found[:MOST_LABELS]))
    return found[:MOST_LABELS]


def measure(
    fitted: Fitted,
    parts: Mapping[str, md.MuData],
    labels: Sequence[str],
    *,
    learners: Sequence[str],
    baselines: Sequence[str],
    reconstructed: bool = True,
    seed: int = 0,
) -> Measured:
    """Score a model on `parts["test"]` beside its baselines; `parts["train"]` is what it was fitted on.

    Parameters
    ----------
    fitted
        The model.
    parts
        Split name -> samples; `train` and `test` at least.
    labels
        Columns of obs.
    learners, baselines
        See `evaluate.probe` and `evaluate.baselines.representations`.
    reconstructed
        Whether the reconstruction is scored; without, its tables are empty.
    seed
        Of baselines and learners.
    """
    prepared = {part: fitted.preparation.transform(m) for part, m in parts.items()}
    scales = {m.name: Scale.of(prepared["train"][m.name], m.likelihood, m.library) for m in fitted.spec}
    matrices = {part: joined([scales[m].matrix(p[m]) for m in fitted.spec.names]) for part, p in prepared.items()}
    rows, features = pd.DataFrame(), pd.DataFrame()
    if reconstructed:
        rows, features = _reconstructions(fitted, *_enough(fitted, parts, prepared, matrices, seed=seed), scales, seed)
    z = {part: np.asarray(fitted.embed(parts[part]).X) for part in ("train", "test")}
    seen = {part: ~np.isnan(v).any(axis=1) for part, v in z.items()}
    found = {model_name(fitted): (z["train"][seen["train"]], z["test"][seen["test"]])}
    if labels:
        found |= representations(
            matrices["train"][seen["train"]], matrices["test"][seen["test"]], fitted.latent, which=baselines, seed=seed
        )
    obs = {part: parts[part].obs.loc[seen[part], list(labels)] for part in z}
    probes = run_probes(
        {k: v[0] for k, v in found.items()}, {k: v[1] for k, v in found.items()}, obs["train"], obs["test"],
        learners=learners, seed=seed,
    )  # fmt: skip
    return Measured(rows, features, probes, _clusters(found, obs["test"], seed))


def joined(blocks: Sequence[Array]) -> Array:
    """Tables of the same samples beside each other: dense where all are, else CSR with missing entries as zero."""
    if all(isinstance(b, np.ndarray) for b in blocks):
        return np.hstack([b for b in blocks if isinstance(b, np.ndarray)])
    return sp.csr_matrix(
        sp.hstack([sp.csr_matrix(np.nan_to_num(b)) if isinstance(b, np.ndarray) else b for b in blocks])
    )


def _enough(
    fitted: Fitted,
    parts: Mapping[str, md.MuData],
    prepared: Mapping[str, Mapping[str, Prepared]],
    matrices: Mapping[str, Array],
    *,
    seed: int,
) -> tuple[dict[str, md.MuData], dict[str, Mapping[str, Prepared]], dict[str, Array]]:
    """All samples, or where their reconstruction would not fit into memory a draw of them (logged)."""
    most = max(1, MOST_CELLS // fitted.spec.width)
    cohorts, tables, joined = dict(parts), dict(prepared), dict(matrices)
    for part, m in parts.items():
        if m.n_obs > most:
            log.warning("reconstruction is scored on %d of %d %s samples, drawn at random", most, m.n_obs, part)
            rows = np.sort(np.random.default_rng(seed).choice(m.n_obs, most, replace=False))
            cohorts[part] = take_samples(m, m.obs_names[rows])
            tables[part] = fitted.preparation.transform(cohorts[part])
            joined[part] = matrices[part][rows] if part != "train" else matrices[part]
    return cohorts, tables, joined


def _reconstructions(
    fitted: Fitted,
    parts: Mapping[str, md.MuData],
    prepared: Mapping[str, Mapping[str, Prepared]],
    matrices: Mapping[str, Array],
    scales: Mapping[str, Scale],
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores per modality, split and representation, and per feature of the test samples."""
    names, who_we_are = fitted.spec.names, model_name(fitted)
    widths = np.cumsum([0, *(fitted.spec[m].width for m in names)])
    pca = _pca(fitted, matrices, widths, seed)
    rows, features = [], []
    references = {m: mean_compared(prepared["train"][m], scales[m]) for m in names}
    for part in parts:
        means = fitted.means(parts[part])
        for i, m in enumerate(names):
            p = prepared[part][m]
            if not p.present.any():
                continue
            here = np.flatnonzero(p.present)
            x = scales[m].compared(p.rows(here).astype(np.float64))
            guesses = {who_we_are: scales[m].compared(means[m][here].astype(np.float64))}
            if part == "test":
                from_pca = scales[m].from_matrix(pca[:, widths[i] : widths[i + 1]], p)
                guesses["pca"] = from_pca[here]
                guesses["mean"] = np.broadcast_to(references[m], x.shape).copy()
                by = reconstruction_by_feature(
                    x, guesses[who_we_are], features=list(p.features), reference=references[m]
                )
                features.append(by.assign(modality=m))
            for who, guess in guesses.items():
                scores = reconstruction(x, guess, reference=references[m])
                rows.append({"modality": m, "split": part, "representation": who, **scores})
            rows[-len(guesses)]["r2_original"] = _in_original_units(fitted, parts, part, m, means[m])
    return pd.DataFrame(rows), pd.concat(features, ignore_index=True) if features else pd.DataFrame()


def _pca(fitted: Fitted, matrices: Mapping[str, Array], widths: np.ndarray, seed: int) -> np.ndarray:
    """PCA of all modalities together, or of each on its own where the model keeps them apart; of the test samples."""
    train, test = matrices["train"], matrices["test"]
    if fitted.module.joins:
        return pca_reconstruction(train, test, fitted.latent, seed=seed)
    of = [slice(a, b) for a, b in pairwise(widths.tolist())]
    d = [fitted.module.blocks.count(m) for m in fitted.spec.names]
    return np.hstack([pca_reconstruction(train[:, s], test[:, s], k, seed=seed) for s, k in zip(of, d, strict=True)])


def _in_original_units(fitted: Fitted, parts: Mapping[str, md.MuData], part: str, name: str, mean: np.ndarray) -> float:
    """Overall R2 against the train means, after undoing the preparation."""
    features = fitted.features(name)

    def original(which: str) -> tuple[Array, np.ndarray]:
        table = aligned(parts[which].mod[name], parts[which].obs_names)
        columns = table.features.get_indexer(features)
        rows = np.flatnonzero(table.present)
        return (table.x[rows][:, columns] if (columns >= 0).all() else np.empty((0, 0))), rows

    (train, _), (x, rows) = original("train"), original(part)
    if not x.shape[0] or not train.shape[0]:
        return float("nan")
    guess = fitted.preparation.inverse(name, mean[rows]).astype(np.float64)
    reference = np.nan_to_num(feature_means(train))
    guess = np.where(np.isnan(guess), reference, guess)  # a step whose inverse has no answer, such as an unknown level
    return reconstruction(x, guess, reference=reference)["r2"] if np.isfinite(guess).all() else float("nan")


def mean_compared(prepared: Prepared, scale: Scale) -> np.ndarray:
    """Train feature means on the scale of the scores, some rows at a time."""
    index = np.flatnonzero(prepared.present)
    total, known = np.zeros(prepared.width), np.zeros(prepared.width)
    for start in range(0, len(index), CHUNK):
        x = scale.compared(prepared.rows(index[start : start + CHUNK]).astype(np.float64))
        total += np.nansum(x, axis=0)
        known += (~np.isnan(x)).sum(axis=0)
    return np.asarray(total / np.maximum(known, 1))


def _clusters(found: Mapping[str, tuple[Array, Array]], obs: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Clustering scores of the model's and PCA's test samples for every label of classes."""
    rows = []
    for who in [w for w in found if w not in ("raw", "umap") and "/" not in w]:
        for label in obs.columns:
            values = obs[label]
            if kind_of(values) == "class" and values.dropna().astype(str).nunique() > 1:
                scores = clustering(np.asarray(found[who][1]), values, seed=seed)
                rows.append({"representation": who, "label": label, **scores})
    return pd.DataFrame(rows)
