"""Convolutions between images and the fully connected layers, and back.

k convolutions of kernel 4, stride 2, padding 1, each of which halves height and width and doubles the channels, as in
DCGAN (Radford, Metz & Chintala 2016, arXiv:1511.06434); transposed convolutions of the same numbers lead back. Images
whose height or width 2^k does not divide are padded with zeros below and on the right, and cropped again. With
`places: averaged` an encoder reads mean and standard deviation over places of every map, the colours of the image among
them (as texture is told apart in Gatys, Ecker & Bethge 2015, arXiv:1505.07376, by more of their moments).
"""

from __future__ import annotations

import logging
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from isthmus.config import Network, Norm
from isthmus.nn.outer import writes
from isthmus.nn.pooling import pool_of, pooled_width
from isthmus.types import Modality

log = logging.getLogger("isthmus.nn")
TINY = 1e-4
"""Added to a variance over places under its root, whose slope then stays finite for a map that is the same all over."""
SIDE = 2
"""Rows and columns that convolutions leave at least, of an image that has as many."""


def convolutions(shape: tuple[int, ...], most: int) -> int:
    """How many halvings leave two rows and columns; one at least."""
    return max(1, min(most, (min(shape[:2]) // SIDE).bit_length() - 1))


class Sizes:
    """What becomes of images of `shape` (H, W, C).

    `padded` is their height and width before the first convolution, `grid` after the last; `channels` are those before
    the first and after each.
    """

    def __init__(self, config: Network, modality: Modality) -> None:
        self.shape = modality.shape
        height, width, colours = self.shape
        k = convolutions(self.shape, config.convolutions)
        self.grid = (-(-height // 2**k), -(-width // 2**k))
        self.padded = (self.grid[0] * 2**k, self.grid[1] * 2**k)
        self.channels = (colours, *(config.channels * 2**i for i in range(k)))

    @property
    def flat(self) -> int:
        """Units between the fully connected layers and the transposed convolutions."""
        return int(self.channels[-1] * self.grid[0] * self.grid[1])


def read_width(config: Network, modality: Modality) -> int:
    """Units between the convolutions and the fully connected layers."""
    sizes = Sizes(config, modality)
    return 2 * sum(sizes.channels) if config.places == "averaged" else sizes.flat


def flat_width(config: Network, modality: Modality) -> int:
    """What the fully connected layers see of a modality: its columns, or what convolutions or pooling leave of it."""
    if modality.kind == "bag":
        return pooled_width(config, modality)
    return read_width(config, modality) if modality.kind == "image" else modality.units


def full_width(config: Network, modality: Modality) -> int:
    """The same, as it were without the step `span`: what a first layer's start is scaled by."""
    if modality.kind == "bag":
        return pooled_width(config, modality)
    return read_width(config, modality) if modality.kind == "image" else modality.width


def from_input(config: Network, modality: Modality) -> nn.Module:
    """What stands before the fully connected layers of an encoder: n x f (or bags) to n x `flat_width`."""
    if modality.kind == "bag":
        return pool_of(config, modality)
    return ImageEncoder(config, modality) if modality.kind == "image" else nn.Identity()


def to_output(config: Network | None, modality: Modality, width: int) -> nn.Module:
    """The last layer of a decoder: n x `width` to n x f."""
    if config is None or modality.kind != "image":
        return writes(nn.Linear(width, modality.units), modality.width)
    return ImageDecoder(config, modality, width)


class ImageEncoder(nn.Module):
    """Images, a row each, through the convolutions; a row of `read_width` units each."""

    def __init__(self, config: Network, modality: Modality) -> None:
        super().__init__()
        self.sizes, self.averaged = Sizes(config, modality), config.places == "averaged"
        if len(self.sizes.channels) <= config.convolutions:
            k, (height, width, _) = len(self.sizes.channels) - 1, self.sizes.shape
            log.info("%s: %d convolutions, as images are %d x %d", modality.name, k, height, width)
        blocks = [
            _block(nn.Conv2d(a, b, kernel_size=4, stride=2, padding=1), b, config.norm)
            for a, b in pairwise(self.sizes.channels)
        ]
        self.depth = len(blocks[0])
        self.layers = nn.Sequential(*[part for block in blocks for part in block])

    def forward(self, x: Float[Tensor, "n f"]) -> Float[Tensor, "n h"]:
        height, width, colours = self.sizes.shape
        images = x.view(len(x), height, width, colours).permute(0, 3, 1, 2)
        below, right = self.sizes.padded[0] - height, self.sizes.padded[1] - width
        padded = functional.pad(images, (0, right, 0, below))
        if not self.averaged:
            out: Tensor = self.layers(padded)
            return out.flatten(1)
        maps, found = padded, [_moments(images)]
        for start in range(0, len(self.layers), self.depth):
            maps = self.layers[start : start + self.depth](maps)
            found.append(_moments(maps))
        return torch.cat(found, dim=1)


def _moments(maps: Float[Tensor, "n c h w"]) -> Float[Tensor, "n m"]:
    """Mean and standard deviation over places, of every channel."""
    spread = (maps.var(dim=(2, 3), correction=0) + TINY).sqrt()
    return torch.cat([maps.mean(dim=(2, 3)), spread], dim=1)


class ImageDecoder(nn.Module):
    """Hidden units to images, a row each; the mirror of `ImageEncoder`, the last layer without norm and activation."""

    def __init__(self, config: Network, modality: Modality, width: int) -> None:
        super().__init__()
        self.sizes = Sizes(config, modality)
        start, *inner, last = reversed(self.sizes.channels)
        self.start = nn.Sequential(nn.Linear(width, self.sizes.flat), *_norm(start, config.norm), nn.ReLU())
        blocks = [_block(_up(a, b), b, config.norm) for a, b in pairwise((start, *inner))]
        end = _up(inner[-1] if inner else start, last)
        self.layers = nn.Sequential(*[part for block in blocks for part in block], end)

    def forward(self, h: Float[Tensor, "n h"]) -> Float[Tensor, "n f"]:
        first, *rest = self.start
        out = first(h).view(len(h), self.sizes.channels[-1], *self.sizes.grid)
        for part in rest:
            out = part(out)
        height, width, _ = self.sizes.shape
        images: Tensor = self.layers(out)[:, :, :height, :width]
        return images.permute(0, 2, 3, 1).flatten(1)


def _up(channels_in: int, channels_out: int) -> nn.Module:
    return nn.ConvTranspose2d(channels_in, channels_out, kernel_size=4, stride=2, padding=1)


def _block(layer: nn.Module, channels: int, norm: Norm) -> list[nn.Module]:
    """A convolution, norm, ReLU."""
    return [layer, *_norm(channels, norm), nn.ReLU()]


def _norm(channels: int, norm: Norm) -> list[nn.Module]:
    """Over all channels and places of an image (`layer`), or over the places of a batch, a channel at a time."""
    parts: dict[Norm, list[nn.Module]] = {
        "layer": [nn.GroupNorm(1, channels)], "batch": [nn.BatchNorm2d(channels)], "none": [],
    }  # fmt: skip
    return parts[norm]
