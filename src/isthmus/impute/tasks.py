"""What every method sees: one fold of one pattern; whatever is fitted is fitted on visible training entries.

Samples are put into the order of their ids first, so that numbers do not depend on the order in a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import mudata as md
import numpy as np
import pandas as pd

from isthmus.data.accepted import Data, cohort
from isthmus.data.cohort import take_samples
from isthmus.data.images import is_image
from isthmus.data.split import Split, labels
from isthmus.data.table import Table, aligned
from isthmus.errors import DataError, RecipeError, closest
from isthmus.impute.imputer import UNKNOWN
from isthmus.impute.masks import ROWS, check_pattern, fitting, mask, read_mask
from isthmus.prepare.pipeline import Pipeline
from isthmus.prepare.preparation import Preparation

__all__ = ["Plan", "Task", "tasks"]

K = TypeVar("K")
UNBOUNDED: tuple[dict[str, Any], ...] = ({"standardise": {"limit": None}},)
"""What a target gets for which no steps are named: standardised, nothing clipped."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How a benchmark hides and divides.

    Attributes
    ----------
    pattern
        `modality` (whole rows, from the other modalities) or how entries are hidden; see `impute.mask`.
    rate
        Share of entries to hide; `modality` does not need it.
    folds
        Number of folds, as `ist.folds(mdata, folds, seed=seed)`, a file of folds, or a `Split`.
    group
        Column whose samples stay together.
    seed
        Of folds, masks and methods' draws.
    classes
        Column of classes, for `class_mean`.
    prepare
        Modality to steps, fitted on visible training entries; `[standardise]` by default.
    hidden
        What is hidden, instead of a draw: a file of `impute.write_mask`, whose pattern and rate are taken over, or a
        frame as `impute.mask` gives it, of which `pattern` says how it was drawn.

    Raises
    ------
    RecipeError
        No such pattern, or a rate that is no share.
    DataError
        The file of the mask is missing or none.
    """

    pattern: str = ROWS
    rate: float = 0.2
    folds: int | str | Path | Split = 5
    group: str | None = None
    seed: int = 0
    classes: str | None = None
    prepare: Mapping[str, Sequence[Any]] | None = None
    hidden: pd.DataFrame | str | Path | None = None

    def __post_init__(self) -> None:
        if isinstance(self.hidden, str | Path):
            for name in ("pattern", "rate"):
                if name in (protocol := read_mask(self.hidden)[1]):
                    object.__setattr__(self, name, protocol[name])
        check_pattern(self.pattern, self.rate)

    def split(self) -> Split:
        """The folds."""
        if isinstance(self.folds, Split):
            return self.folds
        if isinstance(self.folds, int):
            return Split(folds=self.folds, group=self.group, seed=self.seed)
        return Split(file=str(self.folds))

    def parts(self, mdata: md.MuData, target: str) -> list[pd.Series]:
        """Part of every sample that has the modality, by id, a series per fold.

        Raises
        ------
        DataError
            Fewer samples have it than there are to be folds.
        """
        split, n = self.split(), mdata.mod[target].n_obs
        if n < (split.folds or 0):
            wanted = f"at least {split.folds} samples for so many folds"
            raise DataError("too few samples have it", where=target, met=n, wanted=wanted)
        return labels(mdata.obs.loc[sorted(mdata.mod[target].obs_names)], split)

    def mask(self, mdata: md.MuData, target: str) -> pd.DataFrame | None:
        """What is hidden: samples that have the modality, by id, x features; None: the rows of all test samples.

        Raises
        ------
        DataError
            The mask that is given is of other samples or features.
        RecipeError
            It hides single entries, and the pattern is `modality`.
        """
        if self.hidden is None:
            if self.pattern == ROWS:
                return None
            return mask(mdata, target, pattern=self.pattern, rate=self.rate, seed=self.seed)
        ids, features = pd.Index(sorted(mdata.mod[target].obs_names)), mdata.mod[target].var_names
        given, where = self.hidden, "hidden"
        if not isinstance(given, pd.DataFrame):
            given, where = read_mask(given)[0], str(given)
        hidden = fitting(given, ids, features, where=where)
        if self.pattern == ROWS:
            shown = ~np.isnan(dense(aligned(mdata.mod[target], ids)).x) & ~hidden
            if (hidden.any(axis=1) & shown.any(axis=1)).any():
                wanted = "the pattern that it was drawn in, such as pattern='random'"
                raise RecipeError("hides single entries, not whole samples", where=where, wanted=wanted)
        return pd.DataFrame(hidden, ids, features)


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
    uncovered
        Computes `train_truth`.
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
    uncovered: Callable[[], np.ndarray] = field(repr=False)

    @cached_property
    def train_truth(self) -> np.ndarray:
        """The training samples' values with nothing hidden, n x f; no method sees them."""
        return self.uncovered()

    def given(self, part: int) -> dict[str, np.ndarray]:
        """Keyword arguments of `fit` (0) or `transform` (1)."""
        pairs = (("source", self.source), ("classes", self.classes))
        return {k: pair[part] for k, pair in pairs if pair is not None}

    def digest(self) -> str:
        """Of everything that a method sees."""
        sums = hashlib.sha256()
        for values in (self.train, self.test, *(self.source or ())):
            sums.update(np.ascontiguousarray(values).tobytes())
        for values in self.classes or ():
            sums.update("\0".join(map(str, values)).encode())
        return sums.hexdigest()[:16]


