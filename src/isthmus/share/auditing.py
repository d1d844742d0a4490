"""`audit`: attack a model before others do, and say in numbers what it gives away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd

from isthmus.assess import Scale, joined, model_name
from isthmus.config import Config, copy_with
from isthmus.data.accepted import Data, cohort
from isthmus.data.cohort import build, quiet, take_samples
from isthmus.errors import DataError, RecipeError
from isthmus.fitted import Fitted
from isthmus.fitting import fit, set_aside
from isthmus.loading import config
from isthmus.share.attack import halves, likelihood_ratio, roc, scored, threshold
from isthmus.share.attack_attributes import attributes, inferable
from isthmus.share.attack_features import features
from isthmus.share.audit_losses import losses
from isthmus.share.audit_report import MEMBERSHIP, Report
from isthmus.training.settings import Training

__all__ = ["Subject", "audit"]

log = logging.getLogger("isthmus.audit")
REFITS = 16
FEWEST = 20
"""Samples below which no attack can be told from chance."""


@dataclass(frozen=True)
class Subject:
    """What is attacked: a model, the samples it was trained on and those it was not, and how it is fitted again.

    Without `held_out` there is no sample that the model has not seen: its recipe alone is attacked. `valid` decides
    when a refit stops. `group`: a column of obs whose values stay together.
    """

    fitted: Fitted
    train: md.MuData
    held_out: md.MuData | None
    valid: md.MuData | None = None
    group: str | None = None
    whole: md.MuData | None = None
    """A cohort that holds all of these samples, where there is one."""
    keys: Mapping[str, Any] | None = None
    """Arguments of `fit`; None: those the fitted model was resolved to."""


def audit(
    model: Fitted | str | Path,
    train: Data | None = None,
    held_out: Data | None = None,
    *,
    valid: Data | None = None,
    group: str | None = None,
    refits: int = REFITS,
    seed: int = 0,
) -> Report:
    """Attack a model: who was it trained on, what do embeddings tell of people, which feature is which.

    Parameters
    ----------
    model
        A fitted model, or a run folder, whose recipe then says which data are read again and how they are divided.
    train, held_out
        For a fitted model: the samples it was trained on, and others of the same kind that it has never seen.
    valid
        Samples that decided when its training stopped; they do so in the refits, too.
    group
        A column of obs whose values (patients) are either all in a refit's training or all out of it.
    refits
        How often its recipe is fitted again, on random halves, for the likelihood-ratio attack; even. 0: not at all.
    seed
        Of halves, refits and intervals.

    Returns
    -------
    Report
        `.to_dict()` is what `audit.json` holds, `.words` says it in sentences.

    Raises
    ------
    DataError
        Fewer than 20 samples, or the data of a run are no longer there, or are others.
    RecipeError
        The arguments contradict each other.
    ModelError
        The model reconstructs nothing, so that there is no loss to attack.

    Notes
    -----
    Formulas and sources: `isthmus.share.attack`.
    """
    check_refits(refits)
    if isinstance(model, str | Path):
        if train is not None or held_out is not None:
            raise RecipeError("a run folder says itself which samples were train", where="train", met="both")
        from isthmus.share.audit_run import subject

        return attack(subject(model), refits=refits, seed=seed)
    if train is None:
        raise RecipeError("is missing", where="train", wanted="the samples that the model was trained on")
    names = model.spec.names
    parts = [None if d is None else cohort(d, names) for d in (train, held_out, valid)]
    assert parts[0] is not None
    return attack(Subject(model, parts[0], parts[1], parts[2], group), refits=refits, seed=seed)


def check_refits(refits: int) -> None:
    """Each half is fitted beside its complement."""
    if refits < 0 or refits % 2:
        raise RecipeError("is no number of pairs of halves", where="refits", met=refits, wanted="0, 2, 4, ...")


def attack(subject: Subject, *, refits: int = REFITS, seed: int = 0) -> Report:
    """Every attack on a subject; see `audit`."""
    pool, member = _pool(subject)
    if pool.n_obs < FEWEST:
        raise DataError("too few samples to tell an attack from chance", where="audit", met=pool.n_obs,
                        wanted=f"at least {FEWEST}")  # fmt: skip
    if subject.held_out is None and not refits:
        hint = "give refits: they attack the recipe instead"
        raise RecipeError("the model has seen every sample: none is left to compare with", where="refits", hint=hint)
    own = losses(subject.fitted, pool)
    rows: list[dict[str, Any]] = []
    scores: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    known = ~np.isnan(own).all(axis=1)
    if subject.held_out is not None:
        asked = known & (member >= 0)
        scores["threshold"] = (member[asked] == 1, threshold(own)[asked])
    if refits:
        inside, seen = _refitted(subject, pool, refits=refits, seed=seed)
        if subject.held_out is not None:
            scores["likelihood ratio"] = (member[asked] == 1, likelihood_ratio(own, seen, inside == 1)[asked])
        rows += _recipe_rows(inside, seen, seed)
    own_rows = [_row(attack, "this model", *s, seed=seed) for attack, s in scores.items()]
    found = Report(
        model=model_name(subject.fitted), train=int((member == 1).sum()), held_out=int((member == 0).sum()),
        refits=refits, seed=seed, membership=pd.DataFrame([*own_rows, *rows], columns=MEMBERSHIP), scores=scores,
        curves={name: roc(*s) for name, s in scores.items()},
        attributes=_attributes(subject, seed), features=_features(subject, pool, seed),
        privacy=subject.fitted.recipe.get("privacy"),
    )  # fmt: skip
    if refits and subject.held_out is None:
        found = replace(found, **_pooled(inside, seen))
    return found


def _pool(subject: Subject) -> tuple[md.MuData, np.ndarray]:
    """Train and held-out samples together; 1: a member, 0: never seen, -1: decided when training stopped."""
    train, others = subject.train, subject.held_out
    taught, _ = set_aside(train, subject.valid, Training(**_training(subject)))
    is_taught = train.obs_names.isin(taught.obs_names)
    if others is None:
        return train, np.where(is_taught, 1, -1)
    if both := int(others.obs_names.isin(train.obs_names).sum()):
        raise DataError("samples are in train and held out", where="held_out", met=both, wanted="others")
    member = np.r_[np.where(is_taught, 1, -1), np.zeros(others.n_obs, dtype=int)]
    if subject.whole is not None:
        return take_samples(subject.whole, [*train.obs_names, *others.obs_names]), member
    return _together(train, others), member


def _together(one: md.MuData, other: md.MuData) -> md.MuData:
    """The samples of both."""
    mods = {}
    with quiet():
        for m in dict.fromkeys([*one.mod, *other.mod]):
            parts = [p.mod[m] for p in (one, other) if m in p.mod]
            mods[m] = parts[0] if len(parts) == 1 else ad.concat(parts, join="outer", merge="same")
    return build(mods, pd.concat([one.obs, other.obs]))


def _training(subject: Subject) -> dict[str, Any]:
    keys = subject.keys or {}
    given = keys.get("training", subject.fitted.recipe["training"])
    return dict(given.model_dump() if isinstance(given, Config) else given)


def _refitted(subject: Subject, pool: md.MuData, *, refits: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which samples every refit had (R x n; 1, 0, or -1 for what stopped it) and their losses (R x n x k)."""
    groups = None if subject.group is None else pool.obs[subject.group].astype(str).to_numpy()
    has = halves(pool.n_obs, refits, seed, groups)
    log.info("%d refits, each on %d of %d samples", refits, int(has[0].sum()), pool.n_obs)
    inside, seen = np.zeros(has.shape, dtype=int), []
    refit, started = _refit_of(subject), time.perf_counter()
    for k, half in enumerate(has):
        part = take_samples(pool, pool.obs_names[half])
        training = _reseeded(subject, seed + 1 + k)
        taught, valid = set_aside(part, subject.valid, training)
        with _quiet(k):
            fitted = refit(taught, valid, training)
        inside[k] = np.where(pool.obs_names.isin(taught.obs_names), 1, np.where(half, -1, 0))
        seen.append(losses(fitted, pool))
        left = (time.perf_counter() - started) / (k + 1) * (refits - k - 1)
        log.info("refit %d of %d is done; about %.0f s left", k + 1, refits, left)
    return inside, np.stack(seen)


