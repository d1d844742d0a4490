"""The latent space in the report of a run: its use, what fewer modalities leave of it, whether it is the same again."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from isthmus.plot.translation import retained
from isthmus.report.blocks import Block, FigureBlock, Section, TableBlock

TITLE = "Latent space"
COUNTS = {"bins": ".0f", "n": ".0f", "refits": ".0f", "median_rank": ".1f", "median_rank_back": ".1f"}
CAPTIONS = {
    "disentanglement": "Against the factors that the cohort was simulated from, shared and private; 1 is best.",
    "robustness": "How alike the embeddings of the test samples are over refits with other seeds; 1 is the same.",
    "dimensions": "Mean |Pearson| of each dimension with itself over pairs of refits.",
}


def latent_section(
    latent: pd.DataFrame, subsets: pd.DataFrame, alignment: pd.DataFrame, *, others: Mapping[str, pd.DataFrame]
) -> Section:
    """Tables of what was measured, a figure of what fewer modalities leave; empty where nothing was.

    Parameters
    ----------
    latent
        `coverage`, `coverage_joint`, `bins`, `total_correlation`, `n`; one row.
    subsets
        `modalities`, `r2`, `n`, and `label`, `auc`; the full set last.
    alignment
        `first`, `second`, `foscttm`, `r1`, `r5`, `median_rank`, ... and `n`.
    others
        `disentanglement`, `robustness`, `dimensions`.
    """
    blocks: list[Block] = []
    if not latent.empty:
        caption = "How the test samples use the latent dimensions; coverage of d dimensions asks for 2^d samples."
        blocks.append(_table(latent, caption, "latent"))
    if not subsets.empty:
        caption = "How much of the embedding from all modalities is had from some, on test samples that have all"
        if "auc" in subsets:
            caption += " (left), and what a classifier of full embeddings makes of it (right)"
        blocks.append(FigureBlock(retained(subsets), f"{caption}. Hollow: all modalities.", "subsets"))
        blocks.append(_table(subsets, "The embedding from fewer modalities against that from all.", "subsets"))
    if not alignment.empty:
        caption = "The same test samples embedded by one modality and by another. FOSCTTM: 0 is perfect, 0.5 is chance."
        blocks.append(_table(alignment, caption, "alignment"))
    for name, frame in others.items():
        if not frame.empty:
            blocks.append(_table(frame, CAPTIONS[name], name))
    return Section(TITLE, tuple(blocks))


def _table(frame: pd.DataFrame, caption: str, name: str) -> TableBlock:
    formats = {str(c): COUNTS.get(str(c), ".3f") for c in frame.select_dtypes("number").columns}
    return TableBlock(frame, caption, name, formats, most_rows=40)
