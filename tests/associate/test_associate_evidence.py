"""The table of evidence: what must not change it, what must, and Cauchy's combination against its known cases."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from isthmus.associate.evidence import evidence
from isthmus.errors import DataError, RecipeError

NAMES = ["direct", "stability", "graph", "latent"]


def lines(seed=0, n=12):
    rng = np.random.default_rng(seed)
    pairs = pd.DataFrame({"x": [f"g{i}" for i in range(n)], "y": [f"m{i % 5}" for i in range(n)]})
    return {
        "direct": pairs.assign(rho=rng.uniform(-1, 1, n), p=rng.uniform(0, 1, n)),
        "stability": pairs.assign(frequency=rng.integers(0, 5, n) / 5).iloc[::2],
        "graph": pairs.assign(score=rng.uniform(0, 1, n)).sample(frac=1, random_state=seed).iloc[:8],
        "latent": pairs.assign(p=rng.uniform(0, 1, n), score=rng.normal(size=n)).iloc[3:],
    }


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), order=st.permutations(NAMES))
def test_neither_the_order_of_lines_nor_of_rows_matters(seed, order):
    given_ = lines(seed)
    shuffled = {k: given_[k].sample(frac=1, random_state=seed) for k in order}
    a, b = evidence(given_), evidence(shuffled)
    pd.testing.assert_frame_equal(a, b[a.columns], check_exact=True)
    assert a.attrs["weights"] == b.attrs["weights"]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), row=st.integers(0, 7), name=st.sampled_from(NAMES))
def test_stronger_evidence_in_a_line_never_lowers_a_pair(seed, row, name):
    before = lines(seed)
    table = before[name].copy()
    row %= len(table)
    pair = tuple(table.iloc[row][["x", "y"]])
    for column, best in (("p", 0.0), ("score", 99.0), ("frequency", 1.0), ("rho", 1.0)):
        if column in table:
            table.iloc[row, table.columns.get_loc(column)] = best
    at = [evidence(v).set_index(["x", "y"]).loc[pair] for v in (before, before | {name: table})]
    assert at[1]["combined"] >= at[0]["combined"]
    assert at[1]["rank"] <= at[0]["rank"]
    assert at[1]["p"] <= at[0]["p"]


def test_weights_are_stored_and_decide():
    made = lines()
    even = evidence(made)
    assert even.attrs["weights"] == dict.fromkeys(made, 0.25)
    alone = evidence(made, weights={"direct": 0, "stability": 0, "latent": 0, "graph": 3})
    assert alone.attrs["weights"] == {"direct": 0.0, "stability": 0.0, "graph": 1.0, "latent": 0.0}
    listed = made["graph"].sort_values("score", ascending=False)
    assert list(alone["x"][: len(listed)]) == list(listed["x"])
    pd.testing.assert_series_equal(alone["combined"], alone["graph rank"], check_names=False)


def test_the_combined_rank_is_the_weighted_mean_of_the_normalised_ones():
    x = list("abc")
    table = evidence(
        {
            "direct": pd.DataFrame({"x": x, "y": "m", "p": [0.01, 0.2, 0.9], "rho": [-0.9, 0.5, 0.1]}),
            "external": pd.DataFrame({"x": ["c"], "y": ["m"], "score": [7.0]}),
        },
        weights={"direct": 3, "external": 1},
    ).set_index("x")
    np.testing.assert_allclose(table.loc[x, "direct rank"], [1, 0.5, 0])
    np.testing.assert_allclose(table.loc[x, "external rank"], [0.25, 0.25, 1])  # two that are not listed share the last
    np.testing.assert_allclose(table.loc[x, "combined"], [13 / 16, 7 / 16, 1 / 4])
    assert table.loc[x, "lines"].tolist() == [1, 1, 2]
    assert table.loc["a", "direct"] == -0.9
    assert table.loc["a", "direct p"] == 0.01


def test_cauchys_combination():
    """One p stays as it is; equal p are themselves; under independence and under identity the level holds."""

    def combined(*columns, **options):
        n = len(columns[0])
        made = {f"l{k}": pd.DataFrame({"x": range(n), "y": "m", "p": c}) for k, c in enumerate(columns)}
        table = evidence(made, **options)
        return table.set_index(table["x"].astype(int))["p"].sort_index().to_numpy()

    p = np.array([1e-250, 1e-20, 1e-5, 0.03, 0.4])
    np.testing.assert_allclose(combined(p), p, rtol=1e-9)
    np.testing.assert_allclose(combined(p, p, weights={"l0": 3.0}), p, rtol=1e-7)
    np.testing.assert_allclose(combined(p[:2], np.ones(2)), 2 * p[:2], rtol=1e-7)  # a tiny one counts by its weight
    u = np.random.default_rng(0).uniform(size=(2, 20_000))
    for second in (u[1], u[0]):
        share = (combined(u[0], second) <= 0.01).mean()
        assert share == pytest.approx(0.01, abs=3 * np.sqrt(0.01 * 0.99 / 20_000))
    t = np.tan((0.5 - np.minimum(u, 0.5)) * np.pi).mean(axis=0)
    np.testing.assert_allclose(combined(u[0], u[1]), stats.cauchy.sf(t), atol=1e-9)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"weights": {"direkt": 1.0}}, RecipeError, "did you mean 'direct'"),
        ({"weights": {"direct": -1.0}}, RecipeError, "0 or more"),
        ({"weights": {"direct": 0.0}}, RecipeError, "one above 0"),
        ({"lines": {}}, DataError, "no line"),
        ({"lines": {"direct": pd.DataFrame({"x": ["a"], "p": [0.1]})}}, DataError, "met 'y'"),
        ({"lines": {"direct": pd.DataFrame({"x": ["a"], "y": ["b"]})}}, DataError, "p, score, frequency, rho"),
        ({"lines": {"direct": pd.DataFrame({"x": ["a"] * 2, "y": ["b"] * 2, "p": 0.1})}}, DataError, "a - b"),
        ({"lines": {"direct": pd.DataFrame({"x": ["a"], "y": ["b"], "p": [1.1]})}}, DataError, "outside 0..1"),
        ({"lines": {"rank": pd.DataFrame({"x": ["a"], "y": ["b"], "p": [0.1]})}}, DataError, "no name of a line"),
    ],
)
def test_what_is_refused_is_said(change, error, said):
    options = {"lines": {"direct": lines()["direct"]}} | change
    with pytest.raises(error) as caught:
        evidence(options.pop("lines"), **options)
    assert said in str(caught.value)
