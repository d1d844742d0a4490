"""`isthmus associate RECIPE [key=value ...] --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    recipe: Annotated[Path, typer.Argument(help="a recipe with data, prepare, associate", metavar="RECIPE")],
    overrides: Annotated[list[str] | None, typer.Argument(help="keys to set, such as associate.fdr=0.1")] = None,
    out: Annotated[Path | None, typer.Option(help="the folder [runs/NAME of the recipe]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a folder that is there")] = False,
) -> None:
    """Test every feature of one modality against every feature of another, and say what survives.

    Leaves hits.parquet, network.graphml, network.h5ad, modules.csv, evidence.csv, targets.parquet where targets are
    named, and a report. Prints the smallest effect that could be seen first, then what was found, and the path of the
    report last. Exit codes: 0 done; 2 the input is wrong; 1 our fault; 130 and 143 interrupted.
    """
    from isthmus.associating.recipe import load_associate_recipe

    resolved = load_associate_recipe(recipe, overrides or [])
    folder = out or Path("runs") / recipe.stem

    from isthmus.associating.run import associate

    found = associate(resolved, folder, overwrite=overwrite)
    for sentence in found.verdict:
        typer.echo(sentence)
    typer.echo(found.report)
