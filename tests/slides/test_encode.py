"""Encoders against their formulas; files that are whole or absent, and runs that go on where they were."""

from __future__ import annotations

import json
import os
import sys
import types
import warnings
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
import torch

from isthmus.data.bag_files import read_bags
from isthmus.data.bags import bags_of
from isthmus.data.source import Source
from isthmus.errors import DataError, InputError, ModelError, RecipeError
from isthmus.slides import Encoder, encode, encoder, open_slide, read_tile, tile
from isthmus.slides.colour import STAINS, WIDTH, colour, density
from isthmus.slides.encode import identity_of
from isthmus.slides.networks import MEAN, SD, Network, SmallCNN
from made_slides import MPP, noise, pyramid, tissue

pytest.importorskip("openslide")
pytest.importorskip("tifffile")


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = pyramid(tmp_path_factory.mktemp("encode") / "s.tif", noise(512, 768))
    with open_slide(path) as found:
        yield found


@pytest.fixture(scope="module")
def tiles(slide):
    return tile(slide, mpp=MPP, size=64, min_tissue=0)


def means(x):
    """An encoder whose features say which pixels it saw."""
    return x.reshape(len(x), -1, 3).mean(axis=1)


MEANS = Encoder("means", "means", means)


def stored(path):
    with h5py.File(path) as file:
        return file["features"][()], file["coords"][()], dict(file["features"].attrs), dict(file["coords"].attrs)


# ---- the file


def test_features_are_those_of_the_tiles_in_tridents_layout(slide, tiles, tmp_path):
    features, coords, said, placed = stored(encode(slide, tiles, MEANS, out=tmp_path / "s.h5", batch=7))
    wanted = [read_tile(slide, tuple(c), side=64, size=64).reshape(-1, 3).mean(axis=0) for c in tiles.coords.tolist()]
    np.testing.assert_allclose(features, wanted, rtol=1e-6)
    np.testing.assert_array_equal(coords, tiles.coords)
    assert features.dtype == np.float32
    assert (said["name"], said["encoder"], said["patch_size"], said["mpp"]) == ("s", "means", 64, MPP)
    assert placed["patch_size_level0"] == 64
    assert [p.name for p in tmp_path.iterdir()] == ["s.h5"]


def test_half_precision_and_no_tiles(slide, tiles, tmp_path):
    whole = stored(encode(slide, tiles, MEANS, out=tmp_path / "a.h5"))[0]
    half = stored(encode(slide, tiles, MEANS, out=tmp_path / "b.h5", half=True))[0]
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, whole, rtol=1e-3)
    none = tile(slide, mpp=MPP, size=2000, min_tissue=0)
    assert stored(encode(slide, none, MEANS, out=tmp_path / "c.h5"))[0].shape == (0, 3)
    large = Encoder("large", "large", lambda x: np.full((len(x), 2), 1e6))
    with pytest.raises(DataError, match="half precision"):
        encode(slide, tiles, large, out=tmp_path / "d.h5", half=True)
    assert not (tmp_path / "d.h5").exists()


def test_a_killed_run_goes_on_where_it_was_and_gives_the_same(slide, tiles, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["isthmus.slides.encode"], "CHUNK", 20)
    seen = []

    def counting(x):
        seen.append(len(x))
        if len(seen) == 8:
            raise KeyboardInterrupt
        return means(x)

    whole = stored(encode(slide, tiles, MEANS, out=tmp_path / "whole.h5", batch=10))[0]
    with pytest.raises(KeyboardInterrupt):
        encode(slide, tiles, Encoder("means", "means", counting), out=tmp_path / "s.h5", batch=10)
    assert not (tmp_path / "s.h5").exists()
    (tmp_path / ".s.h5.parts" / ".half.npy").write_bytes(b"torn")  # what a kill within a write leaves
    left = len(seen)
    encode(slide, tiles, Encoder("means", "means", counting), out=tmp_path / "s.h5", batch=10)
    assert sum(seen[left:]) == len(tiles) - 60  # three chunks of twenty were saved
    np.testing.assert_array_equal(stored(tmp_path / "s.h5")[0], whole)
    assert {p.name for p in tmp_path.iterdir()} == {"whole.h5", "s.h5"}


def test_chunks_of_another_encoder_are_not_gone_on_with(slide, tiles, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["isthmus.slides.encode"], "CHUNK", 20)

    def stopped(x):
        raise KeyboardInterrupt

    wrong = Encoder("zeros", "zeros", lambda x: np.zeros((len(x), 3)) if x.shape[0] == 20 else stopped(x))
    with pytest.raises(KeyboardInterrupt):
        encode(slide, tiles, wrong, out=tmp_path / "s.h5", batch=20)
    assert stored(encode(slide, tiles, MEANS, out=tmp_path / "s.h5", batch=20))[0].all()


