"""Modalities of a sample meet in one space; a missing one is survivable; stages keep heads out of the first."""

import numpy as np
import pytest
import torch

import isthmus as ist
from cohorts import linear, prepared
from isthmus import registry
from isthmus.data.batches import samples
from isthmus.data.cohort import build
from isthmus.evaluate.alignment import retrieval
from isthmus.evaluate.reconstruct import reconstruction
from isthmus.nn.corruption import turned
from isthmus.types import Batch, Modality, Spec

SPEC = Spec((Modality("rna", (30,)), Modality("cnv", (20,))))
TRAINING = ist.Training(epochs=30, lr=5e-3, batch_size=64, patience=None)
OBJECTIVES = ("infonce", "cosine", "cca", "cca_ey", "barlow", "vicreg")


def parts(mdata, n):
    """The first n samples, and the rest."""
    ids = mdata.obs_names
    return mdata[ids[:n]].copy(), mdata[ids[n:]].copy()


def shuffled(mdata, seed=0):
    """The same tables, with the rows of the second in another order."""
    second = mdata.mod["cnv"].copy()
    second.X = second.X[np.random.default_rng(seed).permutation(len(second))]
    return build({"rna": mdata.mod["rna"], "cnv": second}, mdata.obs)


def found(fitted, test):
    """Retrieval of the second modality by the first."""
    z = [fitted.embed(test, source=m).X for m in ("rna", "cnv")]
    return retrieval(*z, metric=fitted.module.nearness)


def model(**keys):
    return ist.JointEmbedding(**{"latent": 3, "hidden": (16,), "dropout": 0.0, **keys})


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_partners_are_found_among_new_samples_and_by_chance_after_shuffled_pairs(objective):
    train, test = parts(linear(n=240, noise=0.2), 160)
    fitted = ist.fit(model(objective=objective), train, training=TRAINING)
    assert found(fitted, test)["median_rank"] <= 4  # of 80, by chance 40.5
    if objective == "infonce":
        assert found(fitted, test)["r5"] > 0.7
        lost = found(ist.fit(model(objective=objective), shuffled(train), training=TRAINING), test)
        assert lost["r5"] < 0.2
        assert lost["median_rank"] > 20


def test_alignment_is_what_brings_partners_together():
    train, test = parts(linear(n=240, noise=1.0), 160)
    ranks = [
        found(ist.fit(model(alignment=a, predict=0.0, modality_dropout=0.0), train, training=TRAINING), test)
        for a in (0.0, 1.0)
    ]
    assert ranks[1]["median_rank"] < 0.6 * ranks[0]["median_rank"]


def test_modality_dropout_makes_a_missing_modality_survivable():
    train, test = parts(linear(n=240), 160)
    scores = []
    for rate in (0.0, 0.5):
        fitted = ist.fit(model(modality_dropout=rate, alignment=0.0, predict=0.0), train, training=TRAINING)
        made = fitted.translate(test, source="rna", target="cnv").X
        scores.append(reconstruction(test.mod["cnv"].X, made, reference=train.mod["cnv"].X.mean(axis=0))["r2"])
    assert 1 - scores[1] < 0.75 * (1 - scores[0])


def module(spec=SPEC, **keys):
    torch.manual_seed(0)
    return registry.get("joint_embedding")(model(**keys), spec).eval()


def batch(mdata, spec=SPEC):
    return samples(prepared(mdata), spec).batch(torch.arange(mdata.n_obs))


def test_the_joint_embedding_is_the_mean_of_the_modalities_that_are_there():
    net, some = module(), batch(linear(n=20, absent=6))
    with torch.no_grad():
        out = net(some)
    both = some.present("cnv")
    np.testing.assert_allclose(out.z[both], (out.parts["rna"] + out.parts["cnv"])[both] / 2, rtol=1e-5)
    np.testing.assert_allclose(out.z[~both], out.parts["rna"][~both], rtol=1e-5)
    net.attention = torch.nn.Linear(3, 1)
    with torch.no_grad():
        weighed = net(some).z
        np.testing.assert_allclose(net.encode(some, "rna"), out.parts["rna"], rtol=1e-5)
    np.testing.assert_allclose(weighed[~both], out.parts["rna"][~both], rtol=1e-5)
    assert not torch.allclose(weighed[both], out.z[both], rtol=1e-3)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_without_a_pair_in_the_batch_alignment_is_0_and_slopes_are_finite(objective):
    spec = Spec((Modality("rna", (30,)), Modality("cnv", (20,))))
    net = module(spec, objective=objective)
    whole = batch(linear(n=16))
    here = torch.arange(16).unsqueeze(1) < 8
    alone = {m: o & (here if m == "rna" else ~here) for m, o in whole.observed.items()}
    apart = type(whole)(whole.x, alone, whole.index)
    loss = net.loss(net(apart), apart, "model", 0.0)
    assert loss.terms["align"] == 0
    loss.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


