"""`compare`: the jobs of a grid, their results as tables, and the report."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mudata as md
import pandas as pd

from isthmus import registry
from isthmus.comparing.grid import Cell, cells, comparison_of
from isthmus.comparing.modality_rows import CLINICAL, SITE
from isthmus.comparing.rows import check_rows, rows_of, rows_verdict
from isthmus.comparing.statistics import leaderboard
from isthmus.comparing.tables import runs_table
from isthmus.comparing.words import verdict
from isthmus.comparing_keys import Comparison
from isthmus.data.content import content_of, fingerprint
from isthmus.data.split import Split
from isthmus.data.split import labels as split_labels
from isthmus.data.write import atomic
from isthmus.errors import RecipeError
from isthmus.experiment import cohort, labels_asked, timed
from isthmus.prepare.step import get
from isthmus.recipe import Recipe, load_recipe, parse_recipe, versions
from isthmus.report import page
from isthmus.report.compare import CompareResults, compare_page
from isthmus.report.table import save_csv
from isthmus.supervising import supervision_of
from isthmus.workers import Job, Progress, Record, run_jobs

__all__ = ["Compared", "compare"]

log = logging.getLogger("isthmus.compare")
FORMAT = 2
WORK = "isthmus.comparing.work:work"
CELLS = "cells"
NO_SIZE = ("raw", CLINICAL, SITE)
"""Baselines that have no number of dimensions to choose."""
WEIGHTS = {"model": 2.0, "umap": 6.0, "sparse_pca": 3.0, "random_features": 5.0, "raw": 4.0, "mofa": 10.0}
Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Compared:
    """What a comparison found.

    Attributes
    ----------
    leaderboard
        A row per setting and score; see `isthmus.comparing.statistics.leaderboard`.
    runs
        A row per job and score.
    verdict
        In words, baselines that are ahead first.
    report
        The page.
    rows
        What each modality adds to the prediction of the heads; see `isthmus.comparing.modality_rows`. None without
        `compare.rows`.
    """

    leaderboard: pd.DataFrame
    runs: pd.DataFrame
    verdict: list[str]
    report: Path
    rows: pd.DataFrame | None = None


@dataclass(frozen=True)
class Plan:
    """All that jobs have in common."""

    recipe: Recipe
    compare: Comparison
    labels: tuple[str, ...]
    learners: tuple[str, ...]
    mark: str
    folds: Mapping[int, int]

    @property
    def asked(self) -> tuple[str, ...]:
        """The heads whose answers stand in the table of rows."""
        rows = self.compare.rows
        return () if rows is None else tuple(self.recipe.heads) if rows.heads is None else rows.heads

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The columns of obs that heads read."""
        keys = ("time", "event", "censoring", "strata")
        named = [getattr(h, k) for h in self.recipe.heads.values() for k in keys]
        named += [h.column or name for name, h in self.recipe.heads.items() if h.kind in ("class", "value")]
        return tuple(dict.fromkeys(n for n in named if n))

    @property
    def data(self) -> dict[str, Any]:
        return dict(self.recipe.data.model_dump(mode="json", exclude={"split"}, exclude_none=True))

    def split(self, seed: int) -> dict[str, Any]:
        """The split of a seed: one that the data name themselves stays, others are drawn anew."""
        given = self.recipe.data.split
        if not given.fixed:
            ways = {"folds": self.compare.folds, "fractions": None} if self.compare.folds else {}
            given = given.model_copy(update={"seed": seed, **ways})
        return dict(given.model_dump(mode="json", exclude_none=True))


