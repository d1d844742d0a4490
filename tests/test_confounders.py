"""Confounders: what decoders are told, what penalties take away, what is regressed out."""

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from sklearn.model_selection import cross_val_predict

import isthmus as ist
from cohorts import linear
from isthmus.data.targets import covariate_of, encoded
from isthmus.errors import DataError, RecipeError

MODEL = ist.VAE(latent=6, beta=1.0, hidden=(32,))
TRAINING = ist.Training(epochs=60, lr=4e-3, patience=None)


@pytest.fixture(scope="module")
def parts():
    mdata = ist.simulate(n=300, modalities={"rna": 100, "cnv": 50}, classes=3, site_effect=1.0, seed=0)
    return ist.split(mdata, (0.6, 0.4), seed=0)


def fitted(parts, **confounders):
    asked = {"columns": ["site"], **confounders} if confounders else None
    return ist.fit(MODEL, parts[0], confounders=asked, training=TRAINING)


def told(z, labels):
    """ARI of clusters, and the AUC of a fresh linear probe."""
    z, y = np.asarray(z), labels.astype(str).to_numpy()
    clusters = KMeans(len(set(y)), n_init=10, random_state=0).fit_predict(z)
    p = cross_val_predict(
        LogisticRegression(max_iter=2000), (z - z.mean(0)) / z.std(0), y, cv=4, method="predict_proba"
    )
    return adjusted_rand_score(y, clusters), roc_auc_score(y, p, multi_class="ovr")


@pytest.fixture(scope="module")
def plain(parts):
    return told(fitted(parts).embed(parts[1]).X, parts[1].obs["site"])


def test_without_control_the_site_is_what_the_embedding_shows(plain):
    assert plain[0] > 0.9
    assert plain[1] > 0.99


def test_a_told_decoder_leaves_the_site_out_and_the_class_in(parts):
    model = fitted(parts, method="conditional")
    z, obs = model.embed(parts[1]).X, parts[1].obs
    site, label = told(z, obs["site"]), told(z, obs["class"])
    assert site[0] < 0.1
    assert label[0] > 0.4
    assert label[1] > 0.93
    # of the same sample at another site, the embedding is unmoved and the reconstruction shifts as the sites do
    there = parts[1].copy()
    there.obs["site"] = obs["site"].cat.categories[0]
    np.testing.assert_array_equal(model.embed(there).X, z)
    moved = model.reconstruct(there)["rna"].X - model.reconstruct(parts[1])["rna"].X
    means = pd.DataFrame(parts[0]["rna"].X).groupby(parts[0].obs["site"].to_numpy()).mean().to_numpy()
    second = (obs["site"] == obs["site"].cat.categories[1]).to_numpy()
    assert np.corrcoef(moved[second].mean(axis=0), means[0] - means[1])[0, 1] > 0.9


def test_an_encoder_that_is_told_alone_keeps_the_site_and_loses_the_class(parts):
    def with_site(mdata):
        site = pd.get_dummies(mdata.obs["site"]).astype(np.float32)
        return ist.read({"rna": mdata["rna"].to_df(), "cnv": mdata["cnv"].to_df(), "site": site}, obs=mdata.obs)

    model = ist.VAE(latent=6, beta=1.0, hidden=(32,), weights={"rna": 1, "cnv": 2, "site": 0})
    told_alone = ist.fit(model, with_site(parts[0]), training=TRAINING)  # reads the site; no decoder is told it
    z, obs = told_alone.embed(with_site(parts[1])).X, parts[1].obs
    assert told(z, obs["site"])[0] > 0.9
    assert told(z, obs["class"])[0] < 0.1  # a told decoder keeps above .4


@pytest.mark.parametrize(
    ("keys", "below"),
    [
        ({"method": "hsic", "weight": 50}, 0.97),
        ({"method": "correlation"}, 0.9),
        ({"method": ["conditional", "hsic"]}, 0.8),
        ({"method": "residualise"}, 0.75),
        ({"method": ["conditional", "adversarial"]}, 0.97),
    ],
)
def test_a_fresh_probe_finds_less_of_the_site_and_as_much_of_the_class(parts, plain, keys, below):
    z, obs = fitted(parts, **keys).embed(parts[1]).X, parts[1].obs
    ari, auc = told(z, obs["site"])
    assert ari < 0.3 < plain[0]
    assert auc < below < plain[1]
    assert told(z, obs["class"])[1] > 0.9


def test_an_unknown_site_is_told_as_the_mean_of_train(parts, caplog):
    model = ist.fit(ist.VAE(latent=3, hidden=(8,)), parts[0], confounders={"columns": ["site", "age"]},
                    training=ist.Training(epochs=3))  # fmt: skip
    test = parts[1].copy()
    test.obs = test.obs.assign(site="elsewhere", age=np.nan)
    strange = model.reconstruct(test)["rna"].X
    assert "no class of 'site' known to the model" in caplog.text
    bare = parts[1].copy()
    bare.obs = pd.DataFrame(index=bare.obs_names)
    np.testing.assert_array_equal(strange, model.reconstruct(bare)["rna"].X)
    assert "no column 'age' in obs" in caplog.text
    z = np.asarray(model.embed(bare).X)
    np.testing.assert_allclose(model.decode(z)["rna"].X, strange, rtol=1e-4, atol=1e-4)


