"""Fuzzing of what reads other people's files: nothing but our own errors, and no hang.

The same targets run for a bounded time in `test_fuzz.py` and at length by `make fuzz SECONDS=600`, which is
`python tests/fuzz.py SECONDS`. A file that breaks something is kept in the folder named at the end.
"""

from __future__ import annotations

import faulthandler
import io
import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from isthmus.data.cohort import build
from isthmus.data.read import read
from isthmus.data.split_files import read_folds
from isthmus.data.write import write
from isthmus.errors import IsthmusError
from isthmus.recipe import load_recipe
from isthmus.yaml_text import load_yaml

LONGEST = 20.0
"""Seconds after which an input counts as a hang."""
MEMORY = 8 << 30
"""Bytes of address space that reading may take."""
TEXT = ["csv", "tsv", "csv.gz", "csv.zst", "csv.bz2", "csv.xz"]
BINARY = ["parquet", "feather", "xlsx", "h5ad", "h5mu"]
KINDS = [*TEXT, *BINARY]
RECIPE = """\
data:
  read: {rna: rna.csv, cnv: {path: cnv.csv, decimal: ",", drop: [a, b]}}
  obs: obs.csv
  split: {fractions: [0.6, 0.2, 0.2], stratify: kind, seed: 1e0}
prepare:
  rna: [log1p, {top_variance: 500}, {clip: {low: -5, high: 5}}, standardise]
likelihood: {cnv: gaussian}
model: {name: vae, latent: 8, beta: 1e-3, hidden: [64, 32], weights: {rna: 1.0}}
training: {epochs: 200, batch_size: 64, gradient_clip: null, tensorboard: false}
evaluate: {embedding: {labels: [kind], learners: [logistic]}, reconstruction: {splits: [test]}}
"""
WORDS = [
    *"{}[]:,-#&*!|>%@`'\"\n\t ~", "null", "true", "no", "1e999", ".nan", "-.inf", "0x1F", "007", "<<", "!!str",
    "!!python/name:os",
    "---\n", "...\n", "\ufeff", "\x00", "\x85", "\u2028", "\ud7ff", "💥", "? ", "- ", "name", "vae", "data", "read",
    "${HOME}", "${A:-b}", "~nobody", "NA", "1,5", "=1+1", "inf", "nan", "1" * 400, "é", "/", "//", ".", "..",
]  # fmt: skip


def corpus(folder: Path) -> dict[str, bytes]:
    """A valid file of every kind."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 5)).astype(np.float32)
    x[2, 3] = np.nan
    frame = pd.DataFrame(x, [f"s{i}" for i in range(12)], list("abcde"))
    obs = pd.DataFrame({"kind": ["u", "v"] * 6, "age": np.arange(12.0)}, frame.index)
    adata = ad.AnnData(frame, obs=obs)
    found = {}
    for kind in KINDS:
        path = folder / f"x.{kind}"
        if kind == "xlsx":
            frame.to_excel(path)
        elif kind == "feather":
            frame.to_feather(path)
        else:
            write(build({"x": adata}) if kind == "h5mu" else adata, path)
        found[kind] = path.read_bytes()
    return found


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A few changes: bits, cuts, repeats, words, numbers at their bounds."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(8):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + rng.choice([1, 4, 64, len(data)])]
            case 2:
                data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.choice([1, 8, 200])]
            case 3:
                data[at:at] = rng.choice(WORDS).encode("utf-8", "surrogatepass")
            case 4:
                width = rng.choice([1, 2, 4, 8])
                data[at : at + width] = rng.choice([0, 1, 2**31 - 1, 2 ** (8 * width) - 1]).to_bytes(8, "little")[
                    :width
                ]
            case 5:
                data[at : at + 4] = rng.randbytes(4)
            case 6:
                other = rng.randrange(len(data) + 1)
                data[at:at] = data[min(at, other) : max(at, other)]
            case 7:
                data[at : at + 1] = rng.choice(b',;\t "\n\r\0').to_bytes(1, "little")
        data = data[: 1 << 16]
    return bytes(data)


def rezipped(content: bytes, rng: random.Random) -> bytes:
    """An xlsx with one member mutated, so that more than its sums is tested."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            inner = old.read(name)
            new.writestr(name, mutated(inner, rng) if name == chosen else inner)
    return packed.getvalue()


def yaml_like(rng: random.Random) -> str:
    """Text made of what YAML is made of."""
    lines = RECIPE.splitlines(keepends=True)
    parts = [rng.choice(WORDS) if rng.random() < 0.6 else rng.choice(lines) for _ in range(rng.randrange(1, 40))]
    return "".join(parts)


