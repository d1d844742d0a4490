"""Private training: clipping, noise, sampling and accounting against what they should be; refusals by name."""

import math
import signal
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from opacus.accountants import RDPAccountant

from cohorts import linear, prepared
from isthmus import VAE, Autoencoder, Training, fit, load, recipe, registry, split
from isthmus.data.batches import samples
from isthmus.errors import RecipeError
from isthmus.report.blocks import Prose
from isthmus.report.private import privacy_section
from isthmus.share.attack import scored, threshold
from isthmus.share.audit_losses import losses
from isthmus.share.audit_report import MEMBERSHIP, Report
from isthmus.training import engine, private
from isthmus.training.checkpoint import Keeper
from isthmus.training.private_steps import Privately, rows
from isthmus.training.settings import Private, hardly_private, upward
from isthmus.types import Modality, Spec

NAMES = registry.names()
SPEC = Spec((Modality("rna", (30,)), Modality("cnv", (20,))))
SMALL = {"latent": 3, "hidden": (16,), "dropout": 0.0}
ALLOWED = ("autoencoder", "dual_autoencoder", "masked_autoencoder", "mosaic_vae", "ontology_vae", "translator", "vae")


def config(name, **keys):
    return registry.config_of(name)(**SMALL, **{"norm": "layer", **keys})


def settings(epochs=4, **keys):
    own = {"epsilon": 8.0, "delta": 1e-4, "secret": False}
    return Training(epochs=epochs, batch_size=32, patience=None, private=Private(**{**own, **keys}))


def built(name, mode="eval", **keys):
    torch.manual_seed(0)
    model = registry.get(name)(config(name, **keys), SPEC)
    return model.train(mode == "train")


def privately(model, players=("model",), lr=0.1, **keys):
    """One phase's steps, with plain gradient descent, over 120 samples."""
    of = settings(**keys)
    plan = private.plan(of, model.phases, 120)
    objective = engine.Objective(model)
    optimizers = {p: torch.optim.SGD(list(model.parameters_of(p)), lr=lr) for p in players}
    return Privately(objective, optimizers, plan, of.private, f"{7:032x}")


def batch_of(mdata, index):
    return samples(prepared(mdata), SPEC).batch(torch.as_tensor(index))


def arguments(player="model"):
    return lambda batch: engine._arguments(batch, player, 0.5)


def looped(model, batch, player="model"):
    """The gradient of every sample as a batch of one, by autograd."""
    every = []
    for i in range(len(batch)):
        one = type(batch)(
            {m: v[i : i + 1] for m, v in batch.x.items()}, {m: v[i : i + 1] for m, v in batch.observed.items()},
            batch.index[i : i + 1],
        )  # fmt: skip
        model.zero_grad()
        model.loss(model(one), one, player, 0.5).total.backward()
        every.append({f"model.{k}": v.grad.clone() for k, v in model.named_parameters() if v.grad is not None})
    return every


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_is_trained_privately_or_refused_by_name_with_a_reason(name):
    mdata = linear(n=60, missing=0.05, absent=6)
    if name in ALLOWED:
        fitted = fit(config(name), mdata, training=settings())
        assert fitted.recipe["privacy"]["epsilon"] <= 8
        assert all(torch.isfinite(p).all() for p in fitted.module.parameters())
        assert len(fitted.history.filter(like="train/").columns)
        return
    with pytest.raises(RecipeError, match=rf"training.private: {type(config(name)).__name__} \w+ .*") as refused:
        fit(config(name), mdata, training=settings())
    assert built(name).unprivate in str(refused.value)
    assert built(name).unprivate != registry.get("vae").__mro__[1].unprivate, "a reason of its own"


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("name", ["autoencoder", "vae", "ontology_vae", "mosaic_vae"])
def test_gradients_of_samples_are_those_of_a_loop(name, one_by_one):
    model = built(name)
    batch = batch_of(linear(missing=0.1, absent=5), range(12))
    steps = privately(model)
    steps.vectorised = False if one_by_one else None
    moving = dict(engine.Objective(model).named_parameters())
    found, terms, _ = steps.gradients(moving, rows(batch, slice(0, 12)), arguments())
    expected = looped(model, batch)
    for i, gradient in enumerate(expected):
        for k, v in gradient.items():
            torch.testing.assert_close(found[k][i], v, rtol=1e-3, atol=1e-4)
    assert steps.vectorised is not one_by_one
    assert terms["total"].shape == (12,)