def test_a_run_that_goes_on_with_other_batches_gives_each_tile_once(slide, tiles, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["isthmus.slides.encode"], "CHUNK", 20)
    whole = stored(encode(slide, tiles, MEANS, out=tmp_path / "whole.h5"))[0]
    calls = iter(range(3))
    stopping = Encoder("means", "means", lambda x: means(x) if next(calls, None) is not None else [][0])
    with pytest.raises(IndexError):
        encode(slide, tiles, stopping, out=tmp_path / "s.h5", batch=10)
    np.testing.assert_array_equal(stored(encode(slide, tiles, MEANS, out=tmp_path / "s.h5", batch=7))[0], whole)


def test_what_is_encoded_is_left_and_what_is_other_is_not_replaced_unasked(slide, tiles, tmp_path):
    out = encode(slide, tiles, MEANS, out=tmp_path / "s.h5")
    before = out.stat().st_mtime_ns
    encode(slide, tiles, Encoder("means", "means", lambda x: 1 / 0), out=out)
    assert out.stat().st_mtime_ns == before
    other = Encoder("twice", "twice", lambda x: 2 * means(x))
    with pytest.raises(RecipeError, match="holds other features"):
        encode(slide, tiles, other, out=out)
    first = stored(out)[0]
    np.testing.assert_allclose(stored(encode(slide, tiles, other, out=out, overwrite=True))[0], 2 * first)
    out.write_text("damaged")
    with pytest.raises(DataError, match="no whole HDF5"):
        encode(slide, tiles, MEANS, out=out)
    np.testing.assert_array_equal(stored(encode(slide, tiles, MEANS, out=out, overwrite=True))[0], first)


@pytest.mark.parametrize(
    ("function", "said"),
    [(lambda x: x, "no row of numbers"), (lambda x: means(x)[:-1], "no row of numbers"),
     (lambda x: means(x) * np.nan, "not finite"), (lambda x: means(x).astype(str), "no row of numbers")],
)  # fmt: skip
def test_an_encoder_that_gives_no_features_is_told(slide, tiles, tmp_path, function, said):
    with pytest.raises(DataError, match=said):
        encode(slide, tiles, Encoder("wrong", "wrong", function), out=tmp_path / "s.h5")
    assert not (tmp_path / "s.h5").exists()


def test_the_reader_of_bags_takes_it(slide, tiles, tmp_path, monkeypatch):
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "features").mkdir()
    for name in ("a", "b"):
        encode(slide, tiles, MEANS, out=tmp_path / "features" / f"{name}.h5")
    found = read_bags(tmp_path / "features", Source(path=str(tmp_path / "features")))
    assert found.obs_names.tolist() == ["a", "b"]
    features = stored(tmp_path / "features" / "a.h5")[0]
    np.testing.assert_allclose(found.X[0], features.mean(axis=0), rtol=1e-6)
    assert bags_of(found).lengths.tolist() == [len(tiles)] * 2


# ---- colour and texture


def test_moments_and_histograms_are_those_of_the_pixels():
    x = noise(32, 32)
    found = colour(x[None])[0]
    flat = x.reshape(-1, 3) / 255
    np.testing.assert_allclose(found[:3], flat.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found[3:6], flat.std(axis=0), rtol=1e-5)
    skew = ((flat - flat.mean(axis=0)) ** 3).mean(axis=0) / flat.std(axis=0) ** 3
    np.testing.assert_allclose(found[6:9], skew, atol=1e-5)
    counted = np.concatenate([np.histogram(x[..., c], bins=8, range=(0, 256))[0] / 1024 for c in range(3)])
    np.testing.assert_allclose(found[9:33], counted, atol=1e-7)


def test_stains_come_back_from_the_colours_that_they_make():
    """Beer and Lambert: light through amounts of the three stains, to the eighth bit and back."""
    amounts = np.random.default_rng(0).uniform(0, 0.5, (10, 10, 3))
    unit = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
    x = np.clip(np.rint(256 * 10 ** -(amounts @ unit) - 1), 0, 255).astype(np.uint8)
    assert np.abs(density(x) - amounts).max() < 0.03


