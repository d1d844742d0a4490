"""What is known of a column of obs that a loss reads or decoders are told. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """What a loss reads from obs, as `Batch.targets[name]`.

    class      position of each sample's class in `classes`, int64; -1 where it has none of them
    value      (value - mean) / sd, float32; NaN where it is missing
    survival   n x 2, float32: time, and 1 where the event happened, else 0; NaN where either is missing

    `columns` are the columns of obs, of survival time and event (with `turned`: censoring); empty: `name` is the
    column. `mean` and `sd` are those of train; `edges` those of the intervals of time, of discrete survival.
    """

    name: str
    kind: Literal["class", "value", "survival"] = "class"
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    turned: bool = False
    mean: float = 0.0
    sd: float = 1.0
    edges: tuple[float, ...] = ()


@dataclass(frozen=True)
class Covariate:
    """A column of obs that decoders are told, as `Batch.covariates[name]`.

    n x `width`, float32, centred by train, so that 0 stands for a missing value, an unknown class, or nobody in
    particular: one-hot of `classes` minus their `shares` in train, or (value - mean) / sd where there are no classes.
    """

    name: str
    classes: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    mean: float = 0.0
    sd: float = 1.0

    @property
    def width(self) -> int:
        return len(self.classes) or 1
