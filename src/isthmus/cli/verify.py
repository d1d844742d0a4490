"""`isthmus verify BUNDLE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    bundle: Annotated[Path, typer.Argument(help="a bundle: a folder or .zip", metavar="BUNDLE")],
    key: Annotated[Path | None, typer.Option(help="also: its holder made it, no name is in it")] = None,
    names: Annotated[Path | None, typer.Option(help="the file of names, if not beside the key")] = None,
) -> None:
    """Check a bundle: whole and unchanged, within its policy, safe to open.

    With --key also that the key's holder made it, and that none of the names behind its pseudonyms is in any of it.
    Exit codes: 0 all of it holds; 2 something does not, and what and where.
    """
    from isthmus.share.verifying import verify

    found = verify(bundle, key=key, names=names)
    found.refuse()
    for line in found.words:
        typer.echo(line)