def _reseeded(subject: Subject, seed: int) -> Training:
    """The settings of a refit: noise of private training is drawn from its seed, as the refit is thrown away."""
    keys = {**_training(subject), "seed": seed, "tensorboard": False}
    if keys["private"] is not None:
        keys["private"] = {**keys["private"], "secret": False}
    return Training(**keys)


@contextmanager
def _quiet(k: int) -> Iterator[None]:
    """Without the warnings of training that the first refit has given already."""
    logger = logging.getLogger("isthmus.fit")
    before = logger.level
    logger.setLevel(logging.ERROR if k else before)
    try:
        yield
    finally:
        logger.setLevel(before)


def _refit_of(subject: Subject) -> Callable[[md.MuData, md.MuData | None, Training], Fitted]:
    """What fits the recipe again."""
    keys: dict[str, Any] = dict(subject.keys or {k: v for k, v in subject.fitted.recipe.items() if k != "privacy"})
    model = keys.pop("model")
    keys.pop("training", None)
    if not isinstance(model, Config):
        named = dict(model)
        model = config(named.pop("name"), named)

    def refit(train: md.MuData, valid: md.MuData | None, training: Training) -> Fitted:
        # validation samples that fit() would take from train are taken already
        settings = training if valid is not None else copy_with(training, patience=None)
        return fit(model, train, valid, training=settings, **keys)

    return refit


