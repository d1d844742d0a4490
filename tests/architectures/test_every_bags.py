"""Bags of instances beside a table, in every architecture; a new file in `architectures/` is covered by being there."""

from functools import cache

import numpy as np
import pytest
import torch

import isthmus as ist
from isthmus import registry
from isthmus.data.batches import samples
from isthmus.nn.pooling import Pool

NAMES = [n for n in registry.names() if (registry.get(n).modalities[1] or 9) > 1]


@cache
def cohort():
    bags = {"slide": {"features": 10, "instances": (4, 16), "slides": (1, 2)}}
    return ist.simulate(n=48, modalities={"rna": 12}, bags=bags, absent={"slide": 0.15}, links=0, pathways=0, seed=0)


def config(name, **keys):
    return registry.config_of(name)(**{"latent": 3, "hidden": (16,), "dropout": 0.0, **keys})


def training(name, epochs):
    return ist.Training(epochs=epochs * len(registry.get(name).phases), lr=5e-3, patience=None, instances=8)


@pytest.mark.parametrize("name", NAMES)
def test_bags_may_be_among_the_modalities(name, tmp_path):
    mdata = cohort()
    fitted = ist.fit(config(name), mdata, training=training(name, 12))
    spec = fitted.spec["slide"]
    assert (spec.kind, spec.shape) == ("bag", (10,))
    assert any(isinstance(part, Pool) and part.name == "slide" for part in fitted.module.modules()) or (
        "slide" not in fitted.module.sources
    )
    losses = fitted.history["train/recon/slide"].dropna()
    assert losses.iloc[-1] < losses.iloc[0]
    means = fitted.reconstruct(mdata).mod["slide"]
    assert means.X.shape == (48, 10)
    z = fitted.embed(mdata).X
    fitted.save(tmp_path / "model")
    np.testing.assert_array_equal(ist.load(tmp_path / "model").embed(mdata).X, z)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_instances_is_of_no_account_and_what_they_are_is(name):
    mdata = cohort()
    source = "slide" if name != "translator" else None
    keys = {"source": "slide", "target": "rna"} if name == "translator" else {}
    fitted = ist.fit(config(name, **keys), mdata, training=training(name, 2))
    if "slide" not in fitted.module.sources:
        pytest.skip("it does not encode the bags")
    batch = samples(fitted.preparation.transform(mdata), fitted.spec).batch(torch.arange(48))
    bags = batch.bags["slide"]
    order = torch.cat([o + torch.randperm(n) for o, n in zip(bags.offsets, bags.lengths, strict=False)])
    turned = {"slide": type(bags)(bags.x[order], bags.offsets)}
    other = {"slide": type(bags)(bags.x + torch.randn_like(bags.x), bags.offsets)}
    with torch.no_grad():
        z, again, moved = (
            fitted.module.encode(type(batch)(batch.x, batch.observed, batch.index, bags=b), source)
            for b in (batch.bags, turned, other)
        )
    np.testing.assert_allclose(z, again, atol=1e-5)
    here = batch.present("slide")
    assert (z - moved).abs().max(dim=1).values[here].min() > 1e-5
    assert torch.equal(z[~here], moved[~here])


@pytest.mark.parametrize("pooling", ["mean", "top_k", "prototype"])
def test_every_pooling_trains_every_weight_of_its_own(pooling):
    mdata = cohort()
    fitted = ist.fit(config("vae", pooling=pooling, pooled=3), mdata, training=training("vae", 5))
    start = ist.fit(config("vae", pooling=pooling, pooled=3), mdata, training=ist.Training(epochs=1, lr=1e-9))
    moved = {
        k: not torch.equal(v, dict(start.module.named_parameters())[k]) for k, v in fitted.module.named_parameters()
    }
    assert all(moved.values()), moved
