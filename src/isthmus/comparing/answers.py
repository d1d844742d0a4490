"""What a job says of the outcomes that heads are for: its own heads' answers, and linear ones from its embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from isthmus.comparing.modality_rows import OWN, SHOWN, unpredicted
from isthmus.comparing.parts import Parts
from isthmus.config import Config
from isthmus.data.targets import column, covariate_of, encoded
from isthmus.errors import DataError
from isthmus.evaluate.outcomes import Outcome, linear_answers
from isthmus.fitted import Fitted
from isthmus.measures.heads import outcome_of, said_of
from isthmus.supervising import supervision_of

__all__ = ["answers", "obs_columns"]

LINEAR = "linear"


def answers(
    task: Mapping[str, Any], seen: Parts, z: Mapping[str, np.ndarray], fitted: Fitted | None = None
) -> dict[str, Any]:
    """Predictions of the heads that a job is asked for, with what was to be predicted.

    Parameters
    ----------
    task
        `heads`, and in `asked` the names of those wanted.
    seen
        The samples.
    z
        Part -> n x d, rows of NaN for samples of which nothing is known.
    fitted
        The model, whose own heads answer, too.

    Returns
    -------
    dict
        Head -> `kind`, `classes`, `train` and `test` (`ids`, `y`, `strata` where the head has any), `readings` (`head`,
        `linear`, and `shown/<m>` where the model is shown one modality alone: train and test).
    """
    found: dict[str, Any] = {}
    own = _predictions(fitted, seen) if fitted is not None and task.get("asked") else {}
    for name in task.get("asked", ()):
        target = supervision_of({name: task["heads"][name]}, None).targets(seen.raw["train"].obs, Config())[0]
        strata = task["heads"][name].get("strata")
        outcomes = {p: outcome_of(seen.raw[p].obs, target, strata) for p in ("train", "test")}
        readings = {LINEAR: _linear(z, outcomes)}
        for reading, said in own.items():
            readings[reading] = {p: said_of(table, name, target) for p, table in said.items()}
        found[name] = {
            "kind": target.kind, "classes": list(target.classes),
            **{p: {"ids": list(seen.raw[p].obs_names), **_told(outcomes[p])} for p in outcomes},
            "readings": {r: {p: _plain(v) for p, v in of.items()} for r, of in readings.items()},
        }  # fmt: skip
    return found


def _told(outcome: Outcome) -> dict[str, Any]:
    """An outcome as lists, with its strata where there are any."""
    strata = {} if outcome.strata is None else {"strata": outcome.strata.tolist()}
    return {"y": outcome.y.tolist(), **strata}


def _predictions(fitted: Fitted, seen: Parts) -> dict[str, dict[str, pd.DataFrame]]:
    """What the model's heads say of all modalities, and where it has several, of each alone."""
    found = {OWN: {p: fitted.predict(seen.cohorts[p]) for p in ("train", "test")}}
    sources = fitted.module.sources if len(seen.prepared["train"]) > 1 else ()
    for m in sources:
        found[f"{SHOWN}{m}"] = {p: fitted.predict(seen.cohorts[p], source=m) for p in ("train", "test")}
    return found


def _linear(z: Mapping[str, np.ndarray], outcomes: Mapping[str, Outcome]) -> dict[str, np.ndarray]:
    """From the embedding of the training samples that have one; NaN for samples that have none."""
    here = {p: ~np.isnan(v).all(axis=1) for p, v in z.items()}
    train = np.flatnonzero(here["train"])
    said = linear_answers(z["train"][train], outcomes["train"].take(train), *(z[p][here[p]] for p in z))
    made = {}
    for part, values in zip(z, said, strict=True):
        made[part] = np.full((len(z[part]), *values.shape[1:]), np.nan)
        made[part][here[part]] = values
    return made


def _plain(values: np.ndarray) -> list[Any]:
    """As lists, with the digits of float32."""
    found: list[Any] = np.asarray(values, dtype=np.float32).tolist()
    return found


def obs_columns(seen: Parts, columns: Sequence[str], *, but: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Columns of obs as numbers by what train has: classes one-hot less their shares, numbers in sd from the mean.

    What is unknown is 0, the mean of train.

    Those that a head is to predict (the values of its keys in `but`) are left out.

    Raises
    ------
    DataError
        None of them varies in train.
    """
    train = seen.raw["train"].obs
    left = unpredicted(columns, but)
    varying = [c for c in left if column(train, c, "compare.rows").dropna().astype(str).nunique() > 1]
    if not varying:
        raise DataError("do not vary in train", where="compare.rows", met=", ".join(columns))
    known = [covariate_of(train[c], "compare.rows") for c in varying]
    return {p: np.hstack([encoded(seen.raw[p].obs, k) for k in known]).astype(np.float64) for p in ("train", "test")}
