"""Model directories: nothing in them is ever executed, no bit changes unseen, and old ones open for ever.

`python tests/test_store.py` freezes a fixture for the present format version, once:
a frozen fixture is never made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import isthmus as ist
from isthmus import store
from isthmus.errors import InputError, ModelError

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = range(1, store.FORMAT_VERSION + 1)


def frozen(version: int) -> Path:
    return FIXTURES / f"model-v{version}"


@pytest.fixture
def model(tmp_path):
    """A copy of the newest frozen model."""
    return Path(shutil.copytree(frozen(store.FORMAT_VERSION) / "model", tmp_path / "model"))


def cohort(folder: Path):
    return ist.read({m: folder / f"{m}.csv" for m in ("rna", "cnv")})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_model_of_every_version_opens_and_embeds_as_it_did(version):
    folder = frozen(version)
    assert folder.is_dir(), f"FORMAT_VERSION is {version}: freeze a fixture with python tests/test_store.py"
    assert json.loads((folder / "model/manifest.json").read_text())["format_version"] == version
    fitted, expected = ist.load(folder / "model"), pd.read_csv(folder / "embedding.csv", index_col=0)
    found = fitted.embed(cohort(folder))
    assert list(found.obs_names) == list(expected.index)
    np.testing.assert_allclose(found.X, expected.to_numpy(), atol=1e-4)
    restored = fitted.reconstruct(cohort(folder)).mod["rna"].to_df()
    pd.testing.assert_frame_equal(
        restored, pd.read_csv(folder / "rna-reconstructed.csv", index_col=0), atol=1e-3, check_dtype=False,
        check_names=False,
    )  # fmt: skip
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 200_000


def test_the_fixture_is_as_it_was_frozen():
    """Its sums, taken when it was made: whoever changes a fixture breaks the promise it stands for."""
    sums = {1: "29da236287753c11"}
    for version in VERSIONS:
        files = sorted(f for f in frozen(version).rglob("*") if f.is_file())
        whole = hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()
        assert whole.startswith(sums[version])


# ---- nothing is executed


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)


def disguises(made: Path, folder: Path) -> dict[str, bytes]:
    """Pickles as Python, numpy and torch write them."""
    plain = pickle.dumps(Bomb(made))
    archive = folder / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", plain)
        file.writestr("archive/version", "3\n")
    header = b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(128) + b"\n"
    length = len(plain).to_bytes(8, "little")
    return {"pickle": plain, "torch": archive.read_bytes(), "numpy": header + plain, "header": length + plain}


def put(model: Path, name: str, content: bytes) -> None:
    """Replace a file, and its sum in the manifest."""
    (model / name).write_bytes(content)
    if name != "manifest.json":
        manifest = json.loads((model / "manifest.json").read_text())
        manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
        (model / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("kind", ["pickle", "torch", "numpy", "header"])
@pytest.mark.parametrize("name", [*store.FILES, "manifest.json"])
def test_a_pickle_in_disguise_is_never_executed(model, tmp_path, name, kind):
    made = tmp_path / "made"
    content = disguises(made, tmp_path)[kind]
    put(model, name, content)
    with pytest.raises(ModelError, match=r"is not (a safetensors file|JSON)"):
        ist.load(model)
    assert not made.exists()
    if kind == "pickle":
        pickle.loads(content)
        assert made.exists()  # the bomb is a live one


@pytest.mark.parametrize("name", [*store.FILES, "manifest.json", "extra.pkl"])
def test_files_that_are_not_asked_for_are_not_opened(model, tmp_path, name):
    """A pickle beside the files, whatever it is called, and a file that is a folder or a link to nothing."""
    made = tmp_path / "made"
    (model / "extra.pkl").write_bytes(pickle.dumps(Bomb(made)))
    ist.load(model)
    assert not made.exists()
    (model / name).unlink()
    (model / name).symlink_to(tmp_path / "nothing")
    if name != "extra.pkl":
        with pytest.raises(ModelError, match="is missing"):
            ist.load(model)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("recipe", "model", "name"), "os"),
        (("recipe", "model", "name"), "../../../tmp/evil"),
        (("recipe", "model", "name"), ["vae"]),
        (("recipe", "model", "latent"), 10**12),
        (("recipe", "model", "latent"), "four"),
        (("recipe", "model", "surprise"), 1),
        (("recipe", "model"), None),
        (("recipe",), []),
        (("spec", "modalities"), []),
        (("spec", "modalities", 0, "shape"), [10**9]),
        (("spec", "modalities", 0, "shape"), "10"),
        (("spec", "modalities", 0, "name"), "mirna"),
        (("prepare", "pipelines"), {}),
        (("prepare", "pipelines", "rna", "steps"), [{"step": "os.system"}]),
        (("prepare", "pipelines", "rna", "features"), ["a"]),
        (("prepare",), "x"),
        (("history",), 3),
        (("format_version",), 99),
    ],
)
def test_a_description_that_does_not_fit_is_refused(model, path, value):
    tree = json.loads((model / "model.json").read_text())
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    put(model, "model.json", json.dumps(tree).encode())
    with pytest.raises(InputError) as raised:
        ist.load(model)
    assert len(str(raised.value).splitlines()) <= 3


# ---- no bit changes unseen


def test_any_flipped_bit_of_the_manifest_is_found(model):
    file = model / "manifest.json"
    whole = file.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises(ModelError):
                store.load(model)


@pytest.mark.parametrize("name", store.FILES)
def test_flipped_bits_and_truncation_are_found(model, name):
    file = model / name
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for place in [0, len(whole) - 1, *rng.integers(0, len(whole), 40)]:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(rng.integers(8))]) + whole[place + 1 :])
        with pytest.raises(ModelError, match="sha256"):
            store.load(model)
    for length in [0, 1, len(whole) - 1, *rng.integers(0, len(whole), 10)]:
        file.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="sha256"):
            store.load(model)
    file.write_bytes(whole)
    store.load(model)


def freeze() -> None:
    """Make the fixture of the present version."""
    folder = frozen(store.FORMAT_VERSION)
    if folder.exists():
        raise SystemExit(f"{folder} is frozen")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    ids, z = [f"s{i:02d}" for i in range(40)], rng.normal(size=(40, 2))
    for name, width in (("rna", 8), ("cnv", 5)):
        x = np.exp(0.3 * (z @ rng.normal(size=(2, width)) + 0.3 * rng.normal(size=(40, width)) + 2))
        x[rng.random(x.shape) < 0.05] = np.nan
        pd.DataFrame(x.round(4), ids, [f"{name}{j}" for j in range(width)]).to_csv(folder / f"{name}.csv")
    fitted = ist.fit(
        ist.VAE(latent=2, hidden=(8,)), cohort(folder), training=ist.Training(epochs=20),
        prepare={"rna": ["log1p", {"top_variance": 6}, "standardise"], "cnv": ["robust"]},
    )  # fmt: skip
    fitted.save(folder / "model")
    fitted.embed(cohort(folder)).to_df().to_csv(folder / "embedding.csv")
    fitted.reconstruct(cohort(folder)).mod["rna"].to_df().to_csv(folder / "rna-reconstructed.csv")


if __name__ == "__main__":
    freeze()