def _recipe_rows(inside: np.ndarray, seen: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """The same attacks on every refit in turn, by the others: what the recipe gives away, whichever samples it had."""
    members, by_threshold, by_ratio = _in_turn(inside, seen)
    rows = [_row("threshold", "its recipe", members, by_threshold, seed=seed)]
    if len(seen) > 3:
        rows.append(_row("likelihood ratio", "its recipe", members, by_ratio, seed=seed))
    return rows


def _in_turn(inside: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Members and both scores of every refit as the target, R x n; a sample that stopped a refit is no member of it."""
    known = ~np.isnan(seen).all(axis=(0, 2))
    members, simple, ratio = [], [], []
    for k in range(len(seen)):
        others = [j for j in range(len(seen)) if j not in (k, k ^ 1)]  # neither itself nor its complement
        members.append(inside[k][known] == 1)
        simple.append(threshold(seen[k])[known])
        score = likelihood_ratio(seen[k], seen[others], inside[others] == 1) if others else np.zeros(len(known))
        ratio.append(score[known])
    return np.array(members), np.array(simple), np.array(ratio)


def _pooled(inside: np.ndarray, seen: np.ndarray) -> dict[str, Any]:
    """Scores and curves over all refits, where the model itself has seen every sample."""
    members, simple, ratio = _in_turn(inside, seen)
    scores = {"threshold": (members.ravel(), simple.ravel())}
    if len(seen) > 3:
        scores["likelihood ratio"] = (members.ravel(), ratio.ravel())
    return {"scores": scores, "curves": {name: roc(*s) for name, s in scores.items()}}


def _row(attack: str, target: str, member: np.ndarray, score: np.ndarray, *, seed: int) -> dict[str, Any]:
    found, rows = scored(member, score, seed=seed), np.atleast_2d(member)
    row: dict[str, Any] = {"attack": attack, "target": target, "members": int(rows[0].sum())}
    row |= {"others": int((~rows[0]).sum())}
    for name, (value, lower, upper) in (("auc", found.auc), ("tpr_at_fpr_01", found.tpr)):
        row |= {name: value, f"{name}_lower": lower, f"{name}_upper": upper}
    return row


def _attributes(subject: Subject, seed: int) -> pd.DataFrame:
    """Annotations inferred from embeddings, learnt on train and scored on held-out samples (or on halves of train)."""
    train, test = subject.train, subject.held_out
    if test is None:
        order = np.random.default_rng(seed).permutation(train.obs_names.to_numpy())
        test, train = (take_samples(train, ids) for ids in np.array_split(order, 2))
    fitted = subject.fitted
    known, embedded, matrices = [], [], []
    scales: dict[str, Scale] = {}
    for part in (train, test):
        prepared = fitted.preparation.transform(part)
        scales = scales or {m.name: Scale.of(prepared[m.name], m.likelihood, m.library) for m in fitted.spec}
        z = np.asarray(fitted.embed(part).X)
        seen = ~np.isnan(z).any(axis=1)
        matrix = joined([scales[m].matrix(prepared[m]) for m in fitted.spec.names])[seen]
        matrices.append(np.nan_to_num(matrix) if isinstance(matrix, np.ndarray) else matrix)
        embedded.append(z[seen])
        known.append(part.obs.loc[seen])
    obs = (known[0], known[1].reindex(columns=known[0].columns))
    columns = inferable(obs[0])
    return attributes((embedded[0], embedded[1]), (matrices[0], matrices[1]), obs, columns=columns, seed=seed)


def _features(subject: Subject, pool: md.MuData, seed: int) -> pd.DataFrame:
    return features(pool, subject.fitted.recipe["prepare"], subject.fitted.spec.names, seed=seed)
