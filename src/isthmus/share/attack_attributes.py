"""What an embedding says of the people behind it: each annotation, predicted from it and from what is known anyway.

Attribute inference (Fredrikson et al. 2014; Jayaraman & Evans 2022, arXiv:2209.01292): whoever holds embeddings and
the annotations of some samples learns to predict them for others. It is a leak of the embedding only as far as it
exceeds what the annotations alone say of each other; and what the data say, the embedding may at most repeat.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from isthmus.data.table import Array
from isthmus.evaluate.probes import run_probes
from isthmus.evaluate.spread import bootstrap
from isthmus.evaluate.tasks import kind_of

__all__ = ["CHANCE", "COLUMNS", "attributes", "inferable"]

log = logging.getLogger("isthmus.audit")
CHANCE = {"auc": 0.5, "r2": 0.0}
"""What the majority class, or the mean, gives."""
MOST_CLASSES = 20
MOST_COLUMNS = 30
FEWEST = 5
COLUMNS = [
    "annotation", "metric", "embedding", "lower", "upper", "data", "other annotations", "majority", "n_train", "n_test",
]  # fmt: skip


def inferable(obs: pd.DataFrame) -> list[str]:
    """The columns that an attacker might infer: values, or two to twenty classes, most samples not alone in theirs."""
    found = []
    for column in obs.columns:
        values = obs[column].dropna()
        if pd.api.types.is_datetime64_any_dtype(values.dtype) or values.nunique() < 2:
            continue
        sizes = values.astype(str).value_counts()
        if kind_of(obs[column]) == "value" or ((sizes >= FEWEST).sum() >= 2 and len(sizes) <= MOST_CLASSES):
            found.append(str(column))
    if len(found) > MOST_COLUMNS:
        log.warning("attributes: the first %d of %d columns of obs are attacked", MOST_COLUMNS, len(found))
    return found[:MOST_COLUMNS]


def attributes(
    embedding: tuple[np.ndarray, np.ndarray],
    data: tuple[Array, Array],
    obs: tuple[pd.DataFrame, pd.DataFrame],
    *,
    columns: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """How well each annotation is predicted for samples whose annotations the attacker does not have.

    Parameters
    ----------
    embedding, data, obs
        Embedding (n x d), prepared data (n x p) and annotations of the samples the attacker knows all of, and of those
        attacked.
    columns
        The annotations to infer.
    resamples, seed
        Of the intervals.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`: AUC (one against the rest) of a logistic regression or R2 of a ridge regression from the embedding
        with its 95 % interval, from the data, from all other columns of obs, and of the majority or mean.
    """
    rows = []
    for column in columns:
        train = {"embedding": embedding[0], "data": data[0]}
        test = {"embedding": embedding[1], "data": data[1]}
        others = _others(obs, column)
        if others is not None:
            train["other annotations"], test["other annotations"] = others
        labels = [o[[column]] for o in obs]
        probes = run_probes(train, test, *labels, learners=("logistic",), seed=seed)
        if not probes.answers:
            continue
        table = bootstrap(probes, reference="data", resamples=resamples, seed=seed)
        metric = "auc" if (table["metric"] == "auc").any() else "r2"
        of = table[table["metric"] == metric].set_index("representation")
        own = of.loc["embedding"]
        row = {"annotation": column, "metric": metric, "majority": CHANCE[metric]}
        row |= {"embedding": own["mean"], **{k: own[k] for k in ("lower", "upper", "n_train", "n_test")}}
        row |= {k: of["mean"].get(k, np.nan) for k in ("data", "other annotations")}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _others(obs: tuple[pd.DataFrame, pd.DataFrame], column: str) -> tuple[np.ndarray, np.ndarray] | None:
    """All other annotations as numbers: classes as indicators, values with missing ones as a mean and an indicator."""
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name in inferable(obs[0]):
        if name == column:
            continue
        if kind_of(obs[0][name]) == "value":
            mean = float(pd.to_numeric(obs[0][name], errors="coerce").mean())
            for side, frame in zip(parts, obs, strict=True):
                values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
                gone = ~np.isfinite(values)
                side.append(np.column_stack([np.where(gone, mean, values), gone]))
        else:
            levels = sorted(obs[0][name].dropna().astype(str).unique())
            for side, frame in zip(parts, obs, strict=True):
                texts = frame[name].astype(object).where(frame[name].notna(), None).astype(str).to_numpy()
                side.append(np.column_stack([texts == level for level in levels]).astype(float))
    return None if not parts[0] else (np.hstack(parts[0]), np.hstack(parts[1]))
