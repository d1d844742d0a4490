"""Patch encoders by name: built in, a function of yours, a file, or a model of timm or Hugging Face that you have."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from isthmus.errors import DataError, InputError, RecipeError, closest

BUILT_IN = ("colour", "small_cnn")
FILES = (".pt", ".pth", ".pt2")
NORMALISE = ("imagenet", "unit")
KNOWN = "colour, small_cnn, module:function, FILE.pt, FILE.pt2, timm:NAME, hf:FOLDER"


@dataclass(frozen=True)
class Encoder:
    """What makes a vector of a tile.

    Attributes
    ----------
    name
        As it was asked for, without the folders of a file: what is written beside the features.
    identity
        Of what determines the features: the name, the settings, the sha256 of files; of a function, of the source
        files of the module that was named and of the one that defines it, not of what these import.
    function
        n x s x s x 3 uint8 -> n x d.
    """

    name: str
    identity: str
    function: Callable[[np.ndarray], Any]

    def __call__(self, tiles: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        """Features of a batch of tiles.

        Raises
        ------
        DataError
            What came back is no n x d of finite numbers.
        """
        found = self.function(tiles)
        found = found.detach().cpu().numpy() if hasattr(found, "detach") else found
        x = np.asarray(found)
        if x.ndim != 2 or len(x) != len(tiles) or x.dtype.kind not in "fiub":
            met = f"{' x '.join(map(str, x.shape))} {x.dtype}"
            raise DataError("the encoder gives no row of numbers a tile", where=self.name, met=met,
                            wanted=f"{len(tiles)} x d")  # fmt: skip
        if not np.isfinite(x).all():
            raise DataError("the encoder gives values that are not finite", where=self.name)
        return x.astype(np.float32)


def encoder(
    name: str,
    *,
    normalise: str = "imagenet",
    resize: int | None = None,
    weights: str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
) -> Encoder:
    """An encoder by name.

    Parameters
    ----------
    name
        `colour` (statistics), `small_cnn` (random convolutions of a seed); `module:function`, any Python callable of
        uint8 tiles n x s x s x 3; a TorchScript (.pt) or torch.export (.pt2) file; `timm:NAME` with `weights`;
        `hf:FOLDER`. Functions and files run their own code: name only what you trust. Nothing is downloaded.
    normalise
        For networks: `imagenet` standardises colours by ImageNet's means and deviations, `unit` scales to 0..1.
    resize
        For networks: side that tiles are resized to, such as 224.
    weights
        Local file with the weights of `timm:NAME`.
    device
        `auto`, `cpu`, `cuda`, ...
    seed
        Of `small_cnn`.

    Raises
    ------
    RecipeError
        There is no such encoder, or a setting does not go with it.
    InputError
        A package, file, module or device is not there.
    ModelError
        The file holds no network.
    """
    if normalise not in NORMALISE:
        raise RecipeError("is not known", where="normalise", met=normalise, wanted=" or ".join(NORMALISE))
    if resize is not None and not 8 <= resize <= 4096:
        raise RecipeError("is no side of a tile, in pixels", where="resize", met=resize, wanted="8 to 4096")
    if weights is not None and not name.startswith("timm:"):
        raise RecipeError("only timm:NAME takes weights", where="weights", met=str(weights))
    if name == "colour":
        from isthmus.slides.colour import colour

        return Encoder(name, name, colour)
    if name != "small_cnn" and not name.startswith(("timm:", "hf:")) and Path(name).suffix.lower() not in FILES:
        return _function(name)
    return _network(name, {"normalise": normalise, "resize": resize}, weights, device, seed)


def _network(name: str, settings: dict[str, Any], weights: str | Path | None, device: str, seed: int) -> Encoder:
    """An encoder that needs torch."""
    file, wanted = _file(name, weights)
    from isthmus.slides import networks

    place = networks.device_named(device)
    said = Path(name).name if file is not None and not name.startswith("timm:") else name
    if name == "small_cnn":
        module: Any = networks.SmallCNN(seed=seed).to(place)
        settings = {**settings, "seed": seed}
    elif name.startswith("hf:"):
        folder = Path(name.removeprefix("hf:"))
        module, said = networks.from_hugging_face(folder, place), f"hf:{folder.name}"
        wanted = "".join(_sha(p) for p in sorted(folder.iterdir()) if p.suffix in (".json", ".safetensors", ".bin"))
    elif name.startswith("timm:"):
        module = networks.from_timm(name.removeprefix("timm:"), Path(str(file)), place)
    else:
        module = networks.from_file(Path(name), place)
    identity = json.dumps({"name": said, "sha256": wanted, **settings}, sort_keys=True)
    return Encoder(
        said, identity, networks.Network(module, **{k: settings[k] for k in ("normalise", "resize")}, device=place)
    )


def _file(name: str, weights: str | Path | None) -> tuple[Path | None, str]:
    """The local file that an encoder needs, and its sum."""
    if name == "small_cnn" or name.startswith("hf:"):
        return None, ""
    if name.startswith("timm:") and weights is None:
        hint = "download them yourself and name the file: --weights model.safetensors"
        raise RecipeError("needs weights from a local file", where=name, hint=hint)
    file = Path(str(weights) if name.startswith("timm:") else name)
    if not file.is_file():
        raise DataError("there is no such file", where=str(file))
    return file, _sha(file)


def _sha(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _function(name: str) -> Encoder:
    """A callable by `module:function`, from the folder one is in or what is installed."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        hint = closest(name, BUILT_IN, most=0)
        raise RecipeError("there is no such encoder", where="encoder", met=name, wanted=KNOWN, hint=hint)
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"cannot be imported: {error}", where=f"encoder {name}") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError("has no such name", where=f"encoder {module}", met=part, hint=closest(part, dir(found)))
        found = getattr(found, part)
    if not callable(found):
        raise InputError("is not callable", where=f"encoder {name}", met=type(found).__name__)
    files = [_source(m) for m in (module, str(getattr(found, "__module__", "")))]
    identity = json.dumps({"name": name, "sha256": files})
    return Encoder(name, identity, partial(_called, found, name))


def _source(module: str) -> str:
    """The sum of a module's file; empty where it has none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return _sha(Path(file)) if file is not None and Path(file).is_file() else ""


def _called(function: Callable[[np.ndarray], Any], name: str, tiles: np.ndarray) -> Any:
    """What a user's function gives; what it raises is one of our errors."""
    try:
        return function(tiles)
    except Exception as error:
        said = next(iter(str(error).strip().splitlines()), "")
        raise DataError(f"the encoder raised {type(error).__name__}: {said[:160]}", where=name) from error
