"""Every imputation method, found by being there: what it must never do, and what it must reach."""

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.base import clone
from sklearn.impute import KNNImputer

from isthmus.errors import DataError, RecipeError
from isthmus.impute.imputer import Imputer, make, names
from isthmus.impute.methods.blend import _weights

NAMES = [n for n in names() if make(n)[1].available()]
FROM_SOURCE = [n for n in NAMES if "source" in make(n)[1].reads]
FROM_ENTRIES = [n for n in NAMES if "entries" in make(n)[1].reads]


def quick(name, epochs=2):
    """The method, trained for a short while where it trains; 30 epochs are enough for these data."""
    method = make(name)[1]
    if name == "blend":
        method.set_params(rows=("component_ridge", "low_rank"))
    return method.set_params(epochs=epochs) if "epochs" in method.get_params() else method


def tables(n=160, f=20, p=30, rank=3, noise=0.1, seed=0):
    """Low-rank data and a source that shows the same factors: train rows first."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, rank))
    x = factors @ rng.normal(size=(rank, f)) + noise * rng.normal(size=(n, f))
    source = factors @ rng.normal(size=(rank, p)) + rng.normal(size=(n, p))
    return x / x.std(axis=0), source / source.std(axis=0)


def hidden(x, rate=0.2, seed=1):
    return np.random.default_rng((seed, 77)).random(x.shape) < rate


@pytest.mark.parametrize("name", NAMES)
def test_observed_entries_stand_and_gaps_are_filled(name):
    x, source = tables()
    gaps = hidden(x)
    method = quick(name).fit(np.where(gaps, np.nan, x)[:120], source=source[:120], classes=np.arange(120) % 2)
    filled = method.transform(np.where(gaps, np.nan, x)[120:], source=source[120:], classes=np.arange(40) % 2)
    np.testing.assert_array_equal(filled[~gaps[120:]], x[120:][~gaps[120:]])
    assert np.isfinite(filled).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_hidden_value_changes_no_output(name):
    x, source = tables()
    gaps = hidden(x)
    outputs = []
    for tampered in (x, np.where(gaps, 1e6, x)):
        shown = np.where(gaps, np.nan, tampered)
        outputs.append(quick(name).fit(shown[:120], source=source[:120]).transform(shown[120:], source=source[120:]))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("name", FROM_SOURCE)
def test_a_whole_row_is_predicted_from_the_source_and_not_from_shuffled_rows(name):
    x, source = tables()
    absent = np.full((40, x.shape[1]), np.nan)
    off = (
        (quick(name, 30).fit(x[:120], source=source[:120]).transform(absent, source=source[120:]) - x[120:]) ** 2
    ).mean()
    assert off < 0.5
    shuffled = np.random.default_rng(3).permutation(120)
    off = (
        (quick(name, 30).fit(x[shuffled], source=source[:120]).transform(absent, source=source[120:]) - x[120:]) ** 2
    ).mean()
    assert off > 0.95 * (x[120:] - x[:120].mean(axis=0)).var()


@pytest.mark.parametrize("name", FROM_ENTRIES)
def test_entries_of_low_rank_data_are_predicted_better_than_by_the_mean(name):
    x, source = tables()
    gaps = hidden(x)
    shown = np.where(gaps, np.nan, x)
    filled = quick(name, 30).fit(shown[:120], source=source[:120]).transform(shown[120:], source=source[120:])
    assert ((filled - x[120:])[gaps[120:]] ** 2).mean() < 0.4


@pytest.mark.parametrize("name", NAMES)
def test_a_feature_that_was_never_observed_stays_empty(name):
    x, source = tables(n=60)
    x[:, 4] = np.nan
    method = quick(name).fit(x, source=source)
    absent = np.full((3, x.shape[1]), np.nan)
    filled = method.transform(absent, source=source[:3])
    assert np.isnan(filled[:, 4]).all()
    assert np.isfinite(np.delete(filled, 4, axis=1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_works_without_a_source_and_is_cloned(name):
    x, _ = tables(n=60)
    gaps = hidden(x)
    shown = np.where(gaps, np.nan, x)
    filled = clone(quick(name)).fit_transform(shown)
    assert np.isfinite(filled).all()


@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_knn_is_that_of_scikit_learn(rate):
    x, _ = tables(n=90)
    shown = np.where(hidden(x, rate), np.nan, x)
    theirs = KNNImputer(n_neighbors=7).fit(shown[:60]).transform(shown[60:])
    ours = make({"knn": {"k": 7}})[1].fit(shown[:60]).transform(shown[60:])
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 60),
    f=st.integers(1, 12),
    k=st.integers(1, 12),
    rate=st.floats(0.0, 0.9),
    scale=st.sampled_from([1e-12, 1.0, 1e9]),
    shift=st.sampled_from([0.0, 100.0]),
    seed=st.integers(0, 99),
)
def test_knn_is_that_of_scikit_learn_whatever_is_missing(n, f, k, rate, scale, shift, seed):
    rng = np.random.default_rng(seed)
    x = scale * (rng.normal(size=(n + 6, f)) + shift)
    shown = np.where(rng.random(x.shape) < rate, np.nan, x)
    shown[0] = x[0]
    theirs = KNNImputer(n_neighbors=k, keep_empty_features=True).fit(shown[:n]).transform(shown[n:])
    ours = make({"knn": {"k": k}})[1].fit(shown[:n]).transform(shown[n:])
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * scale)


def nearest_means(shown, row, k):
    """kNN as its formula has it; of donors at the same distance the earlier one first."""
    both = ~np.isnan(shown) & ~np.isnan(row)
    n = both.sum(axis=1)
    squares = np.where(both, (np.nan_to_num(shown) - np.nan_to_num(row)) ** 2, 0).sum(axis=1)
    order = np.argsort(np.where(n > 0, squares * len(row) / np.maximum(n, 1), np.inf), kind="stable")
    order = [i for i in order if n[i] > 0]
    return [np.mean([shown[i, j] for i in order if not np.isnan(shown[i, j])][:k]) for j in range(len(row))]


@pytest.mark.parametrize("levels", [2, 5])
def test_knn_takes_the_earlier_of_donors_that_are_equally_far(levels):
    x = np.random.default_rng(levels).integers(0, levels, size=(70, 9)).astype(float)
    shown = np.where(hidden(x, 0.25), np.nan, x)
    ours = make({"knn": {"k": 3}})[1].fit(shown[:60]).transform(shown[60:])
    brute = np.array([nearest_means(shown[:60], row, 3) for row in shown[60:]])
    np.testing.assert_allclose(ours, np.where(np.isnan(shown[60:]), brute, shown[60:]), atol=1e-12)


def test_knn_finds_neighbours_far_down_the_list():
    x, _ = tables(n=900)
    shown = np.where(hidden(x, 0.1), np.nan, x)
    shown[20:800, 3] = np.nan
    theirs = KNNImputer(n_neighbors=5).fit(shown[:800]).transform(shown[800:])
    ours = make({"knn": {"k": 5}})[1].fit(shown[:800]).transform(shown[800:])
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_knn_of_whole_rows_is_that_of_the_nearest_in_the_source():
    from sklearn.neighbors import KNeighborsRegressor

    x, source = tables(n=700)
    theirs = KNeighborsRegressor(4).fit(source[:600], x[:600]).predict(source[600:])
    absent = np.full((100, x.shape[1]), np.nan)
    ours = make({"knn": {"k": 4}})[1].fit(x[:600], source=source[:600]).transform(absent, source=source[600:])
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_low_rank_chooses_among_samples_that_show_something():
    x, _ = tables()
    shown = np.where(hidden(x, 0.2), np.nan, x)
    absent = np.full((400, x.shape[1]), np.nan)  # nearly all that a draw of all samples would set aside
    some = make("low_rank")[1].fit(shown[:40])
    many = make("low_rank")[1].fit(np.vstack([absent, shown[:40]]))
    assert many.penalty_ == pytest.approx(some.penalty_, rel=0.9)
    off = {m: ((m.transform(shown[100:]) - x[100:])[np.isnan(shown[100:])] ** 2).mean() for m in (some, many)}
    assert off[many] < 1.5 * off[some]


def test_low_rank_chooses_a_penalty_that_serves_samples_it_has_not_seen():
    rng = np.random.default_rng(0)  # more segments than samples can tell apart, and features of which half is missing
    segments = 0.3 * rng.integers(-1, 2, size=(150, 60)) @ rng.normal(size=(60, 60))
    x = np.repeat(segments, 5, axis=1).round().clip(-2, 2)
    hidden = np.zeros(x.shape, dtype=bool)
    for j in rng.permutation(300)[:60]:
        hidden[rng.permutation(150)[:75], j] = True
    shown = np.where(hidden, np.nan, x)
    filled = make("low_rank")[1].fit(shown[:120]).transform(shown[120:])
    off = (filled - x[120:])[hidden[120:]]
    assert (off**2).mean() < 0.5 * x[120:][hidden[120:]].var()


@pytest.mark.parametrize(("options", "most"), [({}, 0.01), ({"rank": 3}, 0.005)])
def test_low_rank_recovers_a_low_rank_matrix(options, most):
    x, _ = tables(n=200, f=60, noise=0.0)
    gaps = hidden(x, 0.3)
    shown = np.where(gaps, np.nan, x)
    filled = make({"low_rank": options})[1].fit(shown[:150]).transform(shown[150:])
    assert ((filled - x[150:])[gaps[150:]] ** 2).mean() < most


def test_ridge_is_that_of_scikit_learn():
    from sklearn.linear_model import Ridge

    x, source = tables()
    method = make({"ridge": {"penalty": 0.1}})[1].fit(x[:120], source=source[:120])
    theirs = Ridge(alpha=method.penalty_).fit(source[:120], x[:120]).predict(source[120:])
    absent = np.full((40, x.shape[1]), np.nan)
    np.testing.assert_allclose(method.transform(absent, source=source[120:]), theirs, atol=1e-8)


def test_leaving_one_out_needs_no_refit():
    from isthmus.impute.linear import Decomposition

    x, source = tables(n=30)
    parts = Decomposition.of(source - source.mean(axis=0))
    from sklearn.linear_model import Ridge

    brute = []
    for i in range(30):
        rest = np.delete(np.arange(30), i)
        brute.append(Ridge(alpha=2.0).fit(source[rest], x[rest]).predict(source[i : i + 1])[0])
    y = x - x.mean(axis=0)
    np.testing.assert_allclose(parts.left_out(y, 2.0) + x.mean(axis=0), brute, atol=1e-8)


def test_correlated_features_find_the_neighbour():
    rng = np.random.default_rng(0)
    segments = np.repeat(rng.normal(size=(200, 10)), 6, axis=1) + 0.05 * rng.normal(size=(200, 60))
    gaps = hidden(segments, 0.2)
    shown = np.where(gaps, np.nan, segments)
    off = {
        m: ((make(m)[1].fit(shown[:150]).transform(shown[150:]) - segments[150:])[gaps[150:]] ** 2).mean()
        for m in ("correlated_features", "knn")
    }
    assert off["correlated_features"] < 0.01 < off["knn"]


class Says(Imputer):
    """A member of a blend whose answer is given."""

    def __init__(self, said):
        self.said = said

    def learn(self, x, source, classes):
        """Nothing to learn."""

    def predict(self, x, source, classes):
        return self.said


def test_the_weights_of_a_blend_are_non_negative_least_squares():
    rng = np.random.default_rng(0)
    truth, shared = rng.normal(size=(2, 40, 12))
    said = {
        "a": truth + shared + rng.normal(size=truth.shape),
        "b": 0.5 * truth + rng.normal(size=truth.shape),
        "c": truth + 2 * shared,
        "d": shared + 0.2 * rng.normal(size=truth.shape),
    }
    hide = rng.random(truth.shape) < 0.3
    found = _weights({m: Says(s).fit(truth) for m, s in said.items()}, truth, hide, None)
    mean = truth.mean(axis=0)
    design = np.stack([(s - mean)[hide] for s in said.values()], axis=1)
    left = (truth - mean)[hide]
    assert np.linalg.lstsq(design, left)[0].min() < -0.1  # so the bound is felt
    np.testing.assert_allclose(list(found.values()), nnls(design, left)[0], atol=1e-9)


def test_a_blend_is_no_worse_than_its_worst_member_and_near_its_best():
    x, source = tables()
    gaps = hidden(x)
    shown = np.where(gaps, np.nan, x)
    off = {
        m: (
            (quick(m).fit(shown[:120], source=source[:120]).transform(shown[120:], source=source[120:]) - x[120:])[
                gaps[120:]
            ]
            ** 2
        ).mean()
        for m in ("blend", "low_rank", "correlated_features", "component_ridge")
    }
    assert off["blend"] < 1.1 * min(off.values())


def test_wrong_names_options_and_tables():
    with pytest.raises(RecipeError, match="'knn'"):
        make("kn")
    with pytest.raises(RecipeError, match=r"knn\.kk"):
        make({"knn": {"kk": 3}})
    for wrong, wanted in (
        ({"knn": {"k": "five"}}, "knn.k: wrong value; met 'five'; wanted a whole number"),
        ({"correlated_features": {"k": 0}}, "k: wrong value; met 0; wanted at least 1"),
        ({"knn": {"k": 0}}, "knn.k: wrong value; met 0; wanted at least 1"),
        ({"ridge": {"penalty": -1}}, "ridge.penalty: wrong value; met -1; wanted above 0"),
        ({"published": {"epochs": 0}}, "published.epochs: wrong value"),
        ({"low_rank": {"rank": 0}}, "low_rank.rank: wrong value"),
        ({"pls": {"components": [5, 0]}}, "pls.components.1: wrong value"),
        ({"miwae": {"epochs": 0}}, "miwae.epochs: wrong value"),
        ({"scikit_learn": {"estimator": "knm"}}, "wanted 'iterative', 'knn' or 'simple'"),
    ):
        with pytest.raises(RecipeError, match=re.escape(wanted)):
            make(wrong)
    assert make({"pls": {"components": [5, 10]}})[1].components == (5, 10)
    for name, option, value, wanted in (
        ("knn", "k", 0, "KNN.k: wrong value; met 0; wanted at least 1"),
        ("knn", "k", "5", "KNN.k: wrong value; met '5'; wanted a whole number"),
        ("low_rank", "rank", 0, "LowRank.rank: wrong value; met 0; wanted at least 1"),
        ("ridge", "penalty", "1", "Ridge.penalty: wrong value; met '1'; wanted a number"),
        ("pls", "components", [5, 0], "PLS.components.1: wrong value"),
        ("bounded_ridge", "weights", (), "BoundedRidge.weights: wrong value; met (); wanted at least 1"),
        ("miwae", "settings", 3, "MIWAEImputer.settings: wrong value; met 3; wanted keys and values"),
    ):  # built in Python, and nothing is said before it is used, as scikit-learn has it
        method = make(name)[1].set_params(**{option: value})
        for use in (method.fit, lambda _, built=method: make(built)):
            with pytest.raises(RecipeError, match=re.escape(wanted)):
                use(np.eye(3))
    numbers = make("knn")[1].set_params(k=np.int64(2))  # of a grid of numpy's numbers
    assert numbers.fit(np.eye(3)).get_params() == {"k": 2}
    with pytest.raises(DataError, match="no observed entry"):
        make("mean")[1].fit(np.full((3, 2), np.nan))
    with pytest.raises(DataError, match="other features"):
        make("mean")[1].fit(np.ones((3, 2))).transform(np.ones((3, 4)))
    with pytest.raises(DataError, match="infinite"):
        make("mean")[1].fit(np.array([[np.inf, 1.0]]))


def test_draws_of_miwae_scatter_about_what_it_fills():
    x, source = tables(n=60, f=6, p=5)
    gaps = hidden(x)
    shown = np.where(gaps, np.nan, x)
    method = quick("miwae", 5).fit(shown[:40], source=source[:40])
    filled = method.transform(shown[40:], source=source[40:])
    draws = method.multiple(shown[40:], 3000, source=source[40:])
    np.testing.assert_array_equal(draws[:, ~gaps[40:]], np.broadcast_to(x[40:][~gaps[40:]], (3000, (~gaps[40:]).sum())))
    error = (draws.mean(axis=0) - filled)[gaps[40:]] / (draws.std(axis=0)[gaps[40:]] / np.sqrt(3000))
    assert np.abs(error).max() < 4.5
    assert draws.std(axis=0)[gaps[40:]].min() > 0.05


def test_looking_methods_up_imports_no_torch():
    code = "import sys; from isthmus.impute.imputer import make; make('miwae'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_source_feature_that_was_never_observed_is_no_trouble():
    x, source = tables(n=40)
    source[:, 3] = np.nan
    for name in ("miwae", "masked_autoencoder", "ridge", "component_ridge", "pls", "knn", "low_rank"):
        absent = np.full((4, x.shape[1]), np.nan)
        filled = quick(name).fit(x[:36], source=source[:36]).transform(absent, source=source[36:])
        assert np.isfinite(filled).all(), name


@pytest.mark.parametrize(("n", "gaps"), [(1300, False), (1300, True), (40, True)])
def test_ridge_in_parts_is_that_of_scikit_learn(n, gaps):
    from sklearn.linear_model import Ridge

    x, source = tables(n=n + 10, f=6, p=60)
    shown = np.where(hidden(x, 0.2) & gaps, np.nan, x)
    method = make({"ridge": {"penalty": 0.1}})[1].fit(shown[:n], source=source[:n])
    y, means = shown[:n], np.nanmean(shown[:n], axis=0)
    for _ in range(3):
        theirs = Ridge(alpha=method.penalty_, fit_intercept=False).fit(
            source[:n] - source[:n].mean(axis=0), np.nan_to_num(y - means)
        )
        y = np.where(np.isnan(shown[:n]), means + theirs.predict(source[:n] - source[:n].mean(axis=0)), shown[:n])
    np.testing.assert_allclose(method.coefficients_, theirs.coef_.T, atol=1e-9)


def test_large_tables_are_decomposed_as_small_ones_are(monkeypatch):
    from isthmus.impute import linear

    x, source = tables(n=200, f=90, p=60)
    y, centred = x - x.mean(axis=0), source - source.mean(axis=0)
    exact, (_, loadings) = linear.Decomposition.of(centred).losses(y), linear.strongest(y, 3)
    monkeypatch.setattr(linear, "SINGLE", 5)
    assert linear.Decomposition.of(centred).u.dtype == np.float32
    np.testing.assert_allclose(linear.Decomposition.of(centred).losses(y), exact, rtol=1e-3)
    scores, approximate = linear.strongest(y, 3)
    np.testing.assert_allclose(np.linalg.svd(loadings.T @ approximate)[1], 1, atol=1e-5)
    np.testing.assert_allclose((scores**2).sum(axis=0), np.linalg.svd(y)[1][:3] ** 2, rtol=1e-4)


def test_component_ridge_keeps_the_strongest_components(monkeypatch):
    from isthmus.impute.methods import component_ridge

    monkeypatch.setattr(component_ridge, "MOST_COMPONENTS", 3)
    x, source = tables()
    absent = np.full((40, x.shape[1]), np.nan)
    filled = make("component_ridge")[1].fit(x[:120], source=source[:120]).transform(absent, source=source[120:])
    assert ((filled - x[120:]) ** 2).mean() < 0.5


def test_pls_is_that_of_scikit_learn():
    from sklearn.cross_decomposition import PLSRegression

    x, source = tables(n=300, f=50, p=60, rank=12)
    method = make({"pls": {"components": (6,)}})[1].fit(x[:250], source=source[:250])
    theirs = PLSRegression(6, scale=False, max_iter=5000, tol=1e-14).fit(source[:250], x[:250]).predict(source[250:])
    absent = np.full((50, x.shape[1]), np.nan)
    np.testing.assert_allclose(method.transform(absent, source=source[250:]), theirs, atol=2e-3)


def test_correlated_features_of_a_large_table_are_those_of_a_small_one(monkeypatch):
    from isthmus.impute.methods import correlated_features

    x, _ = tables()
    shown = np.where(hidden(x), np.nan, x)
    filled = []
    for most in (10**9, 1):
        monkeypatch.setattr(correlated_features, "LARGE", most)
        filled.append(make("correlated_features")[1].fit(shown[:120]).transform(shown[120:]))
    np.testing.assert_allclose(*filled, atol=1e-3)


def test_networks_train_for_fewer_epochs_on_large_cohorts():
    sizes = (100, 765, 6651, 10**6)
    assert [make("mosaic_vae")[1]._loop(n)["epochs"] for n in sizes] == [200, 200, 13, 12]
    assert [make("translator")[1]._loop(n)["epochs"] for n in sizes] == [126, 126, 8, 8]
    assert make({"translator": {"epochs": 90}})[1]._loop(10**6)["epochs"] == 90
