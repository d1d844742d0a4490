"""The study "CNV from mRNA", repeated; real gaps; time and memory at the study's size.

    python benchmarks/imputation.py modality brca luad     # whole samples without copy number, five folds by patient
    python benchmarks/imputation.py entries brca           # 5, 10, 20 % of the calls, in three patterns
    python benchmarks/imputation.py gaps                   # cohorts that really lack something
    python benchmarks/imputation.py size                   # 8,314 x 3,217 and 3,105, 32 classes: seconds and memory
    python benchmarks/imputation.py sklearn                # kNN and ridge beside scikit-learn's own

`--methods a b` and `--folds n` (the first n) make it shorter. Data: ../shared/data (ISTHMUS_DATA), folds of the
modality task: ../shared/baselines (ISTHMUS_BASELINES). One thread, so that seconds can be compared.
"""

import argparse
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

import isthmus as ist
from isthmus.data.cohort import build
from isthmus.impute.benchmark import given, hiding, score, tasks
from isthmus.impute.imputer import make, usable

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ISTHMUS_DATA", ROOT / "../shared/data"))
FOLDS = Path(os.environ.get("ISTHMUS_BASELINES", ROOT / "../shared/baselines")) / "folds"
SHOWN = [
    "mse",
    "r2",
    "r2_feature",
    "pearson_sample",
    "balanced_accuracy",
    "ordinal_error",
    "coverage",
    "width",
    "seconds",
]
RNA = {"rna": [{"clip": {"low": -5, "high": 5}}], "cnv": [{"standardise": {"limit": None}}]}
EXTRA = {"kernel": {"component_ridge": {"kernel": True}}}
ACC = ("rna", "cnv", "protein", "mirna")
REAL = {
    "acc_mini": {
        "read": {m: {"path": f"tcga_acc_mini/{m}.csv.gz", "id_column": "patient"} for m in ACC},
        "prepare": {"rna": ["log1p"], "mirna": [{"detected_in": 0.2}, "log1p"]},
    },
    "linkedomics_brca": {
        "read": {"cnv": "linkedomics_brca/scnv_focal.parquet", "mirna": "linkedomics_brca/mirna.parquet"},
        "prepare": {},
    },
    "scmt_mesc": {
        "read": {"rna": "scmt_mesc/rna.parquet", "islands": "scmt_mesc/met_cpg_islands.parquet"}, "prepare": {},
    },
    "nci60_multidrug": {
        "read": {"compound": "nci60_multidrug/compound.csv.gz", "abc": "nci60_multidrug/abc_transporter.csv.gz"},
        "prepare": {},
    },
}  # fmt: skip


def cohort(name):
    folder = DATA / "tcga_cohorts" / name
    tables = {"rna": str(folder / "rnaseq.parquet"), "cnv": str(folder / "cnv.parquet")}
    return ist.read(tables, str(folder / "clinical.csv"))


def scored(mdata, target, arguments, *, level=None, **keys):
    """A row per method and fold, printed as it comes."""
    rows = []
    pattern, rate = keys["pattern"], keys.get("rate", 0.2)
    for fold, task in enumerate(tasks(mdata, target, **keys)):
        if arguments.folds and fold >= arguments.folds:
            break
        for name in arguments.methods or usable(given(task, pattern)):
            started = time.process_time()
            got = score(task, make(EXTRA.get(name, name))[1], hiding(pattern, rate), level=level).scores
            got["cpu"] = time.process_time() - started
            rows.append({"target": target, "pattern": pattern, "rate": rate, "method": name, "fold": fold, **got})
            said = f"r2 {got['r2']:.4f} mse {got['mse']:.4f} cpu {got['cpu']:.1f}"
            print(f"  {pattern} {rate} fold {fold} {name}: {said}", flush=True)
    return pd.DataFrame(rows)


def shown(rows, keys):
    columns = [c for c in [*SHOWN, "cpu"] if c in rows]
    grouped = rows.groupby([*keys, "method"], sort=False)
    table = grouped[columns].mean()
    table.insert(3, "sd_r2_feature", grouped["r2_feature"].std(ddof=0))
    print(table.round(4).sort_values([*keys, "mse"]).to_string(), flush=True)


def modality(arguments):
    for name in arguments.cohorts or ("brca", "luad"):
        print(f"\n{name}: copy number of samples that have none, from RNA")
        rows = scored(
            cohort(name),
            "cnv",
            arguments,
            pattern="modality",
            folds=FOLDS / f"task1_cnv_{name}.json",
            prepare=RNA,
            level=arguments.level,
        )
        shown(rows, ["target"])


def entries(arguments):
    for name in arguments.cohorts or ("brca",):
        print(f"\n{name}: calls that are missing")
        mdata = cohort(name)
        found = [
            scored(mdata, "cnv", arguments, pattern=p, rate=r, folds=5, prepare=RNA, level=arguments.level)
            for p in arguments.patterns
            for r in arguments.rates
        ]
        shown(pd.concat(found), ["pattern", "rate"])


