"""Any subset of modalities gets an embedding near the full one; the three posteriors do what they say."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

import isthmus as ist
from cohorts import linear, prepared
from isthmus import registry
from isthmus.data.batches import samples
from isthmus.errors import RecipeError
from isthmus.nn.experts import product
from isthmus.types import Modality, Spec

WIDTHS = [("a", 30), ("b", 20), ("c", 15)]
SPEC = Spec(tuple(Modality(m, (p,)) for m, p in WIDTHS))
SUBSETS = [("a",), ("b",), ("c",), ("a", "b"), ("b", "c")]
KINDS = ["product", "mixture", "mixture_of_products"]


def r2(z, factors):
    return LinearRegression().fit(z, factors).score(z, factors)


@pytest.mark.parametrize("kind", KINDS)
def test_any_subset_of_modalities_gets_an_embedding_near_the_full_one(kind):
    mdata = linear(n=300, widths=WIDTHS, noise=0.5)
    model = ist.MosaicVAE(latent=3, hidden=(32,), dropout=0.0, experts=kind)
    fitted = ist.fit(model, mdata, training=ist.Training(epochs=60, lr=5e-3, patience=None))
    factors, full = mdata.uns["factors"], fitted.embed(mdata).X
    assert r2(full, factors) > 0.9
    for subset in SUBSETS:
        z = fitted.embed({m: mdata.mod[m] for m in subset}).X
        drop = 1 - ((z - full) ** 2).sum() / ((full - full.mean(0)) ** 2).sum()
        assert drop > 0.75, (kind, subset, drop)
        assert r2(z, factors) > 0.85, (kind, subset)


def untrained(kind, **keys):
    torch.manual_seed(0)
    module = registry.get("mosaic_vae")(registry.config_of("mosaic_vae")(latent=3, hidden=(8,), experts=kind), SPEC)
    mdata = linear(n=40, widths=WIDTHS, **keys)
    return module.eval(), samples(prepared(mdata), SPEC).batch(torch.arange(40))


def alone(module, batch):
    with torch.no_grad():
        return [expert(batch) for expert in module.experts]


@torch.no_grad()
def test_the_posterior_is_the_closed_form_of_the_experts():
    module, batch = untrained("product", absent=10)
    experts = alone(module, batch)
    means, logvars = torch.stack([q.mean for q in experts]), torch.stack([q.logvar for q in experts])
    there = torch.stack([batch.present(m) for m in SPEC.names])
    expected = product(means, logvars, there)
    q = module(batch).posteriors["z"]
    torch.testing.assert_close(q.mean, expected.mean)
    torch.testing.assert_close(q.logvar, expected.logvar)
    module, batch = untrained("mixture", absent=10)
    experts = alone(module, batch)
    rows = batch.present("c")
    torch.testing.assert_close(module.encode(batch)[rows], torch.stack([q.mean for q in experts])[:, rows].mean(0))
    torch.testing.assert_close(module.encode(batch)[~rows], torch.stack([q.mean for q in experts])[:2, ~rows].mean(0))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_source_alone_is_a_batch_without_the_others(kind):
    module, batch = untrained(kind)
    torch.testing.assert_close(module.encode(batch, "b"), module.encode(batch.only(("b",))))
    assert not torch.allclose(module.encode(batch, "b"), module.encode(batch))


def test_an_absent_modality_is_predicted_from_the_others_on_new_samples():
    mdata = linear(n=300, widths=WIDTHS, noise=0.5)
    train, test = mdata[:200].copy(), mdata[200:].copy()
    model = ist.MosaicVAE(latent=3, hidden=(32,), dropout=0.0)
    fitted = ist.fit(model, train, training=ist.Training(epochs=60, lr=5e-3, patience=None))
    truth = test.mod["c"].X
    found = fitted.translate(test, "a", "c").X
    assert 1 - ((found - truth) ** 2).mean() / truth.var() > 0.6
    assert np.isfinite(found).all()


def test_too_many_modalities_for_subsets_are_refused():
    spec = Spec(tuple(Modality(f"m{i}", (2,)) for i in range(9)))
    with pytest.raises(RecipeError, match=r"model.experts.*at most 8"):
        registry.get("mosaic_vae")(registry.config_of("mosaic_vae")(experts="mixture_of_products"), spec)
