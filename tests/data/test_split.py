"""Splits partition the cohort, keep groups together, share classes out, and depend on ids, values and seed only."""

from __future__ import annotations

import json
import logging

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.data.cohort import build
from isthmus.data.read import read
from isthmus.data.split import Split, assign, assign_by, assign_folds, folds, labels, split
from isthmus.data.split_files import read_folds, read_split, write_split
from isthmus.errors import DataError, RecipeError

FRACTIONS = ((0.6, 0.2, 0.2), (0.8, 0.2), (0.5, 0.25, 0.25), (0.98, 0.01, 0.01))


@pytest.fixture
def obs() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 200
    ids = [f"s{i:03d}" for i in rng.permutation(n)]
    return pd.DataFrame(
        {
            "patient": rng.integers(0, 60, n),
            "subtype": rng.choice(["a", "b", "c", None], n, p=[0.6, 0.25, 0.1, 0.05]),
            "time": rng.normal(size=n),
            "part": rng.choice(["train", "valid", "test"], n),
            "site": rng.choice([1.0, 2.0, 3.0, np.nan], n),
        },
        index=ids,
    )


@st.composite
def cohorts(draw):
    n = draw(st.integers(3, 60))
    ids = draw(st.lists(st.text("abc01-", min_size=1, max_size=8), min_size=n, max_size=n, unique=True))
    group = draw(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=n, max_size=n))
    label = draw(st.lists(st.sampled_from(["x", "y", "z", None]), min_size=n, max_size=n))
    return pd.DataFrame({"g": pd.array(group, dtype="Int64"), "y": label}, index=pd.Index(ids, dtype=object))


@settings(max_examples=80, deadline=None)
@given(cohorts(), st.sampled_from(FRACTIONS), st.sampled_from([None, "y"]), st.integers(0, 5))
def test_parts_partition_the_cohort_in_proportion(obs, fractions, stratify, seed):
    found = assign(obs, fractions, stratify=stratify, seed=seed)
    assert list(found.index) == list(obs.index)
    counts = found.value_counts()
    names = ("train", "valid", "test") if len(fractions) == 3 else ("train", "test")
    assert set(counts.index) == set(names)
    for name, fraction in zip(names, fractions, strict=True):
        assert abs(counts[name] - fraction * len(obs)) <= 2


@settings(max_examples=80, deadline=None)
@given(cohorts(), st.sampled_from([None, "y"]), st.integers(0, 5), st.booleans())
def test_groups_never_straddle_and_no_part_is_empty(obs, stratify, seed, in_folds):
    n_groups = obs["g"].nunique() + int(obs["g"].isna().sum())
    if n_groups < 3:
        with pytest.raises(DataError, match="too few groups"):
            assign(obs, group="g", stratify=stratify, seed=seed)
        return
    run = assign_folds if in_folds else assign
    found = run(obs, 3 if in_folds else (0.6, 0.2, 0.2), group="g", stratify=stratify, seed=seed)
    assert found.groupby(obs["g"]).nunique().max() <= 1 or obs["g"].isna().all()
    assert found.nunique() == 3


@settings(max_examples=60, deadline=None)
@given(cohorts(), st.randoms(use_true_random=False), st.sampled_from([None, "y"]), st.sampled_from([None, "g"]))
def test_order_of_rows_and_type_of_columns_change_nothing(obs, random, stratify, group):
    if group and obs["g"].nunique() + int(obs["g"].isna().sum()) < 3:
        return
    turned = list(obs.index)
    random.shuffle(turned)
    other = obs.loc[turned].assign(
        g=lambda t: t["g"].astype(float), y=lambda t: t["y"].astype("category").cat.set_categories(["z", "y", "x"])
    )
    as_text = obs.assign(g=[None if pd.isna(v) else str(v) for v in obs["g"]])
    one = assign(obs, group=group, stratify=stratify, seed=1)
    pd.testing.assert_series_equal(one, assign(other, group=group, stratify=stratify, seed=1).loc[obs.index])
    pd.testing.assert_series_equal(one, assign(as_text, group=group, stratify=stratify, seed=1))
    if not group:
        assert not one.equals(assign(obs, stratify=stratify, seed=2)) or len(obs) < 12


