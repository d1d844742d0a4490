"""Does a graph network tell better than |rho| which associations replicate? Planted cohorts and a real one.

    python benchmarks/graph_refinement.py [planted|real|large]

planted: two kinds of cohort, three draws each. In `blocks` ten factors stand behind 20 and 10 features each, so that
neighbours tell more than a correlation does; in `couples` every feature has one partner at most, so that |rho| is all
there is. real: 20 cell lines of the NCI-60, 1,448 genes and 257 metabolites, read from ${ISTHMUS_DATA:-../shared/data}
(its README names the source). large: 21 samples, 132,129 genes and 6,980 metabolites of noise and blocks; time and
memory.
"""

import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from isthmus.associating.graph import GraphSettings, refine

DATA = Path(os.environ.get("ISTHMUS_DATA", Path(__file__).parents[1] / "../shared/data"))


def frames(a, b):
    ids = [f"s{i}" for i in range(len(a))]
    return pd.DataFrame(a, ids, [f"g{i}" for i in range(a.shape[1])]), pd.DataFrame(
        b, ids, [f"m{i}" for i in range(b.shape[1])]
    )


def blocks(seed, n=40, k=10, sizes=(20, 10), noise=(1000, 200), load=0.7):
    rng = np.random.default_rng(seed)
    factors, parts = rng.normal(size=(n, k)), []
    for size, more in zip(sizes, noise, strict=True):
        loads = load * rng.choice([-1, 1], size=(k, size))
        values = (factors[:, :, None] * loads).reshape(n, -1) + np.sqrt(1 - load**2) * rng.normal(size=(n, k * size))
        parts.append(np.hstack([values, rng.normal(size=(n, more))]).astype(np.float32))
    return frames(*parts)


def couples(seed, n=60, many=200, noise=(400, 100)):
    rng = np.random.default_rng(seed)
    shared, load = rng.normal(size=(n, many)), rng.uniform(0.3, 0.95, many)
    parts = [
        np.hstack([shared * load + np.sqrt(1 - load**2) * rng.normal(size=shared.shape), rng.normal(size=(n, m))])
        for m in noise
    ]
    return frames(*parts)


def nci60():
    folder = DATA / "nci60_expr_metab"
    x, y = (pd.read_csv(folder / f"{name}.csv.gz", index_col=0) for name in ("expression", "metabolites"))
    groups = pd.read_csv(folder / "cell_lines.csv", index_col=0)
    column = next(c for c in groups if groups[c].dtype == object and groups[c].nunique() == 2)
    return x, y, groups[column]


def told(name, x, y, **options):
    started = time.process_time()
    found = refine(x, y, **options)
    seconds = time.process_time() - started
    print(f"\n### {name}: {seconds:.0f} CPU-seconds, earned: {'yes' if found.earned else 'no'}\n")
    print("| ranking | AUC | average precision | AUC less that of \\|rho\\| | Brier | AUC with negatives |")
    print("|---|---|---|---|---|---|")
    for row in found.judgement.to_dict("records"):
        cells = [f"{row[k]:.3f} ({row[f'{k}_low']:.3f} to {row[f'{k}_high']:.3f})" for k in ("auc", "ap", "gain")]
        label = row["ranking"].replace("|", "\\|")
        print(f"| {label} | {' | '.join(cells)} | {row['brier']:.3f} | {row['auc_all']:.3f} |")
    print("\n" + "\n".join(found.words), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    asked = sys.argv[1:] or ["planted", "real", "large"]
    if "planted" in asked:
        for seed in range(3):
            told(f"blocks, draw {seed}", *blocks(seed))
            told(f"couples, draw {seed}", *couples(seed))
    if "real" in asked:
        x, y, groups = nci60()
        told("NCI-60, groups left in", x, y)
        told("NCI-60, leukaemia against the others taken out", x, y, design=groups)
    if "large" in asked:
        x, y = blocks(0, n=21, k=40, sizes=(50, 20), noise=(130_129, 6_180), load=0.9)
        told("132,129 x 6,980, n = 21, no controls", x, y, settings=GraphSettings(controls=False, seeds=1))
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
