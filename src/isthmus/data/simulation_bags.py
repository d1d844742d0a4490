"""Bags of a simulated cohort: slides of tiles, some of which show the shared factors.

A share of a bag's instances is informative: marker + W z + noise, with z the standardised shared factors of the sample.
The others are background: the centre of one of three types + noise, types being mixed in shares of the sample's own,
which say nothing of z. So the mean of a bag holds the factors, diluted and beside a nuisance; whoever finds the
informative instances has more. The shift of a site falls on every instance. Tiles of a slide lie on a grid, the
informative ones together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import anndata as ad
import numpy as np
import pandas as pd

from isthmus.data.bags import Part, as_adata, build_store, feature_names, temporary
from isthmus.data.simulation_samples import Samples
from isthmus.data.simulation_settings import BagSettings, Simulation

TYPES, APART, MARK = 3, 1.5, 2.5
"""Kinds of background, the spread of their centres, and the length of the marker in a feature's standard deviations."""
TILE = 512
"""Level-0 pixels between two tiles."""
SAID = {
    "encoder": "simulated", "patch_size": 256, "patch_size_level0": TILE, "level0_magnification": 40,
    "target_magnification": 20, "overlap": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A modality of bags, and the truth behind it."""

    adata: ad.AnnData
    loadings: pd.DataFrame
    informative: pd.DataFrame
    shifts: pd.DataFrame | None


@dataclass(frozen=True)
class Plan:
    """What is the same for all samples of a modality."""

    weights: np.ndarray
    centres: np.ndarray
    marker: np.ndarray
    noise: float


def draw_bags(s: Simulation, name: str, samples: Samples, here: np.ndarray) -> Drawn:
    """The bags of the samples that have the modality."""
    keys, rng = s.bags[name], s.rng("bags", name)
    f, z = keys.features, samples.factors.to_numpy()
    z = (z - z.mean(axis=0)) / np.maximum(z.std(axis=0), 1e-12)
    weights = rng.normal(size=(f, z.shape[1]))
    weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
    plan = Plan(weights, APART * rng.normal(size=(TYPES, f)), MARK * rng.choice([-1.0, 1.0], f) / np.sqrt(2), s.noise)
    features = feature_names(str(SAID["encoder"]), f)
    shift, shifts = _shift(s, name, samples, features)
    parts, informative = [], []
    for i in range(s.n):
        slides = _slides(keys, plan, z[i], np.random.default_rng([s.seed, i, len(name), f]))
        if not here[i]:
            continue
        sample = str(samples.obs.index[i])
        for k, (x, coords, marked) in enumerate(slides):
            slide = f"{sample}_{k}"
            load = partial(_given, (x + shift[i]).astype(np.float32), coords)
            parts.append(Part(sample, slide, len(x), load, {"attributes": {**SAID, "name": slide}}))
            place = {"sample": sample, "slide": slide, "x": coords[:, 0], "y": coords[:, 1]}
            informative.append(pd.DataFrame(place | {"informative": marked.astype(np.int64)}))
    loadings = pd.DataFrame(weights, index=features, columns=samples.factors.columns)
    made = as_adata(build_store(temporary(), parts, features))
    return Drawn(made, loadings, pd.concat(informative, ignore_index=True), shifts)


def _given(x: np.ndarray, coords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x, coords


def _shift(s: Simulation, name: str, samples: Samples, features: list[str]) -> tuple[np.ndarray, pd.DataFrame | None]:
    """What the site of every sample adds to its instances."""
    levels = samples.obs["site"].cat
    by_level = s.site_effect * s.rng("site", name).normal(size=(len(levels.categories), len(features)))
    frame = pd.DataFrame(by_level.T, index=features, columns=list(levels.categories)) if s.site_effect else None
    return by_level[levels.codes.to_numpy()], frame


def _slides(
    keys: BagSettings, plan: Plan, z: np.ndarray, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Instances, coordinates and which of them are informative, of each slide of a sample."""
    mixed, made = rng.dirichlet(np.ones(TYPES)), []
    for _ in range(int(rng.integers(keys.slides[0], keys.slides[1] + 1))):
        n = round(float(np.exp(rng.uniform(*np.log(np.array(keys.instances, dtype=float))))))
        side = int(np.ceil(np.sqrt(n)))
        grid = np.stack(np.divmod(rng.permutation(side * side)[:n], side), axis=1)[:, ::-1]
        from_centre = np.linalg.norm(grid - rng.uniform(0, side, size=2), axis=1)
        share = np.clip(keys.informative * rng.uniform(0.5, 1.5), 0, 1)
        marked = np.zeros(n, dtype=bool)
        marked[np.argsort(from_centre, kind="stable")[: round(share * n)]] = True
        background = plan.centres[rng.choice(TYPES, size=n, p=mixed)]
        x = np.where(marked[:, None], plan.marker + plan.weights @ z, background)
        made.append((x + plan.noise * rng.normal(size=x.shape), (grid * TILE).astype(np.int64), marked))
    return made
