"""Pooling of packed bags against the same by padding, and bag by bag."""

import itertools

import numpy as np
import pytest
import torch

from isthmus.config import Network
from isthmus.nn.pooling import Attention, Mean, Prototypes, TopK, pool_of, pooled_width, segment_softmax
from isthmus.types import Modality, PackedBags

LENGTHS = (7, 1, 0, 12, 3)
WIDTH = 5


def packed(lengths=LENGTHS, width=WIDTH, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(sum(lengths), width, generator=draw, dtype=dtype)
    return PackedBags(x, torch.tensor([0, *itertools.accumulate(lengths)]))


def pools():
    torch.manual_seed(0)
    made = [Mean(WIDTH), Attention(WIDTH), TopK(WIDTH, 4), Prototypes(WIDTH, 3)]
    torch.nn.init.normal_(made[1].gate.score.weight)
    return [m.double() for m in made]


def by_padding(pool, bags):
    """The same numbers with every bag padded to the longest one, and a mask."""
    n, most = len(bags), int(bags.lengths.max())
    x, mask = torch.zeros(n, most, bags.x.shape[1], dtype=bags.x.dtype), torch.zeros(n, most, dtype=torch.bool)
    for i, (a, b) in enumerate(itertools.pairwise(bags.offsets.tolist())):
        x[i, : b - a], mask[i, : b - a] = bags.x[a:b], True
    size = mask.sum(1, keepdim=True).clamp(min=1)
    if isinstance(pool, Mean):
        return (x * mask.unsqueeze(2)).sum(1) / size
    if isinstance(pool, Prototypes):
        p = (-(x.unsqueeze(2) - pool.centres).square().sum(3) / (2 * pool.log_variance.exp())).softmax(2)
        p = p * mask.unsqueeze(2)
        away = (p.unsqueeze(3) * (x.unsqueeze(2) - pool.centres)).sum(1)
        return torch.cat([p.sum(1) / size, (away / size.unsqueeze(2)).flatten(1)], dim=1)
    score = pool.gate(x.flatten(0, 1)).view(n, most).masked_fill(~mask, -torch.inf)
    if isinstance(pool, TopK):
        least = score.sort(dim=1, descending=True).values[:, min(pool.k, most) - 1 : min(pool.k, most)]
        score = score.masked_fill(score < least, -torch.inf)
    weights = score.softmax(1).nan_to_num(0.0)
    return (weights.unsqueeze(2) * x).sum(1)


@pytest.mark.parametrize("pool", pools(), ids=lambda p: type(p).__name__)
def test_packed_is_padded_is_bag_by_bag(pool):
    bags = packed()
    found = pool(bags)
    alone = torch.cat([pool(bags.take(torch.tensor([i]))) for i in range(len(bags))])
    np.testing.assert_allclose(found.detach(), by_padding(pool, bags).detach(), atol=1e-12)
    np.testing.assert_allclose(found.detach(), alone.detach(), atol=1e-12)
    single = pool.float()(PackedBags(bags.x.float(), bags.offsets))
    np.testing.assert_allclose(single.detach(), found.detach(), atol=1e-6)
    assert (found[2] == 0).all()
    pool.double()


@pytest.mark.parametrize("pool", pools(), ids=lambda p: type(p).__name__)
def test_the_order_of_instances_and_of_bags_does_not_matter(pool):
    bags, order = packed(), torch.tensor([3, 0, 4, 2, 1])
    within = torch.cat([a + torch.randperm(b - a) for a, b in itertools.pairwise(bags.offsets.tolist())])
    np.testing.assert_allclose(pool(PackedBags(bags.x[within], bags.offsets)).detach(), pool(bags).detach(), atol=1e-12)
    np.testing.assert_allclose(pool(bags.take(order)).detach(), pool(bags)[order].detach(), atol=1e-12)


@pytest.mark.parametrize("pool", pools(), ids=lambda p: type(p).__name__)
def test_gradients_are_those_of_finite_differences(pool):
    bags = packed((3, 0, 4))
    x = bags.x.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: pool(PackedBags(v, bags.offsets)), (x,), eps=1e-6, atol=1e-6)
    for p in pool.parameters():
        p.grad = None
    again = packed()
    pool(PackedBags(again.x.requires_grad_(), again.offsets)).square().sum().backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in pool.parameters())


