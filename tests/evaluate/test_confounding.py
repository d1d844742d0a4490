"""What a confounder leaves in an embedding, against closed forms, scikit-learn and planted site effects."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import isthmus as ist
from isthmus.errors import DataError
from isthmus.evaluate import Side, across_sites, confounding, partial_correlation, without_confounders
from isthmus.evaluate.design import Design


def planted(n=240, shift=2.0, scale=1.0, seed=0):
    """Two dimensions that carry a class, two that a site shifts (and one whose spread it sets); site by chance."""
    rng = np.random.default_rng(seed)
    kind, site = rng.integers(3, size=n), rng.integers(3, size=n)
    z = rng.normal(size=(n, 5))
    z[:, 0] += 2.5 * kind
    z[:, 1] -= 2.5 * (kind == 1)
    z[:, 2] += shift * site
    z[:, 3] -= shift * (site == 2)
    z[:, 4] *= np.array([1.0, scale, scale**2])[site]
    obs = pd.DataFrame({"kind": np.array(list("abc"))[kind], "site": np.array(["x", "y", "z"])[site]})
    return z, obs


def probed(found, who, learner, metric="auc"):
    rows = found.probes.query("representation == @who and learner == @learner and metric == @metric")
    return rows["mean"].item()


# ---- partial correlations


def by_residuals(z, x, given):
    """The textbook's form: correlation of what regression on `given` leaves of both."""
    left = [v - LinearRegression().fit(given, v).predict(given) for v in (z, x)]
    return np.corrcoef(*left)[0, 1]


def test_of_a_number_it_is_the_correlation_of_residuals_and_p_is_that_of_the_slope():
    rng = np.random.default_rng(1)
    n = 80
    age, dose = rng.normal(60, 9, n), rng.normal(size=n)
    z = np.column_stack([0.05 * age + rng.normal(size=n), -dose + rng.normal(size=n), rng.normal(size=n)])
    obs = pd.DataFrame({"age": age, "dose": dose + 0.1 * age})
    found = partial_correlation(z, obs["age"], obs["dose"])
    expected = [by_residuals(z[:, k], age, obs[["dose"]].to_numpy()) for k in range(3)]
    np.testing.assert_allclose(found["correlation"], expected, atol=1e-12)
    t = np.array(expected) * np.sqrt((n - 3) / (1 - np.array(expected) ** 2))
    np.testing.assert_allclose(found["p"], 2 * stats.t.sf(np.abs(t), n - 3), rtol=1e-9)
    assert found["chance"].iloc[0] == pytest.approx(np.sqrt(1 / (n - 2)))


def test_of_classes_given_a_class_it_is_the_share_of_what_indicators_leave():
    z, obs = planted(n=90)
    found = partial_correlation(z, obs["site"], obs["kind"])
    kind, site = pd.get_dummies(obs["kind"]).to_numpy(float), pd.get_dummies(obs["site"]).to_numpy(float)
    for k in range(5):
        alone, both = (
            ((z[:, k] - LinearRegression().fit(x, z[:, k]).predict(x)) ** 2).sum()
            for x in (kind, np.hstack([kind, site]))
        )
        assert found["correlation"].iloc[k] == pytest.approx(np.sqrt(1 - both / alone), abs=1e-12)


def test_without_a_relation_it_is_chance_and_p_is_even():
    rng = np.random.default_rng(3)
    site, kind = pd.Series(rng.choice(list("wxyz"), 60)), pd.Series(rng.choice(list("ab"), 60))
    found = partial_correlation(rng.normal(size=(60, 4000)), site, kind)
    assert (found["correlation"] ** 2).mean() == pytest.approx(found["chance"].iloc[0] ** 2, rel=0.03)
    assert stats.kstest(found["p"], "uniform").pvalue > 0.01


def test_what_cannot_be_told_is_nan():
    z = np.random.default_rng(0).normal(size=(30, 2))
    kind = pd.Series(list("aab") * 10)
    assert partial_correlation(z, kind.rename("copy"), kind)["correlation"].isna().all()
    flat = np.column_stack([z[:, 0], (kind == "a").to_numpy(float)])
    found = partial_correlation(flat, pd.Series(list("xy") * 15), kind)
    assert found["correlation"].isna().tolist() == [False, True]


def test_missing_annotations_leave_a_sample_out():
    z, obs = planted(n=60)
    gaps = obs.copy()
    gaps.loc[:9, "site"] = None
    gaps.loc[10:14, "kind"] = None
    expected = partial_correlation(z[15:], obs["site"][15:], obs["kind"][15:])
    pd.testing.assert_frame_equal(partial_correlation(z, gaps["site"], gaps["kind"]), expected)


