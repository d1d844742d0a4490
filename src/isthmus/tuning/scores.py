"""By what a trial is judged, on samples that it was not fitted on.

A score is measured per fold as sums that add up over folds, so that folds of one sample are as good as folds of many:

    valid_loss              sum_i l(x_i) / n at the recipe's own weights of the loss, annealing over
    reconstruction          1 - sum (x - x_hat)^2 / sum (x - mean_train)^2 over observed entries, mean over modalities
    translation/<a>-><b>    the same for b predicted from a alone, over samples that have both
    embedding/<l>/<who>     what a probe makes of label l from the embedding: AUC or R2, mean over folds

Prepared values; counts as log(1 + count).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import mudata as md
import numpy as np
import torch

from isthmus.architecture import Architecture
from isthmus.data.batches import Samples, samples
from isthmus.errors import RecipeError, closest
from isthmus.evaluate.arrays import feature_means
from isthmus.evaluate.probes import LEARNERS, run_probes
from isthmus.fitted import Fitted
from isthmus.prepare.prepared import Prepared
from isthmus.training import devices
from isthmus.tuning.space import Space
from isthmus.types import COUNTS

__all__ = ["Held", "Score", "loss_of", "score_of"]

BATCH = 1024
KINDS = ("valid_loss", "reconstruction", "embedding/<label>/<learner>", "translation/<a>-><b>")


@dataclass(frozen=True)
class Held:
    """A model, the samples that it was fitted on, and others."""

    fitted: Fitted
    train: md.MuData
    held: md.MuData

    def values(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a modality: the held samples (n x f, NaN where missing), who has it (n), and the train means (f)."""
        held, train = (self._compared(m, name) for m in (self.held, self.train))
        return held, ~np.isnan(held).all(axis=1), np.nan_to_num(feature_means(train))

    def compared(self, name: str, values: np.ndarray) -> np.ndarray:
        """Prepared values or predicted means on the scale of the scores."""
        return np.log1p(values) if self.fitted.spec[name].likelihood in COUNTS else values

    def _compared(self, mdata: md.MuData, name: str) -> np.ndarray:
        prepared: Prepared = self.fitted.preparation.transform(mdata)[name]
        x = prepared.rows(np.arange(len(prepared))).astype(np.float64)
        x[~prepared.present] = np.nan
        return np.asarray(self.compared(name, x))


@runtime_checkable
class Score(Protocol):
    """Named; `larger` is better, or smaller is; `measure` gives sums of one fold, `pooled` a number from all folds'."""

    @property
    def name(self) -> str: ...

    @property
    def larger(self) -> bool: ...

    def measure(self, of: Held) -> list[float]: ...

    def pooled(self, parts: Sequence[Sequence[float]]) -> float: ...


@dataclass(frozen=True)
class ValidLoss:
    """The loss that the last player of the last phase minimises, in its unit (nats, or squared error)."""

    space: Space
    name: str = "valid_loss"
    larger: bool = False

    def measure(self, of: Held) -> list[float]:
        spec = of.fitted.spec
        held = samples(of.fitted.preparation.transform(of.held), spec, of.held.obs)
        return [loss_of(of.fitted.module, held, self.space) * len(held), float(len(held))]

    def pooled(self, parts: Sequence[Sequence[float]]) -> float:
        return _ratio(sum(p[0] for p in parts), sum(p[1] for p in parts))


@torch.no_grad()
def loss_of(module: Architecture, held: Samples, space: Space) -> float:
    """Mean over samples, annealing over, at the recipe's own weights of the loss."""
    if (reference := space.reference(module.config)) is not None:
        with torch.random.fork_rng():
            twin = module.rebuilt(reference)
        twin.load_state_dict(module.state_dict())
        module = twin.to(next(module.parameters()).device)
    module.eval()
    player = module.phases[-1].players[-1]
    total = 0.0
    with devices.seeded(0):
        for batch in held.batches(BATCH):
            total += len(batch) * module.loss(module(batch), batch, player, 1.0).total.item()
    return total / max(len(held), 1)


