"""`impute`: find what is missing, score methods on what is known, fill with the winner, write, report."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

from isthmus.data.cohort import build, combinations
from isthmus.data.table import aligned
from isthmus.data.write import write
from isthmus.errors import DataError, ModelError, RecipeError, closest
from isthmus.experiment import timed
from isthmus.folder import CELLS, FITS, Signals, growing
from isthmus.impute.calls import levels_of
from isthmus.impute.downstream import summary
from isthmus.impute.filling import Filler, fit_filler
from isthmus.impute.imputer import Imputer, make
from isthmus.impute.intervals import pooled
from isthmus.impute.saved import save_imputer
from isthmus.impute.tasks import dense
from isthmus.impute.written import write_filled
from isthmus.imputing.fold import with_training
from isthmus.imputing.protocol import MASKS, plan_of, write_protocol
from isthmus.imputing.recipe import ImputeRecipe, load_impute_recipe, parse_impute_recipe
from isthmus.imputing.study import Labour, Study, missing, planned, study, targets_of
from isthmus.imputing.words import unfilled, verdict
from isthmus.imputing.work import read_cohort
from isthmus.recipe import versions
from isthmus.report import page
from isthmus.report.impute import ImputeResults, impute_page
from isthmus.report.table import save_csv
from isthmus.workers import Progress

__all__ = ["Imputed", "impute"]

log = logging.getLogger("isthmus.impute")
IMPUTER, FILLED = "imputer", "imputed"


@dataclass(frozen=True)
class Imputed:
    """What came of it.

    Attributes
    ----------
    mdata
        The cohort with the gaps of the targets filled, in original units; layers `lower`, `upper`, `imputed`.
    scores
        A row per target, method, pattern, rate, repeat and fold; see `isthmus.impute.benchmark`.
    chosen
        Target to kind of gap (`entries`, `modality`) to the method that fills it.
    verdict
        In words.
    report
        The page.
    """

    mdata: md.MuData
    scores: pd.DataFrame
    chosen: dict[str, dict[str, str]]
    verdict: list[str]
    report: Path


def impute(
    recipe: ImputeRecipe | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    watch: Callable[[Progress], None] | None = None,
) -> Imputed:
    """Fill what a cohort lacks by the methods that fill best what it has.

    Parameters
    ----------
    recipe
        `data`, `prepare`, `training` and `impute`; or a file of it.
    out
        The folder; it appears when all is done.
    workers
        Processes that score folds, one thread each. None: one per core; 0: in this process.
    resume
        Go on with an interrupted command: folds that are scored are not scored again.
    overwrite
        Replace a folder that a command wrote.
    watch
        Told how far the work is.

    Returns
    -------
    Imputed
        Also written: `imputed.h5mu` (or tables), `imputer/`, `scores.csv`, `metrics.json`, `report.html`.

    Raises
    ------
    InputError
        The recipe, the data or the folder is wrong.
    InterruptedTraining
        A signal asked for a stop; the folds that are scored are kept for `resume`.
    """
    if not isinstance(recipe, ImputeRecipe):
        recipe = parse_impute_recipe(recipe) if isinstance(recipe, Mapping) else load_impute_recipe(recipe)
    if workers is not None and workers < 0:
        raise RecipeError("is no number of workers", where="--workers", met=workers, wanted="at least 1")
    out = Path(out)
    signals = Signals()
    with signals.caught(), growing(out, recipe.text(), resume=resume, overwrite=overwrite) as folder:
        found = _carry_out(recipe, folder, Labour(folder / FITS / CELLS, workers, watch))
    return Imputed(*found, out / "report.html")


def _carry_out(
    recipe: ImputeRecipe, folder: Path, labour: Labour
) -> tuple[md.MuData, pd.DataFrame, dict[str, dict[str, str]], list[str]]:
    with timed("read"):
        mdata = read_cohort(recipe.text())
    _check_columns(recipe, mdata)
    lacks = missing(mdata)
    targets = targets_of(recipe, lacks)
    called = _called(recipe, mdata, targets)
    lack = {str(r["modality"]): {str(k): v for k, v in r.items()} for r in lacks.to_dict("records")}
    studies, fillers = [planned(mdata, t, recipe, lack[t]) for t in targets], {}
    for s in studies:
        with timed(f"score {s.target}"):
            study(s, mdata, recipe, labour)
        with timed(f"fill {s.target}"):
            fillers[s.target] = _filler(recipe, mdata, s, calls=s.target in called)
    filled = {t: f.transform(mdata) for t, f in fillers.items()}
    whole = build({m: filled.get(m, a) for m, a in mdata.mod.items()}, mdata.obs)
    scores = pd.concat([s.scores.assign(target=s.target) for s in studies], ignore_index=True)
    said = [*verdict(studies, lacks, recipe.impute), *unfilled(filled)]
    _write(folder, recipe, whole, fillers, scores)
    write_protocol(folder / MASKS, recipe, mdata, {s.target: s.settings for s in studies})
    (folder / "metrics.json").write_text(json.dumps(_metrics(studies), indent=1) + "\n", encoding="utf-8")
    with timed("report"):
        page.write(impute_page(_results(recipe, mdata, lacks, studies, fillers, said)), folder)
    return whole, scores, {s.target: {k: c.method for k, c in s.choices.items()} for s in studies}, said


def _check_columns(recipe: ImputeRecipe, mdata: md.MuData) -> None:
    keys = recipe.impute
    label = None if keys.downstream is None else keys.downstream.label
    asked = {"impute.classes": keys.classes, "impute.downstream.label": label}
    for where, name in asked.items():
        known = [str(c) for c in mdata.obs.columns]
        if name is not None and name not in known:
            hint = closest(name, known)
            raise RecipeError("no such column in obs", where=where, met=name, hint=hint)


def _called(recipe: ImputeRecipe, mdata: md.MuData, targets: Sequence[str]) -> list[str]:
    """The modalities that are returned as calls: of the targets those that hold calls."""
    if not recipe.impute.calls:
        return []
    found = [t for t in targets if levels_of(dense(aligned(mdata.mod[t], mdata.obs_names)).x) is not None]
    if not found:
        wanted = "2 to 12 distinct whole numbers"
        raise RecipeError("holds no calls", where=f"impute.calls: {', '.join(targets)}", wanted=wanted)
    return found


def _filler(recipe: ImputeRecipe, mdata: md.MuData, found: Study, *, calls: bool) -> Filler:
    """The winners, fitted on all that is observed."""
    keys = recipe.impute
    named = {make(m)[0]: make(m)[1] for m in keys.methods or ()}
    methods: dict[str, Imputer] = {
        kind: with_training(named.get(c.method, make(c.method)[1]), recipe) for kind, c in found.choices.items()
    }
    return fit_filler(
        mdata, found.target, methods=methods, prepare=recipe.base.prepare, classes=keys.classes, level=keys.level,
        calls=calls, seed=recipe.base.training.seed,
    )  # fmt: skip


def _write(
    folder: Path, recipe: ImputeRecipe, filled: md.MuData, fillers: Mapping[str, Filler], scores: pd.DataFrame
) -> None:
    for kind in recipe.impute.write:
        if kind == "h5mu":
            write(filled, folder / f"{FILLED}.h5mu")
        else:
            write_filled(filled, folder / f"{FILLED}-{kind}", suffix=f".{kind}")
    try:
        save_imputer(fillers, folder / IMPUTER)
    except ModelError as error:
        log.warning("the fitted imputer is not saved: %s", error)
    save_csv(scores, folder / "scores.csv")


def _metrics(studies: list[Study]) -> dict[str, float | str]:
    """Flat: what was chosen, and the mean of every score over folds and repeats."""
    flat: dict[str, float | str] = {}
    for s in studies:
        for kind, choice in s.choices.items():
            flat[f"chosen/{s.target}/{kind}"] = choice.method
        numbers = s.scores.drop(columns=["seconds", "inputs", "fold", "repeat"])
        for key, of in numbers.groupby(["pattern", "rate", "method"], dropna=False, sort=False):
            pattern, rate, method = map(str, key)
            place = f"{s.target}/{pattern}" + ("" if rate == "nan" else f"/{float(rate):g}")
            means = of.drop(columns=["pattern", "rate", "method"]).mean()
            flat |= {f"{place}/{method}/{name}": float(v) for name, v in means.items() if np.isfinite(v)}
    return flat


def _results(
    recipe: ImputeRecipe,
    mdata: md.MuData,
    lacks: pd.DataFrame,
    studies: list[Study],
    fillers: Mapping[str, Filler],
    said: list[str],
) -> ImputeResults:
    parts = []
    for s in studies:
        label = recipe.impute.downstream
        rows = pd.concat(s.downstream, ignore_index=True) if s.downstream else pd.DataFrame()
        parts.append(
            {
                "target": s.target, "scores": s.scores, "choices": {k: c.table for k, c in s.choices.items()},
                "chosen": {k: c.method for k, c in s.choices.items()},
                "samples": pd.concat(s.samples, ignore_index=True), "features": _by_feature(s),
                "calibration": pd.DataFrame(s.calibration), "components": s.components,
                "masks": _maps(s, mdata, recipe),
                "downstream": _summaries(rows), "label": "" if label is None else label.label,
                "pooled": _pooled(recipe, mdata, fillers[s.target]),
            }
        )  # fmt: skip
    return ImputeResults(
        name="Imputation", subtitle=f"{mdata.n_obs:,} samples, {len(mdata.mod)} modalities", verdict=said,
        missing=lacks, combinations=combinations(mdata), level=recipe.impute.level, parts=parts, recipe=recipe.text(),
        versions=versions(),
    )  # fmt: skip


def _by_feature(s: Study) -> pd.DataFrame:
    """Mean over folds; the values that were hidden are counted."""
    every = pd.concat(s.features, ignore_index=True)
    groups = every.groupby(["kind", "method", "feature"], sort=False)
    table = groups.mean(numeric_only=True)
    if "n" in table:
        table["n"] = groups["n"].sum()
    return table.reset_index()


def _summaries(rows: pd.DataFrame) -> pd.DataFrame:
    if rows.empty:
        return rows
    several = [summary(of).assign(kind=kind) for kind, of in rows.groupby("kind", sort=False)]
    return pd.concat(several, ignore_index=True)


def _maps(s: Study, mdata: md.MuData, recipe: ImputeRecipe) -> dict[str, np.ndarray]:
    """What is really missing, and what each pattern hides at its first rate: all samples x features."""
    maps = {"missing": np.isnan(dense(aligned(mdata.mod[s.target], mdata.obs_names)).x)}
    for setting in s.settings:
        if setting.pattern not in maps:
            plan = plan_of(recipe, s.target, setting)
            hidden = plan.mask(mdata, s.target)
            if hidden is None:
                parts = plan.parts(mdata, s.target)[0]
                rows = mdata.obs_names.isin(parts.index[parts == "test"])
                maps[setting.pattern] = rows[:, None] & ~maps["missing"]
            else:
                maps[setting.pattern] = hidden.reindex(mdata.obs_names, fill_value=False).to_numpy()
    return maps


def _pooled(recipe: ImputeRecipe, mdata: md.MuData, filler: Filler) -> pd.DataFrame:
    """The mean of every feature over all samples, by Rubin's rules, beside the mean of what is observed."""
    if not recipe.impute.draws:
        return pd.DataFrame()
    try:
        draws = filler.draws(mdata, recipe.impute.draws, seed=recipe.base.training.seed)
    except DataError as error:
        log.warning("nothing is pooled: %s", error)
        return pd.DataFrame()
    table = pooled(draws, list(filler.pipeline.features_in_))
    x = dense(aligned(mdata.mod[filler.target], mdata.obs_names)).x
    return table.assign(observed=np.nanmean(np.where(np.isnan(x).all(axis=0), 0, x), axis=0))
