"""What a fitted model says of some samples: embeddings from some of their modalities, translations."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import mudata as md
import numpy as np
import torch

from isthmus.data.batches import samples
from isthmus.data.cohort import take_samples
from isthmus.fitted import EMBED_BATCH, Fitted
from isthmus.prepare.prepared import Prepared

log = logging.getLogger("isthmus.assess")


def drawn(mdata: md.MuData, most: int, what: str, *, seed: int) -> md.MuData:
    """All samples, or a draw of `most` (logged)."""
    if mdata.n_obs <= most:
        return mdata
    log.info("%s: %d of %d samples, drawn at random", what, most, mdata.n_obs)
    rows = np.sort(np.random.default_rng(seed).choice(mdata.n_obs, most, replace=False))
    return take_samples(mdata, mdata.obs_names[rows])


@torch.no_grad()
def embedded(
    fitted: Fitted, prepared: Mapping[str, Prepared], subsets: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], np.ndarray]:
    """The embedding (n x d) by each subset of the modalities; NaN for a sample that has none of them."""
    module = fitted.module.eval()
    parts: dict[tuple[str, ...], list[np.ndarray]] = {s: [] for s in subsets}
    for batch in samples(prepared, fitted.spec).batches(EMBED_BATCH):
        for subset in subsets:
            kept = batch.only(subset)
            z = module.encode(kept, subset[0] if len(subset) == 1 else None)
            parts[subset].append(torch.where(module.encodable(kept)[:, None], z, torch.nan).numpy())
    return {s: np.concatenate(p) for s, p in parts.items()}


@torch.no_grad()
def translated(
    fitted: Fitted, prepared: Mapping[str, Prepared], source: str, targets: Sequence[str]
) -> dict[str, np.ndarray]:
    """The likelihood's mean (n x f) of every target by `source` alone, on the scale of the prepared values."""
    module = fitted.module.eval()
    parts: dict[str, list[np.ndarray]] = {t: [] for t in targets}
    for batch in samples(prepared, fitted.spec).batches(EMBED_BATCH):
        decoded = module.decode(module.encode(batch, source))
        for t in targets:
            parts[t].append(decoded[t].numpy())
    return {t: fitted.preparation.widened(t, np.concatenate(p)) for t, p in parts.items()}


def shared(fitted: Fitted) -> np.ndarray:
    """Positions of the latent dimensions that are not of one modality alone."""
    blocks = fitted.module.blocks or ("shared",) * fitted.latent
    return np.flatnonzero(np.array(blocks) == "shared")
