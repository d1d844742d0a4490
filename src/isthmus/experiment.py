"""From a recipe to a run folder: read, split, prepare, fit, evaluate, report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mudata as md
import pandas as pd

from isthmus import assess, measures, results
from isthmus.config import copy_with
from isthmus.data.cohort import take_samples
from isthmus.data.pathways import read_pathways
from isthmus.data.read import read
from isthmus.data.simulate import simulate
from isthmus.data.split import labels as split_labels
from isthmus.data.split import take
from isthmus.errors import DataError, RecipeError, closest, listed
from isthmus.evaluate.tasks import kind_of
from isthmus.evaluating_keys import Translation
from isthmus.fitted import Fitted
from isthmus.fitting import fit
from isthmus.folder import FITS, Signals, growing, nothing_to_resume, resolve
from isthmus.loading import load
from isthmus.pictures import held_out
from isthmus.recipe import Recipe
from isthmus.report.images import Pictures
from isthmus.training.checkpoint import Keeper
from isthmus.training.engine import Watch

log = logging.getLogger("isthmus.run")
ALL = "all"


@dataclass(frozen=True)
class Fold:
    """One fit: its name, and its samples by part."""

    name: str
    parts: Mapping[str, md.MuData]


@dataclass(frozen=True)
class Run:
    """A run under way."""

    recipe: Recipe
    folder: Path
    resume: bool
    signals: Signals
    watch: Watch | None


def run(
    recipe: Recipe, out: str | Path, *, resume: bool = False, overwrite: bool = False, watch: Watch | None = None
) -> Path:
    """Carry out a recipe.

    Parameters
    ----------
    recipe
        What to do; see `isthmus.recipe.load_recipe`.
    out
        The run folder; it appears when the run is whole.
    resume
        Go on with an interrupted run of the same recipe.
    overwrite
        Replace a run folder that is there.
    watch
        Called after every epoch.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    InputError
        The recipe, the data or the folder is wrong.
    RunError
        Training could not go on.
    InterruptedTraining
        A signal asked for a stop.
    """
    out = Path(out)
    text = recipe.text()
    if resume and nothing_to_resume(out, text):
        log.warning("%s is complete: nothing to resume", out)
        return out / "report.html"
    signals = Signals()
    with signals.caught(), growing(out, text, resume=resume, overwrite=overwrite) as folder:
        _carry_out(Run(recipe, folder, resume, signals, watch))
    return out / "report.html"


def _carry_out(run: Run) -> None:
    with timed("read"):
        mdata = cohort(run.recipe)
    splits = split_labels(mdata.obs, run.recipe.data.split)
    labels = labels_asked(run.recipe, mdata)
    asked = _asked(run.recipe, mdata, labels)
    folds = [Fold(f"fold{i}" if len(splits) > 1 else ALL, _parts(mdata, s)) for i, s in enumerate(splits)]
    suspects = _suspects(run.recipe, mdata, labels)
    measured, further, confounded, final = [], [], [], None
    pictures: list[Pictures] = []
    for fold in folds:
        final = _fitted(run, fold)
        with timed(f"evaluate {fold.name}"):
            measured.append(_measured(run.recipe, final, fold, labels))
            further.append(_further(run.recipe, final, fold, asked, mdata))
            confounded += _confounded(run.recipe, final, fold, suspects)
            pictures = pictures or held_out(final, fold.parts)
    if len(folds) > 1:
        log.info("%d folds are measured; the model that is kept is fitted on all samples", len(folds))
        final = _fitted(run, Fold(ALL, {"train": mdata}))
    assert final is not None
    with timed("report"):
        recipe = run.recipe.model_copy(update={k: final.recipe[k] for k in ("prepare", "likelihood")})
        resolve(run.folder, recipe.text())
        left = measures.summary_of(confounded, suspects)
        results.write(run.folder, results.Found(recipe, mdata, final, splits, measured, further, left, pictures))


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Log how long a stage took."""
    started = time.perf_counter()
    yield
    log.info("%s: %.1f s", what, time.perf_counter() - started)


