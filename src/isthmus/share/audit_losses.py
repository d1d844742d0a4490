"""What a model's losses are on single samples: all that the attacks on membership read."""

from __future__ import annotations

import mudata as md
import numpy as np
import pandas as pd
import torch

from isthmus.assess import model_name
from isthmus.data.batches import samples
from isthmus.data.obs import class_codes
from isthmus.errors import ModelError
from isthmus.fitted import EMBED_BATCH, Fitted

__all__ = ["losses"]

SMALLEST = 1e-12
"""A probability below it counts as this."""


@torch.no_grad()
def losses(fitted: Fitted, mdata: md.MuData) -> np.ndarray:
    """The losses that a model has on samples, one row each: what an attacker may see of them.

    Returns
    -------
    np.ndarray
        n x k: per modality the mean over its observed features, NaN where a sample lacks it; then per head of classes
        or values the cross-entropy or squared error, NaN without a label.

    Raises
    ------
    ModelError
        The model reconstructs nothing.
    """
    parts = []
    every = samples(fitted.preparation.transform(mdata), fitted.spec, mdata.obs, targets=False)
    fitted.module.eval()
    for batch in every.batches(EMBED_BATCH):
        x_hat = fitted.module(batch).x_hat
        if not x_hat:
            raise ModelError("reconstructs nothing: there is no loss to attack", where=model_name(fitted))
        columns = []
        for m in fitted.spec.names:
            if m not in x_hat:
                columns.append(torch.full((len(batch),), torch.nan))
                continue
            seen = batch.observed[m].expand_as(batch.x[m])
            total = (x_hat[m].nll(batch.x[m]) * seen).sum(dim=1)
            if m in batch.outside:
                total = total + batch.outside[m] * batch.present(m)
            columns.append(torch.where(seen.any(dim=1), total / seen.sum(dim=1).clamp(min=1), torch.nan))
        parts.append(torch.stack(columns, dim=1))
    return np.column_stack([torch.cat(parts).double().numpy(), *_of_heads(fitted, mdata)])


def _of_heads(fitted: Fitted, mdata: md.MuData) -> list[np.ndarray]:
    """The losses of heads of classes and of values, n numbers each."""
    found = []
    for name, keys in (fitted.recipe.get("heads") or {}).items():
        column = keys.get("column") or name
        if keys["kind"] not in ("class", "value") or column not in mdata.obs:
            continue
        said = fitted.predict(mdata)
        if keys["kind"] == "value":
            found.append((pd.to_numeric(mdata.obs[column], errors="coerce").to_numpy(float) - said[name]) ** 2)
            continue
        shares = said[[c for c in said if str(c).startswith(f"{name}/")]]
        place = class_codes(mdata.obs[column], [str(c).removeprefix(f"{name}/") for c in shares])
        chosen = shares.to_numpy()[np.arange(len(place)), place]
        found.append(np.where(place >= 0, -np.log(np.clip(chosen, SMALLEST, 1.0)), np.nan))
    return [np.asarray(f, dtype=np.float64) for f in found]
