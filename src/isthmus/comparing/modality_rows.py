"""What every modality adds to the prediction of an outcome: rows of one table, from the answers that jobs have left.

A row is somebody's prediction of one head: a model on one combination of modalities (its own head, or a linear one on
its embedding), the same model when it is shown one of its modalities alone, PCA of as many dimensions with a linear
head, clinical columns, the site alone, and what is put together from these: late fusion, the mean over the models of
the single modalities, and clinical + joint, the mean of both. Before the mean, log risks are
standardised by the training samples; probabilities and values are not. Nothing is learnt in putting them together, so
that a row cannot gain by fitting the weights. A sample for which some are missing has the mean of the others.

All rows of a split are scored on the same test samples: those for which every row that is no control says something.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from isthmus.evaluate.arrays import known_mean
from isthmus.evaluate.outcomes import Kind, Outcome, main_metric, scores
from isthmus.evaluate.spread import holm, nadeau_bengio

__all__ = ["CLINICAL", "SITE", "Answered", "answered", "modality_rows", "scored", "unpredicted"]

CLINICAL, SITE, FUSION, BOTH = "clinical", "site alone", "late fusion", "clinical + joint"
OWN, SHOWN = "head", "shown/"
"""The model's own head, shown all of its modalities or one alone; any other reading is linear."""
SPLIT = ["seed", "fold"]
ROWS = [
    "head", "row", "model", "modalities", "reading", "control", "metric", "mean", "sd", "lower", "upper", "n",
    "n_test", "to_joint", "to_joint_lower", "to_joint_upper", "p_joint", "p_joint_adjusted",
    "to_clinical", "to_clinical_lower", "to_clinical_upper", "p_clinical", "p_clinical_adjusted",
]  # fmt: skip


@dataclass(frozen=True)
class Answered:
    """One job's answer to one head.

    `train` and `test` are predictions (m x k, or m) of the samples `train_ids` and `ids`; `outcome` is of the test
    samples, `learnt` of the training samples.
    """

    head: str
    row: str
    model: str
    modalities: tuple[str, ...]
    reading: str
    control: str
    split: tuple[int, int]
    train_ids: pd.Index
    train: np.ndarray
    ids: pd.Index
    test: np.ndarray
    outcome: Outcome
    learnt: Outcome

    @property
    def name(self) -> tuple[str, str, str, str, str]:
        """What stays the same over splits."""
        return self.row, self.model, " + ".join(self.modalities), self.reading, self.control


def answered(about: Mapping[str, Any], value: Mapping[str, Any], whole: Sequence[str]) -> list[Answered]:
    """The answers of a record.

    `about` says `model`, `setting`, `modalities`, `control`, `seed`, `fold`; of rows of obs also `columns` and `heads`.
    """
    made = []
    for head, of in value.get("answers", {}).items():
        kind: Kind = of["kind"]
        outcome = {p: _outcome(of[p], kind, tuple(of["classes"])) for p in ("train", "test")}
        for reading, said in of["readings"].items():
            train, test = (np.asarray(said[p], dtype=float) for p in ("train", "test"))
            made.append(
                Answered(
                    head, _row(about, reading, whole), str(about["setting"]), _read(about, head, reading), reading,
                    str(about["control"]), (int(about["seed"]), int(about["fold"])),
                    pd.Index(of["train"]["ids"], dtype=object), train, pd.Index(of["test"]["ids"], dtype=object), test,
                    outcome["test"], outcome["train"],
                )
            )  # fmt: skip
    return made


def _outcome(of: Mapping[str, Any], kind: Kind, classes: tuple[str, ...]) -> Outcome:
    """What was to be predicted of one part."""
    strata = np.array(of["strata"], dtype=object) if "strata" in of else None
    return Outcome(kind, np.asarray(of["y"], dtype=int if kind == "class" else float), classes, strata)


def _row(about: Mapping[str, Any], reading: str, whole: Sequence[str]) -> str:
    """What a row is called."""
    if about["model"] in (CLINICAL, SITE):
        return str(about["model"])
    if reading.startswith(SHOWN):
        return f"joint, shown {reading.removeprefix(SHOWN)} alone"
    several = len(about["modalities"]) > 1
    joint = several and set(about["modalities"]) == set(whole)
    name = "joint" if joint else " + ".join(about["modalities"])
    return name if reading == OWN else f"{name}, linear"