def cohort(recipe: Recipe) -> md.MuData:
    """The samples a recipe speaks of."""
    data = recipe.data
    if data.simulate is not None:
        return simulate(**{k: getattr(data.simulate, k) for k in type(data.simulate).model_fields})
    mdata = read(data.read, data.obs)
    for key, keys in (("prepare", recipe.prepare), ("likelihood", recipe.likelihood)):
        for name in keys:
            if name not in mdata.mod:
                hint = closest(name, mdata.mod)
                raise RecipeError("no such modality", where=f"{key}.{name}", hint=hint)
    return mdata


def labels_asked(recipe: Recipe, mdata: md.MuData) -> list[str]:
    """The labels to benchmark on; each is a column of obs."""
    if recipe.evaluate.embedding is None:
        return []
    labels = assess.labels_of(mdata.obs, recipe.evaluate.embedding.labels)
    for label in labels:
        _check_name(label, mdata.obs.columns, "no such column in obs", "evaluate.embedding.labels")
    return labels


def _asked(recipe: Recipe, mdata: md.MuData, labels: Sequence[str]) -> measures.Asked:
    """What is measured besides; modalities and columns that it names are there."""
    keys = recipe.evaluate
    of = keys.translation
    for name in [m for pair in (of.pairs or () if of else ()) for m in pair]:
        _check_name(name, mdata.mod, "no such modality", "evaluate.translation.pairs")
    for name in keys.survival.clinical if keys.survival else ():
        _check_name(name, mdata.obs.columns, "no such column in obs", "evaluate.survival.clinical")
    label = next((c for c in labels if kind_of(mdata.obs[c]) == "class"), None)
    if of is not None and of.label is not None:
        label = of.label
        _check_name(label, mdata.obs.columns, "no such column in obs", "evaluate.translation.label")
    return measures.Asked(
        pairs=() if of is None else of.pairs, label=label, pathways=_pathways(of, mdata),
        baselines=() if of is None else of.baselines,
        latent=keys.latent is not None, alignment=keys.alignment is not None,
        disentanglement=keys.disentanglement is not None, prediction=keys.prediction,
        survival=keys.survival, group=recipe.data.split.group,
        seed=recipe.training.seed,
    )  # fmt: skip


def _pathways(of: Translation | None, mdata: md.MuData) -> Mapping[str, tuple[str, ...]]:
    """The terms whose translation is scored; none where no file is named."""
    if of is None or of.pathways is None:
        return {}
    every = {str(f) for m in mdata.mod.values() for f in m.var_names}
    levels = read_pathways(of.pathways, features=every).levels
    if not any(f in every for members in levels[0].values() for f in members):
        what, names = "no member of any term is among the features", listed(sorted(every))
        raise DataError(what, where="evaluate.translation.pathways", met=of.pathways, hint=f"features: {names}")
    return levels[0]


def _suspects(recipe: Recipe, mdata: md.MuData, labels: Sequence[str]) -> measures.Suspects | None:
    """The confounders to look for: those that are named, or taken out; None where there are none."""
    keys, control = recipe.evaluate.confounding, recipe.confounders
    columns = () if keys is None else keys.columns or (control.columns if control is not None else ())
    if keys is None or not columns:
        return None
    named = "evaluate.confounding.columns" if keys.columns else "confounders.columns"
    for where, names in ((named, columns), ("evaluate.confounding.labels", keys.labels or ())):
        for name in names:
            _check_name(name, mdata.obs.columns, "no such column in obs", where)
    group, seed = recipe.data.split.group, recipe.training.seed
    wanted = [y for y in (labels if keys.labels is None else keys.labels) if y not in columns]
    classes = () if control is None else tuple(c for c in control.classes if c in columns)
    return measures.Suspects(columns, wanted, classes, None if group in columns else group, keys.folds, seed=seed)


