"""What once was said wrongly, twice or not at all: one test per complaint of a reader."""

import html
import logging
import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import isthmus as ist
from cohorts import linear
from isthmus.associating.graph_keys import GraphSettings
from isthmus.associating.latent_keys import LatentSettings
from isthmus.associating.recipe import Associating, StabilitySettings, parse_associate_recipe
from isthmus.cli import main
from isthmus.comparing_keys import Comparison, Rows
from isthmus.data.cohort import build
from isthmus.data.source import Source
from isthmus.data.table import aligned
from isthmus.errors import DataError, RecipeError
from isthmus.evaluate.spread import summarise
from isthmus.evaluate.words import verdict
from isthmus.experiment import run
from isthmus.folder import growing, nothing_to_resume, resolve
from isthmus.imputing.recipe import Downstream, Imputing, parse_impute_recipe
from isthmus.prepare.pipeline import Pipeline
from isthmus.recipe import Recipe, load_recipe, parse_recipe
from isthmus.report.definitions import DEFINITIONS
from isthmus.skeleton import skeleton
from isthmus.training.settings import Training
from isthmus.tuning_keys import Tuning
from isthmus.yaml_text import load_yaml

QUICK = ist.Training(epochs=1, patience=None)


def warned(caplog, text):
    return [r for r in caplog.records if text in r.getMessage()]