# ---- taking out


def test_one_confounder_of_classes_is_centred_by_class_with_the_means_of_train():
    z, obs = planted(n=60)
    a, b = np.arange(40), np.arange(40, 60)
    train, test = without_confounders(z[a], z[b], obs[["site"]].iloc[a], obs[["site"]].iloc[b])
    means = pd.DataFrame(z[a]).groupby(obs["site"].iloc[a]).mean()
    for made, rows in ((train, a), (test, b)):
        expected = z[rows] - means.loc[obs["site"].iloc[rows]].to_numpy() + z[a].mean(axis=0)
        np.testing.assert_allclose(made, expected, atol=1e-10)
    unseen = pd.DataFrame({"site": ["new"] * 20})
    np.testing.assert_allclose(without_confounders(z[a], z[b], obs[["site"]].iloc[a], unseen)[1], z[b], atol=1e-10)


def test_numbers_are_regressed_out_and_a_gap_stands_for_the_mean():
    rng = np.random.default_rng(0)
    age = pd.DataFrame({"age": rng.normal(60, 10, 50)})
    z = age.to_numpy() * [[0.3, -0.1]] + rng.normal(size=(50, 2))
    train, test = without_confounders(z, z[:1], age, pd.DataFrame({"age": [np.nan]}))
    np.testing.assert_allclose(np.corrcoef(np.column_stack([train, age]).T)[2, :2], 0, atol=1e-12)
    np.testing.assert_allclose(test, z[:1], atol=1e-12)
    assert Design.of(age).columns(age).std() == pytest.approx(1)


# ---- within and across sites


def test_across_is_leave_one_group_out():
    z, obs = planted(shift=0.5)
    found = across_sites(Side({"z": z}, obs["kind"], obs["site"]), Side({"z": z}, obs["kind"], obs["site"]))
    scores = []
    for a, b in LeaveOneGroupOut().split(z, groups=obs["site"]):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(z[a], obs["kind"].iloc[a])
        scores.append(balanced_accuracy_score(obs["kind"].iloc[b], model.predict(z[b])))
    across = found[found["way"] == "across"].iloc[0]
    assert across["value"] == pytest.approx(np.mean(scores), abs=1e-12)
    assert across["lower"] < across["value"] < across["upper"]
    assert across["sites"] == 3


def test_nobody_seen_at_the_site_left_out_is_trained_on():
    """Patients seen at two sites, each with a place and a class of its own: who met the patient knows the class."""
    rng = np.random.default_rng(0)
    patient = np.tile(np.arange(40), 2)
    site = np.repeat([0, 1, 2], [40, 40, 60])
    kind = np.r_[rng.integers(2, size=40)[patient], rng.integers(2, size=60)]
    z = np.r_[rng.normal(size=(40, 60))[patient], rng.normal(size=(60, 60))]
    who = np.r_[patient.astype(float), np.full(60, np.nan)]
    bare = Side({"z": z}, pd.Series(kind, name="kind"), pd.Series(site, name="site"))
    side = Side(bare.z, bare.label, bare.site, who)
    found = {k: across_sites(s, s).query("way == 'across'").iloc[0] for k, s in (("bare", bare), ("groups", side))}
    assert found["bare"]["value"] > 0.75
    assert found["groups"]["value"] < 0.65
    two = side.rows(np.arange(80))
    assert np.isnan(across_sites(two, two).set_index("way").loc["across", "value"])
    whole = confounding(z[:80], two.site, labels=two.label, groups=patient, folds=2)
    assert np.isnan(whole.labels.set_index("way").loc["across", "value"])


def test_a_label_that_is_the_site_is_nothing_within_sites():
    """Site and class go together; the embedding knows the site alone."""
    rng = np.random.default_rng(0)
    site = rng.integers(2, size=400)
    kind = np.where(rng.random(400) < 0.85, site, 1 - site)
    side = Side({"z": rng.normal(size=(400, 2)) + 6 * site[:, None]}, pd.Series(kind, name="kind"), pd.Series(site))
    parts = [(np.arange(200), np.arange(200, 400)), (np.arange(200, 400), np.arange(200))]
    value = across_sites(side, side, folds=parts).set_index("way")["value"]
    assert value["mixed"] > 0.8
    assert value["within"] == pytest.approx(0.5, abs=0.05)
    assert value["across"] == pytest.approx(0.5, abs=0.05)


