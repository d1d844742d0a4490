"""Opening slides and reading regions: every pixel is known."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from isthmus.errors import DataError, InputError, MissingExtraError
from isthmus.slides import open_slide, read_tile
from made_slides import MPP, halved, noise, pyramid, tissue

openslide = pytest.importorskip("openslide")
pytest.importorskip("tifffile")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    x = noise()
    return x, pyramid(tmp_path_factory.mktemp("slide") / "p.tif", x, levels=3)


def test_a_pyramid_opens_with_its_levels_and_its_scale(made):
    with open_slide(made[1]) as slide:
        assert slide.name == "p"
        assert slide.levels == ((1536, 1024), (768, 512), (384, 256))
        assert slide.downsamples == (1, 2, 4)
        assert slide.mpp == pytest.approx(MPP)
        assert slide.properties["openslide.vendor"] == "generic-tiff"


@pytest.mark.parametrize(("downsample", "level"), [(0.9, 0), (1, 0), (1.9, 0), (1.99, 1), (2, 1), (3.9, 1), (40, 2)])
def test_the_best_level_is_the_coarsest_that_is_fine_enough(made, downsample, level):
    with open_slide(made[1]) as slide:
        assert slide.best_level(downsample) == level


def test_regions_are_the_pixels_of_their_level(made):
    x, path = made
    levels = [x, halved(x), halved(halved(x))]
    with open_slide(path) as slide:
        for level, pixels in enumerate(levels):
            step = 2**level
            found = slide.read_region((96 * step, 40 * step), level, (70, 50))
            np.testing.assert_array_equal(found, pixels[40:90, 96:166])


def test_outside_the_slide_is_white(made, tmp_path):
    x, path = made
    Image.fromarray(x).save(tmp_path / "p.png")
    wanted = np.full((20, 30, 3), 255)
    wanted[5:, :24] = x[:15, -24:]
    for file in (path, tmp_path / "p.png"):
        with open_slide(file) as slide:
            np.testing.assert_array_equal(slide.read_region((1536 - 24, -5), 0, (30, 20)), wanted)


@pytest.mark.parametrize(("side", "size", "level"), [(256, 256, 0), (512, 256, 1), (256, 64, 2)])
def test_a_tile_at_the_scale_of_a_level_is_that_level_unchanged(made, side, size, level):
    x, path = made
    pixels = [x, halved(x), halved(halved(x))][level]
    at = np.array([256, 128]) // 2**level
    with open_slide(path) as slide:
        found = read_tile(slide, (256, 128), side=side, size=size)
    np.testing.assert_array_equal(found, pixels[at[1] : at[1] + size, at[0] : at[0] + size])


def test_a_tile_between_levels_shows_the_same_place(tmp_path):
    """Three quarters of the scale of level 0: a ramp is the same ramp, read at other places."""
    across = np.linspace(0, 255, 1536)
    x = np.rint(np.repeat(np.broadcast_to(across, (1024, 1536))[..., None], 3, axis=2)).astype(np.uint8)
    with open_slide(pyramid(tmp_path / "ramp.tif", x)) as slide:
        found = read_tile(slide, (300, 200), side=342, size=256)[..., 0].astype(float)
    wanted = (300 + (np.arange(256) + 0.5) * 342 / 256 - 0.5) * 255 / 1535
    assert np.abs(found - wanted).max() < 1.01  # half a grey level each, where the image and the tile are rounded


@pytest.mark.parametrize("kind", ["tif", "png"])
@pytest.mark.parametrize("longest", [1000, 384, 97])
def test_a_thumbnail_is_the_mean_of_what_each_pixel_covers(tmp_path, monkeypatch, kind, longest):
    import isthmus.slides.slide as module

    monkeypatch.setattr(module, "BLOCK", 200)  # several blocks, as of a slide of many gigapixels
    x = tissue(600, 900)
    path = tmp_path / f"s.{kind}"
    pyramid(path, x, levels=1) if kind == "tif" else Image.fromarray(x).save(path)
    with open_slide(path) as slide:
        found = slide.thumbnail(longest)
    scale = 900 / min(longest, 900)
    size = (round(900 / scale), round(600 / scale))
    wanted = np.asarray(Image.fromarray(x).resize(size, Image.Resampling.BOX)).astype(int)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1


def test_the_scale_of_a_plain_tiff_is_read_and_that_of_a_screen_is_not(tmp_path):
    x = Image.fromarray(noise(100, 120))
    x.save(tmp_path / "a.tif", dpi=(25_400 / 0.5, 25_400 / 0.5))
    x.save(tmp_path / "b.tif", dpi=(72, 72))
    x.save(tmp_path / "c.png", dpi=(25_400, 25_400))
    assert open_slide(tmp_path / "a.tif").mpp == pytest.approx(0.5)
    assert open_slide(tmp_path / "b.tif").mpp is None
    assert open_slide(tmp_path / "c.png").mpp is None
    assert open_slide(tmp_path / "c.png", mpp=1).mpp == 1.0


def test_sixteen_bits_grey_and_transparent_images_become_rgb(tmp_path):
    import tifffile

    x = noise(64, 64)
    tifffile.imwrite(tmp_path / "deep.tif", x.astype(np.uint16) * 257, photometric="rgb")
    np.testing.assert_array_equal(open_slide(tmp_path / "deep.tif").read_region((0, 0), 0, (64, 64)), x)
    clear = np.concatenate([x, np.zeros((64, 64, 1), np.uint8)], axis=2)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert (open_slide(tmp_path / "clear.png").read_region((0, 0), 0, (64, 64)) == 255).all()
    Image.fromarray(x[..., 0]).save(tmp_path / "grey.png")
    grey = open_slide(tmp_path / "grey.png").read_region((0, 0), 0, (64, 64))
    np.testing.assert_array_equal(grey, np.repeat(x[..., :1], 3, axis=2))


def test_wrong_files_are_told_in_a_line(made, tmp_path):
    (tmp_path / "text.svs").write_text("no slide\n")
    (tmp_path / "text.png").write_text("no image\n")
    (tmp_path / "slide.czi").write_bytes(b"x")
    whole = made[1].read_bytes()
    (tmp_path / "cut.svs").write_bytes(whole[: len(whole) // 2])
    for name, said in (
        ("text.svs", "openslide cannot open it"), ("text.png", "no whole image file"), ("slide.czi", "known kind"),
        ("cut.svs", "openslide cannot open it"), ("none.svs", "there is no such file"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=said) as error:
            open_slide(tmp_path / name)
        assert name in str(error.value)
        assert len(str(error.value).splitlines()) <= 2


def test_a_slide_whose_pixels_were_cut_off_is_told_when_they_are_read(tmp_path):
    """The directory first, the pixels after: the file opens, and breaks where it was cut."""
    path = pyramid(tmp_path / "p.tif", noise(), levels=1)
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(DataError, match=r"p\.tif"), open_slide(path) as slide:
        slide.read_region((1300, 900), 0, (100, 100))


def test_a_scale_that_no_microscope_has_is_refused(made):
    with pytest.raises(InputError, match="no scale of a microscope"):
        open_slide(made[1], mpp=300)


def test_without_openslide_its_extra_is_named_and_plain_images_are_read(made, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openslide", None)
    (tmp_path / "a.svs").write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=r"isthmus\[wsi\]"):
        open_slide(tmp_path / "a.svs")
    with open_slide(made[1]) as slide:  # a tiled TIFF is a TIFF
        assert slide.levels == ((1536, 1024),)
        assert slide.mpp == pytest.approx(MPP)
        np.testing.assert_array_equal(slide.read_region((0, 0), 0, (1536, 1024)), made[0])
