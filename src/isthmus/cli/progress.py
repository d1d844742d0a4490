"""A progress bar on a terminal; nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def epochs() -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """A watcher of training that draws a bar on stderr; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[loss]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[tuple[str, str], Any] = {}

        def watch(row: dict[str, Any]) -> None:
            key = (row.get("fit", ""), row["phase"])
            if key not in tasks:
                tasks[key] = progress.add_task(f"{key[0]} {key[1]}".strip(), total=row["epochs"], loss="")
            loss = row.get("valid/total", row.get("train/total", float("nan")))
            progress.update(tasks[key], completed=row["epoch"] + 1, loss=f"loss {loss:.4g}")

        yield watch
