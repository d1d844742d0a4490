"""What a model hides from itself in training: whole modalities, or observed entries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isthmus.types import Batch


def drop_modalities(batch: Batch, rate: float) -> Batch:
    """Each modality of a sample hidden with probability `rate`, but never the last one that it has."""
    names = tuple(batch.x)
    here = torch.stack([batch.present(m) for m in names])
    draw = torch.rand(here.shape, device=here.device) * here
    stays = here & ((draw >= rate) | (draw == draw.max(dim=0).values))
    kept = dict(zip(names, stays.unsqueeze(2), strict=True))
    return replace(
        batch,
        x={m: torch.where(kept[m], v, 0.0) for m, v in batch.x.items()},
        observed={m: o & kept[m] for m, o in batch.observed.items()},
        bags={m: b.keep(kept[m].squeeze(1)) for m, b in batch.bags.items()},
    )


@dataclass(frozen=True)
class Corrupted:
    """A batch with masked entries: as the encoder reads it, without them, and which they are."""

    read: Batch
    seen: Batch
    masked: dict[str, Bool[Tensor, "n f"]]


def corrupt_entries(
    batch: Batch,
    rate: float,
    kind: Literal["zero", "swap"],
    generator: torch.Generator | None = None,
    *,
    whole: float = 0.0,
) -> Corrupted:
    """Each observed entry masked with probability `rate`: 0 instead, or the entry of another sample's same feature.

    With probability `whole` a modality of a sample is masked from end to end, with 0, but never the last one that the
    sample has. The draws are made on the CPU, so that a generator gives the same ones everywhere. A masked entry of a
    bag's mean is masked in each of its instances.
    """
    gone = _gone(batch, whole, generator)
    read, seen, observed, masked = {}, {}, {}, {}
    for m, values in batch.x.items():
        known = batch.observed[m].expand_as(values)
        x = torch.where(known, values, 0.0)
        masked[m] = known & (gone[m] | (torch.rand(x.shape, generator=generator) < rate).to(x.device))
        observed[m], seen[m] = known & ~masked[m], torch.where(masked[m], 0.0, x)
        swapped = masked[m] & ~gone[m]
        read[m] = torch.where(swapped, _shuffled(x, generator), seen[m]) if kind == "swap" else seen[m]
    hidden = replace(batch, observed=observed, x=seen)
    bags = {m: b.written(masked[m], read[m]).keep(observed[m].any(dim=1)) for m, b in batch.bags.items()}
    return Corrupted(replace(hidden, x=read, bags=bags), hidden, masked)


def _gone(batch: Batch, rate: float, generator: torch.Generator | None) -> dict[str, Bool[Tensor, "n 1"]]:
    """Which modalities of which samples are masked from end to end."""
    here = torch.stack([batch.present(m) for m in batch.x])
    if not rate or len(here) < 2:
        return dict(zip(batch.x, torch.zeros_like(here).unsqueeze(2), strict=True))
    draw = torch.rand(here.shape, generator=generator).to(here.device) * here
    gone = here & (draw < rate) & (draw < draw.max(dim=0).values)
    return dict(zip(batch.x, gone.unsqueeze(2), strict=True))


def _shuffled(x: Float[Tensor, "n f"], generator: torch.Generator | None) -> Float[Tensor, "n f"]:
    """Every column in an order of its own."""
    order = torch.rand(x.shape, generator=generator).argsort(dim=0).to(x.device)
    return x.gather(0, order)


def turned(x: Float[Tensor, "n f"], shape: tuple[int, ...]) -> Float[Tensor, "n f"]:
    """Images, a row each of `shape` (H, W, C), each one flipped either way or not, and where square turned or not."""
    images = x.view(len(x), *shape)
    for axes in ((1,), (2,)):
        flips = torch.rand(len(x), device=x.device) < 0.5
        images = torch.where(flips.view(-1, 1, 1, 1), images.flip(axes), images)
    if shape[0] == shape[1]:
        turns = torch.rand(len(x), device=x.device) < 0.5
        images = torch.where(turns.view(-1, 1, 1, 1), images.transpose(1, 2), images)
    return images.reshape(len(x), -1)
