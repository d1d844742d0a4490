"""`isthmus impute`: recipe, run folder, choice, filled cohort, saved imputer, report."""

import json
import os
import re
import signal

import mudata as md
import numpy as np
import pandas as pd
import pytest
import yaml

import isthmus as ist
from isthmus import cli
from isthmus.errors import DataError, RecipeError
from isthmus.impute.saved import impute as fill_new
from isthmus.impute.saved import load_imputer
from isthmus.imputing import work
from isthmus.imputing.recipe import load_impute_recipe, parse_impute_recipe
from isthmus.imputing.run import impute
from isthmus.training.engine import InterruptedTraining

RECIPE = {
    "data": {
        "simulate": {
            "n": 90, "modalities": {"rna": 24, "protein": 12}, "shared": 3, "private": 1, "classes": 2, "noise": 0.5,
            "missing": {"rna": 0.1}, "absent": {"protein": 0.25}, "seed": 1,
        },
        "split": {"folds": 3, "seed": 0},
    },
    "impute": {
        "methods": ["mean", "ridge", "low_rank"], "patterns": ["gaps", "modality"], "draws": 3,
        "downstream": {"label": "class", "learners": ["logistic"]}, "write": ["h5mu", "csv"],
    },
}  # fmt: skip


def changed(**keys):
    return {**RECIPE, "impute": {**RECIPE["impute"], **keys}}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return impute(RECIPE, tmp_path_factory.mktemp("verb") / "run", workers=0)


def test_the_winners_fill_every_gap(done):
    assert set(done.chosen) == {"rna", "protein"}
    assert done.chosen["rna"]["entries"] == "low_rank"
    assert done.chosen["protein"]["modality"] in ("ridge", "low_rank")
    assert np.isfinite(done.mdata.mod["rna"].X).all()
    assert done.mdata.mod["protein"].n_obs == 90
    again = md.read_h5mu(done.report.parent / "imputed.h5mu")
    for name in ("rna", "protein"):
        np.testing.assert_array_equal(again.mod[name].layers["upper"], done.mdata.mod[name].layers["upper"])
        table = pd.read_csv(done.report.parent / "imputed-csv" / f"{name}.csv", index_col=0)
        np.testing.assert_allclose(table.to_numpy(), done.mdata.mod[name].X, rtol=1e-5)
    assert (done.report.parent / "imputed-csv" / "rna-lower.csv").is_file()


def test_features_that_new_samples_lack_are_told_once_a_modality(done, tmp_path, capsys, caplog):
    for name, part in done.mdata.mod.items():  # each is a target, and the source of the other
        part.to_df().iloc[:5, 1:].to_csv(tmp_path / f"{name}.csv")
    data = [f"{m}={tmp_path / m}.csv" for m in done.mdata.mod]
    with pytest.raises(SystemExit) as ended:
        cli.main(["apply", str(done.report.parent), *data, "--task", "impute", "--out", str(tmp_path / "new.h5mu")])
    assert ended.value.code == 0
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(" features")[0] for line in said] == ["warning: rna: 1 of 24", "warning: protein: 1 of 12"]
    fillers = load_imputer(done.report.parent / "imputer")
    caplog.clear()
    fill_new(ist.read({m: str(tmp_path / f"{m}.csv") for m in done.mdata.mod}), fillers)
    assert len([line for line in caplog.messages if "are missing" in line]) == 2


def test_scores_and_metrics_agree_and_all_saw_the_same(done):
    scores = pd.read_csv(done.report.parent / "scores.csv")
    assert (scores.groupby(["target", "pattern", "repeat", "fold"])["inputs"].nunique() == 1).all()
    metrics = json.loads((done.report.parent / "metrics.json").read_text())
    ridge = scores.query("target == 'protein' and pattern == 'modality' and method == 'ridge'")
    assert metrics["protein/modality/ridge/mse"] == pytest.approx(ridge["mse"].mean())
    assert metrics["chosen/rna/entries"] == "low_rank"
    assert metrics["protein/modality/ridge/mse"] < metrics["protein/modality/mean/mse"]
    assert not any("seconds" in name for name in metrics)


