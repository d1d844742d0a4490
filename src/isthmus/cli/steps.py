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
            default = "(to be given)" if field.is_required() else repr(field.default)
            typer.echo(f"    {key} = {default:12} {field.description or ''}")
