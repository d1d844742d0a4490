"""Tiles per second of tiling, reading and encoding two real slides, one thread, by seconds of the processor.

    python benchmarks/slides.py [--size 256] [--rounds 3]

The slides are those of wsi_small in ../shared/data (or $ISTHMUS_DATA): an Aperio JPEG without a pyramid, and one of two
levels in JPEG 2000, whose scale is taken to be 0.25 microns per pixel since the file says none. Reading is set beside a
bare loop of openslide's own read_region over the same pixels. The best of the rounds counts.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import openslide

from isthmus.slides import encoder, open_slide, read_tile, tile

DATA = Path(os.environ.get("ISTHMUS_DATA", Path(__file__).parents[2] / "shared" / "data")) / "wsi_small"
SLIDES = {"CMU-1-Small-Region.svs": None, "tcga-cr-7395-01a-01-ts1.svs": 0.25}


def seconds(work, rounds):
    """The least processor time of some rounds, and what the work gives."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        found = work()
        best = min(best, time.process_time() - start)
    return best, found


def measured(name, mpp, size, rounds):
    """Seconds of each step, and how many tiles there are."""
    path = DATA / name

    def tiled():
        with open_slide(path, mpp=mpp) as slide:
            return tile(slide, size=size)

    def read():
        with open_slide(path, mpp=mpp) as slide:
            return np.stack([read_tile(slide, (x, y), side=tiles.side, size=size) for x, y in tiles.coords.tolist()])

    def bare():
        slide = openslide.OpenSlide(path)
        level = slide.get_best_level_for_downsample(tiles.side / size * 1.01)
        wide = round(tiles.side / slide.level_downsamples[level])
        return [np.asarray(slide.read_region((x, y), level, (wide, wide))) for x, y in tiles.coords.tolist()]

    found = {}
    found["tile"], tiles = seconds(tiled, rounds)
    found["read"], pixels = seconds(read, rounds)
    found["read, openslide alone"], _ = seconds(bare, rounds)
    for which in ("colour", "small_cnn"):
        by = encoder(which, device="cpu") if which == "small_cnn" else encoder(which)
        by(pixels[:2])
        found[f"encode {which}"], _ = seconds(
            lambda by=by: [by(pixels[i : i + 64]) for i in range(0, len(pixels), 64)], rounds
        )
    return found, len(tiles)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    for name, mpp in SLIDES.items():
        found, n = measured(name, mpp, given.size, given.rounds)
        print(f"{name}: {n} tiles of {given.size} pixels at 0.5 microns")
        for step, taken in found.items():
            print(f"  {step:24} {taken:7.2f} s  {n / taken:8.0f} tiles/s")


if __name__ == "__main__":
    main()
