"""`isthmus init [MODEL] [--for COMMAND]`."""

from __future__ import annotations

from typing import Annotated

import typer

from isthmus.errors import RecipeError, closest

WITH_MODEL, WITHOUT = ("run", "compare", "tune"), ("impute", "associate")
"""Commands that read a recipe: those of which it names an architecture, and the others."""


def command(
    model: Annotated[
        str | None, typer.Argument(help="an architecture; see `isthmus models` [default: vae]", metavar="MODEL")
    ] = None,
    verb: Annotated[
        str, typer.Option("--for", help="whose recipe: run, compare, tune, impute or associate", metavar="COMMAND")
    ] = "run",
) -> None:
    """Print a commented recipe with every key, its default and its meaning.

    Redirect it to a file: isthmus init vae > recipe.yaml, isthmus init --for associate > recipe.yaml
    """
    if verb not in (*WITH_MODEL, *WITHOUT):
        hint = closest(verb, (*WITH_MODEL, *WITHOUT))
        raise RecipeError("is no command that reads a recipe", where="--for", met=verb, hint=hint)
    if model in (*WITH_MODEL, *WITHOUT):
        raise RecipeError("is a command, not an architecture", where="MODEL", met=model, hint=f"use --for {model}")
    if verb in WITHOUT and model is not None:
        raise RecipeError(f"isthmus {verb} reads no architecture", where="MODEL", met=model, hint="leave it out")
    typer.echo(_text(model or "vae", verb))


def _text(model: str, verb: str) -> str:
    if verb == "associate":
        from isthmus.associating.skeleton import associate_skeleton

        return associate_skeleton()
    if verb == "impute":
        from isthmus.imputing.skeleton import impute_skeleton

        return impute_skeleton()
    from isthmus.skeleton import skeleton

    return skeleton(model, verb)
