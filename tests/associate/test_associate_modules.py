"""Modules of planted networks."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from isthmus.associate.modules import enriched, modules
from isthmus.errors import DataError


def planted(sizes=((12, 6), (9, 5), (7, 4)), inside=1.0, between=0, seed=0):
    """Blocks of features linked among each other, and some links between blocks."""
    rng = np.random.default_rng(seed)
    rows, of_x, of_y = [], {}, {}
    for k, (p, q) in enumerate(sizes):
        of_x |= {f"g{k}_{i}": k for i in range(p)}
        of_y |= {f"m{k}_{j}": k for j in range(q)}
    for g, a in of_x.items():
        rows += [(g, m, rng.uniform(0.6, 0.9)) for m, b in of_y.items() if a == b and rng.random() < inside]
    apart = [(g, m, -0.5) for g, a in of_x.items() for m, b in of_y.items() if a != b]
    rows += [apart[i] for i in rng.permutation(len(apart))[:between]]
    return pd.DataFrame(rows, columns=["x", "y", "rho"]), of_x, of_y


def agreement(found, of_x, of_y):
    truth = [{"x": of_x, "y": of_y}[s][f] for s, f in zip(found.table["side"], found.table["feature"], strict=True)]
    return adjusted_rand_score(truth, found.table["module"])


@pytest.mark.parametrize(("inside", "between", "least"), [(1.0, 0, 1.0), (0.6, 15, 0.8)])
def test_planted_blocks_come_back(inside, between, least):
    hits, of_x, of_y = planted(inside=inside, between=between)
    assert agreement(modules(hits), of_x, of_y) >= least


def test_links_at_random_have_no_such_modules():
    hits, *_ = planted()
    mixed = hits.assign(y=np.random.default_rng(0).permutation(hits["y"])).drop_duplicates(["x", "y"])
    assert modules(hits).modularity > 2 * modules(mixed).modularity


def test_neither_the_order_of_hits_nor_the_sign_matters_and_the_seed_is_all_that_is_drawn():
    hits, *_ = planted(inside=0.6, between=15)
    a, b = modules(hits, seed=3), modules(hits.sample(frac=1, random_state=1).assign(rho=lambda t: -t["rho"]), seed=3)
    pd.testing.assert_frame_equal(a.table, b.table)
    pd.testing.assert_frame_equal(a.summary, b.summary)


def test_the_summary_counts_what_is_there():
    hits, of_x, _ = planted()
    found = modules(hits)
    assert found.summary["module"].tolist() == [1, 2, 3]
    assert found.summary[["n_x", "n_y", "edges"]].to_numpy().tolist() == [[12, 6, 72], [9, 5, 45], [7, 4, 28]]
    assert found.summary["density"].tolist() == found.summary["inside"].tolist() == [1.0] * 3
    first = hits[hits["x"].map(of_x) == 0]
    assert found.summary["rho"][0] == pytest.approx(first["rho"].mean())
    assert found.table["degree"].sum() == 2 * len(hits)


def test_a_feature_name_may_occur_on_both_sides():
    found = modules(pd.DataFrame({"x": ["a", "b"], "y": ["a", "a"], "rho": [0.9, 0.8]}))
    assert list(zip(found.table["side"], found.table["feature"], strict=True)) == [("y", "a"), ("x", "a"), ("x", "b")]


def test_the_strongest_edges_are_kept_and_it_is_said(caplog):
    hits, *_ = planted()
    found = modules(hits, most=50)
    assert found.table["degree"].sum() == 100
    assert "the 50 strongest of 145 edges" in caplog.text


def test_a_module_of_a_term_is_enriched_for_it():
    hits, of_x, _ = planted()
    terms = {f"term {k}": [g for g, b in of_x.items() if b == k] for k in range(3)}
    sets, background = terms | {"odd": list(of_x)[::2]}, [*of_x, *(f"other{i}" for i in range(99))]
    tested = enriched(modules(hits), sets, background=background)
    best = tested.groupby("module").first()
    assert best["term"].tolist() == ["term 0", "term 1", "term 2"]
    assert (best["q"] < 1e-6).all()
    assert (best["overlap"] == best["size"]).all()


def test_a_pair_is_no_module_that_could_be_enriched():
    hits = pd.DataFrame({"x": ["a", "b", "c", "g"], "y": ["m", "m", "m", "n"], "rho": 0.9})
    sets = {"of the pair": ["g", *(f"other{i}" for i in range(4))], "of three": ["a", "b", "c", "d", "e"]}
    background = ["a", "b", "c", "d", "e", "g", *(f"other{i}" for i in range(400))]
    tested = enriched(modules(hits), sets, background=background)
    assert set(tested["module"]) == {1}  # the pair g - n, module 2, would have passed with p = 5/406
    assert tested["term"].iloc[0] == "of three"
    assert set(enriched(modules(hits), sets, background=background, min_features=1)["module"]) == {1, 2}
    alone = enriched(modules(hits.tail(1)), sets, background=background)
    assert alone.empty
    assert list(alone) == list(tested)


@pytest.mark.parametrize(
    ("hits", "said"),
    [
        (pd.DataFrame({"x": [], "y": [], "rho": []}), "no edge"),
        (pd.DataFrame({"x": ["a"], "rho": [0.1]}), "met 'y'"),
        (pd.DataFrame({"x": ["a"], "y": ["b"], "rho": [np.nan]}), "no numbers"),
        (pd.DataFrame({"x": ["a"] * 2, "y": ["b"] * 2, "rho": 0.5}), "a - b"),
    ],
)
def test_what_is_refused_is_said(hits, said):
    with pytest.raises(DataError) as caught:
        modules(hits)
    assert said in str(caught.value)
