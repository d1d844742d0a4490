"""Steps on bags: those before `mean` prepare every instance, those after it the mean of each bag.

Steps are learnt on training instances: all of them, or a seeded draw where they are many. The mean is that of the
prepared instances, so that with `log1p` before it the mean is of logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from isthmus.data.bags import Bags
from isthmus.data.table import Array
from isthmus.prepare.step import Step, step

LEARNT = 1 << 27
"""Values of training instances that a step may be learnt on: a draw where there are more."""
HELD = 1 << 27
"""Values of prepared instances that are held in memory; where there are more, they are read anew for every batch."""
BLOCK = 1 << 24
"""Values prepared at a time."""


@step("mean")
class BagMean(Step):
    """For bags: the mean of the instances of each; steps before it are for instances, steps after it for means."""

    invertible = True

    def transform(self, x: Array, *, ids: object = None) -> Array:
        return x


def split(steps: Sequence[Step]) -> tuple[list[Step], list[Step]]:
    """The steps for instances, and those for means; without the step `mean` all are for instances."""
    at = next((i for i, s in enumerate(steps) if isinstance(s, BagMean)), len(steps))
    return list(steps[:at]), list(steps[at:])


@dataclass(eq=False)
class Instances:
    """The bags of some samples, and the fitted steps that make their instances ready.

    `columns` are the positions of the features that the first step wants; None: all, as they stand.
    """

    bags: Bags
    steps: Sequence[Step] = ()
    columns: np.ndarray | None = None
    _held: tuple[np.ndarray, np.ndarray] | None = field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.bags)

    @property
    def lengths(self) -> np.ndarray:
        """Instances of every sample."""
        return self.bags.lengths

    @property
    def width(self) -> int:
        """Features of a prepared instance."""
        if self.steps:
            return len(self.steps[-1].features_)
        return len(self.bags.features) if self.columns is None else len(self.columns)

    def packed(
        self, index: np.ndarray, most: int | None = None, seed: Sequence[int] = (0,)
    ) -> tuple[np.ndarray, np.ndarray]:
        """The instances of some samples, prepared (N x f, float32), and n + 1 offsets; `most`, `seed` as in `Bags`."""
        rows, offsets = self.bags.rows(index, most, seed)
        held = self._all()
        if held is None:
            return self._prepared(rows), offsets
        first = held[1][index] - self.bags.start[index]
        return held[0][rows + np.repeat(first, np.diff(offsets))], offsets

    def means(self) -> np.ndarray:
        """The mean of every bag, n x f in float32; NaN for an empty one."""
        found = np.full((len(self), self.width), np.nan, dtype=np.float32)
        for i in np.flatnonzero(self.lengths):
            x, _ = self.packed(np.array([i]))
            found[i] = x.mean(axis=0, dtype=np.float64)
        return found

    def draw(self, seed: int = 0) -> np.ndarray:
        """Raw instances to learn from: all, or as many of each bag as may be held."""
        index = np.flatnonzero(self.lengths)
        most = max(1, LEARNT // max(1, len(self.bags.features) * len(index)))
        return self._raw(self.bags.rows(index, most, (seed,))[0])

    def _all(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Every prepared instance and where each sample's begin, where they are few enough to be held."""
        total = int(self.lengths.sum())
        if self._held is None and total * max(self.width, 1) <= HELD:
            rows, offsets = self.bags.rows(np.arange(len(self)))
            self._held = self._prepared(rows), offsets[:-1]
        return self._held

    def _raw(self, rows: np.ndarray) -> np.ndarray:
        x = self.bags.values(rows)
        if self.columns is None:
            return x
        out = x[:, np.maximum(self.columns, 0)]
        out[:, self.columns < 0] = np.nan
        return out

    def _prepared(self, rows: np.ndarray) -> np.ndarray:
        """Instances by their rows in the store, through the steps; 0 for a feature that is not there."""
        out = np.empty((len(rows), self.width), dtype=np.float32)
        size = max(1, BLOCK // max(1, len(self.bags.features)))
        for first in range(0, len(rows), size):
            x: Array = self._raw(rows[first : first + size])
            for one in self.steps:
                x = one.transform(x)
            out[first : first + size] = x
        np.nan_to_num(out, copy=False)
        return out
