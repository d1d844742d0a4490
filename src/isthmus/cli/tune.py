"""`isthmus tune RECIPE [key=value ...] --trials N --workers K --out DIR`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    recipe: Annotated[Path, typer.Argument(help="the recipe, a YAML file", metavar="RECIPE")],
    overrides: Annotated[list[str] | None, typer.Argument(help="keys to set, such as tune.folds=5")] = None,
    trials: Annotated[int | None, typer.Option(help="settings to try [tune.trials]")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes, one thread each [one per core]")] = None,
    out: Annotated[Path | None, typer.Option(help="the folder [runs/NAME-tune]")] = None,
    storage: Annotated[
        str | None, typer.Option(help="database or journal file that several machines share", metavar="URL")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted search")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a search that is there")] = False,
) -> None:
    """Search the settings that suit the data, on train and valid samples alone; then score them on test.

    Leaves a report, trials.csv, and best.yaml, a recipe for `isthmus run`. Prints the path of the report last. Exit
    codes: 0 done; 2 the input is wrong; 1 our fault; 130 and 143 interrupted, with everything kept for --resume.
    """
    from isthmus.recipe import load_recipe

    given = [*(overrides or []), *([] if trials is None else [f"tune.trials={trials}"])]
    resolved = load_recipe(recipe, given)

    from isthmus.tuning.space import space_of
    from isthmus.tuning_keys import Tuning

    space_of(resolved, resolved.tune or Tuning())  # a wrong key is told before anything heavy is imported

    from isthmus.tuning.run import tune

    folder = out or Path("runs") / f"{recipe.stem}-tune"
    with _bar() as watch:
        found = tune(
            resolved, folder, workers=workers, storage=storage, resume=resume, overwrite=overwrite, watch=watch
        )  # fmt: skip
    typer.echo(found.report)


@contextmanager
def _bar() -> Iterator[Callable[[Any], None] | None]:
    """A bar of trials on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("trials, left"),
        TimeRemainingColumn(), TextColumn("{task.fields[best]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, Any] = {}

        def watch(told: Any) -> None:
            if told.part not in tasks:
                tasks[told.part] = progress.add_task(told.part, total=told.total, best="")
            progress.update(tasks[told.part], completed=told.done, best=f"best {told.best:.4g}")

        yield watch
