"""Job after job in one process, and what a worker process runs."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from isthmus.errors import IsthmusError, MissingExtraError, shortened
from isthmus.workers.claims import claimed
from isthmus.workers.jobs import Job, Progress, Record, Told, result_file

log = logging.getLogger("isthmus.workers")
Work: TypeAlias = Callable[[dict[str, Any], Path], dict[str, Any]]


def alone(jobs: Sequence[Job], folder: Path, work: str, watch: Callable[[Progress], None] | None) -> None:
    """All jobs in this process."""
    told = Told(jobs, folder, watch)
    function = _function(work)
    for _ in _served(jobs, folder, function):
        told.tell()
    told.tell()


def _function(work: str) -> Work:
    module, _, name = work.partition(":")
    found: Work = getattr(importlib.import_module(module), name)
    return found


def _served(jobs: Sequence[Job], folder: Path, work: Work) -> Iterator[Job]:
    """Do job after job that is neither done nor in other hands; yields each when its record is written."""
    for job in jobs:
        if result_file(folder, job.key).exists():
            continue
        with claimed(folder, job.key) as mine:
            if not mine or result_file(folder, job.key).exists():
                continue
            _attempt(job, folder, work).write(folder)
        yield job


class _Warned(logging.Handler):
    """The distinct warnings of a job, in their order."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        self.said[record.getMessage()] = None

    def __enter__(self) -> _Warned:
        logging.getLogger("isthmus").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("isthmus").removeHandler(self)


def _attempt(job: Job, folder: Path, work: Work) -> Record:
    started, warned = time.perf_counter(), _Warned()

    def record(value: dict[str, Any] | None = None, error: str | None = None, *, crashed: bool = False) -> Record:
        return Record(job.key, value, error, crashed, round(time.perf_counter() - started, 3), list(warned.said))

    try:
        with warned:
            found = work(job.task, folder / job.key)
        return record(found)
    except MissingExtraError as error:
        return record(error=str(error), crashed=True)  # another time, or on another machine, it may be there
    except IsthmusError as error:
        return record(error=str(error))
    except MemoryError:
        return record(error="out of memory", crashed=True)
    except Exception as error:  # noqa: BLE001 - whatever a job raises, the others go on
        log.warning("job %s: %s", job.key, traceback.format_exc())
        return record(error=f"{type(error).__name__}: {shortened(str(error), 200)}", crashed=True)


def main() -> None:
    """What a worker process runs: `folder`, the list of jobs and the work function are its arguments."""
    folder, listed, work = sys.argv[1:4]
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    parent = os.getppid()
    jobs = [Job(**j) for j in json.loads(Path(listed).read_text(encoding="utf-8"))]
    function = _function(work)
    for _ in _served(jobs, Path(folder), function):
        if os.getppid() != parent:
            return
