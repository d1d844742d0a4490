"""Results in plain words: what beat what, by how much, how sure; where a baseline wins, that comes first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["number", "verdict"]

NAMES = {
    "pca": "PCA",
    "umap": "UMAP",
    "random_features": "random features",
    "raw": "the raw features",
    "mean": "the train mean",
    "ridge": "ridge regression",
    "knn": "kNN",
    "nearest": "the nearest neighbour",
}
RIVALS = ("ridge", "knn", "nearest", "mean")
"""The baselines of a translation."""
MOST_DIRECTIONS = 6
METRICS = {"auc": "AUC", "r2": "R2"}
ALPHA = 0.05
"""From which adjusted p on a difference is not told from 0."""
HALF = 5e-4
"""What rounds to no difference in three decimals."""


def number(value: float | int) -> str:
    """Three decimals without the leading zero: .991, -.004, 1.000; `not known` for NaN."""
    if np.isnan(value):
        return "not known"
    text = f"{abs(value):.3f}"
    sign = "-" if value < 0 and float(text) != 0 else ""
    return sign + (text[1:] if text.startswith("0.") else text)


def verdict(
    summary: pd.DataFrame | None,
    reconstruction: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
    *,
    model: str,
    title: str | None = None,
    dimensions: int | None = None,
    where: str = "On the test samples",
    translation: pd.DataFrame | None = None,
) -> list[str]:
    """Say what the numbers say.

    Of each label one learner speaks, chosen before looking: the logistic one, else the first of the table; by AUC
    for classes, R2 for values.

    Parameters
    ----------
    summary
        What `summarise` or `bootstrap` gives, with the model and its baselines as representations; None
        where no label was asked for.
    reconstruction
        Modality -> representation (the model's name, `pca`, `mean`, ...) -> what `reconstruction` gives.
    model
        The model's name among the representations.
    title
        How to write it (`the VAE`); by default `the <model>`.
    dimensions
        Its number of latent dimensions, where it should be said.
    where
        How the sentences on single labels begin.
    translation
        A row per `source`, `target` and `representation` with `r2`, and `r2_within` where there are classes.

    Returns
    -------
    list of str
        Overall sentences first, and among them those in which a baseline is ahead; then one sentence per label and
        per modality. A score that is missing is said to be so.
    """
    title = title or f"the {model}"
    summary = pd.DataFrame() if summary is None else summary
    reference = str(summary.attrs.get("reference", "pca"))
    duels = _duels(summary, model, reference)
    fits = _fits(reconstruction or {}, model, reference)
    ways = _ways(translation, model)
    candidates = (
        _overall(duels, title, reference),
        _overall_fit(fits, title, reference),
        _overall_translation(ways, title),
        _others(summary, duels, title, model, reference),
    )
    overall = sorted((s for s in candidates if s), key=lambda s: not s.baseline_ahead)
    folds = summary.attrs.get("basis") == "folds"
    place = "Over the folds" if folds and where == "On the test samples" else where
    details = [_on_label(d, title, reference, dimensions, place) for d in duels]
    details += [_on_modality(f, title, reference, where) for f in fits]
    details += [_on_way(w, title, where) for w in ways[:MOST_DIRECTIONS]]
    return [s.text for s in overall] + details


@dataclass(frozen=True)
class _Sentence:
    text: str
    baseline_ahead: bool


@dataclass(frozen=True)
class _Duel:
    """The model against the reference, on one label or modality."""

    about: str
    metric: str
    learner: str
    ours: float
    theirs: float
    lower: float = float("nan")
    upper: float = float("nan")
    p: float = float("nan")

    @property
    def difference(self) -> float:
        return self.ours - self.theirs

    @property
    def winner(self) -> int:
        """1 for the model, -1 for the reference, 0 for neither."""
        return int(np.sign(self.difference)) if abs(self.difference) >= HALF else 0

    @property
    def sure(self) -> bool:
        """The interval leaves 0 out, and so it stays when all labels are looked at together (Holm)."""
        return (self.lower > 0 or self.upper < 0) and not self.p >= ALPHA

    @property
    def told(self) -> int:
        """The winner where there is one to tell: a difference with an interval has to be sure."""
        return self.winner if self.sure or np.isnan(self.lower) else 0


def _duels(summary: pd.DataFrame, model: str, reference: str) -> list[_Duel]:
    """One per label that the model was scored on."""
    found: list[_Duel] = []
    if summary.empty:
        return found
    headline = summary[summary["metric"].isin(METRICS)]
    for label, of_label in headline.groupby("label", sort=False):
        learners = list(dict.fromkeys(of_label["learner"]))
        learner = "logistic" if "logistic" in learners else learners[0]
        rows = of_label[of_label["learner"] == learner].drop_duplicates("representation").set_index("representation")
        if model not in rows.index:
            continue
        ours: dict[Any, Any] = rows.loc[model].to_dict()
        theirs = float(rows["mean"].get(reference, np.nan))
        interval = ours["difference_lower"], ours["difference_upper"], ours.get("p_adjusted", np.nan)
        found.append(_Duel(str(label), ours["metric"], learner, ours["mean"], theirs, *interval))
    return found


def _overall(duels: list[_Duel], title: str, reference: str) -> _Sentence | None:
    if not duels:
        return None
    name = NAMES.get(reference, reference)
    known = [d for d in duels if not np.isnan(d.difference)]
    if not known:
        return _Sentence(f"{_start(title)} was compared with no baseline in prediction.", baseline_ahead=False)
    lost, won = (sum(d.told == w for d in known) for w in (-1, 1))
    total = f"{len(known)} {_plural('label', len(known))}"
    parts = [f"{name} {_is(name)} ahead of {title} on {lost} of {total}"] if lost else []
    parts += [f"{title} {_is(title)} ahead of {name} on {won} of {total}"] if won else []
    if even := len(known) - lost - won:
        parts.append(f"{title} and {name} are not told apart on {even} of {total}")
    return _Sentence(f"{_start('; '.join(parts))}.", bool(lost))


def _others(summary: pd.DataFrame, duels: list[_Duel], title: str, model: str, reference: str) -> _Sentence | None:
    """Which further baselines have the higher score, label by label; None where none has."""
    ahead: dict[str, dict[str, list[float]]] = {}
    for d in duels:
        rows = summary[(summary["label"] == d.about) & (summary["metric"] == d.metric)]
        for name, score in rows.loc[rows["learner"] == d.learner, ["representation", "mean"]].itertuples(index=False):
            if name not in (model, reference) and score - d.ours >= HALF:
                ahead.setdefault(str(name), {}).setdefault(METRICS[d.metric], []).append(score - d.ours)
    if not ahead:
        return None
    total = f"{len(duels)} {_plural('label', len(duels))}"
    several, parts = len({unit for by in ahead.values() for unit in by}) > 1, []
    for name, by in ahead.items():
        means = " and ".join(f"{number(float(np.mean(v)))}{f' {unit}' if several else ''}" for unit, v in by.items())
        parts.append(f"{NAMES.get(name, name)} on {sum(map(len, by.values()))} of {total} (by {means} on average)")
    return _Sentence(f"Further baselines score above {title} (not tested): {_joined(parts)}.", baseline_ahead=True)


def _on_label(d: _Duel, title: str, reference: str, dimensions: int | None, place: str) -> str:
    name, unit = NAMES.get(reference, reference), METRICS[d.metric]
    subject = f"{_of(title)} {dimensions} {_plural('dimension', dimensions)}" if dimensions else title
    if np.isnan(d.ours):
        return f"{place}, {d.about} could not be scored."
    verb = "predict" if dimensions and dimensions > 1 else "predicts"
    text = f"{place}, {subject} {verb} {d.about} with {unit} {number(d.ours)} ({_learner(d)})"
    if np.isnan(d.theirs):
        return f"{text}; no baseline stands beside it."
    text += f", {_of(name)} with {number(d.theirs)}: "
    if d.winner == 0:
        return f"{text}they are level{_interval(d)}."
    first = title if d.winner > 0 else name
    return f"{text}{first} {_is(first)} ahead by {number(abs(d.difference))}{_interval(d)}."


def _learner(d: _Duel) -> str:
    """What a learner is called: under the name of the logistic one, values are predicted by ridge regression."""
    return "ridge" if d.metric == "r2" and d.learner == "logistic" else d.learner


def _interval(d: _Duel) -> str:
    """The interval of the difference, turned so that it belongs to the winner's lead."""
    if np.isnan(d.lower):
        return ", without an interval"
    low, high = (-d.upper, -d.lower) if d.winner < 0 else (d.lower, d.upper)
    span = f"{number(low)} to {number(high)}"
    if d.winner == 0:
        return f" (interval of the difference {span})"
    if d.sure:
        return f", beyond chance (interval {span})"
    if d.lower > 0 or d.upper < 0:
        return f", not told from 0 when all labels are looked at together (interval {span}, adjusted p {number(d.p)})"
    return f", not told from 0 (interval {span})"


def _fits(scores: Mapping[str, Mapping[str, Mapping[str, float]]], model: str, reference: str) -> list[_Duel]:
    missing = {"r2": float("nan")}
    return [
        _Duel(modality, "r2", "", of[model]["r2"], of.get(reference, missing)["r2"])
        for modality, of in scores.items()
        if model in of
    ]


def _overall_fit(fits: list[_Duel], title: str, reference: str) -> _Sentence | None:
    name = NAMES.get(reference, reference)
    known = [f for f in fits if not np.isnan(f.difference)]
    if not known:
        return None
    lost, won = (sum(f.winner == w for f in known) for w in (-1, 1))
    total = f"{len(known)} {_plural('modality', len(known))}"
    below = sum(f.ours < -HALF for f in known)
    parts = [f"{name} {_reconstructs(name)} {lost} of {total} better than {title}"] if lost else []
    parts += [f"{title} {_reconstructs(title)} {won} of {total} better than {name}"] if won else []
    parts += (
        [f"{title} and {name} are level on {len(known) - lost - won} of {total}"] if lost + won < len(known) else []
    )
    worse = f"; on {below} {title} {_is(title)} worse than the train mean" if below else ""
    return _Sentence(f"{_start('; '.join(parts))}{worse}.", baseline_ahead=bool(lost or below))


def _on_modality(f: _Duel, title: str, reference: str, where: str) -> str:
    name = NAMES.get(reference, reference)
    if np.isnan(f.ours):
        return f"{where}, the reconstruction of {f.about} could not be scored."
    text = f"{where}, {title} {_reconstructs(title)} {f.about} with R2 {number(f.ours)} (the train mean: .000)"
    if np.isnan(f.theirs):
        return f"{text}."
    if f.winner == 0:
        return f"{text}, {name} with {number(f.theirs)}: they are level."
    first = title if f.winner > 0 else name
    return f"{text}, {name} with {number(f.theirs)}: {first} {_is(first)} ahead by {number(abs(f.difference))}."


@dataclass(frozen=True)
class _Way:
    """A translation: the model against the best of the baselines; `within` is R2 beyond the mean of the true class."""

    source: str
    target: str
    ours: float
    rival: str
    theirs: float
    within: float

    @property
    def winner(self) -> int:
        """1 for the model, -1 for the baseline, 0 for neither."""
        difference = self.ours - self.theirs
        return int(np.sign(difference)) if abs(difference) >= HALF else 0


def _ways(scores: pd.DataFrame | None, model: str) -> list[_Way]:
    """One per pair of modalities that the model was scored on."""
    found: list[_Way] = []
    if scores is None or scores.empty:
        return found
    pairs: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in scores.to_dict("records"):
        named = {str(k): v for k, v in row.items()}
        pairs.setdefault((named["source"], named["target"]), {})[named["representation"]] = named
    for of in pairs.values():
        if model not in of or np.isnan(of[model]["r2"]):
            continue
        rivals = {name: of[name]["r2"] for name in RIVALS if name in of and not np.isnan(of[name]["r2"])}
        rival = max(rivals, key=lambda name: rivals[name], default="")
        ours, within = of[model], of[model].get("r2_within", np.nan)
        found.append(_Way(ours["source"], ours["target"], ours["r2"], rival, rivals.get(rival, np.nan), within))
    return found


def _overall_translation(ways: list[_Way], title: str) -> _Sentence | None:
    known = [w for w in ways if not np.isnan(w.theirs)]
    if not known:
        return None
    total = f"{len(known)} {_plural('direction', len(known))}"
    lost = [w.rival for w in known if w.winner < 0]
    by = [f"{NAMES[r]} on {lost.count(r)}" for r in dict.fromkeys(lost)]
    parts = [f"a baseline translates {len(lost)} of {total} better than {title} ({_joined(by)})"] if lost else []
    if won := sum(w.winner > 0 for w in known):
        parts.append(f"{title} translates {won} of {total} better than every baseline")
    if even := len(known) - len(lost) - won:
        parts.append(f"{title} and the best baseline are level on {even} of {total}")
    blind = sum(w.within <= 0 for w in known)
    more = f"; on {blind} the mean of the sample's true class would do as well or better" if blind else ""
    return _Sentence(f"{_start('; '.join(parts))}{more}.", baseline_ahead=bool(lost or blind))


def _on_way(w: _Way, title: str, where: str) -> str:
    text = f"{where}, {title} translates {w.source} to {w.target} with R2 {number(w.ours)}"
    if not np.isnan(w.within):
        text += f" ({number(w.within)} beyond the mean of the true class)"
    if np.isnan(w.theirs):
        return f"{text}; no baseline stands beside it."
    text += f", {NAMES[w.rival]}, the best baseline, with {number(w.theirs)}: "
    if w.winner == 0:
        return f"{text}they are level."
    first = title if w.winner > 0 else NAMES[w.rival]
    return f"{text}{first} is ahead by {number(abs(w.ours - w.theirs))}."


def _start(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plural(word: str, n: int) -> str:
    if n == 1:
        return word
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def _several(name: str) -> bool:
    return name.endswith("features")


def _is(name: str) -> str:
    return "are" if _several(name) else "is"


def _reconstructs(name: str) -> str:
    return "reconstruct" if _several(name) else "reconstructs"


def _of(name: str) -> str:
    return f"{name}'" if _several(name) else f"{name}'s"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
