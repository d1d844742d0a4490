"""What heads say of test samples, beside linear predictions from principal components and from all features."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

from isthmus.assess import model_name
from isthmus.errors import DataError
from isthmus.evaluate import metrics
from isthmus.evaluate.outcomes import Outcome, linear_answers, main_metric, scores
from isthmus.evaluating_keys import Prediction
from isthmus.fitted import Fitted
from isthmus.measures.heads import outcome_of, said_of, tables_of
from isthmus.predicting import head_of

__all__ = ["predicted"]

log = logging.getLogger("isthmus.assess")
MOST_FEATURES = 5_000
"""With more, no linear prediction from all features stands beside the model."""
LEVEL = 0.95


@dataclass(frozen=True)
class Said:
    """What one head and its baselines say of the test samples: n x k probabilities, n values or n log risks each."""

    head: str
    train: Outcome
    test: Outcome
    answers: dict[str, np.ndarray]


def predicted(
    fitted: Fitted, parts: Mapping[str, md.MuData], keys: Prediction | None, *, model: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """Score every head on `parts["test"]`.

    Parameters
    ----------
    fitted
        The model; `parts["train"]` is what it was fitted on.
    parts
        Split name -> samples.
    keys
        What is asked for; None for nothing.
    model
        Its name among the representations; None: that of its settings.
    seed
        Of components and resamples.

    Returns
    -------
    DataFrame
        head, kind, representation, metric, value, and of the main metric `lower`, `upper` and the difference to the
        model with both ends (of 95 % bootstrap intervals over test samples), n; empty without heads.
    """
    heads = fitted.recipe.get("heads") or {}
    if keys is None or not heads or not {"train", "test"} <= set(parts):
        return pd.DataFrame()
    which = [w for w in keys.baselines if w != "raw" or fitted.spec.width <= MOST_FEATURES]
    tables = tables_of(fitted, parts, which, seed)
    said = {p: fitted.predict(parts[p]) for p in ("test",)}
    rows: list[dict[str, Any]] = []
    for name in heads:
        task = head_of(fitted.module, name)
        train, test = (outcome_of(parts[p].obs, task.target, task.keys.strata) for p in ("train", "test"))
        answers = {model or model_name(fitted): said_of(said["test"], name, task.target)}
        for who, (a, b) in tables.items():
            try:
                answers[who] = linear_answers(a, train, b)[0]
            except DataError as error:
                log.info("head %s: no linear prediction from %s: %s", name, who, error)
        rows += _scored(Said(name, train, test, answers), keys.resamples, seed)
    return pd.DataFrame(rows)


def _scored(said: Said, resamples: int, seed: int) -> Iterator[dict[str, Any]]:
    """A row per representation and metric."""
    kind, own = said.test.kind, next(iter(said.answers))
    drawn = {who: _resampled(said, answer, resamples, seed) for who, answer in said.answers.items()}
    for who, answer in said.answers.items():
        n = int((said.test.known & np.isfinite(answer).reshape(len(answer), -1).all(axis=1)).sum())
        found = scores(said.test, answer, train=said.train)
        found.pop("uno", None)  # the survival section has it, up to its horizon
        if not n:
            log.warning("head %s: no test sample has it: nothing is measured", said.head)
            return
        for metric, value in found.items():
            row = {"head": said.head, "kind": kind, "representation": who, "metric": metric, "value": value, "n": n}
            if metric == main_metric(kind) and len(drawn[who]):
                row["lower"], row["upper"] = _ends(drawn[who])
                if who != own:
                    row["difference_lower"], row["difference_upper"] = _ends(drawn[own] - drawn[who])
            yield row


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _resampled(said: Said, answer: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """The main metric of classes and values over bootstrap resamples; empty for survival, which has its own section."""
    known = said.test.known & np.isfinite(answer).reshape(len(answer), -1).all(axis=1)
    n = int(known.sum())
    if said.test.kind == "survival" or n < 2:
        return np.empty(0)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    y, found = said.test.y[known], answer[known]
    if said.test.kind == "value":
        return np.asarray(metrics.regression(y, found, weights)["r2"])
    return np.asarray(metrics.classification(y.astype(int), found.argmax(axis=1), found, weights)["auc"])
