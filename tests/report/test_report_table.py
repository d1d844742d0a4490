import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.report.table import cell, raw, shown, to_csv
from isthmus.share.safety import _runs

TEXTS = st.text() | st.text(alphabet="=+-@;\t\r\n '1ae,\"\uff1d")


@given(st.lists(st.tuples(TEXTS, st.floats(allow_nan=False)), min_size=1))
def test_csv_gives_back_text_and_numbers_and_holds_nothing_that_a_spreadsheet_runs(rows):
    frame = pd.DataFrame(rows, columns=["name", "value"])
    back = list(csv.reader(io.StringIO(to_csv(frame), newline="")))
    assert back[0] == ["name", "value"]
    for (name, value), (text, number) in zip(rows, back[1:], strict=True):
        assert raw(text) == name
        assert float(number) == value
    assert not _runs(to_csv(frame))


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_formulae_are_neutralised_in_cells_and_heads(text):
    out = list(csv.reader(io.StringIO(to_csv(pd.DataFrame({text: [text]})), newline="")))
    assert out == [[text[:-2] + "'" + text[-2:]] if text[0] in "\t\r" else [f"'{text}"]] * 2


def test_numbers_are_left_alone_and_missing_is_empty():
    frame = pd.DataFrame({"a": [-1.5, np.nan], "b": ["-3", None], "c": [True, False]})
    assert to_csv(frame) == "a,b,c\n-1.5,-3,True\n,,False\n"


def test_an_unpaired_surrogate_does_not_stop_the_file():
    to_csv(pd.DataFrame({"a": ["\ud800"]})).encode("utf-8")


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, "", "–"),
        (np.nan, ".3f", "–"),
        (True, "", "yes"),
        (np.int64(24776), "", "24,776"),
        (-0.12345, ".3f", "\u22120.123"),
        (0.5, "", "0.500"),
        ("plain", ".3f", "plain"),
    ],
)
def test_cells(value, form, text):
    assert cell(value, form).text == text


def test_a_long_name_is_cut_and_kept_beside():
    found = cell("x" * 10_000)
    assert found.text == "x" * 59 + "…"
    assert 60 < len(found.whole) <= 500


def test_the_first_rows_are_shown_by_column():
    frame = pd.DataFrame({"r2": range(50), "some_name": list("ab") * 25})
    seen = shown(frame, {}, 3)
    assert [h.text for h in seen.heads] == ["R²", "some name"]
    assert seen.numeric == (True, False)
    assert [[c.text for c in row] for row in seen.rows] == [["0", "a"], ["1", "b"], ["2", "a"]]
