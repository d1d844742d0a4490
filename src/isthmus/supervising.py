"""From the keys `heads` and `confounders` and the columns of train to targets and covariates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from isthmus.architecture import Architecture
from isthmus.config import Config, validate
from isthmus.data.batches import Samples
from isthmus.data.obs import class_codes, class_names
from isthmus.data.targets import column, covariate_of, numbers, target_values
from isthmus.errors import DataError, RecipeError, closest
from isthmus.losses import time_bins
from isthmus.prepare.residual import Residual
from isthmus.supervised import Supervised
from isthmus.supervising_keys import SURVIVAL, Confounders, Head, check_head_names
from isthmus.types import Covariate, Target

__all__ = ["Supervision", "forget", "supervision_of", "wrapped"]


@dataclass(frozen=True)
class Supervision:
    """What a model is taught besides its modalities, and what it is to leave out of its embedding."""

    heads: Mapping[str, Head]
    confounders: Confounders | None

    @property
    def described(self) -> dict[str, Any]:
        """The sections `heads` and `confounders` of a resolved recipe."""
        found: dict[str, Any] = {}
        if self.heads:
            found["heads"] = {name: h.model_dump(mode="json") for name, h in self.heads.items()}
        if self.confounders is not None:
            found["confounders"] = self.confounders.model_dump(mode="json")
        return found

    def targets(self, obs: pd.DataFrame, model: Config) -> tuple[Target, ...]:
        """Of the model's own settings, of heads and of penalties, learnt from training samples."""
        made = model_targets(model, obs)
        for name, head in self.heads.items():
            made += _head_targets(name, head, obs)
        if self.confounders is not None and self.confounders.penalties:
            made += tuple(_confounder(c) for c in self.columns(obs))
        return made

    def check_valid(self, obs: pd.DataFrame | None, targets: tuple[Target, ...], model: Config) -> None:
        """Refuse validation samples that lack a column which the loss reads."""
        keys = {getattr(model, key): f"model.{key}" for key in getattr(model, "columns", ())}
        for target in targets if obs is not None else ():
            for name in target.columns or (target.name,):
                if obs is not None and name not in obs.columns:
                    where = keys.get(target.name, target.name.replace("/", ".").replace("head.", "heads."))
                    raise DataError("no such column in obs of valid", where=where, met=name)

    def learnt(self, obs: pd.DataFrame, model: Config) -> dict[str, Any]:
        """The fields `targets` and `covariates` of a spec."""
        told = self.confounders is not None and "conditional" in self.confounders.method
        return {"targets": self.targets(obs, model), "covariates": self.columns(obs) if told else ()}

    def columns(self, obs: pd.DataFrame) -> tuple[Covariate, ...]:
        """The confounders, learnt from training samples."""
        keys = self.confounders
        if keys is None:
            return ()
        where = "confounders.columns"
        return tuple(covariate_of(column(obs, c, where), where, as_class=c in keys.classes) for c in keys.columns)

    def residual(self, obs: pd.DataFrame, likelihoods: Mapping[str, str]) -> Residual | None:
        """What is regressed out of the prepared features."""
        if self.confounders is None or "residualise" not in self.confounders.method:
            return None
        for name, met in likelihoods.items():
            if met != "gaussian":
                where, wanted = "confounders.method: residualise", f"likelihood.{name}: gaussian"
                raise RecipeError("leaves no counts", where=where, met=f"likelihood.{name}: {met}", wanted=wanted)
        return Residual(self.columns(obs))


def supervision_of(heads: Mapping[str, Any] | None, confounders: Any) -> Supervision:
    """The keys as settings.

    Raises
    ------
    RecipeError
        A key or value is wrong.
    """
    made = {}
    check_head_names(heads or {})
    for name, keys in (heads or {}).items():
        made[str(name)] = keys if isinstance(keys, Head) else validate(Head, keys, where=f"heads.{name}")
    if confounders is not None and not isinstance(confounders, Confounders):
        confounders = validate(Confounders, confounders, where="confounders")
    return Supervision(made, confounders)


