"""Start-up times: whole processes, medians of seven, as a table in markdown.

python benchmarks/imports.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

RUNS = 7
CLI = [sys.executable, "-c", "import sys; from isthmus.cli import main; sys.exit(main())"]
WRONG = "data: {simulate: {n: 50}}\nmodel: {name: vae, latnt: 8}\n"


def seconds(command: list[str], exit_codes: tuple[int, ...]) -> list[float]:
    """Wall-clock time of so many runs, after one that fills the caches."""
    taken = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        taken.append(time.perf_counter() - started)
        if done.returncode not in exit_codes:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return sorted(taken[1:])


def main() -> None:
    """Time, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(WRONG, encoding="utf-8")
        processes = {
            "an empty Python process": ([sys.executable, "-c", "pass"], (0,)),
            "`import isthmus`": ([sys.executable, "-c", "import isthmus"], (0,)),
            "`import isthmus.data.read`": ([sys.executable, "-c", "import isthmus.data.read"], (0,)),
            "`isthmus --help`": ([*CLI, "--help"], (0,)),
            "a mistake in a recipe": ([*CLI, "run", str(recipe), "--out", str(Path(folder) / "out")], (2,)),
            "`import torch`, for comparison": ([sys.executable, "-c", "import torch"], (0,)),
        }
        print("| process | median seconds | fastest | slowest |\n| --- | --- | --- | --- |")
        for name, (command, exit_codes) in processes.items():
            taken = seconds(command, exit_codes)
            print(f"| {name} | {median(taken):.2f} | {taken[0]:.2f} | {taken[-1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