def test_the_report_says_what_was_taken_first(done):
    page = done.report.read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", " ", page)
    assert text.index("For missing entries of rna low_rank is taken") < text.index("What every modality lacks")
    assert "intervals held" in done.verdict[0]
    assert any("lack it" in sentence for sentence in done.verdict)
    for words in ("source alone", "pooled by", "within their intervals", "as filled"):
        assert words in text, words


def test_the_verdict_and_the_table_say_the_same_r2(done):
    for target, kind in (("rna", "entries"), ("protein", "modality")):
        table = pd.read_csv(done.report.parent / "tables" / f"choice-{target}-{kind}.csv").set_index("method")
        sentence = next(s for s in done.verdict if target in s)
        assert f"R² {table.loc[done.chosen[target][kind], 'r2']:.3f}" in sentence
        assert {"r2_feature", "coverage", "width"} <= set(table.columns)


def test_masks_and_folds_of_a_run_can_be_shared(done, tmp_path):
    masks = done.report.parent / "masks"
    names = {"rna-gaps-0.1-0.json.gz", *(f"{m}-folds-0.json" for m in ("rna", "protein"))}
    assert {p.name for p in masks.iterdir()} == names
    keys = changed(methods=["mean", "ridge"], draws=0, downstream=None, masks=str(masks))
    other = {**keys, "training": {"seed": 7}, "data": {**RECIPE["data"], "split": {"folds": 3, "seed": 9}}}
    found = impute(other, tmp_path / "run", workers=0)
    columns = ["target", "method", "pattern", "fold", "mse", "inputs"]
    theirs = done.scores[done.scores["method"] != "low_rank"]
    pd.testing.assert_frame_equal(found.scores[columns], theirs[columns].reset_index(drop=True))
    assert {p.name: p.read_bytes() for p in masks.glob("*folds*")} == {
        p.name: p.read_bytes() for p in (tmp_path / "run" / "masks").glob("*folds*")
    }
    smaller = {"simulate": {**RECIPE["data"]["simulate"], "n": 80}}
    with pytest.raises(DataError, match="of another cohort"):
        impute({**keys, "data": smaller}, tmp_path / "other", workers=0)
    with pytest.raises(DataError, match="there is no such file"):
        impute({**keys, "impute": {**keys["impute"], "rates": [0.3]}}, tmp_path / "other", workers=0)
    with pytest.raises(RecipeError, match="no such folder"):
        impute(changed(masks=str(masks / "no")), tmp_path / "other", workers=0)
    assert not (tmp_path / "other").exists()


def test_the_same_again_gives_the_same_numbers_and_is_refused_without_overwrite(done, tmp_path):
    small = changed(methods=["mean", "ridge"], draws=0, downstream=None, write=["h5mu"], target="protein")
    first, second = (impute(small, tmp_path / "run", workers=0, overwrite=o) for o in (False, True))
    pd.testing.assert_frame_equal(first.scores.drop(columns="seconds"), second.scores.drop(columns="seconds"))
    with pytest.raises(RecipeError, match="exists"):
        impute(small, tmp_path / "run", workers=0)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    resolved = load_impute_recipe(tmp_path / "run" / "recipe.yaml")
    assert resolved.text() == (tmp_path / "run" / "recipe.yaml").read_text()