def _read(about: Mapping[str, Any], head: str, reading: str) -> tuple[str, ...]:
    """What a row is shown: modalities, or columns of obs."""
    if reading.startswith(SHOWN):
        return (reading.removeprefix(SHOWN),)
    if about["model"] not in (CLINICAL, SITE):
        return tuple(about["modalities"])
    return (f"obs: {', '.join(unpredicted(about['columns'], {**about['heads'][head], 'name': head}))}",)


def unpredicted(columns: Sequence[str], head: Mapping[str, Any]) -> list[str]:
    """Columns of obs without those that a head, its `name` among its keys, is to predict."""
    own = {head.get(k) for k in ("name", "column", "time", "event", "censoring")}
    return [c for c in columns if c not in own]


def modality_rows(found: Sequence[Answered], whole: Sequence[str]) -> pd.DataFrame:
    """The table of rows.

    Parameters
    ----------
    found
        Answers of all jobs.
    whole
        The modalities of the joint model.

    Returns
    -------
    DataFrame
        One per head, row, model and reading: `modalities` (`obs: ` and names where columns of obs are read); `mean`,
        `sd` and interval of the head's main score (`metric`: Harrell's C, AUC or R2) over `n` splits of `n_test`
        samples on average; `to_joint`, the row's score minus that of the joint model's own head of the same model (of
        the only one there is, for rows without), and `to_clinical`, minus that of the clinical columns, split by split,
        each with interval and p (corrected resampled t-test) and p adjusted over the rows of a head (Holm).
    """
    runs = scored([*found, *_put_together(found, whole)])
    rows: list[dict[str, Any]] = []
    for head, of in runs.groupby("head", sort=False) if len(runs) else ():
        rows += _of_head(str(head), of, " + ".join(whole))
    table = pd.DataFrame(rows, columns=ROWS)
    for to in ("joint", "clinical"):
        for _, family in table[table["control"] == ""].groupby("head"):
            table.loc[family.index, f"p_{to}_adjusted"] = holm(family[f"p_{to}"].to_numpy(dtype=float))
    return table


def _put_together(found: Sequence[Answered], whole: Sequence[str]) -> list[Answered]:
    """Late fusion, and clinical + joint, of every model, split and head."""
    made: list[Answered] = []
    real = [a for a in found if not a.control]
    for key in dict.fromkeys((a.head, a.split, a.model, a.reading) for a in real if a.reading == OWN):
        same = [a for a in real if (a.head, a.split, a.model, a.reading) == key]
        singles = [a for a in same if len(a.modalities) == 1 and a.modalities[0] in whole]
        joint = [a for a in same if set(a.modalities) == set(whole)]
        clinical = [a for a in real if (a.head, a.split, a.row) == (*key[:2], CLINICAL)]
        if len(singles) == len(whole) > 1:
            made.append(_mean(singles, FUSION, tuple(whole)))
        if joint and clinical:
            read = (*whole, *clinical[0].modalities)
            made.append(replace(_mean([joint[0], clinical[0]], BOTH, read), model=joint[0].model))
    return made


def _mean(members: Sequence[Answered], row: str, modalities: tuple[str, ...]) -> Answered:
    """The mean of predictions, sample by sample."""
    first = members[0]
    test = union([m.ids for m in members])
    train = union([m.train_ids for m in members])
    parts = [_standard(m) for m in members]
    with np.errstate(invalid="ignore"):
        said = [
            known_mean(np.stack([_at(p[k], (m.train_ids, m.ids)[k], ids) for m, p in zip(members, parts, strict=True)]))
            for k, ids in enumerate((train, test))
        ]
    outcome, learnt = (
        _outcomes([(m.ids if which == "outcome" else m.train_ids, getattr(m, which)) for m in members], ids)
        for which, ids in (("outcome", test), ("learnt", train))
    )
    return replace(
        first, row=row, modalities=modalities, train_ids=train, train=said[0], ids=test, test=said[1], outcome=outcome,
        learnt=learnt,
    )  # fmt: skip


def union(indices: Iterable[pd.Index]) -> pd.Index:
    """All ids, in order of first appearance."""
    found: pd.Index = pd.Index(list(dict.fromkeys(i for index in indices for i in index)), dtype=object)
    return found


