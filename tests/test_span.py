"""The step `span`: in the samples' span as at full width, and by name where that would not be so."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from cohorts import table
from isthmus import assess, fit, load, registry
from isthmus.cli import main
from isthmus.data.cohort import build as cohort_of
from isthmus.errors import InputError
from isthmus.fitted import Fitted
from isthmus.nn.outer import features_of
from isthmus.prepare.preparation import Preparation
from isthmus.prepare.span import Span
from isthmus.training.optimizers import REDUCIBLE, build
from isthmus.training.settings import Training
from isthmus.types import Batch, Modality, Spec

N, P, STEPS, SIZE = 14, 240, 250, 7
RATES = {"sgd": 0.03, "rowwise_adam": 3e-3, "muon": 3e-3, "adam": 3e-3}
MODELS = {
    "autoencoder": {"latent": 4, "hidden": (24, 12), "norm": "layer", "dropout": 0.1},
    "vae": {"latent": 4, "hidden": (24,), "beta": 0.1, "divergence": "mmd", "dropout": 0.0},
    "dual_autoencoder": {"latent": 4, "hidden": (24, 12), "dropout": 0.1},
}


def values(n=N, p=P, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, p)) + 0.3 * rng.normal(size=(n, p)) + rng.normal(size=p)


@pytest.fixture(scope="module")
def span():
    return Span().fit(values(), pd.Index([f"g{i}" for i in range(P)], dtype=object))


def module(name, units, seed=0):
    """In float64; at full width where `units` is the number of features."""
    torch.manual_seed(seed)
    spec = Spec((Modality("rna", (P,), coordinates=units),))
    return registry.get(name)(registry.config_of(name)(**MODELS[name]), spec).double()


def widened(small, name, span):
    """The network of full width that starts where `small` does: first weights A V', last V B."""
    wide, v = module(name, P, seed=1), torch.from_numpy(span.basis_)
    state = dict(small.state_dict())
    for key, p in wide.named_parameters():
        if (features := features_of(p)) is not None:
            state[key] = state[key] @ v.T if features.axis else v @ state[key]
    wide.load_state_dict(state)
    return wide


def batch(x, rows):
    return Batch({"rna": x[rows]}, {"rna": torch.ones(len(rows), 1, dtype=torch.bool)}, rows)


def trained(model, x, optimizer, *, steps=STEPS):
    """So many steps on batches of half the samples, every draw the same for either width; the loss at both ends."""
    settings = Training(optimizer=optimizer, lr=RATES[optimizer], weight_decay=0.01)
    moving, losses = build(settings, model.parameters()), []
    draw = torch.Generator().manual_seed(5)
    torch.manual_seed(6)
    for step in range(steps):
        for group in moving.param_groups:
            group["lr"] = settings.lr * (1 - step / steps)
        some = batch(x, torch.randperm(N, generator=draw)[:SIZE])
        loss = model.train().loss(model(some), some, "model", 1.0).total
        losses.append(loss.item())
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        moving.step()
    return np.mean(losses[:10]), np.mean(losses[-10:])


@torch.no_grad()
def reconstructed(model, x):
    return model.eval()(batch(x, torch.arange(len(x)))).x_hat["rna"].mean.numpy()


def both(name, span, optimizer):
    """Trained in the span and at full width from one start: loss at both ends, reconstructions, and the models."""
    small = module(name, span.width)
    wide = widened(small, name, span)
    c, x = torch.from_numpy(span.coordinates(values())[0]), torch.from_numpy(values() - span.mean_)
    ends = trained(small, c, optimizer), trained(wide, x, optimizer)
    return ends, (span.features(reconstructed(small, c)), reconstructed(wide, x) + span.mean_), (small, wide)


PAIRS = [("autoencoder", o) for o in REDUCIBLE] + [(m, "rowwise_adam") for m in ("vae", "dual_autoencoder")]


@pytest.mark.parametrize(("name", "optimizer"), [*PAIRS, ("dual_autoencoder", "muon")])
def test_hundreds_of_steps_in_the_span_are_those_of_full_width(name, optimizer, span):
    ends, (near, far), (small, wide) = both(name, span, optimizer)
    assert ends[0][1] < 0.8 * ends[0][0]
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-9)
    np.testing.assert_allclose(near, far, rtol=0, atol=1e-9)
    first, full = (next(p for p in m.parameters() if p.ndim == 2).detach().numpy() for m in (small, wide))
    np.testing.assert_allclose(span.directions(first), full, rtol=0, atol=1e-9)


def test_adam_by_element_leaves_the_span(span):
    ends, (near, far), _ = both("autoencoder", span, "adam")
    assert ends[0][1] < 0.8 * ends[0][0]
    assert np.abs(near - far).max() > 0.01


@pytest.fixture(scope="module")
def parts():
    """Two modalities of 18 and 6 samples; the last test sample lacks entries of one and the whole other."""
    x, y = values(24, 60), values(24, 35, seed=1)
    x[23, :20] = np.nan
    ids = [f"s{i:02d}" for i in range(24)]
    whole = cohort_of({"rna": table(x, ids, "g"), "met": table(y[:23], ids[:23], "m")})
    return {"train": whole[:18].copy(), "test": whole[18:].copy()}


