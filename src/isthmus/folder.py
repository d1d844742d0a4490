"""A run folder: refused when taken, locked while it grows under another name, whole when it appears."""

from __future__ import annotations

import difflib
import logging
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from isthmus.errors import InputError, RecipeError
from isthmus.training.checkpoint import NAME as CHECKPOINT
from isthmus.training.engine import InterruptedTraining

log = logging.getLogger("isthmus.run")
RECIPE = "recipe.yaml"


def partial(out: Path) -> Path:
    """Where a run grows until it is whole."""
    return out.with_name(f".{out.name}.partial")


def finished(out: Path) -> bool:
    """Whether a whole run stands there."""
    return (out / RECIPE).is_file()


@contextmanager
def growing(out: Path, recipe: str, *, resume: bool = False, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill, that takes the place of `out` when the block ends without an error.

    After an error it stays only if it holds a checkpoint or a finished fit to resume from.

    Raises
    ------
    RecipeError
        Something stands at `out`, or an interrupted run of another recipe does.
    RunError
        Another process runs there.
    """
    out = out.absolute()
    if not out.parent.is_dir():
        out.parent.mkdir(parents=True)
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError("another run is at work in this folder", where=str(out), wanted="another --out") from None
    try:
        _refuse(out, recipe, resume=resume, overwrite=overwrite)
        folder = partial(out)
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        (folder / RECIPE).write_text(recipe, encoding="utf-8")
        try:
            with _logged(folder / "log.txt"):
                yield folder
            _finish(folder, out)
        except BaseException:
            if not _worth_keeping(folder):
                shutil.rmtree(folder, ignore_errors=True)
            raise
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _refuse(out: Path, recipe: str, *, resume: bool, overwrite: bool) -> None:
    """Say no where going on would lose or mix something."""
    if out.exists() and not overwrite:
        if not out.is_dir():
            raise RecipeError("is a file", where=str(out), wanted="a folder that is not there yet")
        hint = "add --overwrite to replace it" if finished(out) else "name a folder that is not there yet"
        raise RecipeError("exists", where=str(out), hint=hint)
    if overwrite and out.exists() and not finished(out) and any(out.iterdir()):
        raise RecipeError("is not a run folder", where=str(out), hint="name another, or empty it yourself")
    begun = partial(out) / RECIPE
    if not begun.is_file():
        return
    if not resume and not overwrite:
        hint = "add --resume to go on with it, or --overwrite to start again"
        raise RecipeError("an interrupted run is kept for this folder", where=str(out), hint=hint)
    if resume and (other := begun.read_text(encoding="utf-8")) != recipe:
        lines = difflib.unified_diff(other.splitlines(), recipe.splitlines(), lineterm="", n=0)
        changes = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        raise RecipeError(
            "the interrupted run has another recipe", where=str(out), met="; ".join(changes[:4]),
            wanted="the same recipe", hint="use that recipe, or --overwrite to start again",
        )  # fmt: skip


def _worth_keeping(folder: Path) -> bool:
    return any(folder.rglob(CHECKPOINT)) or any(folder.rglob("manifest.json"))


def _finish(folder: Path, out: Path) -> None:
    """Sync every file, then rename; what stood at `out` goes last."""
    for file in [f for f in folder.rglob("*") if f.is_file()]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    folder.rename(out)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Everything the package logs goes to a file too."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S"))
    root = logging.getLogger("isthmus")
    before = root.level
    root.setLevel(min(before, logging.INFO) if before else logging.INFO)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()


class Signals:
    """SIGTERM and the first SIGINT stop a training at the end of its step, anything else at once; a second exits."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.waiting = False

    def met(self) -> int | None:
        """The signal that came, if one did."""
        return self.signum

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            os._exit(128 + signum)
        self.signum = signum
        if not self.waiting:
            raise InterruptedTraining(signum)
        log.warning("interrupted: keeping a checkpoint at the end of this step")

    @contextmanager
    def caught(self) -> Iterator[Signals]:
        """Handlers in place inside; only the main thread can have them."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for s, handler in before.items():
                signal.signal(s, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal waits for whoever asks `met`."""
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False
