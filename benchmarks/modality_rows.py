"""What modalities add to the prediction of survival, in five cohorts of TCGA; the table of docs/modality_rows.md.

    python benchmarks/modality_rows.py brca luad blca hnsc lihc --out runs/rows

`examples/modality_rows.yaml` for each: five folds, three seeds, a head for Cox's model, the clinical columns that the
cohort has. One folder a cohort; what is done there is not done again. Data: ../shared/data (ISTHMUS_DATA).
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd

import isthmus as ist
from isthmus.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ISTHMUS_DATA", ROOT / "../shared/data")).absolute()
CLINICAL = {"luad": ["age", "is_female"], "lihc": ["age", "is_female"]}
STAGED = ["age", "is_female", "stage"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", nargs="*", default=["brca", "luad", "blca", "hnsc", "lihc"])
    parser.add_argument("--out", default="runs/rows")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--controlled", nargs="*", default=["luad"], help="cohorts with controls")
    arguments = parser.parse_args()
    found = []
    for cohort in arguments.cohorts:
        files = {"read.rna": "rnaseq.parquet", "read.cnv": "cnv.parquet", "read.mutation": "mut.parquet"}
        files["obs"] = "clinical.csv"
        keys = [f"data.{k}={DATA / 'tcga_cohorts' / cohort / name}" for k, name in files.items()]
        keys.append(f"compare.rows.clinical={CLINICAL.get(cohort, STAGED)}")
        keys.append(f"compare.controls={['labels', 'pairing'] if cohort in arguments.controlled else []}")
        recipe = load_recipe(ROOT / "examples" / "modality_rows.yaml", keys)
        compared = ist.compare(recipe, Path(arguments.out) / cohort, workers=arguments.workers)
        print(f"\n{cohort}")
        print("\n".join(compared.verdict), flush=True)
        found.append(compared.rows.assign(cohort=cohort))
    rows = pd.concat(found)
    rows["what"] = rows["row"] + " | " + rows["model"]
    for control in rows["control"].unique():
        of = rows[(rows["control"] == control)]
        cohorts = [c for c in arguments.cohorts if c in set(of["cohort"])]
        table = of.pivot_table(index="what", columns="cohort", values="mean")[cohorts]
        spread = of.pivot_table(index="what", columns="cohort", values="sd")[cohorts]
        print(f"\nHarrell's C, mean over 15 splits{': control ' + control if control else ''}")
        print(table.assign(mean=table.mean(axis=1)).sort_values("mean", ascending=False).round(3).to_string())
        print(f"standard deviation over splits: {spread.min().min():.3f} to {spread.max().max():.3f}")
    real = rows[rows["control"] == ""]
    print("\ntold apart from clinical columns (p adjusted over rows < .05)")
    told = real[(real["p_clinical_adjusted"] < 0.05)]
    print(told[["cohort", "what", "mean", "to_clinical", "p_clinical_adjusted"]].round(3).to_string(index=False))
    print("\ntold apart from joint (p adjusted over rows < .05)")
    told = real[(real["p_joint_adjusted"] < 0.05)]
    print(told[["cohort", "what", "mean", "to_joint", "p_joint_adjusted"]].round(3).to_string(index=False))


if __name__ == "__main__":
    main()
