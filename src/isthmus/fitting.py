"""`fit`: prepare on train, build the model, train it, measure what its intervals need."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import mudata as md
import numpy as np
import torch
from torch import Tensor

from isthmus import registry
from isthmus.architecture import Architecture
from isthmus.config import Config, Likelihood, validate
from isthmus.data.accepted import Data, cohort
from isthmus.data.bags import is_bag
from isthmus.data.batches import Samples, samples
from isthmus.data.cohort import take_samples
from isthmus.data.images import is_image
from isthmus.errors import DataError, RecipeError, closest
from isthmus.fitted import EMBED_BATCH, Fitted
from isthmus.loading import config
from isthmus.nn.pooling import start_pools
from isthmus.prepare.preparation import BAGS, PIXELS, Preparation
from isthmus.prepare.preparation import DEFAULT as TABLE
from isthmus.prepare.prepared import Prepared
from isthmus.prepare.step import Entry
from isthmus.supervising import forget, supervision_of, wrapped
from isthmus.training import calibration, devices, engine, optimizers, private
from isthmus.training.checkpoint import Keeper
from isthmus.training.settings import Training
from isthmus.types import COUNTS, Kind, Modality, Spec

log = logging.getLogger("isthmus.fit")
LIKELIHOODS: tuple[str, ...] = get_args(Likelihood)
FEWEST_FOR_STOPPING = 16
CHECKED_ROWS = 256


def fit(
    model: Any,
    train: Data,
    valid: Data | None = None,
    *,
    prepare: Mapping[str, Sequence[Any]] | None = None,
    likelihood: Mapping[str, str] | None = None,
    heads: Mapping[str, Any] | None = None,
    confounders: Any = None,
    training: Training | Mapping[str, Any] | None = None,
    keeper: Keeper | None = None,
    watch: engine.Watch | None = None,
    measure: engine.Measure | None = None,
) -> Fitted:
    """Train a model.

    Whatever is learnt, preparation included, is learnt on `train` alone; `valid` decides when to stop.

    Parameters
    ----------
    model
        Settings of an architecture, such as `ist.VAE(latent=8)`.
    train, valid
        Samples, as `ist.read` gives them. Without `valid`, a share of train (`training.valid_share`) is set aside when
        early stopping needs it and train has 16 samples or more.
    prepare
        Modality to list of steps. For a modality that it does not name `[standardise]` if it is gaussian, else nothing;
        for images `[{pixels: channel}]` if they are gaussian, `[pixels]` if they are bernoulli.
    likelihood
        Modality to `gaussian` (default), `bernoulli`, `poisson`, `nb` or `zinb`.
    heads
        Name to what is predicted from the embedding, such as `{"subtype": {"kind": "class"}, "os": {"kind": "cox",
        "time": "os_months", "event": "os_event"}}`; see `isthmus.supervising_keys.Head`.
    confounders
        Columns of obs that the embedding should not tell of, such as `{"columns": ["site"], "method":
        "conditional"}`; see `isthmus.supervising_keys.Confounders`.
    training
        Settings of the training loop.
    keeper
        Where checkpoints go, and whether to resume from one.
    watch
        Called after every epoch with its row of history, `seconds` and `epochs`.
    measure
        Called after every epoch with the module and the validation samples; gives further columns of the history.

    Raises
    ------
    RecipeError
        A setting is wrong.
    DataError
        The samples do not fit the settings.
    RunError
        The loss is no longer finite, or the memory does not hold a batch.
    """
    training = _checked(model, training, alone=keeper is None and watch is None)
    train = cohort(train, ("data",))
    _check_samples(train, valid)
    train, valid = set_aside(train, valid, training)
    names = list(train.mod)
    name = registry.name_of(model)
    _check_number(registry.get(name), name, names)
    likelihoods, asked = _likelihoods(likelihood or {}, names), supervision_of(heads, confounders)
    _check_tables(train)
    preparation = Preparation.parse(prepare, names, defaults=_default_steps(train, likelihoods))
    _check_span(preparation, name, likelihoods, training)
    preparation.residual = asked.residual(train.obs, likelihoods)
    prepared = preparation.fit(train).transform(train)
    for m in names:
        _check_values(prepared[m], m, likelihoods[m])
    spec = replace(_spec(prepared, likelihoods), **asked.learnt(train.obs, model))
    settings = config(name, model.model_dump()).loaded({m.name: m.features for m in spec})
    asked.check_valid(None if valid is None else valid.obs, spec.targets, model)
    train_samples = samples(prepared, spec, train.obs)
    valid_samples = None if valid is None else samples(preparation.transform(valid), spec, valid.obs)
    with devices.seeded(training.seed):
        with devices.told_memory("model", model, "fewer latent dimensions, narrower hidden layers, or fewer features"):
            module = registry.get(name)(settings, spec)
            start_pools(module, train_samples, training.seed)
            module = wrapped(module, asked, train_samples)
        history = engine.fit(engine.Job(module, train_samples, valid_samples, training, keeper, watch, measure))
        forget(module)
        moments = _moments(module, train_samples)
        moments |= calibration.half_widths(module, valid_samples or train_samples, training.seed)
    recipe = {
        "model": {"name": name, **settings.model_dump(mode="json")},
        "prepare": preparation.describe(),
        "likelihood": likelihoods,
        **asked.described,
        "training": training.model_dump(mode="json"),
    }
    if spent := private.statement(training, module.phases, len(train_samples), len(history)):
        recipe["privacy"] = spent
        log.info("%s", private.said(spent))
    return Fitted(module, preparation, recipe, history, moments)


def _checked(model: Any, training: Training | Mapping[str, Any] | None, *, alone: bool) -> Training:
    """The settings of the loop; `alone`: nobody made a run folder for what they ask to be written."""
    if not isinstance(model, Config):
        wanted = "such as ist.VAE(latent=8)"
        raise RecipeError("is not the settings of a model", where="model", met=model, wanted=wanted)
    keys = validate(Training, training, where="training") if isinstance(training, Mapping) else training or Training()
    if keys.tensorboard and alone:
        log.warning("training.tensorboard writes into a run folder: fit() alone has none, and writes nothing")
    return keys


def _check_samples(train: md.MuData, valid: Data | None) -> None:
    """Something to learn from, and something else to stop by."""
    if train.n_obs < 2:
        raise DataError("nothing varies over so few samples", where="train", met=train.n_obs, wanted="2 or more")
    if isinstance(valid, md.MuData) and (both := int(valid.obs_names.isin(train.obs_names).sum())):
        log.warning("%d of %d validation samples are training samples: early stopping is blind", both, valid.n_obs)


def set_aside(train: md.MuData, valid: Data | None, training: Training) -> tuple[md.MuData, md.MuData | None]:
    """Train and the validation samples: given, taken from train, or none."""
    if valid is not None:
        return train, cohort(valid, list(train.mod))
    if training.patience is None or train.n_obs < FEWEST_FOR_STOPPING:
        return train, None
    ids = np.sort(train.obs_names.to_numpy().astype(str))
    order = np.random.default_rng(training.seed).permutation(len(ids))
    held = set(ids[order[: max(2, round(training.valid_share * len(ids)))]])
    rows = train.obs_names.isin(held)
    log.info("%d of %d training samples are set aside for early stopping", rows.sum(), len(ids))
    return take_samples(train, train.obs_names[~rows]), take_samples(train, train.obs_names[rows])


def _likelihoods(given: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    for m, kind in given.items():
        if m not in names:
            hint = closest(m, names)
            raise RecipeError("no such modality", where=f"likelihood.{m}", hint=hint)
        if kind not in LIKELIHOODS:
            hint = closest(kind, LIKELIHOODS)
            raise RecipeError("no such likelihood", where=f"likelihood.{m}", met=kind, hint=hint)
    return {m: given.get(m, "gaussian") for m in names}


def _check_number(architecture: type[Architecture], name: str, names: Sequence[str]) -> None:
    """Whether an architecture takes this number of modalities."""
    fewest, most = architecture.modalities
    if len(names) < fewest or (most is not None and len(names) > most):
        wanted = f"exactly {fewest}" if fewest == most else f"at least {fewest}" + (f", at most {most}" if most else "")
        what = "does not take this number of modalities"
        raise RecipeError(what, where=f"model.name: {name}", met=", ".join(names), wanted=wanted)


def _default_steps(train: md.MuData, likelihoods: Mapping[str, str]) -> dict[str, Sequence[Entry]]:
    """The steps of every modality for which nobody names any."""
    tables: dict[str, Sequence[Entry]] = {"gaussian": TABLE}
    each = {m: PIXELS if is_image(a) else {"gaussian": BAGS} if is_bag(a) else tables for m, a in train.mod.items()}
    return {m: steps.get(likelihoods[m], ()) for m, steps in each.items()}


def _check_tables(train: md.MuData) -> None:
    for m, adata in train.mod.items():
        if adata.n_vars == 0 and not is_image(adata):
            raise DataError(
                "holds no table", where=f"modality {m!r}", met=f"obsm: {', '.join(adata.obsm) or 'nothing'}",
                wanted="a table, or images in obsm", hint="leave the modality out: models read tables and images",
            )  # fmt: skip


def _check_span(preparation: Preparation, name: str, likelihoods: Mapping[str, str], training: Training) -> None:
    """What the step `span` asks of model, likelihood and optimiser, so that it gives what full width gives."""
    for m, pipeline in preparation.pipelines.items():
        where, reason = f"prepare.{m}.span", registry.get(name).unspanned
        if pipeline.span is None or not pipeline.span.options.use:
            continue
        if reason:
            known = [n for n in registry.names() if not registry.get(n).unspanned]
            raise RecipeError(f"{name} {reason}", where=where, wanted=f"model.name: {' or '.join(known)}")
        if likelihoods[m] != "gaussian":
            raise RecipeError(
                "is exact for the squared error alone", where=where, met=f"likelihood.{m}: {likelihoods[m]}",
                wanted="gaussian", hint=f"prepare.{m}: [log2, standardise, span], or leave span out",
            )  # fmt: skip
        if training.optimizer not in optimizers.REDUCIBLE:
            raise RecipeError(
                "gives every feature a step of its own, which leads out of the span of the samples",
                where="training.optimizer", met=training.optimizer, wanted=" or ".join(optimizers.REDUCIBLE),
                hint=f"or leave span out of prepare.{m}",
            )  # fmt: skip


def _check_values(prepared: Prepared, name: str, likelihood: str) -> None:
    """What a likelihood, or the step `span`, asks of the prepared values."""
    span = prepared.span is not None and prepared.span.options.use
    if span and (missing := int(np.isnan(prepared.rows(np.flatnonzero(prepared.present))).sum())):
        raise DataError(
            "has missing entries in train, whose mask on the loss leads out of the span of the samples",
            where=f"prepare.{name}.span", met=missing, wanted="complete training samples",
            hint=f"fill them first (isthmus impute), or leave span out of prepare.{name}",
        )  # fmt: skip
    if likelihood == "gaussian":
        return
    for start in range(0, len(prepared), CHECKED_ROWS):
        rows = prepared.rows(np.arange(start, min(start + CHECKED_ROWS, len(prepared))))
        known = ~np.isnan(rows)
        if likelihood == "bernoulli":
            wrong, wanted = known & ((rows < 0) | (rows > 1)), "values from 0 to 1"
        else:
            wrong, wanted = known & ((rows < 0) | (rows != np.round(rows))), "counts: 0, 1, 2, ..."
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            raise DataError(
                f"does not fit the likelihood {likelihood!r} after preparation",
                where=f"modality {name!r}, feature {str(prepared.features[j])!r}", met=float(rows[i, j]),
                wanted=wanted, hint=f"leave transformations out of prepare.{name}, or use likelihood gaussian",
            )  # fmt: skip


def _spec(prepared: Mapping[str, Prepared], likelihoods: Mapping[str, str]) -> Spec:
    modalities = []
    for m, p in prepared.items():
        library = typical_library(p) if likelihoods[m] in COUNTS else 1.0
        names = tuple(map(str, p.features))
        kind: Kind = "image" if p.picture is not None else "table" if p.instances is None else "bag"
        units = None if p.span is None else p.span.width
        modalities.append(Modality(m, p.shape, kind, likelihoods[m], library, names, units))  # type: ignore[arg-type]
    return Spec(tuple(modalities), n_train=len(next(iter(prepared.values()))))


def typical_library(prepared: Prepared) -> float:
    """Median total count of the training samples that have the modality."""
    index = np.flatnonzero(prepared.present)
    parts = [np.nansum(prepared.rows(index[i : i + CHECKED_ROWS]), axis=1) for i in range(0, len(index), CHECKED_ROWS)]
    return max(float(np.median(np.concatenate(parts))), 1.0)


@torch.no_grad()
def _moments(module: Architecture, train: Samples) -> dict[str, Tensor]:
    """Mean and covariance of the training embedding, over the samples that have one."""
    z = torch.cat([module.eval().encode(b)[module.encodable(b)] for b in train.batches(EMBED_BATCH)]).double()
    centred = z - z.mean(dim=0)
    covariance = centred.T @ centred / max(len(z) - 1, 1)
    seen = {f"seen/{m.name}": _seen(train, m.name, m.width) for m in module.spec}
    return {"mean": z.mean(dim=0).float(), "covariance": covariance.float(), **seen}


def _seen(train: Samples, name: str, width: int) -> Tensor:
    """Which features of a modality have any observed entry."""
    if name in train.outside and train.x[name].shape[1] != width:
        return torch.ones(width, dtype=torch.uint8)
    parts = train.without_bags.batches(EMBED_BATCH)
    found = torch.stack([b.observed[name].any(dim=0).expand(b.x[name].shape[1]) for b in parts])
    return found.any(dim=0).to(torch.uint8)
