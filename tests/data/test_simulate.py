"""Simulated cohorts: the planted truth can be found again, rates are those asked for, and the seed says it all."""

import json

import mudata as md
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import cross_val_score

import isthmus as ist
from isthmus.data.simulate import Simulation, write_cohort
from isthmus.errors import DataError, RecipeError


def values(mdata, m, ids=None):
    """A table as it is, float64."""
    return np.asarray(mdata[m].X if ids is None else mdata[m][ids].X, dtype=np.float64)


def components(x, d=10):
    return PCA(d, random_state=0).fit_transform((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12))


def r2(x, y):
    return LinearRegression().fit(x, y).score(x, y)


def within(count, n, rate, sds=4):
    """Whether a count is a likely binomial draw."""
    return abs(count - n * rate) <= sds * np.sqrt(n * rate * (1 - rate))


def test_shared_and_private_factors_are_found_by_pca():
    mdata = ist.simulate(n=400, modalities={"rna": 300, "cnv": 200}, shared=3, private=2, seed=1)
    factors = mdata.uns["truth"]["factors"]
    for m, other in (("rna", "cnv"), ("cnv", "rna")):
        z = components(values(mdata, m), 8)
        assert r2(z, factors[[f"shared_{i}" for i in range(3)]]) > 0.9
        assert r2(z, factors[[f"{m}_0", f"{m}_1"]]) > 0.85
        assert r2(z, factors[[f"{other}_0", f"{other}_1"]]) < 0.1


def test_loadings_predict_the_values_of_each_feature():
    mdata = ist.simulate(n=500, modalities={"rna": 100}, noise=0.5, pathways=4, seed=2)
    truth = mdata.uns["truth"]
    inputs = pd.concat([truth["factors"], truth["activities"]], axis=1)[truth["loadings"]["rna"].columns]
    signal = inputs.to_numpy() @ truth["loadings"]["rna"].to_numpy().T
    np.testing.assert_allclose(signal.std(axis=0)[signal.std(axis=0) > 0], 1, rtol=1e-9)
    x = values(mdata, "rna")
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(signal.T, x.T, strict=True) if a.std() > 0]
    assert np.isclose(np.mean(r), 1 / np.sqrt(1 + 0.5**2), atol=0.02)


def test_classes_are_as_far_apart_as_asked():
    for separation, low, high in ((0.0, 0.0, 0.45), (3.0, 0.85, 1.0)):
        mdata = ist.simulate(n=300, modalities={"rna": 200}, separation=separation, classes=3, seed=3)
        score = cross_val_score(LogisticRegression(max_iter=500), components(values(mdata, "rna")), mdata.obs["class"])
        assert low <= score.mean() <= high
    means = mdata.uns["truth"]["class_means"].to_numpy()
    gaps = [np.linalg.norm(means[i] - means[j]) for i in range(3) for j in range(i)]
    np.testing.assert_allclose(gaps, 3.0, rtol=1e-9)
    assert mdata.obs["class"].value_counts().tolist() == [100, 100, 100]


def test_higher_risk_means_earlier_events_and_the_share_of_censored_is_exact():
    mdata = ist.simulate(n=500, modalities={"rna": 10}, hazard=1.5, censoring=0.4, seed=4)
    obs, risk = mdata.obs, mdata.uns["truth"]["log_risk"]["log_risk"]
    assert (obs["event"] == 0).sum() == 200
    seen = obs["event"] == 1
    assert stats.spearmanr(risk[seen], obs["time"][seen]).statistic < -0.4
    assert stats.spearmanr(risk, obs["event"]).statistic > 0.2
    coefficients = mdata.uns["truth"]["survival"]["log_hazard"]
    factors = mdata.uns["truth"]["factors"][[f"shared_{i}" for i in range(4)]].assign(age=obs["age"].astype(float))
    again = ((factors - factors.mean()) / factors.std(ddof=0)) @ coefficients
    np.testing.assert_allclose(again, risk, rtol=1e-9, atol=1e-9)
    flat = ist.simulate(n=500, modalities={"rna": 10}, hazard=0, censoring=0, seed=4)
    assert flat.obs["event"].all()
    assert stats.kstest(flat.obs["time"], stats.weibull_min(1.5, scale=36).cdf).pvalue > 0.01


