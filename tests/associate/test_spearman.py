"""All pairs against scipy's, the exact tail against counting, false discoveries against what was planted."""

import inspect
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from isthmus.associate import bicor, inputs, pairs, pearson, pools, ranks, spearman
from isthmus.associate.null import exact_counts, exact_p, t_null
from isthmus.errors import DataError, RecipeError


def tables(n=18, p=200, q=100, seed=0, links=()):
    rng = np.random.default_rng(seed)
    ids = [f"s{i}" for i in range(n)]
    x = pd.DataFrame(rng.normal(size=(n, p)), ids, [f"g{i}" for i in range(p)])
    y = pd.DataFrame(rng.normal(size=(n, q)), ids, [f"m{i}" for i in range(q)])
    for i, j, rho in links:
        y.iloc[:, j] = rho * x.iloc[:, i] + np.sqrt(1 - rho**2) * y.iloc[:, j]
    return x, y


def square(hits, x, y, column="rho"):
    return hits.table.pivot(index="x", columns="y", values=column).loc[x.columns, y.columns].to_numpy()


@pytest.mark.parametrize("n", range(2, 9))
def test_the_table_counts_every_order(n):
    counts = np.zeros(n * (n * n - 1) // 6 + 1)
    for order in permutations(range(n)):
        counts[sum((i - r) ** 2 for i, r in enumerate(order)) // 2] += 1
    np.testing.assert_array_equal(exact_counts(n), counts)


@pytest.mark.parametrize(
    ("n", "squares", "upper"),
    [(9, 48, 0.0484), (10, 58, 0.0240), (8, 14, 0.0077)],
)
def test_the_table_is_that_of_the_books(n, squares, upper):
    """Upper tails of Best & Roberts' and Kendall's tables: P(sum of squared differences <= squares)."""
    counts = exact_counts(n)
    assert counts[: squares // 2 + 1].sum() / counts.sum() == pytest.approx(upper, abs=6e-4)


def test_beyond_the_table_the_tail_goes_on():
    """With n = 21 left out of nothing, the continued ratio meets the table; t alone is far off."""
    from isthmus.associate.null import tail_ratio

    r = np.array([0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
    half = 6 / (21 * (21 * 21 - 1))
    rho = 1 - 2 * np.round((1 - r) / 2 * 1540) / 1540
    continued = t_null(19).p(rho - half) * tail_ratio(rho - half, 21)
    np.testing.assert_allclose(continued, exact_p(21).p(rho), rtol=0.02)
    assert t_null(19).p(np.array([0.9]))[0] < 0.3 * exact_p(21).p(np.array([0.9]))[0]


@pytest.mark.parametrize("n", [30, 120])
def test_beyond_the_table_permutations_agree(n):
    rng = np.random.default_rng(0)
    base = (np.arange(n) - (n - 1) / 2) / np.sqrt(n * (n * n - 1) / 12)
    r = np.abs(rng.permuted(np.broadcast_to(base, (200_000, n)), axis=1) @ base)
    for share in (0.1, 0.01, 0.001):
        assert exact_p(n).p(np.quantile(r, 1 - share)[None])[0] == pytest.approx(share, rel=0.12)


@pytest.mark.parametrize("rounded", [None, 0])
def test_every_pair_is_scipys(rounded):
    x, y = tables()
    y = y if rounded is None else y.round(rounded)
    hits = spearman(x, y, fdr=1)
    theirs = stats.spearmanr(x, y).statistic[:200, 200:]
    np.testing.assert_allclose(square(hits, x, y), theirs, atol=1e-12)
    np.testing.assert_allclose(hits.table["q"], stats.false_discovery_control(hits.table["p"]), rtol=1e-12)


@pytest.mark.parametrize(("kind", "oracle"), [(pearson, np.corrcoef)])
def test_pearson_is_numpys(kind, oracle):
    x, y = tables(p=30, q=20)
    theirs = oracle(x.T, y.T)[:30, 30:]
    hits = kind(x, y, fdr=1)
    np.testing.assert_allclose(square(hits, x, y), theirs, atol=1e-12)
    p = stats.pearsonr(x.iloc[:, 3], y.iloc[:, 4]).pvalue
    assert square(hits, x, y, "p")[3, 4] == pytest.approx(p, rel=1e-9)


def test_one_outlier_moves_pearson_and_not_the_biweight():
    x, y = tables(n=40, p=1, q=1)
    x.iloc[0, 0], y.iloc[0, 0] = 50.0, 50.0
    assert pearson(x, y, fdr=1).table["rho"][0] > 0.9
    assert abs(bicor(x, y, fdr=1).table["rho"][0]) < 0.5


@pytest.mark.parametrize("correction", ["bh", "by", "bonferroni", "storey"])
@pytest.mark.parametrize("ties", [False, True])
def test_two_passes_accept_what_one_list_would(correction, ties):
    x, y = tables(links=[(i, i, 0.97) for i in range(12)])
    y = y.round(1) if ties else y
    options = {"correction": correction, "fdr": 0.1, "null": "t"}
    every = spearman(x, y, **{**options, "fdr": 1}).table
    m = len(every)
    scale = {"bh": 1.0, "by": (1 / np.arange(1, m + 1)).sum(), "bonferroni": np.nan, "storey": np.nan}[correction]
    hits = spearman(x, y, **options)
    if correction == "bonferroni":
        wanted = int((every["p"] <= 0.1 / m).sum())
    elif correction == "storey":
        wanted = int((stats.false_discovery_control(every["p"]) * (every["p"] > 0.5).mean() * 2 <= 0.1).sum())
    else:
        wanted = int((stats.false_discovery_control(every["p"]) * scale <= 0.1).sum())
    assert abs(hits.n_hits - wanted) <= (1 if correction == "storey" else 0)
    assert wanted > 5
    assert hits.table["p"].max() == hits.threshold
    assert hits.n_tests == m


def test_missing_values_are_pairwise_complete():
    x, y = tables(n=25)
    x = x.mask(np.random.default_rng(1).random(x.shape) < 0.05)
    hits = spearman(x, y, fdr=1, null="t")
    got, n = square(hits, x, y), square(hits, x, y, "n")
    for i in range(200):
        both = x.iloc[:, i].notna()
        theirs = stats.spearmanr(x.iloc[:, i][both], y[both]).statistic[0, 1:]
        np.testing.assert_allclose(got[i], theirs, atol=1e-12)
        assert (n[i] == both.sum()).all()


def test_the_order_of_samples_does_not_matter_and_ids_join():
    x, y = tables(links=[(0, 0, 0.99)])
    a = spearman(x, y).table
    b = spearman(x, y.iloc[np.random.default_rng(0).permutation(len(y))]).table
    pd.testing.assert_frame_equal(a, b)
    assert a["x"][0] == "g0"
    assert a["y"][0] == "m0"


def count_in_numpy(tile, bins):
    """The oracle of the counting kernel."""
    b = np.minimum((np.abs(tile) * np.float32(bins)).astype(np.int64), bins - 1)
    return np.bincount(b.ravel(), minlength=bins)


@settings(max_examples=15, deadline=None)
@given(st.integers(5, 30), st.integers(1, 400), st.integers(1, 300), st.floats(0.2, 0.95))
def test_kernels_do_what_numpy_does(n, p, q, bound):
    rng = np.random.default_rng(n + p + q)
    a, b = (rng.normal(size=(k, n)) for k in (p, q))
    a, b = ((v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for v in (a, b))
    tile = a @ b.T
    counts = count_in_numpy(tile, pairs.BINS)
    ours = pairs.count(a, b, threads=2)
    assert ours.counts.sum() == p * q
    assert np.abs(np.cumsum(ours.counts - counts)).max() <= 2
    assert ours.peaks.max() == pytest.approx(np.abs(tile).max(), abs=1e-6)
    wanted = set(zip(*(v.tolist() for v in np.nonzero(np.abs(tile) >= bound)), strict=True))
    for peaks in (None, ours.peaks):
        rows, columns = pairs.listed(a, b, bound, peaks=peaks, threads=2)
        assert len(set(zip(rows.tolist(), columns.tolist(), strict=True)) ^ wanted) <= 1


def test_tiles_that_hold_no_pair_are_left_out_and_no_other(monkeypatch):
    monkeypatch.setattr(pairs, "TILE", (7, 5))
    x, y = tables(p=60, q=40, links=[(i, 2 * i, 0.97) for i in range(9)])
    few = spearman(x, y)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(few.table, spearman(x, y).table)
    assert few.n_hits >= 5


SITES = pd.Series(np.repeat(list("abcdefg"), 3), [f"s{i}" for i in range(21)])


@pytest.fixture
def few_draws(monkeypatch):
    """A null of 3 million pairs instead of 20: enough for levels of a tenth."""
    monkeypatch.setattr(pools, "FEW_DRAWS", 3_000_000)


def replicate(seed, setting, links=0):
    """One study of 21 samples: plain, with zeros, or with seven groups that differ in every feature."""
    x, y = tables(
        n=21, p=60, q=50, seed=seed, links=[(i, i, 0.985 if setting == "groups" else 0.97) for i in range(links)]
    )
    if setting == "zeros":
        return x.clip(lower=0), y.clip(lower=0), None
    if setting == "groups":
        rng, level = np.random.default_rng((seed, 7)), np.repeat(np.arange(7), 3)
        return x + 3 * rng.normal(size=(7, 60))[level], y + 3 * rng.normal(size=(7, 50))[level], SITES
    return x, y, None


@pytest.mark.parametrize("setting", ["plain", "zeros", "groups"])
@pytest.mark.usefixtures("few_draws")
def test_false_discoveries_stay_within_the_level(setting):
    rates, found = [], []
    for seed in range(50):
        x, y, design = replicate(seed, setting, links=10)
        table = spearman(x, y, fdr=0.1, design=design).table
        true = table["x"].str[1:] == table["y"].str[1:]
        rates.append(float((~true).mean()) if len(table) else 0.0)
        found.append(int(true.sum()))
    assert np.mean(rates) <= 0.1 + 2 * np.std(rates) / np.sqrt(50)
    assert np.mean(found) > {"plain": 8, "zeros": 6, "groups": 4}[setting]


@pytest.mark.parametrize("setting", ["plain", "zeros", "groups"])
@pytest.mark.usefixtures("few_draws")
def test_nothing_is_found_where_nothing_is(setting):
    false = []
    for seed in range(50):
        x, y, design = replicate(seed, setting)
        false.append(spearman(x, y, fdr=0.1, seed=seed, design=design).n_hits > 0)
    assert np.mean(false) <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 50)


def test_permuted_covariates_are_taken_out_again():
    """Permuted residuals are no longer free of the design: without a second projection r is too small."""
    rng = np.random.default_rng(0)
    x, y = tables(n=24, p=150, q=120)
    age = pd.DataFrame(rng.normal(size=(24, 10)), x.index).add_prefix("c")
    p = spearman(x, y, fdr=1, design=age).table["p"]
    for level in (0.1, 0.01, 0.001):
        assert (p <= level).mean() == pytest.approx(level, rel=0.3)


def test_permutations_within_blocks_know_what_blocks_do():
    rng, ids = np.random.default_rng(0), [f"s{i}" for i in range(40)]
    block = pd.Series(np.repeat(np.arange(8), 5), ids)
    level = block.to_numpy()
    x, y = (
        pd.DataFrame(2 * rng.normal(size=(8, k))[level] + rng.normal(size=(40, k)), ids, [f"{c}{i}" for i in range(k)])
        for c, k in (("g", 60), ("m", 50))
    )
    assert spearman(x, y).n_hits > 100
    assert spearman(x, y, blocks=block).n_hits <= 3
    with pytest.raises(DataError, match="lacks 1 of the samples"):
        spearman(x, y, blocks=block.iloc[1:])


def test_groups_without_links_are_naive_hits_and_vanish_with_the_design():
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(21)]
    group = pd.Series(np.repeat(list("abcdefg"), 3), ids)
    level = np.repeat(np.arange(7), 3)
    x, y = (
        pd.DataFrame(3 * rng.normal(size=(7, k))[level] + rng.normal(size=(21, k)), ids, [f"{c}{i}" for i in range(k)])
        for c, k in (("g", 120), ("m", 80))
    )
    assert spearman(x, y).n_hits > 100
    assert spearman(x, y, design=group).n_hits == 0
    y["m0"] = x["g0"] + 0.05 * rng.normal(size=21)
    found = spearman(x, y, design=group).table
    assert (found["x"][0], found["y"][0]) == ("g0", "m0")
    assert found["rho_marginal"][0] == pytest.approx(stats.spearmanr(x["g0"], y["m0"]).statistic)


def test_samples_that_lack_a_group_of_the_design_are_tested_as_if_it_were_not_there():
    x, y = tables(n=60, p=3, q=4, seed=5)
    design = pd.Series([f"group{i % 3}" for i in range(60)], x.index)
    x.loc[design == "group0", "g2"] = np.nan
    rest = design != "group0"
    whole = square(spearman(x, y, design=design, fdr=1), x, y)
    alone = square(spearman(x.loc[rest, ["g2"]], y[rest], design=design[rest], fdr=1), x[["g2"]], y)
    np.testing.assert_allclose(whole[2], alone[0], atol=1e-12)


def test_a_feature_with_too_few_samples_for_the_design_takes_no_hit_away():
    x, y = tables(n=60, p=10, q=10, seed=6, links=[(0, 0, 0.98), (1, 1, 0.98)])
    design = pd.Series([f"group{i % 3}" for i in range(60)], x.index)
    before = spearman(x, y, design=design)
    x.iloc[4:, 9] = np.nan
    after = spearman(x, y, design=design)
    assert after.n_tests == before.n_tests - 10
    assert {("g0", "m0"), ("g1", "m1")} <= set(zip(after.table["x"], after.table["y"], strict=True))
    with pytest.raises(DataError, match="no pair of features is shown by enough samples"):
        spearman(x[["g9"]], y, design=design)


@pytest.mark.parametrize(("n", "rho", "least"), [(21, 0.9, 0.9), (1000, 0.2, 0.9)])
def test_power(n, rho, least):
    hit = []
    for seed in range(20):
        x, y = tables(n=n, p=20, q=20, seed=seed, links=[(0, 0, rho)])
        hit.append(((t := spearman(x, y).table)["x"] + t["y"]).isin(["g0m0"]).any())
    assert np.mean(hit) >= least


def test_wrong_input_is_one_line():
    x, y = tables(p=3, q=2)
    with pytest.raises(DataError, match="too few samples in common"):
        spearman(x, y.rename(index=lambda i: f"other{i}"))
    with pytest.raises(RecipeError, match="'bh'"):
        spearman(x, y, correction="bhh")
    with pytest.raises(RecipeError, match="without ties"):
        spearman(x, y.round(0), null="exact")
    with pytest.raises(DataError, match="twice"):
        spearman(pd.concat([x, x]), y)
    with pytest.raises(DataError, match="does not hold numbers"):
        spearman(x.assign(g0="a"), y)
    with pytest.raises(DataError, match="leaves no freedom"):
        spearman(x, y, design=pd.Series(x.index, x.index))


def test_flat_features_are_counted_and_left_out(tmp_path):
    x, y = tables(p=5, q=4)
    x["g2"] = 1.0
    hits = spearman(x, y, fdr=1)
    assert hits.n_tests == 16
    assert hits.n_flat == (1, 0)
    gaps = y.mask(np.eye(len(y), 4, dtype=bool))
    assert spearman(x, gaps, null="t").n_flat == (1, 0)  # once, however many patterns of gaps there are
    hits.to_parquet(tmp_path / "hits.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "hits.parquet").astype({"x": str, "y": str}), hits.table)


def test_the_order_of_samples_does_not_matter_to_designs_gaps_and_permutations():
    x, y = tables(n=24, p=12, q=9)
    x = x.mask(np.random.default_rng(1).random(x.shape) < 0.04).round(1)
    site = pd.Series([f"site{i % 3}" for i in range(24)], x.index)
    a = spearman(x, y, design=site, fdr=1).table
    shuffled = [v.sample(frac=1, random_state=k) for k, v in enumerate((x, y, site))]
    pd.testing.assert_frame_equal(a, spearman(shuffled[0], shuffled[1], design=shuffled[2], fdr=1).table)


@pytest.mark.usefixtures("few_draws")
def test_with_ties_and_gaps_p_is_what_it_says():
    x, y = tables(n=30, p=40, q=60, seed=4)
    x = x.clip(lower=0).mask(np.random.default_rng(2).random(x.shape) < 0.03)
    hits = spearman(x, y.clip(lower=0), fdr=1)
    assert hits.null == "permutation"
    assert hits.table["n"].nunique() > 2
    for level in (0.5, 0.1, 0.01):
        assert (hits.table["p"] <= level).mean() == pytest.approx(level, rel=0.25)
    assert hits.p_histogram.sum() == hits.n_tests


@pytest.mark.parametrize("kind", [pearson, bicor])
def test_a_constant_that_is_no_binary_fraction_does_not_vary(kind):
    """The mean of forty times 0.1 is not 0.1: two such features would correlate by their rounding."""
    x, y = tables(n=40, p=5, q=4)
    x["g0"], y["m0"] = 0.1, 0.3
    found = kind(x, y, fdr=1)
    assert found.n_flat == (1, 1)
    assert found.n_tests == 4 * 3
    assert not found.table["x"].eq("g0").any()


def test_a_constant_feature_does_not_make_ranks_tied():
    """It is not tested, so that the others keep the exact null."""
    x, y = tables(n=30, p=5, q=4)
    x["g0"] = 2.0
    assert spearman(x, y, fdr=1).null == "exact"
    assert spearman(x.assign(g1=x["g1"].round(0)), y, fdr=1, seed=0, null="auto").null == "permutation"


@pytest.mark.parametrize("test", [spearman, pearson, bicor])
def test_infinite_values_are_refused(test):
    x, y = tables(n=12, p=4, q=3)
    x.iloc[2, 1] = np.inf
    with pytest.raises(DataError, match="feature 'g1': holds an infinite value; met 'sample s2'"):
        test(x, y)


def test_what_has_no_sample_ids_is_refused():
    x, _ = tables(n=12, p=4, q=3)
    for check, value, other in (
        (inputs._frame, x.to_numpy(), "x"),
        (ranks.design_matrix, "site", x.index),
        (ranks.design_matrix, x.to_numpy()[:, 0], x.index),
        (inputs.blocks_of, x[["g0"]], x.index),
    ):
        with pytest.raises(DataError, match="has no sample ids"):
            inspect.unwrap(check)(value, other)


def test_blocks_that_leave_nothing_to_permute_are_refused():
    x, y = tables(n=12, p=4, q=3)
    with pytest.raises(DataError, match="nothing can be permuted"):
        spearman(x, y, blocks=pd.Series(x.index, x.index))


def test_the_scale_of_a_covariate_does_not_matter():
    """Dates in nanoseconds beside groups: these are taken out as well."""
    x, y = tables(n=40, p=6, q=5)
    site = np.arange(40) % 2
    x, y = x.add(3.0 * site, axis=0), y.add(3.0 * site, axis=0)
    day = np.random.default_rng(1).integers(0, 900, 40)
    small, large = (
        pearson(x, y, fdr=1, design=pd.DataFrame({"site": site.astype(str), "day": d}, x.index))
        for d in (day, pd.Timestamp("2020-01-01").value + day * 86_400 * 10**9)
    )
    assert small.df == large.df
    np.testing.assert_allclose(square(large, x, y), square(small, x, y), atol=1e-6)
