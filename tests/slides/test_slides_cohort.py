"""Folders and lists of slides, one or several processes, and the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import isthmus.cli
from isthmus.errors import DataError
from isthmus.slides import Entry, encode_all, listed_slides, tile_all
from isthmus.slides.cohort import tiles_of
from made_slides import MPP, noise, pyramid, tissue

pytest.importorskip("openslide")
pytest.importorskip("tifffile")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two slides, one without a scale, one that is none, and a file that is no image."""
    place = tmp_path_factory.mktemp("slides")
    pyramid(place / "a.tif", tissue(512, 512, boxes=((0, 0, 512, 256),)))
    pyramid(place / "b.tif", tissue(512, 768, boxes=((0, 0, 256, 768),)), mpp=None)
    (place / "c.svs").write_text("no slide\n")
    (place / "notes.txt").write_text("nothing\n")
    return place


def run(*arguments):
    with pytest.raises(SystemExit) as done:
        isthmus.cli.main([str(a) for a in arguments])
    return done.value.code


def test_a_folder_lists_its_images_by_name(folder):
    assert [e.name for e in listed_slides([folder])] == ["a", "b", "c"]
    assert [e.name for e in listed_slides([folder / "b.tif"])] == ["b"]


def test_dicom_files_of_a_folder_are_one_slide(tmp_path):
    (tmp_path / "case1").mkdir()
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / "case1" / name).write_bytes(b"x")
    assert [(e.name, e.path) for e in listed_slides([tmp_path])] == [("case1", tmp_path / "case1")]
    assert [e.name for e in listed_slides([tmp_path / "case1"])] == ["case1"]
    (tmp_path / "case1" / "other.png").write_bytes(b"x")
    with pytest.raises(DataError, match="beside others"):
        listed_slides([tmp_path / "case1"])


def test_lists_give_names_and_scales(folder, tmp_path):
    table = pd.DataFrame({"wsi": ["a.tif", "b.tif"], "name": ["one", None], "mpp": [None, 0.5]})
    table.to_csv(folder / "list.csv", index=False)
    found = listed_slides([folder / "list.csv"], mpp=1)
    (folder / "list.csv").unlink()
    assert [(e.name, e.mpp, e.otherwise) for e in found] == [("one", None, 1.0), ("b", 0.5, 1.0)]
    with found[0].open() as slide:
        assert slide.mpp == pytest.approx(MPP)  # what a slide says goes before what is said of all
    with found[1].open() as slide:
        assert slide.mpp == 0.5
    with Entry(folder / "b.tif", "b", None, 1.0).open() as slide:
        assert slide.mpp == 1


def test_slides_of_a_list_may_be_called_na(tmp_path):
    for name in ("NA", "x.tif"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.csv").write_text("slide,name,mpp\nNA,None,\nx.tif,NA,0.5\n,null,\n")
    found = listed_slides([tmp_path / "list.csv"])
    assert [(e.path.name, e.name, e.mpp) for e in found] == [("NA", "None", None), ("x.tif", "NA", 0.5)]


def test_wrong_lists_are_told(folder, tmp_path):
    (tmp_path / "a.tif").write_bytes(b"x")
    (tmp_path / "columns.csv").write_text("slid\na.tif\n")
    (tmp_path / "number.csv").write_text("slide,mpp\na.tif,half\n")
    (tmp_path / "none").mkdir()
    for sources, said in (
        ([folder, tmp_path / "a.tif"], "two slides have one name"), ([tmp_path / "columns.csv"], "no column of files"),
        ([tmp_path / "number.csv"], "is no number"), ([tmp_path / "none"], "there are no slides"),
        ([tmp_path / "absent"], "no such file or folder"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=said):
            listed_slides(sources)


def test_a_broken_slide_is_a_line_and_the_others_go_on(folder, tmp_path, capsys):
    assert run("slides", "tile", folder, "--out", tmp_path / "t", "--mpp", 0.5, "--size", 64) == 2
    said = capsys.readouterr()
    assert "c is not tiled" in said.err
    assert "b is not tiled" in said.err
    assert "--slide-mpp" in said.err
    assert "error: 2 of 3 slides could not be tiled" in said.err
    assert "Traceback" not in said.err
    table = pd.read_csv(tmp_path / "t" / "slides.csv", index_col="slide", keep_default_na=False)
    assert table["tiles"].tolist()[0] == "8"
    assert table["error"].map(bool).tolist() == [False, True, True]
    assert [p.name for p in (tmp_path / "t" / "patches").iterdir()] == ["a_patches.h5"]
    with Image.open(tmp_path / "t" / "thumbnails" / "a.png") as picture:
        assert picture.size == (512, 512)


def test_from_slides_to_features_to_a_picture(folder, tmp_path, capsys):
    slides = [folder / "a.tif", folder / "b.tif"]
    tile = ["slides", "tile", *slides, "--out", tmp_path / "t", "--size", 64, "--slide-mpp", 0.5, "--workers", 2]
    assert run(*tile) == 0
    encode = ["slides", "encode", *slides, "--tiles", tmp_path / "t", "--out", tmp_path / "f", "--slide-mpp", 0.5]
    assert run(*encode) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "t" / "slides.csv"), str(tmp_path / "f")]
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "f").iterdir()}
    assert set(before) == {"a.h5", "b.h5"}
    assert run(*encode) == 0
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "f").iterdir()} == before
    with h5py.File(tmp_path / "f" / "b.h5") as file:
        assert file["features"].attrs["mpp"] == 0.5
        coords = file["coords"][()]
        assert file["features"].shape == (len(coords), 54)
    weights = pd.DataFrame(coords, columns=["x", "y"]).assign(attention=np.arange(len(coords)) + 1.0)
    weights.to_csv(tmp_path / "w.csv", index=False)
    draw = ["slides", "heatmap", slides[1], "--tiles", tmp_path / "f", "--weights", tmp_path / "w.csv"]
    for name in ("h.png", "h.svg"):
        assert run(*draw, "--out", tmp_path / name) == 0
    with Image.open(tmp_path / "h.png") as picture:
        assert picture.size[0] > 1000
    assert "attention over its mean" in (tmp_path / "h.svg").read_text()
    assert len(pd.read_csv(tmp_path / "h.csv")) == len(coords)
    assert run(*draw, "--out", tmp_path / "h.png") == 2
    assert run(*draw, "--out", tmp_path / "h.gif") == 2
    assert run(*draw, "--out", tmp_path / "i.png", "--column", "atention") == 2
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith("error")] == [
        f"error: {tmp_path / 'h.png'}: exists",
        f"error: --out: is no picture; met '{tmp_path / 'h.gif'}'; wanted .png or .svg",
        "error: --column: there is no such column of numbers; met 'atention'",
    ]  # fmt: skip
    assert not (tmp_path / "i.png").exists()