def try_table(kind: str, content: bytes, folder: Path) -> str:
    """Read bytes as a table of values, and as annotations; in a process of its own, as a C library may crash."""
    path = folder / f"x.{kind}"
    path.write_bytes(content)
    values = pd.DataFrame(np.ones((2, 2)), ["s0", "s1"], ["a", "b"])
    return apart(
        lambda: (
            outcome(lambda: read(path if kind == "h5mu" else {"x": path}))
            + "+"
            + outcome(lambda: read({"x": values}, path))
        )
    )


def apart(call: Callable[[], str]) -> str:
    """What a call says in a forked process; `crash` where a C library ends it."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 dislikes forks beside threads
        pid = os.fork()
    if pid == 0:
        faulthandler.disable()
        signal.alarm(int(2 * LONGEST))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
        try:
            said = call()
        except BaseException:  # noqa: BLE001 - told to the parent
            said = "!" + traceback.format_exc()
        os.write(writing, said.encode()[-60_000:])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read().decode("utf-8", "replace")
    _, status = os.waitpid(pid, 0)
    if said.startswith("!"):
        raise AssertionError(said)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        raise AssertionError("hangs")
    return "crash" if os.WIFSIGNALED(status) else said


def try_recipe(content: bytes, folder: Path) -> str:
    """Read bytes as a recipe, as an override, and as a split."""
    path = folder / "recipe.yaml"
    path.write_bytes(content)
    said = outcome(lambda: load_yaml(content, "r")) + "+" + outcome(lambda: load_recipe(path))
    text = content.decode("utf-8", "replace").replace("\0", " ")
    keys = text.splitlines()[:3] or [""]
    said += "+" + outcome(lambda: load_recipe(folder / "whole.yaml", keys))
    for name in ("split.csv", "split.json"):
        (folder / name).write_bytes(content)
        said += "+" + outcome(lambda name=name: read_folds(folder / name))
    return said


def outcome(call: Callable[[], object]) -> str:
    """`read`, or the kind of our error and its number of lines; any other exception goes on."""
    started = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
        said = "read"
    except IsthmusError as error:
        said = type(error).__name__
        if len(str(error).splitlines()) > 3 or len(str(error)) > 2000:
            raise AssertionError(f"more than a line and two of hint: {str(error)[:3000]}") from error
    if (took := time.monotonic() - started) > LONGEST:
        raise AssertionError(f"took {took:.0f} s")
    return said


def one(rng: random.Random, valid: dict[str, bytes], folder: Path) -> tuple[str, str]:
    """One input for one target; what it was and how it ended."""
    if rng.random() < 0.35:
        content = (
            yaml_like(rng).encode("utf-8", "surrogatepass") if rng.random() < 0.5 else mutated(RECIPE.encode(), rng)
        )
        return "recipe", try_recipe(content, folder)
    kind = rng.choice(KINDS)
    if rng.random() < 0.1:
        content = rng.randbytes(rng.randrange(400))
    elif kind == "xlsx" and rng.random() < 0.8:
        content = rezipped(valid[kind], rng)
    else:
        content = mutated(valid[kind], rng)
    return kind, try_table(kind, content, folder)


def main(seconds: float, seed: int) -> int:
    """Fuzz for some seconds; the number of inputs that broke something."""
    folder = Path(tempfile.mkdtemp(prefix="isthmus-fuzz-"))
    valid, rng, tried, broken = corpus(folder), random.Random(seed), Counter(), 0
    (folder / "whole.yaml").write_text(RECIPE)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            kind, said = one(rng, valid, folder)
            tried[kind, said] += 1
        except Exception:  # noqa: BLE001 - whatever it is, it is what we look for
            broken += 1
            kept = folder / f"broken{broken}"
            kept.mkdir()
            newest = max((p for p in folder.iterdir() if p.is_file()), key=lambda p: p.stat().st_mtime_ns)
            shutil.copy(newest, kept)
            (kept / "traceback.txt").write_text(traceback.format_exc())
            sys.stdout.write(f"{newest.name}: {traceback.format_exc().splitlines()[-1][:200]}\n")
    counts = {kind: sum(n for (k, _), n in tried.items() if k == kind) for kind in dict.fromkeys(k for k, _ in tried)}
    crashes = sum(n for (_, said), n in tried.items() if said == "crash")
    said = f"{sum(counts.values())} inputs in {seconds:.0f} s, {broken} broke something ({json.dumps(counts)})"
    said += f"; {crashes} crashed a C library" if crashes else ""
    sys.stdout.write(f"{said}\nkept in {folder}\n" if broken else f"{said}\n")
    if not broken:
        shutil.rmtree(folder)
    return broken


if __name__ == "__main__":
    arguments = [*sys.argv[1:], "60"]
    logging.getLogger("isthmus").addHandler(logging.NullHandler())  # their warnings are not the point
    raise SystemExit(bool(main(float(arguments[0]), int(os.environ.get("SEED", "0")))))
