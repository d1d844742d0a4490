"""The steps of private training: Poisson samples, gradients of single samples, clipping and noise.

See `isthmus.training.private` for formulas and sources.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isthmus.training import private
from isthmus.training.private import opacus
from isthmus.training.settings import Private
from isthmus.types import Batch

log = logging.getLogger("isthmus.fit")
MOST_NUMBERS = 2**26
"""Numbers of gradients of single samples held at once: 256 MB."""


class Privately:
    """The steps of one phase: their samples, gradients of single samples, and noise."""

    def __init__(
        self, objective: nn.Module, optimizers: Mapping[str, Optimizer], plan: private.Plan, keys: Private, secret: str
    ) -> None:
        self.objective, self.plan, self.keys, self.secret = objective, plan, keys, int(secret, 16)
        self.vectorised: bool | None = None
        made = _optimizer_class()
        self.optimizers: dict[str, Any] = {
            player: made(
                optimizer, noise_multiplier=plan.noise, max_grad_norm=keys.clip, loss_reduction="mean",
                expected_batch_size=plan.expected,
            )
            for player, optimizer in optimizers.items()
        }  # fmt: skip

    def batches(self, n: int, phase: int, epoch: int) -> list[Tensor]:
        """A Poisson sample per step of an epoch; it may be empty."""
        draw = philox(self.secret, 0, epoch, phase)
        return [
            torch.from_numpy(np.flatnonzero(draw.random(n) < self.plan.rate))
            for _ in range(self.plan.steps_per_epoch)
        ]  # fmt: skip

    def learn(
        self,
        player: str,
        batch: Batch | None,
        arguments: Callable[[Batch], tuple[Any, ...]],
        *,
        at: tuple[int, int, int],
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Leave clipped gradients of single samples with the player's optimiser.

        Parameters
        ----------
        player
            Who steps.
        batch
            Its samples; None where there is none.
        arguments
            From a batch to what the objective takes.
        at
            Phase, epoch and step: which noise is due.

        Returns
        -------
        tuple
            The mean of every loss term over the samples, `total` among them, and the terms' weights; both empty
            without samples.
        """
        optimizer = self.optimizers[player]
        optimizer.zero_grad()
        phase, epoch, step = at
        optimizer.noise = philox(self.secret, 1 + step, epoch, phase)
        moving = self._moving(optimizer)
        weights: dict[str, float] = {}
        if batch is None:
            _leave(moving, {name: p.new_zeros(0, *p.shape) for name, p in moving.items()})
            return {}, weights
        size = max(1, MOST_NUMBERS // max(1, sum(p.numel() for p in moving.values())))
        parts: list[dict[str, Tensor]] = []
        for start in range(0, len(batch), size):
            if start:  # what has come so far is clipped and summed
                optimizer.signal_skip_step()
                optimizer.step()
                optimizer.zero_grad()
            gradients, terms, weights = self.gradients(moving, rows(batch, slice(start, start + size)), arguments)
            _leave(moving, gradients)
            parts.append(terms)
        return {t: torch.cat([p[t] for p in parts]).detach().mean() for t in parts[0]}, weights

    def spent(self, kept: dict[str, Any], *, steps: int) -> float:
        """Epsilon after so many steps more than `kept` has counted, which it then has."""
        kept["steps"] = kept.get("steps", 0) + steps
        return private.spent(self.plan.noise, self.plan.rate, kept["steps"], self.keys.delta)

    def _moving(self, optimizer: Any) -> dict[str, nn.Parameter]:
        held = {id(p) for p in optimizer.params}
        return {name: p for name, p in self.objective.named_parameters() if id(p) in held}

    def gradients(
        self,
        moving: Mapping[str, Tensor],
        batch: dict[str, dict[str, Tensor]],
        arguments: Callable[[Batch], tuple[Any, ...]],
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, float]]:
        """Gradients (n x shape of the weight) and terms (n) of every sample's own loss, and the terms' weights."""
        weights: dict[str, float] = {}

        def one(values: dict[str, Tensor], sample: dict[str, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
            found = torch.func.functional_call(self.objective, values, arguments(_alone(sample)))
            total, terms, heavy = found
            weights.update(heavy)
            return total, {**terms, "total": total}

        detached = {name: p.detach() for name, p in moving.items()}
        gradient = torch.func.grad(one, has_aux=True)
        if self.vectorised is not False:
            state = torch.get_rng_state()
            try:
                mapped = torch.func.vmap(gradient, in_dims=(None, 0), randomness="different")
                found, terms = mapped(detached, batch)
            except (RuntimeError, ValueError, NotImplementedError) as error:
                if self.vectorised or "alloc" in str(error):
                    raise
                log.info("gradients of samples are taken one by one: %s", str(error).splitlines()[0])
                torch.set_rng_state(state)
                self.vectorised = False
            else:
                self.vectorised = True
                return found, terms, weights
        return *_looped(one, detached, batch), weights


def _looped(
    one: Callable[[dict[str, Tensor], dict[str, dict[str, Tensor]]], tuple[Tensor, dict[str, Tensor]]],
    values: Mapping[str, Tensor],
    batch: dict[str, dict[str, Tensor]],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients and terms of every sample, one after the other, by plain backward passes."""
    gradients, terms = [], []
    for i in range(len(batch["index"][""])):
        leaves = {name: v.clone().requires_grad_() for name, v in values.items()}
        total, parts = one(leaves, {name: {k: v[i] for k, v in group.items()} for name, group in batch.items()})
        gradients.append(torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True))
        terms.append({t: v.detach() for t, v in parts.items()})
    stacked = {name: torch.stack([g[k] for g in gradients]) for k, name in enumerate(values)}
    return stacked, {t: torch.stack([p[t] for p in terms]) for t in terms[0]}


def philox(secret: int, low: int, epoch: int, phase: int) -> np.random.Generator:
    """A stream of its own for every step, and one for the samples of an epoch (low = 0)."""
    return np.random.Generator(np.random.Philox(key=secret, counter=np.array([0, low, epoch, phase], dtype=np.uint64)))


def _optimizer_class() -> Any:
    """Opacus' optimiser, with noise from a stream that is not torch's."""

    class Noisy(opacus().optimizers.DPOptimizer):  # type: ignore[misc]
        """Clips, adds noise, averages, steps."""

        noise: np.random.Generator

        def add_noise(self) -> None:
            """`summed_grad` with noise of standard deviation sigma C, as `grad`."""
            for p in self.params:
                drawn = torch.from_numpy(self.noise.standard_normal(tuple(p.shape), dtype=np.float32))
                drawn = drawn.to(device=p.device, dtype=p.dtype)
                p.grad = (p.summed_grad + self.noise_multiplier * self.max_grad_norm * drawn).view_as(p)

    return Noisy


def _leave(moving: Mapping[str, Any], gradients: Mapping[str, Tensor]) -> None:
    """Gradients of single samples where Opacus' optimiser looks for them."""
    for name, p in moving.items():
        p.grad_sample = gradients[name].detach()


def rows(batch: Batch, some: slice) -> dict[str, dict[str, Tensor]]:
    """Some samples of a batch as nested mappings of tensors, which `vmap` takes apart."""
    found: dict[str, dict[str, Tensor]] = {}
    for f in fields(batch):
        value = getattr(batch, f.name)
        if isinstance(value, Tensor):
            found[f.name] = {"": value[some]}
        elif all(isinstance(v, Tensor) for v in value.values()):
            found[f.name] = {k: v[some] for k, v in value.items()}
    return found


def _alone(sample: dict[str, dict[str, Tensor]]) -> Batch:
    """One sample as a batch."""
    whole = {name: {k: v.unsqueeze(0) for k, v in group.items()} for name, group in sample.items()}
    keys: dict[str, Any] = {name: group.get("", group) for name, group in whole.items()}
    return Batch(**keys)
