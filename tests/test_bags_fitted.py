"""Bags through fit: preparation of instances, sub-sampling, attention, occlusion, sizes, mistakes."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

import isthmus as ist
from isthmus.attention import agreement
from isthmus.data import batches
from isthmus.data.bag_rows import bags_of_rows
from isthmus.data.bags import bags_of
from isthmus.data.batches import Draw, samples
from isthmus.data.cohort import build
from isthmus.errors import DataError, RecipeError
from isthmus.prepare import bags as prepare_bags
from isthmus.prepare.preparation import Preparation

QUICK = ist.Training(epochs=4, patience=None)


def cohort(n=40, **keys):
    bags = {"slide": {"features": 8, "instances": (4, 30), "slides": (1, 2), **keys}}
    return ist.simulate(n=n, modalities={"rna": 10}, bags=bags, pathways=0, links=0, absent={"slide": 0.1}, seed=0)


def prepared(mdata, steps):
    return Preparation.parse({"rna": [], "slide": steps}, ["rna", "slide"]).fit(mdata).transform(mdata)["slide"]


def raw(mdata):
    """Every instance, and the position of its sample in the cohort."""
    found = bags_of(mdata.mod["slide"])
    rows, offsets = found.rows(np.arange(len(found)))
    place = mdata.obs_names.get_indexer(mdata.mod["slide"].obs_names)
    return found.values(rows).astype(np.float64), np.repeat(place, np.diff(offsets))


# ---- preparation


def test_steps_before_mean_are_for_instances_and_those_after_it_for_means():
    mdata = cohort()
    x, owner = raw(mdata)
    made = prepared(mdata, [{"standardise": {"limit": None}}, "mean", {"standardise": {"limit": None}}])
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    means = pd.DataFrame(scaled).groupby(owner).mean()
    here = made.present
    np.testing.assert_array_equal(np.flatnonzero(here), means.index)
    np.testing.assert_allclose(made.x[here], (means - means.mean()) / means.std(ddof=0), atol=1e-4)
    assert np.isnan(made.x[~here]).all()
    packed, offsets = made.instances.packed(np.arange(40))
    np.testing.assert_allclose(packed, scaled[np.argsort(owner, kind="stable")], atol=1e-5)
    assert np.diff(offsets).tolist() == np.bincount(owner, minlength=40).tolist()


def test_a_step_that_is_no_line_is_done_before_the_mean_is_taken():
    mdata = cohort()
    x, owner = raw(mdata)
    made = prepared(mdata, [{"clip": {"low": -1, "high": 2}}])
    np.testing.assert_allclose(
        made.x[made.present], pd.DataFrame(np.clip(x, -1, 2)).groupby(owner).mean(), rtol=1e-4, atol=1e-5
    )


def test_steps_are_learnt_on_training_instances_alone():
    mdata = cohort()
    train, test = mdata[:30].copy(), mdata[30:].copy()
    one, other = (ist.fit(ist.VAE(latent=2), train, training=QUICK) for _ in range(2))
    states = [f.preparation.save_state()[0] for f in (one, other)]
    x, _ = raw(train)
    np.testing.assert_allclose(states[0]["slide/0/shift_"], x.mean(axis=0), rtol=1e-5)
    one.embed(test)
    assert all((one.preparation.save_state()[0][k] == v).all() for k, v in states[1].items())


def test_features_are_found_by_name_and_a_missing_one_counts_as_unobserved():
    mdata = cohort()
    fitted = ist.fit(ist.VAE(latent=2, pooling="mean"), mdata, training=QUICK)
    x, owner = raw(mdata)
    names, ids = list(mdata.mod["slide"].var_names), mdata.obs_names.to_numpy()[owner]
    turned = bags_of_rows(x[:, ::-1], ids, names[::-1])
    again = build({"rna": mdata.mod["rna"], "slide": turned}, mdata.obs)
    np.testing.assert_allclose(fitted.embed(again).X, fitted.embed(mdata).X, atol=1e-5)
    fewer = build({"rna": mdata.mod["rna"], "slide": bags_of_rows(x[:, 1:], ids, names[1:])}, mdata.obs)
    neutral = x.copy()
    neutral[:, 0] = x.mean(axis=0)[0]
    instead = build({"rna": mdata.mod["rna"], "slide": bags_of_rows(neutral, ids, names)}, mdata.obs)
    np.testing.assert_allclose(fitted.embed(fewer).X, fitted.embed(instead).X, atol=1e-4)


def test_steps_that_bags_do_not_take():
    mdata = cohort()
    with pytest.raises(RecipeError, match="would drop or add features of the mean alone; met 'top_variance'"):
        prepared(mdata, ["mean", {"top_variance": 3}])
    assert prepared(mdata, [{"top_variance": 3}, "standardise", "mean"]).x.shape == (40, 3)
    with pytest.raises(RecipeError, match="span: is for tables; met 'bags'"):
        prepared(mdata, ["standardise", "mean", "span"])


# ---- batches


def test_a_cohort_larger_than_memory_is_read_batch_by_batch_with_the_same_answers(monkeypatch):
    mdata = cohort()
    fitted = ist.fit(ist.VAE(latent=2), mdata, training=QUICK)
    z = fitted.embed(mdata).X
    for module, name in (
        (prepare_bags, "HELD"),
        (prepare_bags, "BLOCK"),
        (prepare_bags, "LEARNT"),
        (batches, "INSTANCES"),
    ):
        monkeypatch.setattr(module, name, 40)
    np.testing.assert_allclose(fitted.embed(mdata).X, z, atol=1e-6)
    found = samples(fitted.preparation.transform(mdata), fitted.spec)
    parts = list(found.batches())
    assert torch.cat([b.index for b in parts]).tolist() == list(range(40))
    assert all(len(b) == 1 or len(b.bags["slide"].x) <= 80 for b in parts)
    assert len(parts) > 5
    again = ist.fit(ist.VAE(latent=2), mdata, training=QUICK)
    assert np.isfinite(again.history["train/total"]).all()


def test_instances_are_drawn_anew_for_every_step_and_the_same_for_the_same_seed():
    mdata = cohort()
    fitted = ist.fit(ist.VAE(latent=2), mdata, training=QUICK)
    found = samples(fitted.preparation.transform(mdata), fitted.spec)
    index = torch.arange(40)
    whole = found.batch(index).bags["slide"]
    one, same, other = (found.batch(index, Draw(6, seed)).bags["slide"] for seed in ((1, 2), (1, 2), (1, 3)))
    assert one.lengths.tolist() == whole.lengths.clamp(max=6).tolist()
    assert torch.equal(one.x, same.x)
    assert not torch.equal(one.x, other.x)
    for i in range(40):
        drawn, every = (b.x[b.offsets[i] : b.offsets[i + 1]] for b in (one, whole))
        assert all((row == every).all(dim=1).any() for row in drawn)
        assert len(drawn.unique(dim=0)) == len(drawn)


def test_a_draw_is_for_training_alone():
    mdata = cohort()
    few = ist.fit(ist.VAE(latent=2), mdata, training=QUICK.model_copy(update={"instances": 2}))
    every = ist.fit(ist.VAE(latent=2), mdata, training=QUICK)
    assert few.history["train/total"].iloc[-1] != every.history["train/total"].iloc[-1]
    assert len(few.attention(mdata)) == bags_of(mdata.mod["slide"]).lengths.sum()


# ---- what comes back


def test_translation_gives_means_in_original_units():
    mdata = cohort(n=100, informative=0.9, instances=(20, 40))
    training = ist.Training(epochs=80, lr=1e-2, patience=None)
    fitted = ist.fit(ist.VAE(latent=4, pooling="mean", beta=0.1), mdata, training=training)
    found = fitted.translate(mdata, source="rna", target="slide")
    assert "bag" not in found.obs
    truth = mdata.mod["slide"]
    rows = found.obs_names.get_indexer(truth.obs_names)
    r = [np.corrcoef(found.X[rows, j], truth.X[:, j])[0, 1] for j in range(8)]
    assert np.median(r) > 0.5
    np.testing.assert_allclose(found.X.mean(axis=0), truth.X.mean(axis=0), atol=0.3)
    filled = fitted.impute(mdata).mod["slide"]
    np.testing.assert_allclose(filled[truth.obs_names].X, truth.X, atol=1e-5)
    assert np.isfinite(filled.X).all()


def told(n=120):
    """Bags of which a sixth says the class; of the rest, a shift of the bag's own drowns it in the mean."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=n)
    rows, owner, says = [], [], []
    for i, y in enumerate(labels):
        size = int(rng.integers(24, 48))
        x, marked = rng.normal(size=(size, 6)), np.arange(size) < size // 6
        x[marked, 0] += 4
        x[marked, 1] += 3 * (2 * y - 1)
        x[~marked, 1] += 2 * rng.normal()
        rows.append(x)
        owner += [f"S{i:03d}"] * size
        says.append(marked)
    adata = bags_of_rows(np.concatenate(rows), np.array(owner), [f"f{j}" for j in range(6)])
    obs = pd.DataFrame({"kind": np.where(labels == 1, "a", "b")}, index=[f"S{i:03d}" for i in range(n)])
    return build({"slide": adata}, obs), np.concatenate(says)


