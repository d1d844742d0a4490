"""Real gaps: what fills them, what is saved, which method is taken, what a classifier makes of it."""

import json

import mudata as md
import numpy as np
import pandas as pd
import pytest

import isthmus as ist
from cohorts import linear
from isthmus.data.cohort import build, take_samples
from isthmus.errors import DataError, ModelError, RecipeError
from isthmus.impute.choice import choose
from isthmus.impute.downstream import downstream, summary
from isthmus.impute.filling import fill, fit_filler
from isthmus.impute.imputer import make
from isthmus.impute.intervals import pooled
from isthmus.impute.masks import GAPS, draw, mask
from isthmus.impute.saved import impute, load_imputer, save_imputer
from isthmus.impute.tasks import tasks


def cohort(n=120, seed=0):
    """RNA whole, copy number with a tenth of the entries missing and absent from fifteen samples."""
    return linear(n=n, missing=0.1, absent=15, seed=seed)


@pytest.fixture(scope="module")
def filler():
    return fit_filler(cohort(), "cnv", methods={"entries": "low_rank", "modality": "ridge"})


def truth_of(seed=0):
    whole = linear(n=120, missing=0.0, absent=0, seed=seed)
    return whole.mod["cnv"].to_df()


# ---- filling


def test_known_values_stand_and_every_gap_is_filled_within_its_interval(filler):
    mdata = cohort()
    out = filler.transform(mdata)
    known = mdata.mod["cnv"].to_df().reindex(mdata.obs_names)
    np.testing.assert_array_equal(out.layers["imputed"] == 1, known.isna())
    np.testing.assert_array_equal(out.X[known.notna()], known.to_numpy()[known.notna()])
    assert np.isfinite(out.X).all()
    gaps = out.layers["imputed"] == 1
    assert (out.layers["lower"][gaps] < out.X[gaps]).all()
    assert (out.layers["upper"][gaps] > out.X[gaps]).all()
    np.testing.assert_array_equal(out.layers["lower"][~gaps], out.X[~gaps])


def test_intervals_of_real_gaps_hold_the_truth_in_original_units():
    rng = np.random.default_rng(1)
    factors = rng.normal(size=(500, 3))
    x, y = (factors @ rng.normal(size=(3, p)) + 0.5 * rng.normal(size=(500, p)) for p in (20, 12))
    y = 100 + 7 * y
    gone = np.random.default_rng((1, 5)).random(y.shape) < 0.15
    gone[:100] = True
    mods = {"rna": pd.DataFrame(x).add_prefix("g"), "cnv": pd.DataFrame(np.where(gone, np.nan, y)).add_prefix("c")}
    mdata = ist.read({m: t.set_axis([f"s{i:03d}" for i in range(500)]) for m, t in mods.items()})
    out = fit_filler(mdata, "cnv", methods={"entries": "low_rank", "modality": "ridge"}).transform(mdata)
    inside = (out.layers["lower"] <= y) & (y <= out.layers["upper"])
    for rows in (slice(0, 100), slice(100, 500)):
        assert 0.87 < inside[rows][gone[rows]].mean() < 0.93
        error = (out.X - y)[rows][gone[rows]]
        assert (error**2).mean() < 0.5 * y.var(axis=0).mean()


def test_the_order_of_samples_changes_nothing(filler):
    mdata = cohort()
    order = np.random.default_rng(3).permutation(mdata.n_obs)
    turned = take_samples(mdata, mdata.obs_names[order])
    again = fit_filler(turned, "cnv", methods={"entries": "low_rank", "modality": "ridge"}).transform(turned)
    first = filler.transform(mdata)
    for a, b in ((first.to_df(), again.to_df()), (first.to_df("upper"), again.to_df("upper"))):
        np.testing.assert_allclose(a.loc[b.index].to_numpy(), b.to_numpy(), rtol=1e-5)


def test_filters_of_the_target_leave_what_they_drop_with_its_gaps():
    mdata = cohort()
    out = fit_filler(mdata, "cnv", methods="mean", prepare={"cnv": [{"top_variance": 5}, "standardise"]}).transform(
        mdata
    )
    assert out.n_vars == 20
    filled = np.isfinite(out.X).all(axis=0)
    assert filled.sum() == 5
    assert (np.isnan(out.X) & (out.layers["imputed"] == 1)).sum() == 0


