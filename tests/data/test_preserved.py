"""Whole sites in one part: nothing straddles, classes are in balance as far as an enumeration can bring them."""

import itertools
import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import LeaveOneGroupOut

import isthmus as ist
from isthmus.data.preserved import unevenness
from isthmus.data.split import Split, assign, assign_folds, labels
from isthmus.errors import DataError, RecipeError


@st.composite
def cohorts(draw):
    """Samples at up to eight sites, of patients of whom some were seen at several."""
    n = draw(st.integers(6, 60))
    site = draw(st.lists(st.one_of(st.none(), st.sampled_from("abcdefgh")), min_size=n, max_size=n))
    who = draw(st.lists(st.integers(0, 25), min_size=n, max_size=n))
    label = draw(st.lists(st.sampled_from(["x", "y", None]), min_size=n, max_size=n))
    ids = pd.Index([f"s{k}" for k in draw(st.permutations(range(n)))], dtype=object)
    return pd.DataFrame({"site": site, "patient": who, "y": label}, index=ids)


def tied(obs, group):
    """How many sets of samples there are that share no site and no patient."""
    mark = dict(zip(obs.index, obs.index, strict=True))
    pairs = [c for c in ("site", group) if c]
    for _ in range(len(obs)):
        for column in pairs:
            for _, same in obs[obs[column].notna()].groupby(column):
                mark |= dict.fromkeys(same.index, min(mark[i] for i in same.index))
    return len(set(mark.values()))


@settings(max_examples=80, deadline=None)
@given(cohorts(), st.sampled_from([None, "y"]), st.sampled_from([None, "patient"]), st.booleans(), st.integers(0, 3))
def test_no_site_and_no_patient_is_in_two_parts(obs, stratify, group, in_folds, seed):
    run = (lambda: assign_folds(obs, 3, sites="site", group=group, stratify=stratify, seed=seed)) if in_folds else (
        lambda: assign(obs, (0.5, 0.5), sites="site", group=group, stratify=stratify, seed=seed))  # fmt: skip
    try:
        found = run()
    except DataError:
        assert tied(obs, group) < (3 if in_folds else 2)
        return
    assert list(found.index) == list(obs.index)
    assert found.nunique() == (3 if in_folds else 2)
    assert not (found.groupby(obs["site"]).nunique() > 1).any()
    if group:
        assert not (found.groupby(obs["patient"]).nunique() > 1).any()
    turned = obs.iloc[::-1].assign(site=lambda t: t["site"].astype("category"))
    keys = {"sites": "site", "group": group, "stratify": stratify, "seed": seed}
    again = assign_folds(turned, 3, **keys) if in_folds else assign(turned, (0.5, 0.5), **keys)
    pd.testing.assert_series_equal(again.loc[obs.index], found)


@settings(max_examples=60, deadline=None)
@given(cohorts(), st.sampled_from([None, "patient"]))
def test_leaving_a_site_out_shares_neither_site_nor_patient(obs, group):
    if obs["site"].nunique() < 2:
        with pytest.raises(DataError, match="one site at most"):
            labels(obs, Split(leave_out="site", group=group))
        return
    try:
        found = labels(obs, Split(leave_out="site", group=group))
    except DataError:
        others = {s: obs[obs["site"].notna() & (obs["site"] != s)] for s in obs["site"].dropna().unique()}
        assert any(o["patient"].isin(obs.loc[obs["site"] == s, "patient"]).all() for s, o in others.items())
        return
    assert len(found) == obs["site"].nunique()
    tested = pd.concat([f[f == "test"] for f in found])
    assert sorted(tested.index) == sorted(obs.index[obs["site"].notna()])
    for fold in found:
        train, test = (obs.loc[fold.index[fold == p]] for p in ("train", "test"))
        assert test["site"].nunique() == 1
        assert not set(train["site"]) & set(test["site"])
        if group:
            assert not set(train["patient"]) & set(test["patient"])
            gone = obs.loc[obs["site"].notna() & ~obs.index.isin(fold.index)]
            assert set(gone["patient"]) <= set(test["patient"])


