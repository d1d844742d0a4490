"""Heads: what they predict, what they learn from, and what they refuse."""

import numpy as np
import pandas as pd
import pytest
import torch

import isthmus as ist
from cohorts import linear
from isthmus.data.batches import samples
from isthmus.errors import DataError, RecipeError
from isthmus.losses.survival import cox
from isthmus.recipe import parse_recipe
from isthmus.supervised import Supervised
from isthmus.supervising import supervision_of
from isthmus.training.checkpoint import Keeper
from isthmus.training.engine import InterruptedTraining

HEADS = {
    "kind": {"kind": "class"},
    "level": {"kind": "value"},
    "os": {"kind": "cox", "time": "months", "event": "dead"},
    "pfs": {"kind": "discrete", "time": "months", "censoring": "alive", "bins": 4},
}
QUICK = ist.Training(epochs=4, batch_size=32, patience=None)
MODEL = ist.Autoencoder(latent=3, hidden=(16,), dropout=0.0)


def cohort(n=160, seed=0, **keys):
    """Factors that drive class, value and survival; one table a modality."""
    mdata = linear(n=n, seed=seed, **keys)
    rng, f = np.random.default_rng(seed + 100), mdata.uns["factors"]
    happens, ends = rng.exponential(np.exp(-1.5 * f[:, 1])), rng.exponential(1.5, n)
    obs = mdata.obs.assign(
        kind=np.where(f[:, 0] > 0, "high", "low"), level=50 + 10 * f[:, 2] + rng.normal(size=n),
        months=np.minimum(happens, ends), dead=(happens <= ends).astype(int),
    )  # fmt: skip
    mdata.obs = obs.assign(alive=1 - obs["dead"])
    return mdata


def halves(mdata):
    names = mdata.obs_names
    return mdata[names[::2]].copy(), mdata[names[1::2]].copy()


def concordance(obs, risk):
    found = ist.evaluate.survival.concordance(
        obs["months"].to_numpy(), obs["dead"].to_numpy(dtype=float), np.asarray(risk)
    )
    return float(found)


@pytest.fixture(scope="module")
def fitted():
    train, test = halves(cohort(n=320))
    return ist.fit(MODEL, train, heads=HEADS, training=ist.Training(epochs=40, lr=8e-3, patience=None)), train, test


def test_heads_predict_what_the_factors_drive(fitted):
    model, _, test = fitted
    said = model.predict(test)
    assert list(said)[:4] == ["kind/high", "kind/low", "level", "os/log_risk"]
    assert ((said["kind/high"] > 0.5) == (test.obs["kind"] == "high")).mean() > 0.9
    np.testing.assert_allclose(said["kind/high"] + said["kind/low"], 1)
    assert np.corrcoef(said["level"], test.obs["level"])[0, 1] > 0.9
    assert abs(said["level"].mean() - test.obs["level"].mean()) < 3
    assert concordance(test.obs, said["os/log_risk"]) > 0.68
    assert concordance(test.obs, said["pfs/log_risk"]) > 0.68
    curves = said.filter(like="pfs/survival/").to_numpy()
    assert (np.diff(curves, axis=1) <= 0).all()


def test_predictions_survive_the_directory_and_need_no_outcome(fitted, tmp_path):
    model, _, test = fitted
    model.save(tmp_path / "model")
    bare = ist.load(tmp_path / "model")
    test = test.copy()
    said = model.predict(test)
    test.obs = pd.DataFrame(index=test.obs_names)
    pd.testing.assert_frame_equal(bare.predict(test), said)
    assert not [k for k in bare.module.state_dict() if "memory" in k]
    assert bare.recipe["heads"]["os"]["ties"] == "efron"


def test_what_is_not_observed_has_no_prediction(fitted):
    model, _, test = fitted
    part = ist.read({"cnv": test.mod["cnv"][3:]}, obs=test.obs)
    said = model.predict(part)
    assert said.iloc[:0].columns.tolist() == model.predict(test).columns.tolist()
    lacking = said.index.difference(test.mod["cnv"][3:].obs_names)
    assert said.loc[lacking].isna().all().all()
    assert said.drop(lacking).notna().all().all()


