r"""Which of several rankings of the same pairs says best what replicates: AUC, average precision, calibration.

Pairs that share a feature are no independent observations, and few samples make few distinct splits. Intervals
therefore draw splits and the features of both sides with replacement, a pair counting as often as its split and both
its features were drawn: the pigeonhole bootstrap, whose variance is at least that of the truth (Owen 2007,
doi:10.1214/07-AOAS122). Both scores are averaged over splits; a split whose pairs all replicate, or none, says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.isotonic import IsotonicRegression

__all__ = ["AGAINST", "Calibration", "Split", "auc_and_precision", "judge"]

AGAINST = "|rho|"
INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Split:
    """What rankings say of pairs, and whether these replicated in the samples held out.

    Attributes
    ----------
    x, y
        Positions of a pair's features.
    label
        1 where it replicated, else 0.
    edge
        Whether the pair is an edge of the graph (else a negative).
    scores
        Ranking to a score per pair, the larger the better.
    """

    x: np.ndarray
    y: np.ndarray
    label: np.ndarray
    edge: np.ndarray
    scores: Mapping[str, np.ndarray]

    def of(self, which: np.ndarray) -> Split:
        """The same of some pairs."""
        scores = {k: v[which] for k, v in self.scores.items()}
        return Split(self.x[which], self.y[which], self.label[which], self.edge[which], scores)


@dataclass(frozen=True)
class Calibration:
    """From a score to the share of pairs of such a score that replicate: isotonic, so never falling."""

    model: IsotonicRegression

    @classmethod
    def fit(cls, score: np.ndarray, label: np.ndarray) -> Calibration:
        """Learn it from pairs whose label is known."""
        model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        return cls(model.fit(np.asarray(score, np.float64), np.asarray(label, np.float64)))

    def __call__(self, score: np.ndarray) -> np.ndarray:
        """A share in 0..1 for every score."""
        return np.asarray(self.model.predict(np.asarray(score, np.float64)))


def auc_and_precision(score: np.ndarray, label: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve and average precision of a score, for several weightings of its pairs at once.

    Parameters
    ----------
    score, label
        One per pair; label 1 or 0.
    weight
        Weightings x pairs.

    Returns
    -------
    tuple
        AUC and average precision (each 0..1, larger is better) per weighting; ties as scikit-learn counts them; NaN
        where one of the classes has no weight.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    positive, negative = (np.cumsum(weight[:, order] * m[order], axis=1)[:, ends] for m in (label, 1 - label))
    with np.errstate(divide="ignore", invalid="ignore"):
        tpr, fpr = positive / positive[:, -1:], negative / negative[:, -1:]
        start = np.zeros((len(weight), 1))
        step, left = np.diff(fpr, axis=1, prepend=start), np.concatenate([start, tpr[:, :-1]], axis=1)
        area = (step * (tpr + left) / 2).sum(axis=1)
        precision = np.nan_to_num(positive / (positive + negative))
        average = (np.diff(tpr, axis=1, prepend=start) * precision).sum(axis=1)
    empty = (positive[:, -1] <= 0) | (negative[:, -1] <= 0)
    return np.where(empty, np.nan, area), np.where(empty, np.nan, average)


def judge(splits: Sequence[Split], *, draws: int = 500, seed: int = 0) -> pd.DataFrame:
    """Every ranking of the edges, against what replicated.

    Parameters
    ----------
    splits
        One per split of the samples, all with the same rankings, among them `|rho|`.
    draws
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        A row per ranking: `auc` and `ap` among the edges, `gain` (AUC less that of |rho| on the same pairs), each with
        its 95 % interval `_low`, `_high`; `brier` after isotonic calibration on the other splits (mean squared error
        of the chance to replicate; smaller is better; NaN with one split); `auc_all` among edges and negatives.
    """
    names = list(splits[0].scores)
    edges = [s.of(np.flatnonzero(s.edge.astype(bool))) for s in splits]
    plain = _scores(edges, [np.ones((1, len(s.x))) for s in edges])
    every = _scores(splits, [np.ones((1, len(s.x))) for s in splits])
    drawn = _scores(edges, _weights(edges, draws, np.random.default_rng((seed, 0xB0)), len(edges)))
    rows = []
    for k in names:
        gain, gains = plain[k][0] - plain[AGAINST][0], drawn[k][0] - drawn[AGAINST][0]
        columns = {"auc": (plain[k][0], drawn[k][0]), "ap": (plain[k][1], drawn[k][1]), "gain": (gain, gains)}
        row: dict[str, object] = {"ranking": k}
        for name, (value, sample) in columns.items():
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), (float(value[0]), *_interval(sample)), strict=True))
        rows.append(row | {"brier": _brier(edges, k), "auc_all": float(every[k][0][0])})
    return pd.DataFrame(rows)


def _weights(splits: Sequence[Split], draws: int, rng: np.random.Generator, many: int) -> list[np.ndarray]:
    """How often each pair of each split is drawn: draws x pairs, per split."""
    p, q = (1 + max((int(side.max()) for side in sides if len(side)), default=0)
            for sides in ([s.x for s in splits], [s.y for s in splits]))  # fmt: skip
    whole = rng.multinomial(many, np.full(many, 1 / many), size=draws).astype(np.float32)
    x, y = (rng.poisson(1.0, size=(draws, k)).astype(np.float32) for k in (p, q))
    return [whole[:, [k]] * x[:, s.x] * y[:, s.y] for k, s in enumerate(splits)]


def _scores(splits: Sequence[Split], weights: Sequence[np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """AUC and average precision of every ranking, averaged over splits by how often each was drawn."""
    out = {}
    for k in splits[0].scores:
        found = np.array([
            auc_and_precision(s.scores[k], s.label, w) if len(s.x) else np.full((2, len(w)), np.nan)
            for s, w in zip(splits, weights, strict=True)
        ])  # fmt: skip
        out[k] = (_mean(found[:, 0], weights), _mean(found[:, 1], weights))
    return out


def _mean(values: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over splits that say something, each weighed by its average weight per pair; NaN where none does."""
    share = np.array([w.mean(axis=1) if w.shape[1] else np.zeros(len(w)) for w in weights])
    share = np.where(np.isnan(values), 0.0, share)
    total = share.sum(axis=0)
    summed = (np.nan_to_num(values) * share).sum(axis=0)
    return np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan)


def _interval(sample: np.ndarray) -> tuple[float, float]:
    known = sample[~np.isnan(sample)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, INTERVAL)
    return float(low), float(high)


def _brier(splits: Sequence[Split], ranking: str) -> float:
    """Mean squared error of the chance to replicate, calibrated on the other splits."""
    errors = []
    for k, held in enumerate(splits):
        others = [s for j, s in enumerate(splits) if j != k and len(s.x)]
        if not others or not len(held.x):
            continue
        score, label = (np.concatenate(v) for v in ([s.scores[ranking] for s in others], [s.label for s in others]))
        errors.append(float(np.mean((Calibration.fit(score, label)(held.scores[ranking]) - held.label) ** 2)))
    return float(np.mean(errors)) if errors else float("nan")
