"""Cell types for citeseq.yaml, gated on the surface proteins: writes citeseq_types.csv.gz beside this file.

A cell is positive for a marker when log(1 + count) lies above the valley between the marker's two modes (read off the
histogram). A cell that passes no gate, or two (a doublet), has no type. Run it again with

    python examples/citeseq_types.py
"""

from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("ISTHMUS_DATA", HERE / "../../shared/data"))
VALLEYS = {"CD3": 5.0, "CD19": 4.4, "CD14": 4.9, "CD16": 5.6, "CD4": 6.0, "CD8a": 6.1, "CD56": 4.5}
GATES = {
    "B": "+CD19 -CD3 -CD14",
    "CD4 T": "+CD3 +CD4 -CD8a -CD19 -CD14",
    "CD8 T": "+CD3 -CD4 +CD8a -CD19 -CD14",
    "NK": "-CD3 -CD19 -CD14 -CD4 +CD56",
    "CD14 monocyte": "-CD3 -CD19 +CD14",
    "CD16 monocyte": "-CD3 -CD19 -CD14 -CD56 +CD16",
}


def main() -> None:
    """Gate, write, and say how many."""
    cells = anndata.read_h5ad(DATA / "pbmc10k_citeseq" / "pbmc10k_citeseq.h5ad")
    names = [str(name).removesuffix("_TotalSeqB") for name in cells.uns["protein_names"]]
    log = pd.DataFrame(np.log1p(cells.obsm["protein_counts"]), index=cells.obs_names, columns=names)
    above = {marker: log[marker] > valley for marker, valley in VALLEYS.items()}
    inside = pd.DataFrame(
        {t: np.logical_and.reduce([above[m[1:]] == (m[0] == "+") for m in gate.split()]) for t, gate in GATES.items()},
        index=cells.obs_names,
    )
    types = inside.idxmax(axis=1).where(inside.sum(axis=1) == 1).rename("cell_type").rename_axis("cell")
    types.to_csv(HERE / "citeseq_types.csv.gz", compression={"method": "gzip", "mtime": 0, "compresslevel": 9})
    print(types.value_counts(dropna=False).to_string())


if __name__ == "__main__":
    main()
