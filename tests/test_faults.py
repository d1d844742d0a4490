"""Nothing is lost: what a run does when its input is wrong, when it is interrupted, killed, or starved.

Everything goes through the command line, in processes of their own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open

from children import DIE_AT_RENAME, DIE_AT_WRITE, Ended, Server, content, files
from isthmus.errors import InputError
from isthmus.folder import partial

RECIPE = """\
data:
  read: {rna: rna.csv, cnv: cnv.csv}
  obs: obs.csv
  split: {by: part}
model: {name: vae, latent: 2, hidden: [8]}
training: {epochs: 6, batch_size: 16, checkpoint_every: 1}
evaluate: {embedding: {labels: [kind], learners: [logistic], baselines: [pca], resamples: 10}}
"""
PARTS = ["train"] * 24 + ["valid"] * 8 + ["test"] * 8
SLOW = """
import time
from isthmus.training import engine
def slowly(self, *given, step=engine.Stretch._step):
    time.sleep({seconds})
    step(self, *given)
engine.Stretch._step = slowly
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("said"))
    yield made
    made.close()


def tables() -> dict[str, pd.DataFrame]:
    """A cohort of 40 samples whose label shows in both tables."""
    rng = np.random.default_rng(0)
    ids = [f"s{i:02d}" for i in range(40)]
    kind = np.arange(40) % 2
    made = {
        name: pd.DataFrame(
            np.round(rng.normal(size=(40, 10)) + kind[:, None], 4), ids, [f"{name}{j}" for j in range(10)]
        )
        for name in ("rna", "cnv")
    }
    return made | {"obs": pd.DataFrame({"kind": np.where(kind, "a", "b"), "part": PARTS}, ids)}


@pytest.fixture
def place(tmp_path):
    """A folder with a recipe and its tables."""
    for name, table in tables().items():
        table.to_csv(tmp_path / f"{name}.csv", index_label="sample")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    """A run that nothing disturbed."""
    place = tmp_path_factory.mktemp("whole")
    for name, table in tables().items():
        table.to_csv(place / f"{name}.csv", index_label="sample")
    (place / "recipe.yaml").write_text(RECIPE)
    ended = server.run("run", "recipe.yaml", "--out", "out", cwd=place)
    assert ended.code == 0, ended.err
    return place / "out"


def refused(ended: Ended, code: int, *said: str) -> None:
    """One line of error and at most two of hint; nothing else, least of all a traceback."""
    lines = [line for line in ended.err.splitlines() if not line.startswith("warning: ")]
    assert ended.code == code, ended.err
    assert lines[0].startswith("error: ")
    assert len(lines) <= 3
    assert len(lines[0]) < 600
    assert "Traceback" not in ended.err
    assert "our fault" not in ended.err
    for text in said:
        assert text in ended.err
    assert ended.out == ""


def left(place: Path) -> set[str]:
    """What is there besides the recipe and the tables."""
    return {p.name for p in place.iterdir()} - {"recipe.yaml", "rna.csv", "cnv.csv", "obs.csv"}


# ---- recipes

