import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isthmus
from isthmus.report.table import Cell, cell, raw, read_csv, save_csv, shown, to_csv
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


def test_a_sentence_is_not_cut_where_a_long_word_is():
    why = "nmf: has values below 0, of which it can make nothing: leave out standardise for it"
    assert cell(why) == Cell(why)
    assert cell("x" * 80).whole == "x" * 80


def test_the_first_rows_are_shown_by_column():
    frame = pd.DataFrame({"r2": range(50), "some_name": list("ab") * 25})
    seen = shown(frame, {}, 3)
    assert [h.text for h in seen.heads] == ["R²", "some name"]
    assert seen.numeric == (True, False)
    assert [[c.text for c in row] for row in seen.rows] == [["0", "a"], ["1", "b"], ["2", "a"]]


def test_what_is_saved_is_read_as_it_was_and_holds_no_formula(tmp_path):
    table = pd.DataFrame({
        "=study": ["@a", "null", "NA", "-0.5x"], "value": [0.1 + 0.2, np.nan, -0.21598369271286733, -2.0],
        "done": [True, False, True, True], "number": [1, 2, 3, 4], "pruned": [True, None, "=1+1", 3],
    })  # fmt: skip
    save_csv(table, tmp_path / "trials.csv")
    assert not _runs((tmp_path / "trials.csv").read_text(encoding="utf-8"))
    again = read_csv(tmp_path / "trials.csv")
    text = table["pruned"].map(str).where(table["pruned"].notna())
    pd.testing.assert_frame_equal(again, table.assign(pruned=text), check_dtype=False, check_exact=True)
    assert [p.name for p in tmp_path.iterdir()] == ["trials.csv"]


def test_every_table_with_names_in_it_goes_through_the_writer_that_neutralises():
    package = Path(isthmus.__file__).parent
    plain = {str(p.relative_to(package)) for p in package.rglob("*.py") if ".to_csv(" in p.read_text(encoding="utf-8")}
    own = {"data/simulate.py", "data/bag_write.py", "results.py"}  # simulated names; what is read back; names of losses
    assert plain == own | {"report/page.py"}
