"""What is to be done, what came of it, and how far it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from isthmus.data.write import atomic

FEWEST = 4
"""Jobs after which the time left is known well enough to be said."""


@dataclass(frozen=True)
class Job:
    """What is to be done: `task` is JSON and goes to the work function; `weight` is its share of the time."""

    key: str
    task: dict[str, Any]
    weight: float = 1.0


@dataclass(frozen=True)
class Record:
    """What came of a job: a value, or the error in one line, and of what it warned.

    What `crashed` is tried again by the next run.
    """

    key: str
    value: dict[str, Any] | None = None
    error: str | None = None
    crashed: bool = False
    seconds: float = 0.0
    warned: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The record in a file; None where there is none, or half of one."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Whole or not at all."""
        with atomic(result_file(folder, self.key)) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Progress:
    """Where the work stands: jobs `done` (`failed` among them) of `total`, `seconds` since the start and those left.

    `left` is NaN until four jobs were finished since the start.
    """

    done: int
    failed: int
    total: int
    seconds: float
    left: float


def result_file(folder: Path, key: str) -> Path:
    """Where the record of a job stands."""
    return folder / f"{key}.json"


def results(jobs: Sequence[Job], folder: Path) -> dict[str, Record]:
    """The records of those jobs that are done."""
    found = {j.key: Record.read(result_file(folder, j.key)) for j in jobs}
    return {k: r for k, r in found.items() if r is not None}


class Told:
    """Progress, told when it changes."""

    def __init__(self, jobs: Sequence[Job], folder: Path, watch: Callable[[Progress], None] | None) -> None:
        self.jobs, self.folder, self.watch = jobs, folder, watch
        self.started = time.monotonic()
        self.failed: dict[str, bool] = {}
        self.warned: dict[str, None] = {}
        self.pending = {j.key: j for j in jobs}
        self.look()
        self.before, self.were = self.weight(), len(self.failed)
        self.last = -1

    def look(self) -> None:
        """Which jobs are done by now."""
        there = {p.stem for p in self.folder.glob("*.json")}
        for key in [k for k in self.pending if k in there]:
            record = Record.read(result_file(self.folder, key))
            if record is not None:
                self.failed[key] = record.error is not None
                self.warned |= dict.fromkeys(record.warned)
                del self.pending[key]

    def weight(self) -> float:
        return sum((j.weight for j in self.pending.values()), 0.0)

    def tell(self) -> None:
        self.look()
        done = len(self.failed)
        if self.watch is None or done == self.last:
            return
        self.last = done
        seconds = time.monotonic() - self.started
        left, gone = self.weight(), self.before - self.weight()
        rest = seconds * left / gone if done - self.were >= FEWEST else float("nan")
        self.watch(Progress(done, sum(self.failed.values()), len(self.jobs), seconds, rest if self.pending else 0.0))
