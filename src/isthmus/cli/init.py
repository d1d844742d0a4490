"""`isthmus init [MODEL]`."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    model: Annotated[str, typer.Argument(help="an architecture; see `isthmus models`", metavar="MODEL")] = "vae",
) -> None:
    """Print a commented recipe with every key, its default and its meaning.

    Redirect it to a file: isthmus init vae > recipe.yaml
    """
    from isthmus.skeleton import skeleton

    typer.echo(skeleton(model))
