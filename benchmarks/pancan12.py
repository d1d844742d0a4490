"""Ten cancer types, three modalities: PCA, Autoencoder and VAE with 2, 8 and 29 dimensions on reference folds.

    python benchmarks/pancan12.py [--dims 2 8 29] [--folds 0 1 2 3 4] [--csv FILE]

Reads tcga_pancan12 below ISTHMUS_DATA (see examples/pancan12.yaml for where the public gets it) and
folds/task3_pancan12_cv5.json below ISTHMUS_BASELINES (default ../shared/baselines).
"""

from embeddings import Task, main

FOLDER = "tcga_pancan12"
PANCAN12 = Task(
    folds="task3_pancan12_cv5.json",
    read={m: f"{FOLDER}/{m}.parquet" for m in ("cnv", "methylation", "mirna")},
    obs=f"{FOLDER}/labels.csv",
    labels=("cancer", "gender", "pathologic_stage"),
    model={"hidden": (512, 128), "beta": 0.1},
    training={"epochs": 200, "batch_size": 64, "seed": 0},
)

if __name__ == "__main__":
    main(PANCAN12, __doc__ or "")
