"""Otsu against all thresholds tried, holes and specks counted by hand, shares of tiles against counting."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from isthmus.slides import otsu, saturation, tissue_mask
from isthmus.slides.tiles import grid, tissue_share
from made_slides import tissue


def by_trying(values):
    """Otsu's threshold by its definition: the largest variance between what is at most t and what is above."""
    best, chosen = -1.0, int(values.ravel()[0])
    for t in range(256):
        low, high = values[values <= t].astype(float), values[values > t].astype(float)
        if len(low) and len(high):
            between = len(low) * len(high) * (low.mean() - high.mean()) ** 2
            if between > best * (1 + 1e-12):
                best, chosen = between, t
    return chosen


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, st.integers(1, 40)))
def test_otsu_is_the_best_of_all_thresholds(values):
    assert otsu(values) == by_trying(values)


def test_saturation_is_that_of_hsv():
    x = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    x[0, 0] = 0
    wanted = [255 * colorsys.rgb_to_hsv(*(p / 255 for p in map(int, pixel)))[1] for pixel in x.reshape(-1, 3)]
    np.testing.assert_allclose(saturation(x).ravel(), wanted, atol=0.5001)


def test_tissue_is_found_to_the_pixel_or_two():
    mask = tissue_mask(tissue(300, 400, boxes=((50, 60, 200, 300),)))
    wanted = np.zeros((300, 400), bool)
    wanted[50:200, 60:300] = True
    assert (mask ^ wanted).sum() <= 2 * (150 + 240) * 2
    assert mask[52:198, 62:298].all()
    assert not mask[:48].any()


def test_glass_alone_and_ink_are_no_tissue():
    assert not tissue_mask(tissue(200, 200, boxes=())).any()
    x = tissue(200, 200, boxes=((20, 20, 180, 100),))
    x[20:180, 120:180] = (10, 4, 8)
    assert not tissue_mask(x)[:, 115:].any()


def test_small_holes_are_filled_large_ones_and_bays_stay_and_specks_go():
    x = tissue(300, 300, boxes=((20, 20, 280, 280),))
    glass = tissue(300, 300, boxes=())
    for top, left, bottom, right in ((60, 60, 80, 80), (150, 150, 230, 230), (100, 20, 120, 40)):
        x[top:bottom, left:right] = glass[top:bottom, left:right]  # a small hole, a large one, a bay
    x[2:8, 2:8] = (190, 90, 160)  # a speck
    plain = tissue_mask(x)
    mask = tissue_mask(x, speck=100, hole=600)
    assert plain[4, 4]
    assert not plain[70, 70]
    assert not mask[4, 4]
    assert mask[60:80, 60:80].all()
    assert not mask[155:225, 155:225].any()
    assert not mask[105:115, 20:35].any()


def test_a_threshold_that_is_given_is_the_threshold():
    x = np.full((20, 20, 3), 200, np.uint8)
    x[:, 10:, 1] = 180  # saturation 25.5
    assert tissue_mask(x, threshold=20)[:, 13:].all()
    assert not tissue_mask(x, threshold=30).any()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(1, 30), st.integers(1, 12), st.integers(0, 999)
)  # fmt: skip
def test_shares_are_those_of_counting_pixels(height, width, scale, side, step, seed):
    """Where each pixel of the mask spans `scale` pixels of level 0, the share of a tile can be counted."""
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    size = (width * scale, height * scale)
    coords = grid(size, side, step)
    large = mask.repeat(scale, axis=0).repeat(scale, axis=1)
    wanted = [large[y : y + side, x : x + side].mean() for x, y in coords]
    np.testing.assert_allclose(tissue_share(mask, coords, side, size), wanted, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 60), st.integers(1, 60))
def test_a_grid_covers_all_that_whole_tiles_can(width, height, side, step):
    coords = grid((width, height), side, step)
    assert (coords % step == 0).all()
    assert (coords + side <= [width, height]).all()
    assert len(np.unique(coords, axis=0)) == len(coords)
    fits = [max(0, (length - side) // step + 1) if length >= side else 0 for length in (width, height)]
    assert len(coords) == fits[0] * fits[1]


@pytest.mark.parametrize("uneven", [(2, 3), (7, 5)])
def test_a_mask_of_ones_gives_shares_of_one_whatever_the_rounding(uneven):
    coords = grid((1000, 700), 130, 61)
    np.testing.assert_allclose(tissue_share(np.ones(uneven, bool), coords, 130, (1000, 700)), 1.0)
