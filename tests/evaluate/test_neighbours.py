import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import silhouette_score

from isthmus.errors import DataError
from isthmus.evaluate import batch_mixing, clustering, neighbours


def blobs(apart, n=150, seed=0):
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 3
    centres = apart * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return rng.normal(size=(n, 2)) + centres[kind], pd.Series(kind).map({0: "a", 1: "b", 2: "c"})


def test_separate_classes_are_perfect_and_mixed_ones_are_chance():
    apart = clustering(*blobs(40))
    assert apart["ari"] == apart["knn_purity"] == 1
    assert apart["nmi"] == pytest.approx(1)
    assert apart["silhouette"] > 0.9
    mixed = clustering(*blobs(0))
    assert abs(mixed["ari"]) < 0.05
    assert mixed["nmi"] < 0.1
    assert mixed["silhouette"] < 0.02
    assert mixed["knn_purity"] == pytest.approx(1 / 3, abs=0.06)


def test_more_apart_is_better():
    scores = [clustering(*blobs(a)) for a in (1, 2, 4)]
    for name in scores[0]:
        assert scores[0][name] < scores[1][name] < scores[2][name]


def test_neighbour_purity_by_brute_force():
    z, kind = blobs(2)
    distance = ((z[:, None] - z) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    near = np.argsort(distance, axis=1)[:, :7]
    expected = (kind.to_numpy()[near] == kind.to_numpy()[:, None]).mean()
    assert clustering(z, kind, k=7)["knn_purity"] == pytest.approx(expected)
    assert clustering(z, kind)["silhouette"] == pytest.approx(silhouette_score(z, kind))


def test_missing_labels_are_left_out():
    z, kind = blobs(2)
    gaps = kind.where(np.arange(150) % 5 > 0)
    assert clustering(z, gaps) == clustering(z[gaps.notna()], kind[gaps.notna()])


def test_what_has_no_classes_is_nan_and_copies_do_no_harm():
    z, _ = blobs(2)
    assert all(np.isnan(v) for v in clustering(z, np.array(["a"] * 150)).values())
    assert all(np.isnan(v) for v in clustering(z[:2], np.array(["a", "b"])).values())
    collapsed = clustering(np.zeros((150, 2)), blobs(2)[1])
    assert collapsed["ari"] == 0


def test_large_embeddings_are_sampled_for_the_silhouette(monkeypatch):
    z, kind = blobs(3, n=900)
    full = clustering(z, kind)["silhouette"]
    monkeypatch.setattr(neighbours, "SILHOUETTE_ROWS", 300)
    drawn = clustering(z, kind)["silhouette"]
    assert drawn != full
    assert drawn == pytest.approx(full, abs=0.06)


def test_batches_apart_are_nought_and_batches_mixed_are_near_one():
    z, kind = blobs(60)
    assert batch_mixing(z, kind) == 0
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 3))
    even = rng.integers(0, 2, 2000)
    assert batch_mixing(z, even) == pytest.approx(0.95, abs=0.02)
    assert batch_mixing(z, even, k=200) == pytest.approx(1, abs=0.01)
    uneven = (rng.uniform(size=2000) < 0.1).astype(int)
    assert batch_mixing(z, uneven, k=200) == pytest.approx(1, abs=0.03)
    shifts = [batch_mixing(z + s * even[:, None], even) for s in (0, 1, 2, 4)]
    assert sorted(shifts, reverse=True) == shifts
    assert np.isnan(batch_mixing(z, np.zeros(2000)))


def test_wrong_input_is_named():
    with pytest.raises(DataError, match="labels"):
        clustering(np.zeros((3, 2)), np.array(["a", "b"]))
    with pytest.raises(DataError, match="finite"):
        batch_mixing(np.full((2, 2), np.nan), np.array(["a", "b"]))
