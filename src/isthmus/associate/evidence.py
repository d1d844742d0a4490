r"""One table of all evidence for an association: every line's own values, and a combined rank with its weights.

Every line ranks the pairs; ranks are normalised to 1 (best) .. 0 and averaged by weight (Borda's count, weighted; de
Borda 1781, and for lists of genes Kolde et al. 2012, doi:10.1093/bioinformatics/btr709, whose test of such ranks needs
independent lists). Lines from the same samples are anything but independent, so that Fisher's or Stouffer's
combination of their p-values would count the same evidence several times. The combined p-value is therefore Cauchy's
(Liu & Xie 2020, doi:10.1080/01621459.2018.1554485), which holds under dependence for small p:

.. math:: p = \tfrac12 - \pi^{-1} \arctan \sum_i w_i \tan((\tfrac12 - p_i) \pi), \quad \textstyle\sum_i w_i = 1,

over the lines that have p-values. A pair that a line does not list was beaten there by all that it lists: it shares the
last rank, and its p-value counts as 1, which like every other is bounded by 1 - 1 / (number of lines with p-values).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from isthmus.errors import DataError, RecipeError, closest

__all__ = ["evidence"]

SCORES = ("score", "frequency", "rho")
"""Columns of a line's strength where it has no p; among equal p the first of them decides."""
RESERVED = ("x", "y", "rank", "combined", "p", "lines")
LEAST_P = 1e-300


def evidence(lines: Mapping[str, pd.DataFrame], *, weights: Mapping[str, float | int] | None = None) -> pd.DataFrame:
    """Combine lines of evidence.

    Parameters
    ----------
    lines
        Name to a table with a row per pair: `x`, `y`, and `p` (smaller is stronger), or `score`, `frequency` (larger is
        stronger) or `rho` (larger in size); a value may be missing, which counts as not listed.
    weights
        Of some or all lines; 1 where none is given. They need not sum to 1.

    Returns
    -------
    pandas.DataFrame
        A row per pair that any line lists, the best first: `x`, `y`, `rank` (1 is best; equals share the smallest),
        `combined` (weighted mean of normalised ranks, 0..1), `p` (where a line has p-values), `lines` (how many list
        it), and per line `<name>` (its score, or p), `<name> p` (where it has both) and `<name> rank` (normalised).
        `.attrs["weights"]` holds the weights as shares of their sum.

    Raises
    ------
    DataError
        There is no line, a column is missing, a pair occurs twice, or a p-value is outside 0..1.
    RecipeError
        A weight is negative or of no line, or all are 0.
    """
    if not lines:
        raise DataError("there is no line of evidence", where="evidence")
    if taken := [name for name in lines if name in RESERVED]:
        raise DataError("is a column of the table itself: no name of a line", where="evidence", met=taken[0])
    shares = _shares(sorted(lines), weights or {})
    read = {name: _read(table, name) for name, table in sorted(lines.items())}
    pairs = pd.MultiIndex.from_tuples(sorted(set().union(*(t.index for t in read.values()))), names=["x", "y"])
    read = {name: table.reindex(pairs) for name, table in read.items()}
    ranks = {name: _normalised(table) for name, table in read.items()}
    combined = sum((shares[name] * r for name, r in ranks.items()), np.zeros(len(pairs)))
    out = pd.DataFrame({"x": pairs.get_level_values(0), "y": pairs.get_level_values(1)})
    out["rank"] = pd.Series(-combined).round(12).rank(method="min").astype(int)
    out["combined"] = combined
    if any("p" in t for t in read.values()):
        out["p"] = _cauchy({k: t["p"].to_numpy() for k, t in read.items() if "p" in t}, shares)
    out["lines"] = sum(t.notna().any(axis=1).astype(int).to_numpy() for t in read.values())
    for name in lines:
        table = read[name]
        if (score := next((c for c in SCORES if c in table), None)) is not None:
            out[name] = table[score].to_numpy()
        if "p" in table:
            out[name if score is None else f"{name} p"] = table["p"].to_numpy()
        out[f"{name} rank"] = ranks[name]
    out = out.sort_values(["rank", "x", "y"], kind="stable", ignore_index=True)
    out.attrs["weights"] = {name: shares[name] for name in lines}
    return out


def _shares(names: list[str], weights: Mapping[str, float | int]) -> dict[str, float]:
    """Weights that sum to 1."""
    for name, value in weights.items():
        if name not in names:
            raise RecipeError("is no line of evidence", where="weights", met=name, hint=closest(name, names))
        if not (np.isfinite(value) and value >= 0):
            raise RecipeError("is no weight", where=f"weights.{name}", met=value, wanted="0 or more")
    full = {name: float(weights.get(name, 1.0)) for name in names}
    total = sum(full.values())
    if total <= 0:
        raise RecipeError("are all 0", where="weights", wanted="one above 0")
    return {name: value / total for name, value in full.items()}


def _read(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The columns that count, by pair."""
    if missing := [c for c in ("x", "y") if c not in table]:
        raise DataError("lacks a column", where=f"evidence {name!r}", met=missing[0], wanted="x and y")
    columns = [c for c in ("p", *SCORES) if c in table]
    if not columns:
        raise DataError("says nothing of its pairs", where=f"evidence {name!r}", met=list(table.columns),
                        wanted=f"p, {', '.join(SCORES)}")  # fmt: skip
    values = table[columns].astype(np.float64)
    values.index = pd.MultiIndex.from_arrays([table["x"].astype(str), table["y"].astype(str)], names=["x", "y"])
    if values.index.has_duplicates:
        twice = values.index[values.index.duplicated()][0]
        raise DataError("has a pair twice", where=f"evidence {name!r}", met=" - ".join(map(str, twice)))
    if "p" in values and not values["p"].dropna().between(0, 1).all():
        raise DataError("has p-values outside 0..1", where=f"evidence {name!r}")
    return values


def _normalised(table: pd.DataFrame) -> np.ndarray:
    """1 for the strongest pair, 0 for the weakest; equals share their mean rank, what is not listed comes last."""
    score = next((c for c in SCORES if c in table), None)
    size = table[score].abs() if score == "rho" else None if score is None else table[score]
    keys = pd.DataFrame(index=table.index)
    if "p" in table:
        keys["p"] = table["p"].fillna(np.inf)
    if size is not None:
        keys["score"] = -size.fillna(-np.inf)
    # places: equal rows share a number, and numbers rise from the strongest to the weakest
    place = keys.groupby(list(keys.columns), sort=True).ngroup()
    rank = place.rank(method="average").to_numpy()
    n = len(rank)
    return np.asarray((n - rank) / (n - 1)) if n > 1 else np.ones(n)


def _cauchy(p: Mapping[str, np.ndarray], shares: Mapping[str, float]) -> np.ndarray:
    """Cauchy's combination, weighted; for tiny p by its limit, which keeps what the tangent would round away."""
    total = sum(shares[name] for name in p)
    if total <= 0:
        return np.full(len(next(iter(p.values()))), np.nan)
    most = 1 - 1 / len(p) if len(p) > 1 else 1.0
    parts = []
    for name, values in p.items():
        bounded = np.clip(np.where(np.isnan(values), 1.0, values), LEAST_P, most)
        cotangent = np.where(bounded < 1e-8, 1 / (bounded * np.pi), np.tan((0.5 - bounded) * np.pi))
        parts.append(shares[name] / total * cotangent)
    t = np.sum(parts, axis=0)
    with np.errstate(divide="ignore"):
        return np.where(t > 1e8, 1 / (np.pi * np.where(t > 1e8, t, 1.0)), 0.5 - np.arctan(t) / np.pi)
