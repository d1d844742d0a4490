"""A run folder: refused when taken, locked while it grows under another name, whole when it appears."""

from __future__ import annotations

import difflib
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from isthmus.data.write import atomic, disk_error, flush, flush_entry, is_full
from isthmus.errors import InputError, RecipeError, RunError
from isthmus.training.checkpoint import NAME as CHECKPOINT
from isthmus.training.engine import InterruptedTraining

log = logging.getLogger("isthmus.run")
RECIPE, LOG, FITS, JOURNAL, CELLS = "recipe.yaml", "log.txt", "fits", "study.journal", "cells"
GIVEN = ".given.yaml"
"""The recipe before the data said which steps and likelihoods each modality gets: what `--resume` compares with."""
WHOLE = (RECIPE, LOG, "metrics.json", "report.html")
CARRIED = (RECIPE, GIVEN, LOG, FITS, "tensorboard")
"""What a resumed run takes over; anything else is made anew."""


def partial(out: Path) -> Path:
    """Where a run grows until it is whole."""
    return out.with_name(f".{out.name}.partial")


def finished(out: Path) -> bool:
    """Whether a whole run stands there; a folder that holds a recipe and data is none, and is never replaced."""
    return all((out / name).is_file() for name in WHOLE)


def nothing_to_resume(out: Path, recipe: str) -> bool:
    """Whether a whole run of this recipe stands there, and none that was interrupted while it was to be replaced."""
    out = out.resolve()
    if not finished(out) or partial(out).exists() or not _same(out, recipe):
        return False
    with _locked(out):
        _tidy(out)
    return True


