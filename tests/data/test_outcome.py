"""Survival columns: what they may hold, and censoring turned round."""

import numpy as np
import pandas as pd
import pytest

from isthmus.data.outcome import event_of, survival_of
from isthmus.errors import DataError, RecipeError

OBS = pd.DataFrame(
    {"months": [3.0, 0.0, np.nan, 7.5], "dead": [1, 0, 1, 0], "status": ["1:DECEASED", "0:LIVING", None, "yes"]}
)


def test_censoring_is_the_event_turned_round_and_unknown_stays_unknown():
    plain = survival_of(OBS, time="months", event="dead")
    np.testing.assert_array_equal(plain, [[3, 1], [0, 0], [np.nan, np.nan], [7.5, 0]])
    turned = survival_of(OBS.assign(dead=1 - OBS["dead"]), time="months", event="dead", turned=True)
    np.testing.assert_array_equal(turned, plain)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1:DECEASED", "0:LIVING", None, "yes"], [1, 0, np.nan, 1]),
        ([True, False, True], [1, 0, 1]),
        (pd.array([True, None, False], dtype="boolean"), [1, np.nan, 0]),
        (pd.Categorical(["no", "yes", None]), [0, 1, np.nan]),
        ([1.0, np.nan, 0.0], [1, np.nan, 0]),
    ],
)
def test_events_in_their_usual_spellings(values, expected):
    np.testing.assert_array_equal(event_of(pd.Series(values, name="e")), expected)


def test_wrong_columns_are_named():
    with pytest.raises(DataError, match=r"heads.os, column 'dead': .*met 2"):
        survival_of(OBS.assign(dead=[1, 2, 0, 0]), time="months", event="dead", where="heads.os")
    with pytest.raises(DataError, match="met 'LIVING'"):
        event_of(pd.Series(["LIVING", "DEAD"], name="status"))
    with pytest.raises(RecipeError, match=r"no such column in obs; met 'month'\ndid you mean 'months'"):
        survival_of(OBS, time="month", event="dead")
    with pytest.raises(DataError, match=r"column 'months': is no time; met -1.0"):
        survival_of(OBS.assign(months=[-1.0, 2, 3, 4]), time="months", event="dead")
    with pytest.raises(DataError, match="is no column of times"):
        survival_of(OBS, time="status", event="dead")
    with pytest.raises(DataError, match=rf"met 'unknown'[\s\S]*sample {OBS.index[1]}"):
        survival_of(OBS.assign(months=["1.5", "unknown", "3", None]), time="months", event="dead")
