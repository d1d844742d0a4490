"""Whether a label can be read off a representation at a site that the reader has not seen.

Three readings of the same label by the same learner: *mixed* (samples of every site train and are scored together),
*within* (the same predictions, scored inside each site and averaged over sites, so that knowing the site earns nothing)
and *across* (every site is scored by a learner that was fitted on the other sites alone, without the samples there of
groups, patients, that this site has too). Mixed above within: part of the score came from the site. Within above
across: what was learnt at some sites does not hold at another.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isthmus.evaluate.arrays import Matrix, known_mean
from isthmus.evaluate.probes import run_probes
from isthmus.evaluate.tasks import absent, kind_of, names_of

__all__ = ["SITES", "Side", "across_sites"]

log = logging.getLogger("isthmus.evaluate")

SITES = [
    "representation", "label", "confounder", "learner", "way", "metric", "value", "lower", "upper", "sites", "n_test",
]  # fmt: skip
FEWEST = 3
"""A site with fewer labelled samples is not scored on its own."""
RESAMPLES = 1000
SMALLEST_CLASS = 2
"""A class with fewer training samples is not learnt."""


@dataclass(frozen=True)
class Side:
    """Some samples: representations (n x d each), a label, a confounder of classes and groups (n each, or None).

    Groups go by the same names in train and test; a missing one, or -1, is nobody else's.
    """

    z: Mapping[str, Matrix]
    label: pd.Series
    site: pd.Series
    groups: np.ndarray | None = None

    def rows(self, rows: np.ndarray) -> Side:
        """The samples at some positions."""
        groups = None if self.groups is None else self.groups[rows]
        return Side({k: v[rows] for k, v in self.z.items()}, self.label.iloc[rows], self.site.iloc[rows], groups)


@dataclass(frozen=True)
class _Said:
    """What was predicted of each test sample (NaN where it was not), and the truth: codes of classes, or values."""

    truth: np.ndarray
    predicted: np.ndarray
    kind: str

    def score(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Balanced accuracy, or R2 about the rows' mean, under R weightings of the samples (R x n)."""
        rows = rows[~np.isnan(self.predicted[rows])]
        truth, guess, w = self.truth[rows], self.predicted[rows], weights[:, rows]
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.kind == "value":
                mean = (w @ truth) / w.sum(axis=1)
                return np.asarray(1 - (w @ (truth - guess) ** 2) / (w * (truth - mean[:, None]) ** 2).sum(axis=1))
            hit = truth == guess
            recalls = np.stack([(w @ (hit & (truth == c))) / (w @ (truth == c)) for c in np.unique(truth)])
        return known_mean(recalls)

    def scorable(self, rows: np.ndarray) -> bool:
        """Whether these samples say anything: three or more, and not all the same."""
        rows = rows[~np.isnan(self.predicted[rows])]
        return len(rows) >= FEWEST and len(np.unique(self.truth[rows])) > 1


