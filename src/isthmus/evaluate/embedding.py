"""The embedding benchmark on arrays at hand: cross-validated probes of one embedding beside its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from isthmus.errors import DataError
from isthmus.evaluate.arrays import Matrix, check_rows, check_table
from isthmus.evaluate.folding import codes_of, columns_of, folded
from isthmus.evaluate.probes import LEARNERS, Probes, probe, run_probes
from isthmus.evaluate.spread import bootstrap, nadeau_bengio, summarise, zscore

__all__ = [
    "LEARNERS", "Probes", "bootstrap", "embedding", "nadeau_bengio", "probe", "run_probes", "summarise", "zscore",
]  # fmt: skip


def embedding(
    z: Matrix,
    labels: pd.Series | pd.DataFrame | np.ndarray | Sequence[Any],
    *,
    baselines: dict[str, Matrix] | None = None,
    folds: int = 5,
    groups: pd.Series | np.ndarray | None = None,
    seed: int = 0,
    learners: Sequence[str] = LEARNERS,
) -> pd.DataFrame:
    """Score an embedding by what can be predicted from it, beside baselines, over folds.

    Only the probes are cross-validated: an embedding that was fitted on these samples with the label in view scores
    too well, and so does a supervised baseline. Give held-out samples where you can.

    Parameters
    ----------
    z
        Embedding (n x d).
    labels
        One label (n), or a DataFrame of several; missing ones leave a sample out. See `probe` for what is a class.
    baselines
        Name -> other representations of the same samples (n x anything). Differences are to `pca` where there is
        one of that name, else to the first.
    folds
        Number of folds, at least 2; stratified by class. Lowered to the number of samples or groups where that is
        smaller.
    groups
        One per sample (the patient, say): samples of a group stay together.
    seed
        Of the folds and the forest.
    learners
        Some of `logistic`, `svm`, `forest`.

    Returns
    -------
    pandas.DataFrame
        As `summarise` gives, the embedding under the name `embedding`; `attrs["skipped"]` as `probe` gives.

    Raises
    ------
    DataError
        Numbers of samples do not agree, a representation is not finite, a baseline is called `embedding`, there are
        too few samples, or no label can be predicted.
    RecipeError
        An unknown learner.
    """
    others = dict(baselines or {})
    if "embedding" in others:
        raise DataError("a baseline cannot have the name of what it is compared with", met="embedding")
    if folds < 2:
        raise DataError("there are not enough folds", met=folds, wanted="2 or more")
    arrays: dict[str, Matrix] = {"embedding": z, **others}
    for name, array in arrays.items():
        check_table(array, where=name)
        check_rows(z.shape[0], array.shape[0], where=name)
    table = columns_of(labels, z.shape[0])
    group = codes_of(groups, z.shape[0])
    long, skipped = [], []
    for label in table.columns:
        for fold, (train, test) in enumerate(folded(table[label], group, folds, seed)):
            a, b = ({k: v[rows] for k, v in arrays.items()} for rows in (train, test))
            one = table[[label]]
            scores = probe(a, b, one.iloc[train], one.iloc[test], learners=learners, seed=seed)
            skipped += [s for s in scores.attrs["skipped"] if s not in skipped]
            scores.attrs.clear()
            if len(scores):
                long.append(scores.assign(fold=fold))
    reference = "pca" if "pca" in others else next(iter(others), "pca")
    if not long:
        raise DataError("no label can be predicted", where=str(skipped[0]["label"]), met=skipped[0]["reason"])
    summary = summarise(pd.concat(long, ignore_index=True), reference=reference)
    summary.attrs["skipped"] = skipped
    return summary
