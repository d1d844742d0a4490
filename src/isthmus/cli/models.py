"""`isthmus models`."""

from __future__ import annotations

import typer


def command() -> None:
    """List the architectures there are, by their name in a recipe."""
    from isthmus import registry

    for name in registry.names():
        kind = registry.settings(name)
        typer.echo(f"{name:24} {kind.__name__:20} {(kind.__doc__ or '').strip().splitlines()[0]}")
