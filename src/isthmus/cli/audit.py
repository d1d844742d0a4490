"""`isthmus audit RUN --out DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(help="a folder that `isthmus run` left", metavar="RUN")],
    out: Annotated[Path | None, typer.Option(help="the folder of the findings [RUN-audit]")] = None,
    refits: Annotated[int, typer.Option(min=0, help="fits of the recipe on random halves; even; 0 for none")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="of halves, refits and intervals")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace an audit that is there")] = False,
) -> None:
    """Attack a model before others do: who was in training, what embeddings tell, which feature is which.

    Reads the run's data again, and fits its recipe on random halves: what that will cost is told first. Leaves
    audit.json (auc, tpr_at_fpr_01, intervals) and a report, and prints its path last.
    """
    from isthmus.share.audit_run import audit_run, cost

    typer.echo(cost(run, refits))
    folder = out or run.resolve().with_name(f"{run.resolve().name}-audit")
    report, page = audit_run(run, folder, refits=refits, seed=seed, overwrite=overwrite)
    for sentence in report.words:
        typer.echo(sentence)
    typer.echo(page)