def test_attention_finds_what_says_the_label_and_leaving_it_out_is_what_counts():
    mdata, says = told()
    heads = {"kind": {"kind": "class", "column": "kind", "weight": 30.0}}  # reconstruction would have the mean
    training = ist.Training(epochs=15, batch_size=16, lr=5e-3, patience=None)
    fitted = ist.fit(ist.Autoencoder(latent=3, dropout=0.0), mdata, heads=heads, training=training)
    table = fitted.attention(mdata)
    assert list(table.columns) == ["sample", "slide", "instance", "attention"]
    np.testing.assert_allclose(table.groupby("sample")["attention"].sum(), 1, atol=1e-5)
    share = table["attention"].to_numpy()[says].sum() / mdata.n_obs
    assert share > 0.5  # a sixth of the instances
    parts = fitted.occlusion(mdata, head="kind", groups=6)
    found = agreement(parts)
    assert found["first"].median() > 2
    assert found["last"].median() < 0.5
    first = parts[parts["group"] == 0]
    assert (first["attention"] > parts[parts["group"] == 5]["attention"].to_numpy()).all()
    assert found["spearman"].median() > 0.5


def test_agreement_is_the_rank_correlation_of_attention_and_change():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"sample": "A", "group": range(8), "attention": -np.arange(8.0), "change": rng.normal(size=8) ** 2}
    )
    table["random"] = 0.5
    found = agreement(table).loc["A"]
    assert found["spearman"] == pytest.approx(spearmanr(table["attention"], table["change"]).statistic)
    assert found["first"] == pytest.approx(2 * table["change"].iloc[0])