def test_leaving_out_is_scikit_learns_leave_one_group_out(caplog):
    mdata = ist.simulate(n=60, modalities={"rna": 5}, sites=4)
    site = mdata.obs["site"].astype(str).to_numpy()
    ours = list(ist.folds(mdata, leave_out="site"))
    theirs = list(LeaveOneGroupOut().split(site, groups=site))
    assert [list(b.obs_names) for _, b in ours] == [list(mdata.obs_names[b]) for _, b in theirs]
    assert [list(a.obs_names) for a, _ in ours] == [list(mdata.obs_names[a]) for a, _ in theirs]
    gaps = mdata.obs.assign(site=mdata.obs["site"].astype(object).where(np.arange(60) >= 7, None))
    with caplog.at_level(logging.WARNING, "isthmus"):
        found = labels(gaps, Split(leave_out="site"))
    assert {len(f) for f in found} == {53}
    assert "7 samples have no 'site'" in caplog.text


@pytest.mark.parametrize("seed", range(6))
def test_the_balance_is_the_best_of_all_ways_to_deal(seed):
    """Eight sites to three folds: 6,561 ways, all of them tried."""
    rng = np.random.default_rng(seed)
    site = rng.choice(list("abcdefgh"), 150, p=rng.dirichlet(np.full(8, 2.0)))
    obs = pd.DataFrame(
        {"site": site, "y": rng.choice(list("uvw"), 150, p=[0.6, 0.3, 0.1])}, [f"s{k}" for k in range(150)]
    )
    table = pd.crosstab(obs["site"], obs["y"]).assign(all=lambda t: t.sum(axis=1)).to_numpy(float)
    x, shares = table / table.sum(axis=0), np.full(3, 1 / 3)
    ways = (np.array(w) for w in itertools.product(range(3), repeat=len(x)))
    best = min(unevenness(x, shares, w) for w in ways if len(set(w)) == 3)
    found = assign_folds(obs, 3, sites="site", stratify="y", seed=0)
    ours = found.groupby(obs["site"]).first().to_numpy()
    assert unevenness(x, shares, ours) == pytest.approx(best, abs=1e-12)
    dealt = assign_folds(obs, 3, group="site", stratify="y", seed=0).groupby(obs["site"]).first().to_numpy()
    assert unevenness(x, shares, ours) <= unevenness(x, shares, dealt) + 1e-12


def test_many_sites_are_in_balance_to_a_few_samples():
    rng = np.random.default_rng(0)
    site = rng.choice(120, 900, p=rng.dirichlet(np.full(120, 0.7)))
    event = np.where(rng.random(900) < 0.1 + 0.5 * (site % 2), "yes", "no")
    obs = pd.DataFrame({"site": site, "event": event}, [f"s{k}" for k in range(900)])
    table = pd.crosstab(obs["event"], assign_folds(obs, 3, sites="site", stratify="event", seed=0))
    assert (table.max(axis=1) - table.min(axis=1) <= 3).all()


def test_sites_that_share_a_patient_stay_together():
    obs = pd.DataFrame({"site": list("aabbccdd"), "patient": [1, 2, 2, 3, 4, 5, 6, 7]}, [f"s{k}" for k in range(8)])
    found = assign_folds(obs, 3, sites="site", group="patient").groupby(obs["site"]).first()
    assert found["a"] == found["b"]
    assert found.nunique() == 3
    with pytest.raises(DataError, match=r"too few sites.*4 sites, of which those that share a 'patient' are one: 3"):
        assign_folds(obs, 4, sites="site", group="patient")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"leave_out": "site", "folds": 3}, "exclude each other"),
        ({"leave_out": "site", "stratify": "y"}, "stratify has no meaning"),
        ({"leave_out": "site", "sites": "site"}, "sites has no meaning"),
        ({"sites": "site", "order": "day"}, "order and sites exclude each other"),
        ({"by": "part", "sites": "site"}, "sites has no meaning"),
    ],
)
def test_settings_that_contradict_are_told(keys, said):
    with pytest.raises(RecipeError, match=said):
        Split(**keys)


def test_a_column_that_is_not_there_is_told():
    obs = pd.DataFrame({"site": list("aabb")}, list("wxyz"))
    with pytest.raises(DataError, match=r"(?s)data.split.sites.*did you mean 'site'"):
        assign_folds(obs, 2, sites="sites")
    with pytest.raises(DataError, match=r"(?s)data.split.leave_out.*did you mean 'site'"):
        labels(obs, Split(leave_out="cite"))
    with pytest.raises(DataError, match=r"nothing to train on: every 'p'"):
        labels(obs.assign(p=1), Split(leave_out="site", group="p"))