def gaps(arguments):
    for name in arguments.cohorts or REAL:
        keys = REAL[name]
        sources = {
            m: {**s, "path": str(DATA / s["path"])} if isinstance(s, dict) else str(DATA / s)
            for m, s in keys["read"].items()
        }
        mdata = ist.read(sources)
        prepare = {m: [*keys["prepare"].get(m, []), {"standardise": {"limit": None}}] for m in mdata.mod}
        for target, adata in mdata.mod.items():
            missing = np.isnan(adata.to_df().to_numpy()).mean()
            patterns = ["gaps"] * bool(missing) + ["modality"] * (adata.n_obs < mdata.n_obs)
            for pattern in patterns:
                lacks = f"{adata.n_obs} of {mdata.n_obs} samples, {100 * missing:.1f} % missing"
                print(f"\n{name} {target}: {lacks}; {pattern}")
                asked = {"pattern": pattern, "rate": 0.1, "folds": 5, "prepare": prepare, "level": arguments.level}
                rows = scored(mdata, target, arguments, **asked)
                shown(rows, ["target"])


def large(n=8314, p=3217, f=3105, classes=32, seed=0):
    """A cohort of the study's size: copy number in segments, expression driven in cis, class effects."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, classes, n)
    segments = rng.normal(size=(n, 150)) + rng.normal(size=(classes, 150))[kind]
    cnv = np.repeat(segments, -(-f // 150), axis=1)[:, :f] + 0.3 * rng.normal(size=(n, f))
    rna = rng.normal(size=(n, p)) + rng.normal(size=(classes, p))[kind]
    rna[:, : min(f, p)] += 0.6 * cnv[:, : min(f, p)]
    ids = pd.Index([f"s{i:05d}" for i in range(n)])
    mods = {m: pd.DataFrame(x.astype(np.float32), ids).add_prefix(m) for m, x in (("rna", rna), ("cnv", cnv))}
    obs = pd.DataFrame({"type": [f"t{k}" for k in kind]}, ids)
    return ist.read(mods, obs) if n < 100 else build(ist.read(mods).mod, obs)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def size(arguments):
    mdata = large(n=arguments.n)
    print(f"{mdata.n_obs} samples; {peak():.2f} GiB with the data alone")
    total = time.process_time()
    for pattern in ("modality", "random"):
        keys = {"pattern": pattern, "rate": 0.1, "folds": 5, "classes": "type"}
        task = next(iter(tasks(mdata, "cnv", **keys)))
        for name in arguments.methods or usable(given(task, pattern)):
            started = time.process_time()
            got = score(task, make(EXTRA.get(name, name))[1], hiding(pattern, 0.1), level=None).scores
            took = time.process_time() - started
            said = f"r2 {got['r2']:.3f}, {took:.1f} s of the processor, peak {peak():.2f} GiB"
            print(f"{pattern} {name}: {said}", flush=True)
    print(f"all methods, both tasks, one fold each: {time.process_time() - total:.0f} s of the processor")


def sklearn(arguments):
    from sklearn.impute import KNNImputer
    from sklearn.linear_model import RidgeCV

    from isthmus.impute.linear import PENALTIES

    n, p, f = arguments.n, 1000, 1000
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(n, 20))
    x, y = (factors @ rng.normal(size=(20, k)) + rng.normal(size=(n, k)) for k in (p, f))
    hole = np.where(rng.random(y.shape) < 0.1, np.nan, y)
    train = 4 * n // 5

    def timed(call):
        started = time.process_time()
        value = call()
        return time.process_time() - started, value

    ours, a = timed(lambda: make("knn")[1].fit(hole[:train]).transform(hole[train:]))
    theirs, b = timed(lambda: KNNImputer(n_neighbors=10).fit(hole[:train]).transform(hole[train:]))
    ratio = f"{ours:.2f} s against {theirs:.2f} s ({theirs / ours:.1f} x)"
    print(f"knn, {n} x {f}: {ratio}; largest difference {np.abs(a - b).max():.1e}")
    absent = np.full((n - train, f), np.nan)
    ours, a = timed(lambda: make("ridge")[1].fit(y[:train], source=x[:train]).transform(absent, source=x[train:]))
    scale = np.linalg.svd(x[:train] - x[:train].mean(0), compute_uv=False)
    alphas = PENALTIES * float((scale**2).mean())
    theirs, b = timed(lambda: RidgeCV(alphas=alphas).fit(x[:train], y[:train]).predict(x[train:]))
    error = [float(((v - y[train:]) ** 2).mean()) for v in (a, b)]
    ratio = f"{ours:.2f} s against {theirs:.2f} s ({theirs / ours:.1f} x)"
    print(f"ridge with its penalty, {n} x {p} to {f}: {ratio}; MSE {error[0]:.4f}, {error[1]:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["modality", "entries", "gaps", "size", "sklearn"])
    parser.add_argument("cohorts", nargs="*")
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--patterns", nargs="*", default=["random", "sample", "feature"])
    parser.add_argument("--rates", nargs="*", type=float, default=[0.05, 0.1, 0.2])
    parser.add_argument("--level", type=float, default=None, help="of intervals, which cost a second fit")
    parser.add_argument("--n", type=int, default=8314)
    arguments = parser.parse_args()
    globals()[arguments.part](arguments)


if __name__ == "__main__":
    main()
