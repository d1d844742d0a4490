"""Graph refinement: splits, negatives and scores against their definitions, the network on planted truth."""

import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from isthmus.associate.graph import (
    FeatureGraph,
    Tables,
    common_neighbours,
    correlations,
    degrees,
    feature_graph,
    link_split,
    negatives,
    orientation,
    replicated,
    rewired,
)
from isthmus.associate.judging import Calibration, Split, auc_and_precision, judge
from isthmus.associating.graph import GraphSettings, refine
from isthmus.associating.links import Groups
from isthmus.errors import DataError, MissingExtraError, RecipeError


def graph_of(pairs, rho=None):
    x, y = np.array(sorted(set(pairs))).T
    rho = np.full(len(x), 0.5) if rho is None else rho
    return FeatureGraph(x, y, rho, np.abs(rho), len(x), 1000)


def random_graph(seed, p=12, q=9, share=0.2):
    rng = np.random.default_rng(seed)
    chosen = [(i, j) for i, j in product(range(p), range(q)) if rng.random() < share] or [(0, 0)]
    return graph_of(chosen, rng.uniform(-1, 1, len(chosen)))


def tables(n=24, p=30, q=20, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, p)), rng.normal(size=(n, q))
    b[:, 0] = a[:, 0] + 0.1 * rng.normal(size=n)
    return a, b


# ---- graph, pairs, splits


@pytest.mark.parametrize("gaps", [False, True])
def test_edges_are_the_pairs_of_smallest_p_and_carry_scipys_rho(gaps):
    a, b = tables()
    if gaps:
        a[:6, 1] = b[3:7, 2] = np.nan
    graph = feature_graph(Tables(a, b), least=20, most=25)
    truth = {
        (i, j): stats.spearmanr(a[both, i], b[both, j])
        for i, j in product(range(30), range(20))
        if (both := ~np.isnan(a[:, i]) & ~np.isnan(b[:, j])).any()
    }
    np.testing.assert_allclose(graph.rho, [truth[pair].statistic for pair in zip(graph.x, graph.y, strict=True)])
    best = sorted(truth, key=lambda pair: truth[pair].pvalue)
    assert set(best[:18]) <= set(zip(graph.x, graph.y, strict=True))
    assert len(graph.x) == 20
    assert (graph.x[0], graph.y[0]) == (0, 0)
    p = stats.false_discovery_control([t.pvalue for t in truth.values()])
    assert graph.n_hits == (p <= 0.05).sum()
    rho, strength = correlations(Tables(a, b), graph.x, graph.y)
    np.testing.assert_allclose(rho, graph.rho)
    np.testing.assert_allclose(strength, graph.strength)


def test_a_design_is_taken_out_of_edges():
    a, b = tables(n=30)
    group = np.repeat([0.0, 1, 2], 10)
    a[:, 5] += 9 * group
    b[:, 7] += 9 * group
    design = np.linalg.qr(np.stack([np.ones(30), group == 1, group == 2], axis=1))[0]
    naive, adjusted = feature_graph(Tables(a, b), least=10), feature_graph(Tables(a, b, design=design), least=10)
    assert (5, 7) in zip(naive.x, naive.y, strict=True)
    assert (5, 7) not in zip(adjusted.x, adjusted.y, strict=True)


def test_a_pair_without_a_relation_replicates_at_the_level_and_a_strong_one_does():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(12, 60)), rng.normal(size=(12, 50))
    b[:, 0] = -a[:, 0]
    x, y = (v.ravel() for v in np.indices((60, 50)))
    rho = rng.choice([-0.5, 0.5], 3000)
    label = replicated(Tables(a, b), x, y, rho, level=0.05)
    assert label.mean() == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 3000) + 0.003)
    pair = np.array([0]), np.array([0])
    assert replicated(Tables(a, b), *pair, np.array([-0.5]))[0] == 1
    assert replicated(Tables(a, b), *pair, np.array([0.5]))[0] == 0
    assert np.isnan(replicated(Tables(a[:3], b[:3]), *pair, np.array([0.5]))[0])


