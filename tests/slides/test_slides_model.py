"""From slides to a model and back to a picture: the example at a small size, whose truth is known."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

import isthmus.cli

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples" / "slides.py"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """What the example leaves, and what it prints."""
    spec = importlib.util.spec_from_file_location("slides_example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder, said = tmp_path_factory.mktemp("example"), []
    module.print = lambda *words: said.append(" ".join(map(str, words)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISTHMUS_CACHE", str(folder / "cache"))
        module.SIDE = 288
        module.main(folder / "out", n=50, epochs=60)
        yield folder / "out", said


def run(*arguments):
    with pytest.raises(SystemExit) as done:
        isthmus.cli.main([str(a) for a in arguments])
    return done.value.code


def test_attention_finds_the_tumour_that_only_the_class_of_a_slide_told_of(example):
    line = next(s for s in example[1] if s.startswith("attention tells"))
    assert float(line.split("AUC ")[1]) > 0.9


def test_a_models_attention_and_occlusion_are_drawn(example, tmp_path):
    _, said = example
    command = said[-1].removeprefix("next: isthmus ").split()
    assert run(*command) == 0
    picture = Path(command[-1])
    table = pd.read_csv(picture.with_suffix(".csv"))
    assert table["attention"].sum() == pytest.approx(1)
    assert table["attention_relative"].mean() == pytest.approx(1)
    first = table["attention"] >= table["attention"].nlargest(len(table) // 10).iloc[-1]
    assert table["occlusion"][first].mean() > 2 * table["occlusion"][~first].mean()
    with Image.open(picture) as shown:
        assert shown.size[0] > 1000
    slide = Path(command[2])
    image = np.asarray(Image.open(slide))
    dark = [(image[y : y + 32, x : x + 32, 1] < 55).mean() for x, y in table[["x", "y"]].to_numpy()]
    assert roc_auc_score(np.array(dark) > 0.1, table["attention"]) > 0.9  # tumour is darker in green


def test_what_is_no_model_or_of_other_tiles_is_told(example, tmp_path, capsys):
    folder, said = example
    slide = said[-1].split()[4]
    draw = ["slides", "heatmap", slide, "--out", tmp_path / "h.png"]
    for more, words in (
        (["--tiles", folder / "tiles", "--model", folder / "model"], "encode the slides first"),
        (["--tiles", folder / "features", "--model", folder / "tiles"], "manifest.json"),
        (["--tiles", folder / "features"], "say what to draw"),
        (["--tiles", folder / "features", "--model", folder / "model", "--modality", "rna"], "rna"),
    ):
        capsys.readouterr()
        assert run(*draw, *more) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.startswith("error: ")
        assert len(error.splitlines()) <= 3
    assert not (tmp_path / "h.png").exists()
