"""Images as a modality: of a fitted model, of a run, of `apply`."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch

import isthmus as ist
from isthmus.cli import main
from isthmus.config import Network
from isthmus.data.cohort import build, take_samples
from isthmus.data.images import flat
from isthmus.errors import DataError, RecipeError
from isthmus.experiment import run
from isthmus.nn.convolution import ImageDecoder, ImageEncoder, convolutions, flat_width
from isthmus.nn.joint import reconstruction_weights
from isthmus.recipe import parse_recipe
from isthmus.training.settings import Training
from isthmus.types import Modality, Spec

SMALL = {"latent": 4, "hidden": (32,), "channels": 4, "dropout": 0.0}
QUICK = Training(epochs=4, batch_size=32, patience=None)


def cohort(n=60, shape=(10, 13, 3), *, dtype=np.uint8, absent=0, seed=0):
    """Bytes (or 0..1) that follow three factors, and a table of the same; the first `absent` samples have no image."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(n, 3))
    down, across = np.linspace(0, 3, shape[0])[:, None, None], np.linspace(0, 3, shape[1])[None, :, None]
    waves = np.stack([np.sin(down + k * across + np.arange(shape[2])) for k in range(3)])
    x = 128 + 25 * np.tensordot(factors, waves, 1) + rng.normal(size=(n, *shape)) * 3
    x = np.clip(x, 0, 255)
    x = x.astype(dtype) if np.dtype(dtype).kind in "iu" else (x / 255).astype(dtype)
    ids = [f"s{i:03d}" for i in range(n)]
    rna = pd.DataFrame(factors @ rng.normal(size=(3, 12)) + 0.1 * rng.normal(size=(n, 12)), index=ids)
    image = ad.AnnData(obs=pd.DataFrame(index=ids[absent:]), obsm={"image": x[absent:]})
    return ist.read({"rna": rna.add_prefix("g"), "image": image})


@pytest.fixture(scope="module")
def fitted():
    return ist.fit(
        ist.VAE(**SMALL, beta=0.01), cohort(), training=Training(epochs=60, batch_size=32, lr=5e-3, patience=None)
    )


def test_an_image_vae_beats_pca_and_finds_the_factors():
    mdata = ist.simulate(n=300, modalities={}, images=16, shared=4, private=0, seed=0)
    train, test = ist.split(mdata, (0.75, 0.25), seed=0)
    model = ist.VAE(latent=4, beta=0.3, hidden=(64,), channels=8, dropout=0.0)
    fitted = ist.fit(model, train, training=Training(epochs=70, batch_size=32, lr=5e-3, patience=None))
    x, start = flat(test.mod["image"]), flat(train.mod["image"])
    guess = flat(fitted.reconstruct(test).mod["image"])
    mean = start.mean(axis=0)
    basis = np.linalg.svd(start - mean, full_matrices=False)[2][:4]
    pca = mean + (x - mean) @ basis.T @ basis
    ours, theirs = (1 - ((x - g) ** 2).sum() / ((x - mean) ** 2).sum() for g in (guess, pca))
    assert ours > max(0.8, theirs + 0.05)
    place = pd.DataFrame(fitted.embed(mdata).X, index=mdata.obs_names)
    factors = mdata.uns["truth"]["factors"].loc[mdata.obs_names].to_numpy()[:, :4]
    design = lambda ids: np.c_[np.ones(len(ids)), place.loc[ids], place.loc[ids] ** 2]  # noqa: E731
    rows = mdata.obs_names.get_indexer
    coefficients = np.linalg.lstsq(design(train.obs_names), factors[rows(train.obs_names)], rcond=None)[0]
    truth = factors[rows(test.obs_names)]
    left = truth - design(test.obs_names) @ coefficients
    assert (1 - left.var(axis=0) / truth.var(axis=0)).mean() > 0.7


def test_everything_comes_back_as_images_of_the_type_that_went_in(fitted):
    mdata = cohort()
    z = np.zeros((2, 4), np.float32)
    found = {
        "reconstruct": fitted.reconstruct(mdata).mod["image"],
        "translate": fitted.translate(mdata, "rna", "image"),
        "sample": fitted.sample(3).mod["image"],
        "decode": fitted.decode(z).mod["image"],
        "traverse": fitted.traverse(0, steps=5).mod["image"],
        "impute": fitted.impute(mdata).mod["image"],
    }
    for name, adata in found.items():
        assert adata.n_vars == 0, name
        assert adata.obsm["image"].shape[1:] == (10, 13, 3), name
        assert adata.obsm["image"].dtype == np.uint8, name
    x = mdata.mod["image"].obsm["image"].astype(float)
    error = ((found["reconstruct"].obsm["image"] - x) ** 2).mean() / x.var(axis=0).mean()
    assert error < 0.15
    np.testing.assert_array_equal(found["impute"].obsm["image"], x)


