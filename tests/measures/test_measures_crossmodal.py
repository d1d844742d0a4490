"""Translations of a run: what is known beyond the class, of features and of pathways."""

import numpy as np
import pytest

import isthmus as ist
from cohorts import linear
from isthmus.data.cohort import take_samples
from isthmus.errors import DataError
from isthmus.evaluating_keys import Translation
from isthmus.experiment import _pathways
from isthmus.measures import Asked, averaged, flat, further
from isthmus.recipe import parse_recipe

SETS = {"half": tuple(f"cnv{j}" for j in range(10)), "few": ("cnv1", "cnv2")}
PAIR = (("rna", "cnv"),)


@pytest.fixture(scope="module")
def found():
    mdata = linear(n=180)
    mdata.mod["cnv"].X[:, 15:] = np.random.default_rng(1).normal(size=(180, 5))  # what nothing predicts
    parts = {
        part: take_samples(mdata, mdata.obs_names[rows])
        for part, rows in (("train", slice(0, 120)), ("test", slice(120, 180)))
    }
    model = ist.JointEmbedding(latent=3, hidden=(16,), dropout=0.0)
    fitted = ist.fit(model, parts["train"], training=ist.Training(epochs=30, lr=5e-3, patience=None))
    asked = Asked(pairs=PAIR, label="kind", pathways=SETS, latent=False, disentanglement=False)
    return further(fitted, parts, asked)


def test_what_is_predicted_beyond_the_class_is_told_from_what_is_not(found):
    by = found.by_feature.set_index("feature")["predicted"]
    assert by[[f"cnv{j}" for j in range(15)]].mean() > 0.9
    assert by[[f"cnv{j}" for j in range(15, 20)]].sum() <= 1
    rows = found.translation.set_index("representation")
    assert rows.loc["JointEmbedding", "predicted"] == pytest.approx(by.mean())
    assert rows.loc["mean", "predicted"] == 0
    assert rows.loc["JointEmbedding", "pearson_within"] < rows.loc["JointEmbedding", "pearson_feature"]


def test_pathways_have_a_table_and_scores(found):
    assert found.by_pathway[["term", "size", "predicted"]].to_numpy().tolist() == [["half", 10, 1.0]]
    scores = flat(averaged([found, found]), model="JointEmbedding")
    assert scores["translation/test/predicted_pathways/rna->cnv"] == 1
    assert scores["alignment/test/median_rank/rna-cnv"] < 10  # of 60


def test_the_file_is_looked_up_beside_the_recipe_and_must_name_features(tmp_path):
    (tmp_path / "sets.gmt").write_text("one\tx\trna1\trna2\n")
    tree = {"data": {"simulate": {}}, "model": {"name": "vae"}, "evaluate": {"translation": {"pathways": "sets.gmt"}}}
    keys = parse_recipe(tree, root=tmp_path).evaluate.translation
    assert keys.pathways == str(tmp_path / "sets.gmt")
    assert _pathways(keys, linear(n=4)) == {"one": ("rna1", "rna2")}
    assert _pathways(Translation(), linear(n=4)) == {}
    with pytest.raises(DataError, match=r"evaluate.translation.pathways: no member of any term"):
        _pathways(keys, linear(n=4, widths=[("protein", 3)]))
