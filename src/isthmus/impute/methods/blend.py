"""A weighted sum of other methods, with weights from training entries that were hidden for the purpose.

A quarter of the training samples (at most 1,000) is set aside; the members are fitted on the rest (at most 2,000) and
predict, of those set aside, a fifth of the entries that was hidden, and whole rows from the source. Non-negative least
squares gives the members' weights, one set for samples that show something of their row and one for those that do not;
then the members are fitted on all (stacking: Breiman, Stacked regressions, Machine Learning 1996,
doi:10.1007/BF00117832).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.optimize import nnls
from sklearn.base import clone

from isthmus.impute.imputer import Imputer, make

ENTRIES, ROWS = ("low_rank", "correlated_features", "component_ridge"), ("component_ridge", "low_rank", "translator")
HIDDEN, SET_ASIDE, STREAM = 0.2, 0.25, (0xB1E, 1)
FEWEST, MOST_ENTRIES = 12, 2_000_000
MOST_ASIDE, MOST_ROWS = 1000, 2000
"""Samples set aside, and of the rest those on which the members are fitted for the weights; draws of larger cohorts."""


class Blend(Imputer):
    """Weighted sum of other methods.

    Parameters
    ----------
    entries
        Members for samples that show something of their row.
    rows
        Members for samples that show nothing of it.
    """

    reads: ClassVar[tuple[str, ...]] = ("entries", "source")
    effort: ClassVar[int] = 8

    def __init__(self, entries: tuple[str, ...] = ENTRIES, rows: tuple[str, ...] = ROWS) -> None:
        self.entries, self.rows = entries, rows

    def learn(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> None:
        here = np.flatnonzero(~np.isnan(x).all(axis=1))
        rows = self.rows if source is not None else ()
        names = tuple(dict.fromkeys((*self.entries, *rows)))
        self.weights_ = {False: _even(self.entries), True: _even(rows)}
        rng = np.random.default_rng(STREAM)
        aside = np.sort(rng.permutation(here)[: min(int(SET_ASIDE * len(here)), MOST_ASIDE)])
        if len(aside) >= FEWEST:
            self._try(x, source, aside, rng)
        used = [m for m in names if any(w.get(m, 0.0) > 0 for w in self.weights_.values())]
        self.members_ = self._fit(tuple(used), x, source)

    def _try(self, x: np.ndarray, source: np.ndarray | None, aside: np.ndarray, rng: np.random.Generator) -> None:
        """Weights from samples set aside; what was fitted for them is let go."""
        rest = np.setdiff1d(np.arange(len(x)), aside)
        if len(rest) > MOST_ROWS:
            rest = np.sort(rng.permutation(rest)[:MOST_ROWS])
        names = tuple(dict.fromkeys((*self.entries, *self.weights_[True])))
        tried = self._fit(names, x[rest], None if source is None else source[rest])
        given = None if source is None else source[aside]
        hidden = rng.random((len(aside), x.shape[1])) < HIDDEN
        self.weights_[False] = _weights({m: tried[m] for m in self.entries}, x[aside], hidden, given)
        if self.weights_[True]:
            rows = {m: tried[m] for m in self.weights_[True]}
            self.weights_[True] = _weights(rows, x[aside], np.ones_like(hidden), given)

    @staticmethod
    def _fit(names: tuple[str, ...], x: np.ndarray, source: np.ndarray | None) -> dict[str, Imputer]:
        return {m: clone(make(m)[1]).fit(x, source=source) for m in names}

    def predict(self, x: np.ndarray, source: np.ndarray | None, classes: np.ndarray | None) -> np.ndarray:
        out = np.full(x.shape, np.nan)
        empty = np.isnan(x).all(axis=1)
        for of_rows, weights in self.weights_.items():
            rows = empty if of_rows else ~empty
            if rows.any() and weights:
                given = None if source is None else source[rows]
                said = sum(
                    w * (self.members_[m].transform(x[rows], source=given) - self.mean_)
                    for m, w in weights.items()
                    if w > 0
                )
                out[rows] = self.mean_ + said
        return out


def _even(members: tuple[str, ...]) -> dict[str, float]:
    return {m: 1 / len(members) for m in members}


def _weights(
    members: dict[str, Imputer], x: np.ndarray, hidden: np.ndarray, source: np.ndarray | None
) -> dict[str, float]:
    """Non-negative least squares of the hidden entries on what the members say of them, around the train means."""
    shown = np.where(hidden, np.nan, x)
    known = hidden & ~np.isnan(x)
    mean = next(iter(members.values())).mean_
    said = np.stack([(m.transform(shown, source=source) - mean)[known] for m in members.values()], axis=1)
    truth = (x - mean)[known]
    fine = np.isfinite(said).all(axis=1) & np.isfinite(truth)
    if not fine.any():
        return _even(tuple(members))
    pick = np.flatnonzero(fine)[:: max(1, int(fine.sum() // MOST_ENTRIES))]
    corner = np.asarray(np.linalg.qr(np.column_stack([said[pick], truth[pick]]), mode="r"))
    found, _ = nnls(corner[:, :-1], corner[:, -1])
    return dict(zip(members, found.tolist(), strict=True))
