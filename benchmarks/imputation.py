"""The study "CNV from mRNA", repeated; real gaps; time and memory at the study's size.

    python benchmarks/imputation.py modality brca luad     # whole samples without copy number, five folds by patient
    python benchmarks/imputation.py entries brca           # 5, 10, 20 % of the calls, in three patterns
    python benchmarks/imputation.py gaps                   # cohorts that really lack something
    python benchmarks/imputation.py sklearn                # kNN and ridge beside scikit-learn's own: seconds and memory
    python benchmarks/imputation.py --study                # 8,314 x 3,217 and 3,105, 32 classes: all methods

`--methods a b` and `--folds n` (the first n) make it shorter. Data: ../shared/data (ISTHMUS_DATA), folds of the
modality task: ../shared/baselines (ISTHMUS_BASELINES). One thread, so that seconds can be compared.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import imputation_size
import numpy as np
import pandas as pd

import isthmus as ist
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["modality", "entries", "gaps", "sklearn"], nargs="?")
    parser.add_argument("cohorts", nargs="*")
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--patterns", nargs="*", default=["random", "sample", "feature"])
    parser.add_argument("--rates", nargs="*", type=float, default=[0.05, 0.1, 0.2])
    parser.add_argument("--level", type=float, default=None, help="of intervals, which cost a second fit")
    parser.add_argument("--study", action="store_true", help="time and memory of everything at the study's size")
    parser.add_argument("--n", type=int, default=0, help="samples, of `sklearn` and `--study`")
    arguments = parser.parse_args()
    if arguments.study:
        imputation_size.study(arguments)
    elif arguments.part:
        parts = {"modality": modality, "entries": entries, "gaps": gaps, "sklearn": imputation_size.sklearn}
        parts[arguments.part](arguments)
    else:
        parser.error("name a part, or --study")


if __name__ == "__main__":
    main()
