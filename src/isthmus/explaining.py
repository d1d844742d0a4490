"""`Fitted.explain`: loadings of the decoder, attributions of the encoder, and what a head reads through both.

With a head, z_j(x) of `isthmus.attribution` is the head's answer to the posterior mean of x: a log risk, a value in
original units, or for a class its logit beyond the mean logit of all classes. Its `jacobian` is the mean derivative by
every entry, on the scale of the prepared values; `units` and `per`, which speak of dimensions, are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mudata as md
import numpy as np
import pandas as pd
from torch import Tensor
from torch.nn import functional

from isthmus import attribution
from isthmus.architecture import Architecture
from isthmus.data.batches import Samples
from isthmus.errors import RecipeError
from isthmus.latent import draws
from isthmus.predicting import head_of
from isthmus.prepare.preparation import Preparation
from isthmus.supervised import Task
from isthmus.types import Batch

POINTS = 256
"""Draws of the latent space that stand for the training samples where there are none."""


@dataclass(frozen=True)
class Explained:
    """A fitted model, and samples where there are any."""

    module: Architecture
    preparation: Preparation
    moments: Mapping[str, Tensor]
    mdata: md.MuData | None
    samples: Samples | None

    def features(self, name: str, units: str) -> pd.Index:
        """Names of a modality's features in these units."""
        original = self.preparation[name].features_inverse_
        return original if units == "original" else pd.Index(self.module.spec[name].features)

    @property
    def reduced(self) -> attribution.Reduced | None:
        """What leads from coordinates to features."""
        return None if self.mdata is None else attribution.reduced(self.preparation, self.mdata)


def explained(
    of: Explained, *, method: str, source: str | None, units: str, per: str, absolute: bool | None, head: str | None
) -> pd.DataFrame:
    """Features x latent dimensions, or what a head says; see `Fitted.explain`."""
    if head is not None:
        for option, met, only in (("units", units, "prepared"), ("per", per, "unit")):
            if met != only:
                raise RecipeError("is for latent dimensions, not with a head", where=option, met=met, wanted=only)
        return _of_head(of, head, method=method, source=source, absolute=absolute)
    if method == "jacobian":
        z = draws(of.moments, POINTS, 0, of="posterior")
        z = z if of.samples is None else attribution.points(of.module.eval(), of.samples, source)
        inverse = of.preparation.original if units == "original" else None
        wide: Any = of.preparation.directions
        parts = attribution.loadings(of.module, z, absolute=bool(absolute), inverse=inverse, wide=wide)
    else:
        assert of.samples is not None
        whole = absolute is None or absolute
        parts = attribution.attributions(
            of.module, of.samples, method, source=source, absolute=whole, reduced=of.reduced
        )
    answer = attribution.table(parts, {m: of.features(m, units) for m in parts}, of.module.latent_names)
    if per == "unit":
        return answer
    sd = of.moments["covariance"].diagonal().sqrt().double().numpy()
    return answer.mul(sd, axis=1) if method == "jacobian" else answer.div(np.where(sd > 0, sd, np.inf), axis=1)


def _of_head(of: Explained, head: str, *, method: str, source: str | None, absolute: bool | None) -> pd.DataFrame:
    """Features x what a head says; the columns are named as those of `predict`."""
    task = head_of(of.module, head)
    if of.samples is None:
        raise RecipeError("needs samples", where=f"head {head!r}", hint="give the cohort as the first argument")
    score = _score(of.module.eval(), task, source)
    if method == "jacobian":
        parts = attribution.slopes(
            of.module, of.samples, score, source=source, absolute=bool(absolute), wide=of.preparation.directions
        )
    else:
        whole = absolute is None or absolute
        parts = attribution.attributions(
            of.module, of.samples, method, source=source, absolute=whole, reduced=of.reduced, score=score
        )
    return attribution.table(parts, {m: of.features(m, "prepared") for m in parts}, _names(task))


def _names(task: Task) -> tuple[str, ...]:
    match task.keys.kind:
        case "class":
            return tuple(f"{task.name}/{c}" for c in task.target.classes)
        case "value":
            return (task.name,)
        case _:
            return (f"{task.name}/log_risk",)


def _score(module: Architecture, task: Task, source: str | None) -> Callable[[Batch], Tensor]:
    """From a batch to what a head says, a column each."""

    def score(batch: Batch) -> Tensor:
        answer: Tensor = task(module.encode(batch, source))
        match task.keys.kind:
            case "class":
                return answer - answer.mean(dim=1, keepdim=True)
            case "value":
                return task.target.sd * answer
            case "discrete":
                return functional.softplus(answer).cumsum(dim=1).mean(dim=1, keepdim=True).log()
            case "cox":
                return answer

    return score