@contextmanager
def growing(out: Path, recipe: str, *, resume: bool = False, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill, that takes the place of `out` when the block ends without an error.

    After an error it stays only if it holds a checkpoint or a finished fit to resume from.

    Raises
    ------
    RecipeError
        Something stands at `out`, or an interrupted run of another recipe does.
    InputError
        Another process runs there, or the place may not be written to.
    RunError
        The disk is full.
    InterruptedTraining
        A signal came; its hint says whether anything was kept.
    """
    out = out.resolve()
    if not out.name:
        raise RecipeError("is no name for a run folder", where="--out", met=str(out))
    with _parents(out.parent), _locked(out):
        _refuse(out, recipe, resume=resume, overwrite=overwrite)
        if resume and not (partial(out) / RECIPE).is_file():
            log.warning("--resume: no interrupted run is kept for %s: a new one begins", out)
        folder = _begun(out, recipe, resume=resume)
        try:
            with _logged(folder / LOG):
                yield folder
            _finish(folder, out)
        except BaseException as error:
            wrong = isinstance(error, InputError) and not resume  # the same again would be refused again
            if not (kept := _worth_keeping(folder) and not wrong):
                with suppress(OSError):
                    _discard(folder)
            if isinstance(error, Stop | InterruptedTraining):
                raise InterruptedTraining(error.signum, kept=kept) from None
            if isinstance(error, OSError) and is_full(error):
                hint = "what was fitted is kept: free some space, then run again with --resume" if kept else ""
                raise RunError("the disk is full", where=str(out.parent), hint=hint) from error
            raise


@contextmanager
def _parents(folder: Path) -> Iterator[None]:
    """A folder made with those above it; after an error what was made goes again, unless something is in it."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    try:
        yield
    except BaseException:
        for made in missing:
            with suppress(OSError):
                made.rmdir()
        raise


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError("another run is at work in this folder", where=str(out), wanted="another --out") from None
    except OSError as error:
        raise disk_error(error, out) from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _refuse(out: Path, recipe: str, *, resume: bool, overwrite: bool) -> None:
    """Say no where going on would lose or mix something."""
    begun = partial(out) / RECIPE
    if out.exists() and not out.is_dir():
        raise RecipeError("is a file", where=str(out), wanted="a folder that is not there yet")
    if resume and begun.is_file():
        _compare(partial(out), recipe, out, "the interrupted run")
        return
    if resume and finished(out) and not overwrite:
        _compare(out, recipe, out, "the run that stands there")
    if out.exists() and not overwrite:
        hint = "add --overwrite to replace it" if finished(out) else "name a folder that is not there yet"
        raise RecipeError("exists", where=str(out), hint=hint)
    if out.exists() and not finished(out) and any(out.iterdir()):
        raise RecipeError("is not a run folder", where=str(out), hint="name another, or empty it yourself")
    if not overwrite and begun.is_file() and _worth_keeping(partial(out)):
        hint = "add --resume to go on with it, or --overwrite to start again"
        raise RecipeError("an interrupted run is kept for this folder", where=str(out), hint=hint)


def resolve(folder: Path, recipe: str) -> None:
    """Write the recipe with all that the data decided, and keep beside it the one that was given."""
    if not (folder / GIVEN).is_file():
        with atomic(folder / GIVEN) as temporary:
            temporary.write_text(_text(folder / RECIPE), encoding="utf-8")
    with atomic(folder / RECIPE) as temporary:
        temporary.write_text(recipe, encoding="utf-8")


def _given(folder: Path) -> str:
    """The recipe that a run was begun with."""
    return _text(folder / (GIVEN if (folder / GIVEN).is_file() else RECIPE))


def _same(folder: Path, recipe: str) -> bool:
    """Whether a run was begun with this recipe, or resolved it to this one."""
    return recipe in (_given(folder), _text(folder / RECIPE))


def _compare(begun: Path, recipe: str, out: Path, whose: str) -> None:
    """Refuse to go on with another recipe, and show what differs."""
    if _same(begun, recipe):
        return
    lines = difflib.unified_diff(_given(begun).splitlines(), recipe.splitlines(), lineterm="", n=0)
    changes = [" ".join(line.split()) for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    if changes:
        more = f"; and {len(changes) - 4} more lines" if len(changes) > 4 else ""
        raise RecipeError(
            f"{whose} has another recipe: {'; '.join(changes[:4])}{more}", where=str(out),
            wanted="the same recipe", hint="use that recipe, or --overwrite to start again",
        )  # fmt: skip


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _begun(out: Path, recipe: str, *, resume: bool) -> Path:
    """The folder that grows: new, or what an interrupted run left of it."""
    folder = partial(out)
    if not resume or not (folder / RECIPE).is_file():
        _discard(folder)
    folder.mkdir(exist_ok=True)
    for left in [p for p in folder.iterdir() if p.name not in CARRIED]:
        _discard(left)
    if not (folder / RECIPE).is_file():
        with atomic(folder / RECIPE) as temporary:
            temporary.write_text(recipe, encoding="utf-8")
    return folder


def _worth_keeping(folder: Path) -> bool:
    return any(any(folder.rglob(name)) for name in (CHECKPOINT, "manifest.json", JOURNAL, f"{CELLS}/*.json"))


def _discard(path: Path) -> None:
    """Remove, under another name first: what is half removed is never taken for something whole."""
    if not path.exists():
        return
    gone = path.with_name(f".{path.name.strip('.')}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    if gone.is_dir():
        shutil.rmtree(gone, ignore_errors=True)
    else:
        gone.unlink()


def _old(out: Path) -> Path:
    """Where a run that is replaced stands for a moment."""
    return out.with_name(f".{out.name}.old")


def _finish(folder: Path, out: Path) -> None:
    """Sync every file, then rename; what stood at `out` goes last."""
    flush(folder)
    old = _old(out)
    _discard(old)
    if out.exists():
        out.rename(old)
    try:
        folder.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    flush_entry(out.parent)
    _tidy(out)


def _tidy(out: Path) -> None:
    """Remove what only an unfinished run needs."""
    _discard(out / FITS)
    _discard(_old(out))


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Everything the package logs goes to a file too."""
    handler = _Quiet(path, encoding="utf-8")
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
        with suppress(OSError):
            handler.close()


class _Quiet(logging.FileHandler):
    """A log file that a full disk cannot turn into a traceback on the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:
        """The run itself will say what is wrong with the disk."""


class Stop(BaseException):
    """A signal outside of training: no handler of ordinary errors swallows it."""

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(signum)


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
            self._leave(signum)
            return
        self.signum = signum
        for child in multiprocessing.active_children() if signum == signal.SIGTERM else ():
            child.terminate()  # a terminal sends its SIGINT to all of them, SIGTERM comes to one
        if not self.waiting:
            raise Stop(signum)
        log.warning("interrupted: keeping a checkpoint at the end of this step")

    def _leave(self, signum: int) -> None:
        """Exit at once; a process of a parallel training leaves that to its parent."""
        if multiprocessing.parent_process() is None:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + signum)

    @contextmanager
    def caught(self) -> Iterator[Signals]:
        """Handlers in place inside; only the main thread can have them."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        except Stop as stop:
            raise InterruptedTraining(stop.signum, kept=False) from None
        finally:
            for s, handler in before.items():
                signal.signal(s, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal waits for whoever asks `met`; one that nobody asked for stops the run at the end."""
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False
        if self.signum is not None:
            raise Stop(self.signum)