def _confounded(
    recipe: Recipe, fitted: Fitted, fold: Fold, suspects: measures.Suspects | None
) -> list[measures.Confounded]:
    """What is left of the confounders, beside the same model without control where that is asked for."""
    if suspects is None or recipe.evaluate.confounding is None:
        return []
    others: dict[str, Fitted] = {}
    if recipe.evaluate.confounding.uncontrolled and recipe.confounders is not None:
        log.info("the same model without control of confounders")
        others["uncontrolled"] = fit(
            recipe.model, fold.parts["train"], fold.parts.get("valid"), prepare=recipe.prepare,
            likelihood=recipe.likelihood, heads=recipe.heads, training=copy_with(recipe.training, tensorboard=False),
        )  # fmt: skip
    return [measures.confounded(fitted, fold.parts, suspects, others=others)]


def _check_name(name: str, known: Iterable[Any], what: str, where: str) -> None:
    names = [str(k) for k in known]
    if name not in names:
        hint = closest(name, names)
        raise RecipeError(what, where=where, met=name, hint=hint)


def _parts(mdata: md.MuData, split: pd.Series) -> dict[str, md.MuData]:
    present = [p for p in ("train", "valid", "test") if (split == p).any()]
    return dict(zip(present, take(mdata, split), strict=True))


def _fitted(run: Run, fold: Fold) -> Fitted:
    """Fit, or load what an interrupted run had finished."""
    folder = run.folder / FITS / fold.name
    if run.resume and (folder / "model" / "manifest.json").is_file():
        log.info("fit %s: already done", fold.name)
        return load(folder / "model")
    folder.mkdir(parents=True, exist_ok=True)
    training = run.recipe.training
    keeper = Keeper(folder, training.checkpoint_every, run.resume, run.signals.met)
    with timed(f"fit {fold.name}"), run.signals.deferred():
        fitted = fit(
            run.recipe.model, fold.parts["train"], fold.parts.get("valid"), prepare=run.recipe.prepare,
            likelihood=run.recipe.likelihood, **run.recipe.supervision, training=training, keeper=keeper,
            watch=_watch(run, fold),
        )  # fmt: skip
        fitted.save(folder / "model")
        keeper.path.unlink(missing_ok=True)
    return fitted


def _watch(run: Run, fold: Fold) -> Watch:
    """The caller's watcher, and TensorBoard where it is asked for."""
    also: list[Callable[[dict[str, Any]], None]] = [] if run.watch is None else [run.watch]
    if run.recipe.training.tensorboard:
        from isthmus.training.tensorboard import writer

        also.append(writer(run.folder / "tensorboard" / fold.name))

    def watch(row: dict[str, Any]) -> None:
        log.debug("epoch %s", row)
        for each in also:
            each({**row, "fit": fold.name})

    return watch


def _measured(recipe: Recipe, fitted: Fitted, fold: Fold, labels: Sequence[str]) -> assess.Measured:
    keys = recipe.evaluate.embedding
    return assess.measure(
        fitted, fold.parts, labels, learners=keys.learners if keys else (), baselines=keys.baselines if keys else (),
        reconstructed=recipe.evaluate.reconstruction is not None, seed=recipe.training.seed,
    )  # fmt: skip


def _further(recipe: Recipe, fitted: Fitted, fold: Fold, asked: measures.Asked, mdata: md.MuData) -> measures.Further:
    """Translations, latent space and all that; with refits where they are asked for."""
    found = measures.further(fitted, fold.parts, asked)
    if recipe.evaluate.robustness is None:
        return found

    def refit(train: pd.Index, valid: pd.Index | None, seed: int) -> Fitted:
        parts = (None if ids is None else take_samples(mdata, ids) for ids in (train, valid))
        return fit(
            recipe.model, *parts, prepare=recipe.prepare, likelihood=recipe.likelihood, **recipe.supervision,
            training=copy_with(recipe.training, seed=seed, tensorboard=False),
        )  # fmt: skip

    refits, seed = recipe.evaluate.robustness.refits, recipe.training.seed
    return measures.refitted(found, fitted, fold.parts, refit=refit, refits=refits, seed=seed)
