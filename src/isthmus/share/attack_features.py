"""Which feature is which, from the statistics that a model stores: pseudonyms of features are undone by numbers.

The attacker has a public cohort of the same kind, with names, prepares it as the recipe says, and matches what the
steps then store (means, standard deviations, medians, bounds) with what the model stores. Half of the samples play the
model's training samples, the other half the public cohort.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

from isthmus.data.cohort import take_samples
from isthmus.errors import DataError
from isthmus.prepare.pipeline import Pipeline
from isthmus.prepare.preparation import Preparation
from isthmus.share.attack import matched

__all__ = ["COLUMNS", "features", "stored"]

log = logging.getLogger("isthmus.audit")
MOST_FEATURES = 2000
COLUMNS = ["modality", "features", "statistics", "matched", "chance", "samples", "kept_by_both"]


def stored(pipeline: Pipeline) -> pd.DataFrame:
    """The numbers a fitted pipeline stores of each feature, features x statistics; none where it stores none."""
    found: dict[str, pd.Series] = {}
    for k, step in enumerate(pipeline.steps):
        for name, values in step.get_state().items():
            if values.ndim != 1 or values.dtype.kind != "f" or not len(values):
                continue
            index = step.features_in_ if len(values) == len(step.features_in_) else step.features_
            if len(values) == len(index) and np.ptp(values) > 0:
                found[f"{k} {step.name} {name.rstrip('_')}"] = pd.Series(values, index.astype(str))
    table = pd.DataFrame(found)
    return table.reindex([f for f in pipeline.features_out_.astype(str) if f in table.index]).dropna()


def features(
    mdata: md.MuData, prepare: Mapping[str, Sequence[Any]], names: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """How many features are found again by their statistics.

    Parameters
    ----------
    mdata
        All samples of the cohort.
    prepare
        Modality to steps, resolved.
    names
        The modalities.
    seed
        Divides the samples in two.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, a row per modality: `matched`, the share of features that the best matching gives their own name;
        `chance` is 1 / features. NaN where the steps store nothing of a feature.
    """
    order = np.random.default_rng(seed).permutation(np.sort(mdata.obs_names.to_numpy().astype(str)))
    halves = [take_samples(mdata, np.sort(part)) for part in np.array_split(order, 2)]
    try:
        fitted = [Preparation.parse({m: prepare[m] for m in names}, list(names)).fit(half) for half in halves]
    except DataError as error:
        log.warning("features are not matched: half of the samples cannot be prepared: %s", error)
        return pd.DataFrame(columns=COLUMNS)
    return pd.DataFrame([_row(m, fitted[0][m], fitted[1][m], len(order), seed) for m in names], columns=COLUMNS)


def _row(name: str, model: Pipeline, public: Pipeline, samples: int, seed: int) -> dict[str, Any]:
    one, other = stored(model), stored(public)
    columns = [c for c in one if c in other]
    row = {"modality": name, "features": len(one), "statistics": len(columns), "samples": samples // 2}
    both = [f for f in one.index if f in set(other.index)]
    if not columns or len(both) < 2:
        return row | {"matched": np.nan, "chance": np.nan, "kept_by_both": len(both)}
    if len(both) > MOST_FEATURES:
        log.info("%s: %d of %d features are matched, drawn at random", name, MOST_FEATURES, len(both))
        both = list(np.sort(np.random.default_rng(seed).choice(both, MOST_FEATURES, replace=False)))
    order = np.random.default_rng(seed).permutation(len(both))  # the order of the candidates says nothing
    hit = order[matched(one.loc[both, columns].to_numpy(), other.loc[both, columns].to_numpy()[order])]
    found = float((hit == np.arange(len(both))).mean())
    return row | {"features": len(both), "matched": found, "chance": 1 / len(both), "kept_by_both": len(both)}