def test_tiles_of_other_settings_are_not_replaced_unasked(folder, tmp_path):
    slides = listed_slides([folder / "a.tif"])
    for size, overwrite, tiles in ((64, False, 32), (64, False, 32), (128, False, 32), (128, True, 8)):
        table = tile_all(
            slides, tmp_path, settings={"mpp": MPP, "size": size, "min_tissue": 0.4}, overwrite=overwrite
        )  # fmt: skip
        with h5py.File(tmp_path / "patches" / "a_patches.h5") as file:
            assert len(file["coords"]) == tiles
        assert ("other settings" in table["error"][0]) == (size == 128 and not overwrite)


def test_a_slide_without_tiles_is_told_and_the_others_are_encoded(folder, tmp_path):
    slides = listed_slides([folder / "a.tif"])
    tile_all(slides, tmp_path / "t", settings={"size": 64})
    several = [*slides, Entry(folder / "b.tif", "b", 0.5)]
    table = encode_all(several, tmp_path / "f", tiles=tmp_path / "t", encoder="colour")
    assert table["error"][0] == ""
    assert "no tiles of this slide" in table["error"][1]
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["a.h5"]


def test_tiles_are_found_where_trident_and_clam_put_them(tmp_path):
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches" / "a_patches.h5").write_bytes(b"x")
    (tmp_path / "patches" / "b.h5").write_bytes(b"x")
    assert tiles_of(tmp_path, "a").name == "a_patches.h5"
    assert tiles_of(tmp_path, "b").name == tiles_of(tmp_path / "patches", "b").name == "b.h5"


def test_without_a_command_the_help_is_printed(capsys):
    assert run("slides") == 0
    said = capsys.readouterr()
    assert all(f"  {command} " in said.out for command in ("tile", "encode", "heatmap"))
    assert said.err == ""