def test_a_label_of_values_is_scored_within_sites_about_their_own_mean():
    rng = np.random.default_rng(0)
    site = np.repeat([0, 1], 100)
    y = pd.Series(10.0 * site + rng.normal(size=200), name="age")
    side = Side({"z": site[:, None] + 0.01 * rng.normal(size=(200, 1))}, y, pd.Series(site, name="site"))
    found = across_sites(side, side).set_index("way")
    assert (found["metric"] == "r2").all()
    assert found.loc["mixed", "value"] > 0.9
    assert found.loc["within", "value"] < 0.1


# ---- the whole


@pytest.fixture(scope="module")
def controlled():
    """Raw values of a site that shifts and spreads them; the embedding is these without the means of the sites."""
    z, obs = planted(n=180, shift=3.0, scale=4.0)
    centred, _ = without_confounders(z, z, obs[["site"]], obs[["site"]])
    return confounding(centred, obs["site"], labels=obs["kind"], before={"raw": z}, folds=3)


def test_centring_hides_the_site_from_a_linear_probe_and_not_from_a_forest(controlled):
    assert probed(controlled, "raw", "linear") > 0.95
    assert probed(controlled, "embedding", "linear") < 0.6
    assert probed(controlled, "embedding", "forest") > 0.75
    rows = controlled.probes.query("representation == 'embedding' and learner == 'linear' and metric == 'auc'")
    assert rows["difference_upper"].item() < 0


def test_the_label_stays_and_the_partial_correlations_say_where_the_site_was(controlled):
    labels = controlled.labels.set_index(["representation", "way"])["value"]
    assert labels["embedding", "within"] > 0.8
    assert labels["embedding", "across"] > labels["raw", "across"] - 0.02
    of_site = controlled.partial.query("of == 'site'").pivot_table(
        index="dimension", columns="representation", values="correlation"
    )
    assert (of_site.loc[["z2", "z3"], "raw"] > 0.7).all()
    assert (of_site.loc[["z2", "z3"], "embedding"] < 0.1).all()
    of_kind = controlled.partial.query("of == 'kind' and representation == 'embedding'").set_index("dimension")
    assert of_kind.loc["z0", "correlation"] > 0.85
    mixed = controlled.mixing.set_index("representation")["mixing"]
    assert mixed["embedding"] > mixed["raw"] + 0.2


def test_groups_stay_together():
    """Each patient has a place of its own and one site: only a probe that met the patient knows it."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 4)
    z = rng.normal(size=(30, 8))[patient] + 0.01 * rng.normal(size=(120, 8))
    site = pd.Series(rng.integers(2, size=30)[patient], name="site").map({0: "x", 1: "y"})
    assert probed(confounding(z, site, folds=3), "embedding", "forest") > 0.95
    assert probed(confounding(z, site, groups=patient, folds=3), "embedding", "forest") < 0.75


def test_a_simulated_site_effect_is_found_and_its_absence_too():
    for effect, low, high in ((1.0, 0.95, 1.0), (0.0, 0.35, 0.65)):
        mdata = ist.simulate(n=120, modalities={"rna": 20}, site_effect=effect, sites=2, private=0)
        x = np.asarray(mdata.mod["rna"].X, dtype=np.float64)
        auc = probed(confounding(x, mdata.obs["site"].astype(str), folds=2), "embedding", "linear")
        assert low <= auc <= high


def test_a_number_is_looked_for_by_regression():
    rng = np.random.default_rng(0)
    age = pd.Series(rng.normal(60, 10, 120), name="age")
    z = np.column_stack([((age - 60) / 10) ** 2, rng.normal(size=120)])
    found = confounding(z, age, folds=3)
    assert probed(found, "embedding", "linear", "r2") < 0.1
    assert probed(found, "embedding", "forest", "r2") > 0.1  # forests know the size, not the sign
    assert found.mixing.empty
    assert (found.partial["given"] == "").all()


def test_wrong_input_is_told():
    z, obs = planted(n=30)
    with pytest.raises(DataError, match="another number of samples"):
        confounding(z, obs["site"][:20])
    with pytest.raises(DataError, match="name of what it is compared with"):
        confounding(z, obs["site"], before={"embedding": z})
    with pytest.raises(DataError, match="no confounder can be looked for"):
        confounding(z, pd.Series(["x"] * 30))
    with pytest.raises(DataError, match="NaN or infinite"):
        confounding(np.full((30, 2), np.nan), obs["site"])