def test_samples_of_a_patient_belong_together():
    mdata = ist.simulate(n=301, modalities={"rna": 10}, samples_per_patient=3, patient_share=0.8, separation=0, seed=5)
    obs = mdata.obs
    assert obs["patient"].nunique() == 101
    fixed = obs.groupby("patient")[["class", "site", "age", "sex", "time", "event"]].nunique()
    assert (fixed == 1).all().all()
    factor = mdata.uns["truth"]["factors"]["shared_0"].to_numpy()[:300].reshape(100, 3)
    assert 0.65 < np.corrcoef(factor[:, 0], factor[:, 1])[0, 1] < 0.92


def test_shifts_of_site_and_batch_are_in_the_values():
    mdata = ist.simulate(n=600, modalities={"rna": 60}, site_effect=1.0, batch_effect=1.0, separation=0, seed=6)
    x = pd.DataFrame(values(mdata, "rna"), index=mdata.obs_names)
    for what in ("site", "batch"):
        effects = mdata.uns["truth"][f"{what}_effects"]["rna"]
        found = x.groupby(mdata.obs[what].to_numpy()).mean().T
        planted, seen = (e.sub(e.mean(axis=1), axis=0).to_numpy().ravel() for e in (effects, found))
        assert np.corrcoef(planted, seen)[0, 1] > 0.9
    assert "site_effects" not in ist.simulate(n=20, modalities={"rna": 5}).uns["truth"]


def test_confounding_ties_sites_to_classes():
    def information(confounding):
        obs = ist.simulate(n=300, modalities={"rna": 5}, confounding=confounding, seed=7).obs
        return stats.contingency.association(pd.crosstab(obs["class"], obs["site"]).to_numpy())

    assert information(1.0) == pytest.approx(1.0)
    assert information(0.0) < 0.2 < information(0.6) < 0.9


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_pathways_overlap_as_asked_and_drive_their_genes(overlap):
    mdata = ist.simulate(
        n=300, modalities={"rna": 400, "cnv": 20}, pathways=6, pathway_size=20, overlap=overlap, seed=8
    )
    truth = mdata.uns["truth"]
    members = truth["pathways"].groupby("pathway")["feature"].agg(set)
    assert [len(m) for m in members] == [20] * 6
    for i in range(5):
        assert len(members.iloc[i] & members.iloc[i + 1]) == 20 * overlap
    assert not members.iloc[0] & members.iloc[3]
    x = pd.DataFrame(values(mdata, "rna"), columns=mdata["rna"].var_names, index=mdata.obs_names)
    correlation = x.apply(lambda gene: gene.corr(truth["activities"]["pathway_01"]))
    inside = correlation[list(members["pathway_01"])].mean()
    assert inside > 0.3 > correlation[~correlation.index.isin(members["pathway_01"])].abs().mean()


def test_links_are_correlated_beyond_the_factors():
    mdata = ist.simulate(n=500, modalities={"rna": 80, "protein": 40}, links=15, seed=9)
    truth = mdata.uns["truth"]
    factors = pd.concat([truth["factors"], truth["activities"]], axis=1)

    def residual(m):
        x = values(mdata, m)
        left = x - LinearRegression().fit(factors, x).predict(factors)
        return pd.DataFrame(left, columns=mdata[m].var_names)

    rna, protein = residual("rna"), residual("protein")
    found = [rna[a].corr(protein[b]) for a, b in zip(truth["links"]["source"], truth["links"]["target"], strict=True)]
    np.testing.assert_allclose(found, truth["links"]["correlation"], atol=0.1)
    every = np.abs(np.corrcoef(rna.T, protein.T)[:80, 80:])
    every[rna.columns.get_indexer(truth["links"]["source"]), protein.columns.get_indexer(truth["links"]["target"])] = 0
    assert every.max() < 0.3


