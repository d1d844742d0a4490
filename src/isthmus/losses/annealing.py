"""The weight a(t) of a divergence in the course of training, t = 0..1."""

from __future__ import annotations

import math

from isthmus.config import Annealing

STEEPNESS = 20.0
CENTRES = {"logistic_early": 0.25, "logistic_mid": 0.5, "logistic_late": 0.75}
FIVE = (0.0, 0.001, 0.01, 0.1, 1.0)
CYCLES, RISE = 4, 0.5


def _logistic(t: float, centre: float, steepness: float = STEEPNESS) -> float:
    return 1.0 / (1.0 + math.exp(-steepness * (t - centre)))


def weight(schedule: Annealing, t: float) -> float:
    """a(t), in 0..1.

    logistic_*: 1 / (1 + exp(-20 (t - c))), c = .25, .5, .75. *_three_phase: 0 for a third, a rise, 1 for a third.
    five_phase: 0, .001, .01, .1, 1. cyclical: four linear rises over half a cycle each (Fu et al. 2019,
    arXiv:1903.10145).
    """
    match schedule:
        case "constant":
            return 1.0
        case "logistic_early" | "logistic_mid" | "logistic_late":
            return _logistic(t, CENTRES[schedule])
        case "linear_three_phase":
            return min(max(3 * t - 1, 0.0), 1.0)
        case "logistic_three_phase":
            return 0.0 if t < 1 / 3 else 1.0 if t >= 2 / 3 else _logistic(t, 0.5, 3 * STEEPNESS)
        case "five_phase":
            return FIVE[min(int(t * len(FIVE)), len(FIVE) - 1)]
        case "cyclical":
            return 1.0 if t >= 1 else min((t * CYCLES % 1) / RISE, 1.0)