def test_leaving_instances_out_of_a_mean_moves_it_as_reckoned():
    mdata, _ = told(12)
    fitted = ist.fit(ist.VAE(latent=2, pooling="mean"), mdata, training=QUICK)
    parts = fitted.occlusion(mdata, groups=4)
    assert (parts.groupby("sample")["instances"].sum() == bags_of(mdata.mod["slide"]).lengths).all()
    shares = parts["instances"] / parts.groupby("sample")["instances"].transform("sum")
    np.testing.assert_allclose(parts["attention"], shares, atol=1e-6)
    sample = mdata.obs_names[0]
    table = fitted.attention(mdata)
    x, owner = raw_of(mdata, sample)
    gone = len(x) // 4 + (len(x) % 4 > 0)
    assert parts["instances"].iloc[0] == gone
    rest = build({"slide": bags_of_rows(x[gone:], owner[gone:], list(mdata.mod["slide"].var_names))})
    z, whole = fitted.embed(rest).X[0], fitted.embed(mdata).X[0]
    sd = fitted.moments["covariance"].diagonal().sqrt().numpy()
    assert parts["change"].iloc[0] == pytest.approx(np.linalg.norm((z - whole) / sd), rel=1e-3)
    assert (table[table["sample"] == sample]["instance"] == np.arange(len(x))).all()


def raw_of(mdata, sample):
    found = bags_of(mdata.mod["slide"])
    rows, _ = found.rows(np.flatnonzero(mdata.mod["slide"].obs_names == sample))
    return found.values(rows), np.array([sample] * len(rows))


def test_attributions_to_a_bag_sum_to_what_its_mean_makes_of_the_embedding():
    mdata = cohort(16)
    training = ist.Training(epochs=20, patience=None)
    fitted = ist.fit(ist.Autoencoder(latent=2, dropout=0.0, norm="none"), mdata, training=training)
    for source in (None, "slide"):
        one = mdata[mdata.mod["slide"].obs_names[:1]].copy()
        found = fitted.explain(one, method="integrated_gradients", source=source, absolute=False)
        batch = fitted._samples(one).batch(torch.arange(1))
        bags = batch.bags["slide"]
        bare = {"slide": type(bags)(bags.x - bags.x.mean(0), bags.offsets)}
        nothing = type(batch)({m: 0 * v for m, v in batch.x.items()}, batch.observed, batch.index, bags=bare)
        with torch.no_grad():
            apart = (fitted.module.encode(batch, source) - fitted.module.encode(nothing, source))[0]
        np.testing.assert_allclose(found.sum(), apart, atol=2e-3)
        assert (found.loc["slide"].abs() > 0).all(axis=None)


# ---- mistakes


def test_what_cannot_be_asked_is_said():
    mdata = cohort()
    by_prototype = ist.fit(ist.VAE(latent=2, pooling="prototype", pooled=3), mdata, training=QUICK)
    with pytest.raises(RecipeError, match="gives no weight to an instance; met 'prototypes'"):
        by_prototype.attention(mdata)
    fitted = ist.fit(ist.VAE(latent=2), mdata, training=QUICK)
    with pytest.raises(RecipeError, match="does not pool it; met 'rna'"):
        fitted.attention(mdata, "rna")
    with pytest.raises(RecipeError, match="no number of groups"):
        fitted.occlusion(mdata, groups=1)
    with pytest.raises(RecipeError, match="no such head"):
        fitted.occlusion(mdata, head="kind")
    with pytest.raises(DataError, match="no sample has it"):
        fitted.attention(build({"rna": mdata.mod["rna"]}))
    with pytest.raises(DataError, match="is a table; wanted bags of instances"):
        fitted.embed({"slide": mdata.mod["slide"].to_df()})
    with pytest.raises(RecipeError, match="name a modality of bags"):
        ist.fit(ist.VAE(latent=2), build({"rna": mdata.mod["rna"]}), training=QUICK).attention(mdata)
    with pytest.raises(RecipeError, match="pooling"):
        ist.VAE(pooling="atention")
