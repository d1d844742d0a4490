"""Runs of the command line in processes of their own, that tests can signal, starve and kill.

One server process imports isthmus once and forks a child for every run, so that a run costs what it computes and not
what it imports. The children are as a user's: no test hooks, no captured warnings.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

FINISHED = ["model/weights.safetensors", "model/prepare.safetensors", "model/model.json", "metrics.json", "history.csv"]
"""What is the same to the byte, however often a run was interrupted."""

SERVER = """
import json, os, signal, sys
import isthmus.cli.run, isthmus.cli.apply, isthmus.experiment, isthmus.fitted
import matplotlib.pyplot, sklearn.linear_model
from isthmus import registry
from isthmus.cli import main
for name in registry.names():
    registry.get(name)
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        print(os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in ((1, order["out"]), (2, order["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(order["cwd"])
    exec(order["before"])
    code = 99
    try:
        main(order["arguments"])
    except SystemExit as stop:
        code = stop.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
"""


@dataclass(frozen=True)
class Ended:
    """How a child ended: exit code (minus the signal where one killed it), and what it said."""

    code: int
    out: str
    err: str


class Child:
    """A run under way."""

    def __init__(self, server: Server, pid: int, texts: tuple[Path, Path]) -> None:
        self.server, self.pid, self.texts = server, pid, texts

    def signal(self, signum: int) -> None:
        os.kill(self.pid, signum)

    def wait(self, timeout: float = 60) -> Ended:
        code = int(self.server.ask({"wait": self.pid}, timeout, or_kill=self.pid))
        return Ended(code, *(t.read_text() for t in self.texts))

    def wait_until(self, there: Path, timeout: float = 30) -> None:
        """Until a file is there."""
        end = time.monotonic() + timeout
        while not there.exists():
            assert time.monotonic() < end, f"{there} did not appear"
            time.sleep(0.002)


class Server:
    """Forks a child for every run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env=os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
        )  # fmt: skip
        assert self._answer(120) == "ready"

    def ask(self, order: dict, timeout: float, or_kill: int | None = None) -> str:
        self.process.stdin.write(json.dumps(order) + "\n")
        return self._answer(timeout, or_kill)

    def _answer(self, timeout: float, or_kill: int | None = None) -> str:
        ready, _, _ = select.select([self.process.stdout], [], [], timeout)
        if not ready:
            if or_kill is not None:
                os.kill(or_kill, signal.SIGKILL)
                self.process.stdout.readline()
            raise AssertionError(f"no answer within {timeout} s")
        return self.process.stdout.readline().strip()

    def start(self, *arguments: object, cwd: Path, before: str = "") -> Child:
        """Begin `isthmus ARGUMENTS` after running some code."""
        self.count += 1
        texts = (self.folder / f"{self.count}.out", self.folder / f"{self.count}.err")
        order = {"arguments": [str(a) for a in arguments], "cwd": str(cwd), "before": before}
        pid = self.ask(order | {"out": str(texts[0]), "err": str(texts[1])}, 20)
        return Child(self, int(pid), texts)

    def run(self, *arguments: object, cwd: Path, before: str = "") -> Ended:
        return self.start(*arguments, cwd=cwd, before=before).wait()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def content(run: Path) -> dict[str, bytes]:
    """The files of a run that must not depend on interruptions."""
    return {name: (run / name).read_bytes() for name in FINISHED}


def files(run: Path) -> set[str]:
    return {str(p.relative_to(run)) for p in run.rglob("*")}


DIE_AT_WRITE = """
import os, pathlib, signal
written, whole = 0, pathlib.Path.write_bytes
def write_bytes(path, content):
    global written
    written += 1
    if written == {k}:
        with open(path, "wb") as stream:
            stream.write(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(path, content)
pathlib.Path.write_bytes = write_bytes
"""
"""Half of the k-th file is on the disk when the process is killed."""

DIE_AT_RENAME = """
import os, pathlib, signal
renamed, real = 0, os.replace
def replace(*names, **keys):
    global renamed
    renamed += 1
    if renamed == {k} and {before}:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*names, **keys)
    if renamed == {k}:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = os.rename = replace
"""
"""The process is killed just before or just after its k-th renaming."""
