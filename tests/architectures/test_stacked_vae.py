"""Parts are frozen in the second phase, and no modality drowns another by its scale."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

import isthmus as ist
from cohorts import linear, prepared
from isthmus import registry
from isthmus.data.batches import samples
from isthmus.training import engine
from isthmus.types import Modality, Spec

SPEC = Spec((Modality("rna", (30,)), Modality("cnv", (20,))))


def r2(z, factors):
    return LinearRegression().fit(z, factors).score(z, factors)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_a_phase_leaves_the_other_ones_weights_and_statistics_alone(norm):
    torch.manual_seed(0)
    model = registry.get("stacked_vae")(registry.config_of("stacked_vae")(latent=3, hidden=(16,), norm=norm), SPEC)
    seen = []

    def state():
        return {k: v.clone() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}

    def watch(row):
        now = state()
        for k, v in now.items():
            moved = not torch.equal(v, last[k])
            if k.startswith("parts"):
                assert not (moved and row["phase"] == "joint"), k
            elif not k.endswith(("running_mean", "running_var")):
                assert not (moved and row["phase"] == "parts"), k
        seen.append(row["phase"])
        last.update(now)

    last = state()
    data = samples(prepared(linear()), SPEC)
    engine.fit(engine.Job(model, data, None, ist.Training(epochs=6, patience=None), watch=watch))
    assert seen == ["parts"] * 3 + ["joint"] * 3


def test_a_badly_scaled_modality_does_not_drown_the_other():
    """Each modality has factors of its own; one table is thirty times the other, unscaled."""
    a, b = linear(n=300, widths=[("a", 30)], d=2, seed=1), linear(n=300, widths=[("b", 30)], d=6, seed=2)
    b.mod["b"].X *= 30
    tables = {"a": a.mod["a"], "b": b.mod["b"]}
    found = {}
    for model in (ist.StackedVAE(latent=4, hidden=(32,)), ist.VAE(latent=4, hidden=(32,))):
        fitted = ist.fit(
            model.model_copy(update={"dropout": 0.0}), tables, prepare={m: [] for m in tables},
            training=ist.Training(epochs=120, lr=5e-3, patience=None),
        )  # fmt: skip
        found[type(model).__name__] = r2(fitted.embed(tables).X, a.uns["factors"])
    assert found["StackedVAE"] > max(0.7, found["VAE"]), found


def test_error_of_the_means_counts_each_modality_alike_and_absent_ones_not_at_all():
    torch.manual_seed(0)
    model = registry.get("stacked_vae")(registry.config_of("stacked_vae")(latent=3, hidden=(16,)), SPEC).eval()
    batch = samples(prepared(linear(absent=20)), SPEC).batch(torch.arange(120))
    output = model(batch)
    loss = model.loss(output, batch, "joint", 1.0)
    for m, y in zip(SPEC.names, model.joint.expected(output.z), strict=True):
        apart = (output.posteriors[f"z/{m}"].mean - y)[batch.present(m)].square()
        variance = output.posteriors[f"z/{m}"].mean[batch.present(m)].var(0, correction=0).mean()
        torch.testing.assert_close(loss.terms[f"means/{m}"], apart.sum(1).mean() / variance)
        assert loss.weights[f"means/{m}"] * y.shape[1] == pytest.approx(25)


def test_widths_of_the_parts():
    spec = Spec((Modality("wide", (4000,)), Modality("small", (20,))))
    kind, settings = registry.get("stacked_vae"), registry.config_of("stacked_vae")
    assert kind(settings(latent=4, cap=100), spec).joint.widths == (100, 4)
    assert kind(settings(latent=4), spec).joint.widths == (500, 4)
    assert kind(settings(latent=4, parts=7), spec).joint.widths == (7, 7)


def test_reconstruction_goes_through_both_layers():
    mdata = linear(n=200)
    fitted = ist.fit(
        ist.StackedVAE(latent=3, hidden=(32,), dropout=0.0), mdata,
        training=ist.Training(epochs=120, lr=5e-3, patience=None),
    )  # fmt: skip
    x, x_hat = mdata.mod["rna"].X, fitted.reconstruct(mdata).mod["rna"].X
    assert 1 - ((x - x_hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum() > 0.7
    assert np.isfinite(fitted.embed(mdata, source="cnv").X).all()
