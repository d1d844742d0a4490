"""Three cancers, RNA and mutations: PCA, Autoencoder and VAE with 2, 8 and 29 dimensions on reference folds.

    python benchmarks/xena3.py [--dims 2 8 29] [--folds 0 1 2 3 4] [--csv FILE]

Reads tcga_xena3 below ISTHMUS_DATA (bladder, stomach and bowel cancers of UCSC Xena Toil, as tabulated in
github.com/mahmoodlab/SurvPath and github.com/mahmoodlab/PORPOISE) and folds/task3_xena3_cv5.json below
ISTHMUS_BASELINES (default ../shared/baselines). RNA is log2(TPM + 0.001); mutations, 0 or 1, are standardised like it.
"""

from embeddings import Task, main

FOLDER = "tcga_xena3"
XENA3 = Task(
    folds="task3_xena3_cv5.json",
    read={"rna": f"{FOLDER}/rna_log2tpm.parquet", "mutation": f"{FOLDER}/mut_common.parquet"},
    obs=f"{FOLDER}/clinical.csv",
    labels=("cancer", "subtype", "grade", "stage", "is_female"),
    model={"hidden": (512, 128), "beta": 0.1},
    training={"epochs": 200, "batch_size": 64, "seed": 0},
)

if __name__ == "__main__":
    main(XENA3, __doc__ or "")