BAD_OVERRIDES = {
    "model.latnt=3": "model.latnt: unknown key\ndid you mean 'latent'?",
    "trainin.epochs=3": "trainin: unknown key\ndid you mean 'training'?",
    "data.read.rna={path: rna.csv, decimel: x}": "data.read.rna.decimel: unknown key\ndid you mean 'decimal'?",
    "model.latent=eight": "model.latent: wrong value; met 'eight'; wanted a whole number",
    "model.latent=2.5": "model.latent: wrong value; met 2.5; wanted a whole number",
    "model.latent=true": "model.latent: wrong value; met True; wanted a whole number",
    "model.hidden=8": "model.hidden: wrong value; met 8; wanted a list",
    "model.hidden=[0]": "model.hidden.0: wrong value; met 0; wanted at least 1",
    "model.latent=0": "model.latent: wrong value; met 0; wanted at least 1",
    "model.dropout=1": "model.dropout: wrong value; met 1; wanted below 1",
    "model.beta=.nan": "model.beta, line 1, column 1: is not a finite number",
    "model.beta=1e999": "is not a finite number",
    "model.beta=inf": "model.beta: wrong value; met 'inf'; wanted a finite number",
    "model=[1]": "model: ",
    "model=": "model: ",
    "model.name=vea": "did you mean 'vae'?",
    "model.name=3": "model.name: names no architecture; met 3",
    "model.a.b=3": "model.a: unknown key",
    "model.weights={rnaa: 1}": "model.weights.rnaa: no such modality\ndid you mean 'rna'?",
    "data.read.rna=3": "data.read.rna: ",
    "data.read.rna=rnaa.csv": "rnaa.csv: there is no such file\ndid you mean 'rna.csv'?",
    "data.read.rna=${NOT_SET_ANYWHERE}/rna.csv": "an environment variable is not set; met 'NOT_SET_ANYWHERE'",
    "data.obs=obz.csv": "did you mean 'obs.csv'?",
    "data.simulate={n: 50}": "give exactly one of `read` and `simulate`",
    "data.split={fractions: [0.5, 0.5, 0.5]}": "sum to 1",
    "data.split={folds: 1}": "data.split.folds: ",
    "data.split={folds: 41}": "too few samples",
    "data.split={by: prt}": "did you mean 'part'?",
    "data.split={stratify: knd}": "did you mean 'kind'?",
    "data.split={file: nothing.csv}": "nothing.csv: there is no such file",
    "prepare.rna=standardise": "prepare.rna: wrong value; met 'standardise'; wanted a list",
    "prepare.rna=[standardize]": "prepare.rna.0: no such step; met 'standardize'\ndid you mean 'standardise'?",
    "prepare.rna=[{top_variance: many}]": "prepare.rna.0.top_variance.k: ",
    "prepare.rna=[[a]]": "prepare.rna.0: is not a step",
    "prepare.rna=[log1p]": "rna, log1p, sample",
    "prepare.rnaa=[log1p]": "prepare.rnaa: no such modality\ndid you mean 'rna'?",
    "likelihood.rna=gausian": "likelihood.rna: ",
    "likelihood.rnaa=nb": "likelihood.rnaa: no such modality",
    "likelihood.rna=nb": "does not fit the likelihood 'nb' after preparation",
    "likelihood.rna=bernoulli": "wanted values from 0 to 1",
    "training.epochs=-1": "training.epochs: ",
    "training.seed=99999999999": "training.seed: ",
    "training.precision=16-mixed": "training.precision: is for GPUs",
    "training.devices=999": "training.devices: more than there are processors",
    "training.tensorboard=perhaps": "training.tensorboard: ",
    "evaluate.embedding.labels=[knd]": "no such column in obs; met 'knd'\ndid you mean 'kind'?",
    "evaluate.embedding.learners=[svn]": "evaluate.embedding.learners.0: ",
    "foo": "is not an override; met 'foo'",
}


@pytest.mark.parametrize("override", BAD_OVERRIDES)
def test_a_bad_key_is_refused_and_leaves_nothing(server, place, override):
    refused(server.run("run", "recipe.yaml", override, "--out", "runs/x", cwd=place), 2, BAD_OVERRIDES[override])
    assert left(place) == set()


