"""Held-out R2 of images: a VAE over images alone beside PCA of as many dimensions.

    python benchmarks/image_vae.py [--seeds 0 1 2]

Runs examples/image_vae.yaml with a split and a fit of each seed; R2 is against the mean training image. The cohort is
that of the example throughout.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import pandas as pd

from isthmus.experiment import run
from isthmus.recipe import load_recipe

RECIPE = Path(__file__).resolve().parents[1] / "examples" / "image_vae.yaml"
NAMES = {"VAE": "reconstruction/test/r2/image", "PCA": "baseline/pca/reconstruction/test/r2/image"}


def scores(seed: int) -> dict[str, float]:
    """R2 of both on the test images of a seed."""
    given = load_recipe(RECIPE, [f"data.split.seed={seed}", f"training.seed={seed}", "evaluate.embedding=null"])
    with tempfile.TemporaryDirectory() as folder:
        report = run(given, Path(folder) / "run")
        found = json.loads(report.with_name("metrics.json").read_text(encoding="utf-8"))
    return {name: found[key] for name, key in NAMES.items()}


def main() -> None:
    """A row per seed; the mean of several."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="the example has 0")
    rows = {}
    for seed in parser.parse_args().seeds:
        rows[seed] = scores(seed)
        print(f"seed {seed}: " + ", ".join(f"{name} {r2:.3f}" for name, r2 in rows[seed].items()), flush=True)
    if len(rows) > 1:
        print(pd.DataFrame(rows).T.agg(["mean", "std"]).round(3).to_string())


if __name__ == "__main__":
    main()