@settings(deadline=None, max_examples=60)
@given(
    ends=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=60),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
def test_no_link_crosses_a_split_in_either_direction(ends, share, seed):
    aside = link_split(np.array(ends), share, seed)
    parts = [{frozenset(e) for e, a in zip(ends, aside, strict=True) if a == side} for side in (True, False)]
    assert not parts[0] & parts[1]
    assert len(parts[0]) == round(share * len({frozenset(e) for e in ends}))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), share=st.floats(0.02, 0.5))
def test_negatives_are_no_edges_and_no_feature_has_more_of_them(seed, share):
    graph = random_graph(seed, share=share)
    x, y = negatives(graph, seed)
    pairs = set(zip(x, y, strict=True))
    assert len(pairs) == len(x)
    assert not pairs & set(zip(graph.x, graph.y, strict=True))
    kx, ky = degrees(graph, (12, 9))
    assert (np.bincount(x, minlength=12) <= kx).all()
    assert (np.bincount(y, minlength=9) <= ky).all()


@pytest.mark.parametrize("seed", range(5))
def test_negatives_have_the_degrees_of_edges(seed):
    graph = random_graph(seed, p=60, q=40, share=0.15)
    x, y = negatives(graph, seed)
    kx, ky = degrees(graph, (60, 40))
    np.testing.assert_array_equal(np.bincount(x, minlength=60), kx)
    np.testing.assert_array_equal(np.bincount(y, minlength=40), ky)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_rewiring_keeps_every_degree_and_makes_no_edge_twice(seed):
    graph = random_graph(seed, share=0.3)
    other = rewired(graph, seed)
    for a, b in zip(degrees(graph, (12, 9)), degrees(other, (12, 9)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(set(zip(other.x, other.y, strict=True))) == len(graph.x)


def test_rewiring_moves_most_edges():
    graph = random_graph(1, p=100, q=80, share=0.03)
    other = rewired(graph)
    kept = set(zip(graph.x, graph.y, strict=True)) & set(zip(other.x, other.y, strict=True))
    assert len(kept) < 0.1 * len(graph.x)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_common_neighbours_counts_paths_of_three(seed):
    graph = random_graph(seed, p=6, q=5, share=0.4)
    edges = set(zip(graph.x.tolist(), graph.y.tolist(), strict=True))
    x, y = (v.ravel() for v in np.indices((6, 5)))
    paths = [
        sum(
            (i, u) in edges and (v, u) in edges and (v, j) in edges
            for u in range(5)
            for v in range(6)
            if u != j and v != i
        )
        for i, j in zip(x, y, strict=True)
    ]
    np.testing.assert_array_equal(common_neighbours(graph, (6, 5), x, y), paths)


def test_orientation_undoes_planted_signs():
    rng = np.random.default_rng(0)
    graph = random_graph(3, share=0.3)
    sign = rng.choice([-1.0, 1.0], 21)
    planted = FeatureGraph(
        graph.x, graph.y, np.abs(graph.rho) * sign[graph.x] * sign[12 + graph.y], graph.strength, 0, 1
    )
    turned = orientation(planted, (12, 9))
    assert (planted.rho * turned[graph.x] * turned[12 + graph.y] > 0).all()


# ---- judging


def test_scores_are_scikit_learns_under_weights_and_ties():
    rng = np.random.default_rng(0)
    label, score = rng.integers(0, 2, 300), rng.integers(0, 40, 300) / 7
    weight = rng.poisson(1.0, size=(5, 300)).astype(float)
    auc, ap = auc_and_precision(score, label, weight)
    for k in range(5):
        assert auc[k] == pytest.approx(roc_auc_score(label, score, sample_weight=weight[k]))
        assert ap[k] == pytest.approx(average_precision_score(label, score, sample_weight=weight[k]))
    assert np.isnan(auc_and_precision(score, np.ones(300), weight)[0]).all()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.floats(-50, 50), st.integers(0, 1)), min_size=2, max_size=40))
