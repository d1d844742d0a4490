"""The command line, as a user types it."""

import logging
import subprocess
import sys

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest

import isthmus as ist
from cohorts import linear
from isthmus.cli import _speak, main


def isthmus(*arguments, cwd=None):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "isthmus", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, and new samples in two formats."""
    folder = tmp_path_factory.mktemp("apply")
    mdata = linear(n=80, absent=10)
    ist.fit(ist.VAE(latent=2, hidden=(8,)), mdata, training=ist.Training(epochs=3)).save(folder / "model")
    ist.write(mdata, folder / "new")
    ist.write(mdata, folder / "new.h5mu")
    (folder / "bags").mkdir()
    (folder / "bags" / "S1.pt").touch()
    return folder


def test_apply_embeds_into_every_format(place, capsys):
    expected = ist.load(place / "model").embed(ist.read(place / "new.h5mu"))
    tables = [f"rna={place / 'new' / 'rna.csv'}", f"cnv={place / 'new' / 'cnv.csv'}"]
    for suffix in ("csv", "parquet", "h5ad"):
        out = place / f"z.{suffix}"
        with pytest.raises(SystemExit) as stop:
            main(["apply", str(place / "model"), *tables, "--out", str(out)])
        assert stop.value.code == 0
        assert capsys.readouterr().out.strip() == str(out)
        if suffix == "h5ad":
            found = ad.read_h5ad(out).to_df()
        else:
            found = pd.read_csv(out, index_col=0) if suffix == "csv" else pd.read_parquet(out)
        np.testing.assert_allclose(found.loc[expected.obs_names, ["z0", "z1"]], expected.X, atol=1e-5)


def test_apply_imputes_and_translates(place):
    result = isthmus("apply", place / "model", place / "new.h5mu", "--task", "impute", "--out", place / "full.h5mu")
    assert result.returncode == 0, result.stderr
    full = md.read_h5mu(place / "full.h5mu")
    assert full.mod["cnv"].n_obs == 80
    assert full.mod["cnv"].layers["imputed"].sum() == 10 * 20
    arguments = ["--task", "translate", "--source", "rna", "--target", "cnv", "--out", place / "cnv.csv"]
    result = isthmus("apply", place / "model", f"rna={place / 'new' / 'rna.csv'}", *arguments)
    assert result.returncode == 0, result.stderr
    assert pd.read_csv(place / "cnv.csv", index_col=0).shape == (80, 20)


def test_a_folder_of_filled_tables_holds_bounds_and_what_was_imputed(place):
    with pytest.raises(SystemExit) as stop:
        main(["apply", str(place / "model"), str(place / "new.h5mu"), "--task", "impute", "--out", str(place / "full")])
    assert stop.value.code == 0
    found = {name: pd.read_csv(place / "full" / f"cnv{name}.csv", index_col=0) for name in ("", "-lower", "-upper")}
    assert pd.read_csv(place / "full" / "cnv-imputed.csv", index_col=0).to_numpy().sum() == 10 * 20
    assert (found["-lower"] <= found[""]).all(axis=None)
    assert (found[""] <= found["-upper"]).all(axis=None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["apply", "nothing", "a.h5mu", "--out", "q.csv"], "is not a model directory"),
        (["apply", "model", "nothing.h5mu", "--out", "q.csv"], "there is no such file"),
        (["apply", "model", "rna", "x=y", "--out", "q.csv"], "is not name=path"),
        (["apply", "model", "new.h5mu", "--task", "impute", "--out", "q.csv"], "wanted an .h5mu file"),
        (["apply", "model", "new.h5mu", "--target", "cnv", "--out", "q.csv"], "only --task translate"),
        (["apply", "model", "rna=bags", "cnv=new/cnv.csv", "--out", "q.csv"], "rna=bags: is a folder of bags"),
        (["apply", "model", "cnvv=new/cnv.csv", "--out", "q.csv"], "did you mean 'cnv'"),
        (["apply", "model", "cnv=new/cnv.csv", "cnv=new/rna.csv", "--out", "q.csv"], "is given twice"),
        (["apply", "model", "new.h5mu", "--task", "translate", "--out", "q.csv"], "wanted --source NAME --target NAME"),
        (["apply", "model", "new.h5mu", "--task", "tranlsate", "--out", "q.csv"], "tranlsate"),
        (["apply", "model", "new.h5mu", "--source", "rnaa", "--out", "q.csv"], "did you mean 'rna'"),
        (["apply", "model", "new.h5mu"], "Missing option '--out'"),
        (["rum", "x"], "did you mean 'run'"),
        (["run"], "Missing argument 'RECIPE'"),
        (["run", "nothing.yaml"], "there is no such file"),
        (["init", "vaee"], "did you mean 'vae'"),
        (["simulate", "nn=3"], "did you mean 'n'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_two(place, arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.err.startswith("error: ")
    assert message in said.err
    assert len(said.err.strip().splitlines()) <= 3
    assert said.out == ""


def test_what_every_fold_warns_of_is_said_once_a_command(capsys):
    for _ in range(2):
        _speak(verbose=True)
        for fold in range(3):
            logging.getLogger("isthmus.data").warning("split: %d samples are left out", 5)
            logging.getLogger("isthmus.evaluate").warning("fold %d has one class", fold % 2)
            logging.getLogger("isthmus.data").info("split: 20 train")
        lines = capsys.readouterr().err.splitlines()
        assert [line for line in lines if line.startswith("warning")] == [
            "warning: split: 5 samples are left out", "warning: fold 0 has one class", "warning: fold 1 has one class",
        ]  # fmt: skip
        assert lines.count("split: 20 train") == 3


def test_a_process_says_the_same_without_a_traceback(place):
    result = isthmus("run", "nothing.yaml", cwd=place)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_demo_prints_the_report_last(tmp_path):
    result = isthmus("demo", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "isthmus-demo/report.html"
    assert (tmp_path / "isthmus-demo" / "report.html").is_file()
    assert result.stderr == ""


@pytest.mark.parametrize("verb", ["models", "steps", "doctor"])
def test_lists_name_what_there_is(verb, capsys):
    from isthmus import registry
    from isthmus.prepare import step

    with pytest.raises(SystemExit) as stop:
        main([verb])
    assert stop.value.code == 0
    expected = {"models": registry.names(), "steps": step.names(), "doctor": ["torch", "Python", "CUDA devices"]}[verb]
    said = capsys.readouterr().out.lower()
    assert all(name.lower() in said for name in expected)


def test_simulate_writes_what_read_reads(tmp_path):
    result = isthmus("simulate", "n=30", "modalities.rna=12", "seed=4", "--out", "c", "--format", "csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = ist.read({"rna": tmp_path / "c" / "rna.csv"}, obs=tmp_path / "c" / "obs.csv")
    expected = ist.simulate(n=30, modalities={"rna": 12}, seed=4)
    np.testing.assert_allclose(found.mod["rna"].X, expected.mod["rna"].X, rtol=1e-5)
    again = isthmus("simulate", "--out", "c", cwd=tmp_path)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