@torch.no_grad()
def test_three_modalities_are_aligned_by_the_pairs_that_there_are():
    spec = Spec((Modality("a", (10,)), Modality("b", (8,)), Modality("c", (6,))))
    net, whole = module(spec), batch(linear(n=16, widths=[("a", 10), ("b", 8), ("c", 6)]), spec)
    out = net(whole)
    pairs = [net._apart(out.parts[a], out.parts[b]) for a, b in (("a", "b"), ("a", "c"), ("b", "c"))]
    assert net.loss(out, whole, "model", 0.0).terms["align"] == pytest.approx(float(sum(pairs)) / 3, rel=1e-5)
    two = whole.only(("a", "c"))
    apart = net.loss(net(two), two, "model", 0.0).terms["align"]
    assert apart == pytest.approx(float(pairs[1]), rel=1e-5)


@torch.no_grad()
def test_a_temperature_is_learnt_within_its_bounds():
    net = module(learn_temperature=True, temperature=0.2)
    assert float(net.temperature) == pytest.approx(0.2, rel=1e-4)
    for place, bound in ((-50.0, 0.01), (50.0, 1.0)):
        net.warmth.data.fill_(place)
        assert float(net.temperature) == pytest.approx(bound, rel=1e-4)


def test_a_temperature_cools_where_partners_are_told_apart():
    fitted = ist.fit(model(learn_temperature=True, alignment=1.0), linear(n=80), training=TRAINING)
    assert 0.01 <= fitted.module.temperature.item() < 0.1


HEADS = {"kind": {"kind": "class", "column": "kind"}}


def test_stages_keep_heads_out_of_the_first_and_may_keep_encoders_out_of_the_second():
    train = linear(n=120)
    staged = ist.fit(model(), train, heads=HEADS, training=ist.Training(epochs=20, lr=5e-3, patience=None))
    head = [c for c in staged.history if c.startswith("train/head")]
    by_phase = staged.history.groupby("phase", sort=False)[head]
    assert list(by_phase.groups) == ["align", "task"]
    assert by_phase.count().loc["align"].eq(0).all()
    assert by_phase.count().loc["task"].gt(0).all()
    together = ist.fit(model(stages="together"), train, heads=HEADS, training=TRAINING)
    assert together.history["phase"].nunique() == 1
    frozen = ist.fit(
        model(finetune=False), train, heads=HEADS, training=ist.Training(epochs=20, lr=5e-3, patience=None)
    )
    last = frozen.history.query("phase == 'task'")
    assert last[head[0]].iloc[-1] < 0.9 * last[head[0]].iloc[0]
    first = ist.fit(model(), train, training=ist.Training(epochs=10, lr=5e-3, patience=None))
    np.testing.assert_array_equal(frozen.embed(train).X, first.embed(train).X)


@torch.no_grad()
def test_patches_are_embedded_alike_however_they_are_flipped():
    spec = Spec((Modality("image", (8, 8, 3), "image"), Modality("rna", (6,))))
    some = torch.randn(4, 8 * 8 * 3, generator=torch.Generator().manual_seed(0))
    flipped = some.view(4, 8, 8, 3).flip(1).flatten(1)
    for turns, alike in ((True, True), (False, False)):
        part = module(spec, turns=turns, places="averaged", channels=4).named()["image"]
        here = torch.ones(4, 1, dtype=torch.bool)
        z = [part(_images(x, here)) for x in (some, flipped)]
        assert torch.allclose(*z, atol=1e-5) == alike
    turns = turned(some, (8, 8, 3)).view(4, 64, 3)
    np.testing.assert_allclose(turns.sort(dim=1).values, some.view(4, 64, 3).sort(dim=1).values)


def _images(x, here):
    return Batch({"image": x, "rna": torch.zeros(4, 6)}, {"image": here, "rna": here}, torch.arange(4))
