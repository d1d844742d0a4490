"""Latent dimensions are the terms they are named after: nothing forbidden ever connects, what is planted is found."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch

import isthmus as ist
from cohorts import counts, linear, table
from isthmus import registry
from isthmus.data.cohort import build
from isthmus.errors import DataError, RecipeError
from isthmus.nn.masked import MaskedLinear
from isthmus.recipe import parse_recipe
from isthmus.types import Modality, Spec
from isthmus.yaml_text import load_yaml

SETS = {
    "a": tuple(f"rna{i}" for i in range(8)),
    "b": tuple(f"rna{i}" for i in range(6, 14)),
    "c": tuple(f"rna{i}" for i in range(14, 22)),
    "d": (*(f"rna{i}" for i in range(20, 26)), "not measured"),
}
"""Of rna0 to rna29; the last four are in none."""
UP = {"ab": ("a", "b"), "bcd": ("b", "c", "d")}
TOP = {"all": ("ab", "bcd"), "right": ("bcd",)}
QUICK = ist.Training(epochs=6, batch_size=32, optimizer="adamw", weight_decay=0.1, patience=None)
SMALL = {"hidden": (16,), "dropout": 0.0}


def reached(levels, term):
    """The features that a latent term leads to."""
    members = {term}
    for level in reversed(levels):
        members = {m for t in members for m in level[t]}
    return members


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("dense", [None, (5,)], ids=["named", "layers"])
@pytest.mark.parametrize("levels", [(), (UP,), (UP, TOP)], ids=["one", "two", "three"])
def test_forbidden_weights_are_zero_and_forbidden_paths_closed_after_training(levels, dense, nonnegative):
    keys = {"pathways": SETS, "levels": levels, "dense": dense, "latent": 2, "nonnegative": nonnegative}
    model = ist.OntologyVAE(**keys, **SMALL, unassigned="keep", activation="tanh")
    module = ist.fit(model, linear(), training=QUICK).module
    layers = [m for m in module.modules() if isinstance(m, MaskedLinear)]
    assert len(layers) == 1 + len(levels)
    for layer in layers:
        assert (layer.weight[~layer.mask] == 0).all()
        assert (layer.effective[~layer.mask] == 0).all()
        assert (layer.effective[layer.mask] != 0).all()

    names, everything = [f"rna{i}" for i in range(30)], (SETS, *levels)
    change = torch.autograd.functional.jacobian(
        lambda a: module.decoder(a)["rna"].mean.sum(0), torch.randn(4, len(module.terms))
    )
    moves = (change != 0).any(dim=1)
    for j, term in enumerate(module.terms[:-1]):
        assert {names[i] for i in range(30) if moves[i, j]} == reached(everything, term) - {"not measured"}, term
    assert module.terms[-1] == "unassigned"
    assert [names[i] for i in range(30) if moves[i, -1]] == names[26:]
    assert module.latent_names == (module.terms if dense is None else ("z0", "z1"))


def planted():
    """RNA with four pathways, each after a factor of its own, and a protein table that follows the factors too."""
    mdata = ist.simulate(
        n=200, modalities={"rna": 150, "protein": 20}, shared=4, private=0, pathways=4, pathway_size=20, links=0,
        noise=0.5, separation=0.0, seed=0,
    )  # fmt: skip
    truth = mdata.uns["truth"]
    sets = truth["pathways"].groupby("pathway", observed=True)["feature"].agg(tuple).to_dict()
    return mdata, sets, truth["activities"]


@pytest.mark.parametrize(("nonnegative", "beside"), [(True, ["protein"]), (True, []), (False, [])])
def test_planted_activity_is_found_in_the_dimension_of_its_name(nonnegative, beside):
    mdata, sets, truth = planted()
    data = {m: mdata.mod[m] for m in ["rna", *beside]}
    model = ist.OntologyVAE(pathways=sets, hidden=(64,), dropout=0.0, nonnegative=nonnegative)
    fitted = ist.fit(model, build(data), training=ist.Training(epochs=60, lr=5e-3, patience=None))
    z = fitted.embed(build(data)).to_df()
    assert list(z.columns) == list(sets)
    for name in sets:
        r = {other: abs(np.corrcoef(z[name], truth.loc[z.index, other])[0, 1]) for other in sets}
        assert r[name] >= 0.8, (name, r)
        assert max(v for k, v in r.items() if k != name) <= 0.4, (name, r)
        sign = np.corrcoef(z[name], truth.loc[z.index, name])[0, 1]
        assert sign > 0 or not nonnegative
    for m in beside:  # none of its features is in a term: it is decoded from the activities all the same
        x, x_hat = mdata.mod[m].X, fitted.reconstruct(build(data)).mod[m].X
        assert np.mean([np.corrcoef(x[:, j], x_hat[:, j])[0, 1] for j in range(20)]) > 0.6


def test_sex_shows_on_the_terms_of_its_chromosomes(tmp_path):
    rng = np.random.default_rng(0)
    n, ids = 200, [f"s{i:03d}" for i in range(200)]
    male = rng.random(n) < 0.5
    where = {"1": 20, "2": 20, "X": 10, "Y": 6}
    genes = [f"g{c}_{i}" for c, k in where.items() for i in range(k)]
    effect = {"1": 0.0, "2": 0.0, "X": -2.0, "Y": 4.0}
    x = np.hstack(
        [effect[c] * male[:, None] + rng.normal(size=(n, 1)) + 0.7 * rng.normal(size=(n, k)) for c, k in where.items()]
    )
    positions = pd.DataFrame(
        {"id": range(len(genes)), "chromosome": [g[1:].split("_")[0] for g in genes], "symbol": genes}
    )
    positions.to_csv(tmp_path / "positions.tsv.gz", sep="\t", index=False)
    rna = table(x, ids, "g")
    rna.var_names = genes
    model = ist.OntologyVAE(
        pathways=tmp_path / "positions.tsv.gz", term_columns=["chromosome"], hidden=(32,), dropout=0.0
    )
    fitted = ist.fit(model, build({"rna": rna}), training=ist.Training(epochs=80, lr=3e-3, patience=None))
    z = fitted.embed(build({"rna": rna})).to_df()
    r = {c: abs(np.corrcoef(z[c], male)[0, 1]) for c in where}
    assert r["Y"] > 0.8
    assert r["X"] > 0.5
    assert max(r["1"], r["2"]) < 0.25


def test_dropped_features_are_neither_read_nor_reconstructed():
    mdata = linear(widths=[("rna", 30)])
    shifted = mdata.copy()
    shifted.mod["rna"].X[:, 26:] += 7
    model = ist.OntologyVAE(pathways=SETS, **SMALL)
    fitted = ist.fit(model, mdata, training=ist.Training(epochs=60, lr=1e-2, patience=None))
    np.testing.assert_array_equal(fitted.embed(mdata).X, fitted.embed(shifted).X)
    x, x_hat = mdata.mod["rna"].X, fitted.reconstruct(mdata).mod["rna"].X
    assert (x_hat[:, 26:] == x_hat[0, 26:]).all()
    np.testing.assert_allclose(x_hat[0, 26:], x[:, 26:].mean(0), atol=0.15)
    assert (x_hat[:, :26].std(axis=0) > 0).all()
    only = mdata.copy()
    only.mod["rna"].X[0, :26] = np.nan
    assert np.isnan(fitted.embed(only).X[0]).all()  # what is left of it belongs to no term

    kept = ist.fit(ist.OntologyVAE(pathways=SETS, unassigned="keep", **SMALL), mdata, training=QUICK)
    assert list(kept.embed(mdata).var_names) == [*SETS, "unassigned"]
    assert (kept.embed(mdata).X != kept.embed(shifted).X).any()
    assert (kept.reconstruct(mdata).mod["rna"].X.std(axis=0) > 0).all()


def test_saved_model_needs_no_file_and_keeps_its_names(tmp_path):
    path, up = tmp_path / "sets.gmt", tmp_path / "up.tsv"
    path.write_text("".join("\t".join([t, "", *genes]) + "\n" for t, genes in SETS.items()))
    up.write_text("".join(f"{t}\t{c}\n" for t, members in UP.items() for c in members))
    mdata = linear()
    fitted = ist.fit(ist.OntologyVAE(pathways=path, levels=[up], **SMALL), mdata, training=QUICK)
    z = fitted.embed(mdata)
    assert list(z.var_names) == list(UP)
    fitted.save(tmp_path / "model")
    path.unlink()
    up.unlink()
    text = (tmp_path / "model" / "model.json").read_text()
    assert str(tmp_path) not in text
    assert "features" not in json.loads(text)["spec"]["modalities"][0]  # the preparation has them
    loaded = ist.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.embed(mdata).X, z.X)
    assert loaded.spec == fitted.spec
    assert loaded.spec["rna"].features == tuple(mdata.mod["rna"].var_names)
    steps = loaded.traverse("bcd", steps=3)
    assert list(steps.obs.columns) == ["bcd"]
    moved = np.ptp(steps.mod["rna"].X, axis=0) > 0
    assert moved.tolist() == [6 <= i < 26 for i in range(30)]
    with pytest.raises(RecipeError, match="no such latent dimension"):
        loaded.traverse("z0")


def test_small_terms_are_left_out_and_listed(caplog):
    caplog.set_level(logging.INFO, "isthmus")
    model = ist.OntologyVAE(pathways={**SETS, "few": ("rna0", "rna1", "elsewhere")}, min_size=6, **SMALL)
    fitted = ist.fit(model, linear(), training=QUICK)
    assert fitted.module.terms == tuple(SETS)
    assert fitted.latent == fitted.recipe["model"]["latent"] == 4
    assert "1 terms are left out, with fewer than 6 measured features: few (2)" in caplog.text
    assert "rna: 26 of 30 features (87 %) are in a term" in caplog.text
    with pytest.raises(DataError, match="no term has so many measured features"):
        ist.fit(ist.OntologyVAE(pathways=SETS, min_size=9, **SMALL), linear(), training=QUICK)


def test_tied_modalities():
    mdata = linear(widths=[("rna", 30), ("cnv", 20)])
    mdata.mod["cnv"].var_names = [f"rna{i}" for i in range(20)]  # copy number of the same genes
    model = ist.OntologyVAE(pathways=SETS, **SMALL)
    both = ist.fit(model, mdata, training=QUICK)
    assert both.recipe["model"]["tied"] == ["rna", "cnv"]
    assert sum(isinstance(m, MaskedLinear) for m in both.module.modules()) == 2
    assert (both.traverse("d", steps=2).mod["cnv"].X.std(axis=0) == 0).all()
    one = ist.fit(ist.OntologyVAE(pathways=SETS, tied=["rna"], **SMALL), mdata, training=QUICK)
    assert sum(isinstance(m, MaskedLinear) for m in one.module.modules()) == 1
    assert (one.traverse("d", steps=2).mod["cnv"].X.std(axis=0) > 0).all()
    with pytest.raises(RecipeError, match=r"model.tied: no such modality; met 'rnaa'\ndid you mean 'rna'"):
        ist.fit(ist.OntologyVAE(pathways=SETS, tied=["rnaa"], **SMALL), mdata, training=QUICK)
    with pytest.raises(DataError, match=r"model.tied: cnv: none of its features is in a term"):
        ist.fit(ist.OntologyVAE(pathways=SETS, tied=["cnv"], **SMALL), linear(), training=QUICK)
    with pytest.raises(DataError, match="no member of any term is among the names"):
        ist.fit(ist.OntologyVAE(pathways={"a": ["TP53"]}, **SMALL), linear(), training=QUICK)


def test_excess_zeros_of_a_feature_depend_on_its_terms_alone():
    sets = {"a": [f"g{i}" for i in range(12)], "b": [f"g{i}" for i in range(12, 25)]}
    model = ist.OntologyVAE(pathways=sets, **SMALL)
    module = ist.fit(model, counts(), likelihood={"rna": "zinb"}, training=QUICK).module
    z = torch.zeros(1, 2)
    before, after = (module.decoder(a)["rna"].zero_logits[0] for a in (z, z + torch.tensor([0.0, 1.0])))
    assert (before != after).tolist() == [i >= 12 for i in range(25)]


def test_without_pathways_is_a_linear_decoder_and_says_so(caplog):
    fitted = ist.fit(ist.OntologyVAE(latent=3, **SMALL), linear(), training=QUICK)
    assert "model.pathways is not given" in caplog.text
    assert list(fitted.embed(linear()).var_names) == ["z0", "z1", "z2"]
    z = torch.randn(2, 3)
    ends, middle = fitted.module.decode(z)["rna"], fitted.module.decode(z.mean(0, keepdim=True))["rna"]
    torch.testing.assert_close(ends.mean(0, keepdim=True), middle)


def test_a_module_is_not_built_on_files_that_were_not_read():
    settings = registry.config_of("ontology_vae")(pathways="sets.gmt")
    with pytest.raises(RecipeError, match="names a file that has not been read"):
        registry.get("ontology_vae")(settings, Spec((Modality("rna", (4,)),)))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pathways": {"a": "rna0"}}, r"model.pathways: term 'a' should hold a list of features, not 'rna0'"),
        ({"pathways": 3}, r"model.pathways: wrong value; met 3; wanted"),
        ({"levels": "up.tsv"}, r"levels, hierarchy and term_columns need pathways"),
        ({"pathways": "a", "levels": ["b"], "hierarchy": "c"}, r"levels and hierarchy exclude each other"),
    ],
)
def test_settings_are_checked_before_any_data_is_read(keys, message):
    tree = {"data": {"simulate": {"n": 50, "modalities": {"a": 10}}}, "model": {"name": "ontology_vae", **keys}}
    with pytest.raises(RecipeError, match=message):
        parse_recipe(tree)


def test_recipe_makes_paths_absolute_and_keeps_mappings(tmp_path):
    tree = {"data": {"simulate": {"n": 50, "modalities": {"a": 10}}}}
    keys = {"name": "ontology_vae", "pathways": "sets.gmt"}
    recipe = parse_recipe({**tree, "model": {**keys, "levels": ["up.tsv", UP]}}, root=tmp_path)
    assert recipe.model.pathways == str(tmp_path / "sets.gmt")
    assert recipe.model.levels == (str(tmp_path / "up.tsv"), UP)
    again = parse_recipe(load_yaml(recipe.text(), "recipe.yaml"), root=tmp_path / "elsewhere")
    assert again.text() == recipe.text()
    with pytest.raises(RecipeError, match=r"model.hierarchy: an environment variable is not set; met 'HOME_OF_TERMS'"):
        parse_recipe({**tree, "model": {**keys, "hierarchy": "$HOME_OF_TERMS/h.tsv"}}, root=tmp_path)
    assert ist.OntologyVAE(pathways=tmp_path, levels={1: [2]}).levels == ({"1": ("2",)},)