def test_calls_come_back_as_calls():
    mdata = cohort()
    mdata.mod["cnv"].X = np.clip(np.round(mdata.mod["cnv"].X), -2, 2)
    whole = fit_filler(mdata, "cnv", methods="ridge", calls=True).transform(mdata)
    assert set(np.unique(whole.X)) == {-2, -1, 0, 1, 2}
    assert not set(np.unique(fit_filler(mdata, "cnv", methods="ridge").transform(mdata).X)) <= {-2, -1, 0, 1, 2}
    with pytest.raises(RecipeError, match="holds no calls"):
        fit_filler(mdata, "rna", methods="mean", calls=True)


def test_fill_leaves_the_other_modalities_alone():
    mdata = cohort()
    out = fill(mdata, "cnv", methods="mean")
    assert out.mod["cnv"].n_obs == mdata.n_obs
    pd.testing.assert_frame_equal(out.mod["rna"].to_df(), mdata.mod["rna"].to_df())
    with pytest.raises(RecipeError, match="'cnv'"):
        fill(mdata, "cvn", methods="mean")


# ---- saved


@pytest.mark.parametrize("name", ["class_mean", "knn", "ridge", "component_ridge", "pls", "low_rank", "translator"])
def test_a_saved_imputer_fills_new_samples_alike(name, tmp_path):
    mdata, new = cohort(), cohort(n=40, seed=5)
    options = {"translator": {"epochs": 2}, "component_ridge": {"kernel": True}}.get(name, {})
    fitted = {"cnv": fit_filler(mdata, "cnv", methods={name: options}, classes="kind")}
    save_imputer(fitted, tmp_path / "imputer")
    again = load_imputer(tmp_path / "imputer")
    assert [p.suffix for p in (tmp_path / "imputer").rglob("*") if p.suffix not in (".json", ".safetensors", "")] == []
    a, b = (impute(new, f).mod["cnv"] for f in (fitted, again))
    for layer in (None, "lower", "upper", "imputed"):
        pd.testing.assert_frame_equal(a.to_df(layer), b.to_df(layer))
    assert np.isfinite(a.X).all()


def test_new_samples_may_lack_the_modality_altogether(filler):
    new = cohort(n=30, seed=7)
    out = impute(build({"rna": new.mod["rna"]}), {"cnv": filler})
    assert (out.mod["cnv"].layers["imputed"] == 1).all()
    with pytest.raises(DataError, match="no modality that the imputer knows"):
        impute(build({"other": new.mod["rna"]}), {"cnv": filler})


def test_a_damaged_or_foreign_imputer_is_refused(filler, tmp_path):
    save_imputer({"cnv": filler}, tmp_path / "imputer")
    path = tmp_path / "imputer" / "imputer.json"
    tree = json.loads(path.read_text())
    path.write_text(json.dumps({**tree, "format_version": 9}))
    with pytest.raises(ModelError, match="sha256"):
        load_imputer(tmp_path / "imputer")
    with pytest.raises(ModelError, match="is missing"):
        load_imputer(tmp_path)
    with pytest.raises(ModelError, match="without pickle"):
        save_imputer(
            {"cnv": fit_filler(cohort(40), "cnv", methods={"scikit_learn": {"estimator": "simple"}})}, tmp_path / "x"
        )
    assert not (tmp_path / "x").exists()


# ---- the pattern of the gaps


def test_gaps_are_hidden_as_they_are_missing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 40))
    x[rng.random(x.shape) < np.linspace(0, 0.6, 40)] = np.nan
    hidden = draw(x, GAPS, rate=0.5, rng=np.random.default_rng(1))
    assert not hidden[np.isnan(x)].any()
    seen = ~np.isnan(x)
    share = hidden.sum(axis=0) / seen.sum(axis=0)
    assert np.corrcoef(share, np.isnan(x).mean(axis=0))[0, 1] > 0.95
    thin = draw(x, GAPS, rate=0.05, rng=np.random.default_rng(1))
    assert abs(thin.sum() / seen.sum() - 0.05) < 0.01
    assert not draw(np.ones((5, 3)), GAPS, rate=0.2, rng=rng).any()


# ---- the choice


