"""What an imputation came to, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anndata as ad
import numpy as np
import pandas as pd

from isthmus.errors import listed
from isthmus.impute.choice import BASELINES, FEWEST, counted, of_kind
from isthmus.impute.downstream import ORIGINAL, SOURCE, summary
from isthmus.impute.filling import ENTRIES, ROWS
from isthmus.imputing.recipe import Imputing
from isthmus.imputing.study import Study

__all__ = ["unfilled", "verdict"]


def verdict(studies: Sequence[Study], lacks: pd.DataFrame, keys: Imputing) -> list[str]:
    """Baselines that win first; then what fills what, how well, how sure, and what a classifier makes of it."""
    said: list[str] = []
    ahead: list[str] = []
    rows = lacks.set_index("modality").loc[[s.target for s in studies]]
    for s in studies:
        for kind in _kinds(s, pd.Series(rows.loc[s.target])):
            text = _choice(s, kind) + _covered(s, kind, keys.level)
            (ahead if s.choices[kind].method in BASELINES else said).append(text)
            said += _downstream(s, kind, keys)
    gaps = [f"{m}: {_gap(r)}" for m, r in rows.iterrows()]
    return [*ahead, *said, f"What is missing: {'; '.join(gaps)}."]


def unfilled(filled: Mapping[str, ad.AnnData]) -> list[str]:
    """Features that keep their gaps, by modality: nothing of them was ever observed, or a filter dropped them."""
    said = []
    for name, adata in filled.items():
        left = adata.var_names[np.isnan(adata.X).any(axis=0)]
        if len(left):
            keep = f"{len(left):,} features keep" if len(left) > 1 else "1 feature keeps"
            whose = "their gaps, never observed or dropped" if len(left) > 1 else "its gaps, never observed or dropped"
            said.append(f"In {name} {keep} {whose} by prepare: {listed(left)}.")
    return said


def _gap(row: pd.Series) -> str:
    parts = []
    if row["absent"]:
        parts.append(f"{row['absent']:,} of {row['samples']:,} samples lack it")
    if row["missing"]:
        whose = "the entries of the others" if row["absent"] else "its entries"
        parts.append(f"{100 * row['missing'] / max(row['entries'], 1):.2g} % of {whose}")
    return ", ".join(parts) or "nothing"


def _choice(s: Study, kind: str) -> str:
    choice = s.choices[kind]
    rows = choice.table.set_index("method")
    what = f"samples without {s.target}" if kind == ROWS else f"missing entries of {s.target}"
    scores = counted(of_kind(s.scores, kind))
    r2 = scores[scores["method"] == choice.method]["r2"]
    told = f"R² {r2.mean():.3f} (sd {r2.std(ddof=0):.3f})" if r2.notna().any() else "no R², since nothing varies,"
    text = f"For {what} {choice.method} is taken: {told} over what was hidden"
    if choice.method == choice.best:
        second = next((m for m in rows.index if m != choice.best), None)
        rest = "" if second is None else f", {_mse(rows['mse'], choice.method, second)} of {second}"
        return f"{text}{rest}."
    return (
        f"{text}. {choice.best} has the smaller error ({_mse(rows['mse'], choice.best, choice.method)}), which is "
        f"within the spread over {choice.n} folds, so the simpler one stands."
    )


def _mse(errors: pd.Series, one: str, other: str) -> str:
    """Two errors to three digits, or to as many as tell them apart (at most six)."""
    texts = ([f"{float(errors.loc[m]):.{digits}g}" for m in (one, other)] for digits in range(3, 7))
    a, b = next((pair for pair in texts if pair[0] != pair[1]), (f"{float(errors.loc[one]):.3g}",) * 2)
    return f"MSE {a} against {b}"


def _covered(s: Study, kind: str, level: float) -> str:
    rows = of_kind(s.scores, kind)
    rows = rows[rows["method"] == s.choices[kind].method]
    if "coverage" not in rows or rows["coverage"].isna().all():
        return " How much its intervals hold was not tried: folds have too few training samples to set any aside."
    n, held = int(rows.loc[rows["coverage"].notna(), "n_entries"].sum()), 100 * rows["coverage"].mean()
    if n < FEWEST:
        return f" How much its intervals hold cannot be said of {n} hidden {'value' if n == 1 else 'values'}."
    return f" Its {100 * level:g} % intervals held {held:.1f} % of {n:,} hidden values."


def _kinds(s: Study, lack: pd.Series) -> list[str]:
    """The kinds of gap that there really are; all that were scored where there is none."""
    real = {ROWS: bool(lack["absent"]), ENTRIES: bool(lack["missing"])}
    return [k for k in s.choices if real[k]] or list(s.choices)


def _downstream(s: Study, kind: str, keys: Imputing) -> list[str]:
    if keys.downstream is None or not s.downstream:
        return []
    every, method = pd.concat(s.downstream, ignore_index=True), s.choices[kind].method
    rows = summary(every[(every["kind"] == kind) & (every["metric"].isin(["accuracy", "r2"]))])
    if rows.empty:
        return [f"{keys.downstream.label} is not predicted: no fold has two classes with enough samples of each."]
    learner = str(rows["learner"].iloc[-1])
    of = rows[rows["learner"] == learner].set_index("values")["mean"]
    if method not in of.index:
        return [f"{method} reads {keys.downstream.label} to fill {s.target}, so that it is not asked to predict it."]
    score = "accuracy" if rows["metric"].iloc[0] == "accuracy" else "R²"
    text = (
        f"{keys.downstream.label} is told ({learner}) with {score} {of[method]:.3f} from {s.target} as filled"
        f"{' for whole samples' if kind == ROWS else ''}, {of[ORIGINAL]:.3f} from the original"
    )
    if SOURCE in of.index:
        text += f", {of[SOURCE]:.3f} from the other modalities alone"
        if of[SOURCE] > of[ORIGINAL]:
            text += ": a gain over the original says nothing about the imputation"
    return [f"{text}."]
