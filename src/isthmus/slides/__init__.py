"""Whole-slide images to bags of features: tissue, tiles, patch encoders, heat maps of attention.

with open_slide("TCGA-AA-0001.svs") as slide:
    tiles = tile(slide, mpp=0.5, size=256)
    tiles.write("patches/TCGA-AA-0001_patches.h5")
    encode(slide, tiles, encoder("colour"), out="features/TCGA-AA-0001.h5")
"""

from __future__ import annotations

from isthmus.slides.cohort import Entry, encode_all, listed_slides, tile_all
from isthmus.slides.encode import encode
from isthmus.slides.encoders import Encoder, encoder
from isthmus.slides.heatmap import canvas, table
from isthmus.slides.slide import Slide, open_slide
from isthmus.slides.tiles import Tiles, read_tile, read_tiles, tile
from isthmus.slides.tissue import otsu, saturation, tissue_mask

__all__ = [
    "Encoder",
    "Entry",
    "Slide",
    "Tiles",
    "canvas",
    "encode",
    "encode_all",
    "encoder",
    "listed_slides",
    "open_slide",
    "otsu",
    "read_tile",
    "read_tiles",
    "saturation",
    "table",
    "tile",
    "tile_all",
    "tissue_mask",
]
