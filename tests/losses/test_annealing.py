from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.config import Annealing
from isthmus.losses.annealing import weight

SCHEDULES = get_args(Annealing)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ends_at_the_full_weight(schedule):
    assert weight(schedule, 1.0) == pytest.approx(1.0, abs=0.01)


@given(st.sampled_from(SCHEDULES), st.floats(0, 1))
def test_stays_between_zero_and_one(schedule, t):
    assert 0 <= weight(schedule, t) <= 1


@given(st.sampled_from([s for s in SCHEDULES if s != "cyclical"]), st.floats(0, 1), st.floats(0, 1))
def test_never_falls(schedule, a, b):
    assert weight(schedule, min(a, b)) <= weight(schedule, max(a, b)) + 1e-12


@pytest.mark.parametrize(
    ("schedule", "centre"), [("logistic_early", 0.25), ("logistic_mid", 0.5), ("logistic_late", 0.75)]
)
def test_logistic_is_half_at_its_centre(schedule, centre):
    assert weight(schedule, centre) == pytest.approx(0.5)


def test_five_phases():
    assert [weight("five_phase", t) for t in (0.1, 0.3, 0.5, 0.7, 0.9)] == [0.0, 0.001, 0.01, 0.1, 1.0]


def test_cycles_start_at_zero():
    assert [weight("cyclical", t) for t in (0.0, 0.25, 0.5, 0.75)] == [0.0] * 4
