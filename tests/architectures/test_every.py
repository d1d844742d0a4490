"""What every architecture must do; a new file in `architectures/` is covered by being there."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from cohorts import counts, linear, prepared
from isthmus import fit, load, registry, simulate
from isthmus.data.batches import samples
from isthmus.errors import NonFiniteLossError, RecipeError
from isthmus.recipe import parse_recipe
from isthmus.training.checkpoint import Keeper
from isthmus.training.engine import InterruptedTraining, Job
from isthmus.training.engine import fit as train
from isthmus.training.settings import Training
from isthmus.types import Modality, Spec
from isthmus.yaml_text import load_yaml

NAMES = registry.names()
SMALL = {"latent": 3, "hidden": (16,), "dropout": 0.1}
QUICK = Training(epochs=6, batch_size=32, patience=None)


def config(name, **keys):
    return registry.config_of(name)(**{**SMALL, **keys})


def fewest(name):
    return registry.get(name).modalities[0]


def training(name, epochs):
    """So many epochs a phase."""
    return Training(epochs=epochs * len(registry.get(name).phases), lr=5e-3, patience=None)


def takes(name, number):
    low, high = registry.get(name).modalities
    return low <= number and (high is None or number <= high)


def column(history, name):
    """A term over the epochs of the phases that have it."""
    return history[name].dropna()


def unopposed(name, rows):
    """The loss over the epochs of a phase under its last weights, without the terms that players pull both ways."""
    last = rows.filter(like="weight/").dropna(axis=1, how="all").iloc[-1]
    terms = {c: c.removeprefix("weight/") for c in last.index}
    return sum(w * rows[f"train/{terms[c]}"] for c, w in last.items() if terms[c] not in registry.get(name).opposed)


def weights(fitted):
    return {k: v.numpy().tobytes() for k, v in fitted.module.state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
def test_settings_without_torch_are_the_settings(name):
    light, real = registry.settings(name).model_fields, registry.config_of(name).model_fields
    assert {k: (f.annotation, f.default, f.metadata) for k, f in light.items()} == {
        k: (f.annotation, f.default, f.metadata) for k, f in real.items()
    }
    assert registry.name_of(registry.settings(name)()) == registry.name_of(registry.config_of(name)()) == name


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_documented(name):
    assert [k for k, f in registry.settings(name).model_fields.items() if not f.description] == []


def test_keys_are_documented_whichever_of_module_and_settings_comes_first():
    code = (
        "from isthmus import registry\nregistry.module_of('vae')\n"
        "print([k for k, f in registry.settings('vae').model_fields.items() if not f.description])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", NAMES)
def test_documents_its_formula_and_source(name):
    text = registry.module_of(name).__doc__
    assert "Departures" in text
    assert "arXiv:" in text or "doi:" in text


@pytest.mark.parametrize("name", NAMES)
def test_reconstruction_falls_in_training_on_one_two_and_three_modalities(name):
    for widths in ([("a", 20)], [("a", 20), ("b", 12)], [("a", 20), ("b", 12), ("c", 8)]):
        mdata = linear(widths=widths)
        if not takes(name, len(widths)):
            with pytest.raises(RecipeError, match=r"does not take this number of modalities"):
                fit(config(name, dropout=0.0), mdata, training=QUICK)
            continue
        fitted = fit(config(name, dropout=0.0), mdata, training=training(name, 40))
        for m, _ in widths:
            losses = column(fitted.history, f"train/recon/{m}")
            assert losses.iloc[-1] < 0.6 * losses.iloc[0], (widths, m)
        for phase, rows in fitted.history.groupby("phase", sort=False):
            total = unopposed(name, rows)
            assert total.iloc[-1] < total.iloc[0], (widths, phase)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_may_be_among_the_modalities(name):
    if not takes(name, 2):
        pytest.skip("it takes one modality")
    mdata = simulate(n=64, modalities={"rna": 12}, images=9, absent={"image": 0.1}, seed=0)
    fitted = fit(config(name, dropout=0.0, channels=4), mdata, training=training(name, 15))
    losses = column(fitted.history, "train/recon/image")
    assert losses.iloc[-1] < 0.9 * losses.iloc[0]
    assert any(isinstance(part, torch.nn.Conv2d | torch.nn.ConvTranspose2d) for part in fitted.module.modules())
    pictures = fitted.reconstruct(mdata).mod["image"].obsm["image"]
    assert pictures.shape == (64, 9, 9, 1)
    assert ((pictures >= 0) & (pictures <= 1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_in_one_player_and_moves(name):
    mdata = linear()
    spec = Spec((Modality("rna", (30,)), Modality("cnv", (20,))))
    torch.manual_seed(0)
    model = registry.get(name)(config(name), spec)
    players = {p for phase in model.phases for p in phase.players}
    owned = [id(v) for p in players for v in model.parameters_of(p)]
    assert sorted(owned) == sorted(id(v) for v in model.parameters())
    before = {k: v.clone() for k, v in model.named_parameters()}
    train(Job(model, samples(prepared(mdata), spec), None, QUICK))
    assert [k for k, v in model.named_parameters() if torch.equal(v, before[k])] == []


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes(name, tmp_path):
    mdata = linear(missing=0.1, absent=10)
    for k in "ab":
        fit(config(name), mdata, training=QUICK).save(tmp_path / k)
    other = fit(config(name), mdata, training=Training(epochs=6, batch_size=32, patience=None, seed=1))
    a, b = (tmp_path / k / "weights.safetensors" for k in "ab")
    assert a.read_bytes() == b.read_bytes()
    assert weights(other) != weights(load(tmp_path / "a"))


@pytest.mark.parametrize("name", NAMES)
def test_embed_is_deterministic_and_survives_the_directory(name, tmp_path):
    mdata = linear(missing=0.1, absent=10)
    fitted = fit(config(name), mdata, training=QUICK)
    first = fitted.embed(mdata).X
    np.testing.assert_array_equal(first, fitted.embed(mdata).X)
    fitted.save(tmp_path / "here" / "model")
    (tmp_path / "here").rename(tmp_path / "there")
    loaded = load(tmp_path / "there" / "model")
    np.testing.assert_array_equal(first, loaded.embed(mdata).X)
    assert weights(loaded) == weights(fitted)
    assert loaded.history.equals(fitted.history)


@pytest.mark.parametrize("name", NAMES)
def test_yaml_round_trip(name):
    tree = {"data": {"simulate": {"n": 50, "modalities": {"a": 10}}}, "model": {"name": name, "latent": 5}}
    recipe = parse_recipe(tree)
    assert parse_recipe(load_yaml(recipe.text(), "recipe.yaml")).text() == recipe.text()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_hidden_reaches_neither_loss_nor_output(name):
    mdata = linear(n=16, missing=0.2, absent=4)
    spec = Spec((Modality("rna", (30,)), Modality("cnv", (20,))))
    model = registry.get(name)(config(name), spec).eval()
    batch = samples(prepared(mdata), spec).batch(torch.arange(16))
    noise = {
        m: torch.where(o.expand_as(batch.x[m]), batch.x[m], torch.full_like(batch.x[m], 1e3))
        for m, o in batch.observed.items()
    }
    tampered = type(batch)(noise, batch.observed, batch.index)
    output = model(batch)
    for phase in model.phases:
        for player in phase.players:
            torch.manual_seed(0)
            honest = model.loss(output, batch, player, 1.0)
            torch.manual_seed(0)
            assert honest.total == model.loss(output, tampered, player, 1.0).total
    assert all((v[~o.expand_as(v)] == 0).all() for v, o in zip(batch.x.values(), batch.observed.values(), strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stop_at", [1, 7, 11])
def test_interrupted_and_resumed_is_bit_identical(name, stop_at, tmp_path):
    mdata = linear(missing=0.05, absent=10)
    valid = linear(n=30, seed=1)
    settings = Training(epochs=5, batch_size=32, patience=3)
    whole = fit(config(name), mdata, valid, training=settings)
    calls = iter(range(10**6))
    keeper = Keeper(tmp_path, 1, stop=lambda: signal.SIGTERM if next(calls) >= stop_at else None)
    with pytest.raises(InterruptedTraining) as stopped:
        fit(config(name), mdata, valid, training=settings, keeper=keeper)
    assert stopped.value.exit_code == 143
    resumed = fit(config(name), mdata, valid, training=settings, keeper=Keeper(tmp_path, 1, resume=True))
    assert weights(resumed) == weights(whole)
    assert resumed.history.equals(whole.history)


@pytest.mark.parametrize("name", NAMES)
def test_non_finite_loss_names_phase_epoch_step_and_term(name):
    with pytest.raises(NonFiniteLossError, match=r"phase '.*', epoch 0, step \d+.* not finite"):
        fit(
            config(name, norm="none"), linear(), training=Training(epochs=3, lr=1e30, gradient_clip=None, patience=None)
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("likelihood", ["poisson", "nb", "zinb"])
def test_counts(name, likelihood):
    mdata = counts(beside=fewest(name) - 1)
    fitted = fit(config(name), mdata, likelihood={"rna": likelihood}, training=training(name, 150))
    losses = column(fitted.history, "train/recon/rna")
    assert losses.iloc[-1] < losses.iloc[0]
    x, x_hat = mdata.mod["rna"].X, fitted.reconstruct(mdata).mod["rna"].X
    assert (x_hat >= 0).all()
    if likelihood != "zinb":
        np.testing.assert_allclose(x_hat.sum(1), x.sum(1), rtol=1e-3)
    assert np.corrcoef(np.log1p(x).ravel(), np.log1p(x_hat).ravel())[0, 1] > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_bernoulli_means_are_probabilities(name):
    mdata = linear(widths=[("mut", 12), ("b", 10), ("c", 8)][: fewest(name)])
    mdata.mod["mut"].X = (mdata.mod["mut"].X > 0).astype(np.float32)
    fitted = fit(config(name), mdata, prepare={"mut": []}, likelihood={"mut": "bernoulli"}, training=training(name, 60))
    p = fitted.reconstruct(mdata).mod["mut"].X
    assert ((p >= 0) & (p <= 1)).all()
    assert p[mdata.mod["mut"].X == 1].mean() > p[mdata.mod["mut"].X == 0].mean() + 0.3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["layer", "batch", "none"])
def test_every_norm_trains_with_a_last_batch_of_one(name, norm):
    history = fit(
        config(name, norm=norm), linear(n=33), training=Training(epochs=3, batch_size=32, patience=None)
    ).history
    for _, rows in history.groupby("phase"):
        assert np.isfinite(rows.drop(columns="phase").dropna(axis=1, how="all").to_numpy(float)).all()


@pytest.mark.parametrize("name", NAMES)
def test_unknown_key_names_the_nearest(name):
    with pytest.raises(RecipeError, match="'latent'"):
        registry.settings(name)(latnet=3)


@pytest.mark.parametrize("name", NAMES)
def test_heads_and_told_decoders(name, tmp_path):
    mdata = linear(n=90, widths=[("rna", 20), ("cnv", 12), ("adt", 8)][: max(2, fewest(name))])
    away = np.random.default_rng(0).random(90) < 0.5
    shift = np.linspace(-2, 2, 20)
    mdata.mod["rna"].X = (mdata.mod["rna"].X + away[:, None] * shift).astype(np.float32)
    mdata.obs = mdata.obs.assign(site=np.where(away, "b", "a"), months=1.0 + np.arange(90), dead=np.arange(90) % 3 > 0)
    heads = {"kind": {"kind": "class", "weight": 1}, "os": {"kind": "cox", "time": "months", "event": "dead"}}
    keys = {"heads": heads, "confounders": {"columns": ["site"], "method": ["conditional", "correlation"]}}
    fitted = fit(config(name, dropout=0.0), mdata, **keys, training=training(name, 25))
    said = fitted.predict(mdata)
    assert (said["kind/high"].gt(0.5) == (mdata.obs["kind"] == "high")).mean() > 0.8
    assert {"train/head/kind", "train/head/os", "train/correlation/site"} <= set(fitted.history)
    there = mdata.copy()
    there.obs["site"] = "b"
    np.testing.assert_array_equal(fitted.embed(there).X, fitted.embed(mdata).X)
    moved = (fitted.reconstruct(there)["rna"].X - fitted.reconstruct(mdata)["rna"].X)[~away].mean(axis=0)
    assert np.corrcoef(moved, shift)[0, 1] > 0.7
    fitted.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict(there), said)