def test_calibration_never_falls_and_stays_within_0_and_1(pairs):
    score, label = np.array(pairs).T
    chance = Calibration.fit(score, label)(np.linspace(-60, 60, 200))
    assert (np.diff(chance) >= 0).all()
    assert ((chance >= 0) & (chance <= 1)).all()
    assert Calibration.fit(score, label)(score).mean() == pytest.approx(label.mean())


def judged(signal, seed=0, shared=0.0):
    """Splits in which `own` adds `signal` to what |rho| says."""
    rng = np.random.default_rng(seed)
    splits, own = [], rng.normal(size=40)
    for _ in range(3):
        x, y = rng.integers(0, 40, 400), rng.integers(0, 30, 400)
        truth = rng.normal(size=400)
        rho = truth + np.sqrt(1 - shared) * rng.normal(size=400) + np.sqrt(shared) * own[x]
        scores = {"|rho|": rho, "own": rho + signal * truth + 0.3 * rng.normal(size=400)}
        splits.append(Split(x, y, (truth > 0).astype(float), np.arange(400) < 300, scores))
    return judge(splits, draws=200, seed=seed).set_index("ranking")


def test_a_gain_is_found_and_none_is_not():
    assert judged(1.0).loc["own", "gain_low"] > 0
    assert judged(1.0).loc["own", "brier"] < judged(1.0).loc["|rho|", "brier"]
    false = [judged(0.0, seed).loc["own", "gain_low"] > 0 for seed in range(20)]
    assert sum(false) <= 1
    assert (judged(0.0).loc["|rho|", ["gain", "gain_low", "gain_high"]] == 0).all()


def test_intervals_cover_the_truth_though_pairs_share_their_errors():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200_000)
    auc = roc_auc_score(truth > 0, truth + rng.normal(size=200_000))
    rows = [judged(0.0, seed, shared=0.7).loc["|rho|"] for seed in range(20)]
    assert sum(row["auc_low"] <= auc <= row["auc_high"] for row in rows) >= 18


# ---- folds


def test_patients_stay_together_and_groups_are_spread():
    patients, groups = np.repeat(np.arange(10), 3), np.repeat([0, 1], 15)
    for found, held in Groups(patients, None).folds(30, 3, seed=1):
        assert not set(patients[found]) & set(patients[held])
    for _, held in Groups(None, groups).folds(30, 3, seed=1):
        assert np.bincount(groups[held]).tolist() == [5, 5]
    for _, held in Groups(groups, None).folds(30, 3, seed=1):  # two blocks cannot be held out whole three times
        assert np.bincount(groups[held]).tolist() == [5, 5]


# ---- the network

QUICK = {"least": 300, "most": 600, "hidden": 16, "epochs": 60, "patience": 15, "seeds": 1, "draws": 200}


def frames(a, b):
    ids = [f"s{i}" for i in range(len(a))]
    return pd.DataFrame(a, ids, [f"g{i}" for i in range(a.shape[1])]), pd.DataFrame(
        b, ids, [f"m{i}" for i in range(b.shape[1])]
    )


def blocks(n=60, load=0.75, seed=0):
    """Six factors behind 8 and 6 features each, and features of noise."""
    rng = np.random.default_rng(seed)
    factors, parts = rng.normal(size=(n, 6)), []
    for size, noise in ((8, 150), (6, 60)):
        loads = load * rng.choice([-1, 1], size=(6, size))
        values = (factors[:, :, None] * loads).reshape(n, -1) + np.sqrt(1 - load**2) * rng.normal(size=(n, 6 * size))
        parts.append(np.hstack([values, rng.normal(size=(n, noise))]))
    return frames(*parts)