def test_translation_is_told_the_sample_s_own_covariates(parts):
    model = ist.fit(ist.VAE(latent=3, hidden=(8,)), parts[0], confounders={"columns": "site"},
                    training=ist.Training(epochs=30, lr=5e-3, patience=None))  # fmt: skip
    there = parts[1].copy()
    there.obs["site"] = "site_0"
    here = model.translate(parts[1], "rna", "cnv").X
    same = (parts[1].obs["site"] == "site_0").to_numpy()
    moved = np.abs(model.translate(there, "rna", "cnv").X - here).mean(axis=1)
    assert moved[same].max() == 0
    assert moved[~same].min() > 0.1


def test_covariates_survive_the_directory(parts, tmp_path):
    for method in ("conditional", ["residualise", "adversarial"]):
        asked = {"columns": ["site", "age"], "method": method}
        model = ist.fit(ist.VAE(latent=3, hidden=(8,)), parts[0], confounders=asked, training=ist.Training(epochs=3))
        model.save(tmp_path / "model")
        loaded = ist.load(tmp_path / "model")
        np.testing.assert_array_equal(loaded.reconstruct(parts[1])["rna"].X, model.reconstruct(parts[1])["rna"].X)
        np.testing.assert_array_equal(loaded.embed(parts[1]).X, model.embed(parts[1]).X)


def test_covariates_are_centred_by_train():
    obs = pd.DataFrame({"site": ["a", "a", "b", None], "age": [30.0, 50.0, np.nan, 40.0], "code": [1, 2, 2, 1]})
    site = encoded(obs, covariate_of(obs["site"], "test"))
    np.testing.assert_allclose(site, [[1 / 3, -1 / 3], [1 / 3, -1 / 3], [-2 / 3, 2 / 3], [0, 0]], rtol=1e-6)
    age = encoded(obs, covariate_of(obs["age"], "test"))
    np.testing.assert_allclose(age[:, 0], [-np.sqrt(1.5), np.sqrt(1.5), 0, 0], rtol=1e-6)
    assert covariate_of(obs["code"], "test").classes == ()
    assert covariate_of(obs["code"], "test", as_class=True).classes == ("1", "2")


def test_residualising_is_ordinary_least_squares():
    mdata = linear(n=80, missing=0.1)
    rng = np.random.default_rng(0)
    mdata.obs = mdata.obs.assign(site=rng.choice(["a", "b", "c"], 80), age=rng.normal(60, 10, 80))
    train, test = mdata[mdata.obs_names[:60]].copy(), mdata[mdata.obs_names[60:]].copy()
    asked = {"columns": ["site", "age"], "method": "residualise"}
    model = ist.fit(ist.Autoencoder(latent=2, hidden=(8,)), train, prepare={"rna": [], "cnv": []}, confounders=asked,
                    training=ist.Training(epochs=1, patience=None))  # fmt: skip
    found = {p: model.preparation.transform(m)["rna"].x for p, m in (("train", train), ("test", test))}

    def design(obs):
        return np.column_stack([obs["site"] == "b", obs["site"] == "c", obs["age"]]).astype(float)

    for j in (0, 7):
        y = train["rna"].X[:, j].astype(float)
        known = ~np.isnan(y)
        ols = LinearRegression().fit(design(train.obs)[known], y[known])
        off = found["train"][known, j] - (y[known] - ols.predict(design(train.obs)[known]))
        np.testing.assert_allclose(off, off[0], atol=1e-4)  # what is left is the mean
        ahead = found["test"][:, j] - (test["rna"].X[:, j] - ols.predict(design(test.obs)))
        np.testing.assert_allclose(ahead[~np.isnan(ahead)], off[0], atol=1e-4)


@pytest.mark.parametrize(
    ("keys", "error", "match"),
    [
        ({"columns": ["sites"]}, DataError, "did you mean 'site'"),
        ({"columns": []}, RecipeError, "at least 1"),
        ({"columns": ["site"], "method": "harmony"}, RecipeError, "'conditional'"),
        ({"columns": ["site"], "classes": ["age"]}, RecipeError, "not among the columns"),
    ],
)
def test_wrong_confounders_are_refused_in_one_line(parts, keys, error, match):
    with pytest.raises(error, match=match):
        ist.fit(MODEL, parts[0], confounders=keys, training=TRAINING)


def test_residualising_refuses_counts_and_asks_for_the_columns(parts):
    asked = {"columns": ["site"], "method": "residualise"}
    with pytest.raises(RecipeError, match="leaves no counts"):
        ist.fit(MODEL, parts[0], likelihood={"rna": "nb"}, prepare={"rna": []}, confounders=asked, training=TRAINING)
    model = ist.fit(ist.VAE(latent=2, hidden=(8,)), parts[0], confounders=asked, training=ist.Training(epochs=1))
    bare = parts[1].copy()
    bare.obs = pd.DataFrame(index=bare.obs_names)
    with pytest.raises(DataError, match="no such column in obs"):
        model.embed(bare)
