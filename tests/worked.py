"""Jobs for the tests of workers; imported by their processes, so nothing heavy is imported here."""

import logging
import os
import signal
import time
from pathlib import Path

from isthmus.errors import DataError


def work(task, place):
    """Leave a mark for every time it is called, then do what the task says."""
    with place.with_suffix(".calls").open("a", encoding="utf-8") as stream:
        stream.write(f"{os.getpid()}\n")
    time.sleep(task.get("sleep", 0))
    if task.get("warns"):
        logging.getLogger("isthmus.impute").warning("%s", task["warns"])
    if task.get("refused"):
        raise DataError("is wrong", where=task["refused"])
    if task.get("bug"):
        raise ZeroDivisionError("a bug")
    first = len(place.with_suffix(".calls").read_text(encoding="utf-8").split()) == 1
    if task.get("dies") == "always" or (task.get("dies") == "once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"square": task["x"] ** 2, "threads": os.environ.get("OMP_NUM_THREADS")}


def calls(folder: Path, key: str) -> int:
    """How often a job was begun."""
    path = folder / f"{key}.calls"
    return len(path.read_text(encoding="utf-8").split()) if path.exists() else 0
