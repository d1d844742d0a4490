"""What a run measures beyond reconstruction and labels, against what the fitted model itself gives."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import isthmus as ist
from cohorts import counts, linear
from isthmus.data.cohort import build, take_samples
from isthmus.measures import Asked, Further, averaged, flat, further, measured, refitted

NOTHING = Asked(pairs=(), latent=False, alignment=False, disentanglement=False)
QUICK = ist.Training(epochs=25, lr=5e-3, patience=None)


def halves(mdata, n_test=60):
    ids = mdata.obs_names
    parts = {"train": take_samples(mdata, ids[n_test:]), "test": take_samples(mdata, ids[:n_test])}
    for part in parts.values():
        part.uns["factors"] = None
    return parts


@pytest.fixture(scope="module")
def mosaic():
    """Three modalities of the same factors, the last absent in 40 samples."""
    widths = [("rna", 30), ("cnv", 20), ("protein", 15)]
    parts = halves(linear(n=260, widths=widths, absent=40, missing=0.02))
    return ist.fit(ist.MosaicVAE(latent=3, hidden=(32,), dropout=0.0), parts["train"], training=QUICK), parts


@pytest.fixture(scope="module")
def found(mosaic):
    return further(*mosaic, Asked(label="kind"))


def test_every_direction_is_scored_beside_every_baseline(found):
    table = found.translation
    assert table.groupby(["source", "target"]).ngroups == 6
    assert set(table["representation"]) == {"MosaicVAE", "ridge", "knn", "nearest", "mean", "group"}
    r2 = table.pivot_table(index=["source", "target"], columns="representation", values="r2")
    np.testing.assert_allclose(r2["mean"], 0, atol=1e-12)
    assert (r2["ridge"] > r2["nearest"]).all()
    assert (r2["MosaicVAE"] > 0.4).all()
    assert (table.loc[table["representation"] == "group", "r2_within"] == 0).all()


def test_the_scores_are_those_of_translate_in_standard_deviations_of_train(mosaic, found):
    fitted, parts = mosaic
    for source, target in (("rna", "cnv"), ("protein", "rna")):
        made = fitted.translate(parts["test"], source, target).to_df()
        ids = [i for i in parts["test"].mod[source].obs_names if i in parts["test"].mod[target].obs_names]
        train = parts["train"].mod[target].to_df().loc[parts["train"].mod[source].obs_names.intersection(
            parts["train"].mod[target].obs_names)]  # fmt: skip
        sd = parts["train"].mod[target].to_df().std(ddof=0)
        true, guess = parts["test"].mod[target].to_df().loc[ids] / sd, made.loc[ids] / sd
        expected = ist.evaluate.reconstruction(
            true.to_numpy(), guess.to_numpy(), reference=(train / sd).mean().to_numpy(dtype=np.float64)
        )
        ours = found.translation.query("source == @source and target == @target and representation == 'MosaicVAE'")
        assert ours["r2"].item() == pytest.approx(expected["r2"], abs=1e-4)
        assert ours["n_samples"].item() == len(ids)


def test_labels_are_read_off_translations_and_off_the_truth(found):
    auc = found.transfer[found.transfer["metric"] == "auc"].pivot_table(
        index=["source", "target"], columns="representation", values="value"
    )
    assert (auc["true"] > 0.9).all()
    assert (auc["MosaicVAE"] > 0.8).all()
    assert (auc["mean"] == 0.5).all()


def test_fewer_modalities_leave_less_of_the_embedding(mosaic, found):
    fitted, parts = mosaic
    kept = found.subsets.set_index("modalities")
    assert len(kept) == 7
    assert kept["r2"].iloc[-1] == 1
    assert (kept["r2"].iloc[:-1] < 1).all()
    assert kept.loc["rna + cnv", "r2"] > kept.loc["cnv", "r2"]
    whole = sorted(set.intersection(*(set(a.obs_names) for a in parts["test"].mod.values())))
    test = take_samples(parts["test"], whole)
    full, one = np.asarray(fitted.embed(test).X), np.asarray(fitted.embed(test, "rna").X)
    spread = ((full - np.asarray(fitted.embed(parts["train"]).X).mean(axis=0)) ** 2).sum()
    assert kept.loc["rna", "r2"] == pytest.approx(1 - ((one - full) ** 2).sum() / spread, abs=1e-4)
    assert kept.loc["rna", "n"] == len(whole)


def test_alignment_is_that_of_the_embeddings_by_each_modality(mosaic, found):
    fitted, parts = mosaic
    pair = found.alignment.set_index(["first", "second"]).loc[("rna", "cnv")]
    a, b = (np.asarray(fitted.embed(parts["test"], m).X) for m in ("rna", "cnv"))
    assert pair["foscttm"] == pytest.approx(ist.evaluate.foscttm(a, b), abs=1e-6)
    assert pair["foscttm"] < 0.2
    assert len(found.alignment) == 3


def test_the_latent_space_is_described_on_the_test_samples(mosaic, found):
    fitted, parts = mosaic
    z = np.asarray(fitted.embed(parts["test"]).X)
    row = found.latent.iloc[0]
    assert row["total_correlation"] == pytest.approx(ist.evaluate.total_correlation(z), abs=1e-5)
    assert row["coverage_joint"] == ist.evaluate.latent_coverage(z)["coverage_joint"]
    assert found.disentanglement.empty  # nobody knows the factors


def test_factors_of_a_simulated_cohort_are_known():
    mdata = ist.simulate(n=160, modalities={"rna": 40, "protein": 20}, shared=2, private=0, seed=1)
    fitted = ist.fit(ist.VAE(latent=2, hidden=(16,)), mdata, training=ist.Training(epochs=3, patience=None))
    row = further(fitted, {"train": mdata, "test": mdata}, Asked(pairs=(), latent=False)).disentanglement.iloc[0]
    z = np.asarray(fitted.embed(mdata).X)
    assert row.to_dict() == pytest.approx(ist.evaluate.disentanglement(z, mdata.uns["truth"]["factors"]), nan_ok=True)


def test_a_translator_has_one_source_and_no_subsets(caplog):
    parts = halves(linear(n=160))
    fitted = ist.fit(
        ist.Translator(source="rna", target="cnv", latent=3, hidden=(32,), dropout=0.0), parts["train"], training=QUICK
    )
    found = further(fitted, parts, Asked(pairs=(("rna", "cnv"), ("cnv", "rna"))))
    assert set(zip(found.translation["source"], found.translation["target"], strict=True)) == {("rna", "cnv")}
    assert "translation from cnv is left out" in caplog.text
    assert found.subsets.empty
    assert found.alignment.empty
    scores = found.translation.set_index("representation")["r2"]
    assert scores["Translator"] > 0.8 * scores["ridge"]


def test_counts_score_the_same_dense_and_sparse():
    mdata = counts(n=120, beside=1)
    rna = mdata.mod["rna"]
    sparse = build(
        {"rna": ad.AnnData(sp.csr_matrix(rna.X), rna.obs.copy(), rna.var.copy()), "m0": mdata.mod["m0"].copy()}
    )
    tables = []
    for cohort in (mdata, sparse):
        parts = halves(cohort, 40)
        fitted = ist.fit(
            ist.VAE(latent=2, hidden=(16,)), parts["train"], likelihood={"rna": "nb"},
            training=ist.Training(epochs=10, patience=None),
        )  # fmt: skip
        tables.append(further(fitted, parts, Asked()).translation.set_index(["source", "target", "representation"]))
    pd.testing.assert_frame_equal(tables[0], tables[1], rtol=1e-3, atol=1e-4)
    ridge = tables[0].loc[("m0", "rna", "ridge")]
    assert ridge["r2"] > 0.05
    assert tables[0].loc[("m0", "rna", "mean"), "r2"] == pytest.approx(0, abs=1e-9)


def test_big_cohorts_are_drawn_from_and_say_so(mosaic, monkeypatch, caplog):
    monkeypatch.setattr(measured, "MOST_TEST", 30)
    monkeypatch.setattr(measured, "MOST_TRAIN", 50)
    caplog.set_level("INFO", "isthmus.assess")
    found = further(*mosaic, Asked())
    assert found.latent["n"].item() == 30
    assert found.translation["n_samples"].max() <= 30
    assert "30 of 60 samples" in caplog.text
    assert "50 of 200 samples" in caplog.text


def test_nothing_asked_nothing_measured(mosaic):
    found = further(*mosaic, NOTHING)
    assert [len(getattr(found, name)) for name in Further.__dataclass_fields__] == [0] * len(
        Further.__dataclass_fields__
    )


def test_refits_divide_anew_with_seeds_of_their_own(mosaic):
    fitted, parts = mosaic
    ids = parts["train"].obs_names
    parts = {"train": take_samples(parts["train"], ids[50:]), "valid": take_samples(parts["train"], ids[:50]),
             "test": parts["test"]}  # fmt: skip
    asked = []

    def same_again(train, valid, seed):
        asked.append((set(train), set(valid), seed))
        return fitted

    found = refitted(Further(), fitted, parts, refit=same_again, refits=4, seed=7)
    assert found.robustness.iloc[0].to_dict() == pytest.approx({"matched": 1, "procrustes": 1, "cka": 1, "refits": 4})
    assert found.dimensions.empty
    assert [seed for *_, seed in asked] == [8, 9, 10]
    for train, valid, _ in asked:
        assert (len(train), len(valid), train | valid) == (150, 50, set(ids))
    assert len({frozenset(valid) for _, valid, _ in asked}) == 3


def test_folds_are_averaged_with_their_spread_and_named():
    def fold(r2):
        score = {"source": "a", "target": "b", "r2": r2, "n_samples": 9.0}
        rows = [{**score, "representation": "VAE"}, {**score, "representation": "ridge", "r2": 0.5}]
        return Further(translation=pd.DataFrame(rows), latent=pd.DataFrame([{"coverage": r2, "bins": 2.0}]))

    found = averaged([fold(0.2), fold(0.4)])
    names = flat(found, model="VAE")
    assert names == pytest.approx(
        {
            "translation/test/r2/a->b": 0.3,
            "translation/test/r2/a->b/sd": np.std([0.2, 0.4], ddof=1),
            "baseline/ridge/translation/test/r2/a->b": 0.5,
            "baseline/ridge/translation/test/r2/a->b/sd": 0.0,
            "latent/test/coverage": 0.3,
            "latent/test/coverage/sd": np.std([0.2, 0.4], ddof=1),
        }
    )
    assert list(found.latent["bins"]) == [2.0]
    assert "translation/test/r2/a->b/sd" not in flat(averaged([fold(0.2)]), model="VAE")
    assert flat(averaged([]), model="VAE") == {}


def test_translated_images_are_judged_by_their_structure_too():
    mdata = ist.simulate(n=110, modalities={"rna": 40}, images=16, shared=2, private=0, seed=0)
    parts = halves(mdata, 30)
    fitted = ist.fit(
        ist.Translator(source="rna", target="image", latent=2, hidden=(16,)), parts["train"],
        training=ist.Training(epochs=5, patience=None),
    )  # fmt: skip
    scores = further(fitted, parts, Asked(pairs=(("rna", "image"),))).translation.set_index("representation")["ssim"]
    true, made = (
        np.asarray(a.obsm["image"], dtype=float)
        for a in (parts["test"].mod["image"], fitted.translate(parts["test"], "rna", "image"))
    )
    picture = fitted.preparation["image"].picture_
    expected = ist.evaluate.ssim(true, made, data_range=picture.high - picture.low).mean()
    assert scores["Translator"] == pytest.approx(expected, abs=0.01)
    assert scores["ridge"] > scores["mean"] + 0.1
