"""Tensors in .pt files, by torch's reader that runs nothing; torch is imported when there is one to read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.data.bombs import damage
from isthmus.errors import DataError

__all__ = ["read_tensor"]


def _arrays() -> list[Any]:
    """What an array of numbers is pickled as: some of TRIDENT's .pt files hold one."""
    kinds = [type(np.dtype(t)) for t in (np.float16, np.float32, np.float64)]
    return [np.empty(0).__reduce__()[0], np.ndarray, np.dtype, *kinds]


def read_tensor(path: Path) -> np.ndarray:
    """The tensor of a .pt file, or the one called `features` of a dictionary in it.

    Raises
    ------
    DataError
        The file is damaged, or holds something else: anything but tensors is not even unpickled.
    """
    import torch

    with damage(path, "pt"), torch.serialization.safe_globals(_arrays()):
        found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, Mapping):
        found = found.get("features")
    if isinstance(found, np.ndarray):
        return found
    if not isinstance(found, torch.Tensor):
        raise DataError("holds no tensor of features", where=str(path), met=type(found).__name__, wanted="N x D")
    return np.asarray((found.float() if found.dtype == torch.bfloat16 else found).numpy())
