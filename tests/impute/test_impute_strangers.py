"""What a stranger met who tried `impute` from its page alone."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import isthmus as ist
from cohorts import linear
from isthmus.cli import main
from isthmus.errors import DataError, RecipeError
from isthmus.impute.benchmark import benchmark
from isthmus.impute.choice import Choice
from isthmus.impute.downstream import summary
from isthmus.impute.filling import fit_filler
from isthmus.impute.imputer import make
from isthmus.impute.intervals import pooled
from isthmus.impute.masks import draw, mask, write_mask
from isthmus.impute.saved import save_imputer
from isthmus.impute.state import decode, encode
from isthmus.impute.tasks import Plan
from isthmus.imputing import run
from isthmus.imputing.fold import Setting
from isthmus.imputing.protocol import check_protocol
from isthmus.imputing.recipe import parse_impute_recipe
from isthmus.imputing.study import Study, missing, targets_of
from isthmus.imputing.words import _choice, _mse, unfilled


def test_an_interval_of_r2_may_lie_below_nought_and_one_of_accuracy_ends_there():
    rows = pd.DataFrame({"value": [-0.4, -0.2, -0.3], "fold": [0, 1, 2], "n_train": 40, "n_test": 20})
    one, other = (
        summary(rows.assign(values="original", learner="logistic", metric=metric)).iloc[0]
        for metric in ("r2", "accuracy")
    )
    assert one["lower"] < one["mean"] < one["upper"]
    assert other["lower"] == 0


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.float32(np.inf)])
def test_a_method_that_has_learnt_an_infinite_number_is_saved(number):
    arrays: dict[str, np.ndarray] = {}
    told = json.loads(json.dumps(encode({"most_": number}, arrays, []), allow_nan=False))
    assert decode(told, arrays, [])["most_"] == number


def test_a_method_that_reads_another_modality_alone_is_refused_where_there_is_none(tmp_path):
    mdata = ist.simulate(n=30, modalities={"a": 6}, missing={"a": 0.1}, seed=3)
    for wrong in (
        lambda: benchmark(mdata, "a", methods=["ridge"], pattern="random", folds=2),
        lambda: benchmark(mdata, "a", methods=["class_mean"], pattern="random", folds=2),
        lambda: fit_filler(mdata, "a", methods="ridge"),
    ):
        with pytest.raises(RecipeError, match=r"methods: \w+: has nothing to read; wanted (another modality|classes)"):
            wrong()
    data = {"simulate": {"n": 30, "modalities": {"a": 6}, "missing": {"a": 0.1}, "seed": 3}}
    with pytest.raises(RecipeError, match=r"impute.methods: ridge: has nothing to read; wanted another modality"):
        run.impute({"data": data, "impute": {"methods": ["mean", "ridge"]}}, tmp_path / "run", workers=0)


def test_a_mask_of_entries_is_not_taken_for_one_of_whole_samples():
    mdata = linear(n=30)
    keys = {"methods": ["mean"], "folds": 2, "intervals": None}
    with pytest.raises(RecipeError, match=r"hidden: hides single entries.*wanted the pattern that it was drawn in"):
        benchmark(mdata, "cnv", hidden=ist.impute.mask(mdata, "cnv"), **keys)
    rows = ist.impute.mask(mdata, "cnv", pattern="modality", rate=0.5)
    assert benchmark(mdata, "cnv", hidden=rows, **keys)["n_entries"].sum() == rows.to_numpy().sum()


def test_a_modality_without_any_value_is_named():
    mdata = linear(n=30)
    mdata.mod["cnv"].X[:] = np.nan
    recipe = parse_impute_recipe({"data": {"simulate": {"n": 30}}, "impute": {"target": "rna"}})
    with pytest.raises(DataError, match=r"data: cnv: holds no value; met .*\n.*leave it out of data.read"):
        targets_of(recipe, missing(mdata))


def test_new_samples_without_the_column_of_classes_are_told(caplog):
    mdata = ist.simulate(n=30, modalities={"a": 6}, classes=2, missing={"a": 0.1}, seed=3)
    filler = fit_filler(mdata, "a", methods="class_mean", classes="class")
    filler.transform(mdata)
    assert "no column" not in caplog.text
    mdata.obs = mdata.obs.drop(columns="class")
    filler.transform(mdata)
    assert "obs has no column class, which the imputer reads" in caplog.text
    caplog.clear()
    fit_filler(
        ist.simulate(n=30, modalities={"a": 6}, classes=2, seed=3), "a", methods="mean", classes="class"
    ).transform(mdata)
    assert "no column" not in caplog.text, "a mean reads no classes"


def test_classes_of_new_samples_come_from_a_table_of_annotations(tmp_path):
    mdata = ist.simulate(n=30, modalities={"a": 6}, classes=2, missing={"a": 0.2}, seed=3)
    filler = fit_filler(mdata, "a", methods="class_mean", classes="class")
    save_imputer({"a": filler}, tmp_path / "imputer")
    mdata.mod["a"].to_df().to_csv(tmp_path / "a.csv")
    mdata.obs.to_csv(tmp_path / "obs.csv")
    given = ["apply", str(tmp_path), f"a={tmp_path / 'a.csv'}", "--obs", str(tmp_path / "obs.csv"), "--task", "impute"]
    with pytest.raises(SystemExit) as ended:
        main([*given, "--out", str(tmp_path / "filled.csv")])
    assert ended.value.code == 0
    filled = pd.read_csv(tmp_path / "filled.csv", index_col=0)
    np.testing.assert_allclose(filled.to_numpy(), filler.transform(mdata).X, rtol=1e-5)


def test_masks_of_every_modality_are_looked_at_before_the_first_is_scored(tmp_path, monkeypatch):
    data = {"simulate": {"n": 30, "modalities": {"a": 6, "b": 5}, "missing": {"a": 0.1, "b": 0.1}, "seed": 3}}
    mdata = ist.simulate(**data["simulate"])
    (tmp_path / "masks").mkdir()
    ist.impute.write_mask(
        ist.impute.mask(mdata, "a"), tmp_path / "masks" / "a-random-0.1-0.json.gz", pattern="random", rate=0.1
    )
    ids = list(map(str, mdata.obs_names))
    folds = [{"train": ids[:15], "test": ids[15:]}, {"train": ids[15:], "test": ids[:15]}]
    (tmp_path / "masks" / "a-folds-0.json").write_text(json.dumps({"folds": folds}), encoding="utf-8")
    monkeypatch.setattr(run, "study", lambda *_: pytest.fail("was scored"))
    keys = {"methods": ["mean"], "patterns": ["random"], "masks": str(tmp_path / "masks")}
    with pytest.raises(DataError, match=r"b-random-0.1-0.json.gz: there is no such file"):
        run.impute({"data": data, "impute": keys}, tmp_path / "run", workers=0)


def test_a_step_that_cannot_take_a_sample_names_it():
    mdata, keys = linear(30, (("a", 6), ("b", 4)), missing=0.1), {"prepare": {"a": ["log1p"]}}
    for use in (fit_filler, benchmark):
        with pytest.raises(DataError, match=r"a, log1p, sample '\w+', feature '\w+': a negative value"):
            use(mdata, "a", methods="mean", **keys)


def test_a_table_that_does_not_vary_has_no_r2():
    scores = pd.DataFrame({"method": ["mean", "knn"], "pattern": "random", "r2": np.nan, "mse": 0.0, "n_entries": 40})
    table = pd.DataFrame({"method": ["mean", "knn"], "mse": 0.0})
    said = _choice(Study("a", scores=scores, choices={"entries": Choice("mean", "mean", table, 1)}), "entries")
    assert said.startswith("For missing entries of a mean is taken: no R², since nothing varies, over what was hidden")
    assert "nan" not in said


def test_errors_are_told_to_as_many_digits_as_tell_them_apart():
    errors = pd.Series({"a": 1.0781, "b": 1.0792, "c": 1.31, "d": 1.31})
    assert _mse(errors, "a", "b") == "MSE 1.078 against 1.079"
    assert _mse(errors, "a", "c") == "MSE 1.08 against 1.31"
    assert _mse(errors, "c", "d") == "MSE 1.31 against 1.31"


# ---- methods as objects, masks as files


def test_columns_of_frames_are_kept_and_another_order_is_refused():
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(12, 4)), columns=list("abcd")).mask(lambda t: t > 1)
    knn = make({"knn": {"k": 2}})[1]
    with pytest.raises(NotFittedError):
        knn.transform(x)
    steps = make_pipeline(StandardScaler(), knn).set_output(transform="pandas")
    filled = steps.fit_transform(x, np.arange(12))
    assert list(filled.columns) == list("abcd")
    assert not filled.isna().any(axis=None)
    with pytest.raises(DataError, match="other features than training, or another order"):
        knn.transform(filled[list("dcba")])
    with pytest.raises(DataError, match="x: holds what is no number"):
        knn.fit(x.astype(object).where(x.notna(), "NA"))


def test_what_is_no_mask_and_what_json_cannot_hold_is_refused(tmp_path):
    mdata = linear(n=20)
    hidden = mask(mdata, "cnv")
    with pytest.raises(DataError, match="hidden: is no mask"):
        write_mask(mdata.mod["cnv"].to_df(), tmp_path / "mask.json")
    with pytest.raises(DataError, match="protocol: cannot be kept in JSON"):
        write_mask(hidden, tmp_path / "mask.json", made=pd.Timestamp(0))
    write_mask(hidden, tmp_path / "mask.json", rate=np.float32(0.5), pattern="random")
    assert ist.impute.read_mask(tmp_path / "mask.json")[1]["rate"] == 0.5
    with pytest.raises(RecipeError, match="seed: is no seed; met -1"):
        mask(mdata, "cnv", seed=-1)


@pytest.mark.parametrize("pattern", ["mnar_low", "mar"])
def test_features_never_observed_or_constant_disturb_no_pattern(pattern):
    mdata = linear(n=40)
    for table in mdata.mod.values():
        table.X[:, 0], table.X[:, 1] = np.nan, 0.1
    hidden = mask(mdata, "cnv", pattern=pattern, rate=0.3, seed=1).to_numpy()
    assert not hidden[:, 0].any()
    assert 0.1 < hidden[:, 1].mean() < 0.6


def test_knn_of_a_table_of_noughts_is_nought():
    x = np.where(draw(np.zeros((12, 4)), "random", rate=0.3, rng=np.random.default_rng(0)), np.nan, 0.0)
    assert (make("knn")[1].fit(x).transform(x) == 0).all()


def test_a_method_alone_kinds_of_gaps_and_estimates_are_told():
    mdata = linear(n=30)
    assert set(benchmark(mdata, "cnv", methods="mean", folds=2, intervals=None)["method"]) == {"mean"}
    with pytest.raises(RecipeError, match="methods: no such kind of gap; met 'entry'; wanted entries or modality"):
        fit_filler(mdata, "cnv", methods={"entry": "mean", "modality": "ridge"})
    with pytest.raises(DataError, match="estimate: gives no estimates and variances"):
        pooled(np.zeros((2, 5, 3)), ["a"], estimate=lambda t: t.mean())
    with pytest.raises(DataError, match="cnv: too few samples have it; met 30; wanted at least 40"):
        Plan(folds=40).parts(mdata, "cnv")


def test_features_that_keep_their_gaps_are_said():
    mdata = linear(n=30)
    assert unfilled(mdata.mod) == []
    mdata.mod["cnv"].X[3, :2] = np.nan
    first = mdata.mod["cnv"].var_names[0]
    (said,) = unfilled(mdata.mod)
    assert said.startswith("In cnv 2 features keep their gaps, never observed or dropped by prepare: ")
    assert str(first) in said


def test_folds_that_name_samples_without_the_modality_are_of_another_cohort(tmp_path):
    mdata = linear(n=30, absent=6)
    ids = list(map(str, mdata.obs_names))
    folds = [{"train": ids[:15], "test": ids[15:]}, {"train": ids[15:], "test": ids[:15]}]
    (tmp_path / "cnv-folds-0.json").write_text(json.dumps({"folds": folds}), encoding="utf-8")
    keys = {"masks": str(tmp_path), "patterns": ["modality"], "target": "cnv"}
    recipe = parse_impute_recipe({"data": {"simulate": {"n": 30}}, "impute": keys})
    with pytest.raises(DataError, match=r"folds of another cohort; met '6 of its 30 samples are not there'"):
        check_protocol(recipe, mdata, "cnv", [Setting("modality", 0.1, 0, main=True)])