BAD_TEXTS = {
    "empty": ("", "recipe.yaml: is empty"),
    "twice": (RECIPE + "model: {name: vae}\n", "recipe.yaml, line 8, column 1: has one key twice; met 'model'"),
    "alias": (RECIPE + "x: &a [*a]\n", "uses an anchor or alias"),
    "tag": (RECIPE + "x: !!python/object/apply:os.system [touch pwned]\n", "uses a tag"),
    "deep": ("a: " + "{a: " * 3000, "is nested too deeply"),
    "binary": (bytes(range(256)), "is not text in UTF-8"),
    "utf-16": (RECIPE.encode("utf-16"), "is not text in UTF-8"),
    "huge": (b"a: " + b"x" * (1 << 20), "is too large"),
    "html": ("<!doctype html><title>404</title>", "is not a mapping at the top level"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_a_text_that_is_no_recipe_is_refused(server, place, name):
    text, said = BAD_TEXTS[name]
    (place / "recipe.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(server.run("run", "recipe.yaml", "--out", "runs/x", cwd=place), 2, said)
    assert left(place) == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.yaml"], "nothing.yaml: there is no such file"),
        (["."], "is a folder; wanted a recipe file"),
        (["recipe.yaml", "--out", "/"], "is no name for a run folder"),
        (["recipe.yaml", "--out", "rna.csv"], "rna.csv: is a file"),
        (["recipe.yaml", "--out", "rna.csv/runs/x"], "is no folder to write to"),
        (["recipe.yaml", "--out", "n" * 300], "is too long a name"),
        (["recipe.yaml", "--out", ".", "--overwrite"], "is not a run folder"),
    ],
)
def test_a_place_that_cannot_be_is_refused(server, place, arguments, said):
    refused(server.run("run", *arguments, cwd=place), 2, said)
    assert left(place) == set()


def test_yaml_means_what_people_mean(server, place):
    """`1e-3` is a number, `no` a text where text is meant."""
    obs = tables()["obs"]
    obs["smoker"] = ["yes", "no"] * 20
    obs.to_csv(place / "obs.csv")
    text = RECIPE.replace("labels: [kind]", "labels: [smoker]").replace("epochs: 6", "epochs: 1, lr: 1e-3")
    (place / "recipe.yaml").write_text(text)
    ended = server.run("run", "recipe.yaml", "--out", "x", cwd=place)
    assert ended.code == 0, ended.err
    assert "lr: 0.001" in (place / "x/recipe.yaml").read_text()
    assert "embedding/test/auc/smoker/logistic" in json.loads((place / "x/metrics.json").read_text())


# ---- tables


def text_of(table: pd.DataFrame) -> str:
    return table.to_csv(index_label="sample")


def with_cell(value: str) -> str:
    table = tables()["rna"].astype(object)
    table.iloc[4, 3] = value
    return text_of(table)


RNA = tables()["rna"]
BAD_TABLES = {
    "empty": ("", "rna.csv: is empty"),
    "header only": ("sample,a,b\n", "a header but no rows"),
    "ragged": (text_of(RNA) + "s99,1,2\n", "rna.csv, row 42: has 3 cells where the header has 11"),
    "text": (with_cell("high"), "row 's04', column 'rna3': is no number; met 'high'"),
    "decimal comma": (with_cell("1,5"), 'beside the path: decimal: ","'),
    "infinite": (with_cell("inf"), "row 's04', column 'rna3': is infinite"),
    "one sample twice": (text_of(pd.concat([RNA, RNA[:1]])), "1 sample id is not unique; met 's00'"),
    "one feature twice": (text_of(RNA).replace("rna1,", "rna0,", 1), "1 feature id is not unique; met 'rna0'"),
    "latin-1": (text_of(RNA.rename(columns={"rna0": "gène"})).encode("latin-1"), 'encoding="latin-1"'),
    "NUL": (text_of(RNA).encode().replace(b"s04", b"s0\x00"), "NUL byte"),
    "no id in common": (text_of(RNA.rename(lambda i: f"t{i}")), "ids match on neither side"),
    "transposed twice": (text_of(RNA.set_axis([f"s{i:02d}" for i in range(10)], axis=1)), "on both sides"),
    "web page": ("<!DOCTYPE html>\n<html></html>", "is a web page, not a table"),
    "every value missing": (text_of(RNA * np.nan), "rna: every value of the training samples is missing"),
    "not in train": (text_of(RNA[24:]), "rna: no training sample has this modality"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_refused_and_leaves_nothing(server, place, name):
    text, said = BAD_TABLES[name]
    (place / "rna.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(server.run("run", "recipe.yaml", "--out", "runs/x", cwd=place), 2, said)
    assert left(place) == set()


@pytest.mark.parametrize(("counts", "met"), [(-1, "-1.0"), (1.5, "1.5")])
def test_what_is_no_count_is_refused_under_a_count_likelihood(server, place, counts, met):
    table = RNA.abs().round()
    table.iloc[4, 3] = counts
    (place / "rna.csv").write_text(text_of(table))
    ended = server.run("run", "recipe.yaml", "likelihood.rna=nb", "--out", "x", cwd=place)
    refused(ended, 2, "modality 'rna', feature 'rna3'", f"met {met}; wanted counts")


def unequal(obs):
    return obs.assign(kind=[f"k{i}" for i in range(40)])


ODD = {
    "one sample": (lambda t: t[:1], "split: too few samples", "data.split={fractions: [0.6, 0.2, 0.2]}"),
    "two samples": (lambda t: t[:2], "split: too few samples", "data.split={fractions: [0.6, 0.2, 0.2]}"),
    "one in train": (lambda t: t.iloc[[0, 30, 39]], "train: nothing varies over so few samples"),
    "six samples": (lambda t: t.iloc[[0, 1, 2, 3, 30, 39]], None),
    "constant feature": (lambda t: t.assign(rna0=1.0) if "rna0" in t else t, "constant or observed less than twice"),
    "feature without values": (lambda t: t.assign(rna0=np.nan) if "rna0" in t else t, "1 feature constant"),
    "all constant": (lambda t: t * 0 + 1.0 if "rna0" in t else t, "10 features constant"),
    "sample without values": (
        lambda t: t.where(np.repeat(np.array(t.index != "s39")[:, None], t.shape[1], axis=1)) if "kind" not in t else t,
        "1 samples have nothing observed",
    ),
    "a class each": (lambda t: unequal(t) if "kind" in t else t, "0 classes have 5 training samples or more"),
    "one class": (lambda t: t.assign(kind="one") if "kind" in t else t, "1 classes have 5 training samples or more"),
    "no label": (lambda t: t.assign(kind=np.nan) if "kind" in t else t, "0 classes have 5"),
    "a class of test alone": (
        lambda t: t.assign(kind=[*t["kind"][:38], "new", "new"]) if "kind" in t else t,
        "'new' left out of the score",
    ),
    "only classes of test": (
        lambda t: t.assign(kind=[*t["kind"][:32], *["new"] * 8]) if "kind" in t else t,
        "no test sample has one of its classes",
    ),
    "in train alone": (lambda t: t[:24] if "cnv0" in t else t, "24 samples have rna + cnv"),
    "ids that differ in case": (lambda t: t.rename({"s01": "S00"}), "differ from another in case only"),
    "ids that look like something else": (
        lambda t: t.rename({"s00": "007", "s01": "NA", "s02": "no", "s03": "1e5", "s04": "=1+1"}), None,
    ),
    "a gene called NA": (lambda t: t.rename(columns={"rna0": "NA", "cnv0": "nan"}), None),
    "huge values": (lambda t: t * 1e30 if "kind" not in t else t, None),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_cohort_runs_with_a_note_or_stops_with_a_line(server, place, name):
    change, said, *overrides = ODD[name]
    for table, values in tables().items():
        change(values).to_csv(place / f"{table}.csv", index_label="sample")
    ended = server.run("run", "recipe.yaml", *overrides, "--out", "x", cwd=place)
    if ended.code:
        refused(ended, 2, said)
        assert left(place) == set()
        return
    assert all(line.startswith("warning: ") for line in ended.err.splitlines()), ended.err
    page, log = ((place / "x" / name).read_text() for name in ("report.html", "log.txt"))
    assert said is None or said in page or said in log or said in ended.err
    metrics = json.loads((place / "x/metrics.json").read_text())
    assert all(v is None or np.isfinite(v) for v in metrics.values())
    assert name != "six samples" or metrics["reconstruction/test/r2/rna"] is not None


def test_ids_that_are_formulas_are_neutralised_in_tables_for_spreadsheets(server, place):
    evil = {"s00": '=HYPERLINK("http://x","y")', "s39": "@SUM(1)", "s38": "+1+cmd"}
    for name, table in tables().items():
        table.rename(evil).rename(columns={"rna0": "=cmd|' /C calc'!A0"}).to_csv(place / f"{name}.csv")
    ended = server.run("run", "recipe.yaml", "--out", "x", cwd=place)
    assert ended.code == 0, ended.err
    written = "\n".join(p.read_text() for p in (place / "x").rglob("*.csv") if p.name != "split.csv")
    assert "'=cmd" in written
    assert not re.search(r"(?m)(^|,)\"?(=cmd|=HYPER|@SUM|\+1\+cmd)", written)


# ---- apply


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing", "rna=rna.csv"], "is not a model directory"),
        (["out", "rna=nothing.csv"], "nothing.csv: there is no such file"),
        (["out", "obs.csv"], "obs.csv: is one table without a name"),
        (["out", "rna=obs.csv"], "is no number"),
        (["out", "mirna=rna.csv"], "the model has no such modality; met 'mirna'"),
        (["out", "rna=cnv.csv"], "rna: no feature in common with the training samples"),
        (["out", "rna=rna.csv", "--source", "rnaa"], "did you mean 'rna'?"),
        (["out", "rna=rna.csv", "--task", "translate", "--source", "cnv", "--target", "rna"], "no sample has it"),
        (["out", "rna=rna.csv", "--out", "rna.csv"], "rna.csv: exists"),
        (["out", "rna=rna.csv", "--out", "no/such/z.csv"], "there is no such folder to write to"),
        (["out", "rna=rna.csv", "--out", "z.docx"], "has a suffix that cannot be written"),
    ],
)
def test_bad_input_of_apply_is_refused(server, place, whole, arguments, said):
    (place / "out").symlink_to(whole)
    out = [] if "--out" in arguments else ["--out", "z.csv"]
    refused(server.run("apply", *arguments, *out, cwd=place), 2, said)
    assert left(place) == {"out"}


# ---- the run folder


def test_a_folder_that_is_there_is_refused_kept_and_replaced(server, place, whole):
    (place / "x").mkdir()
    (place / "x" / "thesis.txt").write_text("years of work")
    refused(server.run("run", "recipe.yaml", "--out", "x", cwd=place), 2, "x: exists", "not there yet")
    refused(server.run("run", "recipe.yaml", "--out", "x", "--overwrite", cwd=place), 2, "is not a run folder")
    refused(server.run("run", "recipe.yaml", "--out", "x", "--resume", cwd=place), 2, "x: exists")
    assert (place / "x" / "thesis.txt").read_text() == "years of work"
    (place / "x" / "thesis.txt").unlink()
    for _ in range(2):  # into an empty folder, then over a run
        ended = server.run("run", "recipe.yaml", "--out", "x", "--overwrite", cwd=place)
        assert ended.code == 0, ended.err
    refused(server.run("run", "recipe.yaml", "--out", "x", cwd=place), 2, "add --overwrite to replace it")
    assert content(place / "x") == content(whole)
    assert left(place) == {"x"}


def test_a_refused_overwrite_keeps_what_stands_there(server, place):
    assert server.run("run", "recipe.yaml", "training.epochs=1", "--out", "x", cwd=place).code == 0
    before = content(place / "x")
    ended = server.run("run", "recipe.yaml", "data.split={by: prt}", "--out", "x", "--overwrite", cwd=place)
    refused(ended, 2, "did you mean 'part'?")
    assert content(place / "x") == before
    assert left(place) == {"x"}


def test_another_recipe_is_not_resumed_and_the_difference_is_shown(server, place, whole):
    child = server.start("run", "recipe.yaml", "--out", "x", cwd=place, before=SLOW.format(seconds=0.05))
    child.wait_until(partial(place / "x") / "fits/all/checkpoint.safetensors")
    child.signal(signal.SIGTERM)
    assert child.wait().code == 143
    refused(server.run("run", "recipe.yaml", "--out", "x", cwd=place), 2, "an interrupted run is kept", "--resume")
    ended = server.run("run", "recipe.yaml", "model.latent=3", "training.lr=0.5", "--out", "x", "--resume", cwd=place)
    refused(ended, 2, "another recipe: - latent: 2; + latent: 3; - lr: 0.001; + lr: 0.5")
    ended = server.run("run", "recipe.yaml", "--out", "x", "--resume", cwd=place)
    assert ended.code == 0, ended.err
    assert content(place / "x") == content(whole)
    ended = server.run("run", "recipe.yaml", "model.latent=3", "--out", "x", "--resume", cwd=place)
    refused(ended, 2, "the run that stands there has another recipe: - latent: 2; + latent: 3")
    again = server.run("run", "recipe.yaml", "--out", "x", "--resume", cwd=place)
    assert (again.code, again.out) == (0, "x/report.html\n")
    assert "nothing to resume" in again.err
    assert content(place / "x") == content(whole)


def test_two_runs_in_one_folder(server, place):
    child = server.start("run", "recipe.yaml", "--out", "x", cwd=place, before=SLOW.format(seconds=0.5))
    child.wait_until(partial(place / "x") / "recipe.yaml")
    for flags in ([], ["--resume"], ["--overwrite"]):
        ended = server.run("run", "recipe.yaml", "--out", "x", *flags, cwd=place)
        refused(ended, 2, "another run is at work in this folder")
    child.signal(signal.SIGKILL)
    assert child.wait().code == -signal.SIGKILL
    ended = server.run("run", "recipe.yaml", "training.epochs=1", "--out", "x", "--overwrite", cwd=place)
    assert ended.code == 0, ended.err  # the lock of a process that was killed is no lock
    assert left(place) == {"x"}


def without_rights() -> str:
    """Code that takes from a root process the right to write where it may not."""
    return (
        "import ctypes\nheader = (ctypes.c_uint32 * 2)(0x20080522, 0)\n"
        "assert ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()) == 0\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux capabilities")
def test_a_read_only_folder(server, place, whole):
    (place / "locked").mkdir(mode=0o555)
    before = without_rights() if os.geteuid() == 0 else ""
    for out in ("locked/x", "locked/deeper/x"):
        ended = server.run("run", "recipe.yaml", "--out", out, cwd=place, before=before)
        refused(ended, 2, "may not be written")
    ended = server.run("apply", whole, "rna=rna.csv", "--out", "locked/z.csv", cwd=place, before=before)
    refused(ended, 2, "may not be written")
    (place / "rna.csv").chmod(0o000)
    ended = server.run("run", "recipe.yaml", "--out", "x", cwd=place, before=before)
    refused(ended, 2, "rna.csv: cannot be read: Permission denied")
    assert left(place) == {"locked"}


# ---- interruptions


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_keeps_a_checkpoint_at_the_end_of_the_step(server, place, whole, signum, code):
    child = server.start("run", "recipe.yaml", "--out", "runs/x", cwd=place, before=SLOW.format(seconds=0.1))
    child.wait_until(partial(place / "runs/x") / "fits/all/checkpoint.safetensors")
    time.sleep(0.13)  # within an epoch
    child.signal(signum)
    refused(child.wait(), code, "error: interrupted\na checkpoint was kept: run the same command again with --resume")
    assert not (place / "runs/x").exists()
    ended = server.run("run", "recipe.yaml", "--out", "runs/x", "--resume", cwd=place)
    assert (ended.code, ended.err) == (0, "")
    assert content(place / "runs/x") == content(whole)
    assert files(place / "runs/x") == files(whole)
    assert [p.name for p in (place / "runs").iterdir()] == ["x"]


def test_the_second_interrupt_exits_at_once(server, place):
    child = server.start("run", "recipe.yaml", "--out", "x", cwd=place, before=SLOW.format(seconds=30))
    child.wait_until(partial(place / "x") / "log.txt")
    time.sleep(0.7)
    child.signal(signal.SIGINT)
    time.sleep(0.3)
    started = time.monotonic()
    child.signal(signal.SIGINT)
    assert child.wait().code == 130
    assert time.monotonic() - started < 2


STAGES = {
    "reading": ("from isthmus import experiment as m\nname = 'cohort'", "nothing was fitted yet, so nothing was kept"),
    "calibrating": ("from isthmus.training import calibration as m\nname = 'half_widths'", "a checkpoint was kept"),
    "evaluating": ("from isthmus import assess as m\nname = 'measure'", "a checkpoint was kept"),
    "reporting": ("from isthmus.report import page as m\nname = 'write'", "a checkpoint was kept"),
}
LINGER = """
{stage}
def linger(*given, real=getattr(m, name), **keys):
    import pathlib, time
    pathlib.Path("here").touch()
    for _ in range(20):
        time.sleep(0.02)
    return real(*given, **keys)
setattr(m, name, linger)
"""


@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_in_any_stage_stops_the_run(server, place, whole, stage):
    patch, said = STAGES[stage]
    child = server.start("run", "recipe.yaml", "--out", "x", cwd=place, before=LINGER.format(stage=patch))
    child.wait_until(place / "here")
    child.signal(signal.SIGTERM)
    refused(child.wait(), 143, said)
    (place / "here").unlink()
    assert bool(left(place)) == (stage != "reading")
    ended = server.run("run", "recipe.yaml", "--out", "x", "--resume", cwd=place)
    assert ended.code == 0
    assert bool(ended.err) == (stage == "reading"), ended.err  # of which nothing was kept to go on from
    assert content(place / "x") == content(whole)
    assert files(place / "x") == files(whole)
    assert left(place) == {"x"}


def test_a_signal_to_a_process_of_its_own(place, whole):
    """The same through `python -m isthmus`, as a shell starts it."""
    command = [sys.executable, "-m", "isthmus", "run", "recipe.yaml", "training.epochs=100000", "--out", "x"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True, env=environment)
    end = time.monotonic() + 60
    while not (partial(place / "x") / "fits/all/checkpoint.safetensors").exists() and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    lines = [line for line in said.splitlines() if not line.startswith("warning: ")]
    assert process.returncode == 130
    assert lines == ["error: interrupted", "a checkpoint was kept: run the same command again with --resume"]


@pytest.mark.slow
def test_a_signal_stops_parallel_training_as_one(server, place):
    keys = ["model={name: autoencoder, latent: 2, hidden: [8], dropout: 0.0}", "training.devices=2"]
    ended = server.run("run", "recipe.yaml", *keys, "--out", "whole", cwd=place)
    assert ended.code == 0, ended.err
    child = server.start("run", "recipe.yaml", *keys, "--out", "x", cwd=place, before=SLOW.format(seconds=0.1))
    child.wait_until(partial(place / "x") / "fits/all/checkpoint.safetensors")
    child.signal(signal.SIGTERM)
    refused(child.wait(), 143, "a checkpoint was kept")
    ended = server.run("run", "recipe.yaml", *keys, "--out", "x", "--resume", cwd=place)
    assert ended.code == 0, ended.err
    assert content(place / "x") == content(place / "whole")


# ---- kills


def resumed(server: Server, place: Path, whole: Path) -> None:
    """Resume a killed run, and find what an undisturbed one leaves."""
    ended = server.run("run", "recipe.yaml", "--out", "x", "--resume", cwd=place)
    assert ended.code == 0, ended.err
    assert content(place / "x") == content(whole)
    assert files(place / "x") == files(whole)
    assert left(place) == {"x"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments_and_resumed(server, place, whole, seed):
    """Every attempt is killed, each later than the one before, and the last one finishes."""
    rng = np.random.default_rng(seed)
    for attempt in range(4):
        child = server.start(
            "run", "recipe.yaml", "--out", "x", "--resume", cwd=place, before=SLOW.format(seconds=0.02)
        )
        time.sleep(rng.uniform(0, 0.7) + 0.2 * attempt)
        child.signal(signal.SIGKILL)
        assert child.wait().code in (-signal.SIGKILL, 0)
    resumed(server, place, whole)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 5, 7, 8, 11, 13])
def test_killed_in_the_middle_of_writing_a_file(server, place, whole, k):
    ended = server.run("run", "recipe.yaml", "--out", "x", cwd=place, before=DIE_AT_WRITE.format(k=k))
    assert ended.code == -signal.SIGKILL
    resumed(server, place, whole)


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("k", [1, 2, 7, 8])
def test_killed_beside_a_renaming(server, place, whole, k, before):
    patch = DIE_AT_RENAME.format(k=k, before=before)
    ended = server.run("run", "recipe.yaml", "--out", "x", cwd=place, before=patch)
    assert ended.code == -signal.SIGKILL, ended.err
    resumed(server, place, whole)


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 2, 3])
def test_killed_while_one_run_takes_the_place_of_another(server, place, whole, k):
    """Whichever of the last renamings is the last, the old run or the new one can be had."""
    assert server.run("run", "recipe.yaml", "training.epochs=1", "--out", "x", cwd=place).code == 0
    patch = DIE_AT_RENAME.format(k=k, before=True)
    finish = (
        f"import isthmus.folder as f\nfinish, patch = f._finish, {patch!r}\n"
        "def armed(*given):\n    exec(patch, globals())\n    finish(*given)\n"
        "f._finish = armed\n"
    )
    ended = server.run("run", "recipe.yaml", "--out", "x", "--overwrite", cwd=place, before=finish)
    assert ended.code == -signal.SIGKILL, ended.err
    resumed(server, place, whole)


