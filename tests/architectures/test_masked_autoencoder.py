"""Planted missing entries come back better than from the column's mean and from near neighbours."""

import numpy as np
import pytest
import torch
from sklearn.impute import KNNImputer

import isthmus as ist
from cohorts import linear, prepared
from isthmus import registry
from isthmus.data.batches import samples
from isthmus.types import Modality, Spec

SPEC = Spec((Modality("rna", (30,)), Modality("cnv", (20,))))


@pytest.mark.parametrize("corruption", ["zero", "swap"])
def test_missing_entries_of_low_rank_data_beat_mean_and_neighbours(corruption):
    truth = linear(n=300, widths=[("rna", 40)], d=4, noise=0.5)
    holes, x = truth.copy(), truth.mod["rna"].X
    hidden = np.random.default_rng(1).random(x.shape) < 0.2
    holes.mod["rna"].X[hidden] = np.nan
    model = ist.MaskedAutoencoder(latent=4, hidden=(64,), dropout=0.0, corruption=corruption)
    fitted = ist.fit(model, holes, training=ist.Training(epochs=120, lr=3e-3, patience=None))
    found = fitted.impute(holes).mod["rna"].X
    near = KNNImputer(n_neighbors=10).fit_transform(holes.mod["rna"].X)
    errors = {k: ((v - x)[hidden] ** 2).mean() for k, v in {"model": found, "near": near}.items()}
    mean = ((np.nanmean(holes.mod["rna"].X, axis=0) - x)[hidden] ** 2).mean()
    assert errors["model"] < errors["near"] < mean, (errors, mean)
    assert errors["model"] < 0.25 * mean


def untrained(**keys):
    torch.manual_seed(0)
    module = registry.get("masked_autoencoder")(registry.config_of("masked_autoencoder")(hidden=(8,), **keys), SPEC)
    return module, samples(prepared(linear(n=20, missing=0.1)), SPEC).batch(torch.arange(20))


def test_training_sees_masks_and_evaluation_the_whole_sample():
    module, batch = untrained(dropout=0.0)
    assert not torch.equal(module(batch).z, module(batch).z)
    module.eval()
    torch.testing.assert_close(module(batch).z, module.encode(batch))


def test_the_loss_weighs_masked_and_other_entries():
    """The term is linear in `masked_weight`: what masked entries cost at 1, what the others cost at 0."""
    module, batch = untrained(dropout=0.0)
    terms = {}
    for weight in (0.0, 0.5, 1.0):
        module, _ = untrained(dropout=0.0, masked_weight=weight)
        terms[weight] = module.eval().loss(module(batch), batch, "model", 1.0).terms["recon/rna"]
    output = module.masked(batch, torch.Generator().manual_seed(0))
    cost = output.x_hat["rna"].nll(batch.x["rna"]) * batch.observed["rna"]
    torch.testing.assert_close(terms[1.0], 2 * (cost * output.masked["rna"]).sum() / 20)
    torch.testing.assert_close(terms[0.0], 2 * (cost * ~output.masked["rna"]).sum() / 20)
    torch.testing.assert_close(terms[0.5], (terms[0.0] + terms[1.0]) / 2)


def test_a_masked_entry_reaches_neither_encoder_nor_library_size():
    """With every entry masked there is nothing to go by: two different samples are predicted alike."""
    spec = Spec((Modality("rna", (6,), likelihood="nb", library=50.0),))
    torch.manual_seed(0)
    model = registry.config_of("masked_autoencoder")(latent=2, hidden=(8,), rate=1 - 1e-9)
    module = registry.get("masked_autoencoder")(model, spec).eval()
    x = torch.tensor([[5.0, 0, 1, 2, 9, 4], [70.0, 1, 0, 30, 2, 8]])
    whole = samples(prepared(linear(n=2, widths=[("rna", 6)])), spec).batch(torch.arange(2))
    means = module.masked(type(whole)({"rna": x}, whole.observed, whole.index)).x_hat["rna"].mean
    torch.testing.assert_close(means[0], means[1])
    torch.testing.assert_close(means.sum(1), torch.full((2,), 50.0))


def test_whole_modalities_are_masked_but_never_the_last_one():
    module, batch = untrained(rate=1e-9, whole=0.6)
    output = module.masked(batch, torch.Generator().manual_seed(0))
    gone = torch.stack([output.masked[m].sum(1) == batch.observed[m].sum(1) for m in ("rna", "cnv")])
    assert (gone.any(dim=0)).float().mean() > 0.5
    assert not gone.all(dim=0).any()
    partly = torch.stack([output.masked[m].any(1) for m in ("rna", "cnv")])
    assert torch.equal(partly, gone)


def test_a_modality_that_is_missing_is_predicted_better_after_practice():
    mdata = linear(n=240, noise=0.3)
    train, test = mdata[:180].copy(), mdata[180:].copy()
    truth = test.mod["cnv"].X.copy()
    test.mod["cnv"].X[:] = np.nan
    errors = {}
    for whole in (0.0, 0.4):
        model = ist.MaskedAutoencoder(latent=6, hidden=(32,), norm="none", whole=whole)
        fitted = ist.fit(model, train, training=ist.Training(epochs=80, lr=3e-3, patience=None))
        errors[whole] = ((fitted.impute(test).mod["cnv"].X - truth) ** 2).mean()
    assert errors[0.4] < 0.7 * errors[0.0], errors
