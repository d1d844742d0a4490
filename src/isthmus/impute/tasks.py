"""What every method sees: one fold of one pattern; whatever is fitted is fitted on visible training entries.

Samples are put into the order of their ids first, so that numbers do not depend on the order in a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

from isthmus.data.cohort import take_samples
from isthmus.data.images import is_image
from isthmus.data.split import Split, labels
from isthmus.data.table import Table, aligned
from isthmus.errors import DataError, RecipeError, closest
from isthmus.impute.masks import mask
from isthmus.prepare.pipeline import Pipeline
from isthmus.prepare.preparation import Preparation

__all__ = ["Task", "tasks"]

UNBOUNDED: tuple[dict[str, Any], ...] = ({"standardise": {"limit": None}},)
"""What a target gets for which no steps are named: standardised, nothing clipped."""


@dataclass(frozen=True)
class Task:
    """One fold of one pattern: what every method sees, and what it is scored on.

    Attributes
    ----------
    train, test
        n x f of the target as it is visible, standardised on visible training entries; NaN where missing or hidden.
    truth
        The test samples' values, n x f, on the same scale.
    hidden
        Which test entries are scored.
    source
        The other modalities of the training and of the test samples, n x p; None where there is none.
    classes
        Of the training and of the test samples, or None.
    pipeline
        Turns the target back into original units.
    ids, train_ids
        Test samples, training samples.
    train_truth
        The training samples' values with nothing hidden, n x f; no method sees them.
    """

    train: np.ndarray
    test: np.ndarray
    truth: np.ndarray
    hidden: np.ndarray
    source: tuple[np.ndarray, np.ndarray] | None
    classes: tuple[np.ndarray, np.ndarray] | None
    pipeline: Pipeline
    ids: pd.Index
    train_ids: pd.Index
    train_truth: np.ndarray

    def given(self, part: int) -> dict[str, np.ndarray]:
        """Keyword arguments of `fit` (0) or `transform` (1)."""
        pairs = (("source", self.source), ("classes", self.classes))
        return {k: pair[part] for k, pair in pairs if pair is not None}

    def digest(self) -> str:
        """Of everything that a method sees."""
        sums = hashlib.sha256()
        for values in (self.train, self.test, *(self.source or ())):
            sums.update(np.ascontiguousarray(values).tobytes())
        return sums.hexdigest()[:16]


def tasks(
    mdata: md.MuData,
    target: str,
    *,
    pattern: str = "modality",
    rate: float = 0.2,
    folds: int | str | Path | Split = 5,
    group: str | None = None,
    seed: int = 0,
    classes: str | None = None,
    prepare: Mapping[str, Sequence[Any]] | None = None,
) -> Iterator[Task]:
    """The folds of a benchmark, as every method sees them; parameters as in `benchmark`."""
    check_names(mdata, target, classes)
    mdata = take_samples(mdata, pd.Index(sorted(mdata.mod[target].obs_names)))
    table = dense(aligned(mdata.mod[target], mdata.obs_names))
    others = [m for m in mdata.mod if m != target]
    if pattern == "modality" and not others:
        raise DataError(
            "has no other modality to fill it from", where=target, wanted="two modalities, or another pattern"
        )
    hidden = None
    if pattern != "modality":
        hidden = mask(mdata, target, pattern=pattern, rate=rate, seed=seed).loc[mdata.obs_names].to_numpy()
    keys = _split(folds, group, seed)
    named = None if classes is None else mdata.obs[classes].astype(str).to_numpy()
    for parts in labels(mdata.obs, keys):
        where = [mdata.obs_names.get_indexer(sorted(parts.index[parts == p])) for p in ("train", "test")]
        source = _sources(mdata, others, where, prepare) if others else None
        if pattern == "modality" and source is not None:
            where[1], source = _with_source(where[1], source)
        yield _task(
            table, where, hidden, (prepare or {}).get(target), source=source, classes=named, ids=mdata.obs_names
        )


def _split(folds: int | str | Path | Split, group: str | None, seed: int) -> Split:
    if isinstance(folds, Split):
        return folds
    return Split(folds=folds, group=group, seed=seed) if isinstance(folds, int) else Split(file=str(folds))


def _with_source(
    rows: np.ndarray, source: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The test samples that have anything to be filled from."""
    some = ~np.isnan(source[1]).all(axis=1)
    if not some.any():
        raise DataError("no test sample has another modality", wanted="samples that have both")
    return rows[some], (source[0], source[1][some])


