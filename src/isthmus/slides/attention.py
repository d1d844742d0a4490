"""A model's attention to the tiles of one slide, and what becomes of its embedding without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

from isthmus.data.bag_files import read_files
from isthmus.errors import DataError, ModelError, listed
from isthmus.fitted import Fitted
from isthmus.loading import load
from isthmus.slides.tiles import Tiles

GROUPS = 10
"""Groups of tiles, by rank of attention, that occlusion leaves out one after the other."""


def attention_to(model: Path, features: Path, tiles: Tiles, *, modality: str | None = None) -> dict[str, np.ndarray]:
    """Attention and occlusion of every tile of a slide.

    Parameters
    ----------
    model
        A model directory, or a run folder that holds one.
    features
        The slide's features, from the encoder that the model was fitted on.
    tiles
        Those of the features, in their order.
    modality
        One of bags; may be left out where the model has one.

    Returns
    -------
    dict
        `attention`, 1 in total over the slide, which is taken for the whole bag; `occlusion`, what the embedding moves
        when the tenth of tiles to which a tile belongs by its rank is left out, over what it moves without as many at
        random (1: no more than any; NaN of slides with fewer than ten tiles).

    Raises
    ------
    ModelError
        The folder holds no model, or one without a modality of bags.
    DataError
        The features are of another encoder than the model's, or are not those of the tiles.
    """
    fitted = load(model / "model" if (model / "model").is_dir() else model)
    name = modality or _only(fitted, model)
    bag = read_files({features.stem: [features]}, str(features))
    cohort = md.MuData({name: bag})
    found = fitted.attention(cohort, name)
    placed = not {"x", "y"} <= set(found.columns) or (found[["x", "y"]].to_numpy() == tiles.coords).all()
    if len(found) != len(tiles) or not placed:
        raise DataError("features and tiles are not the same", where=str(features), met=f"{len(found)} features",
                        wanted=f"those of {len(tiles)} tiles")  # fmt: skip
    weights = found["attention"].to_numpy(np.float64)
    return {"attention": weights, "occlusion": _occluded(fitted, cohort, name, weights)}


def _only(fitted: Fitted, model: Path) -> str:
    names = [m.name for m in fitted.module.spec if m.kind == "bag"]
    if len(names) != 1:
        met = listed(names) or "none"
        raise ModelError("does not have one modality of bags", where=str(model), met=met, hint="name it by --modality")
    return names[0]


def _occluded(fitted: Fitted, cohort: Any, name: str, weights: np.ndarray) -> np.ndarray:
    """For each tile what its group's absence changes, over that of a random group."""
    table: pd.DataFrame = fitted.occlusion(cohort, name, groups=GROUPS)
    if not len(table):
        return np.full(len(weights), np.nan)
    ratio = (table["change"] / table["random"].where(table["random"] > 0)).to_numpy(np.float64)
    rank = np.empty(len(weights), dtype=np.int64)
    rank[np.argsort(-weights, kind="stable")] = np.arange(len(weights))
    return np.asarray(ratio[rank * GROUPS // len(weights)])
