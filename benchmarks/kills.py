"""Kill runs at random moments, resume them, and compare with a run that nothing disturbed: bit by bit.

    python benchmarks/kills.py [RUNS] [SEED]

Every run is killed with SIGKILL again and again, after a random time each, until an attempt finishes. Prints how many
kills, resumes and differences there were.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from children import Server, content, files
from test_faults import RECIPE, SLOW, tables


def cohort(place: Path) -> None:
    place.mkdir()
    for name, table in tables().items():
        table.to_csv(place / f"{name}.csv", index_label="sample")
    (place / "recipe.yaml").write_text(RECIPE)


def main(runs: int, seed: int) -> int:
    rng, kills, lost, started = np.random.default_rng(seed), 0, 0, time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="isthmus-kills-"))
    server = Server(folder)
    cohort(folder / "whole")
    assert server.run("run", "recipe.yaml", "--out", "x", cwd=folder / "whole").code == 0
    whole = folder / "whole" / "x"
    for i in range(runs):
        place = folder / f"run{i}"
        cohort(place)
        slow, code, attempt = SLOW.format(seconds=float(rng.choice([0, 0.01, 0.05]))), -signal.SIGKILL, 0
        while code == -signal.SIGKILL:
            child = server.start("run", "recipe.yaml", "--out", "x", "--resume", cwd=place, before=slow)
            time.sleep(rng.uniform(0, 1.2) + 0.15 * attempt)
            child.signal(signal.SIGKILL)
            ended = child.wait()
            code, attempt, kills = ended.code, attempt + 1, kills + (ended.code == -signal.SIGKILL)
        same = code == 0 and content(place / "x") == content(whole) and files(place / "x") == files(whole)
        left = {p.name for p in place.iterdir()} - {"recipe.yaml", "rna.csv", "cnv.csv", "obs.csv", "x"}
        if not same or left:
            lost += 1
            sys.stdout.write(f"{place}: exit {code}, {'the same' if same else 'another content'}, left {left}\n")
        else:
            shutil.rmtree(place)
    server.close()
    seconds = time.monotonic() - started
    sys.stdout.write(f"{runs} runs, {kills} kills and resumes, {lost} differ or leave something, {seconds:.0f} s\n")
    return lost


if __name__ == "__main__":
    given = [int(a) for a in sys.argv[1:]]
    raise SystemExit(bool(main(*(given + [50, 0][len(given) :]))))
