"""History as TensorBoard event files, where the extra `tensorboard` is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from isthmus.errors import MissingExtraError


def writer(folder: Path) -> Callable[[dict[str, Any]], None]:
    """A watcher that writes every term of an epoch's row as a scalar.

    Raises
    ------
    MissingExtraError
        TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingExtraError("tensorboard", "tensorboard", "training.tensorboard") from None
    events = SummaryWriter(str(folder))
    step = 0

    def watch(row: dict[str, Any]) -> None:
        nonlocal step
        for key, value in row.items():
            if "/" in key:
                events.add_scalar(key, value, step)
        step += 1
        events.flush()

    return watch