def test_a_head_reads_what_its_attributions_say(fitted):
    model, _, test = fitted
    slopes = model.explain(test, head="os")
    shares = model.explain(test, head="os", method="integrated_gradients", absolute=False)
    assert list(slopes) == list(shares) == ["os/log_risk"]
    # completeness: shares sum up to the mean log risk beyond that of the baseline, where all is 0
    zero = torch.zeros(1, 30), torch.zeros(1, 20)
    batch = samples(model.preparation.transform(test), model.spec).batch(torch.arange(1))
    base = model.module.answers(model.module.encode(type(batch)(
        {"rna": zero[0], "cnv": zero[1]}, batch.observed, batch.index
    )))["os"].item()  # fmt: skip
    expected = model.predict(test)["os/log_risk"].mean() - base
    assert shares["os/log_risk"].sum() == pytest.approx(expected, abs=0.02 * max(1, abs(expected)))
    weight = np.corrcoef(model.explain(test, head="kind")["kind/high"], model.explain(test, head="kind")["kind/low"])
    assert weight[0, 1] == pytest.approx(-1)
    for option, value in (("units", "original"), ("per", "sd")):
        with pytest.raises(RecipeError, match=f"{option}: .*not with a head"):
            model.explain(test, head="os", **{option: value})


def test_dealt_out_labels_predict_nothing():
    train, test = halves(cohort(n=320))
    dealt = train.copy()
    dealt.obs["kind"] = np.random.default_rng(0).permutation(dealt.obs["kind"])
    codes = (test.obs["kind"] == "low").to_numpy(dtype=int)
    nats = []
    for part in (train, dealt):
        said = ist.fit(MODEL, part, heads={"kind": {"kind": "class"}}, training=ist.Training(epochs=25, lr=5e-3))
        nats.append(-np.log(said.predict(test).to_numpy()[np.arange(len(codes)), codes]).mean())
    assert nats[0] < 0.4
    assert nats[1] > np.log(2) - 0.15


def test_a_rare_class_is_found_where_classes_are_balanced():
    train, test = halves(cohort(n=400))
    for part in (train, test):
        part.obs["rare"] = np.where(part.obs["level"] > 58, "yes", "no")
    recall = {}
    for balanced in (False, True):
        heads = {"rare": {"kind": "class", "balanced": balanced}}
        said = ist.fit(MODEL, train, heads=heads, training=ist.Training(epochs=25, lr=3e-3, patience=None)).predict(
            test
        )
        recall[balanced] = (said["rare/yes"][test.obs["rare"] == "yes"] > 0.5).mean()
    assert recall[True] > recall[False]
    assert recall[True] > 0.75


def test_samples_without_labels_leave_the_loss_of_a_head_as_it_is():
    mdata = cohort(n=40)
    gone = mdata.obs_names[:12]
    obs = mdata.obs.copy()
    obs.loc[gone, ["level", "months"]] = np.nan
    obs["kind"] = obs["kind"].where(~obs.index.isin(gone))
    mdata.obs = obs
    fitted = ist.fit(MODEL, mdata, heads=HEADS, training=QUICK)
    module, whole = fitted.module.eval(), samples(fitted.preparation.transform(mdata), fitted.spec, mdata.obs)
    for rows in (torch.arange(40), torch.arange(12, 40)):
        batch = whole.batch(rows)
        terms = module.loss(module(batch), batch, "model", 1.0).terms
        found = {k: float(v.detach()) for k, v in terms.items() if k.startswith("head/")}
        expected = locals().get("expected", found)
        assert found == pytest.approx(expected, rel=1e-5)
    batch = whole.batch(torch.arange(12))
    terms = module.loss(module(batch), batch, "model", 1.0).terms
    assert [float(v.detach()) for k, v in terms.items() if k.startswith("head/")] == [0, 0, 0, 0]


def test_cox_in_batches_is_cox_over_all_of_train():
    mdata = cohort(n=60)
    fitted = ist.fit(MODEL, mdata, heads={"os": HEADS["os"]}, training=QUICK)
    module = fitted.module
    assert isinstance(module, Supervised)
    whole = samples(fitted.preparation.transform(mdata), fitted.spec, mdata.obs)
    task = module.heads["os"]
    module.learn(whole)
    module.train()
    with torch.no_grad():
        risk = torch.randn(60, 1, generator=torch.Generator().manual_seed(0))
        labels = whole.targets["head/os"]
        for rows in torch.arange(60).split(20):
            batch = whole.batch(rows)
            task.remembered(risk[rows], labels[rows], batch)
    full = risk.clone().requires_grad_()
    expected = cox(full.squeeze(1), labels[:, 0], labels[:, 1])
    expected.backward()
    total = torch.zeros(60, 1)
    for rows in torch.arange(60).split(20):
        live = risk[rows].clone().requires_grad_()
        found = task.remembered(live, labels[rows], whole.batch(rows))
        torch.testing.assert_close(found, expected)
        found.backward()
        total[rows] = live.grad / 3  # three batches: each stands for three times as many samples
    torch.testing.assert_close(total, full.grad, atol=1e-6, rtol=1e-4)


def test_censoring_is_the_event_turned_round():
    mdata = cohort(n=60)
    turned = {"os": {"kind": "cox", "time": "months", "censoring": "alive"}}
    a = ist.fit(MODEL, mdata, heads={"os": HEADS["os"]}, training=QUICK).predict(mdata)
    pd.testing.assert_frame_equal(a, ist.fit(MODEL, mdata, heads=turned, training=QUICK).predict(mdata))


