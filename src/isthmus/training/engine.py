"""The one training loop. New behaviour is a phase, a player or a loss term, never another loop."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from lightning_fabric import Fabric
from torch import Tensor, nn

from isthmus.architecture import Architecture, Phase
from isthmus.data.batches import Draw, Samples
from isthmus.errors import IsthmusError, NonFiniteLossError, RunError
from isthmus.training import checkpoint, devices, optimizers, private, schedules
from isthmus.training.checkpoint import Keeper
from isthmus.training.private_steps import Privately
from isthmus.training.settings import Training
from isthmus.types import Batch, PackedBags

MIX = 1_000_003
VALID_BATCH = 1024
LOWER = "lower training.lr, clip the input (prepare: clip), or check it for extreme values"
Watch = Callable[[dict[str, Any]], None]
Measure = Callable[[Architecture, Samples], dict[str, float]]
"""From a model in evaluation mode and the validation samples to further columns of an epoch's row."""


class InterruptedTraining(RunError):
    """A signal asked for a stop; what was `kept` is enough to go on from."""

    def __init__(self, signum: int, *, kept: bool = True) -> None:
        self.signum, self.exit_code = signum, 128 + signum
        kept_hint = "a checkpoint was kept: run the same command again with --resume"
        super().__init__("interrupted", hint=kept_hint if kept else "nothing was fitted yet, so nothing was kept")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.signum,)


