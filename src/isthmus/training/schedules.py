"""The learning rate as a pure function of progress, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from typing import Literal


def factor(schedule: Literal["constant", "linear", "cosine"], t: float, *, warmup: float = 0.0) -> float:
    """Share of the highest learning rate at progress t in 0..1 of a phase.

    A linear rise over `warmup`, then constant, a line to 0, or half a cosine (Loshchilov & Hutter 2017,
    arXiv:1608.03983, without restarts).
    """
    if t < warmup:
        return t / warmup
    rest = (t - warmup) / (1 - warmup)
    match schedule:
        case "linear":
            return 1.0 - rest
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * rest))
    return 1.0
