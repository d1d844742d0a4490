"""From the instances of a bag to one vector, over bags packed one after the other (no padding).

With x_i the instances of a bag, i = 1..n, the n of each bag its own:

    mean        1/n sum_i x_i
    attention   sum_i a_i x_i,  a = softmax_i s(x_i),  s(x) = w' (tanh(V x) * sigmoid(U x))
    top_k       the same over the k instances of largest s alone (all where the bag has fewer)
    prototype   [mean_i p_ij | mean_i p_ij (x_i - c_j)] for each j = 1..k,  p_i = softmax_j -|x_i - c_j|^2 / (2 v)

Nothing depends on the order of instances or bags; an empty bag gives zeros. Attention starts as the mean (w = 0), the
prototypes c at k-means centres of training instances and v at their mean squared distance to the nearest; all of it is
learnt from there.

Attention: Ilse, Tomczak & Welling, Attention-based deep multiple instance learning, ICML 2018, arXiv:1802.04712 (its
gated form). Prototypes: Arandjelovic et al., NetVLAD, CVPR 2016, arXiv:1511.07247; of slides, Song et al., PANTHER,
CVPR 2024, arXiv:2405.11643. Top k: Campanella et al., Nature Medicine 2019, doi:10.1038/s41591-019-0508-1.

Departures: instances are pooled as they come, without a network of their own before it (they are features of an encoder
already); top k weighs what it keeps, so that the gate gets a gradient; prototypes carry their shares, which NetVLAD
drops, and are neither normalised within (NetVLAD) nor fitted by a mixture model (PANTHER).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from isthmus.config import Network, Pooling
from isthmus.data.batches import Samples
from isthmus.types import Batch, Modality, PackedBags

GATE = 128
"""Units of the gate."""
ROWS = 4096
"""Instances that the gate takes at a time: what it makes of them then stays in the cache."""
ROUNDS = 20
"""Of k-means."""
STARTED = 20_000
"""Training instances that it runs on."""


def segment_sum(values: Float[Tensor, "N c"], bags: PackedBags) -> Float[Tensor, "n c"]:
    """The sum over the instances of each bag; 0 for an empty one."""
    return values.new_zeros(len(bags), values.shape[1]).index_add(0, bags.owner, values)


def weighted_sums(weights: Float[Tensor, "N k"], bags: PackedBags) -> Float[Tensor, "n k f"]:
    """Per bag sum_i w_ij x_i; 0 for an empty one.

    A product of matrices a bag, which reads the instances once and makes no copy of them.
    """
    sizes = bags.lengths.tolist()
    if not sizes:
        return weights.new_zeros(0, weights.shape[1], bags.x.shape[1])
    each = zip(weights.split(sizes), bags.x.split(sizes), strict=True)  # type: ignore[no-untyped-call]
    return torch.stack([w.T @ x for w, x in each])


def segment_softmax(scores: Float[Tensor, " N"], bags: PackedBags) -> Float[Tensor, " N"]:
    """Weights that sum to 1 over the instances of each bag."""
    owner = bags.owner
    highest = scores.new_full((len(bags),), -torch.inf).scatter_reduce(0, owner, scores.detach(), "amax")
    raised = (scores - highest[owner]).exp()
    total = raised.new_zeros(len(bags)).index_add(0, owner, raised)
    return raised / total[owner]


def ranks(scores: Float[Tensor, " N"], bags: PackedBags) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """Positions of the instances, bag after bag and falling by score within it, and the rank (0 first) of each."""
    falling = scores.detach().argsort(descending=True, stable=True)
    order = falling[bags.owner[falling].argsort(stable=True)]
    return order, torch.arange(len(order), device=order.device) - bags.offsets[:-1][bags.owner]


def bag_means(bags: PackedBags) -> Float[Tensor, "n f"]:
    """The mean of every bag; zeros for an empty one."""
    each = bags.lengths.to(bags.x.dtype).reciprocal()[bags.owner]
    return weighted_sums(each.unsqueeze(1), bags).squeeze(1)


def moved_to(bags: PackedBags, means: Float[Tensor, "n f"]) -> PackedBags:
    """The bags with all instances of each moved alike, so that these are their means."""
    return PackedBags(bags.x + (means - bag_means(bags))[bags.owner], bags.offsets)


class Pool(nn.Module):
    """Bags of instances of `width` features to one vector each, of `width_out`."""

    weighs: ClassVar[bool] = True
    """Whether an instance counts by one number."""

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.width, self.width_out, self.name = width, width_out, ""

    @abstractmethod
    def forward(self, bags: PackedBags) -> Float[Tensor, "n h"]:
        """A vector a bag; zeros for an empty one."""

    def weights(self, bags: PackedBags) -> Float[Tensor, " N"] | None:
        """How much each instance counts, 1 in total over a bag; None where that is no one number."""
        return None


class Mean(Pool):
    """The mean of the instances."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)

    def weights(self, bags: PackedBags) -> Float[Tensor, " N"]:
        return bags.lengths.to(bags.x.dtype).reciprocal()[bags.owner]

    def forward(self, bags: PackedBags) -> Float[Tensor, "n h"]:
        return bag_means(bags)


