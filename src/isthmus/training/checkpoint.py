"""All that a training needs to go on as if nothing had happened, in one safetensors file.

One file, so that there is no moment at which half of a checkpoint is new: it is written under a temporary name, synced
to disk and renamed. Numbers and history are JSON in the file's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from isthmus.data.write import atomic
from isthmus.errors import ModelError

NAME = "checkpoint.safetensors"


def _never() -> int | None:
    return None


@dataclass(frozen=True)
class Keeper:
    """Where and how often checkpoints are kept, whether to go on from one, and whom to ask if it is time to stop."""

    folder: Path
    every: int = 10
    resume: bool = False
    stop: Callable[[], int | None] = _never

    @property
    def path(self) -> Path:
        return self.folder / NAME


def write(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Replace the checkpoint at `path`; the previous one stays readable until the new one is whole."""
    whole = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    content = save(whole, {"state": json.dumps(state)})
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint.

    Raises
    ------
    ModelError
        The file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, json.loads(file.metadata()["state"])  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "is not a readable checkpoint", where=str(path), hint="start again with --overwrite"
        ) from error


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with their names prefixed."""
    return {f"{prefix}/{k}": v for k, v in tensors.items()}


def below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a prefix, without it."""
    return {k.removeprefix(f"{prefix}/"): v for k, v in tensors.items() if k.startswith(f"{prefix}/")}


def of_optimizer(optimizer: Optimizer) -> dict[str, Tensor]:
    """An optimiser's memory as tensors, `<parameter>/<name>`."""
    state = optimizer.state_dict()["state"]
    return {f"{i}/{k}": torch.as_tensor(v) for i, memory in state.items() for k, v in memory.items()}


def into_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `of_optimizer`; parameter groups stay as they are."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        i, key = name.split("/", maxsplit=1)
        state.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def copied(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's weights and buffers."""
    return {k: v.detach().clone() for k, v in module.state_dict().items()}
