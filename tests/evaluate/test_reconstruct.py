import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from isthmus.errors import DataError
from isthmus.evaluate import arrays, feature_means, reconstruction, reconstruction_by_feature
from isthmus.evaluate.baselines import mean_reconstruction


def cohort(seed=0, n=40, f=12):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, f)) * rng.uniform(0.5, 3, f) + rng.normal(size=f) * 5
    return x, x + rng.normal(size=(n, f)), x.mean(axis=0) + 0.1


def test_agrees_with_definitions_computed_by_hand():
    x, x_hat, reference = cohort()
    scores = reconstruction(x, x_hat, reference=reference)
    e, t = (x - x_hat) ** 2, (x - reference) ** 2
    expected = {
        "r2": 1 - e.sum() / t.sum(),
        "r2_sample": np.mean(1 - e.sum(1) / t.sum(1)),
        "r2_feature": np.mean(1 - e.sum(0) / t.sum(0)),
        "r2_paper": np.mean([r2_score(a, b) for a, b in zip(x, x_hat, strict=True)]),
        "mse": mean_squared_error(x, x_hat),
        "mae": mean_absolute_error(x, x_hat),
        "pearson_feature": np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, x_hat.T, strict=True)]),
        "pearson_sample": np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(x, x_hat, strict=True)]),
        "n_samples": 40,
        "n_features": 12,
        "n_entries": 480,
        "n_features_constant": 0,
    }
    assert scores == pytest.approx(expected, rel=1e-10)


def test_by_feature_agrees_with_sklearn_where_the_reference_is_the_mean_of_these_samples():
    x, x_hat, _ = cohort()
    table = reconstruction_by_feature(x, x_hat, features=[f"g{k}" for k in range(12)], reference=x.mean(axis=0))
    np.testing.assert_allclose(table["r2"], r2_score(x, x_hat, multioutput="raw_values"))
    np.testing.assert_allclose(table["mse"], mean_squared_error(x, x_hat, multioutput="raw_values"))
    assert table["feature"].tolist()[:2] == ["g0", "g1"]
    assert (table["n"] == 40).all()


def test_perfect_is_one_and_the_train_mean_is_nought():
    x, _, reference = cohort()
    perfect = reconstruction(x, x, reference=reference)
    assert all(perfect[k] == 1 for k in ("r2", "r2_sample", "r2_feature", "r2_paper"))
    assert perfect["pearson_feature"] == pytest.approx(1)
    mean = reconstruction(x, mean_reconstruction(reference[None].repeat(2, 0), x), reference=reference)
    assert [mean[k] for k in ("r2", "r2_sample", "r2_feature")] == pytest.approx([0, 0, 0], abs=1e-12)
    assert mean["pearson_feature"] == 0


def test_the_published_definition_flatters():
    x, _, reference = cohort()
    mean = np.broadcast_to(reference, x.shape)
    assert reconstruction(x, mean, reference=reference)["r2_paper"] > 0.5


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.booleans())
def test_unobserved_entries_do_not_matter(seed, rate, as_nan):
    rng = np.random.default_rng(seed)
    x, x_hat, reference = cohort(seed, n=9, f=5)
    observed = rng.uniform(size=x.shape) >= rate
    other, other_hat = x.copy(), x_hat.copy()
    other[~observed] = np.nan if as_nan else 1e6
    other_hat[~observed] = rng.choice([np.nan, np.inf, -1e9])
    a = reconstruction(x, x_hat, observed=observed, reference=reference)
    b = reconstruction(other, other_hat, observed=None if as_nan else observed, reference=reference)
    assert a == pytest.approx(b, nan_ok=True, rel=1e-12)
    seen = [(x - x_hat)[observed], (x - reference)[observed]]
    assert a["n_entries"] == observed.sum()
    expected = 1 - (seen[0] ** 2).sum() / (seen[1] ** 2).sum() if observed.any() else np.nan
    assert a["r2"] == pytest.approx(expected, nan_ok=True, abs=1e-9)
    for name, k in (("pearson_feature", 0), ("pearson_sample", 1)):
        columns = [(p[m], q[m]) for p, q, m in zip(*((v if k else v.T) for v in (x, x_hat, observed)), strict=True)]
        r = [np.corrcoef(p, q)[0, 1] for p, q in columns if len(p) > 1]
        assert a[name] == pytest.approx(np.mean(r) if r else np.nan, nan_ok=True, rel=1e-6, abs=1e-6)