class Gate(nn.Module):
    """A score per instance: at first a random one, or with `flat` 0 for each."""

    def __init__(self, width: int, *, flat: bool) -> None:
        super().__init__()
        self.tanh, self.sigmoid, self.score = (
            nn.Linear(width, GATE),
            nn.Linear(width, GATE),
            nn.Linear(GATE, 1, bias=False),
        )
        if flat:
            nn.init.zeros_(self.score.weight)

    def forward(self, x: Float[Tensor, "N f"]) -> Float[Tensor, " N"]:
        parts = x.split(ROWS)  # type: ignore[no-untyped-call]
        score = torch.cat([self.score(self.tanh(part).tanh() * self.sigmoid(part).sigmoid()) for part in parts])
        return score.squeeze(1)


class Attention(Pool):
    """The mean under weights that a gate gives."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)
        self.gate = Gate(width, flat=True)

    def weights(self, bags: PackedBags) -> Float[Tensor, " N"]:
        return segment_softmax(self.gate(bags.x), bags)

    def forward(self, bags: PackedBags) -> Float[Tensor, "n h"]:
        return weighted_sums(self.weights(bags).unsqueeze(1), bags).squeeze(1)


class TopK(Pool):
    """The mean, under weights that a gate gives, of the instances that it rates highest."""

    def __init__(self, width: int, k: int) -> None:
        super().__init__(width, width)
        self.gate, self.k = Gate(width, flat=False), k

    def _kept(self, bags: PackedBags) -> tuple[Tensor, PackedBags, Tensor]:
        """Positions of the instances kept, these as bags, and their weights."""
        scores: Tensor = self.gate(bags.x)
        order, rank = ranks(scores, bags)
        kept = order[rank < self.k]
        lengths = bags.lengths.clamp(max=self.k)
        few = PackedBags(bags.x[kept], torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
        return kept, few, segment_softmax(scores[kept], few)

    def weights(self, bags: PackedBags) -> Float[Tensor, " N"]:
        kept, _, weights = self._kept(bags)
        return weights.new_zeros(len(bags.x)).index_copy(0, kept, weights)

    def forward(self, bags: PackedBags) -> Float[Tensor, "n h"]:
        _, few, weights = self._kept(bags)
        return weighted_sums(weights.unsqueeze(1), few).squeeze(1)


class Prototypes(Pool):
    """The share of each prototype, and how far from it those lie that are assigned to it."""

    weighs: ClassVar[bool] = False

    def __init__(self, width: int, k: int) -> None:
        super().__init__(width, k * (width + 1))
        self.centres = nn.Parameter(torch.randn(k, width))
        self.log_variance = nn.Parameter(torch.tensor(math.log(width)))

    def assigned(self, x: Float[Tensor, "N f"]) -> Float[Tensor, "N k"]:
        """How much of each instance goes to each prototype, 1 in total."""
        apart = x.square().sum(1, keepdim=True) - 2 * x @ self.centres.T + self.centres.square().sum(1)
        return (-apart / (2 * self.log_variance.exp())).softmax(dim=1)

    def forward(self, bags: PackedBags) -> Float[Tensor, "n h"]:
        p, n = self.assigned(bags.x), bags.lengths.clamp(min=1).unsqueeze(1)
        shares = segment_sum(p, bags) / n
        residuals = weighted_sums(p, bags) / n.unsqueeze(2) - shares.unsqueeze(2) * self.centres
        return torch.cat([shares, residuals.flatten(1)], dim=1)

    @torch.no_grad()
    def start(self, x: Float[Tensor, "N f"], seed: int) -> None:
        """Centres by k-means (k-means++ and Lloyd), the variance by what is left."""
        from sklearn.cluster import KMeans

        k = min(len(self.centres), len(x))
        found = KMeans(k, n_init=1, max_iter=ROUNDS, random_state=seed).fit(x.cpu().double().numpy())
        self.centres[:k] = torch.from_numpy(found.cluster_centers_).to(self.centres)
        self.log_variance.fill_(math.log(max(found.inertia_ / len(x), 1e-6)))


def start_pools(module: nn.Module, train: Samples, seed: int) -> None:
    """Give every pool its initial values from training instances; a model without bags has none."""
    for pool in module.modules():
        if isinstance(pool, Prototypes):
            every = train.batch(torch.arange(len(train)), train.bounded)
            x = every.bags[pool.name].x
            few = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:STARTED]
            pool.start(x[few], seed)


def pool_of(config: Network, modality: Modality) -> Pool:
    """How the instances of a modality of bags are pooled."""
    pool = _of_kind(config.pooling, modality.width, config.pooled)
    pool.name = modality.name
    return pool


def _of_kind(kind: Pooling, width: int, k: int) -> Pool:
    match kind:
        case "mean":
            return Mean(width)
        case "attention":
            return Attention(width)
        case "top_k":
            return TopK(width, k)
        case "prototype":
            return Prototypes(width, k)


def bags_in(batch: Batch, modality: Modality) -> PackedBags:
    """The instances of a modality; where a batch has none, each mean is the only instance of its bag."""
    if (found := batch.bags.get(modality.name)) is not None:
        return found
    here = batch.present(modality.name)
    lengths = here.to(torch.int64)
    return PackedBags(batch.x[modality.name][here], torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))


def pooled_width(config: Network, modality: Modality) -> int:
    """Columns of what pooling gives."""
    return config.pooled * (modality.width + 1) if config.pooling == "prototype" else modality.width