def test_an_interrupted_command_goes_on_and_two_processes_find_what_one_does(tmp_path, monkeypatch):
    small = changed(methods=["mean", "ridge"], draws=0, target="protein")
    whole = impute(small, tmp_path / "whole", workers=2)
    count = {"calls": 0}
    scored = work.scored_fold

    def counted(*arguments):
        count["calls"] += 1
        if count["calls"] == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return scored(*arguments)

    monkeypatch.setattr(work, "scored_fold", counted)
    with pytest.raises(InterruptedTraining) as stopped:
        impute(small, tmp_path / "run", workers=0)
    assert stopped.value.exit_code == 130
    assert "--resume" in str(stopped.value)
    with pytest.raises(RecipeError, match="an interrupted run is kept"):
        impute(small, tmp_path / "run", workers=0)
    count["calls"] = 3
    found = impute(small, tmp_path / "run", workers=0, resume=True)
    assert count["calls"] == 3 + len(whole.scores) // 2 - 2
    pd.testing.assert_frame_equal(found.scores.drop(columns="seconds"), whole.scores.drop(columns="seconds"))
    assert found.verdict == whole.verdict
    assert not (tmp_path / "run" / "fits").exists()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(small, sort_keys=False), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        cli.main(["impute", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run"), "--resume"])
    assert ended.value.code == 0


def test_the_saved_imputer_is_applied_to_new_samples(done, tmp_path, capsys):
    new = ist.simulate(**{**RECIPE["data"]["simulate"], "n": 30})
    ist.write(new, tmp_path / "new.h5mu")
    out = tmp_path / "filled.h5mu"
    with pytest.raises(SystemExit) as ended:
        cli.main(["apply", str(done.report.parent), str(tmp_path / "new.h5mu"), "--task", "impute", "--out", str(out)])
    assert ended.value.code == 0, capsys.readouterr().err
    filled = md.read_h5mu(out)
    assert np.isfinite(filled.mod["protein"].X).all()
    assert filled.mod["protein"].n_obs == 30
    with pytest.raises(SystemExit) as ended:
        cli.main(
            [
                "apply",
                str(done.report.parent),
                str(tmp_path / "new.h5mu"),
                "--task",
                "embed",
                "--out",
                str(out),
                "--overwrite",
            ]
        )
    assert ended.value.code == 2
    assert "saved imputer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({**RECIPE, "imputte": {}}, "did you mean 'impute'"),
        (changed(methods=["kn"]), "did you mean 'knn'"),
        (changed(methods=[]), "names no method"),
        (changed(methods=["class_mean"]), "wanted impute.classes"),
        (changed(methods=[{"pls": {"components": 3}}]), "pls.components: wrong value"),
        (changed(patterns=["random", "random"]), "twice"),
        (changed(rates=[1.5]), "below 1"),
        (changed(draws=1), "at least 2"),
        (changed(targett="rna"), "did you mean 'target'"),
        (changed(methods=["mean"], target="rnaa"), "no such modality"),
        (changed(methods=["mean"], downstream={"label": "clas"}), "did you mean 'class'"),
        (changed(methods=["mean"], calls=True), "holds no calls"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_no_folder(tree, message, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        cli.main(["impute", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run"), "--workers", "1"])
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert said.startswith("error: ")
    assert message in said
    assert len(said.strip().splitlines()) <= 3
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]


def test_a_method_that_reads_the_label_is_not_asked_to_predict_it(tmp_path):
    keys = {"methods": ["class_mean", "mean"], "patterns": ["gaps"], "target": "rna", "draws": 0, "classes": "class"}
    found = impute(changed(**keys), tmp_path / "run", workers=0)
    table = pd.read_csv(tmp_path / "run" / "tables" / "downstream-rna-entries.csv")
    assert set(table["values"]) == {"original", "source alone", "source + original", "mean"}
    assert found.chosen["rna"]["entries"] == "class_mean"
    assert "class_mean reads class to fill rna, so that it is not asked to predict it." in found.verdict


def test_a_cohort_that_lacks_nothing_needs_a_target(tmp_path):
    whole = {"simulate": {"n": 60, "modalities": {"rna": 12, "protein": 8}, "seed": 0}, "split": {"folds": 2}}
    tree = {"data": whole, "impute": {"methods": ["mean", "ridge"]}}
    with pytest.raises(DataError, match="lacks nothing"):
        impute(tree, tmp_path / "run", workers=0)
    found = impute({**tree, "impute": {**tree["impute"], "target": "protein"}}, tmp_path / "run", workers=0)
    assert set(found.scores["pattern"]) == {"modality", "random", "sample", "feature"}


def test_training_settings_reach_the_networks():
    from isthmus.impute.imputer import make
    from isthmus.imputing.fold import with_training

    recipe = parse_impute_recipe({**RECIPE, "training": {"epochs": 7, "lr": 0.01, "seed": 3}})
    method = with_training(make("masked_autoencoder")[1], recipe)
    assert method.training() == {"epochs": 7, "batch_size": 64, "patience": 20, "seed": 3, "lr": 0.01}
    assert with_training(make("knn")[1], recipe).get_params() == make("knn")[1].get_params()
    plain = with_training(make("masked_autoencoder")[1], parse_impute_recipe(RECIPE))
    assert plain.training() == make("masked_autoencoder")[1].training()