def tasks(
    mdata: Data, target: str, plan: Plan | None = None, *, only: int | None = None, **keys: Any
) -> Iterator[Task]:
    """The folds of a benchmark (or `only` one), as every method sees them; of a `Plan`, or of its fields by keyword."""
    plan = plan or options(Plan, keys)
    mdata = cohort(mdata, [target])
    check_names(mdata, target, plan.classes)
    mdata = take_samples(mdata, pd.Index(sorted(mdata.mod[target].obs_names)))
    table = dense(aligned(mdata.mod[target], mdata.obs_names))
    others = [m for m in mdata.mod if m != target]
    if plan.pattern == ROWS and not others:
        raise DataError(
            "has no other modality to fill it from", where=target, wanted="two modalities, or another pattern"
        )
    found = plan.mask(mdata, target)
    hidden = None if found is None else found.to_numpy()
    named = None if plan.classes is None else classes_of(mdata.obs[plan.classes])
    for parts in plan.parts(mdata, target)[slice(only, None if only is None else only + 1)]:
        where = [mdata.obs_names.get_indexer(sorted(parts.index[parts == p])) for p in ("train", "test")]
        source = _sources(mdata, others, where, plan.prepare) if others else None
        if plan.pattern == ROWS and source is not None:
            where[1], source = _with_source(where[1], source)
        steps = target, (plan.prepare or {}).get(target, UNBOUNDED)
        yield _task(table, where, hidden, steps, source=source, classes=named, ids=mdata.obs_names)


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
    steps: tuple[str, Sequence[Any]],
    *,
    source: tuple[np.ndarray, np.ndarray] | None,
    classes: np.ndarray | None,
    ids: pd.Index,
) -> Task:
    rows, asked = where
    x = np.asarray(table.x, dtype=np.float64)
    gone = np.zeros(x.shape, dtype=bool) if hidden is None else hidden
    visible = np.where(gone, np.nan, x)
    pipeline = Pipeline(list(steps[1]))

    def part(values: np.ndarray, at: np.ndarray) -> Table:
        return Table(values[at], table.features, ~np.isnan(values[at]).all(axis=1))

    check_undone(pipeline.fit(part(visible, rows), steps[0], ids=ids[rows]), steps[0])
    train, test, truth = (values_of(pipeline, part(v, at)) for v, at in ((visible, rows), (visible, asked), (x, asked)))
    off = ~np.isnan(truth) if hidden is None else np.isnan(test) & ~np.isnan(truth)
    pair = None if classes is None else (classes[rows], classes[asked])
    return Task(
        train, np.where(off, np.nan, test), truth, off, source, pair, pipeline, ids[asked], ids[rows],
        lambda: train if hidden is None else values_of(pipeline, part(x, rows)),
    )  # fmt: skip


def check_undone(pipeline: Pipeline, target: str) -> None:
    """Refuse steps of a target that make several features of one."""
    if not len(set(pipeline.features_inverse_)) == len(pipeline.features_inverse_) == len(pipeline.features_out_):
        raise RecipeError("makes several features of one", where=f"prepare.{target}", wanted="steps that can be undone")


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
    """The same in float64, not sparse; rows of samples that lack the modality are NaN."""
    x = table.x
    if not isinstance(x, np.ndarray):
        x = x.toarray()
        x[~table.present] = np.nan  # CSR leaves them empty, which would be zeros
    return Table(np.asarray(x, dtype=np.float64), table.features, table.present)


def options(kind: type[K], keys: Mapping[str, Any]) -> K:
    """A dataclass of options from keywords; one that it does not have is refused by name."""
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    if other := next((k for k in keys if k not in known), None):
        raise RecipeError("no such option", where=other, hint=closest(other, known))
    return kind(**keys)


def classes_of(column: pd.Series) -> np.ndarray:
    """The class of every sample as text, `UNKNOWN` where it has none."""
    return np.asarray(column.astype(object).where(column.notna(), UNKNOWN).astype(str))


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
