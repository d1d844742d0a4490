"""The tables of a bundle: scores of few samples left out, counts suppressed and rounded, names replaced.

A table that is not known here is left out, and so is a column of text that says anything but our own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from isthmus.share.canary import NUMBER, vocabulary
from isthmus.share.cells import rounded, suppressed
from isthmus.share.harmless import message
from isthmus.share.house import House
from isthmus.share.policy import Policy
from isthmus.share.renaming import Renamer
from isthmus.share.rounding import DECIMALS, coarse

__all__ = ["PERSONAL", "counted", "metrics", "of_few", "tables"]

KNOWN = (
    "reconstruction", "by_feature", "benchmark", "clustering", "translation", "translation_by_feature",
    "label_transfer", "alignment", "latent", "subsets", "disentanglement", "robustness", "dimensions", "preparation",
)  # fmt: skip
"""Tables of scores; those of counts are made anew."""
RARE = "(rare levels)"
ROWS = "a row a sample"
PERSONAL = {
    "points": ROWS, "split": ROWS, "images": ROWS, "attention": ROWS, "predictions": ROWS, "risk": ROWS,
    "survival": "times of events, which are those of samples, and scores of heads",
}  # fmt: skip
"""How the names of tables begin that tell of single samples, and why they are left out. What follows is a name."""
SIZES = ("n", "n_samples", "n_train", "n_test", "samples")
"""Columns that say from how many samples a row was computed."""
MOST_CLASSES = 10
"""Numbers with more distinct values are no classes (see `isthmus.evaluate.probes`)."""
LABELLED = ("label", "head", "column", "confounder", "covariate", "target")
COMBINED = {"subsets": "subset", "alignment": "alignment", "translation": "translation"}
"""Tables of scores by combination of modalities, and how their scores' names begin."""
STRUCTURE = frozenset(
    ("reconstruction", "embedding", "clustering", "translation", "latent", "alignment", "disentanglement", "head",
     "robustness", "baseline", "confounding", "survival", "train", "valid", "test", "all", "pca", "mean", "raw",
     "random_features")
)  # fmt: skip
"""Parts of the names of scores that are never a column of obs, whatever its name."""
GONE = ("n_entries", "n_features_constant")
EXACT = "privacy/"
"""How scores begin that follow from settings alone; rounded, a budget could say too little."""


def tables(renamer: Renamer, policy: Policy) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """The tables of scores, and why others are left out, by kind: their own names may be those of columns."""
    house, made, left = renamer.house, {}, {}
    few = of_few(house, policy)
    for path in sorted((house.folder / "tables").glob("*.csv")):
        if path.stem in ("cohort", "combinations", "splits") or path.stem.startswith("summary_"):
            continue
        kind = next((k for k in PERSONAL if path.stem.startswith(k)), "")
        if kind:
            left[f"tables/{kind}"] = PERSONAL[kind]
        elif path.stem not in KNOWN:
            left["tables/ of other kinds"] = "not known to hold no person's data"
        else:
            made[path.stem] = _coarse(_clean(house.table(path.stem), renamer, policy), few)
    return {k: v for k, v in made.items() if len(v) and v.shape[1]}, left


def _clean(table: pd.DataFrame, renamer: Renamer, policy: Policy) -> pd.DataFrame:
    table = table.drop(columns=[c for c in GONE if c in table])
    if "label" in table:
        shared = [c for c, n in renamer.columns.items() if c == n]
        table = table[table["label"].isna() | table["label"].astype(str).isin(shared)]
    for column in [c for c in SIZES if c in table]:
        table = table[table[column].isna() | (table[column] >= policy.smallest_cell)]
        sizes = table[column].to_numpy(dtype=float)
        table = table.assign(**{column: _printed(np.nan_to_num(sizes), np.isnan(sizes), policy.rounding)})
    if "feature" in table:
        where = next((c for c in ("modality", "target") if c in table), None)
        if where is None:
            return table.iloc[:0]
        pairs = zip(table[where].astype(str), table["feature"].astype(str), strict=True)
        table = table.assign(feature=[renamer.feature(m, f) for m, f in pairs])
    return _own_words(table, renamer, policy).reset_index(drop=True)


