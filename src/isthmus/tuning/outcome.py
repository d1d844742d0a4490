"""What a search found, as tables: its trials, what mattered, and the best settings beside the recipe's own on test."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from isthmus.evaluate.spread import nadeau_bengio
from isthmus.recipe import Recipe
from isthmus.tuning.scores import Score
from isthmus.tuning.search import finished
from isthmus.tuning.space import Space
from isthmus.tuning_keys import Tuning

__all__ = ["Outcome", "compared", "importances", "scores_of", "space_table", "trials_table", "verdict"]

log = logging.getLogger("isthmus.tune")
DIGITS = 4


@dataclass(frozen=True)
class Outcome:
    """Everything that a search has found.

    Attributes
    ----------
    recipe, best
        As given, with its section `tune`; with the best parameters, without it.
    number, parameters
        Of the best trial.
    trials
        study, number, state, a value per score, a column per parameter, reason.
    refits
        fold, settings (default, best), seed, score, value: on test samples.
    comparison
        A row per score; see `compared`.
    importances
        parameter, importance (a share of 1).
    larger
        Score -> whether larger is better; the scores that a trial is judged by come first.
    folds
        Outer folds; 1 without.
    """

    recipe: Recipe
    best: Recipe
    number: int
    parameters: dict[str, Any]
    trials: pd.DataFrame
    refits: pd.DataFrame
    comparison: pd.DataFrame
    importances: pd.DataFrame
    larger: dict[str, bool]
    folds: int

    @property
    def name(self) -> str:
        """A title."""
        return f"Settings for {type(self.best.model).__name__}"

    @property
    def keys(self) -> Tuning:
        return self.recipe.tune or Tuning()

    def metrics(self) -> dict[str, Any]:
        """Flat names and numbers."""
        done = self.trials[self.trials["study"] == "all"] if self.folds > 1 else self.trials
        flat: dict[str, Any] = {"tune/trials": len(done), "tune/best/number": self.number}
        flat["tune/complete"] = int((done["state"] == "complete").sum())
        best = done[done["number"] == self.number].iloc[0]
        for column in value_columns(done):
            flat[f"tune/best/{column}"] = float(best[column])
        for row in self.comparison.to_dict("records"):
            for key in ("default", "default_sd", "best", "best_sd", "difference", "lower", "upper"):
                value = row[key]
                flat[f"tune/test/{row['score']}/{key}"] = value if math.isfinite(value) else None
        return flat


def value_columns(trials: pd.DataFrame) -> list[str]:
    """The columns of a table of trials that hold values."""
    return [str(c) for c in trials.columns if c == "value" or str(c).startswith("value/")]


def space_table(space: Space, best: Mapping[str, Any]) -> pd.DataFrame:
    """A row per parameter: range in words, scale (linear, log, choice), default and best value."""
    rows = []
    for knob in space.knobs:
        r = knob.range
        ends = ", ".join(str(_flat(c)) for c in r.choices) if r.choices else f"{_short(r.low)} to {_short(r.high)}"
        scale = "choice" if r.choices else "log" if r.log else "linear"
        text = f"{ends} (log)" if r.log else ends
        rows.append((knob.key, text, scale, _short(_flat(knob.default)), _short(_flat(best[knob.key]))))
    return pd.DataFrame(rows, columns=["parameter", "range", "scale", "default", "best"])


def trials_table(study: optuna.Study, space: Space, names: Sequence[str], part: str) -> pd.DataFrame:
    """A row per trial that counts, by number: state, values (NaN where there are none), parameters."""
    rows = []
    heads = ["value"] if len(study.directions) == 1 else [f"value/{n}" for n in names]
    for trial in finished(study):
        row: dict[str, Any] = {"study": part, "number": trial.number, "state": trial.state.name.lower()}
        whole = trial.state == TrialState.COMPLETE
        row |= dict(zip(heads, trial.values if whole else [math.nan] * len(heads), strict=True))
        row |= {k: _flat(v) for k, v in space.values(trial.params).items()}
        rows.append(row | {"reason": trial.user_attrs.get("reason", "")})
    return pd.DataFrame(rows)


def _flat(value: Any) -> Any:
    """A parameter in a cell of a table."""
    if value is None:
        return "null"
    return json.dumps(value) if isinstance(value, list | tuple | Mapping) else value


def importances(study: optuna.Study, seed: int) -> pd.DataFrame:
    """Share of the variance of the (first) score over the space that each parameter accounts for, by fANOVA.

    Hutter, Hoos & Leyton-Brown, An efficient approach for assessing hyperparameter importance, ICML 2014. Empty where
    there are fewer than four whole trials, or all have one value.
    """
    whole = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    varies = len({t.values[0] for t in whole}) > 1
    if len(whole) < 4 or not varies:
        return pd.DataFrame({"parameter": [], "importance": []})

    def first(trial: FrozenTrial) -> float:
        return float(trial.values[0])

    evaluator = FanovaImportanceEvaluator(seed=seed % 2**32)
    try:
        found = get_param_importances(study, evaluator=evaluator, target=first)
    except (RuntimeError, ValueError) as error:
        log.info("no importances: %s", error)
        return pd.DataFrame({"parameter": [], "importance": []})
    return pd.DataFrame({"parameter": list(found), "importance": list(found.values())})


def compared(refits: pd.DataFrame, larger: Mapping[str, bool], sizes: tuple[float, float]) -> pd.DataFrame:
    """The best settings beside the recipe's own, on test samples.

    Parameters
    ----------
    refits
        fold, settings, seed, score, value.
    larger
        Score -> whether larger is better.
    sizes
        Training and test samples of an outer fold, on average.

    Returns
    -------
    pandas.DataFrame
        A row per score: `default` and `best` (means), `default_sd`, `best_sd` (over seeds; with folds over these), and
        the mean paired `difference`, positive where the best is better, with a 95 % interval `lower` to `upper`: of
        Student's t over seeds of one split; of the corrected resampled t-test over outer folds (Nadeau & Bengio 2003).
    """
    rows = []
    for score in dict.fromkeys(refits["score"]):
        table = refits[refits["score"] == score].pivot_table(
            index=["fold", "seed"], columns="settings", values="value", dropna=False
        )
        nested = table.index.get_level_values("fold").nunique() > 1
        per = table.groupby(level="fold").mean() if nested else table
        gain = (per["best"] - per["default"]).to_numpy(dtype=float) * (1 if larger[score] else -1)
        found = nadeau_bengio(gain, sizes[0] if nested else 1.0, sizes[1] if nested else 0.0)
        rows.append(
            {
                "score": score, "default": per["default"].mean(), "default_sd": per["default"].std(),
                "best": per["best"].mean(), "best_sd": per["best"].std(),
                "difference": found.mean, "lower": found.lower, "upper": found.upper,
            }
        )  # fmt: skip
    columns = ["score", "default", "default_sd", "best", "best_sd", "difference", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns)


def verdict(outcome: Outcome) -> list[str]:
    """What came of it in words: first whether the search was worth its while on samples that it had not seen."""
    keys = outcome.keys
    over = f"{outcome.folds} outer folds" if outcome.folds > 1 else f"{keys.refits} seeds"
    rows = outcome.comparison.head(len(keys.names)).to_dict("records")
    said = [_sentence(row, over=over, larger=outcome.larger[row["score"]]) for row in rows]
    done = outcome.trials[outcome.trials["study"] == outcome.trials["study"].iloc[-1]]
    pruned = int((done["state"] == "pruned").sum())
    changes = ", ".join(f"{k} = {_short(v)}" for k, v in outcome.parameters.items())
    said.append(f"Of {len(done)} trials ({pruned} stopped early) number {outcome.number} was the best: {changes}.")
    if outcome.folds == 1 and not outcome.comparison.empty:
        said.append(
            "The spread is that of seeds on one division of the samples; tune.nested shows that of the samples too."
        )
    return said


def _sentence(row: Mapping[Any, Any], *, over: str, larger: bool) -> str:
    best, default = (f"{_short(row[w])} ± {row[f'{w}_sd']:.2g}" for w in ("best", "default"))
    pair = f"{best} against {default}"
    better = "higher" if larger else "lower"
    tail = f"({better} is better; mean ± sd over {over})"
    name = "the loss" if row["score"] == "valid_loss" else row["score"]
    if row["lower"] > 0:
        return f"On the test samples the tuned settings beat the recipe's own in {name}: {pair} {tail}."
    if row["upper"] < 0:
        return f"On the test samples the recipe's own settings beat the tuned ones in {name}: {pair} {tail}."
    return f"On the test samples the tuned settings cannot be told from the recipe's own in {name}: {pair} {tail}."


def _short(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.{DIGITS}g}".replace("-", "\u2212")
    return "null" if value is None else str(value)


def scores_of(scores: Sequence[Score]) -> dict[str, bool]:
    """Score -> whether larger is better."""
    return {s.name: s.larger for s in scores}