def _standard(of: Answered) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of train and test; log risks in standard deviations of train."""
    if of.outcome.kind != "survival":
        return of.train, of.test
    sd = float(np.nanstd(of.train))
    mean = float(np.nanmean(of.train))
    return (of.train - mean) / (sd or 1.0), (of.test - mean) / (sd or 1.0)


def _at(values: np.ndarray, ids: pd.Index, wanted: pd.Index) -> np.ndarray:
    """Values in the order of other ids, NaN where there is none."""
    places = ids.get_indexer(wanted)
    made = np.asarray(values, dtype=float)[np.maximum(places, 0)]
    made[places < 0] = np.nan
    return made


def _outcomes(parts: Sequence[tuple[pd.Index, Outcome]], wanted: pd.Index) -> Outcome:
    """The outcome of samples that one or the other part knows."""
    first = parts[0][1]
    y = np.full((len(wanted), *first.y.shape[1:]), -1 if first.kind == "class" else np.nan, dtype=first.y.dtype)
    strata = None if first.strata is None else np.full(len(wanted), "", dtype=object)
    for ids, outcome in parts:
        places = ids.get_indexer(wanted)
        here = places >= 0
        y[here] = outcome.y[places[here]]
        if strata is not None and outcome.strata is not None:
            strata[here] = outcome.strata[places[here]]
    return replace(first, y=y, strata=strata)


def scored(found: Sequence[Answered]) -> pd.DataFrame:
    """A row per answer: its score on the test samples that all rows of its split speak of."""
    rows = []
    for key in dict.fromkeys((a.head, a.split) for a in found):
        same = [a for a in found if (a.head, a.split) == key]
        common = _common([a for a in same if not a.control] or same)
        for a in same:
            here = a.ids.isin(common)
            outcome = a.outcome.take(here)
            metric = main_metric(outcome.kind)
            value = scores(outcome, a.test[here], train=a.learnt)[metric]
            rows.append(
                {"head": a.head, **dict(zip(("row", "model", "modalities", "reading", "control"), a.name, strict=True)),
                 "seed": a.split[0], "fold": a.split[1], "metric": metric, "value": value,
                 "n_train": len(a.train_ids), "n_test": int(outcome.known.sum())}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _common(found: Sequence[Answered]) -> pd.Index:
    """The samples of which everybody says something."""
    common = set(found[0].ids)
    for a in found:
        common &= set(a.ids[np.isfinite(a.test).reshape(len(a.test), -1).all(axis=1)])
    ids: pd.Index = pd.Index(sorted(common), dtype=object)
    return ids


def _of_head(head: str, runs: pd.DataFrame, whole: str) -> list[dict[str, Any]]:
    """The rows of one head, with differences."""
    name = ["row", "model", "modalities", "reading", "control"]
    wide = runs.pivot_table(index=SPLIT, columns=name, values="value", dropna=False)
    wide = wide.loc[:, list(dict.fromkeys(map(tuple, runs[name].to_numpy())))]
    sizes = float(runs["n_train"].mean()), max(float(runs["n_test"].mean()), 1.0)
    own = {c[1]: c for c in wide.columns if c[2] == whole and c[3] == OWN and not c[4] and c[0] == "joint"}
    clinical = next((c for c in wide.columns if c[0] == CLINICAL and not c[4]), None)
    rows = []
    for column in wide.columns:
        values = wide[column].to_numpy()
        of = nadeau_bengio(values, *sizes)
        here = runs[(runs[name] == list(column)).all(axis=1)]
        row = {"head": head, **dict(zip(name, column, strict=True)), "metric": runs["metric"].iloc[0]}
        row |= {"mean": of.mean, "sd": float(np.nanstd(values, ddof=1)) if len(values) > 1 else np.nan}
        row |= {"lower": of.lower, "upper": min(of.upper, 1.0), "n": int((~np.isnan(values)).sum())}
        row["n_test"] = float(here["n_test"].mean())
        joint = own.get(column[1], next(iter(own.values())) if len(own) == 1 else None)
        for to, other in (("joint", joint), ("clinical", clinical)):
            if other is None or other == column:
                continue
            against = nadeau_bengio(values - wide[other].to_numpy(), *sizes)
            names = (f"to_{to}", f"to_{to}_lower", f"to_{to}_upper", f"p_{to}")
            row |= dict(zip(names, against, strict=True))
        rows.append(row)
    return rows