@pytest.mark.parametrize("name", ["autoencoder", "vae", "ontology_vae", "mosaic_vae", "dual_autoencoder"])
def test_losses_of_single_samples_average_to_that_of_the_batch(name):
    """What `unprivate = ""` claims: no term of the loss looks at two samples."""
    model = built(name)
    batch = batch_of(linear(), range(16))
    steps = privately(model)
    found, _, _ = steps.gradients(
        dict(engine.Objective(model).named_parameters()), rows(batch, slice(0, 16)), arguments()
    )
    model.loss(model(batch), batch, "model", 0.5).total.backward()
    for k, v in model.named_parameters():
        torch.testing.assert_close(found[f"model.{k}"].mean(dim=0), v.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("most", [2**26, 4 * 3000])
def test_a_step_is_the_clipped_sum_over_the_expected_size(most, monkeypatch):
    """Without noise, by hand; in one piece, and in pieces of some samples each."""
    monkeypatch.setattr("isthmus.training.private_steps.MOST_NUMBERS", most)
    model = built("autoencoder")
    before = {k: v.clone() for k, v in model.named_parameters()}
    steps = privately(model, clip=2.0)
    steps.optimizers["model"].noise_multiplier = 0.0
    batch = batch_of(linear(), range(10))
    clipped = []
    for gradient in looped(model, batch):
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradient.values()))
        clipped.append({k: g * min(1.0, 2.0 / norm) for k, g in gradient.items()})
    steps.learn("model", batch, arguments(), at=(0, 0, 0))
    steps.optimizers["model"].step()
    for k, v in model.named_parameters():
        expected = before[k] - 0.1 * sum(c[f"model.{k}"] for c in clipped) / 32
        torch.testing.assert_close(v.detach(), expected.detach(), rtol=1e-3, atol=1e-5)


def test_noise_is_that_of_the_accountant_also_where_no_sample_was_drawn():
    """An empty batch moves every weight by N(0, (lr sigma C / expected)^2); a step has its own noise."""
    model = built("autoencoder")
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    steps, drawn = privately(model, lr=1.0, clip=3.0), []
    for step in (0, 1):
        steps.learn("model", None, arguments(), at=(0, 0, step))
        steps.optimizers["model"].step()
        after = torch.cat([p.detach().flatten() for p in model.parameters()])
        moved, before = (after - before).numpy(), after
        assert moved.std() == pytest.approx(steps.plan.noise * 3.0 / 32, rel=0.06)
        assert abs(moved.mean()) < 4 * moved.std() / math.sqrt(len(moved))
        drawn.append(moved)
    assert abs(np.corrcoef(*drawn)[0, 1]) < 0.1


def test_batches_are_poisson_samples_and_may_be_empty():
    steps = privately(built("autoencoder"))
    drawn = [b for epoch in range(400) for b in steps.batches(120, 0, epoch)]
    sizes = np.array([len(b) for b in drawn])
    rate = 32 / 120
    assert sizes.mean() == pytest.approx(32, rel=0.02)
    assert sizes.var() == pytest.approx(120 * rate * (1 - rate), rel=0.15)
    assert all(len(set(b.tolist())) == len(b) for b in drawn[:50])
    few = fit(Autoencoder(**SMALL), linear(n=4), training=Training(
        epochs=6, batch_size=1, patience=None, private={"epsilon": 8, "delta": 0.01, "secret": False}))  # fmt: skip
    assert few.recipe["privacy"]["steps"] == 24


def test_epsilon_told_is_that_of_the_accountant_and_within_the_budget():
    fitted = fit(VAE(**SMALL), linear(), training=settings(epochs=5, epsilon=3.0))
    found = fitted.recipe["privacy"]
    accountant = RDPAccountant()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(found["steps"]):
            accountant.step(noise_multiplier=found["noise_multiplier"], sample_rate=found["sample_rate"])
        expected = accountant.get_epsilon(1e-4)
    assert found["epsilon"] == pytest.approx(expected, rel=1e-9)
    assert 2.9 < found["epsilon"] <= 3.0
    assert found["steps"] == 5 * math.ceil(120 / 32)
    assert fitted.history["epsilon"].iloc[-1] == pytest.approx(found["epsilon"])
    assert fitted.history["epsilon"].is_monotonic_increasing
    assert float(upward(found["epsilon"])) >= found["epsilon"] > float(upward(found["epsilon"])) - 1e-3
    assert [upward(7.9912), upward(8.0, 2), upward(0.0)] == ["7.992", "8.00", "0.000"]
    assert "scalers" in found["not_covered"][1]
    assert any("mean and standard deviation" in line and "discrete time" in line for line in found["not_covered"])