def test_weights_sum_to_one_over_each_bag_and_make_the_vector():
    bags = packed()
    for pool in pools()[:3]:
        weights = pool.weights(bags)
        total = torch.zeros(len(bags), dtype=torch.float64).index_add(0, bags.owner, weights)
        np.testing.assert_allclose(total.detach(), [1, 1, 0, 1, 1], atol=1e-12)
        sums = torch.zeros(len(bags), WIDTH, dtype=torch.float64).index_add(0, bags.owner, weights[:, None] * bags.x)
        np.testing.assert_allclose(sums.detach(), pool(bags).detach(), atol=1e-12)
    kept = (pools()[2].weights(bags) > 0).detach()
    assert np.bincount(bags.owner[kept], minlength=5).tolist() == [4, 1, 0, 4, 3]


def test_attention_starts_as_the_mean_and_top_k_of_all_is_attention():
    bags = packed()
    np.testing.assert_allclose(Attention(WIDTH).double()(bags).detach(), Mean(WIDTH)(bags), atol=1e-12)
    every, some = TopK(WIDTH, 100).double(), Attention(WIDTH).double()
    some.load_state_dict(every.state_dict())
    np.testing.assert_allclose(every(bags).detach(), some(bags).detach(), atol=1e-12)


def test_a_softmax_of_large_scores_stays_finite():
    bags = packed((2, 0, 3))
    weights = segment_softmax(torch.tensor([1e4, -1e4, 900.0, 900.0, -900.0], dtype=torch.float64), bags)
    np.testing.assert_allclose(weights, [1, 0, 0.5, 0.5, 0], atol=1e-12)


def test_prototypes_start_at_the_clusters_and_tell_their_shares():
    rng = np.random.default_rng(0)
    centres = np.array([[8.0, 0, 0], [0, 8, 0], [0, 0, 8]])
    kinds = rng.integers(3, size=600)
    x = torch.from_numpy(centres[kinds] + rng.normal(size=(600, 3))).float()
    pool = Prototypes(3, 3)
    pool.start(x, 0)
    order = torch.cdist(torch.from_numpy(centres).float(), pool.centres.detach()).argmin(dim=1)
    np.testing.assert_allclose(pool.centres.detach()[order], centres, atol=0.4)
    shares = pool(PackedBags(x, torch.tensor([0, 600])))[0, :3].detach()[order]
    np.testing.assert_allclose(shares, np.bincount(kinds) / 600, atol=0.02)


def test_bags_are_taken_kept_and_written():
    bags = packed()
    again = bags.take(torch.tensor([3, 3, 1]))
    assert again.lengths.tolist() == [12, 12, 1]
    assert torch.equal(again.x[:12], again.x[12:24])
    some = bags.keep(torch.tensor([True, False, True, True, False]))
    assert some.lengths.tolist() == [7, 0, 0, 12, 0]
    assert torch.equal(some.x, torch.cat([bags.x[:7], bags.x[8:20]]))
    where = torch.zeros(5, WIDTH, dtype=torch.bool)
    where[3, 2] = True
    written = bags.written(where, torch.full((5, WIDTH), 9.0, dtype=torch.float64))
    assert (written.x != bags.x).sum() == 12
    assert (written.x[8:20, 2] == 9).all()


def test_the_config_chooses_and_says_the_width():
    modality = Modality("slide", (WIDTH,), "bag")
    for kind in ("mean", "attention", "top_k", "prototype"):
        config = Network(pooling=kind, pooled=3)
        pool = pool_of(config, modality)
        assert pool.width_out == pooled_width(config, modality) == pool.float()(packed(dtype=torch.float32)).shape[1]
        assert pool.name == "slide"
