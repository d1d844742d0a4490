"""`ist.tune` and `isthmus tune`: from a recipe to the settings that suit its data, and whether they do."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mudata as md
import numpy as np
import optuna
import pandas as pd
from optuna.storages import BaseStorage

from isthmus.config import copy_with
from isthmus.data.cohort import take_samples
from isthmus.data.split import labels
from isthmus.errors import RecipeError, RunError
from isthmus.experiment import cohort, timed
from isthmus.folder import FITS, JOURNAL, Signals, growing, nothing_to_resume
from isthmus.recipe import Recipe, load_recipe, parse_recipe
from isthmus.report import page
from isthmus.report.table import read_csv, save_csv
from isthmus.report.tune import TuneResults, tune_page
from isthmus.tuning.bench import Bench, Division, divisions
from isthmus.tuning.crew import Crew, Unexpected
from isthmus.tuning.outcome import Outcome, compared, importances, scores_of, space_table, trials_table, verdict
from isthmus.tuning.scores import Score, score_of
from isthmus.tuning.search import Search, Told, winner
from isthmus.tuning.space import Space, space_of
from isthmus.tuning.store import opened, quiet, study_name
from isthmus.tuning_keys import Tuning
from isthmus.workers import cores

__all__ = ["Tuned", "tune"]

log = logging.getLogger("isthmus.tune")
ALL = "all"
REFIT_ATTEMPTS = 2


@dataclass(frozen=True)
class Tuned:
    """What `tune` gives: the report, the recipe with the best settings, and a row per trial."""

    report: Path
    best: Recipe
    trials: pd.DataFrame


@dataclass(frozen=True)
class Plan:
    """A search as it is asked for."""

    recipe: Recipe
    keys: Tuning
    space: Space
    workers: int
    storage: str | None
    watch: Callable[[Told], None] | None


@dataclass(frozen=True)
class Part:
    """One study: its name, the part of every sample (`train`, `valid`, `test`), and what came of it."""

    name: str
    parts: pd.Series
    study: optuna.Study

    def ids(self, *names: str) -> tuple[str, ...]:
        return tuple(map(str, self.parts.index[self.parts.isin(names)]))


def tune(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    trials: int | None = None,
    workers: int | None = None,
    storage: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    watch: Callable[[Told], None] | None = None,
) -> Tuned:
    """Search the settings of a recipe that suit its data.

    Settings are judged on samples of train and valid alone. Samples of test are read when the search is over: then the
    best settings and the recipe's own are fitted again with several seeds and scored on them, beside each other.

    Parameters
    ----------
    recipe
        A recipe, or its file; its section `tune` says what is varied, by what a trial is judged, and more.
    out
        The folder for `report.html`, `best.yaml`, `trials.csv`; it appears when all is done.
    trials
        Overrides `tune.trials`.
    workers
        Processes of one thread each. None: as many as there are cores. With one the search can be repeated to the bit,
        interruptions or not; with more each trial can be, yet what is proposed depends on which trials end first.
    storage
        Address of a database that several machines share (`postgresql://...`), or the file of a journal.
    resume, overwrite
        Go on with an interrupted search of the same recipe; replace what stands at `out`.
    watch
        Told of every trial that ends.

    Returns
    -------
    Tuned
        The report's path, the recipe with the best settings, and a row per trial.

    Raises
    ------
    InputError
        The recipe, the data or the folder is wrong.
    RunError
        No trial came to its end, or workers keep dying.
    InterruptedTraining
        A signal asked for a stop; what was done is kept for `resume`.
    """
    whole = _recipe(recipe)
    keys = whole.tune or Tuning()
    keys = keys if trials is None else copy_with(keys, trials=trials)
    whole = whole.model_copy(update={"tune": keys})
    _checked(whole, keys)
    plan = Plan(whole, keys, space_of(whole, keys), _number(workers), storage, watch)
    out, text = Path(out), whole.text()
    if resume and nothing_to_resume(out, text):
        log.warning("%s is complete: nothing to resume", out)
        return Tuned(out / "report.html", load_recipe(out / "best.yaml"), read_csv(out / "trials.csv"))
    signals = Signals()
    with signals.caught(), quiet(), growing(out, text, resume=resume, overwrite=overwrite) as folder:
        outcome = _carry_out(plan, folder)
    return Tuned(out / "report.html", outcome.best, outcome.trials)


def _recipe(given: Recipe | Mapping[str, Any] | str | Path) -> Recipe:
    if isinstance(given, Recipe):
        return given
    return parse_recipe(given) if isinstance(given, Mapping) else load_recipe(given)


def _number(workers: int | None) -> int:
    if workers is not None and workers < 1:
        raise RecipeError("too few", where="--workers", met=workers, wanted="at least 1")
    return workers or cores()


def _checked(recipe: Recipe, keys: Tuning) -> None:
    """What the sections of a recipe ask of each other."""
    outer = recipe.data.split
    if keys.nested and outer.folds is None and outer.file is None and outer.leave_out is None:
        raise RecipeError("needs outer folds", where="tune.nested", hint="data.split.folds: 5, or a file with folds")
    if recipe.data.split.folds is not None and not keys.nested:
        hint = "tune: {nested: true} searches within each fold; or give data.split.fractions"
        raise RecipeError("leaves no samples that no fold is tested on", where="data.split.folds", hint=hint)
    if keys.folds == "loo" and (probe := next((n for n in keys.names if n.startswith("embedding/")), None)):
        what = "cannot be measured on one sample"
        hint = "tune: {folds: 5, repeats: 3}, or valid_loss, reconstruction, translation"
        raise RecipeError(what, where="tune.objective", met=probe, hint=hint)


def _carry_out(plan: Plan, folder: Path) -> Outcome:
    with timed("read"):
        mdata = cohort(plan.recipe)
    split = labels(mdata.obs, plan.recipe.data.split)
    if len(split) > 1 and not plan.keys.nested:
        raise RecipeError("holds several folds", where="data.split", hint="tune: {nested: true} searches within each")
    names = [f"fold{i}" for i in range(len(split))] if len(split) > 1 else [ALL]
    scores = [score_of(n, plan.space, mdata) for n in plan.keys.names]
    more = [score_of(n, plan.space, mdata) for n in _further(plan.recipe, plan.keys)]
    storage = opened(plan.storage, folder / FITS / JOURNAL)
    cases = dict(zip(names, split, strict=True))
    if len(split) > 1:
        cases[ALL] = pd.Series("train", index=mdata.obs_names)
    parts = []
    for name, case in cases.items():
        with timed(f"search {name}"):
            parts.append(Part(name, case, _search(plan, storage, scores, mdata, (name, case))))
    with timed("refits"):
        refits = _refits(plan, [*scores, *more], mdata, [p for p in parts if "test" in set(p.parts)])
    outcome = _outcome(plan, parts, refits, scores_of([*scores, *more]))
    _write(folder, outcome, plan.space)
    return outcome


def _further(recipe: Recipe, keys: Tuning) -> list[str]:
    """Scores that stand beside those that trials are judged by, on test."""
    found = ["reconstruction"]
    asked = recipe.evaluate.embedding
    if asked is not None and asked.learners:
        found += [f"embedding/{label}/{asked.learners[0]}" for label in asked.labels or ()]
    return [n for n in found if n not in keys.names]


def _search(
    plan: Plan, storage: BaseStorage, scores: Sequence[Score], mdata: md.MuData, case: tuple[str, pd.Series]
) -> optuna.Study:
    """One study, by workers who have no sample of test."""
    name, parts = case
    learn = take_samples(mdata, [i for i in mdata.obs_names if parts.get(i) in ("train", "valid")])
    found = divisions(parts[parts != "test"], learn.obs, plan.recipe.data.split, plan.keys)
    early = bool(found[0].valid) and plan.keys.pruner != "none" and not plan.keys.compromises
    early = early and not any(k.key.startswith("prepare.") for k in plan.space.knobs)
    bench = Bench(learn, plan.space, tuple(scores), found, early=early)
    known = study_name(plan.recipe, plan.keys, name)
    search = Search(
        bench, plan.keys, storage, known, shared=plan.storage is not None, part=name, watch=plan.watch
    )  # fmt: skip
    with Crew(bench.trial, min(plan.workers, plan.keys.trials)) as crew:
        return search.run(crew)


def _refits(plan: Plan, scores: Sequence[Score], mdata: md.MuData, parts: Sequence[Part]) -> pd.DataFrame:
    """Best and default settings, fitted with several seeds on train (and valid), scored on test."""
    found = [Division(p.ids("train"), p.ids("valid"), p.ids("test")) for p in parts]
    settings: list[tuple[int, str, Any]] = [
        (k, who, given)
        for k, p in enumerate(parts)
        for who, given in (("default", None), ("best", winner(p.study).params))
    ]
    seeds = range(plan.recipe.training.seed, plan.recipe.training.seed + plan.keys.refits)
    tasks = {
        (parts[k].name, who, seed): {"parameters": given, "division": k, "seed": seed}
        for k, who, given in settings
        for seed in seeds
    }
    bench = Bench(mdata, plan.space, tuple(scores), tuple(found))
    values = _all_of(bench, tasks, min(plan.workers, max(len(tasks), 1)))
    rows = [
        (fold, who, seed, score.name, value)
        for (fold, who, seed), several in values.items()
        for score, value in zip(scores, several, strict=True)
    ]
    return pd.DataFrame(rows, columns=["fold", "settings", "seed", "score", "value"])


def _all_of(bench: Bench, tasks: Mapping[tuple[str, str, int], Any], workers: int) -> dict[Any, list[float]]:
    """Every refit, in the order of the tasks; one that fails is a row of NaN."""
    left, attempts = list(tasks), dict.fromkeys(tasks, 0)
    found: dict[Any, list[float]] = {}
    if not tasks:
        return {}
    with Crew(bench.refit, workers) as crew:
        while len(found) < len(tasks):
            while crew.idle and left:
                key = left.pop(0)
                attempts[key] += 1
                crew.give(key, tasks[key])
            for event in crew.events(1.0):
                who: Any = event.key
                if event.kind == "done":
                    found[who] = event.content
                elif event.kind == "died" and attempts[who] < REFIT_ATTEMPTS:
                    left.insert(0, who)
                elif event.kind == "died":
                    raise RunError("a fit ended its process twice", met=event.content, hint="fewer --workers")
                elif isinstance(event.content, Unexpected):
                    raise event.content
                else:
                    log.warning("%s settings, seed %d: %s", who[1], who[2], event.content)
                    found[who] = [np.nan] * len(bench.scores)
    return {key: found[key] for key in tasks}


def _outcome(plan: Plan, parts: Sequence[Part], refits: pd.DataFrame, larger: dict[str, bool]) -> Outcome:
    last = parts[-1]
    best = winner(last.study)
    tables = [trials_table(p.study, plan.space, plan.keys.names, p.name) for p in parts]
    tested = [p for p in parts if "test" in set(p.parts)]
    sizes = [(len(p.ids("train", "valid")), len(p.ids("test"))) for p in tested] or [(1, 0)]
    mean = np.mean(sizes, axis=0)
    return Outcome(
        recipe=plan.recipe,
        best=plan.space.recipe_with(best.params),
        number=best.number,
        parameters=plan.space.values(best.params),
        trials=pd.concat(tables, ignore_index=True),
        refits=refits,
        comparison=compared(refits, larger, (float(mean[0]), float(mean[1]))),
        importances=importances(last.study, plan.keys.seed),
        larger=larger,
        folds=max(len(tested), 1),
    )


def _write(folder: Path, outcome: Outcome, space: Space) -> None:
    save_csv(outcome.trials, folder / "trials.csv")
    (folder / "best.yaml").write_text(outcome.best.text(), encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(outcome.metrics(), indent=1) + "\n", encoding="utf-8")
    results = TuneResults(
        name=outcome.name,
        verdict=verdict(outcome),
        trials=outcome.trials,
        space=space_table(space, outcome.parameters),
        importances=outcome.importances,
        refits=outcome.refits,
        comparison=outcome.comparison,
        larger=outcome.larger,
        best=outcome.number,
        scores=outcome.keys.names,
        compromises=outcome.keys.compromises,
        recipe=outcome.recipe.text(),
        found=outcome.best.text(),
    )
    page.write(tune_page(results), folder)
    if (journal := folder / FITS / JOURNAL).is_file():
        shutil.copyfile(journal, folder / JOURNAL)