# ---- disk and memory

FULL_AFTER = """
import resource
from isthmus.training import checkpoint
kept, real = 0, checkpoint.write
def write(*given):
    global kept
    kept += 1
    if kept == 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    real(*given)
checkpoint.write = write
"""


@pytest.mark.skipif(sys.platform != "linux", reason="uses limits of Linux")
def test_a_disk_that_fills_up_leaves_the_checkpoint_before(server, place, whole):
    ended = server.run("run", "recipe.yaml", "--out", "x", cwd=place, before=FULL_AFTER)
    refused(ended, 1, "checkpoint.safetensors: the disk is full")
    folder = partial(place / "x") / "fits/all"
    assert [p.name for p in folder.iterdir()] == ["checkpoint.safetensors"]
    with safe_open(folder / "checkpoint.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["state"])["epoch"] == 3
    resumed(server, place, whole)


@pytest.mark.skipif(sys.platform != "linux", reason="uses limits of Linux")
@pytest.mark.parametrize("most", [100, 3_000, 20_000, 60_000])
def test_a_disk_that_is_full_at_any_size_of_file(server, place, whole, most):
    """Checkpoint, model, embedding, tables, figures and page are of different sizes: each limit stops another."""
    limit = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({most}, resource.RLIM_INFINITY))\n"
    child = server.start("run", "recipe.yaml", "--out", "x", cwd=place, before=SAID_ELSEWHERE + limit)
    ended = child.wait()
    assert ended.code == 1
    child.wait_until(place / "said.txt")
    said = (place / "said.txt").read_text().splitlines()
    assert len(said) <= 3
    assert "the disk is full" in said[0]
    (place / "said.txt").unlink()
    resumed(server, place, whole)