@pytest.mark.parametrize("kind", ["nb", "poisson"])
def test_counts_have_the_library_and_the_spread_of_their_likelihood(kind):
    mdata = ist.simulate(n=400, modalities={"rna": 200}, likelihood={"rna": kind}, depth=10, dispersion=2, seed=10)
    x, truth = values(mdata, "rna"), mdata.uns["truth"]
    np.testing.assert_array_equal(x, np.round(x))
    assert x.min() >= 0
    library = truth["library"]["rna"]["library"]
    assert np.isclose(np.log(library).std(), 0.4, atol=0.05)
    assert np.corrcoef(np.log(library), np.log(x.sum(axis=1)))[0, 1] > 0.9
    assert np.isclose(x.mean(), 10, rtol=0.1)
    calm = ist.simulate(n=4000, modalities={"a": 2}, likelihood={"a": kind}, noise=0, separation=0, shared=1, private=0,
                        pathways=0, library_spread=0, dispersion=2, depth=20, seed=1)  # fmt: skip
    total = values(calm, "a").sum(axis=1)
    assert (total.var() / total.mean() > 3) == (kind == "nb")


def test_binary_values_follow_the_signal():
    mdata = ist.simulate(n=500, modalities={"snv": 60}, likelihood={"snv": "bernoulli"}, pathways=0, links=0, seed=11)
    x, truth = values(mdata, "snv"), mdata.uns["truth"]
    assert set(np.unique(x)) == {0.0, 1.0}
    signal = truth["factors"].to_numpy() @ truth["loadings"]["snv"].to_numpy().T
    assert np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(signal.T, x.T, strict=True) if a.std() > 0]) > 0.3


def test_a_curved_signal_is_less_linear():
    def linear(nonlinearity):
        mdata = ist.simulate(n=400, modalities={"rna": 50}, noise=0.1, pathways=0, nonlinearity=nonlinearity, seed=12)
        return r2(mdata.uns["truth"]["factors"], values(mdata, "rna"))

    assert linear(0.0) > 0.95 > linear(0.5) > linear(1.0)


def test_images_show_the_shared_factors():
    mdata = ist.simulate(n=300, modalities={"rna": 20}, images=24, seed=13)
    image, factors = mdata["image"].obsm["image"], mdata.uns["truth"]["factors"]
    assert image.shape == (300, 24, 24, 1)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert mdata["image"].n_vars == 0
    axis = np.arange(24)
    weight = image[..., 0] ** 2
    mass = weight.sum(axis=(1, 2))
    across, down = (weight * axis).sum(axis=(1, 2)) / mass, (weight * axis[:, None]).sum(axis=(1, 2)) / mass
    assert stats.spearmanr(across, factors["shared_0"]).statistic > 0.9
    assert stats.spearmanr(down, factors["shared_1"]).statistic > 0.9
    assert stats.spearmanr((image > 0.1).sum(axis=(1, 2, 3)), factors["shared_2"]).statistic > 0.8
    assert stats.spearmanr(np.quantile(image, 0.995, axis=(1, 2, 3)), factors["shared_3"]).statistic > 0.8


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
def test_entries_are_missing_at_the_rate_and_by_the_mechanism(mechanism):
    keys = {"n": 300, "modalities": {"rna": 80, "cnv": 30}, "seed": 14}
    mdata = ist.simulate(**keys, missing={"rna": 0.2}, mechanism=mechanism)
    whole = ist.simulate(**keys)
    gone, x = np.isnan(values(mdata, "rna")), values(whole, "rna")
    assert within(gone.sum(), gone.size, 0.2)
    assert not np.isnan(values(mdata, "cnv")).any()
    np.testing.assert_array_equal(values(mdata, "rna")[~gone], x[~gone])
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    lower = stats.spearmanr(gone.ravel(), z.ravel()).statistic
    driver = values(whole, "cnv")[:, 0]
    driven = stats.spearmanr(gone.mean(axis=1), driver).statistic
    if mechanism == "mnar":
        assert lower < -0.3
    else:
        assert lower > -0.12
    if mechanism == "mar":
        assert driven < -0.8
        assert not gone[:, 0].any()
        assert mdata.uns["truth"]["missing"].to_numpy().tolist() == [["rna", "cnv", "cnv_0000"]]
    elif mechanism == "mcar":
        assert abs(driven) < 0.2


