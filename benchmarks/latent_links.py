"""Latent-mediated scores against direct correlations, and what a null by permuted samples alone lets through.

    python benchmarks/latent_links.py

Two tables of 200 and 80 features: the first 30 and 20 share one factor or two, further ones have factors of their own,
the rest is noise. `spread` is the standard deviation of the shared signal, that of the noise is 1: 0.5 is a link that a
pair alone barely shows. Part one: area under the curve of linked against other pairs. Part two: false discovery rate
and power at q <= 0.05. Every number is a mean over 20 cohorts; how often direct |rho| wins stands beside.
"""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import roc_auc_score

from isthmus.associate import spearman
from isthmus.associate.latent import Cross, Embedded
from isthmus.associate.refits import permuted, scored, tied
from isthmus.associating.latent import latent_links
from isthmus.associating.latent_keys import LatentSettings

P, Q, LINKED, OWN, COHORTS = 200, 80, (30, 20), (60, 30), 20
SETTINGS = [(21, 1, 0.5), (21, 1, 1.0), (21, 2, 1.0), (60, 1, 0.5), (60, 2, 1.0), (200, 1, 0.5), (200, 2, 1.0)]
FITTED = [(21, 1, 1.0), (60, 2, 1.0), (200, 1, 0.5)]
"""Where networks are fitted, too."""
NETWORKS = {
    "dual linear": ("dual", {"name": "autoencoder", "latent": 8, "hidden": []}),
    "dual": ("dual", {"name": "autoencoder", "latent": 8}),
    "joint": ("joint", {"name": "autoencoder", "latent": 8}),
}


def cohort(n, shared, spread, seed):
    rng = np.random.default_rng(seed)
    factors, ids, frames = rng.normal(size=(n, shared)), [f"s{i}" for i in range(n)], []
    truth = np.ones((P, Q))
    for letter, width, linked, own in zip("gm", (P, Q), LINKED, OWN, strict=True):
        x = rng.normal(size=(n, width))
        weights = rng.choice([-1.0, 1.0], size=(shared, linked)) / np.sqrt(shared)
        x[:, :linked] += spread * factors @ weights
        x[:, linked : linked + own] += rng.normal(size=(n, 2)) @ rng.normal(size=(2, own))
        frames.append(pd.DataFrame(x, ids, [f"{letter}{j}" for j in range(width)]))
        truth = truth if letter == "m" else weights
    linked = np.zeros((P, Q), dtype=bool)
    linked[: LINKED[0], : LINKED[1]] = np.abs(truth.T @ weights) > 0 if shared > 1 else True
    return *frames, linked


def square(table, column, x, y):
    return table.pivot(index="x", columns="y", values=column).loc[x.columns, y.columns].to_numpy()


def components(frame, k=8):
    x = ((frame - frame.mean()) / frame.std()).to_numpy()
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    return Embedded(u[:, :k] * s[:k], vt[:k].T, np.ones(x.shape[1]))


def areas(n, shared, spread):
    rows = []
    for seed in range(COHORTS):
        x, y, linked = cohort(n, shared, spread, seed)
        row = {"direct": np.abs(square(spearman(x, y, fdr=1, threads=1).table, "rho", x, y))}
        found = Cross(components(x), components(y)).factors()
        row["components"] = np.abs(found.left @ found.right.T)
        for name, (mode, model) in NETWORKS.items() if (n, shared, spread) in FITTED else ():
            settings = LatentSettings(mode=mode, model=model, seeds=1, refits=0, top=P * Q)
            links = latent_links(x, y, settings=settings, threads=1)
            row[name] = np.abs(square(links.table, "score", x, y))
        rows.append({k: roc_auc_score(linked.ravel(), v.ravel()) for k, v in row.items()})
    return pd.DataFrame(rows)


def discoveries(n, shared, spread):
    rows = []
    for seed in range(COHORTS):
        x, y, linked = cohort(n, shared, spread, seed)
        may = np.zeros_like(linked)
        may[: LINKED[0], : LINKED[1]] = shared > 0
        cross = Cross(components(x), components(y), seed=seed)
        orders = permuted(n, 20, seed=seed)
        found = scored(cross.factors, orders, tied(x.to_numpy(), y.to_numpy()), top=P * Q, threads=1)
        direct = square(spearman(x, y, fdr=1).table, "q", x, y)[found.x, found.y]
        alone = [stats.false_discovery_control(p) for p in (found.p_refit, anew(x, y, orders)[found.x, found.y])]
        for name, q in zip(("latent", "permuted", "anew", "direct"), (found.q, *alone, direct), strict=True):
            hit, true = q <= 0.05, (linked & may)[found.x, found.y]
            false = (hit & ~may[found.x, found.y]).sum() / max(hit.sum(), 1)
            rows.append({"by": name, "false": false, "power": (hit & true).sum() / max(true.sum(), 1)})
    return pd.DataFrame(rows).groupby("by", sort=False).mean()


def anew(x, y, orders):
    """p-values of scores where every refit chooses the penalties of its map anew."""
    a, b = components(x), components(y)
    sizes = [np.abs((f := Cross(a, replace(b, z=b.z[order])).factors()).left @ f.right.T) for order in orders]
    real = Cross(a, b).factors()
    null = np.sort(np.concatenate(sizes, axis=None))
    return (1 + len(null) - np.searchsorted(null, np.abs(real.left @ real.right.T))) / (1 + len(null))


def part_one():
    names = ["direct", "components", *NETWORKS]
    print("| n | shared | spread | " + " | ".join(names) + " | direct wins over each |")
    print("|---" * (len(names) + 4) + "|")
    for setting in SETTINGS:
        found = areas(*setting).reindex(columns=names)
        numbers = " | ".join("" if np.isnan(v) else f"{v:.3f}" for v in found.mean())
        wins = [str(int((found["direct"] > found[k]).sum())) for k in names[1:] if found[k].notna().any()]
        row = "| {} | {} | {} | ".format(*setting) + numbers
        print(f"{row} | {', '.join(wins)} of {COHORTS} |", flush=True)


def part_two():
    print(
        "| n | shared | spread | latent: false | power | permutation alone: false | and penalties anew: false | "
        "direct: false | power |"
    )
    print("|---" * 9 + "|")
    for n, shared, spread in [(21, 0, 0.0), (200, 0, 0.0), *SETTINGS]:
        f = discoveries(n, max(shared, 1), spread) if shared else nothing(n)
        print(
            f"| {n} | {shared} | {spread} | {f.loc['latent', 'false']:.3f} | {f.loc['latent', 'power']:.2f} | "
            f"{f.loc['permuted', 'false']:.3f} | {f.loc['anew', 'false']:.3f} | {f.loc['direct', 'false']:.3f} | "
            f"{f.loc['direct', 'power']:.2f} |",
            flush=True,
        )


def nothing(n):
    """No link at all: any hit is false."""
    global LINKED
    LINKED, kept = (0, 0), LINKED
    found = discoveries(n, 1, 0.0)
    LINKED = kept
    return found


if __name__ == "__main__":
    for part in {"one": [part_one], "two": [part_two]}.get("".join(sys.argv[1:]), [part_one, part_two]):
        part()
        print()
