"""Weights of tiles as a picture: every pixel of a thumbnail has the mean weight of the tiles that cover it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64, UInt8

from isthmus.errors import DataError, listed
from isthmus.slides.slide import Slide
from isthmus.slides.tiles import Tiles

OTHER = ("tile", "x", "y", "side")
"""Columns of numbers that are no weights."""


def canvas(
    coords: Int64[np.ndarray, "n 2"],
    weights: Float[np.ndarray, " n"],
    side: int,
    *,
    size: tuple[int, int],
    shape: tuple[int, int],
) -> Float64[np.ndarray, "h w"]:
    """Weights over a thumbnail.

    Parameters
    ----------
    coords, side
        The tiles, in pixels of level 0.
    weights
        One a tile; tiles with NaN are left out.
    size
        Width and height of the slide.
    shape
        Height and width of the thumbnail.

    Returns
    -------
    Array
        The mean weight of the tiles that cover the centre of each pixel; NaN where there is none. A tile narrower than
        a pixel takes the pixel that it lies in.
    """
    total, count = np.zeros((2, shape[0] + 1, shape[1] + 1))
    ratio = np.array([shape[1] / size[0], shape[0] / size[1]])
    known = np.isfinite(weights)
    low = np.ceil(coords[known] * ratio - 0.5).astype(np.int64)
    high = np.maximum(np.ceil((coords[known] + side) * ratio - 0.5).astype(np.int64), low + 1)
    limit = np.array([shape[1], shape[0]])
    low, high = np.minimum(low, limit - 1), np.minimum(high, limit)
    for grid, values in ((total, weights[known].astype(np.float64)), (count, np.ones(int(known.sum())))):
        for (x, y), sign in (((low[:, 0], low[:, 1]), 1), ((high[:, 0], low[:, 1]), -1),
                             ((low[:, 0], high[:, 1]), -1), ((high[:, 0], high[:, 1]), 1)):  # fmt: skip
            np.add.at(grid, (y, x), sign * values)
    total, count = (g.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] for g in (total, count))
    return np.where(count > 0.5, total / np.maximum(count, 1), np.nan)


def table(tiles: Tiles, columns: Mapping[str, Float[np.ndarray, " n"]]) -> pd.DataFrame:
    """A row a tile: x, y, side, and of each kind of weight its value; of `attention` also times the mean and rank.

    Returns
    -------
    DataFrame
        `attention_relative` is the weight over the mean of all (1: as if all tiles counted alike), `attention_rank` the
        share of tiles with a smaller or the same weight.
    """
    found = pd.DataFrame({"x": tiles.coords[:, 0], "y": tiles.coords[:, 1], "side": tiles.side})
    for name, values in columns.items():
        found[name] = values
        if name == "attention":
            found["attention_relative"] = relative(values)
            found["attention_rank"] = ranks(values)
    found.index = pd.Index(range(len(found)), name="tile")
    return found


def ranks(weights: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Share of tiles with a smaller weight, or the same (of equal weights the mean rank)."""
    return pd.Series(weights).rank(pct=True).to_numpy(np.float64)


def weighted(
    slide: Slide, tiles: Tiles, weights: Float[np.ndarray, " n"], *, longest: int = 1200
) -> tuple[UInt8[np.ndarray, "h w 3"], Float64[np.ndarray, "h w"]]:
    """The thumbnail of a slide, and the weights over it: what `isthmus.plot.slides.slide_heatmap` draws."""
    thumbnail = slide.thumbnail(longest)
    shape = (thumbnail.shape[0], thumbnail.shape[1])
    return thumbnail, canvas(tiles.coords, weights, tiles.side, size=slide.size, shape=shape)


def relative(weights: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Weights over their mean; as they are where that is not positive."""
    x = weights.astype(np.float64)
    mean = np.nanmean(x) if np.isfinite(x).any() else 0.0
    return np.asarray(x / mean) if mean > 0 else x


def read_weights(path: Path, tiles: Tiles) -> dict[str, np.ndarray]:
    """Weights of a slide's tiles from a csv with x, y and a column of numbers or more, in any order.

    Without x and y the rows are those of the tiles, in their order.

    Raises
    ------
    DataError
        The file is damaged or has no column of numbers, or its tiles are not those of the slide.
    """
    from isthmus.data.bombs import damage

    if not path.is_file():
        raise DataError("there is no such file", where=str(path))
    with damage(path, "text"):
        given = pd.read_csv(path)
    placed = {"x", "y"} <= set(given.columns)
    names = [c for c in given.columns if c not in OTHER and pd.api.types.is_numeric_dtype(given[c])]
    names = [c for c in names if not str(c).endswith(("_relative", "_rank")) and not str(c).startswith("Unnamed")]
    if not names:
        raise DataError(
            "has no column of weights", where=str(path), met=listed(given.columns), wanted="x, y, attention"
        )
    if not placed:
        if len(given) != len(tiles):
            wanted = f"{len(tiles)}, one a tile, or columns x and y"
            raise DataError("has another number of rows", where=str(path), met=len(given), wanted=wanted)
        return {str(c): given[c].to_numpy(np.float64) for c in names}
    return _placed(given, names, tiles, path)


def _placed(given: pd.DataFrame, names: list[str], tiles: Tiles, path: Path) -> dict[str, np.ndarray]:
    if given.duplicated(["x", "y"]).any():
        raise DataError("has a tile twice", where=str(path))
    wanted = pd.MultiIndex.from_arrays([tiles.coords[:, 0], tiles.coords[:, 1]])
    found = given.set_index(["x", "y"])[names].reindex(wanted)
    if len(tiles) and not (matched := wanted.isin(given.set_index(["x", "y"]).index).sum()):
        met = f"x {given['x'].iloc[0]}, y {given['y'].iloc[0]}" if len(given) else "no row"
        raise DataError("has no tile of this slide", where=str(path), met=met, wanted="the tiles' own x and y",
                        hint="coordinates are pixels of level 0")  # fmt: skip
    elif len(tiles) and matched < len(tiles):
        raise DataError("lacks tiles of this slide", where=str(path), met=f"{matched} of {len(tiles)}")
    return {str(c): found[c].to_numpy(np.float64) for c in names}
