"""Tiles of slides whose every pixel is known, and files of TRIDENT's and CLAM's layouts."""

from __future__ import annotations

import dataclasses
import math

import h5py
import numpy as np
import pytest
from PIL import Image

from isthmus.errors import DataError, RecipeError
from isthmus.slides import open_slide, read_tiles, tile
from isthmus.slides.overview import OUTLINE, TILE, overview
from isthmus.slides.tiles import Tissue, plan
from made_slides import MPP, noise, pyramid, tissue

pytest.importorskip("openslide")
pytest.importorskip("tifffile")


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = pyramid(tmp_path_factory.mktemp("tiles") / "s.tif", tissue(boxes=((0, 0, 512, 768),)))
    with open_slide(path) as found:
        yield found


def test_every_tile_of_a_grid_in_order(slide):
    tiles = tile(slide, mpp=MPP, size=256, min_tissue=0)
    assert tiles.coords.tolist() == [[x, y] for y in range(0, 1024, 256) for x in range(0, 1536, 256)]
    assert (tiles.side, tiles.size, tiles.mpp) == (256, 256, MPP)


def test_tiles_at_half_the_scale_that_hold_tissue(slide):
    """Tissue is the upper left 768 x 512; a tile spans 256 pixels of level 0 at 128 pixels a side."""
    tiles = tile(slide, mpp=2 * MPP, size=128, min_tissue=0.9, tissue=Tissue(hole=0))
    assert (tiles.side, tiles.mpp) == (256, 2 * MPP)
    assert tiles.coords.tolist() == [[x, y] for y in (0, 256) for x in (0, 256, 512)]
    assert (tiles.share > 0.97).all()


def test_overlap_moves_corners_and_share_keeps_the_right_ones(slide):
    tiles = tile(slide, mpp=2 * MPP, size=128, overlap=64, min_tissue=0.75, tissue=Tissue(hole=0))
    assert tiles.coords.tolist() == [[x, y] for y in (0, 128, 256) for x in (0, 128, 256, 384, 512)]
    half = tile(slide, mpp=2 * MPP, size=128, overlap=64, min_tissue=0.4, tissue=Tissue(hole=0))
    edges = {tuple(c) for c in half.coords.tolist()} - {tuple(c) for c in tiles.coords.tolist()}
    assert edges == {(640, y) for y in (0, 128, 256)} | {(x, 384) for x in (0, 128, 256, 384, 512)}


def test_areas_are_in_square_microns(slide):
    """The tissue is 768 x 512 pixels of a quarter of a micron: 24,576 square microns."""
    found = [len(tile(slide, mpp=MPP, size=256, tissue=Tissue(speck=a))) for a in (24_000.0, 25_500.0)]
    assert found == [6, 0]


def test_a_scale_that_is_no_whole_multiple_is_rounded_once(slide):
    tiles = tile(slide, mpp=0.6, size=100, min_tissue=0)
    assert tiles.side == 240
    assert tiles.coords[1].tolist() == [240, 0]
    tiles = tile(slide, mpp=0.601, size=100, overlap=10, min_tissue=0)
    assert tiles.side == 240
    assert tiles.coords[1].tolist() == [240 - 24, 0]
    assert tiles.mpp == pytest.approx(0.6)


def test_a_slide_without_a_scale_is_an_error_unless_it_is_given(tmp_path):
    path = pyramid(tmp_path / "s.tif", tissue(), mpp=None)
    with open_slide(path) as slide, pytest.raises(DataError, match="--slide-mpp") as error:
        tile(slide)
    assert "s.tif" in str(error.value)
    with open_slide(path, mpp=MPP) as slide:
        assert tile(slide, min_tissue=0).side == 512


def test_detail_that_was_not_scanned_is_not_made_up(tmp_path):
    with open_slide(pyramid(tmp_path / "s.tif", tissue(), mpp=0.5)) as slide:
        with pytest.raises(DataError, match="coarser than the tiles asked for"):
            tile(slide, mpp=0.25)
        assert tile(slide, mpp=0.499, min_tissue=0).side == 255


@pytest.mark.parametrize(
    "wrong", [{"size": 2}, {"overlap": 256}, {"overlap": -1}, {"min_tissue": 1.5}, {"mpp": 0}, {"mpp": math.nan}]
)
def test_numbers_out_of_range_are_refused(slide, wrong):
    with pytest.raises(RecipeError):
        tile(slide, **wrong)


# ---- files


def test_a_file_comes_back_as_it_went(slide, tmp_path):
    tiles = tile(slide, mpp=2 * MPP, size=128)
    back = read_tiles(tiles.write(tmp_path / "s_patches.h5"), slide)
    np.testing.assert_array_equal(back.coords, tiles.coords)
    np.testing.assert_array_equal(back.share, tiles.share)
    assert (back.size, back.side, back.mpp) == (tiles.size, tiles.side, tiles.mpp)