QUICK = Training(epochs=40, lr=3e-3, optimizer="rowwise_adam", patience=None)
STEPS_OF = {"rna": ["standardise", "span"], "met": ["standardise", "span"]}


@pytest.fixture(scope="module")
def fitted(parts):
    config = registry.config_of("autoencoder")(latent=3, hidden=(16,), dropout=0.0)
    return fit(config, parts["train"], parts["test"], prepare=STEPS_OF, training=QUICK)


@pytest.fixture(scope="module")
def twin(fitted, parts):
    """The same model at full width: V multiplied into the outer weights, and nothing reduced."""
    steps = {m: ["standardise", {"span": False}] for m in fitted.spec.names}
    preparation = Preparation.parse(steps, list(steps)).fit(parts["train"])
    spec = Spec(tuple(Modality(m.name, m.shape, features=m.features, coordinates=m.width) for m in fitted.spec))
    wide = registry.get("autoencoder")(fitted.module.config, spec)
    v = {m: torch.from_numpy(fitted.preparation[m].span.basis_).float() for m in spec.names}
    state, both_of = dict(fitted.module.state_dict()), torch.block_diag(v["rna"], v["met"])
    for key, p in wide.named_parameters():
        if (features := features_of(p)) is not None:
            state[key] = (
                state[key] @ both_of.T if features.axis else v["rna" if features.number == 60 else "met"] @ state[key]
            )
    wide.load_state_dict(state)
    return Fitted(wide.eval(), preparation, fitted.recipe, fitted.history, fitted.moments)


def test_what_a_fitted_model_says_is_what_full_width_says(fitted, twin, parts):
    assert fitted.spec["rna"].units == 17 < fitted.spec["rna"].width == 60
    np.testing.assert_allclose(fitted.embed(parts["test"]).X, twin.embed(parts["test"]).X, atol=1e-5)
    for m in ("rna", "met"):
        np.testing.assert_allclose(fitted.means(parts["test"])[m], twin.means(parts["test"])[m], atol=1e-5)
        a, b = (f.reconstruct(parts["test"]).mod[m] for f in (fitted, twin))
        assert list(a.var_names) == list(b.var_names)
        np.testing.assert_allclose(a.X, b.X, atol=1e-4)
    a, b = (f.translate(parts["test"], "rna", "met").X for f in (fitted, twin))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_scores_have_the_error_outside_the_span(fitted, twin, parts):
    found, wide = (assess.measure(f, parts, [], learners=(), baselines=()) for f in (fitted, twin))
    scores, full = (f.reconstruction.select_dtypes("number").to_numpy() for f in (found, wide))
    np.testing.assert_allclose(scores, full, rtol=1e-4, atol=1e-4)
    rows = found.reconstruction.set_index(["modality", "split", "representation"])
    prepared = fitted.preparation.transform(parts["test"])["met"]
    x, x_hat = prepared.x[:5].astype(np.float64), fitted.means(parts["test"])["met"][:5].astype(np.float64)
    c, outside = prepared.span.coordinates(x)
    c_hat = prepared.span.coordinates(x_hat)[0]
    by_parts = ((c - c_hat) ** 2).sum(axis=1) + outside
    np.testing.assert_allclose(((x - x_hat) ** 2).sum(axis=1), by_parts, rtol=1e-5)
    assert rows.loc[("met", "test", "Autoencoder"), "mse"] == pytest.approx(by_parts.sum() / (5 * 35), rel=1e-5)
    assert outside.min() > 0.5


def test_the_validation_loss_is_that_of_full_width(fitted, twin, parts):
    row = fitted.history.iloc[-1]
    x, x_hat = (
        v["met"][:5] for v in ({"met": twin.preparation.transform(parts["test"])["met"].x}, fitted.means(parts["test"]))
    )
    assert row["valid/recon/met"] == pytest.approx(((x - x_hat) ** 2).sum() / 5, rel=1e-4)
    assert row["weight/recon/met"] * 2 * 35 == pytest.approx(1)
    train = fitted.preparation.transform(parts["train"])["rna"].reduced()[1]
    assert train.max() < 1e-9


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"absolute": True},
        {"units": "original", "per": "sd"},
        {"method": "integrated_gradients"},
        {"method": "deeplift", "absolute": False, "source": "rna"},
    ],
)
def test_what_dimensions_stand_for_is_told_by_feature(fitted, twin, parts, how):
    if "method" in how:
        pytest.importorskip("captum")
    found, wide = (f.explain(parts["train"], **how) for f in (fitted, twin))
    assert list(found.index) == list(wide.index)
    np.testing.assert_allclose(found.to_numpy(), wide.to_numpy(), rtol=1e-3, atol=1e-4 * np.abs(wide.to_numpy()).max())


