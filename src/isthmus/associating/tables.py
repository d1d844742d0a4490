"""What is tested: two prepared tables over the samples that both have, and the groups of these samples."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import mudata as md
import numpy as np
import pandas as pd

from isthmus.associate.ranks import design_matrix
from isthmus.associating.recipe import AssociateRecipe, Associating
from isthmus.data.cohort import take_samples
from isthmus.errors import DataError, RecipeError, closest, listed
from isthmus.evaluate.tasks import kind_of
from isthmus.prepare.preparation import Preparation

__all__ = ["Tables", "in_words", "tables", "varying"]

log = logging.getLogger("isthmus.associate")
FEWEST = 4
LEAST_OF_A_CLASS = 2


@dataclass(frozen=True)
class Tables:
    """Two tables over the same samples.

    Attributes
    ----------
    x, y
        Samples x features, prepared; NaN is missing.
    obs
        Annotations of these samples.
    design
        Columns whose effect is taken out, or None.
    blocks
        Groups within which samples are permuted, or None.
    chosen
        Whether the recipe named the design (else it was found in obs).
    n_read
        Samples that were read.
    n_unknown
        Samples in both tables that lack a value of the design or of the blocks, and are left out.
    """

    x: pd.DataFrame
    y: pd.DataFrame
    obs: pd.DataFrame
    design: pd.DataFrame | None
    blocks: pd.Series | None
    chosen: bool
    n_read: int
    n_unknown: int


def tables(mdata: md.MuData, recipe: AssociateRecipe) -> Tables:
    """Join, prepare, and find the groups.

    Raises
    ------
    RecipeError
        A modality, column or target is unknown, or the design leaves too little freedom.
    DataError
        Too few samples, or a step cannot be fitted.
    """
    keys = recipe.associate
    for name in keys.between:
        if name not in mdata.mod:
            _unknown("no such modality", "associate.between", name, mdata.mod)
    ids = pd.Index(sorted(mdata.mod[keys.between[0]].obs_names.intersection(mdata.mod[keys.between[1]].obs_names)))
    if len(ids) < FEWEST:
        raise DataError("too few samples have both modalities", where="data", met=len(ids), wanted=f"at least {FEWEST}")
    obs = mdata.obs.loc[ids]
    design, chosen = _design(obs, keys)
    blocks = None if keys.blocks is None else _column(obs, keys.blocks, "associate.blocks")
    if keys.colour is not None:
        _column(obs, keys.colour, "associate.colour")
    known = pd.concat([v for v in (design, blocks) if v is not None] or [obs.iloc[:, :0]], axis=1).notna().all(axis=1)
    ids, unknown = ids[known.to_numpy()], int((~known).sum())
    if len(ids) < FEWEST:
        raise DataError("too few samples have a value of the design and of the blocks", where="associate.design",
                        met=len(ids), wanted=f"at least {FEWEST}")  # fmt: skip
    if unknown:
        log.warning("%d samples are left out: they lack a value of the design or of the blocks", unknown)
    x, y = _prepared(take_samples(mdata, ids), recipe)
    for name, table in zip(keys.between, (x, y), strict=True):
        _tell_flat(name, table)
    for name in keys.of:
        if name not in y.columns:
            _unknown(f"is no feature of {keys.between[1]} that is tested", "associate.targets", name, y.columns)
        if (shown := int(y[name].notna().sum())) < FEWEST:
            raise DataError("is shown by too few samples", where=f"associate.targets, {name!r}", met=shown,
                            wanted=f"{FEWEST} or more")  # fmt: skip
    return Tables(
        x, y, obs.loc[ids], None if design is None else design.loc[ids], None if blocks is None else blocks.loc[ids],
        chosen, mdata.n_obs, unknown,
    )  # fmt: skip


def varying(table: pd.DataFrame) -> np.ndarray:
    """Which features have two values or more: no other can correlate with anything."""
    return np.asarray(table.max() > table.min())


def _tell_flat(name: str, table: pd.DataFrame) -> None:
    """Say which features are not tested; refuse a table of none but such."""
    flat = table.columns[~varying(table)]
    if len(flat) == table.shape[1]:
        met = f"{len(flat):,} features that are constant or missing"
        raise DataError("holds nothing to correlate with", where=f"data: {name}", met=met)
    if len(flat):
        what = "%s: %d of %d features are constant or missing and not tested, such as %s"
        log.warning(what, name, len(flat), table.shape[1], listed(flat))


def in_words(names: Iterable[object]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = map(str, names)
    return f"{', '.join(first)} and {last}" if first else last


def _unknown(what: str, where: str, name: str, known: Mapping[str, object] | pd.Index) -> None:
    names = [str(k) for k in known]
    hint = closest(name, names)
    raise RecipeError(what, where=where, met=name, hint=hint)


def _column(obs: pd.DataFrame, name: str, where: str) -> pd.Series:
    if name not in obs:
        _unknown("no such column in obs", where, name, pd.Index([str(c) for c in obs.columns]))
    return obs[name]


def _design(obs: pd.DataFrame, keys: Associating) -> tuple[pd.DataFrame | None, bool]:
    """The columns to take out: those the recipe names, else those of classes that obs has."""
    if keys.design is None:
        found = None if keys.blocks is not None else _found(obs)
        if found is not None:
            log.warning(
                "taken out: %s, the classes that obs has; associate.design says otherwise ([]: none)",
                in_words(found.columns),
            )
        return found, False
    made = {}
    for name in keys.design:
        parts = [name] if name in obs else [p.strip() for p in name.split("*")]
        columns = [_column(obs, p, "associate.design") for p in parts]
        if len(columns) > 1:
            if any(kind_of(c) == "value" for c in columns):
                raise RecipeError("joins columns that are no classes", where="associate.design", met=name)
            missing = pd.concat(columns, axis=1).isna().any(axis=1)
            made[name] = pd.concat(columns, axis=1).astype(str).agg(" ".join, axis=1).mask(missing)
        else:
            made[name] = (
                columns[0].astype(str).where(columns[0].notna()) if kind_of(columns[0]) == "class" else columns[0]
            )
        if made[name].nunique() < 2:
            raise RecipeError("has one value throughout", where="associate.design", met=name)
    return (pd.DataFrame(made) if made else None), True


def _found(obs: pd.DataFrame) -> pd.DataFrame | None:
    """Every complete column of classes of two samples or more.

    Raises
    ------
    RecipeError
        Together they take more than half of the freedom.
    """
    classes = {str(c): v.astype(str) for c, v in obs.items() if _is_grouping(v)}
    reasons = {str(c): reason for c, v in obs.items() if (reason := _why_not(v))}
    if reasons:
        said = ", ".join(f"{c} ({reason})" for c, reason in reasons.items())
        log.warning("not taken out: %s; associate.design can name such columns", said)
    if not classes:
        return None
    frame = pd.DataFrame(classes)
    try:
        taken = design_matrix(frame, frame.index).shape[1]
    except DataError:
        taken = len(frame)
    if taken > len(frame) / 2:
        hint = f"columns of classes: {listed(classes, 8)}\n[] tests as the samples stand, group effects and all"
        raise RecipeError(
            "obs has more classes than can be taken out", where="associate.design",
            met=f"{taken} for {len(frame)} samples", wanted="the columns to take out", hint=hint,
        )  # fmt: skip
    return frame


def _is_grouping(values: pd.Series) -> bool:
    if kind_of(values) != "class" or values.isna().any() or values.nunique() < 2:
        return False
    return int(values.astype(str).value_counts().min()) >= LEAST_OF_A_CLASS


def _why_not(values: pd.Series) -> str:
    """Why a column of classes is not taken out of itself; empty where it is, or where it groups no samples."""
    levels = values.nunique()
    if kind_of(values) != "class" or not 2 <= levels <= len(values) / 2:
        return ""
    if missing := int(values.isna().sum()):
        return f"{missing} sample{'s' if missing > 1 else ''} without a value"
    alone = int((values.astype(str).value_counts() < LEAST_OF_A_CLASS).sum())
    return "" if not alone else "a class of one sample" if alone == 1 else f"{alone} classes of one sample"


def _prepared(mdata: md.MuData, recipe: AssociateRecipe) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables after their steps, fitted on the samples that are tested; none where the recipe names none."""
    between = recipe.associate.between
    for name in recipe.base.prepare:
        if name not in between:
            raise RecipeError("is none of the two modalities", where=f"prepare.{name}", wanted=" or ".join(between))
    pipelines = Preparation.parse(recipe.base.prepare, between, defaults=dict.fromkeys(between, ()))
    made = []
    for name, prepared in pipelines.fit(mdata).transform(mdata).items():
        if prepared.picture is not None:
            raise RecipeError("holds images", where="associate.between", met=name, wanted="a table of features")
        values = prepared.rows(np.arange(len(prepared)))
        made.append(pd.DataFrame(values, mdata.obs_names, pd.Index(prepared.features.astype(str))))
    return made[0], made[1]
