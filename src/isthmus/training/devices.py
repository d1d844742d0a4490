"""Which device trains, in which precision, with how many processes; and all random states in one place."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from lightning_fabric import Fabric

from isthmus.errors import RecipeError
from isthmus.training.settings import Training

SMALL_STEP = 500_000_000


def fabric(settings: Training) -> Fabric:
    """A Fabric for the settings.

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
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    many = settings.devices > 1 or settings.strategy == "ddp"
    return Fabric(
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy=_processes(settings) if many else "auto",
        precision=settings.precision,
    )


def _processes(settings: Training) -> str:
    """CUDA does not survive a fork; everywhere else forking needs no `__main__` guard in the user's script."""
    on_cuda = settings.accelerator == "cuda" or (settings.accelerator == "auto" and torch.cuda.is_available())
    return "ddp_spawn" if on_cuda or not hasattr(os, "fork") else "ddp_fork"


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


def random_states() -> dict[str, torch.Tensor]:
    """Torch's random states, CPU and CUDA, as tensors."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states |= {f"cuda{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_random_states(states: dict[str, torch.Tensor]) -> None:
    """The inverse of `random_states`."""
    torch.set_rng_state(states["cpu"])
    for name, state in states.items():
        if name.startswith("cuda"):
            torch.cuda.set_rng_state(state, int(name.removeprefix("cuda")))