@dataclass(frozen=True)
class _Reader:
    """Who reads a label off representations; `classes` is None where it holds values."""

    train: Side
    test: Side
    classes: list[str] | None
    learner: str
    seed: int

    def said(self, name: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> _Said:
        """Of each test sample, what the learner says that was fitted on the training rows of its pair."""
        predicted = np.full(len(self.test.label), np.nan)
        for fit, score in pairs:
            if not len(fit) or not len(score):
                continue
            a, b = self.train.rows(fit), self.test.rows(score)
            found = run_probes(
                {name: a.z[name]}, {name: b.z[name]}, a.label.to_frame(), b.label.to_frame(),
                learners=[self.learner], seed=self.seed, min_class=SMALLEST_CLASS,
            )  # fmt: skip
            for answer in found.answers:
                values = answer.predicted
                if self.classes is not None:
                    values = np.array([self.classes.index(answer.task.classes[int(k)]) for k in values], dtype=float)
                predicted[score[answer.task.rows_test]] = values
        kind = "value" if self.classes is None else "class"
        return _Said(_coded(self.test.label, self.classes), predicted, kind)


def across_sites(
    train: Side, test: Side, *, folds: list[tuple[np.ndarray, np.ndarray]] | None = None, learner: str = "logistic",
    seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Score a label mixed, within and across sites.

    Parameters
    ----------
    train, test
        What learners are fitted on and scored on; the same twice, with `folds`, for cross-validation.
    folds
        Rows of train and of test for the mixed reading; None for all and all.
    learner
        One of `logistic`, `svm`, `forest`.
    seed
        Of the forest, and of the resampling.

    Returns
    -------
    pandas.DataFrame
        A row per `representation` and `way` (`mixed`, `within`, `across`), with `metric` `balanced_accuracy` (0 to 1,
        chance is 1 / classes) or, for a label of values, `r2` (about the mean of the scored samples, within a site of
        the site's); higher is better. `within` and `across` are means over the same `sites`, those with three labelled
        test samples or more that are not all alike, a site a vote. `lower`, `upper`: 95 % of 1,000 resamplings of test
        samples within sites (whole groups where there are groups), the predictions staying as they are. NaN where
        nothing can be scored, such as across sites that saw the same groups.
    """
    reader = _Reader(train, test, _classes(train.label), learner, seed)
    site = names_of(test.site)
    weights = _weights(test, site, seed)
    every = np.arange(len(site))
    pairs = folds if folds is not None else [(np.arange(len(train.label)), every)]
    there = names_of(train.site)
    left_out = [(_elsewhere(train, test, there != s, site == s), np.flatnonzero(site == s)) for s in _sites(site)]
    left_out = [(a[~absent(there[a])], b) for a, b in left_out]
    rows: list[tuple[object, ...]] = []
    for name in test.z:
        mixed, away = reader.said(name, pairs), reader.said(name, left_out)
        sites = [r for _, r in left_out if mixed.scorable(r) and away.scorable(r)]
        about = (name, str(test.label.name), str(test.site.name), learner)
        rows += [(*about, *found) for found in _ways(mixed, away, every, sites, weights)]
    return pd.DataFrame(rows, columns=SITES)


def _ways(
    mixed: _Said, away: _Said, every: np.ndarray, sites: list[np.ndarray], weights: np.ndarray
) -> Iterator[tuple[object, ...]]:
    metric = "r2" if mixed.kind == "value" else "balanced_accuracy"
    nothing = np.full(len(weights), np.nan)
    whole = mixed.score(every, weights) if mixed.scorable(every) else nothing
    for way, said in (("mixed", None), ("within", mixed), ("across", away)):
        values = whole if said is None else known_mean(np.stack([said.score(r, weights) for r in sites] or [nothing]))
        drawn = values[1:][~np.isnan(values[1:])]
        lower, upper = np.quantile(drawn, [0.025, 0.975]) if len(drawn) > 1 else (np.nan, np.nan)
        n = len(every) if said is None else sum(map(len, sites))
        yield way, metric, float(values[0]), float(lower), float(upper), len(sites), n


def _classes(label: pd.Series) -> list[str] | None:
    """The classes of a label, or None where it holds values."""
    names = names_of(label)
    return None if kind_of(label) == "value" else sorted(set(names[~absent(names)]))


def _coded(label: pd.Series, classes: list[str] | None) -> np.ndarray:
    if classes is None:
        return pd.to_numeric(label, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    code = {c: float(k) for k, c in enumerate(classes)}
    return np.array([code.get(n, np.nan) for n in names_of(label)], dtype=float)


def _sites(site: np.ndarray) -> list[str]:
    return sorted(set(site[~absent(site)]))


def _elsewhere(train: Side, test: Side, others: np.ndarray, here: np.ndarray) -> np.ndarray:
    """Training rows of other sites, but for those of groups that the test site has too."""
    if train.groups is not None and test.groups is not None:
        known = pd.Series(test.groups[here]).dropna()
        both = others & pd.Series(train.groups).isin(known[known != -1]).to_numpy()
        if both.any():
            log.info("%s: %d samples of groups at the site left out are not trained on", test.site.name, both.sum())
        others = others & ~both
    return np.flatnonzero(others)


def _weights(test: Side, site: np.ndarray, seed: int) -> np.ndarray:
    """How often each test sample is drawn, within its site: a row of ones, then one row per resample."""
    n = len(site)
    member = np.arange(n) if test.groups is None else pd.factorize(pd.Series(test.groups))[0]
    rng = np.random.default_rng([seed, zlib.crc32(f"{test.label.name}/{test.site.name}".encode())])
    weights = np.ones((RESAMPLES + 1, n))
    codes = pd.factorize(pd.Series(site))[0]
    for code in np.unique(codes):
        here = np.flatnonzero(codes == code)
        units, unit = np.unique(member[here], return_inverse=True)
        weights[1:, here] = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), size=RESAMPLES)[:, unit]
    return weights