def test_an_absent_image_is_filled_within_its_bounds(fitted):
    whole, part = cohort(), cohort(absent=20)
    found = fitted.impute(part).mod["image"]
    assert list(found.obs_names) == list(part.obs_names)
    rows = found.obs_names.isin(part.mod["image"].obs_names)
    marks, low, high = (found.obsm[k].astype(float) for k in ("imputed", "lower", "upper"))
    assert (marks[rows] == 0).all()
    assert (marks[~rows] == 1).all()
    image = found.obsm["image"].astype(float)
    assert (low <= image).all()
    assert (image <= high).all()
    truth = whole.mod["image"][found.obs_names].obsm["image"].astype(float)
    np.testing.assert_array_equal(image[rows], truth[rows])
    assert np.corrcoef(image[~rows].ravel(), truth[~rows].ravel())[0, 1] > 0.8
    assert ((low <= truth) & (truth <= high))[~rows].mean() > 0.8


def test_a_missing_pixel_is_neither_read_nor_changed_elsewhere():
    mdata = cohort(dtype=np.float32)
    image = mdata.mod["image"].obsm["image"]
    image[np.random.default_rng(1).random(image.shape) < 0.2] = np.nan
    fitted = ist.fit(ist.MaskedAutoencoder(**SMALL), mdata, training=QUICK)
    full = fitted.impute(mdata).mod["image"].obsm["image"]
    assert np.isfinite(full).all()
    np.testing.assert_array_equal(full[~np.isnan(image)], image[~np.isnan(image)])
    assert full.min() >= np.nanmin(image)
    assert full.max() <= np.nanmax(image)


def test_the_model_directory_knows_images(fitted, tmp_path):
    mdata = cohort()
    fitted.save(tmp_path / "model")
    loaded = ist.load(tmp_path / "model")
    assert loaded.spec == fitted.spec
    assert loaded.spec["image"].shape == (10, 13, 3)
    np.testing.assert_array_equal(loaded.embed(mdata).X, fitted.embed(mdata).X)
    again, first = (f.translate(mdata, "rna", "image").obsm["image"] for f in (loaded, fitted))
    np.testing.assert_array_equal(again, first)
    learnt = json.loads((tmp_path / "model" / "model.json").read_text())
    assert "y0_x0_c0" not in json.dumps(learnt["prepare"])


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "poisson"])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_likelihoods_and_norms_learn_images(likelihood, norm):
    mdata = cohort(shape=(9, 8, 1))
    del mdata.mod["rna"]
    only = build({"image": mdata.mod["image"]})
    fitted = ist.fit(
        ist.Autoencoder(**SMALL, norm=norm), only, likelihood={"image": likelihood},
        training=Training(epochs=40, batch_size=32, lr=1e-2, patience=None),
    )  # fmt: skip
    found, x = fitted.reconstruct(only).mod["image"].obsm["image"], only.mod["image"].obsm["image"].astype(float)
    assert found.dtype == np.uint8
    assert ((found - x) ** 2).mean() < 0.6 * x.var(axis=0).mean()


def test_what_is_not_like_the_training_images_is_refused(fitted):
    ids = pd.DataFrame(index=["a", "b"])

    def image(x):
        return {"image": ad.AnnData(obs=ids, obsm={"image": x})}

    with pytest.raises(DataError, match="images of another size; met '10 x 12 x 3'; wanted 10 x 13 x 3"):
        fitted.embed(image(np.zeros((2, 10, 12, 3), np.uint8)))
    with pytest.raises(DataError, match="another type; met 'uint16'; wanted uint8"):
        fitted.embed(image(np.zeros((2, 10, 13, 3), np.uint16)))
    with pytest.raises(DataError, match="image: is a table"):
        fitted.embed({"image": pd.DataFrame(np.ones((2, 5)), index=["a", "b"]).add_prefix("g")})
    with pytest.raises(DataError, match="rna: holds images"):
        fitted.embed({"rna": image(np.zeros((2, 4, 4), np.uint8))["image"]})


