"""Feature files of slides, rows of cells, and the store that their instances go to."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import torch

import isthmus as ist
from isthmus.data.bags import bags_of, is_bag
from isthmus.errors import DataError, RecipeError

RNG = np.random.default_rng(0)
COORDS = {
    "patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40, "target_magnification": 20, "overlap": 0,
}  # fmt: skip


def trident(folder, name, n=6, width=8, *, encoder="uni_v1", dtype="f4", whole=False, **said):
    """A file as TRIDENT writes it: a row a chunk."""
    x = RNG.normal(size=(n, width)).astype(dtype)
    coords = RNG.integers(0, 9999, size=(n, 2))
    stored = x[None] if whole else x
    with h5py.File(folder / f"{name}.h5", "w") as file:
        one = {"chunks": (1, *stored.shape[1:]), "maxshape": (None, *stored.shape[1:])}
        features = file.create_dataset("features", data=stored, **(one if n else {"chunks": None}))
        features.attrs.update({"name": name, "savetodir": "somewhere", "encoder": encoder})
        places = file.create_dataset("coords", data=coords, maxshape=(None, 2))
        places.attrs.update({**COORDS, "name": name, "level0_width": 50_000, "level0_height": 40_000, **said})
    return x, coords


def instances(mdata, name, sample):
    """All instances of a sample, in the order of the store."""
    bags = bags_of(mdata.mod[name])
    rows, _ = bags.rows(np.flatnonzero(mdata.mod[name].obs_names == sample))
    return bags.values(rows), rows


def stores():
    """The stores that this run has made."""
    return {p.name for p in Path(os.environ["ISTHMUS_CACHE"], "bags").glob("*")}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "features_uni_v1"
    made.mkdir()
    return made


def refused(folder, match, kind=DataError, **keys):
    with pytest.raises(kind, match=match) as met:
        ist.read({"slide": {"path": str(folder), **keys}})
    lines = str(met.value).splitlines()
    assert len(lines) <= 3
    return str(met.value)


# ---- layouts


def test_trident_files_keep_features_coordinates_and_attributes(folder):
    written = {f"S{i}": trident(folder, f"S{i}", 5 + i, whole=i == 1) for i in range(3)}
    mdata = ist.read({"slide": folder})
    assert list(mdata.obs_names) == ["S0", "S1", "S2"]
    assert list(mdata.obs.columns) == []
    store = bags_of(mdata.mod["slide"]).store
    for name, (x, coords) in written.items():
        found, rows = instances(mdata, "slide", name)
        np.testing.assert_array_equal(found, x)
        np.testing.assert_array_equal(store.coords[rows], coords)
        np.testing.assert_allclose(mdata.mod["slide"][name].X[0], x.mean(axis=0), rtol=1e-6)
    assert list(mdata.mod["slide"].var_names[:2]) == ["uni_v1_0000", "uni_v1_0001"]
    assert {k: store.slides[0]["attributes"][k] for k in COORDS} == COORDS
    assert store.slides[0]["attributes"]["encoder"] == "uni_v1"


def test_trident_folder_of_one_encoder_is_found_and_of_two_is_asked_for(tmp_path):
    inner = tmp_path / "20x_256px_0px_overlap" / "features_uni_v1"
    inner.mkdir(parents=True)
    trident(inner, "S0")
    assert ist.read({"slide": tmp_path}).n_obs == 1
    other = inner.with_name("features_conch_v15")
    other.mkdir()
    trident(other, "S0", encoder="conch_v15")
    refused(tmp_path, "several encoders")


def test_clam_folders_by_h5_or_by_tensor(tmp_path):
    x = RNG.normal(size=(4, 3)).astype("f4")
    for kind in ("pt_files", "h5_files"):
        (tmp_path / kind).mkdir()
    torch.save(torch.from_numpy(x), tmp_path / "pt_files" / "A.pt")
    by_tensor = instances(ist.read({"slide": tmp_path}), "slide", "A")[0]
    with h5py.File(tmp_path / "h5_files" / "A.h5", "w") as file:
        file["features"], file["coords"] = x, np.zeros((4, 2), np.int32)
    mdata = ist.read({"slide": tmp_path})
    np.testing.assert_array_equal(by_tensor, x)
    np.testing.assert_array_equal(instances(mdata, "slide", "A")[0], x)
    assert bags_of(mdata.mod["slide"]).store.coords is not None


@pytest.mark.parametrize("kept", ["1xN", "dictionary", "array", "bfloat16"])
def test_tensors_in_the_forms_that_are_met(folder, kept):
    x = torch.randn(3, 4)
    forms = {"1xN": x[None], "dictionary": {"features": x}, "array": x.numpy(), "bfloat16": x.bfloat16()}
    torch.save(forms[kept], folder / "A.pt")
    found = instances(ist.read({"slide": folder}), "slide", "A")[0]
    np.testing.assert_allclose(found, x, atol=0.02 if kept == "bfloat16" else 0)


def test_half_precision_stays_so_on_disk(folder):
    x, _ = trident(folder, "A", dtype="f2")
    mdata = ist.read({"slide": folder})
    assert bags_of(mdata.mod["slide"]).store.x.dtype == np.float16
    np.testing.assert_array_equal(instances(mdata, "slide", "A")[0], x.astype("f4"))


# ---- whose slide it is


def test_several_slides_of_a_patient_are_one_bag_however_it_is_said(folder, tmp_path):
    written = {
        n: trident(folder, n, 3 + i)[0]
        for i, n in enumerate(["TCGA-A1-0001-01Z", "TCGA-A1-0001-02Z", "TCGA-B2-0002-01Z"])
    }
    both = np.concatenate([written["TCGA-A1-0001-01Z"], written["TCGA-A1-0001-02Z"]])
    table = pd.DataFrame({"slide": [f"{n}.svs" for n in written], "stain": "HE", "patient": ["P1", "P1", "P2"]})
    table.to_csv(tmp_path / "slides.csv", index=False)
    rules = {
        "TCGA-A1-0001": {"id_length": 12},
        "A1-0001": {"id_pattern": r"^TCGA-(\w\w-\d{4})-"},
        "P1": {"slides": str(tmp_path / "slides.csv")},
    }
    for name, rule in rules.items():
        mdata = ist.read({"slide": {"path": str(folder), **rule}})
        assert mdata.n_obs == 2
        np.testing.assert_array_equal(instances(mdata, "slide", name)[0], both)
        np.testing.assert_allclose(mdata.mod["slide"][name].X[0], both.mean(axis=0), atol=1e-6)


def test_slides_without_patient_and_patients_without_slide_are_counted(folder, tmp_path, caplog):
    for n in ("A", "B", "C"):
        trident(folder, n)
    pd.DataFrame({"slide": ["A", "B", "Z"], "sample": ["P1", "P2", "P9"]}).to_csv(tmp_path / "map.csv", index=False)
    obs = pd.DataFrame({"age": [1, 2, 3]}, index=["P1", "P3", "P4"])
    with caplog.at_level(logging.WARNING, "isthmus"):
        mdata = ist.read({"slide": {"path": str(folder), "slides": str(tmp_path / "map.csv")}}, obs=obs)
    assert set(mdata.obs_names) == {"P1", "P2"}
    for said in (
        "1 of 3 slides are of no sample",
        "1 samples have no slide here: 'P9'",
        "1 of 2 samples with bags are known",
        "2 of 3 samples have no bag",
    ):
        assert said in caplog.text


def test_slides_and_samples_may_be_called_na_or_by_numbers(folder, tmp_path):
    for n in ("NA", "null", "B"):
        trident(folder, n)
    (tmp_path / "map.csv").write_text("slide,patient\nNA,NA\nnull,1E5\nB,\n")
    mdata = ist.read({"slide": {"path": str(folder), "slides": str(tmp_path / "map.csv")}})
    assert set(mdata.obs_names) == {"NA", "1E5"}
    (tmp_path / "cells.csv").write_text("cell,a,b,donor\nc1,1,2,NA\nc2,3,5,7.0\nc3,4,4,\nc4,2,1,007\n")
    mdata = ist.read({"cells": {"path": str(tmp_path / "cells.csv"), "bag_of": "donor"}})
    assert set(mdata.obs_names) == {"NA", "7", "007"}


def test_bags_that_share_no_id_are_told_of_by_the_keys_that_say_whose_a_slide_is(folder):
    for name in ("P1_slide", "P2_slide"):
        trident(folder, name)
    table = pd.DataFrame(RNG.normal(size=(2, 3)), ["P1", "P2"], ["g1", "g2", "g3"])
    for rna, obs in ((table, None), (ad.AnnData(table), None), (table, pd.DataFrame({"age": [1, 2]}, table.index))):
        with pytest.raises(DataError, match="slide and rna: share no sample id") as met:
            ist.read({"rna": rna, "slide": folder}, obs=obs)
        said = str(met.value)
        assert all(text in said for text in ("'P1_slide', 'P2_slide'", "'P1', 'P2'", "id_pattern"))
        assert "orientation" not in said
    with pytest.raises(DataError, match=r"names none of the modalities' samples[\s\S]*id_pattern"):
        ist.read({"slide": folder}, obs=pd.DataFrame({"age": [1, 2]}, table.index))


def test_rules_that_are_wrong(folder, tmp_path):
    trident(folder, "A")
    refused(folder, "no slide has a sample", id_pattern="^X(.)")
    refused(folder, "is no pattern", RecipeError, id_pattern="(")
    refused(folder, "exclude each other", RecipeError, id_pattern="A", id_length=1)
    pd.DataFrame({"slide": ["Q"], "sample": ["P"]}).to_csv(tmp_path / "m.csv", index=False)
    refused(folder, "names none of the slides", slides=str(tmp_path / "m.csv"))


# ---- what is wrong with files


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"width": 9}, "another width than A.h5; met 9; wanted 8"),
        ({"encoder": "conch_v15"}, "another encoder than A.h5; met 'conch_v15'; wanted uni_v1"),
        ({"target_magnification": 10}, "another target magnification than A.h5; met 10; wanted 20"),
        ({"patch_size": 512}, "another patch size"),
    ],
)
def test_slides_of_another_kind_are_named(folder, said, match):
    trident(folder, "A")
    trident(folder, "B", **said)
    assert "B.h5" in refused(folder, match)


def test_scanners_may_differ_in_level_0(folder):
    trident(folder, "A")
    trident(folder, "B", level0_magnification=20, patch_size_level0=256)
    assert ist.read({"slide": folder}).n_obs == 2


def test_damaged_files_are_one_line(folder):
    trident(folder, "A")
    for name, content in {
        "B.h5": (folder / "A.h5").read_bytes()[:700],
        "B.pt": b"PK\x03\x04 nothing",
        "B.hdf5": b"",
    }.items():
        (folder / name).write_bytes(content)
        assert name in refused(folder, "is no whole (HDF5|pt) file")
        (folder / name).unlink()


def test_features_that_are_not_finite_are_named_and_leave_nothing(folder):
    trident(folder, "A")
    with h5py.File(folder / "A.h5", "r+") as file:
        file["features"][4, 2] = np.nan
    before = stores()
    assert "A.h5, instance 4, feature 2" in refused(folder, "not finite; met nan")
    assert stores() == before


def test_empty_slides_are_left_out_and_all_of_them_is_too_many(folder, caplog):
    trident(folder, "A", 0)
    with h5py.File(folder / "B.h5", "w") as file:
        file["features"], file["coords"] = np.zeros(0, "f4"), np.zeros((0, 2), np.int64)
    refused(folder, "no slide has an instance")
    trident(folder, "C")
    with caplog.at_level(logging.WARNING, "isthmus"):
        mdata = ist.read({"slide": folder})
    assert list(mdata.obs_names) == ["C"]
    assert "2 slides have no instance and are left out: 'A.h5', 'B.h5'" in caplog.text


def test_what_is_no_bag_of_features(folder):
    with h5py.File(folder / "A.h5", "w") as file:
        file["coords"] = np.zeros((3, 2))
    assert "encode the slides first" in refused(folder, "holds no features")
    with h5py.File(folder / "A.h5", "w") as file:
        file["features"] = np.zeros(8)
    assert "read them as one" in refused(folder, "holds no bag")
    with h5py.File(folder / "A.h5", "w") as file:
        file["features"], file["coords"] = np.zeros((3, 4)), np.zeros((2, 2))
    refused(folder, "not a coordinate for each feature")


def test_a_tensor_file_that_would_run_code_is_refused(folder):
    evil = "class E:\n    def __reduce__(self): return os.mkdir, (sys.argv[2],)"
    code = f"import os, torch, sys\n{evil}\ntorch.save(E(), sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder / "A.pt"), str(folder / "ran")], check=True)
    refused(folder, "is no whole pt file")
    assert not (folder / "ran").exists()
    torch.save({"weights": torch.zeros(2)}, folder / "A.pt")
    refused(folder, "holds no tensor of features")


# ---- the store


def test_a_store_is_made_once_and_again_when_a_file_changes(folder):
    trident(folder, "A")
    first = ist.read({"slide": folder}).mod["slide"].uns["bags"]["store"]
    made = Path(first).stat().st_ino
    assert ist.read({"slide": folder}).mod["slide"].uns["bags"]["store"] == first
    assert Path(first).stat().st_ino == made
    x, _ = trident(folder, "A", 9)
    mdata = ist.read({"slide": folder})
    assert mdata.mod["slide"].uns["bags"]["store"] != first
    np.testing.assert_array_equal(instances(mdata, "slide", "A")[0], x)


def test_subsets_keep_their_bags_and_a_lost_store_is_said(folder):
    written = {n: trident(folder, n, 3 + i)[0] for i, n in enumerate("ABC")}
    mdata = ist.read({"slide": folder})
    some = mdata[["C", "A"]].copy()
    assert bags_of(some.mod["slide"]).lengths.tolist() == [5, 3]
    np.testing.assert_array_equal(instances(some, "slide", "C")[0], written["C"])
    some.mod["slide"].obs["bag"] = ["x", "y"]
    with pytest.raises(DataError, match="has no such bag"):
        bags_of(some.mod["slide"])
    some.mod["slide"].uns["bags"]["store"] = "nowhere"
    with pytest.raises(DataError, match="instances of its bags are not there"):
        bags_of(some.mod["slide"])


@pytest.mark.parametrize("form", ["h5mu", "folder"])
def test_a_cohort_with_bags_comes_back_from_files(tmp_path, form):
    bags = {"slide": {"features": 5, "instances": (3, 9), "slides": (1, 3)}}
    mdata = ist.simulate(n=6, modalities={"rna": 4}, bags=bags, pathways=0, absent={"slide": 0.2}, seed=2)
    (tmp_path / "here").mkdir()
    ist.write(mdata, tmp_path / "here" / ("cohort.h5mu" if form == "h5mu" else "cohort"))
    (tmp_path / "here").rename(tmp_path / "there")
    again = ist.read(tmp_path / "there" / ("cohort.h5mu" if form == "h5mu" else "cohort"))
    assert set(again.mod["slide"].obs_names) == set(mdata.mod["slide"].obs_names)
    assert list(again.mod["slide"].var_names) == list(mdata.mod["slide"].var_names)
    for name in mdata.mod["slide"].obs_names:
        (a, i), (b, j) = instances(mdata, "slide", name), instances(again, "slide", name)
        np.testing.assert_array_equal(a, b)
        stores = (bags_of(m.mod["slide"]).store for m in (mdata, again))
        np.testing.assert_array_equal(*(s.coords[rows] for s, rows in zip(stores, (i, j), strict=True)))
    shutil.rmtree(again.mod["slide"].uns["bags"]["store"])
    assert (
        bags_of(ist.read(again).mod["slide"]).lengths.tolist()
        == bags_of(mdata.mod["slide"])
        .take(mdata.mod["slide"].obs_names.get_indexer(again.mod["slide"].obs_names))
        .lengths.tolist()
    )


# ---- rows of samples


def test_rows_of_a_table_or_a_container_are_instances_of_the_samples_that_a_column_names(tmp_path):
    x = RNG.normal(size=(30, 4)).astype("f4")
    obs = pd.DataFrame({"donor": [f"D{i % 3}" for i in range(30)]}, index=[f"c{i}" for i in range(30)])
    cells = ad.AnnData(x, obs, pd.DataFrame(index=list("abcd")), obsm={"spatial": np.arange(60.0).reshape(30, 2)})
    cells.write_h5ad(tmp_path / "cells.h5ad")
    cells.to_df().assign(donor=obs["donor"]).to_csv(tmp_path / "cells.csv")
    named = cells.copy()
    named.obs["bag"] = obs["donor"]
    sources = (
        {"path": str(tmp_path / "cells.h5ad"), "bag_of": "donor"},
        named,
        {"path": str(tmp_path / "cells.csv"), "bag_of": "donor"},
    )
    for source in sources:
        mdata = ist.read({"cells": source})
        assert is_bag(mdata.mod["cells"])
        assert list(mdata.mod["cells"].var_names) == list("abcd")
        np.testing.assert_allclose(instances(mdata, "cells", "D1")[0], x[1::3], rtol=1e-5)
        np.testing.assert_allclose(mdata.mod["cells"]["D1"].X[0], x[1::3].mean(axis=0), rtol=1e-4, atol=1e-6)
    spatial = ist.read({"cells": named})
    np.testing.assert_array_equal(bags_of(spatial.mod["cells"]).store.coords[:2], [[0, 1], [6, 7]])


def test_rows_without_a_sample_or_with_gaps(caplog):
    cells = ad.AnnData(np.ones((4, 2), "f4"), pd.DataFrame({"bag": ["A", None, "A", "B"]}, index=list("wxyz")))
    with caplog.at_level(logging.WARNING, "isthmus"):
        assert bags_of(ist.read({"cells": cells}).mod["cells"]).lengths.tolist() == [2, 1]
    assert "1 of 4 rows have no bag" in caplog.text
    cells.X[0, 1] = np.nan
    with pytest.raises(DataError, match="not finite"):
        ist.read({"cells": cells})
    with pytest.raises(DataError, match="has no such column in obs"):
        ist.read({"cells": cells}, bag_of="donr")


def test_numbered_samples_are_called_as_in_other_tables_though_some_are_not_known(folder, tmp_path):
    cells = ad.AnnData(np.ones((3, 2), "f4"), pd.DataFrame({"bag": [1.0, np.nan, 2.0]}, index=list("xyz")))
    assert list(ist.read({"cells": cells}).obs_names) == ["1", "2"]
    for n in "AB":
        trident(folder, n)
    (tmp_path / "map.csv").write_text("slide,sample\nA,7\nB,\n")
    mdata = ist.read({"slide": {"path": str(folder), "slides": str(tmp_path / "map.csv")}})
    assert list(mdata.obs_names) == ["7"]


def test_a_container_without_values_names_its_files(folder, tmp_path):
    x, _ = trident(folder, "A")
    y, _ = trident(folder, "B")
    named = ad.AnnData(obs=pd.DataFrame({"bag": ["features_uni_v1/A.h5|features_uni_v1/B.h5"]}, index=["P1"]))
    named.write_h5ad(tmp_path / "slides.h5ad")
    mdata = ist.read({"slide": tmp_path / "slides.h5ad"})
    np.testing.assert_array_equal(instances(mdata, "slide", "P1")[0], np.concatenate([x, y]))
    named.obs["bag"] = ["features_uni_v1/Z.h5"]
    with pytest.raises(DataError, match="there is no such file"):
        ist.read({"slide": named}, root=tmp_path)


# ---- the simulation


def test_simulated_bags_show_the_factors_where_they_are_marked():
    keys = {"features": 12, "instances": (60, 120), "slides": (1, 3), "informative": 0.3}
    mdata = ist.simulate(n=80, modalities={}, bags={"slide": keys}, shared=2, noise=0.5, site_effect=0.7, seed=3)
    truth = mdata.uns["truth"]
    marked = truth["informative"]["slide"]
    bags = bags_of(mdata.mod["slide"])
    assert len(marked) == bags.lengths.sum() == len(bags.store.x)
    assert marked.groupby("sample")["slide"].nunique().between(1, 3).all()
    assert marked["informative"].mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(bags.store.coords, marked[["x", "y"]])
    x = pd.DataFrame(np.asarray(bags.store.x)).groupby([marked["sample"], marked["informative"]]).mean().unstack()
    sites = truth["site_effects"]["slide"].T.loc[mdata.obs["site"].astype(str)].to_numpy()
    ids = x.index.get_indexer(mdata.obs_names)
    factors = truth["factors"].to_numpy()
    signal = (factors - factors.mean(0)) / factors.std(0) @ truth["loadings"]["slide"].to_numpy().T
    shown = x.xs(1, axis=1, level=1).to_numpy()[ids] - sites
    hidden = x.xs(0, axis=1, level=1).to_numpy()[ids] - sites
    r = [np.corrcoef(signal[:, j], v[:, j])[0, 1] for v in (shown, hidden) for j in range(12)]
    assert min(r[:12]) > 0.9
    assert abs(np.mean(r[12:])) < 0.15


def test_simulated_bags_do_not_hang_on_what_is_absent_and_settings_are_checked():
    bags = {"slide": {"features": 4, "instances": (3, 6)}}
    whole = ist.simulate(n=10, modalities={"rna": 5}, bags=bags, pathways=0, seed=1)
    some = ist.simulate(n=10, modalities={"rna": 5}, bags=bags, pathways=0, seed=1, absent={"slide": 0.3})
    for name in some.mod["slide"].obs_names:
        np.testing.assert_array_equal(instances(some, "slide", name)[0], instances(whole, "slide", name)[0])
    with pytest.raises(RecipeError, match="from 9 down to 2"):
        ist.simulate(bags={"slide": {"instances": (9, 2)}})
    with pytest.raises(RecipeError, match="two modalities are called 'rna'"):
        ist.simulate(modalities={"rna": 4}, bags={"rna": {}})
    assert json.loads(whole.uns["truth"]["settings"])["bags"]["slide"]["features"] == 4
