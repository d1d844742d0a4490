"""A filled cohort as a folder of tables: values, and beside them bounds and what was imputed."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd

from isthmus.data.images import is_image
from isthmus.data.write import atomic, write

__all__ = ["LAYERS", "write_filled"]

LAYERS = ("lower", "upper", "imputed")


def write_filled(filled: md.MuData, folder: Path, *, suffix: str = ".csv", spreadsheet_safe: bool = True) -> Path:
    """Write a table of every modality, `obs`, and `NAME-lower`, `NAME-upper`, `NAME-imputed` of those that were filled.

    Parameters
    ----------
    filled
        What an imputer or a model filled: layers `lower`, `upper` and `imputed`, samples x features.
    folder
        Appears whole where it is new.
    suffix
        Of the tables: `.csv`, `.tsv`, `.parquet`, or a text table compressed.
    spreadsheet_safe
        As in `isthmus.write`.

    Raises
    ------
    DataError
        The folder cannot be written, or no table has such a suffix.
    """
    with nullcontext(folder) if folder.is_dir() else atomic(folder) as new:
        write(filled, new, tables=suffix, spreadsheet_safe=spreadsheet_safe)
        for name, part in filled.mod.items():
            for layer in LAYERS if _bounded(part) else ():
                values = pd.DataFrame(np.asarray(part.layers[layer]), part.obs_names, part.var_names)
                write(values, new / f"{name}-{layer}{suffix}", spreadsheet_safe=spreadsheet_safe)
    return folder


def _bounded(part: ad.AnnData) -> bool:
    """Whether a modality is a table that was filled; images keep their layers in h5ad."""
    return not is_image(part) and all(layer in part.layers for layer in LAYERS)
