"""Workers: every job once, whoever dies; nothing done again; what is interrupted goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isthmus.errors import RecipeError, RunError
from isthmus.workers import Job, run_jobs
from isthmus.workers.claims import DEAD, abandoned, held
from isthmus.workers.pool import _ended
from worked import calls

HERE = Path(__file__).parent


def jobs(n, **keys):
    return [Job(f"job{x}", {"x": x, **keys}) for x in range(n)]


def run(todo, folder, **keys):
    return run_jobs(todo, folder, work="worked:work", **{"workers": 2, **keys})


def test_every_job_is_done_once_in_processes_of_one_thread_and_never_again(tmp_path):
    told = []
    found = run(jobs(6, sleep=0.05), tmp_path, watch=told.append)
    assert [found[f"job{x}"].value for x in range(6)] == [{"square": x * x, "threads": "1"} for x in range(6)]
    pids = {(tmp_path / f"job{x}.calls").read_text(encoding="utf-8").strip() for x in range(6)}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids
    assert (told[-1].done, told[-1].total, told[-1].left) == (6, 6, 0.0)
    more = run(jobs(8), tmp_path)
    assert [calls(tmp_path, f"job{x}") for x in range(8)] == [1] * 8
    assert more["job7"].value["square"] == 49
    assert {p.suffix for p in tmp_path.iterdir()} == {".json", ".calls"}  # no claim, no list, no log is left


def test_a_job_that_kills_its_process_is_tried_twice_and_a_refused_one_says_why(tmp_path):
    todo = [
        Job("once", {"x": 2, "dies": "once"}), Job("always", {"x": 3, "dies": "always"}),
        Job("refused", {"x": 4, "refused": "table"}), Job("bug", {"x": 5, "bug": True}), Job("good", {"x": 6}),
    ]  # fmt: skip
    found = run(todo, tmp_path)
    assert found["once"].value["square"] == 4
    assert "SIGKILL" in found["always"].error
    assert found["refused"].error == "table: is wrong"
    assert found["bug"].error == "ZeroDivisionError: 'a bug'"
    assert found["good"].value["square"] == 36
    assert {k: calls(tmp_path, k) for k in found} == {"once": 2, "always": 2, "refused": 1, "bug": 1, "good": 1}
    run(todo, tmp_path, workers=1)  # what crashed may have been the machine's fault and is tried again
    assert {k: calls(tmp_path, k) for k in found} == {"once": 2, "always": 4, "refused": 1, "bug": 2, "good": 1}


def test_what_workers_warn_of_is_said_once_and_not_again(tmp_path, caplog):
    for count in (4, 4, 5):
        run(jobs(count, warns="four samples are left"), tmp_path)
    assert [r.getMessage() for r in caplog.records] == ["four samples are left"]


def test_an_ended_worker_counts_as_alive_to_others_until_its_claims_are_read(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    claim = tmp_path / "job0.claim"
    claim.write_text(json.dumps({"host": socket.gethostname(), "pid": gone.pid}), encoding="utf-8")
    until = time.monotonic() + 20
    while not _ended(gone) and time.monotonic() < until:
        time.sleep(0.01)
    assert _ended(gone)
    assert not abandoned(claim)
    assert held(tmp_path) == {gone.pid: ["job0"]}
    assert gone.wait() == 0
    assert _ended(gone)
    assert abandoned(claim)


def test_a_claim_of_the_dead_is_taken_over_and_one_of_the_living_is_not(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    claim = tmp_path / "job0.claim"
    claim.write_text(json.dumps({"host": socket.gethostname(), "pid": gone.pid}), encoding="utf-8")
    assert abandoned(claim)
    claim.write_text(json.dumps({"host": "elsewhere", "pid": 1}), encoding="utf-8")
    assert not abandoned(claim)
    os.utime(claim, (time.time() - DEAD - 5,) * 2)
    assert abandoned(claim)
    assert run(jobs(1), tmp_path, workers=0)["job0"].value["square"] == 0
    claim.write_text(json.dumps({"host": "elsewhere", "pid": 1}), encoding="utf-8")
    (tmp_path / "job0.json").unlink()
    assert run(jobs(2), tmp_path, workers=0).keys() == {"job1"}  # job0 is in the hands of another machine


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_interrupted_work_goes_on_where_it_stood(tmp_path, signum):
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\nfrom isthmus.workers import run_jobs, Job\n"
        "jobs = [Job(f'job{x}', {'x': x, 'sleep': 0.2}) for x in range(30)]\n"
        "run_jobs(jobs, sys.argv[1], work='worked:work', workers=2)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, tmp_path, HERE], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("job*.json"))) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    parent.send_signal(signum)
    said = parent.communicate(timeout=30)[1]
    done = len(list(tmp_path.glob("job*.json")))
    assert 3 <= done < 30
    if signum == signal.SIGTERM:
        assert "InterruptedWork: interrupted" in said
        assert not list(tmp_path.glob("*.claim"))
    found = run(jobs(30, sleep=0), tmp_path)
    assert [found[f"job{x}"].value["square"] for x in range(30)] == [x * x for x in range(30)]
    again = [x for x in range(30) if calls(tmp_path, f"job{x}") > 1]
    assert len(again) <= 4  # those under way, no other


def test_workers_that_cannot_start_say_why(tmp_path):
    with pytest.raises(RunError, match=r"workers do not start; met .*No module named 'nowhere'"):
        run_jobs(jobs(1), tmp_path, work="nowhere:work", workers=1)
    with pytest.raises(RecipeError, match="no number of workers"):
        run(jobs(1), tmp_path, workers=-1)
