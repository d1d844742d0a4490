"""A leaderboard in plain words: where a baseline is ahead, that comes first."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from isthmus.evaluate.words import number

__all__ = ["ahead", "verdict"]

ALPHA = 0.05
METRICS = {"auc": "AUC", "r2": "R²"}
ASKED = "logistic"
"""The learner that speaks where one has to."""
LONGEST = 4
NOTE = re.compile(r"(model\.name: \w+: |modality '[^']*': )?(?P<what>.+?)(; met .+?)?(; wanted (?P<wanted>.+))?")
"""An error on one line: its place, what is wrong, what was met, what would be right."""


def ahead(rows: pd.DataFrame) -> pd.Series:
    """1 where a row is told ahead of PCA, -1 where PCA is, 0 where they are not told apart."""
    sure = (rows["p_adjusted"] < ALPHA) & ((rows["difference_lower"] > 0) | (rows["difference_upper"] < 0))
    found: pd.Series = (np.sign(rows["difference"]) * sure).fillna(0).astype(int)
    return found


def verdict(board: pd.DataFrame) -> list[str]:
    """Say what a leaderboard says.

    Parameters
    ----------
    board
        What `leaderboard` gives.

    Returns
    -------
    list of str
        What is told apart over all, then the best by label, then controls and what did not run.
    """
    real = board[(board["control"] == "") & (board["group"] != "")]
    models, tasks = real[real["kind"] == "model"], real[real["group"] == "task"]
    if models.empty:
        return ["No model ran: there is nothing to compare.", *_failures(board)]
    said: list[tuple[bool, str]] = []
    tested = models[models["p"].notna()]
    if tested.empty:
        said.append((True, "There is one split alone: no spread is known, and no difference was tested."))
    elif not tasks.empty:
        said.append(_on_tasks(models[models["group"] == "task"]))
        said.append(_behind(models[models["group"] == "task"]))
        said.append(_others(tasks))
    said.append(_on_reconstruction(models))
    first = [text for _, text in sorted((s for s in said if s[1]), key=lambda s: not s[0])]
    first += _fewer(real)
    return [*first, *_best(pd.concat([tasks, _whole(real)]), _most(real)), *_controls(board), *_failures(board)]


def _on_tasks(rows: pd.DataFrame) -> tuple[bool, str]:
    """On how many tasks any architecture is ahead of PCA, and which."""
    rows = rows.assign(ahead=ahead(rows))
    by = rows[rows["ahead"] > 0].groupby("setting")["score"].nunique().sort_values(ascending=False)
    total = rows["score"].nunique()
    nobody = total - rows.loc[rows["ahead"] > 0, "score"].nunique()
    meant = "a task is a label and a learner; PCA has as many dimensions and the same modalities"
    if by.empty:
        return True, f"No architecture is told ahead of PCA on any of {_several(total, 'task')} ({meant})."
    who = _joined([f"{name} is on {k}" for name, k in by.items()])
    text = (
        f"No architecture is told ahead of PCA on {nobody} of {_several(total, 'task')}"
        if nobody
        else "On every task some architecture is told ahead of PCA"
    )
    return nobody > total / 2, f"{text}; {who} ({meant})."


def _behind(rows: pd.DataFrame) -> tuple[bool, str]:
    """Over all settings, how often PCA is ahead."""
    state = ahead(rows)
    won, lost, total = int((state > 0).sum()), int((state < 0).sum()), int(rows["p"].notna().sum())
    counts = f"PCA is told ahead in {lost:,}, the model in {won:,}; the others are not told apart"
    return lost > won, f"Of {_several(total, 'comparison')}, a setting on a task, {counts}."


def _others(rows: pd.DataFrame) -> tuple[bool, str]:
    """Which baseline besides PCA has the highest mean on how many tasks."""
    best = rows.loc[rows.groupby("score")["mean"].idxmax().dropna()]
    others = best[best["kind"] == "baseline"].groupby("setting")["score"].nunique().sort_values(ascending=False)
    if others.empty:
        return False, ""
    total = best["score"].nunique()
    who = _joined([f"{name} on {k}" for name, k in others.items()])
    return True, f"The highest mean of all is a baseline's on {int(others.sum())} of {_several(total, 'task')}: {who}."


def _on_reconstruction(models: pd.DataFrame) -> tuple[bool, str]:
    rows = _whole(models)
    if rows["pca"].notna().sum() == 0:
        return False, ""
    rows = rows[rows["pca"].notna()]
    lost, won = (int((np.sign(rows["difference"]) == s).sum()) for s in (-1, 1))
    sure = ahead(rows)
    return lost > won, (
        f"PCA reconstructs better than {lost} of {_several(len(rows), 'setting')}, told for {int((sure < 0).sum())}; "
        f"{won} reconstruct better than PCA, told for {int((sure > 0).sum())}."
    )


def _fewer(rows: pd.DataFrame) -> list[str]:
    """Where PCA could not have as many dimensions as the models that it stands beside."""
    pca = rows[(rows["model"] == "pca") & (rows["dimensions"] < rows["latent"])].drop_duplicates("id")
    asked: dict[tuple[str, int], list[str]] = {}
    for where, d, latent in zip(pca["modalities"], pca["dimensions"].astype(int), pca["latent"], strict=True):
        asked.setdefault((where, d), []).append(str(latent))
    if not asked:
        return []
    parts = [f"{d} instead of {_joined(sizes)} on {where}" for (where, d), sizes in asked.items()]
    why = "there are no more features, or no more training samples"
    return [f"PCA has fewer dimensions than the models where {why}: {'; '.join(parts)}."]


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    """Of reconstructions, the mean over modalities, or the only one."""
    found: pd.DataFrame = rows[
        (rows["group"] == "reconstruction") & ((rows["label"] == "all") | (rows["label"] == rows["modalities"]))
    ]
    return found.assign(label="reconstruction", learner="")


def _most(rows: pd.DataFrame) -> str:
    """The combination of most modalities."""
    return str(max(dict.fromkeys(rows["modalities"]), key=lambda m: len(str(m).split(" + "))))


def _best(rows: pd.DataFrame, most: str) -> list[str]:
    """By label the best model and the best baseline, as one learner sees them; reconstruction on most modalities."""
    rows = rows[(rows["group"] == "task") | (rows["modalities"] == most)]
    said = []
    for label in dict.fromkeys(rows["label"]):
        of = rows[(rows["label"] == label) & rows["mean"].notna()]
        learners = list(dict.fromkeys(of["learner"]))
        of = of[of["learner"] == (ASKED if ASKED in learners else learners[0])] if learners else of
        found = [of[of["kind"] == k].sort_values("mean", ascending=False).head(1) for k in ("model", "baseline")]
        parts = [
            f"{_place(s.iloc[0], most)} with {METRICS[s['metric'].iloc[0]]} {number(float(s['mean'].iloc[0]))}"
            for s in found
            if len(s)
        ]
        if parts:
            who = str(of["learner"].iloc[0])
            who = "ridge" if of["metric"].iloc[0] == "r2" and who == ASKED else who
            said.append(
                f"{label}{f' ({who})' if who else ''}: the best model is {'; the best baseline is '.join(parts)}."
            )
    return said


def _place(row: pd.Series, most: str) -> str:
    size = f" {int(row['latent'])}" if row["latent"] else ""
    where = row["modalities"] if row["modalities"] != most or " + " not in most else "all modalities"
    return f"{row['setting']}{size} on {where}"


def _controls(board: pd.DataFrame) -> list[str]:
    """What became of settings whose labels, pairs or last modality were destroyed."""
    said, rows = [], board[(board["group"] == "task") & (board["metric"] == "auc")]
    if len(permuted := rows[rows["control"] == "labels"]):
        low, mid, high = (
            number(float(v)) for v in (permuted["mean"].min(), permuted["mean"].mean(), permuted["mean"].max())
        )
        said.append(
            f"With permuted labels the mean AUC is {mid} ({low} to {high} over settings and tasks): .5 is chance."
        )
    broken_by = {
        "pairing": "the training pairs broken", "noise": "the last modality replaced by noise",
        "mean": "the last modality replaced by its mean",
    }  # fmt: skip
    for control, text in broken_by.items():
        if len(broken := rows[(rows["control"] == control) & (rows["kind"] == "model")]):
            keys = ["setting", "latent", "modalities", "score"]
            intact = rows[(rows["control"] == "") & (rows["kind"] == "model")].set_index(keys)["mean"]
            lost = (intact - broken.set_index(keys)["mean"]).dropna()
            said.append(f"With {text}, models lose {number(float(lost.mean()))} of AUC on average.")
    return said


def _failures(board: pd.DataFrame) -> list[str]:
    """How many settings did not run, or not always, and why."""
    failed = board[board["note"] != ""].drop_duplicates("id")
    if failed.empty:
        return []
    total = board["id"].nunique()
    who = failed.assign(reason=failed["note"].map(_reason)).groupby("reason", sort=False)["setting"].unique()
    parts = [f"{', '.join(names[:LONGEST])}{_beyond(len(names))}: {reason}" for reason, names in who.items()]
    return [
        f"{len(failed)} of {total} settings did not run, or not always: {'; '.join(parts[:LONGEST])}"
        f"{_beyond(len(parts), ';')}."
    ]


def _reason(note: str) -> str:
    """Why a setting did not run, without what differs from setting to setting: the place, and what was met there."""
    found = NOTE.fullmatch(note)
    if found is None:
        return note
    return f"{found['what']} (wanted {found['wanted']})" if found["wanted"] else found["what"]


def _beyond(n: int, before: str = "") -> str:
    return f"{before} and {n - LONGEST} more" if n > LONGEST else ""


def _several(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