def rows(**errors):
    return pd.DataFrame(
        [
            {"method": m, "pattern": "random", "rate": 0.1, "repeat": 0, "fold": f, "mse": e}
            for m, values in errors.items()
            for f, e in enumerate(values)
        ]
    )


def test_the_simpler_method_is_taken_only_within_the_spread():
    near = choose(rows(blend=[0.50, 0.55, 0.45], ridge=[0.51, 0.54, 0.455], mean=[1, 1, 1.1]), {"blend": 8, "ridge": 2})
    assert (near.method, near.best) == ("ridge", "blend")
    far = choose(rows(blend=[0.50, 0.55, 0.45], ridge=[0.56, 0.61, 0.51], mean=[1, 1, 1.1]), {"blend": 8, "ridge": 2})
    assert (far.method, far.best) == ("blend", "blend")
    assert list(far.table["method"]) == ["blend", "ridge", "mean"]
    assert far.table["difference"].iloc[1] == pytest.approx(0.06)


def test_the_spread_is_that_of_nadeau_and_bengio():
    found = choose(rows(a=[0.0, 0.0, 0.0], b=[0.1, 0.2, 0.3]), {}).table.set_index("method")
    assert found.loc["b", "spread"] == pytest.approx(0.1 * np.sqrt(1 / 3 + 1 / 2))


def test_the_pattern_of_the_gaps_outranks_the_others():
    other = rows(a=[0.1, 0.1], b=[0.9, 0.9])
    gaps = rows(a=[0.9, 0.9], b=[0.1, 0.1]).assign(pattern=GAPS)
    assert choose(pd.concat([other, gaps]), {}).method == "b"
    assert choose(pd.concat([other, gaps.assign(mse=np.nan)]), {}).method == "a"
    for hidden, decided in ((50, "b"), (5, "a")):  # ten values in all tell nothing
        assert choose(pd.concat([other, gaps]).assign(n_entries=hidden), {}).method == decided
    assert choose(gaps.assign(n_entries=5), {}).method == "b"
    with pytest.raises(DataError, match="no method"):
        choose(rows(a=[np.nan, 0.1], b=[0.1, np.nan]), {})


# ---- several draws, and a classifier


def test_pooled_means_agree_with_the_complete_data(filler):
    table = pooled(filler.draws(cohort(), 10), list(filler.pipeline.features_in_)).set_index("name")
    whole = truth_of()
    z = (table["estimate"] - whole.mean()) / table["standard_error"]
    assert (z.abs() < 1.96).mean() > 0.8
    assert table["missing_information"].between(0, 1).all()
    assert (table["standard_error"] > 0.9 * whole.std() / np.sqrt(len(whole))).all()


def test_what_leaks_in_from_the_source_is_visible():
    """The class is in the source alone: a target filled from it tells the class, the original target does not."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 240)
    shared = rng.normal(size=(240, 2))
    source = np.hstack([np.outer(3 * kind, np.ones(4)), shared @ rng.normal(size=(2, 8))]) + 0.3 * rng.normal(
        size=(240, 12)
    )
    target = shared @ rng.normal(size=(2, 10)) + rng.normal(size=(240, 10))
    ids = [f"s{i:03d}" for i in range(240)]
    frames = {"rna": pd.DataFrame(source, ids).add_prefix("g"), "cnv": pd.DataFrame(target, ids).add_prefix("c")}
    mdata = ist.read(frames, pd.DataFrame({"kind": np.where(kind, "a", "b")}, ids))
    found = []
    for fold, task in enumerate(tasks(mdata, "cnv", pattern="modality", folds=3)):
        fitted = make("ridge")[1].fit(task.train, **task.given(0))
        filled = fitted.transform(task.test, **task.given(1))
        found.append(
            downstream(task, {"ridge": (fitted, filled)}, mdata.obs["kind"], learners=["logistic"]).assign(fold=fold)
        )
    mean = summary(pd.concat(found)).query("metric == 'accuracy'").set_index("values")["mean"]
    assert mean["source alone"] > 0.95
    assert mean["original"] < 0.65
    assert mean["source + original"] > 0.95
    assert set(mean.index) == {"original", "source alone", "source + original", "ridge"}


def test_a_mask_of_the_gaps_needs_gaps():
    assert not mask(linear(n=40), "rna", pattern=GAPS, rate=0.2).to_numpy().any()
    assert isinstance(cohort(), md.MuData)
