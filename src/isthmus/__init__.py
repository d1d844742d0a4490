"""Isthmus: several kinds of measurement on the same samples, one tested embedding.

The public face: names only. Everything is imported on first use, so that `import isthmus` is quick.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "read": "isthmus.data.read",
    "write": "isthmus.data.write",
    "split": "isthmus.data.split",
    "folds": "isthmus.data.split",
    "simulate": "isthmus.data.simulate",
    "fit": "isthmus.fitting",
    "tune": "isthmus.tuning.run",
    "load": "isthmus.loading",
    "Fitted": "isthmus.fitted",
    "compare": "isthmus.comparing.compare",
    "Training": "isthmus.training.settings",
    "evaluate": None,
    "impute": None,
    "associate": None,
    "slides": None,
    "share": None,
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        home = _HOME[name]
        module = importlib.import_module(home or f"isthmus.{name}")
        return getattr(module, name) if home else module
    if not name.startswith("_") and name[0].isupper():
        registry = importlib.import_module("isthmus.registry")
        if name in (public := registry.public_names()):
            return registry.config_of(public[name])
    raise AttributeError(f"module 'isthmus' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *importlib.import_module("isthmus.registry").public_names()])