def test_tridents_own_arithmetic_on_our_file_gives_our_tiles(slide, tmp_path):
    """WSIPatcher: side in level 0 = round(patch_size * (10 / target) / (10 / source))."""
    for mpp, size in ((0.5, 128), (0.601, 100), (0.26, 250)):
        tiles = tile(slide, mpp=mpp, size=size, min_tissue=0)
        with h5py.File(tiles.write(tmp_path / "t.h5")) as file:
            said = dict(file["coords"].attrs)
            assert file["coords"].shape == (len(tiles), 2)
        assert round(said["patch_size"] * said["level0_magnification"] / said["target_magnification"]) == tiles.side
        assert {"patch_size_level0", "overlap", "name", "level0_width", "level0_height"} <= set(said)


def test_clam_is_told_a_level_only_where_the_tiles_are_of_that_level(slide, tmp_path):
    """CLAM reads patch_size pixels of patch_level: as much of the slide as the tile spans, or no attribute."""
    for mpp, size, level in ((MPP, 256, 0), (2 * MPP, 128, 1), (0.3, 128, None)):
        said = tile(slide, mpp=mpp, size=size, min_tissue=0).attributes
        assert said.get("patch_level") == level
        if level is not None:
            assert said["downsample"][0] * said["patch_size"] == said["patch_size_level0"]


def written(path, coords, **attributes):
    with h5py.File(path, "w") as file:
        file.create_dataset("coords", data=np.asarray(coords)).attrs.update(attributes)
    return path


def test_tridents_coordinates_are_read(slide, tmp_path):
    path = written(
        tmp_path / "t.h5", [[0, 0], [512, 256]], patch_size=256, patch_size_level0=512, level0_magnification=40,
        target_magnification=20, overlap=0, name="s", savetodir="/elsewhere", level0_width=1536, level0_height=1024,
    )  # fmt: skip
    tiles = read_tiles(path, slide)
    assert (tiles.size, tiles.side, tiles.mpp) == (256, 512, 0.5)
    assert tiles.coords.tolist() == [[0, 0], [512, 256]]
    assert "savetodir" not in tiles.attributes


def test_clams_coordinates_are_read_with_the_slide_and_not_without(slide, tmp_path):
    path = written(tmp_path / "c.h5", [[0, 0], [512, 256]], patch_size=200, patch_level=1, downsample=[2.0, 2.0])
    tiles = read_tiles(path, slide)
    assert (tiles.size, tiles.side, tiles.mpp) == (200, 400, 0.5)
    with pytest.raises(DataError, match="scale"):
        read_tiles(path)
    old = written(tmp_path / "o.h5", [[0, 0]], patch_size=100, patch_level=1, custom_downsample=2)
    assert (read_tiles(old, slide).size, read_tiles(old, slide).side) == (100, 400)


def test_other_shapes_and_wrong_files(slide, tmp_path):
    scale = {"patch_size": 256, "level0_magnification": 40, "target_magnification": 20}
    assert len(read_tiles(written(tmp_path / "a.h5", [[[0, 0], [5, 5]]], **scale), slide)) == 2
    assert len(read_tiles(written(tmp_path / "b.h5", np.empty((0,)), **scale), slide)) == 0
    (tmp_path / "text.h5").write_text("coords")
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["cords"] = np.zeros((3, 2))
    for path, said in (
        (written(tmp_path / "c.h5", [[0, 0, 0]], **scale), "N x 2"),
        (written(tmp_path / "d.h5", [[0, 0]]), "size of a tile"),
        (written(tmp_path / "e.h5", [[0, 5000]], **scale), "outside s.tif"), (tmp_path / "text.h5", "no whole HDF5"),
        (tmp_path / "none.h5", "no coordinates"), (tmp_path / "absent.h5", "no tiles"),
        (written(tmp_path / "f.h5", [[0, 0]], patch_size=256, patch_level=7), "level that the slide lacks"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=said) as error:
            read_tiles(path, slide)
        assert path.name in str(error.value)


# ---- the picture


def test_the_overview_outlines_tissue_and_draws_tiles_where_they_are(slide):
    tiles, image, mask = plan(slide, mpp=MPP, size=256, overlap=0, min_tissue=0.9, tissue=Tissue(hole=0))
    tiles = dataclasses.replace(tiles, coords=tiles.coords[:1], share=tiles.share[:1])
    before = image.copy()
    found = np.asarray(overview(image, mask, tiles, slide.size))
    np.testing.assert_array_equal(image, before)
    assert (found[0, 0] == TILE).all()
    assert (found[255, 100] == TILE).all()
    assert (found[100, 255] == TILE).all()
    np.testing.assert_array_equal(found[10:250, 10:250], image[10:250, 10:250])
    blue = (found == OUTLINE).all(axis=2)
    assert blue[300, 760:770].any()
    assert not blue[530:].any()


def test_a_plain_image_is_tiled_as_a_slide_is(tmp_path):
    x = noise(300, 400)
    Image.fromarray(x).save(tmp_path / "s.png")
    with open_slide(tmp_path / "s.png", mpp=0.5) as slide:
        tiles = tile(slide, mpp=0.5, size=100, min_tissue=0)
    assert len(tiles) == 12