def test_steps_treat_pixels_alike_or_are_refused():
    mdata = cohort()
    with pytest.raises(RecipeError, match=r"prepare\.image.*pixels of an image; met 'top_variance'"):
        ist.fit(ist.VAE(**SMALL), mdata, prepare={"image": [{"top_variance": 50}]}, training=QUICK)
    for steps in (["standardise"], [{"pixels": "channel"}], ["pixels"], []):
        found = ist.prepare.preparation.Preparation.parse({"image": steps}, ["image"]).fit(mdata)
        x = flat(mdata.mod["image"]).astype(np.float32)
        made = found.transform(mdata)["image"]
        np.testing.assert_allclose(found.inverse("image", made.x), x, atol=1e-3)
        if steps == ["pixels"]:
            np.testing.assert_allclose(made.x, x / 255, atol=1e-6)
        if steps == [{"pixels": "channel"}]:
            by_channel = made.x.reshape(60, -1, 3)
            np.testing.assert_allclose(by_channel.mean(axis=0), 0, atol=1e-4)
            np.testing.assert_allclose(by_channel.var(axis=0).mean(axis=0), 1, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "most", "k"),
    [((64, 64, 3), 5, 5), ((32, 32, 1), 5, 4), ((20, 64, 1), 5, 3), ((4, 9, 1), 5, 1), ((1, 7, 2), 5, 1)],
)
def test_convolutions_leave_two_rows_and_go_there_and_back(shape, most, k):
    assert convolutions(shape, most) == k
    config, modality = Network(convolutions=most, channels=4), Modality("image", shape, "image")
    x = torch.randn(2, modality.width)
    encoder, decoder = ImageEncoder(config, modality), ImageDecoder(config, modality, 6)
    assert encoder(x).shape == (2, flat_width(config, modality))
    assert flat_width(config, modality) == 4 * 2 ** (k - 1) * -(-shape[0] // 2**k) * -(-shape[1] // 2**k)
    assert decoder(torch.randn(2, 6)).shape == x.shape


def test_a_pixel_reaches_its_own_neighbourhood_and_no_other():
    config, modality = Network(convolutions=1, channels=2, norm="none"), Modality("image", (6, 9, 2), "image")
    torch.manual_seed(0)
    encoder = ImageEncoder(config, modality)
    x = torch.randn(1, modality.width)
    moved = x.clone()
    moved[0, (4 * 9 + 1) * 2 + 1] += 1.0  # row 4, column 1, channel 1
    changed = (encoder.layers[0](grid(x)) != encoder.layers[0](grid(moved))).any(dim=1)[0]
    assert changed.nonzero().tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]
    assert torch.equal(encoder(x), torch.relu(encoder.layers[0](grid(x))).flatten(1))


def grid(x):
    """Rows of the image above as channels x padded height x padded width."""
    return torch.nn.functional.pad(x.view(1, 6, 9, 2).permute(0, 3, 1, 2), (0, 1, 0, 0))


def test_decoders_crop_and_order_pixels_as_rows_are_ordered():
    config, modality = Network(convolutions=1, channels=2, norm="none"), Modality("image", (5, 9, 3), "image")
    decoder = ImageDecoder(config, modality, 4)
    h = torch.randn(2, 4)
    whole = decoder.layers(torch.relu(decoder.start[0](h)).view(2, 2, 3, 5))
    assert whole.shape == (2, 3, 6, 10)
    out = decoder(h).view(2, 5, 9, 3)
    assert torch.equal(out[1, 3, 7], whole[1, :, 3, 7])


def test_images_and_tables_contribute_alike():
    spec = Spec((Modality("rna", (20,)), Modality("image", (4, 5, 3), "image")))
    weights = reconstruction_weights(ist.VAE(), spec)
    assert weights["rna"] * 20 == weights["image"] * 60 == spec.width / 2


RECIPE = {
    "data": {"simulate": {"n": 60, "modalities": {"rna": 12}, "images": 12, "seed": 0}, "split": {"folds": 2}},
    "model": {"name": "translator", "latent": 4, "hidden": [16], "source": "rna", "target": "image", "channels": 4},
    "training": {"epochs": 8, "batch_size": 32, "seed": 0},
    "evaluate": {"embedding": {"labels": ["class"], "learners": ["logistic"], "baselines": ["pca"]}},
}


def test_a_run_shows_images_and_apply_translates_into_them(tmp_path, capsys):
    run(parse_recipe(RECIPE), tmp_path / "run")
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert scores["reconstruction/test/r2/image"] > -1
    figure = (tmp_path / "run" / "figures" / "images_image.svg").read_text()
    assert figure.count("<image ") == 24  # eight samples: true, reconstructed, from rna alone
    page = (tmp_path / "run" / "report.html").read_text()
    assert "from rna alone" in page
    assert "images of test samples of the first fold and what" in page
    assert "data:image/png;base64," in page
    mdata = ist.simulate(n=20, modalities={"rna": 12}, images=12, seed=0)
    rna = take_samples(mdata, mdata.obs_names).mod["rna"]
    pd.DataFrame(rna.X, rna.obs_names, rna.var_names).to_csv(tmp_path / "rna.csv")
    ends = ["--task", "translate", "--source", "rna", "--target", "image"]
    arguments = ["apply", str(tmp_path / "run"), f"rna={tmp_path / 'rna.csv'}", *ends, "--out"]
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, str(tmp_path / "x.h5ad")])
    found = ad.read_h5ad(tmp_path / "x.h5ad")
    assert found.obsm["image"].shape == (20, 12, 12, 1)
    expected = ist.load(tmp_path / "run" / "model").translate(mdata, "rna", "image").obsm["image"]
    np.testing.assert_array_equal(found.obsm["image"], expected)
    with pytest.raises(SystemExit, match="2"):
        main([*arguments, str(tmp_path / "x.csv")])
    assert "use .h5ad" in capsys.readouterr().err