def wrapped(module: Architecture, asked: Supervision, train: Samples | None = None) -> Architecture:
    """The model with heads and penalties; as it is where there are none. `train`: what their losses learn from."""
    if not asked.heads and not (asked.confounders and asked.confounders.penalties):
        return module
    if not module.gives_parts and (name := next((n for n, h in asked.heads.items() if h.auxiliary), None)):
        raise RecipeError(
            "needs the embedding of each modality alone, which this architecture does not have",
            where=f"heads.{name}.auxiliary", met=asked.heads[name].auxiliary, wanted="0, or joint_embedding",
        )  # fmt: skip
    made = Supervised(module, asked.heads, asked.confounders)
    if train is not None:
        made.learn(train)
    return made


def forget(module: Architecture) -> None:
    """Keep nothing of the training samples but the weights."""
    if isinstance(module, Supervised):
        module.forget()


def model_targets(model: Config, obs: pd.DataFrame) -> tuple[Target, ...]:
    """The columns of obs that the settings of an architecture name, with the classes of train."""
    found = {}
    for key in getattr(model, "columns", ()):
        if (name := getattr(model, key)) is None:
            continue
        if name not in obs.columns:
            hint = closest(name, obs.columns)
            raise RecipeError("no such column in obs", where=f"model.{key}", met=name, hint=hint)
        found[name] = Target(name, "class", _classes(obs[name], f"model.{key}: {name}"))
    return tuple(found.values())


def _classes(values: pd.Series, where: str) -> tuple[str, ...]:
    classes = class_names(values)
    if len(classes) < 2:
        met = ", ".join(classes) or "nothing"
        raise DataError("holds fewer than two classes in train", where=where, met=met)
    return classes


def _head_targets(name: str, head: Head, obs: pd.DataFrame) -> tuple[Target, ...]:
    """What a head reads, learnt from training samples: classes, mean and sd, or intervals of time."""
    where, made = f"heads.{name}", f"head/{name}"
    if head.kind in SURVIVAL:
        return _survival_targets(made, head, obs)
    named = head.column or name
    values = column(obs, named, where)
    if head.kind == "class":
        return (Target(made, "class", _classes(values, f"{where}: {named}"), (named,)),)
    found = numbers(values, where)
    known = found[~np.isnan(found)]
    if len(known) < 2 or not known.std() > 0:
        raise DataError(
            "does not vary in train", where=f"{where}: {named}", met=len(known), wanted="two values or more"
        )
    return (Target(made, "value", (), (named,), mean=float(known.mean()), sd=float(known.std())),)


def _survival_targets(made: str, head: Head, obs: pd.DataFrame) -> tuple[Target, ...]:
    """Time and event, and the strata of Cox."""
    columns = (str(head.time), str(head.event or head.censoring))
    target = Target(made, "survival", (), columns, turned=head.event is None)
    time, event = target_values(obs, target).astype(np.float64).T
    where = made.replace("head/", "heads.")
    if not np.nansum(event):
        hint = "event: 1 where it happened; a column that is 1 where observation ended goes by censoring:"
        raise DataError("has no event in train", where=f"{where}: {columns[1]}", met=0, wanted="some", hint=hint)
    if not np.nanmax(time) > 0:
        raise DataError("has no time above 0 in train", where=f"{where}: {columns[0]}", met=0, wanted="some")
    if head.kind == "discrete":
        edges = time_bins.edges(time, event, bins=head.bins)
        target = Target(made, "survival", (), columns, target.turned, edges=tuple(map(float, edges)))
    if head.strata is None:
        return (target,)
    values = column(obs, head.strata, f"{where}.strata")
    strata = _classes(values, f"{where}.strata: {head.strata}")
    codes = class_codes(values, strata)
    if not any(_compared(time[codes == k], event[codes == k]) for k in range(len(strata))):
        raise DataError(
            "no event in train has another sample of its stratum at risk, so that nothing can be compared",
            where=f"{where}.strata: {head.strata}", met=f"{len(strata)} strata", wanted="fewer, larger ones",
        )  # fmt: skip
    return target, Target(f"{made}/strata", "class", strata, (head.strata,))


def _compared(time: np.ndarray, event: np.ndarray) -> bool:
    """Whether somebody else was still at risk at an event."""
    happened = time[event > 0]
    return bool(happened.size) and int((time >= happened.min()).sum()) > 1


def _confounder(covariate: Covariate) -> Target:
    """A confounder as what penalties read."""
    name, column = f"confounder/{covariate.name}", (covariate.name,)
    if covariate.classes:
        return Target(name, "class", covariate.classes, column)
    return Target(name, "value", (), column, mean=covariate.mean, sd=covariate.sd)
