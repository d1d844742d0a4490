"""`isthmus run RECIPE [key=value ...] --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    recipe: Annotated[Path, typer.Argument(help="the recipe, a YAML file", metavar="RECIPE")],
    overrides: Annotated[list[str] | None, typer.Argument(help="keys to set, such as model.latent=16")] = None,
    out: Annotated[Path | None, typer.Option(help="the run folder [runs/NAME of the recipe]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a run that is there")] = False,
) -> None:
    """Read, split, prepare, fit, evaluate, report.

    Prints the path of the report last. Exit codes: 0 done; 2 the input is wrong; 1 our fault; 130 and 143 interrupted,
    with a checkpoint to --resume from.
    """
    from isthmus.recipe import load_recipe

    resolved = load_recipe(recipe, overrides or [])
    folder = out or Path("runs") / recipe.stem

    from isthmus.cli.progress import epochs
    from isthmus.experiment import run

    with epochs() as watch:
        report = run(resolved, folder, resume=resume, overwrite=overwrite, watch=watch)
    if resolved.training.private is not None:
        _say_privacy(report.with_name("metrics.json"))
    typer.echo(report)


def _say_privacy(metrics: Path) -> None:
    """What private training spent."""
    import json

    from isthmus.training.settings import upward

    found = json.loads(metrics.read_text(encoding="utf-8"))
    budget = f"epsilon {upward(found['privacy/epsilon'])} at delta {found['privacy/delta']:g}"
    typer.echo(f"private training spent {budget} on the weights; what that does not cover is in the report")
