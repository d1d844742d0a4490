"""Time and memory of imputation: beside scikit-learn's own, and of the whole benchmark at the study's size.

Called by `benchmarks/imputation.py sklearn` and `--study`. Whatever is measured runs in a process of its own.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

STUDY = (8314, 3217, 3105)
SIZES = ((1000, 500, 500), (4000, 1000, 1000), STUDY)
LARGE = 10**7
"""Entries from which scikit-learn's RidgeCV is timed on some targets, twice, and a line drawn through the two."""
SOME = (100, 300)
PATTERNS = ("random", "modality", "sample", "feature")
MINUTES, GIB = 20, 6
NAMES = {
    "knn": ("kNN, a tenth of the entries missing", "KNNImputer"),
    "rows": ("kNN, whole rows missing, from the source", "KNeighborsRegressor"),
    "ridge": ("ridge, penalty given", "Ridge"),
    "ridge_cv": ("ridge, 19 penalties tried", "RidgeCV"),
}


def large(n=STUDY[0], p=STUDY[1], f=STUDY[2], classes=32, seed=0):
    """A cohort of the study's size: copy number in segments, expression driven in cis, class effects."""
    from isthmus.data.cohort import build

    rng = np.random.default_rng(seed)
    kind = rng.integers(0, classes, n)
    segments = rng.normal(size=(n, 150)) + rng.normal(size=(classes, 150))[kind]
    cnv = np.repeat(segments, -(-f // 150), axis=1)[:, :f].astype(np.float32)
    cnv += 0.3 * rng.standard_normal(size=(n, f), dtype=np.float32)
    rna = rng.standard_normal(size=(n, p), dtype=np.float32)
    rna += rng.normal(size=(classes, p)).astype(np.float32)[kind]
    rna[:, : min(f, p)] += 0.6 * cnv[:, : min(f, p)]
    ids = pd.Index([f"s{i:05d}" for i in range(n)])
    obs = pd.DataFrame({"type": [f"t{k}" for k in kind]}, ids)
    return build({m: table(x, ids, m) for m, x in (("rna", rna), ("cnv", cnv))}, obs)


def table(x, ids, name):
    import anndata as ad

    var = pd.DataFrame(index=[f"{name}{j}" for j in range(x.shape[1])])
    return ad.AnnData(x, pd.DataFrame(index=ids), var)


def peak(*, restart=False):
    """The most memory that this process has held, in GiB; `restart` counts anew from here."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    held = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 2**20
    if restart:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return held


def alone(**job):
    """A job of this file in a process of its own: what it printed last, as JSON."""
    from isthmus.workers.pool import ONE_THREAD, RETURNED

    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), **RETURNED}  # as Isthmus's own workers
    command = [sys.executable, __file__, json.dumps(job)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


# ---- beside scikit-learn


def write(folder, n, p, f):
    """Two tables that share twenty factors, and the second with a tenth of its entries missing."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(n, 20))
    x, y = (factors @ rng.normal(size=(20, k)) + rng.normal(size=(n, k)) for k in (p, f))
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    y[rng.random(y.shape) < 0.1] = np.nan
    np.save(folder / "hole.npy", y)


def call(task, who, tables, few):
    """What is measured: a function without arguments that gives the filled test table."""
    from sklearn.impute import KNNImputer
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.neighbors import KNeighborsRegressor

    from isthmus.impute.imputer import make
    from isthmus.impute.linear import PENALTIES

    (a, b), (x, x_test) = ((t[: 4 * len(t) // 5], t[4 * len(t) // 5 :]) for t in tables)
    a = a[:, :few] if few else a
    absent = np.full((len(x_test), a.shape[1]), np.nan)
    if task == "knn":
        method = make("knn")[1] if who == "ours" else KNNImputer(n_neighbors=10)
        return lambda: method.fit(a).transform(b)
    if who == "ours":
        method = {"rows": "knn", "ridge": {"ridge": {"penalty": 0.1}}, "ridge_cv": "ridge"}[task]
        return lambda: make(method)[1].fit(a, source=x).transform(absent, source=x_test)
    scale = float(((x - x.mean(axis=0)) ** 2).sum()) / min(len(x) - 1, x.shape[1])
    theirs = {
        "rows": KNeighborsRegressor(10),
        "ridge": Ridge(alpha=0.1 * scale),
        "ridge_cv": RidgeCV(alphas=PENALTIES * scale),
    }[task]
    return lambda: theirs.fit(x, a).predict(x_test)


def beside(folder, task, who, few):
    """Seconds of the processor and memory of one call; what it filled is left in the folder."""
    folder = Path(folder)
    table = np.load(folder / ("hole.npy" if task == "knn" else "y.npy"))
    source = table if task == "knn" else np.load(folder / "x.npy")
    warm = np.where(np.random.default_rng(1).random((60, 20)) < 0.1, np.nan, 1.0)
    call("knn", who, (warm, warm), 0)()  # what is compiled once is not counted
    asked = call(task, who, (table, source), few)
    before = peak(restart=True)
    before, started = peak(), time.process_time()
    filled = asked()
    seconds = time.process_time() - started
    np.save(folder / f"{task}-{who}.npy", filled)
    return {"seconds": seconds, "gib": peak() - before}


def compared(folder, task, shape):
    ours, note = alone(folder=str(folder), task=task, who="ours", few=0), ""
    if task == "ridge_cv" and shape[0] * shape[1] > LARGE:
        low, high = (alone(folder=str(folder), task=task, who="theirs", few=k) for k in SOME)
        slope = (high["seconds"] - low["seconds"]) / (SOME[1] - SOME[0])
        theirs = {"seconds": high["seconds"] + slope * (shape[2] - SOME[1]), "gib": high["gib"]}
        note = f"; scikit-learn's seconds extrapolated from {SOME[0]} and {SOME[1]} targets, memory of {SOME[1]}"
    else:
        theirs = alone(folder=str(folder), task=task, who="theirs", few=0)
        a, b = (np.load(folder / f"{task}-{w}.npy") for w in ("ours", "theirs"))
        note = f"; largest difference {np.abs(a - b).max():.0e}, standard deviation {b.std():.1f}"
    said = f"{ours['seconds']:.1f} s and {ours['gib']:.2f} GiB, {theirs['seconds']:.1f} s and {theirs['gib']:.2f} GiB"
    times, room = (theirs[k] / max(ours[k], 1e-3) for k in ("seconds", "gib"))
    ratio = f"{times:.1f} x the time, {room:.1f} x the memory"
    print(f"  {NAMES[task][0]}: {said}: {NAMES[task][1]} takes {ratio}{note}", flush=True)


def sklearn(arguments):
    for shape in SIZES if not arguments.n else ((arguments.n, *STUDY[1:]),):
        n, p, f = shape
        print(f"\n{n} samples, source {p}, table {f}; four fifths to train; ours, scikit-learn's", flush=True)
        with tempfile.TemporaryDirectory() as place:
            write(Path(place), n, p, f)
            for task in NAMES:
                compared(Path(place), task, shape)


# ---- the whole benchmark


class Watch(logging.Handler):
    """Memory and time between the lines that `ist.impute.benchmark` logs, one per method."""

    def __init__(self):
        super().__init__()
        self.rows, self.started = [], time.perf_counter()
        peak(restart=True)

    def emit(self, record):
        now = time.perf_counter()
        said = record.getMessage()
        self.rows.append({"seconds": now - self.started, "gib": peak(restart=True), "said": said})
        self.started = now
        print(f"  {said}; {self.rows[-1]['gib']:.2f} GiB", file=sys.stderr, flush=True)


def whole(n, pattern, methods):
    """The benchmark of one pattern: a row per method with seconds, memory and R2."""
    import isthmus as ist
    from isthmus.data.split import Split

    mdata = large(n=n)
    watch, log = Watch(), logging.getLogger("isthmus.impute")
    log.addHandler(watch)
    log.setLevel(logging.INFO)
    held_out, chosen = Split(fractions=(0.8, 0.2)), methods or None
    found = ist.impute.benchmark(
        mdata, "cnv", methods=chosen, pattern=pattern, rate=0.1, folds=held_out, classes="type", intervals=None
    )
    rows = [r for r in watch.rows if ": r2 " in r["said"]]
    return [
        {"pattern": pattern, "method": m, "r2": r2, "seconds": w["seconds"], "gib": w["gib"]}
        for m, r2, w in zip(found["method"], found["r2"], rows, strict=True)
    ]


def lots(pattern, methods):
    """The methods in three lots, each of which a process carries out: a fold of the verb is one, too."""
    from isthmus.impute.imputer import usable

    given = ["source", "classes"] + (["entries"] if pattern != "modality" else [])
    names = methods or usable(given)
    rest = [name for name in names if name != "blend"]
    return [lot for lot in (["blend"] if "blend" in names else [], rest[::2], rest[1::2]) if lot]


def study(arguments):
    n = arguments.n or STUDY[0]
    print(f"{n} x {STUDY[1]} and {STUDY[2]}, 32 classes; one fifth to test; two processes of one thread", flush=True)
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(alone, n=n, pattern=p, methods=m) for p in PATTERNS for m in lots(p, arguments.methods)]
        rows = pd.DataFrame([r for job in jobs for r in job.result()])
    took = (time.perf_counter() - started) / 60
    for value, digits in (("seconds", 1), ("gib", 2), ("r2", 3)):
        wide = rows.pivot_table(index="method", columns="pattern", values=value, dropna=False)[list(PATTERNS)]
        notes = {
            "gib": " of the process, data and libraries included",
            "seconds": ", the first method's of a lot with the data",
        }
        print(f"\n{value}{notes.get(value, '')}")
        print(wide.round(digits).sort_index().to_string())
    two = 2 * rows["gib"].max()
    kept = took < MINUTES and two < GIB
    print(f"\nall methods and patterns: {took:.1f} minutes, at most {two:.2f} GiB in both processes together")
    print(f"claim: under {MINUTES} minutes and {GIB} GiB on two cores: {'kept' if kept else 'NOT KEPT'}", flush=True)


def job(folder=None, task=None, who=None, few=0, *, n=0, pattern="", methods=()):
    return beside(folder, task, who, few) if folder else whole(n, pattern, list(methods))


if __name__ == "__main__":
    print(json.dumps(job(**json.loads(sys.argv[1]))))
