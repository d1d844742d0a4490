"""The real gaps of a modality, filled by fitted methods, in original units, with an interval for every value."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
from sklearn.base import clone

from isthmus.data.accepted import Data, cohort
from isthmus.data.cohort import build
from isthmus.data.table import Table, aligned
from isthmus.errors import DataError, RecipeError
from isthmus.impute.benchmark import Entry, hiding
from isthmus.impute.calls import as_calls, levels_of
from isthmus.impute.imputer import Imputer, check_reads, make
from isthmus.impute.intervals import half_widths, multiple, residuals
from isthmus.impute.masks import ENTRIES, GAPS, ROWS
from isthmus.impute.tasks import UNBOUNDED, check_names, check_undone, classes_of, dense, options, values_of
from isthmus.prepare.pipeline import Pipeline
from isthmus.prepare.preparation import Preparation

__all__ = ["ENTRIES", "ROWS", "Filler", "Filling", "fill", "fit_filler"]

log = logging.getLogger("isthmus.impute")
THINNED = 0.2
"""Most that is hidden at a time of the samples set aside for the intervals."""


@dataclass(frozen=True)
class Filler:
    """Fitted methods for the gaps of one modality.

    Attributes
    ----------
    target
        The modality.
    pipeline, sources
        Preparation of the target and of the other modalities (None without any).
    methods
        Kind of gap (`entries`, `modality`) to fitted method.
    widths
        Kind of gap to half-widths per prepared feature (f); NaN where too little was observed.
    level
        Of the intervals.
    levels
        Values are returned as the nearest of these calls; None leaves them as they are.
    classes
        The column of obs that the methods read, or None.
    errors
        Kind of gap to residuals of samples set aside, for draws; not saved.
    """

    target: str
    pipeline: Pipeline
    sources: Preparation | None
    methods: Mapping[str, Imputer]
    widths: Mapping[str, np.ndarray]
    level: float
    levels: np.ndarray | None
    classes: str | None
    errors: Mapping[str, np.ndarray]

    def transform(self, mdata: Data) -> ad.AnnData:
        """The modality of all samples of a cohort.

        Parameters
        ----------
        mdata
            Any samples; features in any order, the target may be absent throughout.

        Returns
        -------
        anndata.AnnData
            X in original units, layers `lower`, `upper` (equal to X where observed) and `imputed` (1 where filled).
            Features that the preparation drops keep their gaps.
        """
        mdata = cohort(mdata, [self.target])
        known, x = self._tables(mdata)
        filled, width = self._filled(x, mdata)
        ends = [self._original(v, known) for v in (filled, filled - width, filled + width)]
        return self._container(known, ends, mdata.obs_names)

    def draws(self, mdata: Data, m: int, *, seed: int = 0) -> np.ndarray:
        """`m` draws of the filled table, m x n x f in original units (multiple imputation).

        Raises
        ------
        DataError
            `m` is no number of draws, or there are no residuals to draw: of a filler that was loaded, as they are not
            saved, or that was fitted on too few samples to set any aside. Draws would all be the same.
        """
        if m < 1:
            raise DataError("is no number of draws", where="m", met=m, wanted="at least 1")
        mdata = cohort(mdata, [self.target])
        known, x = self._tables(mdata)
        filled, _ = self._filled(x, mdata)
        made = np.empty((m, *filled.shape))
        for kind, rows in self._kinds(x).items():
            errors = self.errors.get(kind, np.zeros((0, x.shape[1])))
            if np.isnan(x[rows]).any() and np.isnan(errors).all():
                hint = "a saved imputer holds none; to learn them, a few dozen samples are needed"
                raise DataError("has no residuals to draw from", where=f"{self.target}, {kind}", hint=hint)
            made[:, rows] = multiple(x[rows], filled[rows], errors, m, seed=seed)
        return np.stack([self._original(v, known) for v in made])

    def _tables(self, mdata: md.MuData) -> tuple[np.ndarray, np.ndarray]:
        """The target in original units (features as in training) and prepared, n x f each, NaN where missing."""
        n, wanted = mdata.n_obs, self.pipeline.features_in_
        if self.target not in mdata.mod:
            return np.full((n, len(wanted)), np.nan), np.full((n, len(self.pipeline.features_out_)), np.nan)
        table = dense(aligned(mdata.mod[self.target], mdata.obs_names))
        columns = table.features.get_indexer(wanted)
        known = np.where(columns >= 0, table.x[:, np.where(columns >= 0, columns, 0)], np.nan)
        return known, values_of(self.pipeline, table)

    def _kinds(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Rows by the method that fills them."""
        absent = np.isnan(x).all(axis=1)
        if len(self.methods) == 1:
            return {next(iter(self.methods)): np.ones(len(x), dtype=bool)}
        return {ENTRIES: ~absent, ROWS: absent}

    def _filled(self, x: np.ndarray, mdata: md.MuData) -> tuple[np.ndarray, np.ndarray]:
        """Prepared values without gaps, and half-widths (0 where observed), n x f each."""
        read = any("classes" in m.reads for m in self.methods.values())
        extra = _extra(self.sources, self.classes if read else None, mdata)
        filled, width = x.copy(), np.zeros(x.shape)
        for kind, rows in self._kinds(x).items():
            if rows.any():
                filled[rows] = self.methods[kind].transform(x[rows], **{k: v[rows] for k, v in extra.items()})
                width[rows] = np.where(np.isnan(x[rows]), self.widths[kind], 0)
        return filled, width

    def _original(self, x: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Prepared values in original units; what is known stands."""
        found = np.full(known.shape, np.nan)
        found[:, self.pipeline.features_in_.get_indexer(self.pipeline.features_inverse_)] = self.pipeline.inverse(x)
        found = found if self.levels is None else as_calls(found, self.levels)
        return np.where(np.isnan(known), found, known)

    def _container(self, known: np.ndarray, ends: Sequence[np.ndarray], ids: pd.Index) -> ad.AnnData:
        value, lower, upper = (v.astype(np.float32) for v in ends)
        imputed = (np.isnan(known) & ~np.isnan(value)).astype(np.uint8)
        layers = {"lower": np.fmin(lower, upper), "upper": np.fmax(lower, upper), "imputed": imputed}
        obs, var = pd.DataFrame(index=ids), pd.DataFrame(index=self.pipeline.features_in_)
        return ad.AnnData(value, obs, var, layers=layers)


@dataclass(frozen=True)
class Filling:
    """What else `fit_filler` is told.

    Attributes
    ----------
    prepare
        Modality to steps; `[standardise]` by default.
    classes
        Column of classes, for methods that read them.
    level
        Of the intervals.
    calls
        Return whole numbers where the modality holds few distinct ones, such as copy-number calls.
    seed
        Of what is set aside for the intervals.
    """

    prepare: Mapping[str, Sequence[Any]] | None = None
    classes: str | None = None
    level: float = 0.9
    calls: bool = False
    seed: int = 0


def fit_filler(mdata: Data, target: str, *, methods: Entry | Mapping[str, Entry], **keys: Any) -> Filler:
    """Fit methods on all that is observed of a modality.

    Parameters
    ----------
    mdata
        The cohort.
    target
        The modality whose gaps are to be filled.
    methods
        A method (see `benchmark`), or one for each of `entries` and `modality`: the two kinds of gap.
    **keys
        `prepare`, `classes`, `level`, `calls`, `seed`: see `Filling`.

    Returns
    -------
    Filler

    Raises
    ------
    RecipeError
        An unknown modality, column, method or option; a level outside 0..1; calls of a table that holds none; a
        method that reads another modality, or classes, alone without any.
    DataError
        Nothing of the modality is observed.
    """
    how, mdata = options(Filling, keys), cohort(mdata, [target])
    check_names(mdata, target, how.classes)
    if not 0 < how.level < 1:
        raise RecipeError("is no level", where="level", met=how.level, wanted="above 0 and below 1")
    here, rows, levels = _observed(mdata, target, calls=how.calls)
    pipeline = Pipeline(list((how.prepare or {}).get(target, UNBOUNDED))).fit(here, target, ids=mdata.obs_names[rows])
    check_undone(pipeline, target)
    sources = _sources(mdata, target, how.prepare)
    x, extra = values_of(pipeline, here), {k: v[rows] for k, v in _extra(sources, how.classes, mdata).items()}
    fitted, widths, errors = {}, {}, {}
    for kind, entry in _by_kind(methods).items():
        name, method = make(entry)
        check_reads(name, method, list(extra))
        hide = hiding(ROWS if kind == ROWS else GAPS, THINNED)
        errors[kind] = residuals(method, x, hide, seed=how.seed, **extra)
        widths[kind] = half_widths(errors[kind], how.level)
        fitted[kind] = clone(method).fit(x, y=None, **extra)
    return Filler(target, pipeline, sources, fitted, widths, how.level, levels, how.classes, errors)


def _observed(mdata: md.MuData, target: str, *, calls: bool) -> tuple[Table, np.ndarray, np.ndarray | None]:
    """The samples that show something of the target, in the order of their ids; their positions; the calls."""
    table = dense(aligned(mdata.mod[target], mdata.obs_names))
    levels = levels_of(table.x) if calls else None
    if calls and levels is None:
        raise RecipeError("holds no calls", where=f"impute.calls: {target}", wanted="2 to 12 distinct whole numbers")
    rows = np.flatnonzero(table.present & ~np.isnan(table.x).all(axis=1))
    if not len(rows):
        raise DataError("has no observed entry to learn from", where=target)
    rows = rows[np.argsort(np.asarray(mdata.obs_names)[rows].astype(str))]
    return Table(table.x[rows], table.features, table.present[rows]), rows, levels


def fill(mdata: Data, target: str, *, methods: Entry | Mapping[str, Entry], **keys: Any) -> md.MuData:
    """Fill the gaps of one modality; see `fit_filler` for the parameters, `Filler.transform` for the result.

    Returns
    -------
    mudata.MuData
        The cohort with `target` filled for all samples; the other modalities as they were.
    """
    mdata = cohort(mdata, [target])
    found = fit_filler(mdata, target, methods=methods, **keys).transform(mdata)
    return build({m: found if m == target else a for m, a in mdata.mod.items()}, mdata.obs)


def _by_kind(methods: Any) -> dict[str, Entry]:
    """A method per kind of gap."""
    if isinstance(methods, Mapping) and methods and set(methods) <= {ENTRIES, ROWS}:
        return dict(methods)
    if isinstance(methods, Mapping) and set(methods) & {ENTRIES, ROWS}:
        met = next(k for k in methods if k not in (ENTRIES, ROWS))
        raise RecipeError("no such kind of gap", where="methods", met=met, wanted=f"{ENTRIES} or {ROWS}")
    return {ENTRIES: methods, ROWS: methods}


def _sources(mdata: md.MuData, target: str, prepare: Mapping[str, Sequence[Any]] | None) -> Preparation | None:
    others = [m for m in mdata.mod if m != target]
    if not others:
        return None
    steps = {m: s for m, s in (prepare or {}).items() if m in others}
    return Preparation.parse(steps, others).fit(mdata)


def _extra(sources: Preparation | None, classes: str | None, mdata: md.MuData) -> dict[str, np.ndarray]:
    """Keyword arguments of `fit` and `transform` besides the table."""
    extra = {}
    if sources is not None:
        made = sources.transform(mdata)
        every = np.arange(mdata.n_obs)
        extra["source"] = np.hstack([p.rows(every) for p in made.values()]).astype(np.float64)
    if classes is not None and classes in mdata.obs:
        extra["classes"] = classes_of(mdata.obs[classes])
    elif classes is not None:
        log.warning("obs has no column %s, which the imputer reads: the class of every sample is unknown", classes)
    return extra