@dataclass
class Progress:
    """Where a training stands: the next step to take, the sums of the epoch begun, and what is past."""

    phase: int = 0
    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seen: int = 0
    best: float = math.inf
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)
    private: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What stays the same throughout a training."""

    model: Architecture
    train: Samples
    valid: Samples | None
    settings: Training
    keeper: Keeper | None = None
    watch: Watch | None = None
    measure: Measure | None = None


class Objective(nn.Module):
    """A model and its loss as one forward pass, which is what data-parallel training needs."""

    def __init__(self, model: Architecture) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        x: dict[str, Tensor],
        observed: dict[str, Bool[Tensor, "n _"]],
        rest: tuple[Int[Tensor, " n"], dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]],
        bags: dict[str, tuple[Tensor, Tensor]],
        player: str,
        progress: float,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]], dict[str, float]]:
        batch = Batch(x, observed, *rest, bags={m: PackedBags(*b) for m, b in bags.items()})
        loss = self.model.loss(self.model(batch), batch, player, progress)
        return loss.total, loss.terms, {term: loss.weights.get(term, 1.0) for term in loss.terms}


def fit(job: Job) -> pd.DataFrame:
    """Train `job.model` in place.

    Returns
    -------
    DataFrame
        A row per epoch: `phase`, `epoch`, and the mean over batches of every loss term as `train/<term>` and
        `valid/<term>`; `total` is their weighted sum, in validation always at the final weights. `weight/<term>`: the
        mean weight of a term in that sum, for the terms of the phase's last player, whose loss is the one validated.

    Raises
    ------
    NonFiniteLossError
        A term became NaN or infinite: named with phase, epoch and step.
    RunError
        The memory does not hold a batch.
    RecipeError
        Private training was asked for, and cannot be had.
    InterruptedTraining
        A signal asked for a stop; with a keeper, a checkpoint was written first.
    """
    private.check(job.model, job.settings, len(job.train))
    fabric = devices.fabric(job.settings, in_turn=any(len(phase.players) > 1 for phase in job.model.phases))
    with devices.told_memory("training.batch_size", job.settings.batch_size, "halve training.batch_size"):
        if fabric.world_size > 1:
            return _fit_in_processes(fabric, job)
        with devices.threads(job.settings, sum(p.numel() for p in job.model.parameters())):
            return pd.DataFrame(_train(fabric, job))


def _fit_in_processes(fabric: Fabric, job: Job) -> pd.DataFrame:
    """Train in processes of their own, and take over what the first of them has left in a file."""
    with tempfile.TemporaryDirectory() as folder:
        left = Path(folder) / "trained"
        found = fabric.launch(_train_and_leave, replace(job, watch=None, measure=None), left)  # type: ignore[arg-type]
        if isinstance(found, IsthmusError):
            raise found
        weights, state = checkpoint.read(left)
    job.model.load_state_dict(weights)
    job.model.eval()
    return pd.DataFrame(state["history"])


def _train_and_leave(fabric: Fabric, job: Job, left: Path) -> IsthmusError | None:
    """What stopped another process, if anything did; weights go by file, as its queue is read only after its end."""
    try:
        with devices.threads(job.settings, 0):  # a forked process must not wait for threads that its parent had
            history = _train(fabric, job)
    except IsthmusError as error:
        return error
    if fabric.is_global_zero:
        checkpoint.write(left, dict(job.model.state_dict()), {"history": history})
    return None


def _train(fabric: Fabric, job: Job) -> list[dict[str, Any]]:
    progress = Progress()
    kept: dict[str, Tensor] = {}
    if job.keeper is not None and job.keeper.resume and job.keeper.path.exists():
        kept, state = checkpoint.read(job.keeper.path)
        progress = Progress(**state)
        job.model.load_state_dict(checkpoint.below("model", kept))
    if job.settings.private is not None and not progress.private:
        progress.private = private.begin(job.model, job.settings, len(job.train))
    phases = job.model.phases
    while progress.phase < len(phases):
        _run_phase(fabric, job, progress, kept)
        progress.phase, progress.epoch, progress.step, kept = progress.phase + 1, 0, 0, {}
        progress.best, progress.best_epoch = math.inf, -1
    job.model.eval().cpu().float()
    return progress.history


def _run_phase(fabric: Fabric, job: Job, progress: Progress, kept: dict[str, Tensor]) -> None:
    stretch = Stretch(fabric, job, job.model.phases[progress.phase], kept)
    stretch.keep_private(progress)
    while progress.epoch < stretch.epochs and not stretch.stalled(progress):
        stretch.run_epoch(progress)
    if stretch.best:
        job.model.load_state_dict(stretch.best)
    for p in job.model.parameters():
        p.requires_grad_(True)  # noqa: FBT003 - torch's own signature


class Stretch:
    """A phase under way: its optimisers, its data on the device and the best weights so far."""

    def __init__(self, fabric: Fabric, job: Job, phase: Phase, kept: dict[str, Tensor]) -> None:
        self.fabric, self.job, self.phase, self.settings = fabric, job, phase, job.settings
        self.epochs = max(1, round(job.settings.epochs * phase.share))
        moving = {p: list(job.model.parameters_of(p)) for p in phase.players}
        every = {id(v) for values in moving.values() for v in values}
        self.weights = list(job.model.parameters())
        for v in self.weights:
            v.requires_grad_(id(v) in every)
        self.optimizers = {p: optimizers.build(job.settings, values) for p, values in moving.items()}
        objective, *wrapped = fabric.setup(Objective(job.model), *self.optimizers.values())
        self.objective, self.wrapped = objective, dict(zip(moving, wrapped, strict=True))
        for p, optimizer in self.optimizers.items():
            if memory := checkpoint.below(f"optimizer/{p}", kept):
                checkpoint.into_optimizer(optimizer, memory)
        self.train = job.train.to(fabric.device)
        self.valid = None if job.valid is None else job.valid.to(fabric.device)
        self.best, self.random = checkpoint.below("best", kept), checkpoint.below("random", kept)
        self.private: Privately | None = None

    def keep_private(self, progress: Progress) -> None:
        """Where the settings ask for it, clip the gradient of every sample and add noise."""
        if self.settings.private is not None:
            plan = private.plan(self.settings, self.job.model.phases, len(self.train))
            keys, secret = self.settings.private, progress.private["secret"]
            self.private = Privately(Objective(self.job.model), self.optimizers, plan, keys, secret)
            self.wrapped = self.private.optimizers

    def stalled(self, progress: Progress) -> bool:
        """Whether the validation loss has not fallen for `patience` epochs."""
        patience = self.settings.patience
        return self.valid is not None and patience is not None and progress.epoch - 1 - progress.best_epoch >= patience

    def run_epoch(self, progress: Progress) -> None:
        """From the step that is due to the end of the epoch: train, validate, note, keep."""
        started = time.perf_counter()
        draw = _generator(self.settings.seed, progress)
        if self.private is None:
            steps = _batches(len(self.train), self.settings.batch_size, draw)
        else:
            steps = self.private.batches(len(self.train), progress.phase, progress.epoch)
        devices.reseed(_mixed(self.settings.seed, progress) + self.fabric.global_rank)
        if self.random and progress.step:
            devices.restore_random_states(self.random)
        self.random = {}
        self.job.model.train()
        for index in steps[progress.step :]:
            self._step(progress, index, len(steps))
            if self._told_to_stop(progress):
                return
        self._close(progress, time.perf_counter() - started)

    def _step(self, progress: Progress, index: Tensor, n_steps: int) -> None:
        """Every player in turn: forward, backward, clip, step."""
        done = (progress.epoch + progress.step / n_steps) / self.epochs
        mine = index[self.fabric.global_rank :: self.fabric.world_size].to(self.fabric.device)
        seed = (self.settings.seed, progress.phase, progress.epoch, progress.step, self.fabric.global_rank)
        drawn = Draw(self.settings.instances, seed)
        batch = self.train.batch(mine, drawn).to(self.fabric.device) if len(mine) else None
        rate = self.settings.lr * schedules.factor(self.settings.schedule, done, warmup=self.settings.warmup)
        for player, optimizer in self.wrapped.items():
            for group in optimizer.param_groups:
                group["lr"] = rate
            if self.private is not None or batch is None:
                self._learn_privately(progress, batch, player, done)
                optimizer.step()
                continue
            total, terms, weights = self.objective(*_arguments(batch, player, done))
            self._note(progress, terms | {"total": total}, player, len(index))
            self._weigh(progress, weights, player, len(index))
            for weight in self.weights:
                weight.grad = None
            self.fabric.backward(total)
            if self.settings.gradient_clip is not None:
                self.fabric.clip_gradients(
                    self.objective, optimizer, max_norm=self.settings.gradient_clip, error_if_nonfinite=False
                )
            optimizer.step()
        progress.step += 1
        progress.seen += len(index)

    def _learn_privately(self, progress: Progress, batch: Batch | None, player: str, done: float) -> None:
        """The gradient of every sample, clipped; the player's optimiser adds the noise. A batch may be empty."""
        assert self.private is not None
        at = (progress.phase, progress.epoch, progress.step)
        terms, weights = self.private.learn(player, batch, lambda b: _arguments(b, player, done), at=at)
        if batch is not None:
            self._note(progress, terms, player, len(batch))
            self._weigh(progress, weights, player, len(batch))

    def _weigh(self, progress: Progress, weights: dict[str, float], player: str, n: int) -> None:
        """Add the weights of a step's terms to the epoch's sums, for the phase's last player."""
        if player == self.phase.players[-1]:
            _add(progress, {f"weight/{term}": weight for term, weight in weights.items()}, n)

    def _note(self, progress: Progress, terms: dict[str, Tensor], player: str, n: int) -> None:
        """Add a step's terms (their mean over processes) to the epoch's sums; stop where one is not finite."""
        stacked = torch.stack([v.detach().float() for v in terms.values()])
        if self.fabric.world_size > 1:
            stacked = cast("Tensor", self.fabric.all_reduce(stacked))
        values = stacked.tolist()
        for term, value in zip(terms, values, strict=True):
            if not math.isfinite(value):
                place = f"{self._place(progress)}, player {player!r}"
                raise NonFiniteLossError(f"loss term {term!r} is not finite", where=place, met=value, hint=LOWER)
            name = f"{player}/{term}" if term == "total" and len(self.phase.players) > 1 else term
            _add(progress, {f"train/{name}": value}, n)

    def _told_to_stop(self, progress: Progress) -> bool:
        keeper = self.job.keeper
        if keeper is None:
            return False
        signum = keeper.stop() or 0
        if self.fabric.world_size > 1:  # together, as nobody can step alone
            told = self.fabric.all_reduce(torch.tensor(float(signum), device=self.fabric.device), reduce_op="max")
            signum = int(cast("Tensor", told).item())
        if not signum:
            return False
        self._check_weights(progress)
        self._keep(progress)
        raise InterruptedTraining(signum)

    def _check_weights(self, progress: Progress) -> None:
        """Stop where a gradient was not finite though the loss was, before such weights are kept."""
        if torch.isfinite(nn.utils.get_total_norm(self.weights)):
            return
        for name, p in self.job.model.named_parameters():  # a norm may overflow where no weight has
            if not torch.isfinite(p).all():
                raise NonFiniteLossError(f"weights {name!r} are not finite", where=self._place(progress), hint=LOWER)

    def _place(self, progress: Progress) -> str:
        return f"phase {self.phase.name!r}, epoch {progress.epoch}, step {progress.step}"

    def _close(self, progress: Progress, seconds: float) -> None:
        """The end of an epoch: its row of history, the best weights, a checkpoint when one is due."""
        self._check_weights(progress)
        row: dict[str, Any] = {"phase": self.phase.name, "epoch": progress.epoch}
        row |= {column: v / progress.seen for column, v in progress.sums.items()}
        if self.private is not None:
            row["epsilon"] = self.private.spent(progress.private, steps=progress.step)
        if self.valid is not None:
            valid = self._validate(progress)
            row |= {f"valid/{k}": v for k, v in valid.items()}
            if valid["total"] < progress.best:
                progress.best, progress.best_epoch = valid["total"], progress.epoch
                self.best = checkpoint.copied(self.job.model)
            row |= self.job.measure(self.job.model, self.valid) if self.job.measure else {}
        progress.history.append(row)
        progress.epoch, progress.step, progress.sums, progress.seen = progress.epoch + 1, 0, {}, 0
        if self.job.watch is not None and self.fabric.is_global_zero:
            self.job.watch(row | {"seconds": seconds, "epochs": self.epochs})
        if self.job.keeper is not None and progress.epoch % self.job.keeper.every == 0:
            self._keep(progress)

    @torch.no_grad()
    def _validate(self, progress: Progress) -> dict[str, float]:
        """Mean of every term over the validation samples, weights as at the end of the phase."""
        assert self.valid is not None
        self.job.model.eval()
        sums: dict[str, float] = {}
        for batch in self.valid.batches(VALID_BATCH):
            total, terms, _ = self.objective(*_arguments(batch.to(self.fabric.device), self.phase.players[-1], 1.0))
            for term, value in (terms | {"total": total}).items():
                sums[term] = sums.get(term, 0.0) + len(batch) * value.item() / len(self.valid)
        if wrong := next((term for term, value in sums.items() if not math.isfinite(value)), None):
            what = f"loss term {wrong!r} is not finite on the validation samples"
            raise NonFiniteLossError(what, where=self._place(progress), met=sums[wrong], hint=LOWER)
        return sums

    def _keep(self, progress: Progress) -> None:
        """Write a checkpoint, from the first process."""
        if self.job.keeper is None or not self.fabric.is_global_zero:
            return
        tensors = checkpoint.under("model", checkpoint.copied(self.job.model)) | checkpoint.under("best", self.best)
        tensors |= checkpoint.under("random", devices.random_states())
        for player, optimizer in self.optimizers.items():
            tensors |= checkpoint.under(f"optimizer/{player}", checkpoint.of_optimizer(optimizer))
        checkpoint.write(self.job.keeper.path, tensors, asdict(progress))