def couples(n=60, many=100, seed=0):
    """Every feature linked to one other at most, some more strongly, and features of noise."""
    rng = np.random.default_rng(seed)
    shared, load = rng.normal(size=(n, many)), rng.uniform(0.3, 0.95, many)
    a, b = (
        np.hstack([shared * load + np.sqrt(1 - load**2) * rng.normal(size=shared.shape), rng.normal(size=(n, noise))])
        for noise in (100, 60)
    )
    return frames(a, b)


@pytest.fixture(scope="module")
def helped():
    return refine(*blocks(), settings=GraphSettings(**QUICK))


def test_a_network_earns_its_place_where_neighbours_say_more_than_rho(helped):
    rows = helped.judgement.set_index("ranking")
    assert helped.earned
    assert rows.loc["network", "gain_low"] > 0
    assert "earned its place and ranks the table" in " ".join(helped.words)
    assert (np.diff(helped.table["network"]) <= 1e-12).all()
    assert (np.diff(helped.table["score"]) <= 1e-12).all()
    assert helped.attention is None


def test_controls_fall_to_chance(helped):
    rows = helped.judgement.set_index("ranking")
    permuted = rows.loc["network, samples permuted"]
    assert permuted["auc_low"] < 0.5 < permuted["auc_high"]
    assert permuted["gain_low"] < 0
    assert rows.loc["network, edges rewired", "gain"] < rows.loc["network", "gain"]  # degrees, which are kept, say much


def test_it_does_not_claim_so_where_rho_is_all_there_is():
    found = refine(*couples(), settings=GraphSettings(**QUICK, controls=False))
    assert not found.earned
    assert "did not earn its place: the table is by |rho|" in " ".join(found.words)
    assert (np.diff(found.table["rho"].abs()) <= 1e-12).all()
    assert (np.diff(found.table["score"]) <= 1e-12).all()
    assert found.table["score"].between(0, 1).all()


def test_attention_sums_to_1_at_every_feature():
    quick = QUICK | {"epochs": 5, "least": 60, "most": 100}
    found = refine(*blocks(n=24), settings=GraphSettings(**quick, layer="gat", controls=False))
    summed = found.attention.groupby(["layer", "target_side", "target"])["attention"].sum()
    np.testing.assert_allclose(summed, 1, atol=1e-5)
    linked = set(zip(found.table["x"], found.table["y"], strict=True))
    rows = found.attention.query("layer == 2 and source_side == 'x' and target_side == 'y'")
    assert set(zip(rows["source"], rows["target"], strict=True)) == linked


def test_the_same_seed_gives_the_same_and_the_order_of_samples_does_not_matter():
    quick = GraphSettings(**QUICK | {"epochs": 5, "least": 60, "most": 100}, controls=False)
    x, y = blocks(n=24)
    a, b = refine(x, y, settings=quick), refine(x.sample(frac=1, random_state=0), y, settings=quick)
    pd.testing.assert_frame_equal(a.table, b.table)
    pd.testing.assert_frame_equal(a.judgement, b.judgement)


# ---- what is refused


def test_too_few_samples_are_told():
    x, y = blocks(n=9)
    with pytest.raises(DataError, match=r"no pair can replicate .* in the 3 samples that a fold holds out") as caught:
        refine(x, y, settings=GraphSettings(**QUICK))
    assert "fewer graph.folds" in str(caught.value)


def test_a_missing_extra_is_one_line(monkeypatch):
    for name in [m for m in sys.modules if m.split(".")[0] == "torch_geometric"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    with pytest.raises(MissingExtraError) as caught:
        refine(*blocks(n=12))
    assert str(caught.value).startswith(
        "graph refinement needs the package 'torch-geometric', which is not installed\n"
    )
    assert "isthmus[graph]" in str(caught.value)


@pytest.mark.parametrize(("keys", "said"), [({"most": 500, "least": 600}, "below least"), ({"layr": "gat"}, "layer"),
                                            ({"layer": "gat", "hidden": 30}, "no multiple of heads")])  # fmt: skip
def test_wrong_settings_are_told(keys, said):
    with pytest.raises(RecipeError, match=said):
        GraphSettings(**keys)