def compare(
    recipe: Recipe | Mapping[str, Any] | str | Path,
    out: str | Path,
    *,
    workers: int | None = None,
    watch: Watch | None = None,
) -> Compared:
    """Run a grid of settings beside baselines on the same splits, and say what is told apart.

    Parameters
    ----------
    recipe
        A recipe with a section `compare`, or a file of it.
    out
        The folder; where it holds jobs that are done, these are not done again, even if the grid has grown since.
        Several machines may work on one folder at a time.
    workers
        Processes of one thread each. None: one per core; 0: in this process.
    watch
        Told how far the work is.

    Returns
    -------
    Compared
        Also written: `leaderboard.csv`, `runs.csv`, `rows.csv`, `report.html`, `recipe.yaml`. A setting that could not
        be run has a row that says why.

    Raises
    ------
    InputError
        The recipe, the data or the folder is wrong.
    InterruptedWork
        A signal came; what is done is kept.
    """
    if not isinstance(recipe, Recipe):
        recipe = parse_recipe(recipe) if isinstance(recipe, Mapping) else load_recipe(recipe)
    folder = Path(out).absolute()
    _check_folder(folder)
    with timed("read"):
        mdata = cohort(recipe)
    plan, grid = _plan(recipe, mdata), cells(recipe, list(mdata.mod))
    size = f"{mdata.n_obs:,} samples, {len(mdata.mod)} modalities"
    del mdata
    first = _jobs(plan, grid)
    log.info("%d jobs of %d settings", len(first), len({id(j.cell) for j in first}))
    found = _done(first, folder, workers, watch)
    more = _further(plan, first, found)
    found |= _done([*first, *more], folder, workers, watch) if more else {}
    done = [(j.cell, j.task, found.get(j.job.key)) for j in [*first, *more]]
    runs = runs_table(done, grid)
    rows = rows_of(done, max((c.modalities for c in grid), key=len)) if plan.asked else None
    return replace(_written(plan, runs, rows, folder, size=size), report=Path(out) / "report.html")


# ---- jobs


@dataclass(frozen=True)
class Asked:
    """A job, and the setting that it is for (of a baseline, one made up)."""

    job: Job
    task: dict[str, Any]
    cell: Cell


