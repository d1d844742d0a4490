"""Stability selection: its bound on null cohorts, a planted pair found in every half, blocks dealt out evenly."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from isthmus.associate.stability import _halves, bound, bound_unimodal, stability_selection
from isthmus.errors import DataError, RecipeError


def tables(n=30, p=40, q=25, *, links=0, noise=0.1, seed=0):
    rng = np.random.default_rng(seed)
    ids = [f"s{i:03d}" for i in range(n)]
    x, y = rng.normal(size=(n, p)), rng.normal(size=(n, q))
    y[:, :links] = x[:, :links] + noise * y[:, :links]
    return (
        pd.DataFrame(x, ids, [f"g{i}" for i in range(p)]),
        pd.DataFrame(y, ids, [f"m{i}" for i in range(q)]),
    )


def select(x, y, **keys):
    return stability_selection(x, y, **{"halves": 20, "threads": 1, **keys})


def test_planted_pairs_are_in_every_half_and_no_other_is_stable():
    x, y = tables(links=3)
    found = select(x, y)
    assert set(zip(found.stable["x"], found.stable["y"], strict=True)) == {(f"g{i}", f"m{i}") for i in range(3)}
    assert (found.stable["frequency"] == 1).all()
    assert found.n_stable == len(found.stable) == 3
    assert found.table["frequency"].is_monotonic_decreasing
    assert found.rankings == 40
    assert "3 pairs are selected in at least 75 % of them" in found.words[1]


def test_frequencies_are_those_of_ranking_every_half_by_scipy():
    x, y = tables(n=24, p=8, q=6)
    found = select(x, y, per_half=5, halves=15, seed=3)
    rng = np.random.default_rng((3, 0x57AB))
    times = np.zeros((8, 6))
    for rows in _halves(np.zeros(24, dtype=np.int64), 15, rng):
        rho = np.abs(stats.spearmanr(x.iloc[rows], y.iloc[rows]).statistic[:8, 8:])
        times[np.unravel_index(np.argsort(-rho, axis=None)[:5], rho.shape)] += 1
    got = np.zeros((8, 6))
    for _, (a, b, frequency) in found.table.iterrows():
        got[int(a[1:]), int(b[1:])] = frequency * 30
    # halves of 12 have ties at the cut now and then, which are broken at random
    assert np.abs(got - np.where(times > 1, times, 0)).sum() <= 0.1 * 150


def test_the_bound_holds_without_links():
    """30 null cohorts at a low threshold: no more stable pairs than the bound, within its standard error."""
    counts, limit = [], None
    for seed in range(30):
        found = select(*tables(n=24, seed=seed), threshold=0.55, halves=10, seed=seed)
        counts.append(found.n_stable)
        limit = found.expected_false
    assert limit == pytest.approx(1.0, rel=0.1)
    assert np.mean(counts) <= limit + 2 * np.std(counts) / np.sqrt(30)


def test_bounds_are_those_of_the_papers():
    """Meinshausen & Bühlmann: q^2 / ((2 pi - 1) p). Shah & Samworth's C at tau = .75 and .9 with B = 50."""
    assert bound(50, 1000, 0.9) == pytest.approx(50**2 / (0.8 * 1000))
    assert bound_unimodal(50, 1000, 0.75, 50) == pytest.approx(2.5 / (2 * (0.5 - 0.01)))
    assert bound_unimodal(50, 1000, 0.9, 50) == pytest.approx(2.5 * 4 * (0.1 + 0.01) / (1 + 1 / 50))
    assert bound_unimodal(900, 1000, 0.9, 50) == bound(900, 1000, 0.9)


def test_halves_are_complementary_and_blocks_are_dealt_out_evenly():
    labels = np.repeat([0, 1, 2, 3], [3, 3, 8, 7])
    drawn = list(_halves(labels, 25, np.random.default_rng(0)))
    left_out = []
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert len(first) == len(second) == 10
        assert not set(first) & set(second)
        assert (np.abs(np.bincount(labels[first], minlength=4) - np.bincount(labels[second], minlength=4)) <= 1).all()
        left_out += list(set(range(21)) - set(first) - set(second))
    assert len({labels[k] for k in left_out}) > 1


def test_groups_alone_are_stable_until_they_are_taken_out():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 8)
    x, y = tables(n=32)
    x, y = (v + 4 * rng.normal(size=(4, v.shape[1]))[groups] for v in (x, y))
    design = pd.Series([f"k{g}" for g in groups], x.index)
    assert select(x, y).n_stable > 5
    assert select(x, y, design=design, blocks=design).n_stable <= 1


def test_the_same_seed_gives_the_same_and_the_order_of_samples_does_not_matter():
    x, y = tables(links=1)
    first = select(x, y, seed=5)
    mixed = select(x.sample(frac=1, random_state=1), y.sample(frac=1, random_state=2), seed=5)
    pd.testing.assert_frame_equal(first.table, mixed.table)
    assert not first.table.equals(select(x, y, seed=6).table)


def test_flat_features_and_gaps_are_no_trouble():
    x, y = tables(links=2)
    x["g7"], y.iloc[4, 0] = 1.0, np.nan
    found = select(x, y)
    assert {"g0", "g1"} <= set(found.stable["x"])
    assert "g7" not in set(found.table["x"])


def test_ties_at_the_cut_are_broken_anew_in_every_half():
    """Two values a feature: hundreds of pairs tie, and none is preferred for its place."""
    rng = np.random.default_rng(0)
    x, y = tables(n=16)
    x, y = (pd.DataFrame(rng.integers(0, 2, v.shape), v.index, v.columns) for v in (x, y))
    found = select(x, y, per_half=5)
    assert found.n_stable == 0


def test_what_is_wrong_is_said():
    x, y = tables()
    with pytest.raises(DataError, match="too few samples in common"):
        select(x.head(6), y)
    with pytest.raises(RecipeError, match="threshold"):
        select(x, y, threshold=0.5)
    with pytest.raises(RecipeError, match="per_half"):
        select(x, y, per_half=40 * 25 + 1)
    with pytest.raises(DataError, match="no freedom in halves"):
        select(x, y, design=x.iloc[:, :18])
