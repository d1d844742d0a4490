"""Heads and penalties on the embedding, for every architecture: a wrapper that adds their terms to its loss.

With z the embedding of a sample (`Output.z`), minimised is the architecture's own loss plus

    p ( sum_h w_h loss_h(answer_h(z), label_h)  +  w sum_c penalty(z, c) ),        p features of all modalities,

where loss_h is the cross-entropy, squared error, negative log partial likelihood (Cox) or negative log-likelihood of
hazards (discrete time) of head h, a mean over the samples that have its label, and the penalties are those of
`isthmus.losses.confounding` for each confounder c. The factor p sets a head against reconstruction, a sum over
features, so that weights mean the same at any width.

Cox in batches: the partial likelihood is that of the whole of train, as far as it is of at most 4,096 samples. The log
risks of the samples outside the batch are those of their last visit, taken as constants; the gradient of the batch is
multiplied by n over the samples in it, so that over an epoch it sums up to that of the whole. Larger cohorts have risk
sets within the batch, a nested case-control sample (Kvamme, Borgan & Scheel, JMLR 2019, arXiv:1907.00825).

The adversary's term does not count in validation: whether it falls says nothing of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from isthmus.architecture import Architecture
from isthmus.config import Config
from isthmus.data.batches import Samples
from isthmus.losses import confounding, supervision, survival, time_bins
from isthmus.nn.heads import Answer
from isthmus.supervising_keys import Confounders, Head
from isthmus.types import Batch, Loss, Output, Spec, Target

MOST_REMEMBERED = 4096
STEEPNESS = 10.0
"""Of the rise of the adversary's reversed gradient from 0 to 1 in the course of training (Ganin et al.)."""