def _add(progress: Progress, values: dict[str, float], n: int) -> None:
    """Add what n samples have to the epoch's sums, which are named as the columns of the history."""
    for column, value in values.items():
        progress.sums[column] = progress.sums.get(column, 0.0) + n * value


def _arguments(batch: Batch, player: str, progress: float) -> tuple[Any, ...]:
    """The arguments of `Objective.forward` for a batch."""
    rest = (batch.index, batch.targets, batch.covariates, batch.outside)
    bags = {m: (b.x, b.offsets) for m, b in batch.bags.items()}  # plain tensors: what Fabric knows how to convert
    return batch.x, batch.observed, rest, bags, player, progress


def _mixed(seed: int, progress: Progress) -> int:
    return ((seed * MIX + progress.phase) * MIX + progress.epoch) % 2**63  # what torch takes


def _generator(seed: int, progress: Progress) -> torch.Generator:
    """The order of an epoch depends on seed, phase and epoch alone, so that a resumed run finds it again."""
    return torch.Generator().manual_seed(_mixed(seed, progress))


def _batches(n: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """A permutation cut into batches; a last batch of one sample joins the one before (batch norm needs two)."""
    parts = list(torch.randperm(n, generator=generator).split(size))  # type: ignore[no-untyped-call]
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts
