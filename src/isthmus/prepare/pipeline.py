"""The steps of one modality in a row: fitted on train, replayed on any sample."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from isthmus.data.images import Picture
from isthmus.data.lookalike import hint_of
from isthmus.data.table import Array, Table
from isthmus.errors import DataError, ModelError, RecipeError, listed
from isthmus.prepare import checks
from isthmus.prepare.bags import Instances, split
from isthmus.prepare.elementwise import Clip
from isthmus.prepare.pixels import Pixels
from isthmus.prepare.prepared import Prepared
from isthmus.prepare.span import Span
from isthmus.prepare.step import Affine, Entry, Step, clipped, describe, parse_steps

__all__ = ["Pipeline", "Prepared"]

log = logging.getLogger("isthmus.prepare")


class Pipeline:
    """Steps in a row for one modality.

    Parameters
    ----------
    steps
        Steps, or what a recipe writes for them: `["log1p", {"top_variance": 2000}, "standardise"]`.

    Attributes
    ----------
    features_in_, features_out_
        Names before the first step and after the last.
    features_inverse_
        Names of the columns that `inverse` gives: the features that survived.
    report_
        Per step: `step`, `before`, `after` (numbers of features) and `message`.
    picture_
        Size, type and range of the training images; None for a table.
    bag_
        Whether it was learnt on bags of instances.
    """

    features_in_: pd.Index
    features_out_: pd.Index
    features_inverse_: pd.Index
    report_: list[dict[str, Any]]
    modality_: str
    picture_: Picture | None
    bag_: bool

    def __init__(self, steps: Sequence[Entry | Step] = ()) -> None:
        self.steps = parse_steps(list(steps))

    def fit(self, table: Table, modality: str = "table", *, ids: pd.Index | None = None) -> Pipeline:
        """Learn every step from the training samples that have this modality.

        Parameters
        ----------
        table
            The training samples.
        modality
            Its name, for messages.
        ids
            The sample ids, for messages and for steps that look samples up elsewhere.

        Raises
        ------
        DataError
            Nothing to learn from, a value outside a step's domain, or no feature left.
        RecipeError
            The order of the steps would fill a sparse table.
        """
        self.modality_, self.features_in_, self.report_ = modality, table.features, []
        self.picture_, self.bag_ = table.picture, table.bags is not None
        checks.learnable(table, modality)
        x, ids = table.of_present(), None if ids is None else ids[table.present]
        instances, inner = self._instances(table)
        if instances is not None and inner:
            x = instances.draw()
        features, tail = table.features, _Tail(modality)
        self._check_span()
        for i, step in enumerate(self.steps):
            with checks.blaming(modality, step.name):
                tail.check(step, x)
                if isinstance(step, Pixels):
                    step.picture = table.picture
                if instances is not None and i == len(inner):
                    x = Instances(instances.bags, inner).means()[table.present]
                step.fit(x, features, ids=ids if i >= len(inner) else None)
                self._check_whole(step, len(features), drops=i < len(inner))
                if not len(step.features_):
                    raise DataError("no feature is left", met=f"{len(features)} before it")
                if i + 1 < len(self.steps) and not tail.takes(step, x):
                    x = step.transform(x, ids=ids)
            self._note(step, len(features))
            features = step.features_
        self._name(features)
        return self

    def transform(self, table: Table, *, ids: pd.Index | None = None) -> Prepared:
        """Any samples, their features in any order.

        A feature that is missing counts as unobserved, with one warning; one that is unknown is left out.

        Raises
        ------
        DataError
            No feature in common, or a value outside a step's domain.
        """
        self._check_kind(table)
        checks.finite(table.x, table.features, self.modality_)
        x, unobserved = self._reordered(table, ids)
        tail = _Tail(self.modality_)
        instances, inner = self._instances(table)
        if instances is not None:
            x, unobserved = instances.means(), None
        for step in self.steps[len(inner) :]:
            with checks.blaming(self.modality_, step.name):
                tail.check(step, x)
                if not tail.takes(step, x):
                    x = step.transform(x, ids=ids)
            if unobserved is not None and sp.issparse(x):
                unobserved = unobserved[step.origins(np.arange(len(step.features_)))]
        if not sp.issparse(x) or unobserved is None or not unobserved.any():
            unobserved = None
        return Prepared(
            x, self.features_out_, table.present, tail.shift, tail.scale, tail.low, tail.high, unobserved,
            self.picture_, self.span, instances,
        )  # fmt: skip

    def inverse(self, x: np.ndarray) -> np.ndarray:
        """Prepared values (n x f_out) in original units: the features that survived, named by `features_inverse_`.

        Pixels end within the range of their type, or of the training images.
        """
        if x.ndim != 2 or x.shape[1] != len(self.features_out_):
            raise ModelError("wrong width", where=self.modality_, met=x.shape, wanted=f"n x {len(self.features_out_)}")
        columns = np.arange(len(self.features_out_))
        for step in reversed(self.steps):
            x = step.inverse_transform(x, columns=columns)
            columns = step.origins(columns)
        return x if self.picture_ is None else self.picture_.clip(x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a prepared sample: (f,), or (H, W, C) of an image."""
        return (len(self.features_out_),) if self.picture_ is None else self.picture_.shape

    @property
    def span(self) -> Span | None:
        """The step that tells a network to read coordinates; None where it reads the values."""
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, Span) else None

    def absent(self, n: int) -> Prepared:
        """So many samples without this modality."""
        empty = sp.csr_matrix((n, len(self.features_out_)), dtype=np.float32)
        return Prepared(empty, self.features_out_, np.zeros(n, dtype=bool), picture=self.picture_, span=self.span)

    def get_state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Learnt arrays by name, and everything else fit for JSON."""
        arrays = {f"{i}/{k}": v for i, s in enumerate(self.steps) for k, v in s.get_state().items()}
        meta = {
            "modality": self.modality_,
            "features": [str(f) for f in self.features_in_] if self.picture_ is None else [],
            "picture": None if self.picture_ is None else asdict(self.picture_),
            "bag": self.bag_,
            "steps": [{"step": describe(s), "learnt": s.get_meta()} for s in self.steps],
            "report": self.report_,
        }
        return arrays, meta

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Pipeline:
        """The fitted pipeline that `get_state` described.

        Raises
        ------
        ModelError
            Something is missing from it.
        """
        try:
            made = cls([s["step"] for s in meta["steps"]])
            made.modality_, made.report_ = meta["modality"], list(meta["report"])
            picture = made.picture_ = Picture.from_dict(meta.get("picture"))
            features = pd.Index(meta["features"], dtype=object) if picture is None else picture.names()
            made.features_in_, made.bag_ = features, bool(meta.get("bag", False))
            for i, (step, saved) in enumerate(zip(made.steps, meta["steps"], strict=True)):
                mine = {k.partition("/")[2]: v for k, v in arrays.items() if k.partition("/")[0] == str(i)}
                features = step.set_state(mine, saved["learnt"], features).features_
        except (KeyError, AttributeError, IndexError, TypeError) as error:
            raise ModelError("the saved preparation is damaged", where="prepare", met=str(error)) from error
        made._name(features)
        return made

    def _name(self, features: pd.Index) -> None:
        """Names after the last step, and what of the names before the first they come from."""
        self.features_out_ = features
        columns = np.arange(len(features))
        for step in reversed(self.steps):
            columns = step.origins(columns)
        self.features_inverse_ = self.features_in_[columns]

    def _check_span(self) -> None:
        """Coordinates are of the values that come out in the end, and of tables."""
        where = f"prepare.{self.modality_}.span"
        if any(isinstance(step, Span) for step in self.steps[:-1]):
            raise RecipeError("does not come last", where=where, wanted="no step after it")
        if self.span is not None and (self.picture_ is not None or self.bag_):
            met = "bags" if self.bag_ else "images"
            raise RecipeError("is for tables", where=where, met=met, wanted="prepare without span")

    def _instances(self, table: Table) -> tuple[Instances | None, list[Step]]:
        """The bags that rows are the means of, and the steps for their instances; none for a model of tables."""
        if table.bags is None or not self.bag_:
            return None, []
        inner, _ = split(self.steps)
        position = table.features.get_indexer(self.features_in_)
        columns = None if table.features.equals(self.features_in_) else position
        return Instances(table.bags, inner, columns), inner

    def _check_whole(self, step: Step, before: int, *, drops: bool) -> None:
        """Images stay whole; of bags, the mean has the features of its instances."""
        if self.bag_ and not drops and len(step.features_) != before:
            raise RecipeError(
                "would drop or add features of the mean alone", where=f"prepare.{self.modality_}", met=step.name,
                wanted="it before mean, where it is for the instances",
            )  # fmt: skip
        if self.picture_ is not None and len(step.features_) != before:
            raise RecipeError(
                "would drop or add pixels of an image", where=f"prepare.{self.modality_}", met=step.name,
                wanted="pixels, or a step that treats every pixel by itself, such as standardise",
            )  # fmt: skip

    def _check_kind(self, table: Table) -> None:
        """New samples are images or bags like those of training, or a table like it."""
        if self.picture_ is not None:
            self.picture_.refuse_other(table.picture, self.modality_)
        elif self.bag_ and table.bags is None:
            raise DataError("is a table", where=self.modality_, wanted="bags of instances, as in training")
        elif table.picture is not None:
            raise DataError("holds images", where=self.modality_, wanted="a table, as in training")

    def _note(self, step: Step, before: int) -> None:
        """Put what a step did into the report and the log."""
        entry = {"step": step.name, "before": before, "after": len(step.features_), "message": step.message_}
        self.report_.append(entry)
        log.info(
            "%s: %s, %d -> %d features%s",
            *(self.modality_, step.name, before, entry["after"], f" ({step.message_})" if step.message_ else ""),
        )

    def _reordered(self, table: Table, ids: pd.Index | None) -> tuple[Array, np.ndarray | None]:
        """The columns in the order of training; the second answer marks what is missing."""
        if table.features.equals(self.features_in_):
            return table.x, None
        checks.unique(table.features, self.modality_)
        position = table.features.get_indexer(self.features_in_)
        missing = position < 0
        if missing.all() and ids is not None and (turned := int(self.features_in_.isin(ids).sum())):
            raise DataError(
                "has its samples in columns", where=self.modality_, met=f"{turned} features of the model as sample ids",
                hint=f"read it with orientation: samples_in_columns, in isthmus apply by\n"
                f"--read {self.modality_}.orientation=samples_in_columns",
            )  # fmt: skip
        if missing.any():
            self._tell_missing(missing, table.features)
        if extra := len(table.features) - int((~missing).sum()):
            log.info("%s: left out %d features that training did not have", self.modality_, extra)
        return _columns(table.x, position), missing if missing.any() else None

    def _tell_missing(self, missing: np.ndarray, features: pd.Index) -> None:
        """A warning that names some of what is missing; an error where nothing of what is in use is there."""
        every = any(s.rowwise for s in self.steps)
        in_use = np.ones_like(missing) if every else self.features_in_.isin(self.features_inverse_)
        hint = hint_of(features, self.features_in_, "features")
        if missing[in_use].all():
            raise DataError(
                "no feature in common with the training samples" + ("" if missing.all() else ", of those in use"),
                where=self.modality_, met=listed(features), wanted=listed(self.features_in_[in_use]), hint=hint,
            )  # fmt: skip
        gone = self.features_in_[missing]
        log.warning(
            "%s: %d of %d features are missing and count as unobserved, %d of them in use: %s%s",
            *(self.modality_, len(gone), len(missing), int((missing & in_use).sum()), listed(gone)),
            hint and f"; {hint}",
        )


class _Tail:
    """The end of a pipeline on CSR: a shift and bounds that `Prepared` applies to the rows of a batch."""

    def __init__(self, modality: str) -> None:
        self.modality, self.deferred = modality, False
        self.shift: np.ndarray | None = None
        self.scale: np.ndarray | None = None
        self.low: float | None = None
        self.high: float | None = None

    def check(self, step: Step, x: Array) -> None:
        """Only clipping may follow what is applied per batch."""
        if self.deferred and not isinstance(step, Clip):
            raise RecipeError(
                "comes after a step that shifts a sparse table, which happens a batch at a time",
                where=f"prepare.{self.modality}.{step.name}",
                hint="put centring steps last (only clip may follow), or store the modality dense",
            )

    def takes(self, step: Step, x: Array) -> bool:
        """Whether a fitted step is deferred instead of transforming `x`."""
        if not sp.issparse(x):
            return False
        if isinstance(step, Affine) and step.shift_.any():
            self.shift, self.scale = step.shift_, step.scale_
            self.low, self.high = step.bounds()
            self.deferred = True
        elif isinstance(step, Clip):
            low, high = step.options.low, step.options.high
            moves_zero = (low is not None and low > 0) or (high is not None and high < 0)
            if not self.deferred and not moves_zero:
                return False
            self.low, self.high = _within(self.low, self.high, low, high)
            self.deferred = True
        else:
            return False
        return True


def _within(
    low: float | None, high: float | None, new_low: float | None, new_high: float | None
) -> tuple[float | None, float | None]:
    """The bounds of clipping to (low, high) and then to (new_low, new_high)."""
    ends = np.array([-np.inf if low is None else low, np.inf if high is None else high])
    a, b = (float(v) for v in clipped(ends, new_low, new_high))
    return (a if np.isfinite(a) else None), (b if np.isfinite(b) else None)


def _columns(x: Array, position: np.ndarray) -> Array:
    """Columns by position; -1 gives NaN in a dense table and nothing stored in CSR."""
    found = position >= 0
    if isinstance(x, np.ndarray):
        out = x[:, np.where(found, position, 0)]
        out[:, ~found] = np.nan
        return out
    ones = (np.ones(found.sum(), x.dtype), (position[found], np.flatnonzero(found)))
    return sp.csr_matrix(x @ sp.csr_matrix(ones, shape=(x.shape[1], len(position))))
