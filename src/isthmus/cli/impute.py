"""`isthmus impute RECIPE [key=value ...] --out DIR`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer


def command(
    recipe: Annotated[Path, typer.Argument(help="a recipe with data, prepare, training, impute", metavar="RECIPE")],
    overrides: Annotated[list[str] | None, typer.Argument(help="keys to set, such as impute.repeats=3")] = None,
    out: Annotated[Path | None, typer.Option(help="the folder [runs/NAME of the recipe]")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes, one thread each [one per core]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted command")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a folder that is there")] = False,
) -> None:
    """Mask what is known, score the methods on it, fill what is missing with the winner, with intervals.

    Leaves imputed.h5mu (layers lower, upper, imputed), the fitted imputer for `apply --task impute`, scores and a
    report. Prints the verdict, and the path of the report last. Exit codes: 0 done; 2 the input is wrong; 1 our fault;
    130 and 143 interrupted, with the folds that are scored kept for --resume.
    """
    from isthmus.imputing.recipe import load_impute_recipe

    resolved = load_impute_recipe(recipe, overrides or [])
    folder = out or Path("runs") / recipe.stem

    from isthmus.folder import nothing_to_resume

    if resume and nothing_to_resume(folder, resolved.text()):
        logging.getLogger("isthmus.impute").warning("%s is complete: nothing to resume", folder)
        typer.echo(folder / "report.html")
        return

    from isthmus.cli.progress import jobs
    from isthmus.imputing.run import impute

    with jobs() as watch:
        found = impute(
            resolved, folder, workers=0 if workers == 1 else workers, resume=resume, overwrite=overwrite, watch=watch
        )  # fmt: skip
    for sentence in found.verdict:
        typer.echo(sentence)
    typer.echo(found.report)
