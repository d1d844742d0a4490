"""M-score: one number per sample and gene for mutation and copy number together.

M = SNV / (CDS / mean CDS) + |log2 CNA|, with SNV the number of single-nucleotide variants, CDS the length of the coding
sequence in base pairs, the mean over the genes of the training table, and log2 CNA the log2 copy-number ratio.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from isthmus.config import Config
from isthmus.data.table import Array
from isthmus.errors import DataError, RecipeError, listed
from isthmus.prepare import checks
from isthmus.prepare.step import Step, step


def m_score(snv: pd.DataFrame, cna: pd.DataFrame, cds: pd.Series) -> pd.DataFrame:
    """Mutation and copy number together: SNV / (CDS / mean CDS) + |log2 CNA|.

    Parameters
    ----------
    snv
        Samples x genes, number of single-nucleotide variants; NaN for missing.
    cna
        Samples x genes, log2 copy-number ratio; aligned to `snv` by sample id and gene name.
    cds
        Gene to length of the coding sequence in base pairs.

    Returns
    -------
    DataFrame
        Samples x genes of `snv`, NaN where any of the three is missing.

    Raises
    ------
    DataError
        A length that is not above 0, or no gene with a length.
    """
    length = _lengths(cds.reindex(snv.columns))
    burden = snv / (length / length.mean())
    return burden + cna.reindex(index=snv.index, columns=snv.columns).abs()


@step("m_score")
class MScore(Step):
    """Turn a table of variant counts into M-scores, with gene lengths and copy numbers from two files.

    Genes without a length are dropped; a sample or gene without a copy number is missing.
    """

    rowwise: ClassVar[bool] = True
    paths: ClassVar[tuple[str, ...]] = ("cds", "cna")

    class Options(Config):
        """What the step takes."""

        cds: Path
        """Table of gene and length of its coding sequence in base pairs: the first two columns of a csv or tsv file."""
        cna: Path
        """Table of samples x genes, log2 copy-number ratio, sample ids in the first column: a csv or tsv file."""

    options: Options
    keep_: np.ndarray
    weight_: np.ndarray

    def learn(self, x: Array, *, ids: pd.Index | None = None) -> str:
        self._check(x, ids)
        table = _read(self.options.cds)
        if not table.shape[1]:
            raise DataError("has no column of lengths", where=str(self.options.cds), wanted="gene and length")
        length = _lengths(table.iloc[:, 0].reindex(self.features_in_)).to_numpy(np.float64)
        self.keep_ = np.flatnonzero(~np.isnan(length))
        kept = length[self.keep_]
        self.weight_ = kept.mean() / kept
        gone = x.shape[1] - len(kept)
        return f"mean length {kept.mean():g}" + (f"; dropped {gone} genes without a length" if gone else "")

    def transform(self, x: Array, *, ids: pd.Index | None = None) -> Array:
        values, samples = self._check(x, ids)
        genes = self.features_in_[self.keep_]
        cna = _read(self.options.cna).reindex(index=samples, columns=genes)
        return np.asarray(values[:, self.keep_] * self.weight_ + np.abs(cna.to_numpy(np.float64))).astype(x.dtype)

    def names_out(self, features: pd.Index) -> pd.Index:
        return features[self.keep_]

    def origins(self, columns: np.ndarray) -> np.ndarray:
        return np.asarray(self.keep_[columns])

    def _check(self, x: Array, ids: pd.Index | None) -> tuple[np.ndarray, pd.Index]:
        if not isinstance(x, np.ndarray):
            raise RecipeError("copy numbers fill a sparse table", where=self.name, hint="store this modality dense")
        if ids is None:
            raise DataError("needs the sample ids to look up copy numbers", where=self.name)
        checks.nonnegative(x, self.features_in_, ids)
        return x, ids


def _lengths(length: pd.Series) -> pd.Series:
    """Lengths above 0, at least one of them."""
    found = pd.to_numeric(length, errors="coerce")
    if found.notna().sum() == 0:
        raise DataError("no gene has a length of its coding sequence", met=listed(length.index))
    if (found <= 0).any():
        raise DataError("a length that is not above 0", where=str(found.index[found <= 0][0]))
    return found


def _read(path: Path) -> pd.DataFrame:
    """A table with text ids in the first column."""
    if not path.is_file():
        raise DataError("there is no such file", where="m_score", met=str(path))
    separator = "\t" if ".tsv" in path.suffixes or ".txt" in path.suffixes else ","
    table = pd.read_csv(path, sep=separator, converters={0: str})
    table = table.set_index(table.columns[0])
    if not table.index.is_unique:
        raise DataError("an id occurs twice", where=str(path), met=listed(table.index[table.index.duplicated()]))
    return table
