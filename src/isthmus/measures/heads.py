"""What heads are to predict, what they say, and the samples as linear predictions beside them read these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mudata as md
import numpy as np
import pandas as pd

from isthmus.assess import Scale, joined
from isthmus.data.obs import class_labels
from isthmus.data.targets import column, target_values
from isthmus.evaluate.arrays import Matrix, zero_filled
from isthmus.evaluate.baselines import representations
from isthmus.evaluate.outcomes import Outcome
from isthmus.fitted import Fitted
from isthmus.types import Target

__all__ = ["outcome_of", "said_of", "stratified", "tables_of"]


def outcome_of(obs: pd.DataFrame, target: Target, strata: str | None = None) -> Outcome:
    """What a head is to predict of samples, values in their own units; `strata` is the column of a Cox head's."""
    y = target_values(obs, target)
    if target.kind == "class":
        return Outcome("class", y, target.classes)
    if target.kind == "value":
        return Outcome("value", y.astype(np.float64) * target.sd + target.mean)
    return stratified(y.astype(np.float64), obs, strata, where=target.name.replace("head/", "heads."))


def stratified(y: np.ndarray, obs: pd.DataFrame, strata: str | None, *, where: str) -> Outcome:
    """Survival (n x 2) with the strata of a head; a sample of which the stratum is missing has no outcome."""
    if strata is None:
        return Outcome("survival", y)
    groups = class_labels(column(obs, strata, f"{where}.strata"))
    return Outcome("survival", np.where((groups == "")[:, None], np.nan, y), strata=groups)


def said_of(table: pd.DataFrame, name: str, target: Target) -> np.ndarray:
    """The columns of `predict` that are a head's, as scores take them: n x k probabilities, n values or n log risks."""
    if target.kind == "class":
        return table[[f"{name}/{c}" for c in target.classes]].to_numpy(dtype=np.float64)
    return table[name if target.kind == "value" else f"{name}/log_risk"].to_numpy(dtype=np.float64)


def tables_of(
    fitted: Fitted, parts: Mapping[str, md.MuData], which: Sequence[str], seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Train and test samples as what the model sees of them.

    `pca`: as many principal components as it has latent dimensions, fitted on train; `raw`: all features, missing 0.
    """
    prepared = {part: fitted.preparation.transform(parts[part]) for part in ("train", "test")}
    scales = {m.name: Scale.of(prepared["train"][m.name], m.likelihood, m.library) for m in fitted.spec}
    a, b = (joined([scales[m].matrix(p[m]) for m in fitted.spec.names]) for p in prepared.values())
    found = representations(a, b, fitted.latent, which=[w for w in which if w == "pca"], seed=seed)
    made = {who: (_array(x), _array(y)) for who, (x, y) in found.items()}
    return made | ({"raw": (_array(zero_filled(a)), _array(zero_filled(b)))} if "raw" in which else {})


def _array(x: Matrix) -> np.ndarray:
    return x if isinstance(x, np.ndarray) else np.asarray(x.toarray())
