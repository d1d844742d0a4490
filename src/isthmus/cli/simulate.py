"""`isthmus simulate --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def command(
    keys: Annotated[list[str] | None, typer.Argument(help="keys to set, such as n=500 modalities.rna=2000")] = None,
    out: Annotated[Path, typer.Option(help="folder to write")] = Path("isthmus-cohort"),
    format: Annotated[Literal["h5mu", "csv"], typer.Option(help="one h5mu file, or a csv a table")] = "h5mu",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a folder that is there")] = False,
    describe: Annotated[bool, typer.Option("--keys", help="list every key, its default and its meaning")] = False,
) -> None:
    """Write a cohort with planted truth: factors, pathways, classes, batch effects, survival, gaps, images.

    Prints the path of the folder.
    """
    from isthmus.config import validate
    from isthmus.data.simulate import Simulation, simulate, write_cohort
    from isthmus.errors import RecipeError
    from isthmus.yaml_text import override

    if describe:
        for key, field in Simulation.model_fields.items():
            typer.echo(f"{key} = {field.default!r}\n    {field.description or ''}")
        return
    if out.exists() and not overwrite:
        raise RecipeError("exists", where=str(out), hint="add --overwrite to replace it")
    tree: dict[str, object] = {}
    for key in keys or []:
        tree = override(tree, key)
    settings = validate(Simulation, tree, where="simulate")
    mdata = simulate(**{k: getattr(settings, k) for k in Simulation.model_fields})
    typer.echo(write_cohort(mdata, out, format))
