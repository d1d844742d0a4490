"""One modality made ready: an array, and for a sparse one what is still to be done to the rows of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from isthmus.data.images import Picture
from isthmus.data.table import Array
from isthmus.prepare.bags import Instances
from isthmus.prepare.span import Span
from isthmus.prepare.step import clipped


@dataclass(eq=False)
class Prepared:
    """Samples x features after preparation; treat as read-only.

    A dense `x` is ready as it stands, NaN where missing. A CSR `x` stays sparse, and `rows` makes some samples dense:
    a value is clip((x - shift) / scale, low, high), NaN where the sample is absent, the feature is unobserved or a
    stored entry is NaN.

    Attributes
    ----------
    x
        n x f, dense or CSR, float32 or float64.
    features
        The f names.
    present
        n booleans: the sample has this modality.
    shift, scale
        f numbers each, still to be applied to CSR; None where nothing is.
    low, high
        Bounds of the values of CSR after shift and scale; None where there is none.
    unobserved
        f booleans, for CSR alone: features that these samples were not measured for; None where there is none.
    picture
        How rows are images; None for a table.
    instances
        The bags of which rows are the means; None where there are none.
    span
        What turns rows into the coordinates that a network reads instead; None where it reads the values.
    """

    x: Array
    features: pd.Index
    present: np.ndarray
    shift: np.ndarray | None = None
    scale: np.ndarray | None = None
    low: float | None = None
    high: float | None = None
    unobserved: np.ndarray | None = None
    picture: Picture | None = None
    span: Span | None = None
    instances: Instances | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])

    @property
    def dense(self) -> bool:
        """Whether `x` is ready as it stands."""
        return not sp.issparse(self.x)

    @property
    def width(self) -> int:
        """Number of features."""
        return int(self.x.shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample: (f,), or (H, W, C) of an image."""
        return (self.width,) if self.picture is None else self.picture.shape

    def rows(self, index: np.ndarray) -> np.ndarray:
        """Some samples, by position: len(index) x f, dense, float32, NaN where missing."""
        if isinstance(self.x, np.ndarray):
            return np.asarray(self.x[index], dtype=np.float32)
        values = self.x[index].toarray()
        if self.shift is not None or self.scale is not None:
            shift = 0.0 if self.shift is None else self.shift
            scale = 1.0 if self.scale is None else self.scale
            values = (values.astype(np.float64) - shift) / scale
        out = np.array(clipped(values, self.low, self.high), dtype=np.float32)
        out[~self.present[index]] = np.nan
        if self.unobserved is not None:
            out[:, self.unobserved] = np.nan
        return out

    def reduced(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Coordinates for every sample (n x r) and what lies outside their span, squared (n); None without `span`."""
        if self.span is None:
            return None
        found = [
            self.span.coordinates(self.rows(i)) for i in np.array_split(np.arange(len(self)), len(self) // 256 + 1)
        ]
        return np.concatenate([c for c, _ in found]), np.concatenate([o for _, o in found])
