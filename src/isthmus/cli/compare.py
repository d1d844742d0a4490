"""`isthmus compare RECIPE [key=value ...] --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    recipe: Annotated[Path, typer.Argument(help="a recipe with a section `compare`", metavar="RECIPE")],
    overrides: Annotated[list[str] | None, typer.Argument(help="keys to set, such as compare.folds=5")] = None,
    out: Annotated[Path | None, typer.Option(help="the folder [comparisons/NAME of the recipe]")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes, one thread each [one per core]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on where it stood (it always does)")] = False,
) -> None:
    """Architectures x settings x modalities x seeds x folds beside the baselines: one leaderboard.

    What is done is never done again: after an interruption, or with a larger grid, the same command goes on. Several
    machines may work on one folder. Prints the verdict, and the path of the report last. Settings that cannot be run
    are rows that say why; the exit code is 0 even so.
    """
    from isthmus.recipe import load_recipe

    resolved = load_recipe(recipe, overrides or [])
    folder = out or Path("comparisons") / recipe.stem

    from isthmus.cli.progress import jobs
    from isthmus.comparing.compare import compare

    with jobs() as watch:
        found = compare(resolved, folder, workers=workers, watch=watch)
    for sentence in found.verdict:
        typer.echo(sentence)
    typer.echo(found.report)