def test_help_imports_no_torch_and_no_slides():
    code = (
        "import sys\nfrom isthmus.cli import main\ntry:\n    main(['slides', 'encode', '--help'])\n"
        "except SystemExit as done:\n    assert done.code == 0\n"
        "assert not {'torch', 'numpy', 'openslide'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--encoder" in done.stdout


def test_a_run_that_is_stopped_leaves_nothing_half_written_and_goes_on(tmp_path, monkeypatch):
    """Signals 9 and 15 while tiles are encoded: no file; then the same command ends it, as if nothing had been."""
    pyramid(tmp_path / "s.tif", noise(1024, 1024))
    slides = listed_slides([tmp_path / "s.tif"])
    tile_all(slides, tmp_path / "t", settings={"mpp": MPP, "size": 64, "min_tissue": 0})
    (tmp_path / "slow_means.py").write_text(
        "import os, time\ndef f(x):\n    time.sleep(float(os.environ.get('SLOW', 0)))\n"
        "    return x.reshape(len(x), -1, 3).mean(axis=1)\n"
    )
    code = (
        "import isthmus.slides, sys\nsys.modules['isthmus.slides.encode'].CHUNK = 16\n"
        "from isthmus.cli import main\nmain()"
    )
    command = [sys.executable, "-c", code, "slides", "encode", "s.tif", "--tiles", "t", "--out", "f", "--batch", "16",
               "--encoder", "slow_means:f"]  # fmt: skip
    done = 0
    for number, wanted in ((signal.SIGKILL, -9), (signal.SIGTERM, 143)):
        child = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"SLOW": "0.2"}, stderr=subprocess.PIPE)
        parts = tmp_path / "f" / ".s.h5.parts"
        limit = time.monotonic() + 60
        while time.monotonic() < limit and len(list(parts.glob("[0-9]*.npy"))) < done + 2:
            time.sleep(0.02)
        child.send_signal(number)
        assert child.wait(60) == wanted
        assert b"Traceback" not in child.stderr.read()
        child.stderr.close()
        done = len(list(parts.glob("[0-9]*.npy")))
        assert 2 <= done < 16
        assert not (tmp_path / "f" / "s.h5").exists()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys.modules["isthmus.slides.encode"], "CHUNK", 16)
    calls = []
    counted = sys.modules["isthmus.slides.encode"]._encoded
    monkeypatch.setattr(sys.modules["isthmus.slides.encode"], "_encoded", lambda *a: calls.append(1) or counted(*a))
    for place, left in (("f", 16 - done), ("g", 16)):
        calls.clear()
        table = encode_all(slides, tmp_path / place, tiles=tmp_path / "t", encoder="slow_means:f", keys={"batch": 16})
        assert table["error"].tolist() == [""]
        assert len(calls) == left
    with h5py.File(tmp_path / "f" / "s.h5") as one, h5py.File(tmp_path / "g" / "s.h5") as other:
        np.testing.assert_array_equal(one["features"][()], other["features"][()])
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["s.h5"]


# ---- real slides


@pytest.fixture(scope="module")
def real(real_data):
    place = real_data / "wsi_small"
    if not place.is_dir():
        pytest.skip("wsi_small is not there")
    return place


def test_real_slides_are_tiled_encoded_and_drawn(real, tmp_path, capsys):
    names = ["CMU-1-Small-Region", "tcga-cr-7395-01a-01-ts1"]
    assert run("slides", "tile", real / f"{names[1]}.svs", "--out", tmp_path / "t", "--size", 128) == 2
    assert "tcga-cr-7395-01a-01-ts1 is not tiled" in capsys.readouterr().err
    assert run("slides", "tile", real, "--out", tmp_path / "t", "--size", 128, "--slide-mpp", 0.25) == 0
    table = pd.read_csv(tmp_path / "t" / "slides.csv", index_col="slide")
    assert table.index.tolist() == names
    assert table["mpp"].tolist() == [0.499, 0.25]
    assert table["tissue"].between(0.3, 0.7).all()
    assert table["tiles"].between(120, 160).all()
    for encoder, width in (("colour", 54), ("small_cnn", 224)):
        encode = ["slides", "encode", real / f"{names[0]}.svs", "--tiles", tmp_path / "t", "--out", tmp_path / encoder]
        assert run(*encode, "--encoder", encoder) == 0
        with h5py.File(tmp_path / encoder / f"{names[0]}.h5") as file:
            assert file["features"].shape == (table.loc[names[0], "tiles"], width)
            assert np.isfinite(file["features"][()]).all()
    with h5py.File(tmp_path / "colour" / f"{names[0]}.h5") as file:
        features, coords = file["features"][()], file["coords"][()]
    red, green, blue = features[:, :3].mean(axis=0)
    assert green < blue < red  # haematoxylin and eosin
    weights = pd.DataFrame(coords, columns=["x", "y"]).assign(attention=features[:, 33])  # haematoxylin
    weights.to_csv(tmp_path / "w.csv", index=False)
    draw = ["slides", "heatmap", real / f"{names[0]}.svs", "--tiles", tmp_path / "t", "--weights", tmp_path / "w.csv"]
    assert run(*draw, "--out", tmp_path / "h.png", "--show", "value") == 0
    with Image.open(tmp_path / "h.png") as picture:
        shown = np.asarray(picture.convert("RGB")).astype(int)
    half = shown[:, : shown.shape[1] // 2 - 40]
    assert (np.ptp(half, axis=2) > 60).mean() > 0.05  # the slide in its colours
    assert ((shown[..., 1] - shown[..., 0]) > 60).mean() > 0.02  # the map's greens