def test_every_class_is_shared_out_to_within_a_sample_or_two(obs):
    found = assign(obs, stratify="subtype", seed=4)
    label = obs["subtype"].fillna("missing")
    for part, fraction in zip(("train", "valid", "test"), (0.6, 0.2, 0.2), strict=True):
        wanted = label.value_counts() * fraction
        assert (label[found == part].value_counts().reindex(wanted.index, fill_value=0) - wanted).abs().max() < 2
    number = assign_folds(obs, 5, stratify="subtype", seed=4)
    table = pd.crosstab(label, number)
    assert (table.max(axis=1) - table.min(axis=1)).max() <= 2


def test_groups_and_classes_together_stay_near_the_shares(obs):
    found = assign(obs, group="patient", stratify="subtype", seed=0)
    assert found.groupby(obs["patient"]).nunique().max() == 1
    share = pd.crosstab(obs["subtype"].fillna("missing"), found, normalize="index")
    whole = found.value_counts(normalize=True)
    assert abs(whole["train"] - 0.6) < 0.05
    assert abs(share.loc["a", "train"] - 0.6) < 0.08
    assert abs(share.loc["b", "test"] - 0.2) < 0.08


def test_shuffled_not_sorted(obs):
    """With many samples, membership of a part is unrelated to the id."""
    number = assign_folds(obs, 2, seed=0).sort_index()
    assert abs(np.corrcoef(np.arange(len(number)), number)[0, 1]) < 0.2
    assert 0.3 < (number.to_numpy()[1:] == number.to_numpy()[:-1]).mean() < 0.7


@pytest.mark.parametrize("as_type", [float, str, "category"])
def test_order_gives_contiguous_blocks(obs, as_type):
    obs = obs.assign(day=np.random.default_rng(0).permutation(len(obs)))
    column = obs["day"].astype(as_type)
    found = assign(obs.assign(day=column), order="day")
    assert obs["day"][found == "train"].max() < obs["day"][found == "valid"].min()
    assert obs["day"][found == "valid"].max() < obs["day"][found == "test"].min()
    assert found.value_counts().to_dict() == {"train": 120, "valid": 40, "test": 40}
    number = assign_folds(obs.assign(day=column), 5, order="day")
    assert number.loc[obs["day"].sort_values().index].is_monotonic_increasing
    assert number.value_counts().tolist() == [40] * 5


def test_order_keeps_groups_whole_and_parts_full(obs):
    found = assign(obs, order="time", group="patient")
    assert found.groupby(obs["patient"]).nunique().max() == 1
    few = pd.DataFrame({"t": [3.0, 1.0, 2.0]}, index=["a", "b", "c"])
    assert assign(few, (0.98, 0.01, 0.01), order="t").to_dict() == {"b": "train", "c": "valid", "a": "test"}
    with pytest.raises(DataError, match="no value to be ordered by"):
        assign(few.assign(t=[1.0, None, 2.0]), order="t")


def test_by_column_and_by_values(obs, caplog):
    assert assign_by(obs, "part").equals(obs["part"].rename("split"))
    with caplog.at_level(logging.WARNING, "isthmus"):
        found = assign_by(obs, {"site": {"1": "train", "2": "train", "3": "test"}})
    left_out = obs["site"].isna().sum()
    assert len(found) == len(obs) - left_out
    assert f"{left_out} samples have no part" in caplog.text
    assert set(obs["site"][found.index[found == "test"]]) == {3.0}
    with pytest.raises(DataError, match="names no part"):
        assign_by(obs, "subtype")
    with pytest.raises(DataError, match="no sample to test"):
        assign_by(obs, {"site": {"1": "train"}})
    with pytest.raises(RecipeError, match="is no part"):
        assign_by(obs, {"site": {"1": "training"}})


