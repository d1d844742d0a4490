"""What is said of a mistake: what, where, what would be right, always in the same words."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import isthmus
from isthmus.cli import main
from isthmus.comparing.grid import cells
from isthmus.data.split import Split, labels
from isthmus.errors import DataError, RecipeError, closest
from isthmus.folder import growing
from isthmus.recipe import load_recipe
from isthmus.tuning.space import space_of

READ = "data: {read: {rna: a.csv, cnv: b.csv}}\nmodel: {name: vae, latent: 3}\n"


@pytest.fixture
def recipe(tmp_path):
    """Load the recipe with overrides, as the command line does, and look through what it says."""
    (tmp_path / "r.yaml").write_text(READ, encoding="utf-8")

    def load(*overrides):
        found = load_recipe(tmp_path / "r.yaml", overrides)
        return found, cells(found, ["rna", "cnv"]), found.tune and space_of(found, found.tune)

    return load


def test_the_nearest_name_is_offered_in_one_wording():
    assert closest("latnt", ["beta", "latent"]) == "did you mean 'latent'?"
    assert closest("zz", ["beta", "latent", "lr"], most=2) == "known: 'beta', 'latent' and 1 more"
    assert closest(3, []) == "known: none"
    assert closest("zz", ["beta"], most=0) == ""
    source = Path(isthmus.__file__).parent
    by_hand = [f.name for f in source.rglob("*.py") if "did you mean" in f.read_text(encoding="utf-8")]
    assert by_hand == ["errors.py"]


@pytest.mark.parametrize("verb", ["compare", "tune"])
def test_no_workers_are_refused(verb, tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(READ, encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        main([verb, str(tmp_path / "r.yaml"), "--workers", "0", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err.splitlines()
    assert (stop.value.code, len(said)) == (2, 1)
    assert said[0].startswith("error: ")
    assert "--workers" in said[0]
    assert not (tmp_path / "out").exists()


def test_resume_with_nothing_to_resume_says_so(tmp_path, caplog):
    with growing(tmp_path / "a", "x: 1\n") as folder:
        (folder / "kept").touch()
    assert caplog.text == ""
    with growing(tmp_path / "b", "x: 1\n", resume=True):
        pass
    assert [r.getMessage() for r in caplog.records] == [
        f"--resume: no interrupted run is kept for {tmp_path / 'b'}: a new one begins"
    ]


@pytest.mark.parametrize("key", ["stratify", "group", "order", "by"])
def test_a_column_of_the_split_that_is_not_there_is_told_with_its_key(key):
    obs = pd.DataFrame({"kind": ["a", "b", "a", "b"]}, list("wxyz"))
    with pytest.raises(DataError, match=rf"data\.split\.{key}: there is no such column in obs; met 'stage'"):
        labels(obs, Split(**{key: "stage"}))


def test_a_dotted_override_sets_a_key_of_the_grid_and_of_the_space(recipe):
    found, grid, space = recipe("compare.grid.model.latent=[2, 5]", "tune.space.training.lr=[1e-4, 1e-2, log]")
    assert found.compare.grid == {"model.latent": (2, 5)}
    assert [c.latent for c in grid] == [2, 5]
    assert space.start == {"training.lr": 1e-3}
    more, *_ = recipe("compare.grid={model.beta: [1, 2]}", "compare.grid.model.latent=[4]", "compare.seeds=[1]")
    assert more.compare.grid == {"model.beta": (1, 2), "model.latent": (4,)}
    assert more.compare.seeds == (1,)


@pytest.mark.parametrize(
    ("override", "said"),
    {
        "tune.folds=1": "tune.folds: wrong value; met 1; wanted at least 2 or 'loo'",
        "tune.folds=lo": "tune.folds: wrong value; met 'lo'; wanted a whole number or 'loo'",
        "tune.objective=[{weight: 2}]": "tune.objective.0.name: is missing; wanted a value",
        "data.read.cnv=null": "data.read.cnv: is empty; wanted a file, or {path: FILE}",
        "model.latent=": "model.latent: is empty; wanted a whole number",
        "model.int=3": "model.int: unknown key",
        "tune.space.model.latent=[6, 2]": "tune.space.model.latent: is an empty range; met [6, 2]",
        "tune.space.model.latnt=[2, 6]": "did you mean 'model.latent'?",
        "tune.space.model.latent=[0, 6]": "tune.space.model.latent: wrong value; met 0; wanted at least 1",
        "tune.space={model: {latent: [2, 6]}}": "tune.space.model: is a section, not a key to vary",
        "compare.grid.model.latnt=[2]": "did you mean 'model.latent'?",
        "compare.grid.modle.latent=[2]": "did you mean 'model'?",
        "compare.grid.model.latent=2": "compare.grid.model.latent: wrong value; met 2; wanted a list",
        "compare.grid.training.epohcs=[2]": "compare.grid.training.epohcs: unknown key\ndid you mean 'epochs'?",
        "compare.grid.training.lr=[-1]": "compare.grid.training.lr: wrong value; met -1; wanted above 0",
        "compare.grid.prepare.rnaa=[[log1p]]": "compare.grid.prepare.rnaa: no such modality\ndid you mean 'rna'?",
        "compare.grid.prepare.rna=[[log1q]]": "compare.grid.prepare.rna.0: no such step",
    }.items(),
)
def test_a_mistake_is_told_with_its_key_and_what_would_be_right(recipe, override, said):
    with pytest.raises(RecipeError) as error:
        recipe(override)
    assert said in str(error.value)
    assert not any(
        word in str(error.value).lower() for word in ("input should", "literal", "dict[", "tuple[", "valid ")
    )