class Task(nn.Module):
    """One head: its answer to an embedding, and the loss of that."""

    class_weights: Tensor | None
    memory: Tensor | None
    outcome: Tensor | None
    strata: Tensor | None

    def __init__(self, name: str, keys: Head, spec: Spec, latent: int) -> None:
        super().__init__()
        self.name, self.keys, self.target = name, keys, target_of(spec, f"head/{name}")
        widths = {"class": len(self.target.classes), "discrete": len(self.target.edges) - 1}
        self.width = widths.get(keys.kind, 1)
        self.answer = Answer(latent, self.width, keys.hidden, dropout=keys.dropout)
        self.register_buffer("memory", None)
        for kept in ("class_weights", "outcome", "strata"):
            self.register_buffer(kept, None, persistent=False)

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        out: Tensor = self.answer(z)
        return out

    def learn(self, train: Samples) -> None:
        """Take from training samples what the loss needs of all of them."""
        labels = train.targets[self.target.name]
        if self.keys.kind == "class" and self.keys.balanced:
            self.class_weights = supervision.balanced_weights(labels, self.width)
        if self.keys.kind == "cox" and len(train) <= MOST_REMEMBERED:
            self.memory = torch.full((len(train),), torch.nan)
            self.outcome, self.strata = labels, train.targets.get(f"{self.target.name}/strata")

    def forget(self) -> None:
        """Keep nothing of the training samples."""
        self.memory = self.outcome = self.strata = self.class_weights = None

    def loss(self, answer: Float[Tensor, "n k"], labels: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """The mean loss over the samples that have a label; 0 without any."""
        match self.keys.kind:
            case "class":
                return supervision.cross_entropy(answer, labels, self.class_weights)
            case "value":
                return supervision.squared_error(answer.squeeze(1), labels)
            case "discrete":
                known = labels.double().cpu().numpy()
                place = time_bins.bin_of(known[:, 0], known[:, 1], np.asarray(self.target.edges))
                return survival.discrete(answer, torch.from_numpy(place).to(answer.device), labels[:, 1])
            case "cox":
                strata = batch.targets.get(f"{self.target.name}/strata")
                time, event = labels.unbind(dim=1)
                if strata is not None:
                    time = torch.where(strata >= 0, time, torch.nan)
                return survival.cox(answer.squeeze(1), time, event, ties=self.keys.ties, strata=strata)

    def remembered(self, answer: Float[Tensor, "n 1"], labels: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Cox over the whole of train: this batch, and what the other samples' log risks were when last seen."""
        if not self.training or self.memory is None or self.outcome is None:
            return self.loss(answer, labels, batch)
        risk, index = answer.squeeze(1).to(self.memory.dtype), batch.index
        usable = torch.isfinite(labels).all(dim=1)
        self.memory[index] = torch.where(usable, risk.detach(), torch.nan)
        inside = torch.zeros_like(self.memory, dtype=torch.bool)
        inside[index[usable]] = True
        known = inside | torch.isfinite(self.memory)
        if self.strata is not None:
            known = known & (self.strata >= 0)
        factor = known.sum() / (known & inside).sum().clamp(min=1)
        live = factor * risk - ((factor - 1) * risk).detach()
        every = self.memory.index_put((index[usable],), live[usable])
        time, event = self.outcome[known].unbind(dim=1)
        strata = None if self.strata is None else self.strata[known]
        return survival.cox(every[known], time, event, ties=self.keys.ties, strata=strata)


class Supervised(Architecture):
    """An architecture with heads, and with penalties on what its embedding tells of confounders."""

    def __init__(self, model: Architecture, heads: Mapping[str, Head], confounders: Confounders | None = None) -> None:
        super().__init__(model.config, model.spec)
        self.model, self.phases, self.keys = model, model.phases, confounders
        self.unit = model.spec.scale * model.spec.width
        latent = len(model.latent_names)
        self.tasks = nn.ModuleList(Task(name, keys, model.spec, latent) for name, keys in heads.items())
        self.penalties = () if confounders is None else confounders.penalties
        self.hidden_from = tuple(t for t in model.spec.targets if t.name.startswith("confounder/"))
        asked = self.hidden_from if "adversarial" in self.penalties and confounders is not None else ()
        hidden = () if confounders is None else confounders.hidden
        self.adversaries = nn.ModuleList(Answer(latent, max(len(t.classes), 1), hidden) for t in asked)
        self.unprivate = self._mixing()

    def _mixing(self) -> str:
        """Why heads and penalties do not take private training; empty: they do."""
        if cox := next((t.name for t in self.heads.values() if t.keys.kind == "cox"), None):
            return f"with the Cox head {cox!r} compares every sample with those at risk: take kind discrete"
        if named := next((t.name for t in self.heads.values() if t.keys.balanced), None):
            why = "weighs the classes of a batch, and here every sample is a batch of its own"
            return f"with balanced: true of head {named!r} {why}"
        if self.penalties:
            return f"with the penalty {self.penalties[0]!r} on confounders looks at several samples at once"
        return ""

    @property
    def heads(self) -> dict[str, Task]:
        """Every head by name."""
        tasks = cast("Iterable[Task]", self.tasks)
        return {t.name: t for t in tasks}

    @property
    def blocks(self) -> tuple[str, ...]:
        return self.model.blocks

    @property
    def joins(self) -> bool:
        return self.model.joins

    @property
    def latent_names(self) -> tuple[str, ...]:
        return self.model.latent_names

    @property
    def sources(self) -> tuple[str, ...]:
        return self.model.sources

    @property
    def nearness(self) -> Literal["euclidean", "cosine"]:
        return self.model.nearness

    def encodable(self, batch: Batch) -> Bool[Tensor, " n"]:
        return self.model.encodable(batch)

    def forward(self, batch: Batch) -> Output:
        out: Output = self.model(batch)
        return out

    def encode(self, batch: Batch, source: str | None = None) -> Float[Tensor, "n d"]:
        return self.model.encode(batch, source)

    def decode(
        self, z: Float[Tensor, "n d"], covariates: Mapping[str, Tensor] | None = None
    ) -> dict[str, Float[Tensor, "n f"]]:
        return self.model.decode(z, covariates)

    def supervised(self, player: str) -> bool:
        return self.model.supervised(player)

    def parameters_of(self, player: str) -> Iterable[nn.Parameter]:
        own = [*self.tasks.parameters(), *self.adversaries.parameters()] if self.supervised(player) else []
        return [*self.model.parameters_of(player), *own]

    def rebuilt(self, config: Config) -> Architecture:
        keys = {name: task.keys for name, task in self.heads.items()}
        return Supervised(self.model.rebuilt(config), keys, self.keys)

    def learn(self, train: Samples) -> None:
        """Take from training samples what the losses of heads need of all of them."""
        for task in self.heads.values():
            task.learn(train)

    def forget(self) -> None:
        """Keep nothing of the training samples but the weights."""
        for task in self.heads.values():
            task.forget()

    def answers(self, z: Float[Tensor, "n d"]) -> dict[str, Float[Tensor, "n k"]]:
        """What every head says: logits of classes or hazards, a standardised value, or a log risk."""
        return {name: task(z) for name, task in self.heads.items()}

    def loss(self, output: Output, batch: Batch, player: str, progress: float) -> Loss:
        own = self.model.loss(output, batch, player, progress)
        if not self.supervised(player):
            return own
        here = self.model.encodable(batch)
        return own | self._head_terms(output, batch, here) | self._penalties(output.z, batch, here, progress)

    def _head_terms(self, output: Output, batch: Batch, here: Bool[Tensor, " n"]) -> Loss:
        """`head/<name>`, and `auxiliary/<name>/<part>` on parts of the embedding where an architecture gives them."""
        terms: dict[str, Tensor] = {}
        weights: dict[str, float] = {}
        for name, task in self.heads.items():
            labels = _without(batch.targets[task.target.name], ~here)
            loss = task.remembered if task.keys.kind == "cox" else task.loss
            terms[f"head/{name}"] = loss(task(output.z), labels, batch)
            weights[f"head/{name}"] = task.keys.weight * self.unit
            for part, z in output.parts.items() if task.keys.auxiliary else ():
                there = batch.present(part) if part in batch.observed else here
                terms[f"auxiliary/{name}/{part}"] = task.loss(task(z), _without(labels, ~there), batch)
                weights[f"auxiliary/{name}/{part}"] = task.keys.auxiliary * task.keys.weight * self.unit
        return Loss(terms, weights)

    def _penalties(self, z: Tensor, batch: Batch, here: Bool[Tensor, " n"], progress: float) -> Loss:
        """`adversarial/<column>`, `hsic/<column>`, `correlation/<column>`."""
        terms: dict[str, Tensor] = {}
        for i, target in enumerate(self.hidden_from):
            labels, column = _without(batch.targets[target.name], ~here), target.name.partition("/")[2]
            known = labels >= 0 if target.kind == "class" else torch.isfinite(labels)
            told = _columns(labels[known], target)
            if "hsic" in self.penalties:
                terms[f"hsic/{column}"] = confounding.hsic(z[known], told)
            if "correlation" in self.penalties:
                terms[f"correlation/{column}"] = confounding.correlation(z[known], told)
            if "adversarial" in self.penalties:
                strength = 2 / (1 + math.exp(-STEEPNESS * progress)) - 1
                guess = self.adversaries[i](confounding.reversed_for(z, strength))
                terms[f"adversarial/{column}"] = _guessed(guess, labels, target)
        return Loss(terms, {k: self._weighs(k.partition("/")[0]) for k in terms})

    def _weighs(self, penalty: str) -> float:
        """The weight of a penalty; that of the adversary is 0 in validation."""
        blind = penalty == "adversarial" and not self.training
        return 0.0 if blind or self.keys is None else self.keys.weighs(penalty) * self.unit


def inner(module: Architecture) -> Architecture:
    """The architecture itself, without heads."""
    return module.model if isinstance(module, Supervised) else module


def target_of(spec: Spec, name: str) -> Target:
    """A target of a spec by its name."""
    return next(t for t in spec.targets if t.name == name)


def _without(labels: Tensor, rows: Bool[Tensor, " n"]) -> Tensor:
    """Labels with some of them missing."""
    gone = -1 if labels.dtype == torch.long else torch.nan
    return torch.where(rows if labels.ndim == 1 else rows.unsqueeze(1), torch.full_like(labels, gone), labels)


def _guessed(guess: Float[Tensor, "n k"], labels: Tensor, target: Target) -> Float[Tensor, ""]:
    """How far off a guess of a confounder is."""
    if target.kind == "class":
        return supervision.cross_entropy(guess, labels)
    return supervision.squared_error(guess.squeeze(1), labels)


def _columns(labels: Tensor, target: Target) -> Float[Tensor, "n k"]:
    """A confounder as columns: one-hot of classes, or the number."""
    if target.kind == "class":
        return functional.one_hot(labels, len(target.classes)).float()
    return labels.unsqueeze(1)
