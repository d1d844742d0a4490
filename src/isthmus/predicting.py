"""What heads say of samples, as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from isthmus.architecture import Architecture
from isthmus.errors import RecipeError, closest
from isthmus.losses import time_bins
from isthmus.supervised import Supervised, Task

__all__ = ["head_of", "predictions"]


def head_of(module: Architecture, name: str) -> Task:
    """A head by its name.

    Raises
    ------
    RecipeError
        The model has no such head.
    """
    heads = module.heads if isinstance(module, Supervised) else {}
    if name not in heads:
        hint = closest(name, heads) if heads else "it was fitted without the key heads"
        raise RecipeError("the model has no such head", met=name, hint=hint)
    return heads[name]


@torch.no_grad()
def predictions(module: Architecture, z: Float[np.ndarray, "n d"], names: pd.Index) -> pd.DataFrame:
    """A column per class, value and risk; NaN where the embedding is.

    Raises
    ------
    RecipeError
        The model has no heads.
    """
    if not isinstance(module, Supervised) or not module.heads:
        raise RecipeError("the model has no heads", where="predict", hint="fit(..., heads={...}), or the key heads")
    seen = ~np.isnan(z).any(axis=1)
    answers = module.eval().answers(torch.from_numpy(np.nan_to_num(z).astype(np.float32)))
    columns: dict[str, np.ndarray] = {}
    for name, answer in answers.items():
        columns |= _columns(module.heads[name], answer)
    return pd.DataFrame({c: np.where(seen, v, np.nan) for c, v in columns.items()}, index=names)


def _columns(task: Task, answer: torch.Tensor) -> dict[str, np.ndarray]:
    """What one head says, in the units of its label."""
    name, target, logits = task.name, task.target, answer.double()
    match task.keys.kind:
        case "class":
            shares = logits.softmax(dim=1).numpy()
            return {f"{name}/{c}": shares[:, k] for k, c in enumerate(target.classes)}
        case "value":
            return {name: target.mean + target.sd * logits.squeeze(1).numpy()}
        case "cox":
            return {f"{name}/log_risk": logits.squeeze(1).numpy()}
        case "discrete":
            edges = np.asarray(target.edges)
            curves = time_bins.survival_curves(logits.numpy(), edges, edges[1:])
            each = {f"{name}/survival/{t:g}": curves[:, k] for k, t in enumerate(edges[1:])}
            return {f"{name}/log_risk": time_bins.log_risk(logits.numpy()), **each}
