"""Worker processes: started, started anew when they die, stopped together."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from isthmus.data.write import disk_error
from isthmus.errors import RecipeError, RunError
from isthmus.workers.claims import abandoned, claim_file, held, release
from isthmus.workers.jobs import Job, Progress, Record, Told, result_file, results
from isthmus.workers.process import alone

__all__ = ["InterruptedWork", "cores", "run_jobs"]

log = logging.getLogger("isthmus.workers")

POLL, PATIENCE = 0.1, 10.0
MOST_FALSE_STARTS = 3
WORKER = "from isthmus.workers.process import main; main()"
ONE_THREAD = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)  # fmt: skip
RETURNED = {"MALLOC_MMAP_THRESHOLD_": str(8 << 20), "MALLOC_TRIM_THRESHOLD_": str(16 << 20)}
"""Tables that a job is through with go back to the system (glibc), instead of waiting in the process for the next; the
gradients of a network stay, which every step would have to ask for again."""


class InterruptedWork(RunError):
    """A signal asked for a stop; what was done is kept."""

    def __init__(self, signum: int) -> None:
        self.signum, self.exit_code = signum, 128 + signum
        super().__init__("interrupted", hint="what is done is kept: the same command goes on from there")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.signum,)


def run_jobs(
    jobs: Sequence[Job],
    folder: str | Path,
    *,
    work: str,
    workers: int | None = None,
    watch: Callable[[Progress], None] | None = None,
    attempts: int = 2,
) -> dict[str, Record]:
    """Do what is not done yet.

    Parameters
    ----------
    jobs
        Keys are unique and fit for a file name.
    folder
        Where results are, one `<key>.json` each; made where it is not there.
    work
        `module:function`, called in a worker with the task and the path `folder/<key>`, beside which it may leave
        files; what it returns is JSON. It may remember things from job to job.
    workers
        Processes of one thread each. None: as many as there are cores; 0: in this process.
    watch
        Told of every change.
    attempts
        How often a job may end its process.

    Returns
    -------
    dict of str to Record
        One per job, in their order.

    Raises
    ------
    InterruptedWork
        SIGINT or SIGTERM came.
    RunError
        Workers do not start.
    RecipeError
        A number of workers below 0.
    """
    count = cores() if workers is None else workers
    if count < 0:
        raise RecipeError("is no number of workers", where="workers", met=count, wanted="0 or more")
    folder = Path(folder).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    for job in jobs:
        if (path := result_file(folder, job.key)).exists() and ((r := Record.read(path)) is None or r.crashed):
            path.unlink(missing_ok=True)
    with _interruptible():
        if count == 0:
            alone(jobs, folder, work, watch)
        else:
            _Pool(jobs, folder, work, count, watch, attempts).run()
    return results(jobs, folder)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    log: Path

    def tidy(self) -> None:
        """Remove a log in which nothing stands."""
        if not self.log.stat().st_size:
            self.log.unlink()


@dataclass
class _Pool:
    """Worker processes, started anew when they die."""

    jobs: Sequence[Job]
    folder: Path
    work: str
    count: int
    watch: Callable[[Progress], None] | None
    attempts: int
    live: list[_Worker] = field(default_factory=list)
    deaths: dict[str, int] = field(default_factory=dict)
    false_starts: int = 0
    started: int = 0

    @property
    def name(self) -> str:
        return f"{socket.gethostname()}-{os.getpid()}"

    @property
    def listed(self) -> Path:
        return self.folder / f".jobs-{self.name}"

    def run(self) -> None:
        """Until every job has a record."""
        told = Told(self.jobs, self.folder, self.watch)
        before = set(told.warned)  # the run that these jobs were done in has said so
        told.tell()
        if not told.pending:
            return
        (self.folder / "log").mkdir(exist_ok=True)
        try:
            self.listed.write_text(json.dumps([asdict(j) for j in self.jobs]), encoding="utf-8")
            while told.pending:
                self._start(told.pending)
                time.sleep(POLL)
                self._reap()
                told.tell()
            for text in [w for w in told.warned if w not in before]:
                log.warning("%s", text)
        finally:
            self._end()

    def _start(self, pending: Mapping[str, Job]) -> None:
        """As many workers as there is room and work for."""
        if len(self.live) >= min(self.count, len(pending)):
            return
        claims = [c for k in pending if (c := claim_file(self.folder, k)).exists()]
        free = len(pending) - len(claims) + sum(abandoned(c) for c in claims)
        for _ in range(min(self.count - len(self.live), free)):
            self.started += 1
            self.live.append(self._worker(self.folder / "log" / f"{self.name}-{self.started}.txt"))

    def _worker(self, path: Path) -> _Worker:
        arguments = [str(self.folder), str(self.listed), self.work]
        environment = (
            RETURNED
            | os.environ
            | dict.fromkeys(ONE_THREAD, "1")
            | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        )
        with path.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-c", WORKER, *arguments], env=environment,
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
            )  # fmt: skip
        return _Worker(process, path)

    def _reap(self) -> None:
        """See which workers have ended, and why."""
        ended = [w for w in self.live if _ended(w.process)]
        holding = held(self.folder) if ended else {}  # all that the dead claimed; nobody takes it over until `wait`
        for worker in ended:
            self.live.remove(worker)
            code, keys = worker.process.wait(), holding.get(worker.process.pid, [])
            release(self.folder, worker.process.pid)
            for key in keys if code else ():
                self._died(key, _reason(code))
            if code != 0 and not keys:
                self.false_starts += 1
            if self.false_starts >= MOST_FALSE_STARTS:
                said = worker.log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [_reason(code)]
                raise RunError("workers do not start", met=said[-1], hint=f"what they said is in {worker.log}")
            worker.tidy()

    def _died(self, key: str, reason: str) -> None:
        """A job ended its process: once more, or never again."""
        if result_file(self.folder, key).exists():
            return
        self.deaths[key] = self.deaths.get(key, 0) + 1
        log.warning("a worker was ended by %s at job %s", reason, key[:12])
        if self.deaths[key] >= self.attempts:
            Record(key, error=f"its process was ended by {reason}", crashed=True).write(self.folder)

    def _end(self) -> None:
        """Stop whoever is still at work, and release what they held."""
        for worker in self.live:
            worker.process.terminate()
        until = time.monotonic() + PATIENCE
        for worker in self.live:
            try:
                worker.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            release(self.folder, worker.process.pid)
            worker.tidy()
        self.listed.unlink(missing_ok=True)
        with suppress(OSError):
            (self.folder / "log").rmdir()


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended, without letting go of its number: to others it is alive until `wait`."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # waited for already
        return True


def _reason(code: int) -> str:
    """What a return code says."""
    with suppress(ValueError):
        name = signal.Signals(-code).name
        return f"{name} (out of memory?)" if name == "SIGKILL" else name
    return f"exit code {code}"


class _Stop(BaseException):
    """A signal came: no handler of ordinary errors swallows it."""

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(signum)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM end the block as `InterruptedWork`, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def handle(signum: int, frame: FrameType | None) -> None:
        for s in before:
            signal.signal(s, signal.SIG_IGN)  # until everything is put away
        raise _Stop(signum)

    before |= {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Stop as stop:
        raise InterruptedWork(stop.signum) from None
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