def command(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    return stop.value.code


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model of one table, and the table."""
    folder = tmp_path_factory.mktemp("plain")
    mdata = linear(n=40, widths=(("rna", 12),))
    frame = mdata.mod["rna"].to_df()
    frame.index = [f"-{i}" if k == 0 else i for k, i in enumerate(frame.index)]
    ist.fit(ist.VAE(latent=2, hidden=(8,)), {"rna": frame}, training=QUICK).save(folder / "model")
    frame.to_csv(folder / "plain.csv", index_label="id")
    frame.to_csv(folder / "comma.csv", index_label="id", sep=";", decimal=",")
    frame.T.to_csv(folder / "turned.csv", index_label="id")
    return folder


def test_apply_reads_a_table_as_it_is_told_to(place, monkeypatch, caplog):
    monkeypatch.chdir(place)
    assert command("apply", "model", "rna=plain.csv", "--out", "plain.parquet") == 0
    comma = ["--read", "rna.separator=;", "--read", "rna.decimal=,"]
    turned = ["--read", "rna.orientation=samples_in_columns"]
    for name, options in (("comma", comma), ("turned", turned)):
        assert command("apply", "model", f"rna={name}.csv", "--out", f"{name}.parquet", *options) == 0
        pd.testing.assert_frame_equal(pd.read_parquet(f"{name}.parquet"), pd.read_parquet("plain.parquet"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rna=turned.csv"], "--read rna.orientation=samples_in_columns"),
        (["rna=plain.csv", "--read", "rnaa.separator=;"], "is of no table given; met 'rnaa'"),
        (["rna=plain.csv", "--read", "rna=;"], "is not NAME.KEY=VALUE"),
        (["rna=plain.csv", "--read", "rna.separater=;"], "did you mean 'separator'?"),
        (["plain.h5mu", "--read", "rna.separator=;"], "is for tables with a name"),
    ],
)
def test_apply_says_what_is_wrong_with_how_to_read(place, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(place)
    assert command("apply", "model", *arguments, "--out", "none.csv") == 2
    assert said in capsys.readouterr().err


def test_ids_like_formulas_stay_as_they_are_where_that_is_asked_for(place, monkeypatch):
    monkeypatch.chdir(place)
    for flags, first in (([], "'-s0000"), (["--raw-ids"], "-s0000")):
        assert command("apply", "model", "rna=plain.csv", "--out", "z.csv", "--overwrite", *flags) == 0
        assert pd.read_csv("z.csv", index_col=0).index[0] == first


def test_tensorboard_without_a_run_folder_is_not_passed_over_in_silence(caplog):
    mdata = linear(n=30)
    ist.fit(ist.VAE(latent=2), mdata, training=ist.Training(epochs=1, tensorboard=True))
    assert len(warned(caplog, "training.tensorboard")) == 1


def test_the_recipe_of_a_run_holds_every_key_and_the_run_is_still_known(tmp_path, caplog):
    ist.write(linear(n=60), tmp_path / "tables")
    tables = {m: str(tmp_path / "tables" / f"{m}.csv") for m in ("rna", "cnv")}
    tree = {
        "data": {"read": tables, "split": {"seed": 1}},
        "prepare": {"cnv": ["maxabs"]},
        "model": {"name": "vae", "latent": 2, "hidden": [8]},
        "training": {"epochs": 1},
        "evaluate": {"embedding": None, "latent": None},
    }
    with caplog.at_level(logging.INFO, logger="isthmus"):
        run(parse_recipe(tree), tmp_path / "run")
    assert len(warned(caplog, "split: ")) == 1
    text = (tmp_path / "run" / "recipe.yaml").read_text()
    left = load_yaml(text, "recipe")
    assert left["prepare"] == {"rna": [{"standardise": {"limit": 10.0, "centre": True}}], "cnv": ["maxabs"]}
    assert left["likelihood"] == {"rna": "gaussian", "cnv": "gaussian"}
    assert set(left["data"]["read"]["rna"]) == set(Source.model_fields)
    assert set(left["training"]) == set(Training.model_fields)
    assert set(left) >= set(Recipe.model_fields) - {"compare", "tune", "heads", "confounders"}
    again = load_recipe(tmp_path / "run" / "recipe.yaml")
    assert again.text() == text
    for same in (parse_recipe(tree), again):
        run(same, tmp_path / "run", resume=True)
    assert len(warned(caplog, "nothing to resume")) == 2
    with pytest.raises(RecipeError, match=r"another recipe: - latent: 2; \+ latent: 3"):
        run(parse_recipe(tree | {"model": {"name": "vae", "latent": 3, "hidden": [8]}}), tmp_path / "run", resume=True)


def test_what_a_resolved_recipe_was_given_as_outlives_a_crash(tmp_path):
    out = tmp_path / "run"

    def interrupted(resume):
        with growing(out, "given", resume=resume) as folder:
            (folder / "fits").mkdir(exist_ok=True)
            (folder / "fits" / "manifest.json").write_text("kept")
            resolve(folder, "resolved")
            raise KeyboardInterrupt

    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            interrupted(resume)
    with growing(out, "given", resume=True) as folder:
        resolve(folder, "resolved")
        for name in ("metrics.json", "report.html"):
            (folder / name).write_text("")
    assert (out / "recipe.yaml").read_text() == "resolved"
    assert nothing_to_resume(out, "given")
    assert not nothing_to_resume(out, "other")


@pytest.mark.parametrize("name", ["a=b", "..", "a/..", "a..b", "a/b", "a\\b", ".a", "a:b", "a\nb"])
def test_a_name_that_is_no_file_name_is_refused(name):
    frame = pd.DataFrame([[1.0]], ["s"], ["f"])
    for given in ({name: frame}, build({name: ad.AnnData(frame)}, pd.DataFrame(index=["s"]))):
        with pytest.raises(RecipeError, match="is no name for a modality"):
            ist.read(given)
    assert list(ist.read({"RNA seq.2-b_c": frame}).mod) == ["RNA seq.2-b_c"]


def scores(metric, values):
    """Three folds of a label, with a test part of 18 or 19."""
    rows = [
        ("m", "kind", "logistic", metric, v, 75, n, i)
        for i, (v, n) in enumerate(zip(values, (19, 19, 18), strict=True))
    ]
    return pd.DataFrame(
        rows, columns=["representation", "label", "learner", "metric", "value", "n_train", "n_test", "fold"]
    )


def test_intervals_over_folds_stay_where_a_score_can_be_and_samples_are_whole():
    for metric, values in (("auc", (0.0, 0.9, 0.5)), ("r2", (-0.9, 0.9, 0.5))):
        row = summarise(scores(metric, values)).iloc[0]
        assert row["lower"] == 0 if metric == "auc" else row["lower"] < -1
        assert row["upper"] == 1
        assert row["n_test"] == 19


def test_pca_of_fewer_dimensions_is_called_so(tmp_path):
    tree = {
        "data": {"simulate": {"n": 60, "modalities": {"rna": 5}}},
        "model": {"name": "vae", "latent": 7, "hidden": [8]},
        "training": {"epochs": 1},
        "evaluate": {
            "latent": None,
            "embedding": {"labels": ["class"], "learners": ["logistic"], "baselines": ["pca"]},
        },
    }
    page = run(parse_recipe(tree), tmp_path / "run").read_text()
    assert "PCA has 5 dimensions beside the model's 7" in html.unescape(page)
    assert "at most as many as there are features" in DEFINITIONS["Baselines"]


def test_every_wrong_key_is_named():
    with pytest.raises(RecipeError) as met:
        ist.Training(epochs=0, batch_size=0, lr=-1)
    assert str(met.value).splitlines()[1] == "also wrong: Training.batch_size, Training.lr"
    with pytest.raises(RecipeError) as met:
        ist.Training(epoch=1, lr=-1, seeds=3)
    assert str(met.value).splitlines()[1:] == ["did you mean 'epochs'?", "also wrong: Training.lr, Training.seeds"]


@pytest.mark.filterwarnings("error")
def test_a_number_beyond_any_network_is_one_line():
    frame = pd.DataFrame({"a": [1e308, 1.0, -1e308], "b": [1.0, 2.0, 3.0]}, ["s", "t", "u"])
    mdata = ist.read({"rna": frame})
    with pytest.raises(DataError, match=r"rna, row 0, feature 'a': too large a value; met 1e\+308"):
        ist.fit(ist.VAE(latent=2), mdata, training=QUICK)
    small = ist.read({"rna": frame.clip(-3e38, 3e38)})
    Pipeline(["standardise"]).fit(aligned(small.mod["rna"], small.obs_names), "rna")


def test_what_cannot_be_learnt_from_is_refused_and_what_misleads_is_told(caplog):
    mdata = linear(n=30)
    with pytest.raises(RecipeError, match=r"model\.weights: leaves nothing to learn"):
        ist.fit(ist.VAE(latent=2, weights={"rna": 0.0, "cnv": 0.0}), mdata, training=QUICK)
    with pytest.raises(DataError, match="nothing varies over so few samples; met 1"):
        ist.fit(ist.VAE(latent=2), mdata[:1].copy(), training=QUICK)
    ist.fit(ist.VAE(latent=2, weights={"rna": 0.0}), mdata[:20].copy(), mdata[20:].copy(), training=QUICK)
    assert not warned(caplog, "early stopping is blind")
    ist.fit(ist.VAE(latent=2), mdata, mdata, training=QUICK)
    assert warned(caplog, "30 of 30 validation samples are training samples")


def test_a_printed_recipe_lists_what_a_key_takes():
    text = skeleton("vae")
    for key, choices in (
        ("optimizer", "adam, adamw, sgd, rowwise_adam, muon"),
        ("schedule", "constant, linear, cosine"),
        ("norm", "layer, batch, none"),
        ("learners", "logistic, svm, forest"),
        ("baselines", "pca, umap, random_features, raw"),
    ):
        comment = re.search(rf"# (.*)\n *{key}: ", text)[1]
        assert comment.endswith(f"Choices: {choices}.")
    assert "Choices" not in re.search(r"# (.*)\n *join: ", text)[1]


FILLED = re.compile(r"(\w+): null\n#    with these keys:\n((?:#.*\n)+)")


def printed(capsys, verb, *, filled):
    """What `init --for` prints; `filled`: with what stands as a comment in the place of null."""
    assert command("init", "--for", verb) == 0
    said = capsys.readouterr().out
    said = FILLED.sub(lambda m: f"{m[1]}:\n" + re.sub("^#", "", m[2], flags=re.MULTILINE), said) if filled else said
    return load_yaml(said, verb)


@pytest.mark.parametrize("filled", [False, True])
def test_every_command_that_reads_a_recipe_prints_one(filled, capsys):
    assert parse_recipe(printed(capsys, "tune", filled=filled)).tune == Tuning()
    compared = parse_recipe(printed(capsys, "compare", filled=filled)).compare
    assert compared == Comparison(rows=Rows() if filled else None)
    imputing = parse_impute_recipe(printed(capsys, "impute", filled=filled))
    assert imputing.impute == Imputing(downstream=Downstream(label="subtype") if filled else None)
    assert imputing.loop == {}
    associating = parse_associate_recipe(printed(capsys, "associate", filled=filled)).associate
    further = {"stability": StabilitySettings(), "latent": LatentSettings(), "graph": GraphSettings()} if filled else {}
    assert associating == Associating(between=("rna", "cnv"), **further)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["associate"], "use --for associate"),
        (["--for", "asociate"], "did you mean 'associate'"),
        (["vae", "--for", "impute"], "reads no architecture"),
    ],
)
def test_init_says_what_it_cannot_print(arguments, message, capsys):
    assert command("init", *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--verbose"]])
def test_the_bare_command_prints_help(arguments, capsys):
    assert command(*arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "Usage: " in said.out
    assert "apply" in said.out


def test_scores_of_different_metrics_are_never_averaged():
    rows = [
        (who, label, "logistic", metric, score, *[np.nan] * 9)
        for who, points in (("vae", (0.6, 0.0, 0.7)), ("pca", (0.5, 0.0, 0.5)), ("random_features", (0.8, 0.9, 0.8)))
        for (label, metric), score in zip((("a", "auc"), ("b", "r2"), ("c", "auc")), points, strict=True)
    ]
    columns = ["representation", "label", "learner", "metric", "mean", "sd", "lower", "upper", "n", "n_train", "n_test"]
    table = pd.DataFrame(rows, columns=[*columns, "difference", "difference_lower", "difference_upper"])
    said = " ".join(verdict(table, model="vae"))
    assert "random features on 3 of 3 labels (by .150 AUC and .900 R2 on average)" in said
    assert "(by .150 on average)" in " ".join(verdict(table[table["metric"] == "auc"], model="vae"))


def test_what_is_returned_has_a_type_in_every_docstring():
    from isthmus.data import cohort, read, split, write

    for module in (cohort, read, split, write):
        for name in (n for n in vars(module) if not n.startswith("_")):
            thing = getattr(module, name)
            if getattr(thing, "__module__", "") != module.__name__ or not callable(thing):
                continue
            found = re.search(r"(?:Returns|Yields)\n +-+\n( +)(.+)\n( *)", thing.__doc__ or "")
            assert found is None or len(found[3]) > len(found[1]), f"{module.__name__}.{name}"


def test_the_first_of_several_sheets_is_named_and_a_wrong_one_too(tmp_path, caplog):
    frames = [pd.DataFrame({"g": [1.0, 2.0]}, ["a", "b"]) * k for k in (1, 2)]
    with pd.ExcelWriter(tmp_path / "two.xlsx") as book:
        for name, frame in zip(("Readme", "Values"), frames, strict=True):
            frame.to_excel(book, sheet_name=name)
    path = str(tmp_path / "two.xlsx")
    assert ist.read({"x": path})["x"].X.ravel().tolist() == [1, 2]
    assert len(warned(caplog, "'Readme' is read, the first of 2 sheets; sheet names another")) == 1
    caplog.clear()
    assert ist.read({"x": {"path": path, "sheet": "Values"}})["x"].X.ravel().tolist() == [2, 4]
    assert not warned(caplog, "sheets")
    with pytest.raises(RecipeError, match=r"there is no such sheet; met 'Value'\ndid you mean 'Values'\?"):
        ist.read({"x": {"path": path, "sheet": "Value"}})


def test_a_value_is_met_as_it_was_written():
    x = ad.AnnData(np.array([[1, -0.066]], dtype=np.float32), pd.DataFrame(index=["s"]), pd.DataFrame(index=["f", "g"]))
    mdata = build({"x": x})
    with pytest.raises(DataError, match=r"sample 's', feature 'g': a negative value; met -0\.066;"):
        Pipeline(["log1p"]).fit(aligned(mdata["x"], mdata.obs_names), "x", ids=mdata.obs_names)
