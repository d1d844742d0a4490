"""Survival heads on test samples, beside ridge Cox regression on principal components and on clinical covariates."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

from isthmus.assess import model_name
from isthmus.data.outcome import survival_of
from isthmus.errors import DataError
from isthmus.evaluate.design import Design
from isthmus.evaluate.outcomes import Outcome, linear_answers
from isthmus.evaluate.survival import Fold, Judged, judge
from isthmus.evaluating_keys import Survival
from isthmus.fitted import Fitted
from isthmus.measures.heads import stratified, tables_of
from isthmus.predicting import head_of
from isthmus.supervised import Task
from isthmus.supervising_keys import SURVIVAL

__all__ = ["outcomes", "survival_flat", "survival_found", "time_columns"]

log = logging.getLogger("isthmus.assess")
PLACES = ("sd", "lower", "upper", "null_sd", "null_lower", "null_upper", "null_p")
"""What is said of a score under its own name: `survival/test/harrell/os/lower`."""


def outcomes(
    fitted: Fitted, parts: Mapping[str, md.MuData], keys: Survival | None, *, group: str | None = None, seed: int = 0
) -> dict[str, Fold]:
    """What every survival head and its baselines say of train and test samples.

    Parameters
    ----------
    fitted
        The model.
    parts
        `train`, what it was fitted on, and `test`.
    keys
        What is asked for; None for nothing.
    group
        Column of obs whose groups are resampled as a whole.
    seed
        Of the principal components.

    Returns
    -------
    dict
        Head -> outcomes and log risks; empty without a survival head.
    """
    heads = [h for h, k in (fitted.recipe.get("heads") or {}).items() if k["kind"] in SURVIVAL]
    if keys is None or not heads or "test" not in parts:
        return {}
    obs = {part: parts[part].obs for part in ("train", "test")}
    tables = tables_of(fitted, parts, ["pca"], seed)
    clinical = obs["test"][list(keys.clinical)]
    if keys.clinical:
        design = Design.of(obs["train"][list(keys.clinical)])
        tables["clinical"] = (
            design.columns(obs["train"][list(keys.clinical)]),
            design.columns(obs["test"][list(keys.clinical)]),
        )
    said = {part: fitted.predict(parts[part]) for part in obs}
    units = None if group is None else np.asarray(obs["test"][group].astype(str))
    found = {}
    for head in heads:
        task = head_of(fitted.module, head)
        target, y = task.target, {p: _outcome(o, task) for p, o in obs.items()}
        risk = {p: s[f"{head}/log_risk"].to_numpy(dtype=np.float64) for p, s in said.items()}
        risks = {model_name(fitted): (risk["train"], risk["test"]), **_baselines(tables, y["train"], head)}
        predicted = {}
        if target.edges:
            curves = said["test"][[c for c in said["test"] if str(c).startswith(f"{head}/survival/")]]
            predicted[model_name(fitted)] = (np.asarray(target.edges[1:]), curves.to_numpy(dtype=np.float64))
        a, b = y["train"].strata, y["test"].strata
        strata = None if a is None or b is None else (a, b)
        found[head] = Fold(y["train"].y, y["test"].y, risks, clinical, predicted, units, strata)
    return found


def _outcome(obs: pd.DataFrame, task: Task) -> Outcome:
    """Times and events of a survival head, in strata where it has any."""
    (time, event), where = task.target.columns, f"heads.{task.name}"
    y = survival_of(obs, time=time, event=event, turned=task.target.turned, where=where)
    return stratified(y, obs, task.keys.strata, where=where)


def _baselines(
    tables: Mapping[str, tuple[np.ndarray, np.ndarray]], of: Outcome, head: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Log risks of train and test samples by ridge Cox regression on each table."""
    found = {}
    for name, (train, test) in tables.items():
        try:
            a, b = linear_answers(train, of, train, test)
        except DataError as error:
            log.info("head %s: no ridge Cox regression on %s: %s", head, name, error)
            continue
        found[name] = (a, b)
    return found


def survival_found(
    folds: Sequence[Mapping[str, Fold]], keys: Survival | None, *, model: str, seed: int = 0
) -> dict[str, Judged]:
    """Every survival head judged over the folds; one without an event among the test samples is left out (logged)."""
    found: dict[str, Judged] = {}
    if keys is None or not folds:
        return found
    for head in folds[0]:
        judged = judge(
            [f[head] for f in folds],
            model=model,
            horizon=keys.horizon,
            groups=keys.groups,
            resamples=keys.resamples,
            seed=seed,
        )
        if judged is None:
            log.warning("head %s: no event among the test samples, or no time above 0: nothing is measured of it", head)
        else:
            found[head] = judged
    return found


def time_columns(fitted: Fitted) -> dict[str, str]:
    """Survival head -> the column of its times."""
    heads: Mapping[str, Any] = fitted.recipe.get("heads") or {}
    return {h: str(k["time"]) for h, k in heads.items() if k["kind"] in SURVIVAL}


def survival_flat(found: Mapping[str, Judged], *, model: str) -> dict[str, Any]:
    """Every number under a flat name; those of baselines under `baseline/<name>/`.

    `survival/test/<score>/<head>`, followed by `sd`, `lower`, `upper`, `null_...`, or `difference/<baseline>`.
    """
    flat: dict[str, Any] = {}
    for head, judged in found.items():
        for row in judged.scores.to_dict("records"):
            who = str(row.pop("representation"))
            for key, value in row.items():
                name = _name(str(key), head, who)
                place = name if who == model or "/difference" in name else f"baseline/{who}/{name}"
                if not pd.isna(value):
                    flat[place] = float(value) if math.isfinite(value) else None
        flat |= _tests(head, judged)
    return flat


def _name(key: str, head: str, who: str) -> str:
    score, _, rest = key.partition("_")
    if key.startswith("null_"):
        score, rest = "harrell", key
    if rest.startswith("difference"):
        return f"survival/test/{score}/{head}/{rest}/{who}"
    return f"survival/test/{score}/{head}/{rest}" if rest in PLACES else f"survival/test/{key}/{head}"


def _tests(head: str, judged: Judged) -> dict[str, Any]:
    """Sizes, log-rank and nested test."""
    flat: dict[str, Any] = {"n": float(judged.n), "events": float(judged.events), "horizon": judged.horizon}
    if judged.log_rank is not None:
        flat |= {"log_rank": judged.log_rank.statistic, "log_rank_p": judged.log_rank.p}
    for test in judged.nested.values():
        flat |= {"nested": test.statistic, "nested_p": test.p, "nested_gain": test.gain}
    return {f"survival/test/{k}/{head}": v for k, v in flat.items()}
