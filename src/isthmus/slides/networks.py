"""Patch encoders that are networks (the only file of this package that imports torch).

`SmallCNN` is not trained: convolutions with seeded random weights, whose means and spreads over a tile are a known
strong baseline for texture (Saxe et al. 2011, ICML; here three blocks, each a halving and two 3 x 3 convolutions with
ReLU).
"""

from __future__ import annotations

import importlib
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from isthmus.errors import DataError, InputError, ModelError, shortened

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours: what nearly every published patch encoder expects its input to be standardised by."""
CHANNELS = (16, 32, 64)
WIDTH = 2 * sum(CHANNELS)
"""Features of `SmallCNN`."""


class SmallCNN(nn.Module):
    """Random convolutions of a fixed seed; features are mean and standard deviation of every channel of every block."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        sizes = (3, *CHANNELS)
        self.blocks = nn.ModuleList(
            nn.Sequential(_convolution(a, b, generator), nn.ReLU(), _convolution(b, b, generator), nn.ReLU())
            for a, b in itertools.pairwise(sizes)
        )
        self.requires_grad_(requires_grad=False).eval()

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        found = []
        for block in self.blocks:
            x = block(nn.functional.avg_pool2d(x, 2))
            found += [x.mean(dim=(2, 3)), x.std(dim=(2, 3), correction=0)]
        return torch.cat(found, dim=1)


def _convolution(a: int, b: int, generator: torch.Generator) -> nn.Conv2d:
    """3 x 3 with weights by He et al. (2015): variance 2 / (9 a); biases 0."""
    layer = nn.Conv2d(a, b, 3, padding=1)
    with torch.no_grad():
        layer.weight.normal_(0.0, (2 / (9 * a)) ** 0.5, generator=generator)
        layer.bias.zero_()  # type: ignore[union-attr]
    return layer


class Network:
    """A module as an encoder of uint8 tiles.

    Parameters
    ----------
    module
        n x 3 x h x w, standardised -> n x d.
    normalise
        `imagenet`: (x / 255 - mean) / sd; `unit`: x / 255.
    resize
        Side that tiles are resized to first.
    device
        Where it runs.
    """

    def __init__(self, module: Any, *, normalise: str, resize: int | None, device: str) -> None:
        self.module, self.normalise, self.resize, self.device = module, normalise, resize, device

    def __call__(self, tiles: UInt8[np.ndarray, "n s s 3"]) -> Float32[np.ndarray, "n d"]:
        x = torch.from_numpy(np.ascontiguousarray(tiles)).to(self.device).permute(0, 3, 1, 2).float() / 255
        if self.resize is not None and self.resize != x.shape[-1]:
            x = nn.functional.interpolate(x, (self.resize, self.resize), mode="bilinear", antialias=True)
        if self.normalise == "imagenet":
            mean, sd = (x.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, SD))
            x = (x - mean) / sd
        with torch.inference_mode():
            found = pooled(self.module(x))
        return np.ascontiguousarray(found.float().cpu().numpy())


def pooled(output: Any) -> Tensor:
    """What a network returns as one vector a tile.

    Hugging Face's outputs give their `pooler_output`, else the first token; tokens n x t x d their first, maps
    n x d x h x w their mean.
    """
    if not isinstance(output, Tensor):
        named = getattr(output, "pooler_output", None)
        output = named if named is not None else getattr(output, "last_hidden_state", output)
    if not isinstance(output, Tensor):
        output = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(output, Tensor):
        raise ModelError("returns no tensor", where="encoder", met=type(output).__name__, wanted="n x d")
    if output.ndim == 3:
        return output[:, 0]
    return output.mean(dim=(2, 3)) if output.ndim == 4 else output


def device_named(name: str) -> str:
    """`auto` is CUDA where there is one; anything else must be there.

    Raises
    ------
    InputError
        It is no device of this machine.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        said = str(error).splitlines()[0]
        raise InputError("is no device of this machine", where="device", met=name, hint=said[:160]) from None
    return name


def from_file(path: Path, device: str) -> Callable[[Tensor], Any]:
    """A TorchScript (.pt, .pth) or torch.export (.pt2) file. Both hold code: only files that you trust.

    Raises
    ------
    ModelError
        It is neither, such as weights without their network.
    """
    exported = path.suffix.lower() == ".pt2"
    try:
        with _quietly():
            if exported:
                return torch.export.load(str(path)).module().to(device)
            module: Any = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
        return _ready(module, device)
    except (RuntimeError, ValueError, OSError, KeyError, EOFError, BadZipFile) as error:
        said = shortened(f"'{next(iter(str(error).strip().splitlines()), '')}", 90).lstrip("'")
        kind = "torch.export program" if exported else "TorchScript module"
        hint = "weights alone say no network: export it by torch.jit.script or torch.export, or name module:function"
        raise ModelError(f"is no {kind}: {said}", where=str(path), hint=hint) from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Without torch's word that TorchScript is old (published encoders are in it), and without its tracebacks."""
    logger = logging.getLogger("torch.export")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)


def from_timm(name: str, weights: Path, device: str) -> Callable[[Tensor], Any]:
    """A network of timm by name, its classifier taken off, with weights from a local file; nothing is downloaded.

    Raises
    ------
    InputError
        timm is not installed.
    ModelError
        It knows no such network, or the weights are of another.
    """
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise InputError("needs the package timm", where=f"timm:{name}", hint="pip install timm") from None
    try:
        module = timm.create_model(name, pretrained=False, num_classes=0, checkpoint_path=str(weights))
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError("timm cannot make it of these weights", where=f"timm:{name}", hint=said[:200]) from None
    return _ready(module, device)


def from_hugging_face(folder: Path, device: str) -> Callable[[Tensor], Any]:
    """A vision model of transformers from a local folder (config.json and weights); nothing is downloaded.

    Raises
    ------
    InputError
        transformers is not installed.
    DataError
        The folder is not there.
    ModelError
        It holds no model that transformers can load.
    """
    if not folder.is_dir():
        hint = "download the model yourself, then name its folder: hf:FOLDER"
        raise DataError("there is no such folder", where=f"hf:{folder}", hint=hint)
    try:
        transformers = importlib.import_module("transformers")
    except ImportError:
        raise InputError(
            "needs the package transformers", where=f"hf:{folder}", hint="pip install transformers"
        ) from None
    try:
        module = transformers.AutoModel.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError("transformers cannot load it", where=f"hf:{folder}", hint=said[:200]) from None
    return _ready(module, device)


def _ready(module: Any, device: str) -> Callable[[Tensor], Any]:
    found: Callable[[Tensor], Any] = module.eval().to(device)
    return found
