"""What is hidden: the right share, in the right pattern, never an entry that was missing, whatever the order."""

import json

import mudata as md
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isthmus as ist
from cohorts import linear
from isthmus.errors import DataError, RecipeError
from isthmus.impute.masks import PATTERNS, draw, mask, read_mask, write_mask
from isthmus.impute.tasks import tasks


def cohort(n=120, missing=0.1):
    return linear(n=n, missing=missing)


@settings(max_examples=40, deadline=None)
@given(
    pattern=st.sampled_from(PATTERNS),
    rate=st.floats(0.05, 0.9),
    missing=st.floats(0, 0.5),
    seed=st.integers(0, 10**6),
)
def test_the_rate_holds_and_only_observed_entries_are_hidden(pattern, rate, missing, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, 40))
    x[rng.random(x.shape) < missing] = np.nan
    hidden = draw(x, pattern, rate=rate, rng=np.random.default_rng((seed, 1)), score=rng.normal(size=60))
    assert not hidden[np.isnan(x)].any()
    share = hidden.sum() / (~np.isnan(x)).sum()
    assert abs(share - rate) < (0.01 if pattern in ("random", "sample", "feature") else 0.1)


def test_patterns_look_as_they_are_called():
    x = np.random.default_rng(0).normal(size=(200, 50))
    level = np.linspace(-2, 2, 200)
    got = {p: draw(x, p, rate=0.2, rng=np.random.default_rng(1), score=level) for p in PATTERNS}
    assert got["sample"].any(axis=1).mean() == pytest.approx(0.4, abs=0.02)
    assert got["feature"].any(axis=0).mean() == pytest.approx(0.4, abs=0.02)
    assert set(got["modality"].mean(axis=1)) == {0.0, 1.0}
    assert x[got["mnar_low"]].mean() < x[~got["mnar_low"]].mean() - 0.5
    assert got["mar"][level > 1].mean() > 2 * got["mar"][level < -1].mean()
    assert abs(x[got["random"]].mean() - x[~got["random"]].mean()) < 0.1


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_order_of_samples_does_not_matter(pattern):
    mdata = cohort()
    turned = md.MuData({m: a[::-1].copy() for m, a in mdata.mod.items()})
    a, b = (mask(m, "rna", pattern=pattern, rate=0.2, seed=3) for m in (mdata, turned))
    assert a.equals(b.loc[a.index])
    assert not a.equals(mask(mdata, "rna", pattern=pattern, rate=0.2, seed=4))


@pytest.mark.parametrize("name", ["mask.json", "mask.json.gz"])
def test_a_mask_survives_the_file(name, tmp_path):
    hidden = mask(cohort(), "rna", pattern="sample", rate=0.1)
    write_mask(hidden, tmp_path / name, target="rna", pattern="sample", rate=0.1, seed=0)
    again, protocol = read_mask(tmp_path / name)
    assert again.equals(hidden)
    assert protocol == {"target": "rna", "pattern": "sample", "rate": 0.1, "seed": 0}
    assert (tmp_path / name).read_bytes().startswith(b"\x1f\x8b" if name.endswith("gz") else b"{")
    good = {"samples": ["a", "b"], "features": ["f"], "hidden": {"a": [0]}, "protocol": {}}
    bad = [{"samples": 3}, {"samples": ["a", "a"]}, {"hidden": {"c": [0]}}, {"hidden": {"a": [1]}}]
    for tree in [bad[0], *({**good, **b} for b in bad[1:]), {**good, "protocol": {"pattern": "no", "rate": 0.1}}]:
        (tmp_path / "bad.json").write_text(json.dumps(tree))
        with pytest.raises(DataError, match=r"bad\.json: is not a mask"):
            read_mask(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text(json.dumps(good))
    assert read_mask(tmp_path / "bad.json")[0].to_numpy().tolist() == [[True], [False]]


def test_a_shared_mask_hides_what_it_says_and_nothing_of_another_cohort(tmp_path):
    mdata = cohort()
    asked = {"pattern": "mar", "rate": 0.2, "seed": 3}
    write_mask(mask(mdata, "rna", **asked), tmp_path / "mask.json", target="rna", **asked)
    drawn, read = (
        [t.digest() for t in tasks(mdata, "rna", folds=2, **keys)]
        for keys in (asked, {"hidden": tmp_path / "mask.json", "seed": 3})
    )
    assert drawn == read
    found = ist.impute.benchmark(mdata, "rna", hidden=tmp_path / "mask.json", folds=2, methods=["mean"], intervals=None)
    assert set(found["pattern"]) == {"mar"}
    assert set(found["rate"]) == {0.2}
    with pytest.raises(DataError, match="mask of another cohort"):
        next(tasks(cohort(n=80), "rna", hidden=tmp_path / "mask.json"))
    with pytest.raises(DataError, match="mask of another cohort"):
        next(tasks(mdata, "cnv", hidden=tmp_path / "mask.json"))
    with pytest.raises(DataError, match="no such file"):
        next(tasks(mdata, "cnv", hidden=tmp_path / "masc.json"))


def test_what_cannot_be_drawn_is_refused():
    mdata = cohort()
    with pytest.raises(RecipeError, match="'random'"):
        mask(mdata, "rna", pattern="randm")
    with pytest.raises(RecipeError, match="above 0"):
        mask(mdata, "rna", rate=1.5)
    with pytest.raises(RecipeError, match="no such modality"):
        mask(mdata, "rnaa")
    with pytest.raises(RecipeError, match="another modality"):
        mask(md.MuData({"rna": mdata.mod["rna"]}), "rna", pattern="mar")
    assert ist.impute.PATTERNS == PATTERNS
