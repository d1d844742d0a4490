import logging

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.decomposition import PCA

from isthmus.errors import DataError, RecipeError
from isthmus.evaluate import (
    baselines,
    feature_means,
    mean_reconstruction,
    pca_reconstruction,
    reconstruction,
    representations,
)

QUICK = ("pca", "random_features", "raw")


def low_rank(n=80, f=30, rank=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, f)) + 0.1 * rng.normal(size=(n, f))
    return x[: n // 2], x[n // 2 :]


def test_shapes_and_names():
    train, test = low_rank()
    found = representations(train, test, 4, which=QUICK)
    assert list(found) == ["pca", *(f"random_features/{k}" for k in range(5)), "raw"]
    assert all(a.shape == (40, 4) and b.shape == (40, 4) for k, (a, b) in found.items() if k != "raw")
    np.testing.assert_array_equal(found["raw"][1], test)


def test_random_features_are_columns_and_differ_between_draws():
    train, test = low_rank()
    found = representations(train, test, 3, which=("random_features",), repeats=4)
    columns = []
    for a, b in found.values():
        where = [int(np.flatnonzero((train == column[:, None]).all(axis=0))[0]) for column in a.T]
        np.testing.assert_array_equal(b, test[:, where])
        columns.append(tuple(where))
        assert len(set(where)) == 3
    assert len(set(columns)) == 4


def test_nothing_on_the_train_side_depends_on_test():
    train, test = low_rank()
    a = representations(train, test, 4, which=QUICK)
    b = representations(train, 100 - test[:7], 4, which=QUICK)
    for name in a:
        np.testing.assert_array_equal(a[name][0], b[name][0])


def test_same_seed_same_numbers():
    train, test = low_rank(n=1200, f=600)
    a, b = (representations(train, test, 4, which=QUICK, seed=3) for _ in range(2))
    assert all(np.array_equal(a[k][1], b[k][1]) for k in a)


def test_sparse_agrees_with_dense_and_stays_sparse(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.poisson(0.6, (60, 20)).astype(np.float64)
    train, test = x[:40], x[40:]
    dense = representations(train, test, 3, which=QUICK)
    monkeypatch.setattr(sp.csr_matrix, "toarray", _refused(sp.csr_matrix.toarray, most=100))
    found = representations(sp.csr_matrix(train), sp.csr_matrix(test), 3, which=QUICK)
    assert sp.issparse(found["raw"][0])
    for name in dense:
        if name == "pca":  # up to the sign of a component
            np.testing.assert_allclose(np.abs(found[name][1]), np.abs(dense[name][1]), atol=1e-8)
        elif name != "raw":
            np.testing.assert_array_equal(found[name][1], dense[name][1])


def _refused(toarray, most):
    def small(self, *arguments, **keys):
        assert self.shape[1] * self.shape[0] <= most * 2, "a whole CSR matrix became dense"
        return toarray(self, *arguments, **keys)

    return small


def test_missing_entries_count_as_nought():
    train, test = low_rank()
    train[0, 0] = test[0, 0] = np.nan
    found = representations(train, test, 4, which=("raw", "pca"))
    assert found["raw"][0][0, 0] == found["raw"][1][0, 0] == 0
    assert np.isnan(train[0, 0]), "the caller's array was written to"
    np.testing.assert_allclose(
        np.abs(found["pca"][1]), np.abs(PCA(4).fit(np.nan_to_num(train)).transform(np.nan_to_num(test))), atol=1e-8
    )


def test_pca_reconstruction_is_exact_at_full_rank_and_beats_the_mean_below():
    train, test = low_rank()
    train, test = train + 7, test + 7
    np.testing.assert_allclose(pca_reconstruction(train, test, 30), test, atol=1e-8)
    reference = feature_means(train)
    scores = [reconstruction(test, pca_reconstruction(train, test, d), reference=reference)["r2"] for d in (1, 2, 4)]
    assert 0 < scores[0] < scores[1] < scores[2] > 0.95
    mean = reconstruction(test, mean_reconstruction(train, test), reference=reference)
    assert mean["r2"] == pytest.approx(0, abs=1e-12)


def test_pca_reconstruction_does_not_care_for_units_where_entries_are_missing():
    train, test = low_rank()
    test[3, :5] = np.nan
    shift = np.arange(30.0)
    a = pca_reconstruction(train, test, 4) + shift
    np.testing.assert_allclose(a, pca_reconstruction(train + shift, test + shift, 4), atol=1e-7)


def test_sparse_pca_reconstruction_agrees_with_dense():
    rng = np.random.default_rng(0)
    x = rng.poisson(0.6, (60, 20)).astype(np.float64)
    a = pca_reconstruction(x[:40], x[40:], 3)
    np.testing.assert_allclose(a, pca_reconstruction(sp.csr_matrix(x[:40]), sp.csr_matrix(x[40:]), 3), atol=1e-8)


def test_umap_is_left_out_above_the_limit_with_its_reason(caplog):
    caplog.set_level(logging.INFO, logger="isthmus")
    train, test = low_rank()
    assert representations(train, test, 2, which=("umap",), umap_limit=39) == {}
    assert "39" in caplog.text


def test_umap_is_left_out_where_it_is_not_installed(caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="isthmus")
    monkeypatch.setattr(baselines, "find_spec", lambda name: None)
    train, test = low_rank()
    assert representations(train, test, 2, which=("umap",)) == {}
    assert "not installed" in caplog.text


@pytest.mark.slow
def test_umap_separates_two_groups_on_samples_it_has_not_seen():
    pytest.importorskip("umap")
    rng = np.random.default_rng(0)
    side = np.arange(80) % 2
    x = rng.normal(size=(80, 10)) + 10 * side[:, None]
    train, test = representations(x[:60], x[60:], 2, which=("umap",))["umap"]
    centres = np.stack([train[side[:60] == k].mean(axis=0) for k in (0, 1)])
    nearest = np.argmin(((test[:, None] - centres) ** 2).sum(axis=2), axis=1)
    np.testing.assert_array_equal(nearest, side[60:])


def test_more_dimensions_than_there_are_is_said_not_failed(caplog):
    caplog.set_level(logging.INFO, logger="isthmus")
    train, test = low_rank(n=12)
    found = representations(train, test, 50, which=QUICK)
    assert found["pca"][0].shape == (6, 6)
    assert found["random_features/0"][0].shape == (6, 30)
    assert "instead of 50" in caplog.text


def test_wrong_arguments_are_named():
    train, test = low_rank()
    with pytest.raises(RecipeError, match="did you mean 'pca'"):
        representations(train, test, 2, which=("pcaa",))
    with pytest.raises(RecipeError, match="dimensions"):
        representations(train, test, 0)
    with pytest.raises(DataError, match="features"):
        representations(train, test[:, 1:], 2)
    with pytest.raises(DataError, match="train"):
        pca_reconstruction(train[:1], test, 2)
