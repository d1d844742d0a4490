"""Weights over a thumbnail against painting them pixel by pixel; the csv; the figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import DataError
from isthmus.plot.slides import slide_heatmap
from isthmus.slides.heatmap import canvas, ranks, read_weights, relative, table
from isthmus.slides.tiles import Tiles


def tiles_at(coords, side=20):
    x = np.asarray(coords, dtype=np.int64).reshape(-1, 2)
    return Tiles(x, side, side, 0.5, np.full(len(x), np.nan))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(4, 40), st.integers(0, 999))
def test_each_pixel_has_the_mean_of_the_tiles_over_it(scale, side, seed):
    rng = np.random.default_rng(seed)
    shape = (17, 23)
    size = (shape[1] * scale, shape[0] * scale)
    coords = rng.integers(0, [max(s - side, 0) + 1 for s in size], (6, 2))
    weights = rng.random(6)
    weights[0] = np.nan
    total, count = np.zeros(shape), np.zeros(shape)
    for (x, y), weight in list(zip(coords, weights, strict=True))[1:]:
        for row in range(shape[0]):
            for column in range(shape[1]):
                across, down = (column + 0.5) * scale, (row + 0.5) * scale
                if x <= across < x + side and y <= down < y + side:
                    total[row, column] += weight
                    count[row, column] += 1
    found = canvas(coords, weights, side, size=size, shape=shape)
    if side >= scale:  # a tile narrower than a pixel takes one, whether or not it covers its centre
        np.testing.assert_allclose(found, np.where(count > 0, total / np.maximum(count, 1), np.nan), atol=1e-9)


def test_a_tile_narrower_than_a_pixel_is_still_seen():
    found = canvas(np.array([[101, 55]]), np.array([2.0]), 3, size=(1000, 500), shape=(50, 100))
    assert np.argwhere(np.isfinite(found)).shape == (1, 2)
    assert np.nanmax(found) == 2


def test_the_table_says_how_often_the_mean_and_which_rank():
    found = table(
        tiles_at([[0, 0], [20, 0], [40, 0]]), {"attention": np.array([0.1, 0.6, 0.3]), "occlusion": np.ones(3)}
    )
    assert found.columns.tolist() == [
        "x",
        "y",
        "side",
        "attention",
        "attention_relative",
        "attention_rank",
        "occlusion",
    ]
    np.testing.assert_allclose(found["attention_relative"], [0.3, 1.8, 0.9])
    np.testing.assert_allclose(found["attention_rank"], [1 / 3, 1, 2 / 3])
    np.testing.assert_array_equal(relative(np.array([-1.0, 1.0])), [-1, 1])
    np.testing.assert_allclose(ranks(np.array([5.0, 5.0])), [0.75, 0.75])


def test_weights_are_placed_by_coordinates_whatever_their_order(tmp_path):
    tiles = tiles_at([[0, 0], [20, 0], [40, 0]])
    given_ = pd.DataFrame({"x": [40, 0, 20, 60], "y": 0, "attention": [3.0, 1.0, 2.0, 9.0], "note": "a"})
    given_.to_csv(tmp_path / "w.csv", index=False)
    assert {k: v.tolist() for k, v in read_weights(tmp_path / "w.csv", tiles).items()} == {"attention": [1, 2, 3]}
    pd.DataFrame({"attention": [4.0, 5.0, 6.0]}).to_csv(tmp_path / "rows.csv", index=False)
    assert read_weights(tmp_path / "rows.csv", tiles)["attention"].tolist() == [4, 5, 6]
    table(tiles, {"attention": np.arange(3.0)}).to_csv(tmp_path / "own.csv")
    assert list(read_weights(tmp_path / "own.csv", tiles)) == ["attention"]


@pytest.mark.parametrize(
    ("content", "said"),
    [("x,y,attention\n0,0,1\n", "lacks tiles"), ("x,y,attention\n5,5,1\n", "no tile of this slide"),
     ("x,y\n0,0\n", "no column of weights"), ("attention\n1\n", "number of rows"),
     ("x,y,attention\n0,0,1\n0,0,2\n20,0,1\n", "twice"), ("", "no whole text")],
)  # fmt: skip
def test_wrong_weights_are_told(tmp_path, content, said):
    (tmp_path / "w.csv").write_text(content)
    with pytest.raises(DataError, match=said) as error:
        read_weights(tmp_path / "w.csv", tiles_at([[0, 0], [20, 0]]))
    assert "w.csv" in str(error.value)


def test_the_figure_shows_the_slide_and_a_logarithmic_legend_for_weights_over_their_mean():
    thumbnail = np.full((60, 80, 3), 200, np.uint8)
    weights = np.full((60, 80), np.nan)
    weights[10:40, 10:60] = np.linspace(0.2, 6, 50)
    figure = slide_heatmap(thumbnail, weights, label="attention over its mean", title="S", micron=5.0, middle=True)
    figure.draw_without_rendering()
    left, right, bar = figure.axes
    np.testing.assert_array_equal(left.images[0].get_array(), thumbnail)
    assert 0 < right.images[1].get_alpha() < 1
    np.testing.assert_array_equal(right.images[1].get_array().mask, np.isnan(weights))
    assert [t.get_text() for t in bar.get_yticklabels() if t.get_text()] == ["0.2", "0.5", "1", "2", "5"]
    assert "100 µm" not in [t.get_text() for t in right.texts]
    assert [t.get_text() for t in left.texts] == ["50 µm"]
    assert bar.get_yscale() == "log"


def test_figures_of_equal_weights_and_of_none():
    thumbnail = np.full((20, 20, 3), 200, np.uint8)
    slide_heatmap(thumbnail, np.ones((20, 20)), label="a", middle=True).draw_without_rendering()
    slide_heatmap(thumbnail, np.zeros((20, 20)), label="a", middle=True).draw_without_rendering()
    said = slide_heatmap(thumbnail, np.full((20, 20), np.nan), label="a").texts[0].get_text()
    assert said == "No tile has a weight."