@dataclass(frozen=True)
class Reconstruction:
    """R2 against the train means, over all entries of a modality; the mean over modalities."""

    name: str = "reconstruction"
    larger: bool = True

    def measure(self, of: Held) -> list[float]:
        means = of.fitted.means(of.held)
        return [v for m in of.fitted.spec.names for v in _squares(of, m, means[m])]

    def pooled(self, parts: Sequence[Sequence[float]]) -> float:
        sums = np.sum(parts, axis=0)
        return float(np.mean([1 - _ratio(sse, sst) for sse, sst in sums.reshape(-1, 2)]))


@dataclass(frozen=True)
class Translation:
    """R2 of `target`, predicted from `source` alone, against the train means."""

    source: str
    target: str
    larger: bool = True

    @property
    def name(self) -> str:
        return f"translation/{self.source}->{self.target}"

    @torch.no_grad()
    def measure(self, of: Held) -> list[float]:
        module, spec = of.fitted.module.eval(), of.fitted.spec
        held = samples(of.fitted.preparation.transform(of.held), spec, of.held.obs)
        batches = list(held.batches(BATCH))
        guess = torch.cat([module.decode(module.encode(b, self.source))[self.target] for b in batches]).numpy()
        have = torch.cat([b.present(self.source) for b in batches]).numpy()
        guess = of.fitted.preparation.widened(self.target, guess)
        return _squares(of, self.target, np.where(have[:, None], guess, np.nan))

    def pooled(self, parts: Sequence[Sequence[float]]) -> float:
        return 1 - _ratio(sum(p[0] for p in parts), sum(p[1] for p in parts))


@dataclass(frozen=True)
class Probed:
    """AUC (classes) or R2 (values) of a learner on the embedding."""

    label: str
    learner: str
    larger: bool = True
    seed: int = field(default=0, repr=False)

    @property
    def name(self) -> str:
        return f"embedding/{self.label}/{self.learner}"

    def measure(self, of: Held) -> list[float]:
        z = [np.asarray(of.fitted.embed(m).X) for m in (of.train, of.held)]
        seen = [~np.isnan(v).any(axis=1) for v in z]
        x = [{"z": v[s]} for v, s in zip(z, seen, strict=True)]
        obs = [m.obs.loc[s, [self.label]] for m, s in zip((of.train, of.held), seen, strict=True)]
        rows = run_probes(x[0], x[1], obs[0], obs[1], learners=[self.learner], seed=self.seed).table()
        found = rows[rows["metric"].isin(["auc", "r2"])]["value"].dropna()
        return [float(found.iloc[0]), 1.0] if len(found) else [0.0, 0.0]

    def pooled(self, parts: Sequence[Sequence[float]]) -> float:
        return _ratio(sum(p[0] for p in parts), sum(p[1] for p in parts))


def _squares(of: Held, name: str, guess: np.ndarray) -> list[float]:
    """Sums of squares over observed entries that were predicted: of the errors, and about the train means."""
    x, there, means = of.values(name)
    known = ~np.isnan(x) & ~np.isnan(guess) & there[:, None]
    error, spread = (x - of.compared(name, guess.astype(np.float64)))[known], (x - means)[known]
    return [float(error @ error), float(spread @ spread)]


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan


def score_of(name: str, space: Space, mdata: md.MuData) -> Score:
    """A score by its name.

    Raises
    ------
    RecipeError
        There is no such score, label, learner or modality.
    """
    where = "tune.objective"
    kind, _, rest = name.partition("/")
    if name == "valid_loss":
        return ValidLoss(space)
    if name == "reconstruction":
        return Reconstruction()
    if kind == "embedding":
        label, _, learner = rest.rpartition("/")
        _one_of(label, [str(c) for c in mdata.obs.columns], "no such column in obs", where)
        _one_of(learner, LEARNERS, "no such learner", where)
        return Probed(label, learner)
    if kind == "translation" and "->" in rest:
        source, _, target = (part.strip() for part in rest.partition("->"))
        for m in (source, target):
            _one_of(m, list(mdata.mod), "no such modality", where)
        return Translation(source, target)
    hint = closest(name, KINDS, most=0)
    raise RecipeError("no such score", where=where, met=name, wanted=" or ".join(KINDS), hint=hint)


def _one_of(name: str, known: Sequence[str], what: str, where: str) -> None:
    if name not in known:
        hint = closest(name, known)
        raise RecipeError(what, where=where, met=name, hint=hint)