@pytest.mark.parametrize(
    ("fractions", "keys", "error", "said"),
    [
        ((0.6, 0.2), {}, RecipeError, "sum to 1"),
        ((0.6, 0.6, -0.2), {}, RecipeError, "sum to 1"),
        ((1.0,), {}, RecipeError, "sum to 1"),
        ((0.6, 0.2, 0.2), {"group": "patients"}, DataError, "did you mean 'patient'"),
        ((0.6, 0.2, 0.2), {"order": "time", "stratify": "subtype"}, RecipeError, "exclude each other"),
    ],
)
def test_wrong_arguments(obs, fractions, keys, error, said):
    with pytest.raises(error) as raised:
        assign(obs, fractions, **keys)
    assert said in str(raised.value)


def test_too_few_samples_says_how_many(obs):
    with pytest.raises(DataError, match=r"too few samples.*2 samples.*at least 3"):
        assign(obs.iloc[:2])
    with pytest.raises(DataError, match=r"too few groups.*10 samples in 1 groups"):
        assign(obs.iloc[:10].assign(g="a"), group="g")
    with pytest.raises(DataError, match="at least 5"):
        assign_folds(obs.iloc[:4], 5)


@pytest.mark.parametrize(
    "keys",
    [
        {"fractions": (0.5, 0.5), "folds": 3},
        {"folds": 3, "by": "part"},
        {"file": "x.csv", "group": "patient"},
        {"folds": 1},
        {"fractions": (0.5, 0.4)},
        {"order": "a", "stratify": "b"},
        {"fraction": (0.5, 0.5)},
    ],
)
def test_settings_that_contradict(keys):
    with pytest.raises(RecipeError):
        Split(**keys)


def _mdata(obs: pd.DataFrame) -> md.MuData:
    rng = np.random.default_rng(0)
    rna = ad.AnnData(rng.normal(size=(len(obs), 3)).astype(np.float32), obs=pd.DataFrame(index=obs.index))
    cnv = ad.AnnData(rng.normal(size=(50, 2)).astype(np.float32), obs=pd.DataFrame(index=obs.index[:50]))
    return build({"rna": rna, "cnv": cnv}, obs)


def test_split_takes_the_rows_of_each_sample(obs):
    mdata = _mdata(obs)
    parts = split(mdata, group="patient", stratify="subtype", seed=0)
    assert len(parts) == 3
    assert sorted(i for p in parts for i in p.obs_names) == sorted(obs.index)
    for part in parts:
        for name in ("rna", "cnv"):
            ids = part.mod[name].obs_names
            assert set(ids) == set(part.obs_names) & set(mdata.mod[name].obs_names)
            np.testing.assert_array_equal(part.mod[name].X, mdata.mod[name][ids].X)
        assert part.obs["patient"].tolist() == obs.loc[part.obs_names, "patient"].tolist()
    pairs = list(folds(mdata, 4, seed=0))
    tests = [set(test.obs_names) for _, test in pairs]
    assert sum(map(len, tests)) == len(set().union(*tests)) == len(obs)
    assert all(set(train.obs_names) == set(obs.index) - ids for (train, _), ids in zip(pairs, tests, strict=True))


def test_saved_split_is_used_again(obs, tmp_path, caplog):
    mdata = _mdata(obs)
    found = assign(obs, seed=5)
    path = write_split(found, tmp_path / "split.csv")
    pd.testing.assert_series_equal(read_split(path), found)
    again = split(mdata, file=path)
    assert [list(p.obs_names) for p in again] == [list(found.index[found == k]) for k in ("train", "valid", "test")]
    with caplog.at_level(logging.INFO, "isthmus"):
        fewer = labels(obs.iloc[:150], Split(file="split.csv"), root=tmp_path)[0]
        more = labels(pd.concat([obs, obs.iloc[:3].set_axis(["new1", "new2", "new3"])]), Split(file=str(path)))[0]
    assert len(fewer) == 150
    assert "names 50 samples that are not in the cohort" in caplog.text
    assert len(more) == 200
    assert "3 samples are not in" in caplog.text
    with pytest.raises(DataError, match="none of the cohort's samples"):
        labels(obs.set_axis(obs.index + "x"), Split(file=str(path)))


