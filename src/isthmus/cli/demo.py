"""`isthmus demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RECIPE = {
    "data": {
        "simulate": {
            "n": 500, "modalities": {"rna": 600, "methylation": 300, "protein": 80}, "shared": 4, "private": 2,
            "classes": 4, "missing": 0.02, "absent": {"methylation": 0.1, "protein": 0.25}, "seed": 7,
        },
        "split": {"fractions": [0.6, 0.2, 0.2], "stratify": "class", "seed": 0},
    },
    "prepare": {"rna": [{"top_variance": 400}, "standardise"]},
    "model": {"name": "vae", "latent": 8, "hidden": [64], "dropout": 0.2},
    "training": {"epochs": 150, "batch_size": 64, "seed": 0},
    "evaluate": {"embedding": {"labels": ["class", "site", "age"], "baselines": ["pca", "random_features", "raw"]}},
}  # fmt: skip


def command(
    out: Annotated[Path, typer.Option(help="where to write the run folder")] = Path("isthmus-demo"),
) -> None:
    """Simulate a cohort with known truth, run the whole pipeline on it, and write a report.

    Takes under a minute on two cores; prints the path of the report last.
    """
    from isthmus.cli.progress import epochs
    from isthmus.experiment import run
    from isthmus.recipe import parse_recipe

    with epochs() as watch:
        report = run(parse_recipe(RECIPE), out, overwrite=True, watch=watch)
    typer.echo(report)