def _own_words(table: pd.DataFrame, renamer: Renamer, policy: Policy) -> pd.DataFrame:
    """Without columns of text that is not ours."""
    public = {*renamer.house.modalities, *policy.kept}
    for column in [c for c in table.columns if c != "feature" and not pd.api.types.is_numeric_dtype(table[c])]:
        if column == "message":
            table = table.assign(message=table[column].map(lambda v: message(v) if isinstance(v, str) else v))
            continue
        texts = table[column].map(lambda v: v if not isinstance(v, str) else v if v in public else renamer.said(v))
        if not texts.equals(table[column]):
            table = table.drop(columns=column)
    return table


def of_few(house: House, policy: Policy) -> set[str]:
    """Labels and heads whose scores stay: in some part a class has some samples, but fewer than `smallest_cell`."""
    heads = dict(house.stored.description["recipe"].get("heads") or {})
    classed = {keys.get("column", head) for head, keys in heads.items() if keys.get("kind") == "class"}
    small = {str(c) for c in house.obs if _few(house.obs[c], house.parts, policy.smallest_cell, classed=c in classed)}
    table = house.table("benchmark")
    for column in [c for c in SIZES if c in table and "label" in table]:
        small |= set(table.loc[table[column] < policy.smallest_cell, "label"].dropna().astype(str))
    return small | {head for head, keys in heads.items() if keys.get("column", head) in small}


def _few(values: pd.Series, parts: pd.Series, smallest: int, *, classed: bool) -> bool:
    values = values.dropna()
    number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if number and values.nunique() > MOST_CLASSES and not classed:
        return False
    counts = pd.crosstab(values.astype(str), parts.reindex(values.index)).to_numpy()
    return bool(((counts > 0) & (counts < smallest)).any())


def _coarse(table: pd.DataFrame, few: set[str]) -> pd.DataFrame:
    """A table of scores to two decimals, without rows of labels that have a class of few samples."""
    for column in [c for c in LABELLED if c in table]:
        table = table[[few.isdisjoint(str(v).split("|")) for v in table[column]]]
    scores = [c for c in table.columns if pd.api.types.is_float_dtype(table[c])]
    return table.assign(**{c: table[c].round(DECIMALS) for c in scores}).reset_index(drop=True)


def metrics(flat: Mapping[str, Any], renamer: Renamer, policy: Policy) -> dict[str, Any]:
    """Scores to two decimals, without counts and those of denied columns, of classes or combinations of few samples."""
    house, few = renamer.house, of_few(renamer.house, policy)
    small = {word for kind, word in COMBINED.items() if _any_few(house.table(kind), policy.smallest_cell)}
    denied = {c for c, n in renamer.columns.items() if c != n} - set(renamer.house.modalities)
    words = vocabulary() | {*renamer.house.modalities, *renamer.kept}

    def told(key: str) -> bool:
        parts = key.split("/")
        if not small.isdisjoint(parts[:3]) or any(
            not few.isdisjoint((p, *p.split("|"))) and p not in STRUCTURE for p in parts
        ):
            return False
        if any(p in denied and p not in STRUCTURE for p in parts) or any(p.startswith("n_") or p == "n" for p in parts):
            return False
        return all(p in words or NUMBER.fullmatch(p) or renamer.said(p) == p for p in parts)

    return {k: v if k.startswith(EXACT) else coarse(v) for k, v in flat.items() if told(k)}


def _any_few(table: pd.DataFrame, smallest: int) -> bool:
    return any(bool((table[c] < smallest).any()) for c in SIZES if c in table)


