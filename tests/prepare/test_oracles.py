"""Steps against other people's implementations and against formulas worked by hand."""

import kmedoids as oracle
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn import preprocessing

from isthmus.data.table import Table
from isthmus.errors import DataError
from isthmus.prepare import Pipeline, columns, kmedoids
from isthmus.prepare.correlation import Distance
from isthmus.prepare.m_score import m_score


def table(x, features=None):
    named = pd.Index([f"g{i:04d}" for i in range(x.shape[1])], dtype=object) if features is None else features
    return Table(x, named, np.ones(x.shape[0], dtype=bool))


def ready(entry, x, new=None):
    pipeline = Pipeline([entry]).fit(table(x))
    return pipeline.transform(table(x if new is None else new)).x


def draws(seed=0, n=60, f=9):
    return np.random.default_rng(seed).gamma(1.5, 2.0, size=(n, f))


@pytest.mark.parametrize(
    ("entry", "scaler"),
    [
        ({"standardise": {"limit": None}}, preprocessing.StandardScaler()),
        ("robust", preprocessing.RobustScaler()),
        ("minmax", preprocessing.MinMaxScaler()),
        ({"minmax": {"low": -1, "high": 2}}, preprocessing.MinMaxScaler(feature_range=(-1, 2))),
        ("maxabs", preprocessing.MaxAbsScaler()),
    ],
)
def test_scaling_is_that_of_scikit_learn(entry, scaler):
    x, new = draws(), draws(1)
    x[:, 4] = 3.0
    scaler.fit(x)
    np.testing.assert_allclose(ready(entry, x, new), scaler.transform(new), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("entry", ["standardise", "robust", "minmax", "maxabs"])
def test_statistics_with_gaps_are_those_of_the_observed_values_alone(entry):
    x = draws()
    x[np.random.default_rng(2).random(x.shape) < 0.3] = np.nan
    out = ready(entry, x)
    for column in range(x.shape[1]):
        some = ~np.isnan(x[:, column])
        alone = ready(entry, x[some][:, [column]])
        np.testing.assert_allclose(out[some, column], alone[:, 0], rtol=1e-12, atol=1e-12)


def test_a_near_constant_feature_is_held_within_the_limit():
    x = np.zeros((100, 2))
    x[:, 0] = np.linspace(-1, 1, 100)
    x[0, 1] = 1e-3
    new = np.full((1, 2), 5.0)
    assert ready({"standardise": {"limit": None}}, x, new)[0, 1] > 1000
    np.testing.assert_array_equal(ready("standardise", x, new), [[5 / x[:, 0].std(), 10.0]])
    np.testing.assert_array_equal(ready({"standardise": 4}, x, new), [[4.0, 4.0]])


def test_standardising_without_centring_keeps_a_sparse_table_sparse():
    x = sp.random(50, 8, density=0.3, format="csr", random_state=0)
    out = ready({"standardise": {"centre": False, "limit": None}}, sp.csr_matrix(x))
    assert out.nnz == x.nnz
    np.testing.assert_allclose(out.toarray(), x.toarray() / x.toarray().std(axis=0), rtol=1e-12)


@pytest.mark.parametrize("thin", [False, True])
def test_moments_and_quantiles_are_those_of_numpy(thin):
    x = draws() * (np.random.default_rng(3).random((60, 9)) < 0.6)
    x[np.random.default_rng(4).random(x.shape) < 0.2] = np.nan
    given = sp.csr_matrix(x) if thin else x
    found = columns.moments(given)
    np.testing.assert_array_equal(found.count, (~np.isnan(x)).sum(axis=0))
    np.testing.assert_allclose(found.mean, np.nanmean(x, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.var, np.nanvar(x, axis=0), rtol=1e-12)
    np.testing.assert_array_equal([found.low, found.high], [np.nanmin(x, axis=0), np.nanmax(x, axis=0)])
    np.testing.assert_allclose(
        columns.quantiles(given, (0.1, 0.5, 0.9)), np.nanquantile(x, (0.1, 0.5, 0.9), axis=0), rtol=1e-12
    )
    median = np.nanmedian(x, axis=0)
    np.testing.assert_allclose(columns.mad(given), np.nanmedian(np.abs(x - median), axis=0), rtol=1e-12)
    share = [np.mean(c[~np.isnan(c)] != 0) for c in x.T]
    np.testing.assert_allclose(columns.nonzero(given), share, rtol=1e-12)


def test_variance_survives_a_large_mean():
    x = 1e6 + np.random.default_rng(0).normal(size=(500, 3))
    np.testing.assert_allclose(columns.moments(sp.csr_matrix(x)).var, x.var(axis=0), rtol=1e-8)
    np.testing.assert_allclose(columns.moments(x.astype(np.float32)).var, x.astype(np.float32).var(0, np.float64), 1e-8)


def test_filters_keep_what_they_say():
    x = draws() * np.linspace(0.5, 5, 9)
    x[:, 2], x[:, 5] = 7.0, 0.0
    x[3:, 5] = np.nan
    x[:50, 6] = 0.0

    def kept(entry):
        return set(Pipeline([entry]).fit(table(x)).features_out_)

    def top(score, k):
        return {f"g{i:04d}" for i in np.argsort(-score)[:k]}

    assert kept({"top_variance": 3}) == top(np.nanvar(x, axis=0), 3)
    assert kept({"mad": 3}) == top(np.nanmedian(np.abs(x - np.nanmedian(x, axis=0)), axis=0), 3)
    assert {f"g{i:04d}" for i in range(9)} - kept("nonzero_variance") == {"g0002", "g0005"}
    assert {f"g{i:04d}" for i in range(9)} - kept({"detected_in": 0.2}) == {"g0005", "g0006"}
    with pytest.raises(DataError, match="no feature is left"):
        kept({"nonzero_variance": 1e9})


def test_normalised_samples_have_the_median_total():
    x = draws()
    x[4, 2] = np.nan
    out = ready("normalise_total", x)
    np.testing.assert_allclose(np.nansum(out, axis=1), np.median(np.nansum(x, axis=1)), rtol=1e-12)
    np.testing.assert_allclose(np.nansum(ready({"normalise_total": 10}, x), axis=1), 10.0, rtol=1e-12)


def test_clr_by_hand():
    x = np.array([[1.0, 3.0, 7.0], [0.0, np.nan, 3.0]])
    one = np.log([2, 4, 8]) - np.log(4)
    two = np.log([1, 4]) - np.log(4) / 2
    out = ready("clr", x)
    np.testing.assert_allclose(out[0], one, rtol=1e-12)
    np.testing.assert_allclose(out[1, [0, 2]], two, rtol=1e-12)
    back = Pipeline(["clr"]).fit(table(x)).inverse(out)
    np.testing.assert_allclose(back[0], np.array([2, 4, 8]) / 14, rtol=1e-12)
    with pytest.raises(DataError, match="pseudocount above 0"):
        ready({"clr": 0}, x)


def test_logarithms_by_hand():
    x = np.array([[0.0, 1.0, 3.0]])
    np.testing.assert_allclose(ready("log2", x), [[0, 1, 2]], rtol=1e-12)
    np.testing.assert_allclose(ready("log1p", x), np.log([[1, 2, 4]]), rtol=1e-12)
    np.testing.assert_allclose(ready({"arcsinh": 2}, x), np.arcsinh(x / 2), rtol=1e-12)
    wild = np.full((1, 3), 1e4, np.float32)
    for entry in ("log1p", "log2", "arcsinh"):
        assert np.isfinite(Pipeline([entry]).fit(table(x)).inverse(wild)).all()


def test_one_hot_by_hand():
    x = np.array([[0, 60], [1, 50], [1, np.nan], [np.nan, 40]])
    names = pd.Index(["sex", "age"], dtype=object)
    pipeline = Pipeline([{"one_hot": {"columns": ["sex"]}}]).fit(table(x, names))
    assert list(pipeline.features_out_) == ["sex=0", "sex=1", "sex=unknown", "age"]
    new = np.array([[1, 33], [2, 34], [np.nan, 35]])
    out = pipeline.transform(table(new, names)).x
    nan = np.nan
    np.testing.assert_array_equal(out, [[0, 1, 0, 33], [0, 0, 1, 34], [nan, nan, nan, 35]])
    np.testing.assert_array_equal(pipeline.inverse(out), [[1, 33], [nan, 34], [nan, 35]])
    np.testing.assert_array_equal(pipeline.inverse(np.array([[0.2, 0.9, -1, 3]])), [[1, 3]])
    later = Pipeline(["one_hot", "nonzero_variance", "standardise"]).fit(table(x[:, :1], names[:1]))
    assert list(later.features_out_) == ["sex=0", "sex=1"]
    np.testing.assert_array_equal(later.inverse(later.transform(table(x[:, :1], names[:1])).x), x[:, :1])
    with pytest.raises(DataError, match="'g0000': too many levels"):
        ready("one_hot", np.arange(60.0)[:, None])


def test_m_score_by_hand(tmp_path):
    genes, ids = pd.Index(["TP53", "KRAS", "XX"], dtype=object), pd.Index(["NA", "007"], dtype=object)
    cds = pd.Series({"KRAS": 500.0, "TP53": 1500.0})
    snv = pd.DataFrame([[3.0, 1.0, 1.0], [0.0, 2.0, 0.0]], index=ids, columns=genes)
    cna = pd.DataFrame([[-1.0, 0.5], [2.0, np.nan]], index=ids[::-1], columns=["KRAS", "TP53"])
    wanted = np.array([[3 / 1.5 + 0, 1 / 0.5 + 2, np.nan], [0 / 1.5 + 0.5, 2 / 0.5 + 1, np.nan]])
    wanted[0, 0] = np.nan
    np.testing.assert_allclose(m_score(snv, cna, cds), wanted, rtol=1e-12)
    cds.rename("length").to_csv(tmp_path / "cds.csv", index_label="gene")
    cna.to_csv(tmp_path / "cna.tsv", sep="\t")
    entry = {"m_score": {"cds": str(tmp_path / "cds.csv"), "cna": str(tmp_path / "cna.tsv")}}
    pipeline = Pipeline([entry]).fit(table(snv.to_numpy(), genes), "snv", ids=ids)
    assert list(pipeline.features_out_) == ["TP53", "KRAS"]
    out = pipeline.transform(table(snv.to_numpy(), genes), ids=ids).x
    np.testing.assert_allclose(out, wanted[:, :2], rtol=1e-12)
    assert "dropped 1 genes" in pipeline.report_[0]["message"]
    with pytest.raises(DataError, match="no such file"):
        Pipeline([{"m_score": {"cds": "nowhere.csv", "cna": "nowhere.csv"}}]).fit(table(snv.to_numpy(), genes), ids=ids)


def blocks_of_genes(seed, n=50, groups=12, size=15):
    """Features in groups that follow a common factor."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, groups))
    return np.repeat(factors, size, axis=1) * rng.choice([-1, 1], groups * size) + 0.6 * rng.normal(
        size=(n, groups * size)
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 2, 12, 40])
def test_fasterpam_is_as_good_as_the_published_one(seed, k):
    d = Distance(blocks_of_genes(seed), np.arange(180))(np.arange(180), np.arange(180))
    ours = [kmedoids.loss(d, kmedoids.fasterpam(d, k, rng=np.random.default_rng(s))) for s in range(3)]
    theirs = [oracle.fasterpam(d, k, random_state=s).loss for s in range(3)]
    assert min(ours) <= min(theirs) * 1.02
    assert np.mean(ours) <= np.mean(theirs) * 1.03


def test_fasterpam_ends_where_no_swap_helps():
    d = Distance(blocks_of_genes(7), np.arange(180))(np.arange(180), np.arange(180))
    medoids = kmedoids.fasterpam(d, 5, rng=np.random.default_rng(0))
    lowest = kmedoids.loss(d, medoids)
    others = np.setdiff1d(np.arange(180), medoids)
    swaps = [kmedoids.loss(d, np.append(np.delete(medoids, i), o)) for i in range(5) for o in others]
    assert min(swaps) >= lowest - 1e-5


def test_clara_comes_close_to_the_whole_matrix():
    x, p = blocks_of_genes(1, groups=20, size=30), 600
    block = Distance(x, np.arange(p))
    whole = block(np.arange(p), np.arange(p))
    exact = kmedoids.loss(whole, kmedoids.fasterpam(whole, 20, rng=np.random.default_rng(0)))
    sampled = kmedoids.clara(block, p, 20, rng=np.random.default_rng(0))
    chance = kmedoids.loss(whole, np.random.default_rng(0).choice(p, 20, replace=False))
    assert kmedoids.loss(whole, sampled) <= 1.1 * exact < 0.9 * chance


def test_one_medoid_stands_for_each_group_of_genes():
    x = blocks_of_genes(3)
    for exact in (1000, 10):
        kept = Pipeline([{"correlation": {"k": 12, "exact": exact}}]).fit(table(x)).features_out_
        assert {int(name[1:]) // 15 for name in kept} == set(range(12))


def test_distances_are_those_of_numpy_and_of_pairwise_complete_pandas():
    x = blocks_of_genes(2)[:, :20]
    every = np.arange(20)
    np.testing.assert_allclose(Distance(x, every)(every, every), 1 - np.abs(np.corrcoef(x.T)), atol=1e-6)
    np.testing.assert_allclose(Distance(sp.csr_matrix(x), every)(every, every[:3]), 1 - np.abs(np.corrcoef(x.T))[:, :3], atol=1e-6)  # fmt: skip  # noqa: E501
    x[np.random.default_rng(0).random(x.shape) < 0.3] = np.nan
    x[:, 4] = np.where(np.isnan(x[:, 4]), np.nan, 0.1)
    wanted = 1 - np.abs(pd.DataFrame(x).corr().fillna(0.0).to_numpy())
    np.fill_diagonal(wanted, 0.0)
    np.testing.assert_allclose(Distance(x, every)(every, every), wanted, atol=1e-6)
