"""All pairs of 132,129 genes and 6,980 metabolites at n = 21: CPU seconds, memory, and ratios to scipy.

    python benchmarks/spearman_all_pairs.py

Each kind of ranks is a process of its own, so that its memory is its own: the interpreter with all that it has
imported, both tables, all pairs with exact or permutation p-values, Benjamini-Hochberg, and the hits on disk. Kernels
are compiled before. scipy's matrix form is timed on a slice of 2,000 x 1,000 pairs and its loop on 2,000 pairs; what
they would take for all is extrapolated, and marked so. Seconds are those of the CPU, on one thread.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from isthmus.associate import spearman, targets

N, GENES, METABOLITES, LINKS = 21, 132_129, 6_980, 300
SLICE, LOOP = (2000, 1000), 2000


def cohort(ties):
    """Genes that drive as many metabolites with a noise of a twentieth; with ties, what is below the mean is 0."""
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(N, p)).astype(np.float32) for p in (GENES, METABOLITES))
    x[:, :LINKS] = y[:, :LINKS] + 0.05 * rng.normal(size=(N, LINKS))
    if ties:
        x, y = np.maximum(x, 0), np.maximum(y, 0)
    ids, genes, metabolites = ([f"{c}{i}" for i in range(k)] for c, k in (("s", N), ("g", GENES), ("m", METABOLITES)))
    return pd.DataFrame(x, ids, genes), pd.DataFrame(y, ids, metabolites)


def cpu(work):
    started = time.process_time()
    found = work()
    return found, time.process_time() - started


def ours(x, y):
    with tempfile.TemporaryDirectory() as folder:
        hits = spearman(x, y, threads=1)
        hits.to_parquet(Path(folder) / "hits.parquet")
    return hits


def measured(ties):
    x, y = cohort(ties)
    ours(x.iloc[:, :50], y.iloc[:, :50])  # compiles
    hits, seconds = cpu(lambda: ours(x, y))
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    ranked, one = cpu(lambda: targets(x, y, "m0"))
    a, b = x.iloc[:, : SLICE[0]], y.iloc[:, : SLICE[1]]
    from scipy import stats

    _, sliced = cpu(lambda: spearman(a, b, threads=1))
    _, matrix = cpu(lambda: stats.spearmanr(a, b))
    _, loop = cpu(lambda: [stats.spearmanr(a.iloc[:, i], b.iloc[:, 0]) for i in range(LOOP)])
    pairs = GENES * METABOLITES
    whole = matrix * pairs / (SLICE[0] * SLICE[1]), loop * pairs / LOOP
    true = (hits.table["x"].str[1:] == hits.table["y"].str[1:]).sum()
    print(
        f"| {'half of the values 0' if ties else 'untied'} | {hits.n_tests:,} | {hits.n_hits:,} ({true} planted) | "
        f"{seconds:.1f} | {gib:.2f} | {one:.1f} ({len(ranked):,}) | {matrix / sliced:.1f} | {whole[0]:,.0f} | "
        f"{whole[0] / seconds:,.0f} | {whole[1]:,.0f} | {whole[1] / seconds:,.0f} |"
    )


if __name__ == "__main__":
    if sys.argv[1:]:
        measured(sys.argv[1] == "ties")
    else:
        print(
            "scipy's seconds for all pairs, and the ratios to them, are extrapolated; the ratio on the slice is not.\n"
        )
        print(
            "| ranks | pairs | hits | CPU s | GiB | one target, s (genes) | scipy's matrix form on the slice: ratio | "
            "for all, s | ratio | scipy's loop for all, s | ratio |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        for kind in ("untied", "ties"):
            subprocess.run([sys.executable, __file__, kind], check=True)