@pytest.mark.parametrize("stop_at", [1, 6, 9])
@pytest.mark.parametrize("secret", [False, True])
def test_an_interrupted_training_goes_on_to_the_same_weights_and_epsilon(stop_at, secret, tmp_path, monkeypatch):
    monkeypatch.setattr(private.secrets, "randbits", lambda bits: 2**100 + 7)
    mdata, valid = linear(missing=0.05, absent=10), linear(n=30, seed=1)
    of = settings(epochs=4, secret=secret)
    whole = fit(VAE(**SMALL), mdata, valid, training=of)
    calls = iter(range(10**6))
    keeper = Keeper(tmp_path, 1, stop=lambda: signal.SIGTERM if next(calls) >= stop_at else None)
    with pytest.raises(engine.InterruptedTraining):
        fit(VAE(**SMALL), mdata, valid, training=of, keeper=keeper)
    monkeypatch.setattr(private.secrets, "randbits", lambda bits: 5)  # the secret is the checkpoint's
    resumed = fit(VAE(**SMALL), mdata, valid, training=of, keeper=Keeper(tmp_path, 1, resume=True))
    for k, v in whole.module.state_dict().items():
        assert torch.equal(v, resumed.module.state_dict()[k])
    assert resumed.history.equals(whole.history)
    assert resumed.recipe["privacy"] == whole.recipe["privacy"]


def test_secret_noise_differs_between_runs_and_is_not_kept(tmp_path):
    mdata = linear(n=60)
    runs = [fit(Autoencoder(**SMALL), mdata, training=settings(secret=True)) for _ in range(2)]
    one, other = (torch.cat([p.flatten() for p in r.module.parameters()]) for r in runs)
    assert not torch.equal(one, other)
    runs[0].save(tmp_path / "model")
    assert '"secret": "' not in (tmp_path / "model" / "model.json").read_text(encoding="utf-8")
    assert load(tmp_path / "model").recipe["privacy"] == runs[0].recipe["privacy"]
    seeded = [fit(Autoencoder(**SMALL), mdata, training=settings()) for _ in range(2)]
    one, other = (torch.cat([p.flatten() for p in r.module.parameters()]) for r in seeded)
    assert torch.equal(one, other)


def test_what_a_loss_in_one_piece_does_not_allow_is_done_one_by_one():
    """A mixture draws its component by `multinomial`, which cannot be vectorised: the same gradients, slower."""
    fitted = fit(config("mosaic_vae", experts="mixture"), linear(n=60), training=settings())
    assert np.isfinite(fitted.history["train/total"]).all()


@pytest.mark.parametrize(
    ("model", "keys", "text"),
    [
        (VAE(divergence="mmd"), {}, "VAE with divergence mmd compares the samples"),
        (registry.config_of("masked_autoencoder")(corruption="swap"), {}, "corruption swap puts entries of other"),
        (Autoencoder(norm="batch"), {}, "batch normalisation mixes"),
        (Autoencoder(), {"private": {"delta": 0.02}}, r"private.delta: .* wanted well below 1 / n = 0.017"),
        (
            Autoencoder(),
            {"private": {"epsilon": 1e-7}},
            r"private.epsilon: no noise keeps to it; .* above 0\.1\d, the least that the accountant tells",
        ),
        (Autoencoder(), {"strategy": "ddp"}, "is for one device"),
        (Autoencoder(), {"precision": "bf16-mixed"}, "is for one device and whole precision"),
    ],
)
def test_settings_that_mix_samples_are_refused_by_name(model, keys, text):
    with pytest.raises(RecipeError, match=text):
        fit(model, linear(n=60), training={"epochs": 1, "patience": None, "private": {}, **keys})