def _plan(recipe: Recipe, mdata: md.MuData) -> Plan:
    compare, keys = comparison_of(recipe), recipe.evaluate.embedding
    fixed = recipe.data.split.fixed
    if fixed and compare.folds:
        met = "by, file or leave_out"
        raise RecipeError("excludes compare.folds", where="data.split", met=met, wanted="one of the two")
    supervision_of(recipe.heads, recipe.confounders).targets(mdata.obs, recipe.model)  # refused before any job
    if compare.rows is not None:
        check_rows(compare.rows, recipe, mdata.obs)
    plan = Plan(
        recipe,
        compare,
        tuple(labels_asked(recipe, mdata)),
        keys.learners if keys else (),
        fingerprint(recipe.data.model_dump(mode="json")),
        {},
    )
    splits = {
        seed: split_labels(mdata.obs, Split(**plan.split(seed))) for seed in compare.seeds[: 1 if fixed else None]
    }
    counts = {seed: len(splits.get(seed, splits[compare.seeds[0]])) for seed in compare.seeds}
    return replace(plan, folds=counts)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RecipeError("is a file", where=str(folder), wanted="a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CELLS).is_dir():
        raise RecipeError("is not the folder of a comparison", where=str(folder), wanted="one that is not there yet")


def _jobs(plan: Plan, grid: Sequence[Cell]) -> list[Asked]:
    """Every setting and baseline at every seed and fold; what sees the same samples stands together."""
    made: list[Asked] = []
    beside = _columns(plan, grid)
    for seed in plan.compare.seeds:
        for fold in range(plan.folds[seed]):
            made += [_asked(plan, cell, seed, fold) for cell in beside]
            seen: dict[tuple[Any, ...], Cell] = {}
            for cell in grid:
                seen.setdefault((cell.modalities, cell.control, _seen(cell)), cell)
            for first in seen.values():
                same = [
                    c
                    for c in grid
                    if (c.modalities, c.control, _seen(c)) == (first.modalities, first.control, _seen(first))
                ]
                sizes = sorted({c.latent for c in same})
                made += [_asked(plan, b, seed, fold) for b in _baselines(plan, first, sizes)]
                made += [_asked(plan, c, seed, fold) for c in same if c.refused is None]
    return list({a.job.key: a for a in made}.values())


def _columns(plan: Plan, grid: Sequence[Cell]) -> list[Cell]:
    """The rows of columns of obs: clinical ones, the site; at the largest combination of modalities."""
    rows = plan.compare.rows
    if rows is None:
        return []
    like = max((c for c in grid if not c.control), key=lambda c: len(c.modalities))
    asked = {CLINICAL: rows.clinical, SITE: (rows.site,) if rows.site else ()}
    tree = {k: like.tree[k] for k in like.tree if k != "model"}
    return [
        Cell(kind, {}, {**tree, "model": {"name": kind, "latent": 0, "columns": list(columns)}}, like.modalities)
        for kind, columns in asked.items()
        if columns
    ]


def _seen(cell: Cell) -> str:
    return json.dumps([cell.tree["prepare"], cell.tree["likelihood"]])


def _baselines(plan: Plan, like: Cell, sizes: Iterable[int], only: Sequence[str] | None = None) -> list[Cell]:
    """The baselines of a setting's samples, at so many dimensions."""
    methods = dict.fromkeys(["pca", *plan.compare.baselines]) if not like.control else ["pca"]
    found = []
    alone = len(like.modalities) == 1
    for method in [m for m in methods if (only is None or m in only) and not (alone and m == "balanced_pca")]:
        for d in [0] if method in NO_SIZE else sizes:
            tree = {**like.tree, "model": {"name": method, "latent": d}}
            keys = {k: v for k, v in like.keys.items() if k.split(".")[0] in ("prepare", "likelihood")}
            found.append(Cell(method, keys, tree, like.modalities, like.control))
    return found


def is_model(cell: Cell) -> bool:
    """Whether it is a setting of the grid, not a baseline."""
    return cell.model in registry.names()


def _asked(plan: Plan, cell: Cell, seed: int, fold: int) -> Asked:
    task: dict[str, Any] = {
        "kind": "model" if is_model(cell) else cell.model, "data": plan.data, "split": plan.split(seed), "fold": fold,
        "seed": seed, "modalities": list(cell.modalities), "labels": list(plan.labels), "learners": list(plan.learners),
        "control": cell.control, "prepare": cell.tree["prepare"], "likelihood": cell.tree["likelihood"],
    }  # fmt: skip
    task |= {k: cell.tree[k] for k in ("heads", "confounders") if cell.tree.get(k)}
    if plan.asked:
        task |= {"asked": list(plan.asked), "outcomes": list(plan.outcomes)}
    if is_model(cell):
        task |= {"model": cell.tree["model"], "training": {**cell.tree["training"], "seed": seed}}
    else:
        task |= {"latent": cell.latent, "columns": cell.tree["model"].get("columns", [])}
    identity = {**task, "data": plan.mark, "isthmus": versions()["isthmus"], "format": FORMAT}
    if files := _files(cell):
        identity["files"] = [content_of(Path(f)) for f in files]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
    return Asked(Job(key, task, WEIGHTS.get(task["kind"], 1.0)), task, cell)


def _files(cell: Cell) -> list[str]:
    """The files that the settings of an architecture and the steps of a preparation name (pathways, genes)."""
    values = [cell.tree["model"].get(k) for k in registry.settings(cell.model).paths] if is_model(cell) else []
    steps = [s for several in cell.tree["prepare"].values() for s in several if isinstance(s, Mapping)]
    values += [options.get(k) for s in steps for name, options in s.items() for k in get(name).paths]
    return [p for v in values for p in (v if isinstance(v, list | tuple) else [v]) if isinstance(p, str)]


def _further(plan: Plan, asked: Sequence[Asked], found: Mapping[str, Record]) -> list[Asked]:
    """PCA and random features of as many dimensions as embeddings have that are not of the size asked for."""
    made: dict[str, Asked] = {}
    for a in asked:
        record = found.get(a.job.key)
        if not is_model(a.cell) or record is None or record.value is None:
            continue
        if (d := int(record.value["dimensions"])) != a.cell.latent:
            for b in _baselines(plan, a.cell, [d], only=("pca", "random_features")):
                extra = _asked(plan, b, a.task["seed"], a.task["fold"])
                made[extra.job.key] = extra
    before = {a.job.key for a in asked}
    return [a for a in made.values() if a.job.key not in before]


def _done(asked: Sequence[Asked], folder: Path, workers: int | None, watch: Watch | None) -> dict[str, Record]:
    return run_jobs([a.job for a in asked], folder / CELLS, work=WORK, workers=workers, watch=watch)


# ---- results


def _written(plan: Plan, runs: pd.DataFrame, rows: pd.DataFrame | None, folder: Path, *, size: str) -> Compared:
    """Tables, words and page, into the folder."""
    board = leaderboard(runs, correction=plan.compare.correction)
    said = [*(() if rows is None else rows_verdict(rows)), *verdict(board)]
    results = CompareResults(
        name="Comparison", subtitle=size, verdict=said, leaderboard=board, runs=runs,
        correction=plan.compare.correction, recipe=plan.recipe.text(), versions=versions(), rows=rows,
    )  # fmt: skip
    with atomic(folder / "recipe.yaml") as temporary:
        temporary.write_text(plan.recipe.text(), encoding="utf-8")
    for name, table in (("leaderboard", board), ("runs", runs), ("rows", rows)):
        if table is None:
            continue
        save_csv(table, folder / f"{name}.csv")
    with timed("report"):
        page.write(compare_page(results), folder)
    return Compared(board, runs, said, folder / "report.html", rows)