def test_texture_is_zero_where_nothing_changes_and_that_of_a_ramp():
    flat = colour(np.full((1, 32, 32, 3), 128, np.uint8))[0]
    assert (flat[3:9] == 0).all()
    assert (flat[-9:] == 0).all()
    ramp = np.repeat(np.broadcast_to(np.arange(0, 128, 4, dtype=np.uint8), (32, 32))[..., None], 3, axis=2)
    found = colour(ramp[None])[0][-9:].reshape(3, 3)
    np.testing.assert_allclose(found[:, 0], np.array([4, 8, 16]) / 255, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], 0, atol=1e-6)


def test_each_tile_has_its_own_features():
    x = np.stack([noise(16, 16, seed) for seed in range(5)])
    assert colour(x).shape == (5, WIDTH)
    np.testing.assert_array_equal(colour(x)[3], colour(x[3:4])[0])
    assert colour(x[:0]).shape == (0, WIDTH)
    assert np.isfinite(colour(np.zeros((1, 8, 8, 3), np.uint8))).all()


# ---- networks


def test_the_small_network_is_the_same_for_a_seed_and_tells_textures_apart():
    x = np.stack([noise(32, 32), np.full((32, 32, 3), 128, np.uint8)])
    one, same, other = (encoder("small_cnn", device="cpu", seed=s)(x) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    assert one.shape == (2, 224)
    assert np.linalg.norm(one[0] - one[1]) > 0.1 * np.linalg.norm(one[1])
    assert np.isfinite(encoder("small_cnn", device="cpu")(x[:, :8, :8])).all()


def test_a_network_sees_standardised_colours_of_the_size_asked_for():
    seen = []

    def look(x):
        seen.append(x)
        return x.mean(dim=(2, 3))

    x = np.full((2, 16, 16, 3), 51, np.uint8)
    found = Network(look, normalise="imagenet", resize=None, device="cpu")(x)
    np.testing.assert_allclose(found[0], (0.2 - np.array(MEAN)) / np.array(SD), rtol=1e-5)
    np.testing.assert_allclose(Network(look, normalise="unit", resize=8, device="cpu")(x), 0.2, rtol=1e-5)
    assert [tuple(s.shape) for s in seen] == [(2, 3, 16, 16), (2, 3, 8, 8)]


def test_torchscript_and_exported_programs_are_the_networks_that_they_were_made_of(tmp_path):
    module = SmallCNN(seed=3)
    x = np.stack([noise(32, 32, s) for s in range(4)])
    wanted = Network(module, normalise="imagenet", resize=None, device="cpu")(x)
    with _quiet():
        torch.jit.trace(module, torch.zeros(2, 3, 32, 32)).save(tmp_path / "net.pt")
    with _quiet():
        batch = torch.export.Dim("batch", min=1, max=4096)
        program = torch.export.export(module, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
        torch.export.save(program, tmp_path / "net.pt2")
    for name in ("net.pt", "net.pt2"):
        made = encoder(str(tmp_path / name), device="cpu")
        assert made.name == name
        np.testing.assert_allclose(made(x), wanted, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(made(x[:1]), wanted[:1], rtol=1e-5, atol=1e-6)
    assert str(tmp_path) not in made.identity


@contextmanager
def _quiet():
    """torch says that TorchScript is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_a_function_of_yours_is_an_encoder(tmp_path, monkeypatch):
    (tmp_path / "my_encoder.py").write_text(
        "import torch\n"
        "def red(x):\n    return torch.tensor(x[..., 0].reshape(len(x), -1).mean(1, keepdims=True))\n"
        "def broken(x):\n    raise IndexError('no such thing')\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    x = np.stack([noise(8, 8)])
    np.testing.assert_allclose(encoder("my_encoder:red")(x), [[x[..., 0].mean()]], rtol=1e-6)
    with pytest.raises(DataError, match="raised IndexError: no such thing"):
        encoder("my_encoder:broken")(x)
    for name, said in (
        ("my_encoder:blue", "no such name"),
        ("my_encoder:number", "not callable"),
        ("nowhere:f", "import"),
    ):
        with pytest.raises(InputError, match=said):
            encoder(name)


def test_models_of_timm_and_hugging_face_come_from_local_files_alone(tmp_path, monkeypatch):
    asked = []

    class Tokens(torch.nn.Module):
        def forward(self, x):
            return types.SimpleNamespace(last_hidden_state=torch.stack([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1))

    def create_model(name, **keys):
        asked.append((name, keys))
        return SmallCNN(seed=1)

    def from_pretrained(folder, **keys):
        asked.append((folder, keys))
        return Tokens()

    monkeypatch.setitem(sys.modules, "timm", types.SimpleNamespace(create_model=create_model))
    hugging = types.SimpleNamespace(AutoModel=types.SimpleNamespace(from_pretrained=from_pretrained))
    monkeypatch.setitem(sys.modules, "transformers", hugging)
    (tmp_path / "w.safetensors").write_bytes(b"weights")
    (tmp_path / "vit").mkdir()
    (tmp_path / "vit" / "config.json").write_text("{}")
    x = np.stack([noise(16, 16)])
    named = encoder("timm:vit_tiny", weights=tmp_path / "w.safetensors", device="cpu", normalise="unit")
    np.testing.assert_array_equal(named(x), Network(SmallCNN(seed=1), normalise="unit", resize=None, device="cpu")(x))
    assert asked[0][1]["pretrained"] is False
    face = encoder(f"hf:{tmp_path / 'vit'}", device="cpu", normalise="unit")
    np.testing.assert_allclose(face(x)[0], x[0].reshape(-1, 3).mean(axis=0) / 255, rtol=1e-5)
    assert asked[1][1] == {"local_files_only": True, "trust_remote_code": False}
    assert (named.name, face.name) == ("timm:vit_tiny", "hf:vit")
    with pytest.raises(RecipeError, match="local file"):
        encoder("timm:vit_tiny")


def test_encoders_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    weights = tmp_path / "w.pt"
    with _quiet():
        torch.save({"a": torch.zeros(2)}, weights)
    (tmp_path / "text.pt2").write_text("no program")
    for name, keys, kind, said in (
        ("color", {}, RecipeError, "did you mean 'colour'"), ("absent.pt", {}, DataError, "no such file"),
        (str(weights), {}, ModelError, "no TorchScript"),
        (str(tmp_path / "text.pt2"), {}, ModelError, "no torch.export"),
        ("timm:x", {"weights": weights}, InputError, "needs the package timm"),
        (f"hf:{tmp_path}", {}, InputError, "needs the package transformers"),
        ("hf:absent", {}, DataError, "no such folder"),
        ("small_cnn", {"device": "abacus"}, InputError, "no device"),
        ("colour", {"weights": weights}, RecipeError, "timm"),
        ("small_cnn", {"resize": 1}, RecipeError, "side"), ("small_cnn", {"normalise": "z"}, RecipeError, "imagenet"),
    ):  # fmt: skip
        with pytest.raises(kind, match=said) as error:
            encoder(name, **keys)
        assert len(str(error.value).splitlines()) <= 3


def test_the_identity_of_a_network_is_of_its_settings_and_of_its_file(tmp_path):
    found = {
        encoder("small_cnn", device="cpu", **k).identity
        for k in ({}, {"seed": 1}, {"resize": 32}, {"normalise": "unit"})
    }
    assert len(found) == 4
    assert json.loads(found.pop())["name"] == "small_cnn"


def test_the_identity_of_a_function_is_of_its_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "shown_encoder.py").write_text("from own_encoder import f\n")
    found = set()
    for text in ("f = lambda x: x\n", "f = lambda x: 2 * x  # another\n"):
        (tmp_path / "own_encoder.py").write_text(text)
        for name in ("own_encoder", "shown_encoder"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        found |= {encoder(f"{m}:f").identity for m in ("own_encoder", "shown_encoder")}
    assert len(found) == 4


def test_a_slide_that_was_replaced_is_encoded_anew(tmp_path):
    """Another picture of the same name and size."""
    found = set()
    for seed in range(2):
        path = pyramid(tmp_path / "s.tif", noise(128, 128, seed))
        os.utime(path, (10**9 + seed, 10**9 + seed))
        with open_slide(path) as slide:
            found.add(identity_of(slide, tile(slide, mpp=MPP, size=64, min_tissue=0), MEANS))
    assert len(found) == 2


def test_tissue_and_glass_are_apart_in_both_built_in_encoders():
    """The direction that any encoder has to get right: tiles of a kind are nearer to each other than to the other."""
    x = tissue(256, 256, boxes=((0, 0, 256, 128),))
    blocks = np.stack([x[r : r + 64, c : c + 64] for r in (0, 64, 128, 192) for c in (0, 64, 128, 192)])
    kind = np.tile([True, True, False, False], 4)
    for name in ("colour", "small_cnn"):
        z = encoder(name, device="cpu")(blocks) if name == "small_cnn" else encoder(name)(blocks)
        distance = np.linalg.norm(z[:, None] - z[None], axis=2)
        same = kind[:, None] == kind[None]
        assert distance[same].max() < 0.5 * distance[~same].min()
