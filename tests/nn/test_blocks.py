import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isthmus.config import Joint
from isthmus.nn.gaussian import Gaussian, GaussianHead
from isthmus.nn.joint import JointDecoder, JointEncoder, reconstruction_weights
from isthmus.nn.likelihoods import LikelihoodHead, library_size
from isthmus.nn.mlp import funnel, mlp
from isthmus.types import Batch, Modality, Spec

SPEC = Spec((Modality("rna", (6,)), Modality("type", (4,))))


@given(st.integers(1, 10**6), st.integers(1, 200), st.one_of(st.none(), st.integers(1, 2000)))
def test_funnel_follows_the_rule(width, latent, cap):
    first, second = funnel(width, latent, cap=cap)
    uncapped = max(width // 4, latent, 32)
    assert second >= latent
    assert first == (uncapped if cap is None else min(uncapped, max(cap, latent)))
    assert second == (
        max(uncapped // 4, latent, 32) if cap is None else min(max(uncapped // 4, latent, 32), max(cap, latent))
    )


def test_a_block_that_needs_no_norm_has_none():
    assert [type(p).__name__ for p in mlp((4, 3), norm="none", dropout=0.0)] == ["Linear", "ReLU"]


def test_posterior_may_be_narrower_than_the_prior_and_negative():
    head = GaussianHead(2, 2)
    with torch.no_grad():
        head.logvar.bias.fill_(-8.0)
        head.mean.bias.fill_(-3.0)
    q = head(torch.zeros(1, 2))
    assert (q.logvar == -8).all()
    assert (q.mean == -3).all()


def test_draws_have_the_moments_they_name():
    torch.manual_seed(0)
    z = Gaussian(torch.full((20000, 1), 2.0), torch.full((20000, 1), -1.0)).sample()
    assert abs(z.mean() - 2) < 0.02
    assert abs(z.var() - torch.tensor(-1.0).exp()) < 0.02


def batch(x, observed):
    return Batch(x, observed, torch.arange(len(next(iter(x.values())))))


@pytest.mark.parametrize("join", ["direct", "after"])
def test_shapes_and_awkward_modality_names(join):
    config = Joint(latent=3, hidden=(5,), join=join)
    x = {"rna": torch.randn(2, 6), "type": torch.randn(2, 4)}
    observed = {m: torch.ones(2, 1, dtype=torch.bool) for m in x}
    encoder, decoder = JointEncoder(config, SPEC), JointDecoder(config, SPEC)
    assert encoder(batch(x, observed)).shape == (2, encoder.width_out)
    assert {m: d.mean.shape for m, d in decoder(torch.randn(2, 3)).items()} == {"rna": (2, 6), "type": (2, 4)}


def test_weights_let_modalities_contribute_alike():
    weights = reconstruction_weights(Joint(), SPEC)
    assert weights["rna"] * 6 == pytest.approx(weights["type"] * 4)
    assert sum(weights[m.name] * m.width for m in SPEC) == pytest.approx(10)


def test_count_means_sum_to_the_library():
    modality = Modality("rna", (5,), likelihood="nb", library=100.0)
    head = LikelihoodHead(3, modality)
    torch.testing.assert_close(head(torch.randn(4, 3)).mean.sum(1), torch.full((4,), 100.0))
    library = torch.tensor([[10.0], [20.0], [30.0], [40.0]])
    torch.testing.assert_close(head(torch.randn(4, 3), library).mean.sum(1), library[:, 0])


def test_library_size_scales_for_missing_entries_and_falls_back():
    modality = Modality("rna", (4,), likelihood="poisson", library=7.0)
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    observed = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
    found = library_size(batch({"rna": x}, {"rna": observed}), modality)
    torch.testing.assert_close(found[:, 0], torch.tensor([10.0, 20.0, 7.0]))
