"""How far approximations of the null of Spearman's rho are off in the tail; the ratios that the docs name.

    python benchmarks/spearman_tails.py

1. n = 21, no ties: Student's t and the Edgeworth series of AS 89 against the table of all 21! orders, and the continued
   ratio of Isthmus fitted on n = 12..18.
2. Groups taken out of ranks: how often chance reaches what a null calls p. Groups of three (and four) differ in their
   means in both features and no pair is linked; values within groups are exponential.
"""

import numpy as np
from scipy import stats
from scipy.special import ndtr

from isthmus.associate import null as tails

N = 21
LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)


def edgeworth(rho, n):
    """Upper tail by AS 89 (Best & Roberts 1975), doubled."""
    c = (0.2274, 0.2531, 0.1745, 0.0758, 0.1033, 0.3932, 0.0879, 0.0151, 0.0072, 0.0831, 0.0131, 4.6e-4)
    b, squares = 1 / n, n * (n * n - 1) * (1 - rho) / 6
    x = (1 - 6 * (squares + 1) * b / (n * n - 1)) * np.sqrt(1 / b - 1)
    y = x * x
    last = c[6] + c[7] * b - y * (c[8] - c[9] * b + y * b * (c[10] - c[11] * y))
    u = x * b * (c[0] + b * (c[1] + c[2] * b) + y * (-c[3] + b * (c[4] + c[5] * b) - y * b * last))
    return 2 * np.clip(u / np.exp(y / 2) + ndtr(-x), 0, 1)


def table_of_21():
    exact, student = tails.exact_p(N), tails.t_null(N - 2)
    print("| rho | exact p | Student's t / exact | Edgeworth / exact | continued from n = 12..18 / exact |")
    print("|---|---|---|---|---|")
    tails._ratio.cache_clear()
    largest, tails.LARGEST_TABLE = tails.LARGEST_TABLE, 18
    for wanted in (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95):
        rho = np.array([1 - 2 * np.round((1 - wanted) / 2 * 1540) / 1540])
        p = exact.p(rho)[0]
        half = 6 / (N * (N * N - 1))
        continued = student.p(rho - half)[0] * tails.tail_ratio(rho - half, N)[0]
        others = student.p(rho)[0] / p, edgeworth(rho, N)[0] / p
        print(f"| {rho[0]:.3f} | {p:.3g} | {others[0]:.2f} | {others[1]:.2f} | {continued / p:.3f} |")
    tails.LARGEST_TABLE = largest
    tails._ratio.cache_clear()
    print("\n| called at p <= | by chance, Student's t | in excess |\n|---|---|---|")
    counts = tails.exact_counts(N)
    grid = 1 - 2 * np.arange(len(counts)) / (len(counts) - 1)
    for level in LEVELS:
        share = (counts / counts.sum())[student.p(np.abs(grid)) <= level].sum()
        print(f"| {level:g} | {share:.3g} | {100 * (share / level - 1):.0f} % |")


def within_groups(n, groups, rounds=40, features=400):
    """Chance's share beyond what t, free and within-group permutation of the residuals call p."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(groups), n // groups)
    basis = (label[:, None] == np.arange(groups)) / np.sqrt(n / groups)

    def unit(v):
        v = v - basis @ (basis.T @ v)
        return v / np.linalg.norm(v, axis=0)

    def ranks():
        values = 3 * rng.normal(size=(groups, features))[label] + rng.exponential(size=(n, features))
        return unit(stats.rankdata(values, axis=0) - (n + 1) / 2)

    def within():
        return np.concatenate([rng.permutation(np.flatnonzero(label == g)) for g in range(groups)])

    kinds = {"seen": [], "free": [], "within": []}
    for _ in range(rounds):
        a, b = ranks(), ranks()
        for kind, x in (("seen", a), ("free", unit(a[rng.permutation(n)])), ("within", a[within()])):
            kinds[kind].append(np.abs(x.T @ b).ravel())
    seen, free, inside = (np.concatenate(v) for v in kinds.values())
    df = n - groups - 1
    for level in LEVELS:
        t = stats.t.isf(level / 2, df)
        cuts = t / np.sqrt(df + t * t), np.quantile(free, 1 - level), np.quantile(inside, 1 - level)
        print(f"| {n} | {groups} | {level:g} | " + " | ".join(f"{(seen >= c).mean() / level:.2f}" for c in cuts) + " |")


if __name__ == "__main__":
    print(f"n = {N}, no ties\n")
    table_of_21()
    print("\nGroups taken out: chance's share beyond what is called p, as a multiple of p\n")
    print("| n | groups | p | Student's t | permuted freely, design taken out again | permuted within groups |")
    print("|---|---|---|---|---|---|")
    within_groups(21, 7)
    within_groups(40, 10)
