"""Which device trains, in which precision, with how many processes; and all random states in one place."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from isthmus.errors import RecipeError, RunError
from isthmus.training.settings import Training

SMALL_STEP = 500_000_000


def fabric(settings: Training, *, in_turn: bool = False) -> Fabric:
    """A Fabric for the settings.

    Parameters
    ----------
    settings
        Devices, their number and kind, and the precision.
    in_turn
        Players step in turn, so that a step leaves some weights without a gradient.

    Raises
    ------
    RecipeError
        The accelerator, or so many of its devices, are not on this machine.
    """
    available = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if settings.accelerator in available and available[settings.accelerator] < settings.devices:
        raise RecipeError(
            "not so many devices on this machine",
            where="training.accelerator",
            met=f"{settings.devices} x {settings.accelerator}",
            wanted=f"at most {available[settings.accelerator]}, or accelerator: cpu",
        )
    if settings.precision == "16-mixed" and _on_cpu(settings):
        raise RecipeError("is for GPUs", where="training.precision", met="16-mixed", wanted="bf16-mixed or 32-true")
    if settings.devices > settings.batch_size or (_on_cpu(settings) and settings.devices > (os.cpu_count() or 1)):
        most = min(settings.batch_size, os.cpu_count() or 1) if _on_cpu(settings) else settings.batch_size
        what = "more than there are processors, or samples in a batch"
        raise RecipeError(what, where="training.devices", met=settings.devices, wanted=f"at most {most}")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    many = settings.devices > 1 or settings.strategy == "ddp"
    return Fabric(
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy=DDPStrategy(start_method=_start(settings), find_unused_parameters=in_turn) if many else "auto",
        precision=settings.precision,
    )


def _on_cpu(settings: Training) -> bool:
    if settings.accelerator == "auto":
        return not (torch.cuda.is_available() or torch.backends.mps.is_available())
    return settings.accelerator == "cpu"


def _start(settings: Training) -> Literal["spawn", "fork"]:
    """Neither CUDA nor threads survive a fork; else forking needs no `__main__` guard in the user's script."""
    on_cuda = settings.accelerator == "cuda" or (settings.accelerator == "auto" and torch.cuda.is_available())
    return "spawn" if on_cuda or not hasattr(os, "fork") or (settings.threads or 1) > 1 else "fork"


@contextmanager
def threads(settings: Training, weights: int) -> Iterator[None]:
    """The threads of a step inside; the caller's number returns afterwards.

    Below `SMALL_STEP` multiplications (weights x batch size) a second thread waits longer than it works, and on a busy
    machine much longer: one is taken unless the settings say otherwise.
    """
    before = torch.get_num_threads()
    small = weights * settings.batch_size < SMALL_STEP
    torch.set_num_threads(settings.threads or (1 if small else before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python, numpy and torch seeded inside; the caller's random states return afterwards."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextmanager
def told_memory(where: str, met: object, hint: str) -> Iterator[None]:
    """A lack of memory inside becomes a `RunError` that names the setting to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(t in str(error).lower() for t in ("allocate memory", "not enough memory")):
            raise
        raise RunError("out of memory", where=where, met=met, hint=hint) from error


def reseed(seed: int) -> None:
    """Python, numpy and torch, as an epoch begins."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # the same without a stack trace noted for every device there might be: a tenth of an epoch on little data
        torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def random_states() -> dict[str, torch.Tensor]:
    """The random states of torch (CPU and CUDA), numpy and Python, as tensors."""
    mersenne: Any = np.random.get_state()
    _, words, position, has_gauss, gauss = mersenne
    _, integers, spare = random.getstate()
    states = {
        "cpu": torch.get_rng_state(),
        "numpy": torch.tensor([*words.tolist(), position, has_gauss]),
        "numpy_gauss": torch.tensor(gauss, dtype=torch.float64),
        "python": torch.tensor(integers),
        "python_gauss": torch.tensor([] if spare is None else [spare], dtype=torch.float64),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states |= {f"cuda{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random_states(states: dict[str, torch.Tensor]) -> None:
    """The inverse of `random_states`."""
    torch.set_rng_state(states["cpu"])
    *words, position, has_gauss = states["numpy"].tolist()
    gauss = states["numpy_gauss"].item()
    np.random.set_state(("MT19937", np.array(words, dtype=np.uint32), position, has_gauss, gauss))
    random.setstate((3, tuple(states["python"].tolist()), next(iter(states["python_gauss"].tolist()), None)))
    for name, state in states.items():
        if name.startswith("cuda"):
            torch.cuda.set_rng_state(state, int(name.removeprefix("cuda")))
