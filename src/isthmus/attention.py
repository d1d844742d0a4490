"""What a model weighs in a bag, and whether leaving it out makes a difference.

Attention says how much of the pooled vector an instance makes up, not what the embedding or a prediction owes to it:
later layers may ignore it, and many instances may say the same. `occlusion` asks that. The instances of a bag are
ranked by attention and cut into groups of equal size; of each group, it takes the change of what the model says when
the group is left out of the bag, beside the mean change when as many instances are drawn at random. Attention that is
faithful ranks groups as their changes do, and its first group matters more than a random one.

Jain & Wallace, Attention is not explanation, NAACL 2019, arXiv:1902.10186. Leaving out by rank, against random: Samek
et al., Evaluating the visualization of what a deep neural network has learned, IEEE TNNLS 2017, arXiv:1509.06321.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import mudata as md
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from isthmus.architecture import Architecture
from isthmus.data.accepted import Data
from isthmus.data.batches import Samples
from isthmus.errors import DataError, RecipeError
from isthmus.nn.pooling import Pool, ranks, segment_sum
from isthmus.predicting import head_of
from isthmus.types import Batch, PackedBags

__all__ = ["agreement", "attention", "occlusion"]

DRAWS = 5
"""Random groups that a group is set beside."""


@runtime_checkable
class Model(Protocol):
    """What of a fitted model is asked here."""

    module: Architecture
    moments: dict[str, Tensor]

    def _cohort(self, data: Any) -> md.MuData: ...

    def _samples(self, mdata: md.MuData) -> Samples: ...


def attention(self: Model, mdata: Data, modality: str | None = None) -> pd.DataFrame:
    """How much every instance of a bag counts in the vector that its bag becomes.

    Parameters
    ----------
    mdata
        Any samples.
    modality
        One of bags; may be left out where there is one.

    Returns
    -------
    DataFrame
        A row per instance: `sample`, `slide`, `instance` (its position in the bag), `x` and `y` (level-0 pixels, where
        there are coordinates), `attention` (1 in total over a bag; 0 for what `top_k` leaves out).

    Raises
    ------
    RecipeError
        The model pools no such modality, or pools it by prototypes, which weigh no single instance.
    DataError
        The samples have no such bags.
    """
    found, pool, ids = _asked(self, mdata, modality)
    return _weights(found, pool, ids)


def occlusion(
    self: Model, mdata: Data, modality: str | None = None, *, head: str | None = None, groups: int = 10, seed: int = 0
) -> pd.DataFrame:
    """Whether leaving out what attention ranks first makes more of a difference than leaving out anything.

    Parameters
    ----------
    mdata, modality
        As in `attention`.
    head
        Watch the answer of this head instead of the embedding (posterior means, in standard deviations of train).
    groups
        How many groups of equal size the instances of a bag are cut into, by their rank in attention.
    seed
        Of the random groups.

    Returns
    -------
    DataFrame
        A row per sample and group, that of largest attention first: `sample`, `group`, `instances`, `attention` (in
        total), `change` (Euclidean distance when the group is left out) and `random` (mean over five groups of as many
        instances, drawn at random). Bags of fewer instances than groups are left out. `isthmus.attention.agreement`
        sums it up by sample.

    Raises
    ------
    RecipeError
        As in `attention`; or there is no such head, or fewer than two groups.
    DataError
        The samples have no such bags.
    """
    if groups < 2:
        raise RecipeError("is no number of groups", where="groups", met=groups, wanted="2 or more")
    found, pool, ids = _asked(self, mdata, modality)
    sd = self.moments["covariance"].diagonal().sqrt().clamp(min=1e-12)
    task = None if head is None else head_of(self.module, head)

    def said(batch: Batch) -> Tensor:
        z = self.module.encode(batch)
        return z / sd if task is None else task(z)

    return _changes(found, pool, ids, said, groups=groups, seed=seed)


def _asked(model: Model, mdata: Data, modality: str | None) -> tuple[Samples, Pool, pd.Index]:
    """The samples, what pools their bags, and their ids."""
    pool, cohort = pool_in(model.module.eval(), modality), model._cohort(mdata)
    found = model._samples(cohort)
    if pool.name not in found.bags or not found.bags[pool.name].lengths.any():
        raise DataError("no sample has it", where=f"modality {pool.name!r}", wanted="bags of instances")
    return found, pool, cohort.obs_names


def pool_in(module: Architecture, modality: str | None) -> Pool:
    """What pools a modality (the only one of bags, unless named) and weighs its instances.

    Raises
    ------
    RecipeError
        There is no such modality, or no weights: none of bags, or pooled by prototypes.
    """
    names = [m.name for m in module.spec if m.kind == "bag"]
    if modality is None and len(names) != 1:
        raise RecipeError("name a modality of bags", where="modality", met=modality, wanted=" or ".join(names) or "one")
    name = names[0] if modality is None else modality
    found = next((p for p in module.modules() if isinstance(p, Pool) and p.name == name), None)
    if found is None:
        met = "no modality of bags" if not names else name
        raise RecipeError("the model does not pool it", where="modality", met=met, wanted=" or ".join(names) or "bags")
    if not found.weighs:
        raise RecipeError(
            "gives no weight to an instance", where="model.pooling", met=type(found).__name__.lower(),
            wanted="attention, top_k or mean",
        )  # fmt: skip
    return found


@torch.no_grad()
def _weights(found: Samples, pool: Pool, ids: pd.Index) -> pd.DataFrame:
    """The weights of all instances: sample, slide, instance, x, y (where there are coordinates) and attention."""
    bags, parts = found.bags[pool.name], []
    for batch in found.batches():
        packed = batch.bags[pool.name]
        rows, offsets = _origin(bags, batch.index.numpy())
        weights = pool.weights(packed)
        assert weights is not None
        sample = np.repeat(batch.index.numpy(), np.diff(offsets))
        table = {
            "sample": np.asarray(ids)[sample],
            "instance": np.arange(len(rows)) - np.repeat(offsets[:-1], np.diff(offsets)),
        }
        parts.append(pd.DataFrame(table | {"row": rows, "attention": weights.double().numpy()}))
    return _placed(pd.concat(parts, ignore_index=True), bags)


def _origin(bags: Any, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the store that the instances of some samples come from, and their offsets."""
    rows, offsets = bags.bags.rows(index)
    return np.asarray(rows), np.asarray(offsets)


def _placed(table: pd.DataFrame, bags: Any) -> pd.DataFrame:
    """The table with the slide and the place of every instance instead of its row in the store."""
    store = bags.bags.store
    rows = table.pop("row").to_numpy()
    starts = np.array([s["start"] for s in store.slides], dtype=np.int64)
    order = np.argsort(starts)
    names = np.array([s["name"] for s in store.slides], dtype=object)[order]
    table.insert(1, "slide", names[np.searchsorted(starts[order], rows, side="right") - 1])
    if store.coords is not None:
        table.insert(3, "x", np.asarray(store.coords[rows, 0]))
        table.insert(4, "y", np.asarray(store.coords[rows, 1]))
    return table


@torch.no_grad()
def _changes(
    found: Samples, pool: Pool, ids: pd.Index, said: Callable[[Batch], Tensor], *, groups: int, seed: int
) -> pd.DataFrame:
    """How far what is `said` of a batch (n x d) moves when a group of instances is left out: see `occlusion`."""
    parts, generator = [], torch.Generator().manual_seed(seed)
    for batch in found.batches():
        bags = batch.bags[pool.name]
        weights = pool.weights(bags)
        assert weights is not None
        here, whole = bags.lengths >= max(groups, 2), said(batch)
        ranked = _groups(weights, bags, groups)
        lots = [_groups(torch.rand(len(weights), generator=generator), bags, groups) for _ in range(DRAWS)]
        for g in range(groups):
            moved = _moved(batch, pool.name, ranked == g, said, whole)
            random = torch.stack([_moved(batch, pool.name, lot == g, said, whole) for lot in lots]).mean(0)
            inside = (ranked == g).double().unsqueeze(1)
            sums = segment_sum(torch.cat([inside, inside * weights.double().unsqueeze(1)], dim=1), bags)
            rows = {"instances": sums[:, 0].long(), "attention": sums[:, 1], "change": moved, "random": random}
            table = pd.DataFrame(
                {"sample": np.asarray(ids)[batch.index.numpy()], "group": g} | {k: v.numpy() for k, v in rows.items()}
            )
            parts.append(table[here.numpy()])
    every = pd.concat(parts, ignore_index=True)
    return every.sort_values(["sample", "group"], kind="stable", ignore_index=True)


def _groups(scores: Float[Tensor, " N"], bags: PackedBags, groups: int) -> Tensor:
    """The group of every instance, 0 for those of largest scores in their bag."""
    order, rank = ranks(scores, bags)
    share = rank * groups // bags.lengths[bags.owner].clamp(min=1)
    return torch.empty_like(share).index_copy(0, order, share)


def _moved(batch: Batch, name: str, gone: Bool[Tensor, " N"], said: Callable[[Batch], Tensor], whole: Tensor) -> Tensor:
    bags = batch.bags[name]
    lengths = segment_sum((~gone).double().unsqueeze(1), bags).squeeze(1).long()
    rest = PackedBags(bags.x[~gone], torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
    found: Tensor = (said(replace(batch, bags=batch.bags | {name: rest})) - whole).norm(dim=1)
    return found


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Per sample, how attention and the changes that `occlusion` finds go together.

    Returns
    -------
    DataFrame
        `spearman`: rank correlation of attention and change over the groups (NaN where either is constant); `first`:
        the change without the group of largest attention over that without a random one (1: attention is of no help);
        `last`: the same of the group of smallest attention.
    """
    rows = {}
    for sample, of in table.groupby("sample", sort=False):
        ranks = of[["attention", "change"]].rank()
        varies = bool((ranks.nunique() > 1).all())
        spearman = float(np.corrcoef(ranks.to_numpy().T)[0, 1]) if varies else np.nan
        ratio = (of["change"] / of["random"].where(of["random"] > 0)).to_numpy()
        rows[sample] = {"spearman": spearman, "first": float(ratio[0]), "last": float(ratio[-1])}
    return pd.DataFrame.from_dict(rows, orient="index")
