"""Images of held-out samples beside what a fitted model makes of them, for the report."""

from __future__ import annotations

from collections.abc import Mapping

import mudata as md
import numpy as np

from isthmus.data.cohort import take_samples
from isthmus.data.images import IMAGE, is_image
from isthmus.fitted import Fitted
from isthmus.report.images import Pictures, spread

MOST_SOURCES = 3


def held_out(fitted: Fitted, parts: Mapping[str, md.MuData]) -> list[Pictures]:
    """A few test samples of every modality of images: reconstructed, and from each other modality alone."""
    if "test" not in parts:
        return []
    test = parts["test"]
    pictured = [m for m in fitted.spec.names if m in test.mod and is_image(test.mod[m]) and test.mod[m].n_obs]
    return [_of_modality(fitted, m, parts["train"], test) for m in pictured]


def _of_modality(fitted: Fitted, name: str, train: md.MuData, test: md.MuData) -> Pictures:
    seen = take_samples(test, test.mod[name].obs_names)
    true = seen.mod[name].obsm[IMAGE]
    guess = fitted.reconstruct(seen).mod[name].obsm[IMAGE]
    r2 = r2_of_samples(true, guess, np.asarray(np.nanmean(train.mod[name].obsm[IMAGE], axis=0, dtype=np.float64)))
    some = spread(r2)
    part = take_samples(seen, seen.obs_names[some])
    made = {"reconstructed": guess[some]}
    others = [m for m in fitted.module.sources if m != name and m in part.mod and part.mod[m].n_obs]
    for source in others[:MOST_SOURCES]:
        from_source = fitted.translate(part, source, name)
        rows = from_source.obs_names.get_indexer(part.obs_names)
        images = from_source.obsm[IMAGE][rows].astype(np.float32)
        images[rows < 0] = np.nan
        made[f"from {source} alone"] = images
    return Pictures(name, list(map(str, part.obs_names)), true[some], made, r2[some])


def r2_of_samples(true: np.ndarray, guess: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """1 - squared error / squared distance from a reference image, per sample over observed pixels."""
    x, y = (a.reshape(len(a), -1).astype(np.float64) for a in (true, guess))
    centre = reference.reshape(1, -1)
    above, below = np.nansum((x - y) ** 2, axis=1), np.nansum((x - centre) ** 2, axis=1)
    return np.asarray(np.divide(below - above, below, out=np.full(len(x), np.nan), where=below > 0))