def test_a_mask_of_width_one_speaks_for_whole_samples():
    x, x_hat, reference = cohort()
    rows = np.arange(40) % 3 == 0
    a = reconstruction(x, x_hat, observed=rows[:, None], reference=reference)
    assert a == pytest.approx(reconstruction(x[rows], x_hat[rows], reference=reference))


def test_csr_and_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    x = rng.poisson(0.5, (50, 8)).astype(float)
    x_hat = x + rng.normal(size=x.shape)
    a = reconstruction(x, x_hat, reference=x.mean(axis=0))
    monkeypatch.setattr(arrays, "BLOCK", 24)
    b = reconstruction(sp.csr_matrix(x), x_hat, reference=feature_means(sp.csr_matrix(x)))
    assert a == pytest.approx(b)


def test_features_without_variance_are_left_out_and_counted():
    x, x_hat, reference = cohort()
    x[:, 3] = 0.1 + 0.2
    scores = reconstruction(x, x_hat, reference=reference)
    rest = np.delete(np.arange(12), 3)
    without = reconstruction(x[:, rest], x_hat[:, rest], reference=reference[rest])
    assert scores["n_features_constant"] == 1
    assert scores["r2_feature"] == pytest.approx(without["r2_feature"])
    table = reconstruction_by_feature(x, x_hat, features=list("abcdefghijkl"), reference=reference)
    assert table.loc[3, ["r2", "pearson"]].isna().all()
    assert table.loc[3, "mse"] == pytest.approx(((x - x_hat)[:, 3] ** 2).mean())


def test_nothing_observed_gives_nan():
    x, x_hat, reference = cohort()
    scores = reconstruction(x, x_hat, observed=np.zeros(x.shape, bool), reference=reference)
    assert all(np.isnan(v) for k, v in scores.items() if not k.startswith("n_"))
    assert all(v == 0 for k, v in scores.items() if k.startswith("n_"))
    assert np.isnan(reconstruction(x[:0], x_hat[:0], reference=reference)["r2"])


def test_a_feature_that_train_never_saw_is_left_out():
    x, x_hat, reference = cohort()
    reference[0] = np.nan
    a = reconstruction(x, x_hat, reference=reference)
    assert a == pytest.approx(reconstruction(x[:, 1:], x_hat[:, 1:], reference=reference[1:]))


def test_feature_means_ignore_missing_entries_dense_and_sparse():
    x = np.array([[1.0, 0.0, np.nan], [3.0, np.nan, np.nan], [0.0, 6.0, np.nan]])
    np.testing.assert_allclose(feature_means(x), [4 / 3, 3, np.nan])
    np.testing.assert_allclose(feature_means(sp.csr_matrix(x)), [4 / 3, 3, np.nan])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x_hat": np.zeros((40, 11))}, "x_hat"),
        ({"x_hat": np.zeros((39, 12))}, "x_hat"),
        ({"reference": np.zeros(11)}, "reference"),
        ({"observed": np.ones((40, 11), bool)}, "observed"),
        ({"observed": np.ones((40, 12))}, "mask"),
        ({"x_hat": np.full((40, 12), np.nan)}, "NaN"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, says):
    x, x_hat, reference = cohort()
    with pytest.raises(DataError, match=says):
        reconstruction(**({"x": x, "x_hat": x_hat, "reference": reference} | change))


def test_feature_names_are_counted():
    x, x_hat, reference = cohort()
    with pytest.raises(DataError, match="one name per feature"):
        reconstruction_by_feature(x, x_hat, features=["a"], reference=reference)
