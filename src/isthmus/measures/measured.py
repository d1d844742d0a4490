"""What a run measures beyond reconstruction and labels: translations, latent space, alignment, disentanglement."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

from isthmus.assess import Scale
from isthmus.evaluate.alignment import foscttm, retrieval
from isthmus.evaluate.disentanglement import disentanglement
from isthmus.evaluate.latent import latent_coverage, total_correlation
from isthmus.evaluate.survival import Fold
from isthmus.evaluate.tasks import kind_of
from isthmus.evaluate.translation import TRANSLATORS, label_transfer
from isthmus.evaluating_keys import Prediction, Survival
from isthmus.fitted import Fitted
from isthmus.measures.predictions import predicted
from isthmus.measures.said import drawn, embedded, shared
from isthmus.measures.survival import outcomes
from isthmus.measures.translations import Cohorts, Translations, translations
from isthmus.prepare.prepared import Prepared

log = logging.getLogger("isthmus.assess")
MOST_TRAIN, MOST_TEST = 2_000, 2_000
"""Samples that baselines of translation learn from, and on which models and baselines are compared."""
MOST_CELLS = 10_000_000
"""Samples x features of one part: 80 MB for every array of predictions."""
MOST_PAIRS = 30
"""Where none are named: all of six modalities."""
FEWEST = 5
MOST_FOR_SUBSETS = 4
"""With more modalities, only each alone and each left out."""


@dataclass(frozen=True)
class Asked:
    """What is to be measured.

    `pairs`: of source and target; None for all there are, empty for none. `label`: a column of obs, or None.
    `pathways`: terms and their features, of which translations are scored, too. `group`: a column whose groups are
    resampled as a whole.
    """

    pairs: Sequence[tuple[str, str]] | None = None
    label: str | None = None
    pathways: Mapping[str, Sequence[str]] = field(default_factory=dict)
    baselines: Sequence[str] = TRANSLATORS
    latent: bool = True
    alignment: bool = True
    disentanglement: bool = True
    prediction: Prediction | None = None
    survival: Survival | None = None
    group: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Further:
    """Tables, empty where nothing was asked for or nothing can be measured.

    `translation`, `by_feature`, `transfer`, `by_pathway` as in `Translations`; `latent` and `disentanglement`: one row;
    `alignment`: a row per pair of modalities; `subsets`: a row per subset of modalities; `robustness`: one row, and
    `dimensions`, a row per named dimension. `predictions` as `predicted` gives. `outcomes`: survival head -> what it
    and its baselines say.
    """

    translation: pd.DataFrame = field(default_factory=pd.DataFrame)
    by_feature: pd.DataFrame = field(default_factory=pd.DataFrame)
    transfer: pd.DataFrame = field(default_factory=pd.DataFrame)
    by_pathway: pd.DataFrame = field(default_factory=pd.DataFrame)
    latent: pd.DataFrame = field(default_factory=pd.DataFrame)
    subsets: pd.DataFrame = field(default_factory=pd.DataFrame)
    alignment: pd.DataFrame = field(default_factory=pd.DataFrame)
    disentanglement: pd.DataFrame = field(default_factory=pd.DataFrame)
    robustness: pd.DataFrame = field(default_factory=pd.DataFrame)
    dimensions: pd.DataFrame = field(default_factory=pd.DataFrame)
    predictions: pd.DataFrame = field(default_factory=pd.DataFrame)
    outcomes: dict[str, Fold] = field(default_factory=dict)


def further(fitted: Fitted, parts: Mapping[str, md.MuData], asked: Asked) -> Further:
    """Measure a model on test samples.

    Parameters
    ----------
    fitted
        The model.
    parts
        `test`, and `train`, what it was fitted on (for baselines and references). Of more than 2,000 samples, or 10
        million values, each is a draw (logged).
    asked
        What.

    Returns
    -------
    Further
        Empty tables for what was not asked for, or cannot be measured on so few samples.
    """
    sources = fitted.module.sources
    pairs = _pairs(fitted, asked)
    wide = max(1, MOST_CELLS // fitted.spec.width)
    test = drawn(parts["test"], min(MOST_TEST, wide), "evaluation", seed=asked.seed)
    prepared = fitted.preparation.transform(test)
    found: dict[str, pd.DataFrame] = {}
    several = len(sources) > 1 and fitted.module.joins
    if pairs or (asked.latent and several):
        whole = fitted.preparation.transform(parts["train"])
        train = drawn(parts["train"], min(MOST_TRAIN, wide), "baselines of translation", seed=asked.seed)
        some = whole if train is parts["train"] else fitted.preparation.transform(train)
        labels = _labels(train, test, asked.label)
        if pairs:
            scales = {m.name: Scale.of(whole[m.name], m.likelihood, m.library) for m in fitted.spec}
            cohorts = Cohorts(some, prepared, scales, labels, asked.pathways)
            of_pairs: Translations = translations(fitted, cohorts, pairs, baselines=asked.baselines)
            found |= {"translation": of_pairs.scores, "by_feature": of_pairs.by_feature, "transfer": of_pairs.transfer}
            found["by_pathway"] = of_pairs.by_pathway
        if asked.latent and several:
            found["subsets"] = _subsets(fitted, some, prepared, labels)
    if asked.alignment and several:
        found["alignment"] = _alignment(fitted, prepared)
    z = embedded(fitted, prepared, [tuple(sources)])[tuple(sources)]
    if asked.latent:
        found["latent"] = _latent(z)
    if asked.disentanglement:
        found["disentanglement"] = _disentanglement(z, test, asked.seed)
    found["predictions"] = predicted(fitted, parts, asked.prediction, seed=asked.seed)
    of_heads = outcomes(fitted, parts, asked.survival, group=asked.group, seed=asked.seed)
    return Further(**found, outcomes=of_heads)


def _pairs(fitted: Fitted, asked: Asked) -> list[tuple[str, str]]:
    """The pairs that are asked for and can be had."""
    sources, names = fitted.module.sources if fitted.module.joins else (), fitted.spec.names
    if asked.pairs is None:
        every = [(a, b) for a in sources for b in names if a != b]
        if len(every) > MOST_PAIRS:
            log.info(
                "%d of %d translations are measured: evaluate.translation.pairs names others", MOST_PAIRS, len(every)
            )
        return every[:MOST_PAIRS]
    for source, _ in asked.pairs:
        if source not in sources:
            log.warning("translation from %s is left out: the model encodes %s", source, ", ".join(sources))
    return [(a, b) for a, b in asked.pairs if a in sources and b in names]


def _labels(train: md.MuData, test: md.MuData, label: str | None) -> tuple[pd.Series, pd.Series] | None:
    if label is None or kind_of(train.obs[label]) != "class":
        return None
    return train.obs[label], test.obs[label]


def _latent(z: np.ndarray) -> pd.DataFrame:
    known = z[~np.isnan(z).any(axis=1)]
    if len(known) < FEWEST:
        return pd.DataFrame()
    return pd.DataFrame([{**latent_coverage(known), "total_correlation": total_correlation(known), "n": len(known)}])


def _disentanglement(z: np.ndarray, test: md.MuData, seed: int) -> pd.DataFrame:
    """Against the factors of a simulated cohort; private ones count too."""
    factors = test.uns.get("truth", {}).get("factors") if isinstance(test.uns.get("truth"), Mapping) else None
    known = ~np.isnan(z).any(axis=1)
    if not isinstance(factors, pd.DataFrame) or not test.obs_names.isin(factors.index).all() or known.sum() < FEWEST:
        return pd.DataFrame()
    return pd.DataFrame([disentanglement(z[known], factors.loc[test.obs_names[known]], seed=seed)])


def _alignment(fitted: Fitted, prepared: Mapping[str, Prepared]) -> pd.DataFrame:
    """Every pair of modalities that the model encodes, on the samples that have both."""
    sources, dimensions, metric = fitted.module.sources, shared(fitted), fitted.module.nearness
    each = embedded(fitted, prepared, [(m,) for m in sources])
    rows = []
    for a, b in combinations(sources, 2):
        both = prepared[a].present & prepared[b].present
        x, y = each[a,][both][:, dimensions], each[b,][both][:, dimensions]
        known = ~(np.isnan(x).any(axis=1) | np.isnan(y).any(axis=1))
        if known.sum() >= FEWEST:
            scores = retrieval(x[known], y[known], metric=metric)
            rows.append({"first": a, "second": b, "foscttm": foscttm(x[known], y[known], metric=metric), **scores})
    return pd.DataFrame(rows)


def _subsets(
    fitted: Fitted,
    train: Mapping[str, Prepared],
    test: Mapping[str, Prepared],
    labels: tuple[pd.Series, pd.Series] | None,
) -> pd.DataFrame:
    """The embedding by fewer modalities against the full one, on the test samples that have all.

    R2 = 1 - |z_S - z|^2 / |z - mean of train|^2, over the dimensions that are not of one modality alone.
    """
    sources, dimensions = tuple(fitted.module.sources), shared(fitted)
    several = [s for k in _sizes(len(sources)) for s in combinations(sources, k)]
    z = {s: v[:, dimensions] for s, v in embedded(fitted, test, [*several, sources]).items()}
    # a sample may have a row of which nothing is observed: then that modality gives it no embedding
    here = np.logical_and.reduce([test[m].present for m in sources] + [~np.isnan(v).any(axis=1) for v in z.values()])
    if here.sum() < FEWEST:
        return pd.DataFrame()
    z = {s: v[here] for s, v in z.items()}
    learnt = embedded(fitted, train, [sources])[sources][:, dimensions]
    known = ~np.isnan(learnt).any(axis=1)
    spread = ((z[sources] - learnt[known].mean(axis=0)) ** 2).sum()
    rows: dict[tuple[str, ...], dict[str, Any]] = {
        s: {"modalities": " + ".join(s), "r2": 1 - float(((v - z[sources]) ** 2).sum() / spread), "n": int(here.sum())}
        for s, v in z.items()
    }
    if labels is not None:
        theirs, ours = labels[0][known], labels[1][here]
        read = label_transfer(learnt[known], theirs, {"+".join(s): v for s, v in z.items()}, ours)
        auc = read[read["metric"] == "auc"].set_index("representation")["value"]
        for s, row in rows.items():
            row |= {"label": str(theirs.name), "auc": float(auc.get("+".join(s), np.nan))}
    return pd.DataFrame(list(rows.values()))


def _sizes(modalities: int) -> list[int]:
    """How many modalities a subset holds."""
    every = list(range(1, modalities))
    return every if modalities <= MOST_FOR_SUBSETS else sorted({1, modalities - 1})