SAID_ELSEWHERE = """
import io, isthmus.cli, pathlib, sys
class Pipe(io.StringIO):
    def write(self, text):
        os.write(pipe, text.encode())
        return len(text)
reading, pipe = os.pipe()
if os.fork() == 0:
    os.close(pipe)
    texts = b"".join(iter(lambda: os.read(reading, 4096), b""))
    pathlib.Path("said").write_bytes(texts)
    pathlib.Path("said").rename("said.txt")
    os._exit(0)
sys.stderr = Pipe()
"""
"""Messages through a pipe to a process without a limit, as those of a terminal go."""


def test_a_small_disk(server, place, whole):
    """A real file system that has no room left, where this machine lets a test mount one."""
    disk = place.parent / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this user may not mount")
    try:
        refused(server.run("run", "recipe.yaml", "--out", disk / "x", cwd=place), 1, "the disk is full")
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        ended = server.run("run", "recipe.yaml", "--out", disk / "x", "--resume", cwd=place)
        assert ended.code == 0, ended.err
        assert content(disk / "x") == content(whole)
        assert [p.name for p in disk.iterdir()] == ["x"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="uses limits of Linux")
def test_a_lack_of_memory_names_what_to_lower(server, place):
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))\n"
    ended = server.run("run", "recipe.yaml", "model.hidden=[9000000000]", "--out", "x", cwd=place, before=limit)
    refused(ended, 1, "model: out of memory", "narrower hidden layers")
    patch = (
        "from isthmus.training import engine\nimport torch\n"
        "engine.Stretch._step = lambda *given: torch.empty(1 << 50)\n"
    )
    ended = server.run("run", "recipe.yaml", "--out", "x", cwd=place, before=patch)
    refused(ended, 1, "training.batch_size: out of memory; met 16\nhalve training.batch_size")
    patch = "from isthmus import experiment\nimport numpy as np\nexperiment.cohort = lambda *given: np.empty(1 << 55)\n"
    refused(server.run("run", "recipe.yaml", "--out", "x", cwd=place, before=patch), 1, "out of memory: ")
    assert left(place) == set()