def test_modalities_are_absent_at_the_rate_and_no_sample_is_left_without():
    absent = {"rna": 0.5, "cnv": 0.5, "image": 0.3}
    mdata = ist.simulate(n=200, modalities={"rna": 20, "cnv": 10}, images=8, absent=absent, seed=15)
    assert {m: mdata[m].n_obs for m in mdata.mod} == {"rna": 100, "cnv": 100, "image": 140}
    assert mdata.n_obs == 200
    assert list(mdata.obs_names[:2]) == ["S0001", "S0002"]
    whole = ist.simulate(n=200, modalities={"rna": 20, "cnv": 10}, images=8, seed=15)
    np.testing.assert_array_equal(mdata["rna"].X, whole["rna"][mdata["rna"].obs_names].X)
    pd.testing.assert_frame_equal(mdata.obs, whole.obs)


def test_one_seed_one_cohort(tmp_path):
    keys = {"n": 40, "modalities": {"rna": 30, "cnv": 8}, "missing": 0.1, "absent": 0.1, "images": 8}
    one, two, other = (ist.simulate(**keys, seed=s) for s in (3, 3, 4))
    for m in one.mod:
        a, b = (v[m].X if m != "image" else v[m].obsm["image"] for v in (one, two))
        assert a.tobytes() == b.tobytes()
    pd.testing.assert_frame_equal(one.obs, two.obs)
    assert one["cnv"].X.tobytes() != other["cnv"].X.tobytes()
    more = ist.simulate(**{**keys, "modalities": {"rna": 30, "cnv": 8, "adt": 5}}, seed=3)
    pd.testing.assert_frame_equal(more.obs, one.obs)


def test_a_cohort_goes_to_disk_and_comes_back(tmp_path):
    mdata = ist.simulate(n=30, modalities={"rna": 120, "cnv": 9}, images=8, missing=0.1, mechanism="mar",
                         absent={"cnv": 0.2}, site_effect=1, likelihood={"cnv": "nb"}, seed=16)  # fmt: skip
    whole = write_cohort(mdata, tmp_path / "h5mu")
    back = md.read_h5mu(whole / "cohort.h5mu")
    assert back["rna"].X.tobytes() == mdata["rna"].X.tobytes()
    truth = mdata.uns["truth"]
    assert back.uns["truth"].keys() == truth.keys()
    np.testing.assert_array_equal(back.uns["truth"]["factors"], truth["factors"])
    tables = write_cohort(mdata, tmp_path / "csv", "csv")
    again = ist.read({"rna": tables / "rna.csv", "cnv": tables / "cnv.csv"}, obs=tables / "obs.csv")
    np.testing.assert_allclose(again["rna"].X, mdata["rna"].X, rtol=1e-6)
    assert set(again.obs_names) == set(mdata.obs_names)
    factors = pd.read_csv(tables / "truth" / "factors.csv", index_col=0)
    np.testing.assert_allclose(factors, truth["factors"], rtol=1e-12)
    assert Simulation(**json.loads((tables / "truth" / "settings.json").read_text())).n == 30
    for folder in (whole, tables):
        sets = dict(line.split("\tsimulated\t") for line in (folder / "pathways.gmt").read_text().splitlines())
        members = truth["pathways"].groupby("pathway")["feature"].agg(list)
        assert {k: v.split("\t") for k, v in sets.items()} == members.to_dict()
    with pytest.raises(DataError, match="exists already"):
        write_cohort(mdata, whole)


def test_wrong_keys_say_what_is_wrong():
    with pytest.raises(RecipeError, match="did you mean 'shared'"):
        ist.simulate(sharde=3)
    with pytest.raises(RecipeError, match="`missing` names 'rn'"):
        ist.simulate(missing={"rn": 0.1})
    with pytest.raises(RecipeError, match="without any modality"):
        ist.simulate(absent=0.6)
    with pytest.raises(RecipeError, match="need 176 features, not 100"):
        ist.simulate(modalities={"rna": 100}, pathways=10, pathway_size=32, overlap=0.5)
    with pytest.raises(RecipeError, match="cannot be called 'image'"):
        ist.simulate(modalities={"image": 5})


def test_small_tables_get_the_pathways_there_is_room_for():
    assert ist.simulate(n=10, modalities={"a": 10}).uns["truth"]["pathways"]["pathway"].nunique() == 2
    assert "pathways" not in ist.simulate(n=10, modalities={"a": 3}, classes=1).uns["truth"]