def test_saved_folds_csv_and_json(obs, tmp_path):
    mdata = _mdata(obs)
    number = assign_folds(obs, 4, seed=5)
    path = write_split(number, tmp_path / "folds.csv")
    pd.testing.assert_series_equal(read_split(path), number)
    tests = [list(obs.index[number == i]) for i in range(4)]
    tree = {"folds": [{"train": [i for i in obs.index if i not in t], "test": t} for t in map(set, tests)]}
    tree["folds"] = [{k: sorted(v) for k, v in f.items()} for f in tree["folds"]]
    (tmp_path / "folds.json").write_text(json.dumps(tree))
    pd.testing.assert_series_equal(read_split(tmp_path / "folds.json").loc[number.index], number)
    for file in ("folds.csv", "folds.json"):
        pairs = list(folds(mdata, file=tmp_path / file))
        assert [list(test.obs_names) for _, test in pairs] == tests
    with pytest.raises(RecipeError, match="several folds"):
        split(mdata, file=path)


ids = st.lists(st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=6), min_size=2, unique=True)


@settings(max_examples=60, deadline=None)
@given(ids, st.data())
def test_split_file_round_trip(tmp_path_factory, ids, data):
    n = len(ids)
    values = data.draw(st.lists(st.sampled_from(["train", "valid", "test"]), min_size=n, max_size=n))
    parts = pd.Series(values, pd.Index(ids, dtype=object), dtype=object, name="split")
    pd.testing.assert_series_equal(read_split(write_split(parts, tmp_path_factory.getbasetemp() / "s.csv")), parts)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "id,part\na,train\n", "wanted the columns sample,split"),
        ("a.csv", "", "an empty file"),
        ("a.csv", "sample,split\na,training\n", "row 2"),
        ("a.csv", "sample,split\na,train\na,test\n", "twice"),
        ("a.csv", "sample,fold\na,0\nb\n", "row 3"),
        ("a.json", "{", "not JSON"),
        ("a.json", "[]", "not a split"),
        ("a.json", '{"folds": [{"train": ["a"]}]}', "not a fold"),
        ("a.json", '{"folds": [{"train": ["a"], "test": ["a"]}]}', "twice"),
        ("b.csv", None, "no such file"),
    ],
)
def test_bad_split_files(tmp_path, name, text, said):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as raised:
        read_folds(tmp_path / name)
    assert said in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_the_folds_of_the_published_numbers(real):
    """The saved folds of pancan12 partition the cohort, and hold each sample's values."""
    path = real.parent / "baselines" / "folds" / "task3_pancan12_cv5.json"
    if not path.is_file():
        pytest.skip("the folds are not beside the data")
    mdata = read({"mirna": real / "tcga_pancan12" / "mirna.parquet"}, real / "tcga_pancan12" / "labels.csv")
    pairs = list(folds(mdata, file=path))
    assert [test.n_obs for _, test in pairs] == [485, 484, 484, 484, 484]
    assert sorted(i for _, test in pairs for i in test.obs_names) == sorted(mdata.obs_names)
    train, test = pairs[0]
    assert not set(train.obs_names) & set(test.obs_names)
    np.testing.assert_array_equal(test["mirna"].X, mdata["mirna"][test.obs_names].X)


def test_classes_too_rare_for_every_part_are_named_and_samples_without_a_class_are_none(caplog):
    table = pd.DataFrame({"kind": ["a"] * 8 + ["rare", None]}, index=[f"s{i}" for i in range(10)])
    with caplog.at_level(logging.WARNING, "isthmus"):
        assign(table, (0.6, 0.2, 0.2), stratify="kind")
    assert (
        "1 classes of 'kind' have fewer samples than the 3 parts, so that some parts lack them: 'rare'" in caplog.text
    )
    caplog.clear()
    with caplog.at_level(logging.WARNING, "isthmus"):
        assign(table.drop("s8"), (0.6, 0.2, 0.2), stratify="kind")
    assert not caplog.text
