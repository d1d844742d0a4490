"""A fitted imputer as JSON, arrays and model directories, and back: nothing of it is code.

An estimator is its method's name, its parameters and the attributes that end in `_`. Arrays stand in a dictionary (for
safetensors) under the names that the JSON refers to, networks in a list (each saved as a model directory).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isthmus.errors import ModelError
from isthmus.impute.imputer import Imputer, make

if TYPE_CHECKING:
    from isthmus.fitted import Fitted

__all__ = ["decode", "encode"]

DEEPEST = 12


def encode(value: Any, arrays: dict[str, np.ndarray], networks: list[Fitted]) -> Any:
    """A value as JSON; its arrays and networks are appended.

    Raises
    ------
    ModelError
        It holds something that is none of numbers, text, arrays, lists, mappings, imputers and networks.
    """
    match value:
        case None | bool() | str() | int():
            return value
        case float() | np.generic():
            number = value.item() if isinstance(value, np.generic) else value
            finite = not isinstance(number, float) or math.isfinite(number)
            return number if finite else _array(np.asarray(number), arrays)  # JSON has neither NaN nor infinity
        case np.ndarray():
            return _array(value, arrays)
        case Mapping():
            return {"map": [[encode(k, arrays, networks), encode(v, arrays, networks)] for k, v in value.items()]}
        case list() | tuple():
            return {type(value).__name__: [encode(v, arrays, networks) for v in value]}
        case Imputer():
            return _estimator(value, arrays, networks)
    if hasattr(value, "module") and hasattr(value, "preparation"):
        networks.append(value)
        return {"network": len(networks) - 1}
    raise ModelError("cannot be saved without pickle", where="imputer", met=type(value).__name__)


def _array(value: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    if value.dtype.kind not in "fiub":
        raise ModelError("cannot be saved without pickle", where="imputer", met=f"an array of {value.dtype}")
    name = f"a{len(arrays)}"
    arrays[name] = np.ascontiguousarray(value)
    return {"array": name}


def _estimator(value: Imputer, arrays: dict[str, np.ndarray], networks: list[Fitted]) -> dict[str, Any]:
    name, _ = make(value)
    if not value.storable or type(make(name)[1]) is not type(value):
        raise ModelError("cannot be saved without pickle", where="imputer", met=name)
    learnt = {k: v for k, v in vars(value).items() if k.endswith("_") and not k.startswith("_")}
    parts = (value.get_params(deep=False), learnt)
    parameters, state = (encode(p, arrays, networks) for p in parts)
    return {"method": name, "parameters": parameters, "learnt": state}


def decode(tree: Any, arrays: Mapping[str, np.ndarray], networks: Sequence[Fitted], *, depth: int = 0) -> Any:
    """What `encode` was given.

    Raises
    ------
    ModelError
        The tree is none that `encode` makes.
    """
    if depth > DEEPEST:
        raise ModelError("is nested too deep", where="imputer")

    def inner(value: Any) -> Any:
        return decode(value, arrays, networks, depth=depth + 1)

    match tree:
        case None | bool() | str() | int() | float():
            return tree
        case {"array": str(name)} if name in arrays:
            return arrays[name]
        case {"map": list(pairs)}:
            return {inner(k): inner(v) for k, v in pairs}
        case {"list": list(values)}:
            return [inner(v) for v in values]
        case {"tuple": list(values)}:
            return tuple(inner(v) for v in values)
        case {"network": int(number)} if 0 <= number < len(networks):
            return networks[number]
        case {"method": str(name), "parameters": parameters, "learnt": learnt}:
            return _restored(name, inner(parameters), inner(learnt))
    raise ModelError("does not describe an imputer", where="imputer", met=str(tree)[:60])


def _restored(name: str, parameters: Mapping[str, Any], learnt: Mapping[str, Any]) -> Imputer:
    method = make({name: parameters})[1]
    for key, value in learnt.items():
        if not isinstance(key, str) or not key.endswith("_") or key.startswith("_"):
            raise ModelError("is no learnt attribute", where="imputer", met=key)
        setattr(method, key, value)
    return method
