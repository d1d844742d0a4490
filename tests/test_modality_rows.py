"""The table of modality rows: fusion, common samples, differences, controls, and the verb that makes it."""

import numpy as np
import pandas as pd
import pytest

import isthmus as ist
from isthmus.comparing.modality_rows import Answered, answered, modality_rows, scored
from isthmus.comparing.rows import rows_verdict
from isthmus.errors import RecipeError
from isthmus.evaluate.outcomes import Outcome
from isthmus.evaluate.survival import concordance

SIMULATION = {"n": 90, "modalities": {"rna": 24, "protein": 10}, "shared": 2, "private": 1, "classes": 2, "seed": 4}
RECIPE = {
    "data": {"simulate": SIMULATION},
    "heads": {"os": {"kind": "cox", "time": "time", "event": "event"}, "class": {"kind": "class"}},
    "model": {"name": "vae", "latent": 3, "hidden": [8]},
    "training": {"epochs": 3, "batch_size": 32},
    "evaluate": {"embedding": None},
    "compare": {
        "seeds": [0], "folds": 2, "baselines": ["pca"], "controls": ["labels"],
        "rows": {"clinical": ["age", "class"], "site": "site"},
    },
}  # fmt: skip


def answer(row="rna", *, ids=None, test=None, modalities=("rna",), model="VAE", reading="head", control="", fold=0):
    rng = np.random.default_rng([fold, 5])
    whole = pd.Index([f"s{i}" for i in range(40)], dtype=object)
    y = np.stack([rng.exponential(10, 40), rng.random(40) < 0.7], axis=1)
    ids = whole if ids is None else ids
    here = whole.get_indexer(ids)
    test = (-y[:, 0])[here] if test is None else test
    return Answered(
        "os", row, model, modalities, reading, control, (0, fold), whole + "t", np.linspace(-2, 2, 40), ids, test,
        Outcome("survival", y[here]), Outcome("survival", y),
    )  # fmt: skip


def test_late_fusion_is_the_mean_of_standardised_risks_and_of_what_there_is():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(size=40)
    members = [answer(test=a), answer("cnv", test=5 + 3 * b, modalities=("cnv",))]
    members[1] = answer("cnv", test=np.where(np.arange(40) < 7, np.nan, b), modalities=("cnv",))
    joint = answer("joint", test=a, modalities=("rna", "cnv"))
    table = modality_rows([*members, joint], ("rna", "cnv")).set_index("row")
    sd = np.linspace(-2, 2, 40).std()
    fused = (a + b)[7:] / sd  # the common samples are those of which everybody says something
    y = joint.outcome.y[7:]
    assert table.loc["late fusion", "mean"] == pytest.approx(concordance(y[:, 0], y[:, 1], fused))
    assert table.loc["rna", "n_test"] == 33
    assert table.loc["late fusion", "to_joint"] == pytest.approx(
        table.loc["late fusion", "mean"] - table.loc["joint", "mean"]
    )


def test_rows_of_a_split_are_scored_on_the_samples_that_all_have():
    some = pd.Index([f"s{i}" for i in range(10, 40)], dtype=object)
    found = scored([answer(), answer("cnv", ids=some, modalities=("cnv",))])
    assert found["n_test"].tolist() == [30, 30]
    with_control = scored([answer(), answer(ids=some, control="labels")])
    assert with_control["n_test"].tolist() == [40, 30]  # a control takes nothing from the others


def test_a_perfect_row_is_ahead_and_a_difference_without_spread_is_told():
    rng = np.random.default_rng(1)
    found = []
    for fold in range(4):
        found += [answer(fold=fold), answer("clinical", model="clinical", reading="linear", modalities=("rna", "cnv"),
                                            test=rng.normal(size=40), fold=fold)]  # fmt: skip
        found.append(answer("joint", modalities=("rna", "cnv"), fold=fold))
    table = modality_rows(found, ("rna", "cnv")).set_index("row")
    assert table.loc["rna", "mean"] == 1.0
    assert table.loc["rna", "to_joint"] == 0
    assert table.loc["rna", "p_joint"] == 1
    assert table.loc["rna", "to_clinical"] > 0.3
    assert table.loc["rna", "p_clinical_adjusted"] < 0.05
    said = rows_verdict(table.reset_index())
    assert "told ahead of them: rna (VAE)" in said[1]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    return ist.compare(RECIPE, tmp_path_factory.mktemp("rows") / "run", workers=0)


def test_the_verb_leaves_every_row(compared):
    rows = compared.rows
    real = rows[rows["control"] == ""]
    assert set(real["row"]) == {
        "clinical", "site alone", "late fusion", "clinical + joint", "joint", "joint, linear", "rna", "rna, linear",
        "protein", "protein, linear", "joint, shown rna alone", "joint, shown protein alone",
    }  # fmt: skip
    assert set(rows["head"]) == {"os", "class"}
    assert (rows["n"] == 2).all()
    read = dict(zip(zip(real["head"], real["row"], strict=True), real["modalities"], strict=True))
    assert read["os", "clinical"] == "obs: age, class"
    assert read["class", "clinical"] == "obs: age"
    assert read["os", "site alone"] == "obs: site"
    assert read["os", "clinical + joint"] == "rna + protein + obs: age, class"
    assert read["os", "joint"] == "rna + protein"
    assert read["os", "joint, shown rna alone"] == "rna"
    assert set(rows.loc[rows["row"] == "joint", "control"]) == {"", "labels"}
    assert (compared.report.parent / "rows.csv").is_file()
    assert "What each modality adds" in compared.report.read_text(encoding="utf-8")


def test_clinical_columns_do_not_hold_what_a_head_predicts(compared):
    clinical = compared.rows[compared.rows["row"] == "clinical"].set_index("head")["mean"]
    assert clinical["class"] < 0.9  # `class` is among the columns, and would give 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"heads": ["oss"]}, "did you mean 'os'"),
        ({"clinical": ["agee"]}, "did you mean 'age'"),
        ({"site": "sit"}, "did you mean 'site'"),
    ],
)
def test_rows_that_cannot_be_are_refused_before_any_job(rows, message, tmp_path):
    tree = {**RECIPE, "compare": {**RECIPE["compare"], "rows": rows}}
    with pytest.raises(RecipeError, match=message):
        ist.compare(tree, tmp_path / "run", workers=0)
    assert not (tmp_path / "run").exists()


def test_rows_without_heads_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="section heads"):
        ist.compare({k: v for k, v in RECIPE.items() if k != "heads"}, tmp_path / "run", workers=0)


def test_strata_of_a_cox_head_are_scored_within():
    rng = np.random.default_rng(2)
    ids, strata = [f"s{i}" for i in range(40)], ["a", "b"] * 20
    y = np.stack([rng.exponential(10, 40), rng.random(40) < 0.7], axis=1)
    risk = rng.normal(size=40)
    part = {"ids": ids, "y": y.tolist(), "strata": strata}
    moved = (risk + 9 * (np.array(strata) == "b")).tolist()
    of = {"kind": "survival", "classes": [], "train": part, "test": part,
          "readings": {"head": {"train": moved, "test": moved}}}  # fmt: skip
    about = {"model": "vae", "setting": "VAE", "modalities": ["rna"], "control": "", "seed": 0, "fold": 0}
    (found,) = answered(about, {"answers": {"os": of}}, ("rna",))
    expected = concordance(*y.T, risk, strata=strata)
    assert scored([found])["value"].item() == pytest.approx(expected)