def counted(house: House, shared: pd.DataFrame, policy: Policy) -> tuple[dict[str, pd.DataFrame], dict[str, int]]:
    """Tables of counts with small ones suppressed, and how many cells were.

    Parameters
    ----------
    house
        The run.
    shared
        The columns that are shared, of all samples, or of those that are shared by themselves.
    policy
        Smallest count, rounding.
    """
    made = {"splits": _splits(house), "combinations": house.table("combinations"), "cohort": _cohort(house)}
    sums: dict[str, np.ndarray] = {"splits": np.ones((1, len(made["splits"])))}
    sums["combinations"] = _presence(made["combinations"], made["cohort"])
    for number, column in enumerate(shared.columns):
        name = f"levels_{number + 1}"
        made[name], sums[name] = _levels(
            shared[column], house.parts.reindex(shared.index), smallest=policy.smallest_cell
        )
    hidden = {}
    for name, table in made.items():
        if "samples" not in table or name == "cohort" or table.empty:
            continue
        counts = table["samples"].to_numpy(dtype=np.int64)
        away = suppressed(counts, sums[name], policy.smallest_cell)
        made[name] = table.assign(samples=_printed(counts, away, policy.rounding))
        hidden[name] = int(away.sum())
    made["cohort"], hidden["cohort"] = _cohort_told(made["cohort"], len(house.samples), policy)
    return {k: v for k, v in made.items() if len(v)}, hidden


def _printed(counts: np.ndarray, away: np.ndarray, base: int) -> Any:
    """Rounded counts; what is taken away is missing."""
    return pd.Series(rounded(counts, base).astype(np.int64), dtype="Int64").mask(np.asarray(away)).array


def _splits(house: House) -> pd.DataFrame:
    sizes = house.parts.value_counts(sort=False).sort_index()
    return pd.DataFrame({"split": sizes.index.astype(str), "samples": sizes.to_numpy()})


def _cohort(house: House) -> pd.DataFrame:
    table = house.table("cohort")
    return table.drop(columns=[c for c in ("missing share",) if c in table])


def _cohort_told(table: pd.DataFrame, n: int, policy: Policy) -> tuple[pd.DataFrame, int]:
    """Samples a modality; not told where few have it, or few lack it."""
    if "samples" not in table:
        return table, 0
    counts = table["samples"].to_numpy(dtype=np.int64)
    away = ((counts > 0) & (counts < policy.smallest_cell)) | ((n - counts > 0) & (n - counts < policy.smallest_cell))
    return table.assign(samples=_printed(counts, away, policy.rounding)), int(away.sum())


def _presence(combinations: pd.DataFrame, cohort: pd.DataFrame) -> np.ndarray:
    """The totals that a reader knows of the combinations of modalities: all, and of each modality who has it."""
    rows = [np.ones(len(combinations))]
    rows += [
        combinations[m].to_numpy(dtype=float) for m in combinations.columns if m in set(cohort.get("modality", ()))
    ]
    return np.array(rows)


def _levels(values: pd.Series, parts: pd.Series, *, smallest: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Samples of every level of a column by part, and the totals of each; levels of few samples are one."""
    texts = values.astype(object).where(values.notna(), "missing").astype(str)
    sizes = texts.value_counts()
    texts = texts.where(~texts.isin(sizes.index[sizes < smallest]), RARE)
    cross = pd.crosstab(texts, parts.astype(str))
    levels, splits, counts = list(map(str, cross.index)), list(map(str, cross.columns)), cross.to_numpy()
    rows = [
        {"column": values.name, "level": a, "split": b, "samples": int(counts[i, j])}
        for i, a in enumerate(levels)
        for j, b in enumerate(splits)
    ]
    table = pd.DataFrame(rows, columns=["column", "level", "split", "samples"])
    known = [
        np.ones(len(table)),
        *((table["level"] == a) for a in levels),
        *((table["split"] == b) for b in splits),
    ]
    return table, np.array([np.asarray(k, dtype=float) for k in known])