def _task(
    table: Table,
    where: Sequence[np.ndarray],
    hidden: np.ndarray | None,
    steps: Sequence[Any] | None,
    *,
    source: tuple[np.ndarray, np.ndarray] | None,
    classes: np.ndarray | None,
    ids: pd.Index,
) -> Task:
    rows, asked = where
    x = np.asarray(table.x, dtype=np.float64)
    gone = np.zeros(x.shape, dtype=bool) if hidden is None else hidden
    visible = np.where(gone, np.nan, x)
    pipeline = Pipeline(list(UNBOUNDED if steps is None else steps))

    def part(values: np.ndarray, at: np.ndarray) -> Table:
        return Table(values[at], table.features, ~np.isnan(values[at]).all(axis=1))

    pipeline.fit(part(visible, rows), "target")
    train, test, truth = (values_of(pipeline, part(v, at)) for v, at in ((visible, rows), (visible, asked), (x, asked)))
    off = ~np.isnan(truth) if hidden is None else np.isnan(test) & ~np.isnan(truth)
    pair = None if classes is None else (classes[rows], classes[asked])
    before = train if hidden is None else values_of(pipeline, part(x, rows))
    return Task(
        train, np.where(off, np.nan, test), truth, off, source, pair, pipeline, ids[asked], ids[rows], before
    )  # fmt: skip


def values_of(pipeline: Pipeline, table: Table) -> np.ndarray:
    """What a fitted pipeline makes of a table, n x f, dense."""
    prepared = pipeline.transform(table)
    x = prepared.rows(np.arange(len(prepared))) if not isinstance(prepared.x, np.ndarray) else prepared.x
    return np.asarray(x, dtype=np.float64)


def _sources(
    mdata: md.MuData, others: Sequence[str], where: Sequence[np.ndarray], prepare: Mapping[str, Sequence[Any]] | None
) -> tuple[np.ndarray, np.ndarray]:
    """The other modalities side by side, prepared on train, of the training and of the test samples."""
    steps = {m: s for m, s in (prepare or {}).items() if m in others}
    parts = [take_samples(mdata, mdata.obs_names[rows]) for rows in where]
    preparation = Preparation.parse(steps, others).fit(parts[0])
    made = []
    for part in parts:
        prepared = preparation.transform(part)
        made.append(np.hstack([prepared[m].rows(np.arange(len(prepared[m]))) for m in others]).astype(np.float64))
    return made[0], made[1]


def dense(table: Table) -> Table:
    """The same in float64, not sparse."""
    x = table.x if isinstance(table.x, np.ndarray) else table.x.toarray()
    return Table(np.asarray(x, dtype=np.float64), table.features, table.present)


def check_names(mdata: md.MuData, target: str, classes: str | None) -> None:
    """Refuse a target or column that is not there."""
    known: Sequence[str]
    for where, met, known in (
        ("target", target, list(mdata.mod)),
        ("classes", classes, list(map(str, mdata.obs.columns))),
    ):
        if met is not None and met not in known:
            hint = closest(met, known)
            raise RecipeError(
                "no such modality" if where == "target" else "no such column", where=where, met=met, hint=hint
            )
    if is_image(mdata.mod[target]):
        raise RecipeError("holds images, which are not filled", where="target", met=target, wanted="a table")