def test_strata_are_kept_apart():
    mdata = cohort(n=60)
    mdata.obs["centre"] = np.where(np.arange(60) % 2, "a", "b")
    heads = {"os": {**HEADS["os"], "strata": "centre"}}
    fitted = ist.fit(MODEL, mdata, heads=heads, training=QUICK)
    whole = samples(fitted.preparation.transform(mdata), fitted.spec, mdata.obs).batch(torch.arange(60))
    module = fitted.module.eval()
    found = module.loss(module(whole), whole, "model", 1.0).terms["head/os"]
    risk, labels = module.answers(module.encode(whole))["os"].squeeze(1), whole.targets["head/os"]
    strata = whole.targets["head/os/strata"]
    torch.testing.assert_close(found, cox(risk, labels[:, 0], labels[:, 1], strata=strata))
    assert not torch.isclose(found, cox(risk, labels[:, 0], labels[:, 1]))


def test_a_resumed_training_with_a_cox_head_is_bit_identical(tmp_path):
    mdata, valid = cohort(n=80), cohort(n=30, seed=1)
    settings = ist.Training(epochs=4, batch_size=32, patience=3)

    def run(keeper=None):
        return ist.fit(MODEL, mdata, valid, heads=HEADS, training=settings, keeper=keeper)

    whole, calls = run(), iter(range(1000))
    with pytest.raises(InterruptedTraining):
        run(Keeper(tmp_path, 1, stop=lambda: 15 if next(calls) >= 7 else None))
    resumed = run(Keeper(tmp_path, 1, resume=True))
    pd.testing.assert_frame_equal(resumed.predict(valid), whole.predict(valid))
    assert resumed.history.equals(whole.history)


@pytest.mark.parametrize(
    ("head", "error", "match"),
    [
        ({"kind": "class", "column": "kindd"}, DataError, "did you mean 'kind'"),
        ({"kind": "value", "column": "kind"}, DataError, "holds no numbers"),
        ({"kind": "cox", "time": "months", "event": "level"}, DataError, "0 and 1"),
        ({"kind": "cox", "time": "months"}, RecipeError, "`event` and `censoring`"),
        ({"kind": "cox", "event": "dead"}, RecipeError, "`time`"),
        ({"kind": "class", "time": "months"}, RecipeError, "time is for cox and discrete"),
        ({"kind": "klass"}, RecipeError, "'class'"),
        ({"kind": "class", "column": "one"}, DataError, "fewer than two classes"),
        ({"kind": "value", "column": "flat"}, DataError, "does not vary"),
        ({"kind": "cox", "time": "months", "event": "never"}, DataError, "no event in train"),
        ({"kind": "cox", "time": "nought", "event": "dead"}, DataError, "no time above 0 in train"),
        ({"kind": "cox", "time": "months", "event": "dead", "strata": "own"}, DataError, "nothing can be compared"),
    ],
)
def test_wrong_heads_are_refused_in_one_line(head, error, match):
    mdata = cohort(n=40)
    mdata.obs = mdata.obs.assign(one="x", flat=1.0, never=0, nought=0, own=[f"c{i}" for i in range(40)])
    with pytest.raises(error, match=match) as refused:
        ist.fit(MODEL, mdata, heads={"h": head}, training=QUICK)
    assert "heads.h" in str(refused.value)


@pytest.mark.parametrize("name", ["a/b", "a\\b", "a:b", "..", " ", "a\nb"])
def test_names_that_break_those_of_files_and_scores_are_refused(name):
    heads = {name: {"kind": "class", "column": "class"}}
    for refused in (
        lambda: parse_recipe({"data": {"simulate": {}}, "model": {"name": "vae"}, "heads": heads}),
        lambda: supervision_of(heads, None),
    ):
        with pytest.raises(RecipeError, match="heads: is no name for a head") as error:
            refused()
        assert len(str(error.value).splitlines()) == 1


def test_a_model_without_heads_says_so():
    mdata = cohort(n=40)
    fitted = ist.fit(MODEL, mdata, training=QUICK)
    with pytest.raises(RecipeError, match="has no heads"):
        fitted.predict(mdata)
    with pytest.raises(RecipeError, match="no such head"):
        fitted.explain(mdata, head="os")


def test_an_auxiliary_head_is_refused_where_there_is_no_embedding_of_each_modality():
    heads = {"kind": {"kind": "class", "auxiliary": 0.5}}
    with pytest.raises(RecipeError, match=r"heads\.kind\.auxiliary: needs the embedding of each modality"):
        ist.fit(MODEL, cohort(40), heads=heads, training=QUICK)
