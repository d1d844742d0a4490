"""`isthmus steps`."""

from __future__ import annotations

import typer


def command() -> None:
    """List the preparation steps there are, with their options."""
    from isthmus.prepare import step

    for name in step.names():
        kind = step.get(name)
        typer.echo(f"{name:20} {(kind.__doc__ or '').strip().splitlines()[0]}")
        for key, field in kind.Options.model_fields.items():
            typer.echo(f"    {key} = {field.default!r:12} {field.description or ''}")