# ---- losses that are no numbers


def test_a_diverging_training_says_where(server, place):
    ended = server.run("run", "recipe.yaml", "training.lr=1e30", "--out", "x", cwd=place)
    assert re.search(r"error: phase 'fit', epoch \d, step \d, player 'model': loss term 'recon/\w+' is not", ended.err)
    refused(ended, 1, "lower training.lr")
    assert left(place) <= {".x.partial"}


BROKEN = """
from isthmus.training import engine
called, real = 0, engine.Objective.forward
def forward(self, *given):
    global called
    total, *rest = real(self, *given)
    called += self.model.training
    return (total * float("nan") if {gradient} and called > 5 else total, *rest)
engine.Objective.forward = forward
"""


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (BROKEN.format(gradient=True), "epoch 2, step 1, player 'model': loss term 'total' is not finite; met nan"),
        (
            BROKEN.format(gradient=True).replace("called > 5", "called > 5 and not self.model.training"),
            "epoch 2, step 2: loss term 'total' is not finite on the validation samples",
        ),
        (
            "from isthmus.training import engine\nimport torch\nreal = engine.Stretch._step\n"
            "def _step(self, progress, *given):\n    real(self, progress, *given)\n"
            "    if progress.epoch == 2 and progress.step == 2:\n"
            "        with torch.no_grad():\n            next(self.job.model.parameters()).fill_(float('inf'))\n"
            "engine.Stretch._step = _step\n",
            "epoch 2, step 2: weights 'encoder.trunk.0.weight' are not finite",
        ),
    ],
    ids=["train", "valid", "weights"],
)
def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(server, place, whole, patch, said):
    ended = server.run("run", "recipe.yaml", "--out", "x", cwd=place, before=patch)
    refused(ended, 1, "phase 'fit'", said)
    with safe_open(partial(place / "x") / "fits/all/checkpoint.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["state"])["epoch"] == 2
        assert all(np.isfinite(file.get_tensor(k)).all() for k in file.keys() if k.startswith("model/"))  # noqa: SIM118
    resumed(server, place, whole)


def test_python_raises_what_the_command_line_prints(place):
    from isthmus.experiment import run
    from isthmus.recipe import load_recipe

    with pytest.raises(InputError, match="there is no such column") as raised:
        run(load_recipe(place / "recipe.yaml", ["data.split={by: prt}"]), place / "x")
    assert (raised.value.exit_code, raised.value.met, raised.value.hint) == (2, "prt", "did you mean 'part'?")
    assert left(place) == set()