def test_heads_and_penalties_are_refused_where_they_compare_samples_and_trained_where_not():
    mdata = linear(n=60)
    mdata.obs["time"], mdata.obs["event"] = np.arange(1.0, 61), 1
    mdata.obs["site"] = np.where(np.arange(60) % 2, "a", "b")
    cox = {"os": {"kind": "cox", "time": "time", "event": "event"}}
    with pytest.raises(RecipeError, match=r"Cox head 'os' compares"):
        fit(Autoencoder(**SMALL), mdata, training=settings(), heads=cox)
    with pytest.raises(RecipeError, match=r"penalty 'hsic' on confounders"):
        fit(Autoencoder(**SMALL), mdata, training=settings(), confounders={"columns": ["site"], "method": ["hsic"]})
    with pytest.raises(RecipeError, match=r"balanced: true of head 'kind' weighs the classes"):
        fit(Autoencoder(**SMALL), mdata, training=settings(), heads={"kind": {"kind": "class", "balanced": True}})
    both = {"kind": {"kind": "class"}, "os": {"kind": "discrete", "time": "time", "event": "event", "bins": 3}}
    found = fit(Autoencoder(**SMALL), mdata, training=settings(), heads=both,
                confounders={"columns": ["site"], "method": ["conditional"]})  # fmt: skip
    assert {"train/head/kind", "train/head/os"} <= set(found.history.columns) or found.history.filter(like="os").size


def test_few_samples_are_warned_about_in_numbers(caplog):
    fit(Autoencoder(**SMALL), linear(n=21), training=settings())
    assert "private training of 21 samples: sample rate 1.000, 4 steps, noise multiplier" in caplog.text
    assert "times the largest signal" in caplog.text
    assert "next to nothing" not in caplog.text


def test_an_epsilon_that_promises_nothing_is_said_in_log_report_and_audit(caplog):
    private.begin(built("autoencoder"), settings(epochs=1, epsilon=1e6), 50)
    assert "a larger epsilon" not in caplog.text
    assert "training.private.epsilon: epsilon 1e+06 promises next to nothing" in caplog.text
    assert [hardly_private(e) for e in (0.5, 8.0, 10.0)] == ["", "", ""]
    with pytest.raises(RecipeError, match=r"training.private.epsilon: [\s\S]*wanted at most"):
        recipe.parse_recipe(
            {"data": {"simulate": {}}, "model": {"name": "vae"}, "training": {"private": {"epsilon": 1e300}}}
        )
    for epsilon, weak in ((8.0, False), (10.5, True)):
        spent = {"epsilon": epsilon, "delta": 1e-5, "not_covered": ["a"]}
        blocks = privacy_section(spent).blocks
        assert [b.text for b in blocks if isinstance(b, Prose)] == (
            [f"E{hardly_private(epsilon)[1:]}."] if weak else []
        )
        rows = pd.DataFrame([["threshold", "this model", 0.7, 0.6, 0.8, 0.1, 0.0, 0.2, 9, 9]], columns=MEMBERSHIP)
        found = Report("m", 9, 9, 2, 0, rows, pd.DataFrame(), pd.DataFrame(), {}, {}, privacy=spent)
        words = " ".join(found.words)
        assert ("promises next to nothing" in words) == weak
        assert ("bounds what any attack" in words) != weak
        assert any("epsilon up to 10" in r for r in found.remedies) == weak


def test_privacy_keeps_an_overfitted_model_from_telling_its_samples():
    mdata = linear(n=120, widths=(("rna", 60),), noise=1.0)
    train, other = split(mdata, (0.5, 0.5), seed=0)
    model, told = Autoencoder(latent=20, hidden=(48,), dropout=0.0), {}
    base = {"epochs": 45, "batch_size": 30, "lr": 5e-3, "patience": None}
    for name, keys in (("plain", None), ("private", {"epsilon": 8, "delta": 1e-3, "secret": False})):
        fitted = fit(model, train, training={**base, "private": keys})
        score = threshold(np.vstack([losses(fitted, part) for part in (train, other)]))
        member = np.r_[np.ones(60, dtype=bool), np.zeros(60, dtype=bool)]
        told[name] = scored(member, score, resamples=50).auc[0]
    assert told["plain"] > 0.8
    assert told["private"] < 0.6