def test_it_survives_the_directory_and_fills_gaps(fitted, parts, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert loaded.spec == fitted.spec
    np.testing.assert_array_equal(loaded.preparation["rna"].span.basis_, fitted.preparation["rna"].span.basis_)
    np.testing.assert_array_equal(loaded.embed(parts["test"]).X, fitted.embed(parts["test"]).X)
    filled = loaded.impute(parts["test"])
    assert np.isfinite(filled.mod["rna"].X).all()
    assert np.isnan(filled.mod["rna"].layers["lower"][5, :20]).all()


def test_outer_weights_start_at_the_scale_of_full_width():
    first, last = (p for p in module("autoencoder", 13).parameters() if features_of(p) and p.ndim == 2)
    wide = [p for p in module("autoencoder", P).parameters() if features_of(p) and p.ndim == 2]
    assert first.std().item() == pytest.approx(wide[0].std().item(), rel=0.1) == pytest.approx((3 * P) ** -0.5, rel=0.1)
    assert last.std().item() == pytest.approx(wide[1].std().item(), rel=0.1)


@pytest.mark.parametrize("n", [14, 400])
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix])
def test_the_basis_is_orthonormal_and_holds_every_training_sample(n, kind):
    x = values(n, 60)
    x[1] = x[0]
    found = Span().fit(kind(x), pd.Index(range(60)))
    assert found.width == min(n - 2, 60)
    np.testing.assert_allclose(found.basis_.T @ found.basis_, np.eye(found.width), atol=1e-12)
    c, outside = found.coordinates(x)
    assert outside.max() < 1e-9
    np.testing.assert_allclose(found.features(c), x, atol=1e-10)


REFUSED = {
    "adam": ({}, {"optimizer": "adam"}, {}, "training.optimizer: gives every feature a step of its own"),
    "counts": ({}, {}, {"rna": "nb"}, "exact for the squared error alone"),
    "input": ({"name": "masked_autoencoder"}, {}, {}, "hides entries of its input"),
    "masks": ({"name": "ontology_vae"}, {}, {}, "masks weights feature by feature"),
    "others": ({"name": "mosaic_vae"}, {}, {}, "wanted model.name: autoencoder or dual_autoencoder or vae"),
    "gaps": ({}, {}, {}, "has missing entries in train"),
    "order": ({}, {}, {}, "does not come last"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_leads_out_of_the_span_is_refused_by_name(case, parts):
    model, keys, likelihood, said = REFUSED[case]
    steps = {"rna": ["span", "standardise"] if case == "order" else ["standardise", "span"]}
    train = parts["test"] if case == "gaps" else parts["train"]
    config = registry.config_of(model.get("name", "autoencoder"))(latent=3, hidden=(8,))
    with pytest.raises(InputError) as error:
        fit(config, train, prepare=steps, likelihood=likelihood, training={"optimizer": "sgd", "epochs": 1, **keys})
    assert said in str(error.value)
    assert error.value.exit_code == 2


def test_the_dual_autoencoder_keeps_its_modalities_apart(parts):
    config = registry.config_of("dual_autoencoder")(latent=2, hidden=(8,))
    made = fit(config, parts["train"], prepare=STEPS_OF, training=QUICK)
    z, alone = made.embed(parts["test"]), made.embed(parts["test"], source="rna")
    assert list(z.var["block"]) == ["rna", "rna", "met", "met"]
    np.testing.assert_array_equal(z.X[:, :2], alone.X[:, :2])
    assert (alone.X[:, 2:] == 0).all()
    assert (z.X[5, 2:] == 0).all()
    loadings = made.explain(parts["train"])
    assert (loadings.loc["rna", ["z2", "z3"]] == 0).all(axis=None)
    assert loadings.loc["met", ["z2", "z3"]].abs().to_numpy().min() > 0
    with pytest.raises(InputError, match="nothing passes from one to another"):
        made.translate(parts["test"], "rna", "met")


COUNTS = {
    ("gene_ae", "widths", None): 2_182_008_161,
    ("metabolite_ae", "widths", None): 14_861_700,
    ("gene_ae", "counts", None): 543_593_441,
    ("gene_ae", "counts", 132_574): 545_416_606,
    ("metabolite_ae", "counts", None): 30_857_988,
}


@pytest.mark.parametrize(("name", "reading", "features"), COUNTS)
def test_the_presets_have_the_published_numbers_of_parameters(name, reading, features, capsys):
    more = [] if features is None else ["--features", str(features)]
    with pytest.raises(SystemExit) as done:
        main(["models", name, "--reading", reading, *more])
    assert done.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{COUNTS[name, reading, features]:,} parameters"
    assert sum(int(line.split()[-1].replace(",", "")) for line in lines[:-1]) == COUNTS[name, reading, features]
    widths = [int(line.split("in_features=")[1].split(",")[0]) for line in lines if "in_features" in line]
    wanted = (
        {"gene_ae": [8192, 1024, 128], "metabolite_ae": [1024, 256]}[name] if reading == "widths" else [2048, 512, 128]
    )
    assert widths[1:] == [*wanted, 64, *wanted[::-1]]
