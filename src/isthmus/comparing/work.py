"""What a worker does: fit one model, or one baseline, and score it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from isthmus import registry
from isthmus.comparing.answers import answers, obs_columns
from isthmus.comparing.factors import baseline
from isthmus.comparing.modality_rows import CLINICAL, SITE
from isthmus.comparing.parts import Parts, Sight, parts
from isthmus.comparing.scores import Peak, Row, clusters, predictions, reconstructions
from isthmus.config import validate
from isthmus.data.cohort import take_samples
from isthmus.data.table import Array
from isthmus.fitting import fit
from isthmus.training.settings import Training

__all__ = ["work"]


def work(task: dict[str, Any], place: Path) -> dict[str, Any]:
    """Carry out a job of `isthmus compare`.

    Parameters
    ----------
    task
        `kind` (`model`, or a baseline's name), `data`, `prepare`, `likelihood`, `split`, `fold`, `seed`, `modalities`,
        `labels`, `learners`, `control`; of a model `model` and `training`, of a baseline `latent`; `heads` and
        `confounders` of the recipe, and in `asked` the heads whose answers are kept.
    place
        Not used: everything is in the result.

    Returns
    -------
    dict
        `rows` (group, label, learner, metric, draw, value, n_train, n_test), `dimensions`, `seconds` (of the fit, of
        the processor), `memory_mb`, `parameters`, `epochs`, `cpu` (seconds of all), `answers` (see
        `isthmus.comparing.answers`).

    Raises
    ------
    IsthmusError
        The samples or settings do not go together, or the loss is no longer finite.
    """
    started = time.process_time()
    seen = parts(Sight.of(task))
    kinds = {"model": _model, CLINICAL: _columns, SITE: _columns}
    made = kinds.get(task["kind"], _baseline)(task, seen)
    sizes = {"n_train": len(seen.obs["train"]), "n_test": len(seen.obs["test"])}
    rows = [{**sizes, "learner": "", "draw": 0, **row} for row in made.pop("rows")]
    made["cpu"] = round(time.process_time() - started, 3)
    return {**made, "rows": {key: [row[key] for row in rows] for key in rows[0]} if rows else {}}


def _model(task: Mapping[str, Any], seen: Parts) -> dict[str, Any]:
    name = task["model"]["name"]
    settings = validate(registry.settings(name), {k: v for k, v in task["model"].items() if k != "name"}, where="model")
    training = validate(Training, {**task["training"], "seed": task["seed"], "threads": 1}, where="training")
    started = time.process_time()
    with Peak.watched() as peak:
        fitted = fit(
            registry.config_of(name)(**settings.model_dump()), seen.cohorts["train"], seen.cohorts.get("valid"),
            prepare=seen.prepare, likelihood=task["likelihood"], heads=task.get("heads"),
            confounders=task.get("confounders"), training=training,
        )  # fmt: skip
        seconds = time.process_time() - started
    z = {part: np.asarray(fitted.embed(seen.cohorts[part]).X) for part in ("train", "test")}
    known = {part: ~np.isnan(v).any(axis=1) for part, v in z.items()}
    test = seen.cohorts["test"]
    test = test if len(seen.scored) == test.n_obs else take_samples(test, test.obs_names[seen.scored])
    means = {m: np.asarray(seen.scales[m].compared(x.astype(np.float64))) for m, x in fitted.means(test).items()}
    obs = {part: seen.obs[part].loc[known[part]] for part in z}
    pair = z["train"][known["train"]], z["test"][known["test"]]
    rows = reconstructions(means, seen) + predictions([pair], obs, task["learners"], task["seed"])
    return {
        "rows": rows + clusters(pair[1], obs["test"], task["seed"]), "dimensions": fitted.latent, "seconds": seconds,
        "memory_mb": peak.mb, "parameters": sum(p.numel() for p in fitted.module.parameters()),
        "epochs": len(fitted.history), "answers": answers(task, seen, z, fitted),
    }  # fmt: skip


def _baseline(task: Mapping[str, Any], seen: Parts) -> dict[str, Any]:
    method, d = task["kind"], int(task["latent"])
    started = time.process_time()
    with Peak.watched() as peak:
        found = baseline(method, seen, d, task["seed"])
        seconds = time.process_time() - started
    known = {part: seen.seen[part] for part in ("train", "test")}
    pairs = [(a[known["train"]], b[known["test"]]) for a, b in found.pairs]
    obs = {part: seen.obs[part].loc[known[part]] for part in known}
    rows = predictions(pairs, obs, task["learners"], task["seed"])
    if found.reconstructed is not None:
        rows = _from_matrix(found.reconstructed, seen) + rows
    if method not in ("raw", "random_features"):
        rows += clusters(pairs[0][1], obs["test"], task["seed"])
    dimensions = int(pairs[0][0].shape[1])
    told = {p: _blank(x, known[p]) for p, x in zip(known, found.pairs[0], strict=True)} if method == "pca" else {}
    return {
        "rows": rows, "dimensions": dimensions, "seconds": seconds, "memory_mb": peak.mb,
        "parameters": found.parameters, "epochs": None, "answers": answers(task, seen, told) if told else {},
    }  # fmt: skip


def _columns(task: Mapping[str, Any], seen: Parts) -> dict[str, Any]:
    """Columns of obs as the only thing known of a sample."""
    started = time.process_time()
    found: dict[str, Any] = {}
    width = 0
    for name in task["asked"]:
        told = obs_columns(seen, task["columns"], but={**task["heads"][name], "name": name})
        width = max(width, told["train"].shape[1])
        found |= answers({**task, "asked": [name]}, seen, told)
    sizes = {"dimensions": int(width), "parameters": int(width)}
    seconds = time.process_time() - started
    return {"rows": [], **sizes, "seconds": seconds, "memory_mb": float("nan"), "epochs": None, "answers": found}


def _blank(x: Array, known: np.ndarray) -> np.ndarray:
    """Rows of samples that show nothing as NaN."""
    dense = np.asarray(x if isinstance(x, np.ndarray) else x.toarray(), dtype=np.float64)
    return np.where(known[:, None], dense, np.nan)


def _from_matrix(reconstructed: np.ndarray, seen: Parts) -> list[Row]:
    """A reconstruction of what baselines read, scored where models are."""
    means, start = {}, 0
    for name, whole in seen.prepared["test"].items():
        p = replace(whole, x=whole.x[seen.scored], present=whole.present[seen.scored])
        means[name] = seen.scales[name].from_matrix(reconstructed[:, start : start + p.width], p)
        start += p.width
    return reconstructions(means, seen)
