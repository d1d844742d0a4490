"""How far off a prediction is where the value was hidden: half-widths of split-conformal intervals, per feature.

On held-out samples, observed entries (a fifth at a time, so that each is hidden once) or whole modalities are hidden,
predicted, and compared; of the residuals stands the conformal rank (see `isthmus.conformal`). Counts are compared as
log(1 + count).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from isthmus import conformal
from isthmus.architecture import Architecture
from isthmus.data.batches import Samples
from isthmus.types import COUNTS, Batch, Spec

LEVEL = 0.9
ROUNDS = 5
MOST_SAMPLES = 2048


@torch.no_grad()
def half_widths(model: Architecture, held_out: Samples, seed: int) -> dict[str, Tensor]:
    """Per modality, `entry/<m>` (one entry hidden) and, with several modalities, `modality/<m>` (all of it hidden).

    NaN for a modality with the step `span`: an entry cannot be hidden from its coordinates.
    """
    batch = held_out.batch(torch.arange(min(len(held_out), MOST_SAMPLES)), held_out.bounded)
    draw = torch.Generator().manual_seed(seed)
    group = {m: torch.randint(ROUNDS, batch.x[m].shape, generator=draw) for m in model.spec.names}
    residuals = {m: torch.full_like(batch.x[m], torch.nan) for m in model.spec.names}
    for r in range(ROUNDS):
        off = _residuals(model, batch, _without(batch, {m: g == r for m, g in group.items()}))
        for m, values in off.items():
            residuals[m] = torch.where(group[m] == r, values, residuals[m])
    found = {f"entry/{m}": _ranks(v) for m, v in residuals.items()}
    for m in model.spec.names if len(model.spec) > 1 else ():
        others = torch.stack([batch.present(o) for o in model.spec.names if o != m]).any(dim=0)
        hidden = _without(batch, {m: torch.ones_like(batch.x[m], dtype=torch.bool)})
        found[f"modality/{m}"] = _ranks(_residuals(model, batch, hidden)[m][others])
    spanned = {m.name: m.width for m in model.spec if m.coordinates is not None}
    unknown = {
        k: torch.full((spanned[k.partition("/")[2]],), torch.nan) for k in found if k.partition("/")[2] in spanned
    }
    return found | unknown


def on_scale(values: Tensor, spec: Spec, name: str) -> Tensor:
    """The scale on which residuals are taken: log(1 + count) for counts, else as they are."""
    return values.log1p() if spec[name].likelihood in COUNTS else values


def _without(batch: Batch, hidden: dict[str, Tensor]) -> Batch:
    observed = {m: o & ~hidden[m] if m in hidden else o for m, o in batch.observed.items()}
    x = {m: v * observed[m] for m, v in batch.x.items()}
    bags = {m: b.written(~observed[m].expand_as(x[m]), x[m]) for m, b in batch.bags.items()}
    bags = {m: b.keep(observed[m].any(dim=1)) for m, b in bags.items()}
    return replace(batch, x=x, observed=observed, bags=bags)


def _residuals(model: Architecture, truth: Batch, seen: Batch) -> dict[str, Tensor]:
    """|x - prediction| at the entries of `truth` that are observed; NaN elsewhere."""
    x_hat = model(seen).x_hat
    off = {m: on_scale(truth.x[m], model.spec, m) - on_scale(d.mean, model.spec, m) for m, d in x_hat.items()}
    return {m: torch.where(truth.observed[m], v.abs(), torch.nan) for m, v in off.items()}


def _ranks(residuals: Float[Tensor, "n f"]) -> Float[Tensor, " f"]:
    """The conformal rank of every column; NaN where a whole modality has too few residuals."""
    return torch.from_numpy(conformal.half_widths(residuals.numpy(), LEVEL))
