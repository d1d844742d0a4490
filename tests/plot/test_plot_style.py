import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from isthmus import plot
from isthmus.plot import style
from isthmus.plot.groups import binned, grouped, kind_of, natural, shown


def test_neither_plot_nor_report_imports_torch():
    code = "import sys, isthmus.plot, isthmus.report; sys.exit(bool({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_colour_is_told_from_its_paper_in_light_and_dark():
    papers = style.PAPER, style.DARK[style.PAPER]
    for k in range(len(style.CLASSES)):
        _, light, dark = style.variables()[f"c{k}"]
        assert style.contrast(light, papers[0]) > 2
        assert style.contrast(dark, papers[1]) > 4
    for name in ("ink", "muted"):
        _, light, dark = style.variables()[name]
        assert style.contrast(light, papers[0]) > 4.5
        assert style.contrast(dark, papers[1]) > 4.5


def test_contrast_of_black_on_white_is_21():
    assert style.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert style.contrast("#777777", "#777777") == 1


def test_there_are_twenty_classes_or_more_and_no_sentinel_twice():
    assert len(set(style.CLASSES)) == len(style.CLASSES) >= 20
    sentinels = [v[0] for v in style.variables().values()]
    assert len(set(sentinels)) == len(sentinels)
    assert all(to_hex(s) == s for s in sentinels)  # as matplotlib writes them, or they would not be found


@given(st.text())
def test_printable_text_has_no_control_characters_and_no_direction_marks(text):
    found = style.printable(text)
    assert len(found) <= style.LONGEST_LABEL
    assert style.printable(found) == found
    found.encode("utf-8")
    assert not set(found) & style.BIDI_CONTROLS
    assert found.isprintable() or not found.isascii()


def test_printable_keeps_what_is_legible():
    assert style.printable("שלום 😀 <b>&") == "שלום 😀 <b>&"
    assert style.printable("a\nb\tc\x00\ud800") == "a b c\ufffd\ufffd"
    assert style.printable("x" * 10_000, 5) == "xxxx…"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (-12345.0, "-12,345"),
        (0.12345, "0.123"),
        (12.345, "12.3"),
        (1234.5, "1,234"),
        (1.5e-7, "1.50e-07"),
        (float("nan"), "–"),
        (float("-inf"), "-∞"),
    ],
)
def test_numbers(value, text):
    assert style.number(value) == text


@given(st.lists(st.sampled_from([f"c{k}" for k in range(40)]) | st.none(), min_size=1), st.integers(2, 24))
def test_grouping_counts_every_sample_once(labels, most):
    series = pd.Series(labels, dtype=object)
    groups = grouped(series, most)
    assert groups.counts.sum() + (groups.codes < 0).sum() == len(labels)
    assert len(groups.names) <= most
    assert ((groups.codes < 0) == series.isna()).all()
    if not groups.merged:
        assert [groups.names[c] for c in groups.codes if c >= 0] == series.dropna().tolist()
    else:
        kept = series.value_counts()[list(groups.names[:-1])]
        assert kept.min() >= series.value_counts().drop(list(groups.names[:-1])).max()


def test_classes_are_in_natural_order():
    assert grouped(pd.Series(["stage 10", "stage 2", "Stage 1"])).names == ("Stage 1", "stage 2", "stage 10")
    assert sorted(["b", "10", "9", "a"], key=natural) == ["9", "10", "a", "b"]


@given(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1))
def test_bins_rise_with_the_value(values):
    codes, low, high = binned(pd.Series(values))
    x = np.array(values)
    assert ((codes < 0) == np.isnan(x)).all()
    known = np.argsort(x[codes >= 0], kind="stable")
    assert (np.diff(codes[codes >= 0][known]) >= 0).all()
    assert codes.max() < 9
    assert not low > high


def test_kinds():
    assert kind_of(pd.Series(range(20))) == "numeric"
    assert kind_of(pd.Series([0, 1, 2] * 9)) == "categorical"
    assert kind_of(pd.Series([True, False])) == "categorical"
    assert kind_of(pd.Series(list("abc"))) == "categorical"


def test_what_is_shown_is_everything_or_a_fixed_draw():
    assert (shown(7) == np.arange(7)).all()
    some = shown(50_000)
    assert len(set(some)) == style.MOST_POINTS
    assert (some == shown(50_000)).all()


def test_the_users_settings_are_neither_read_nor_changed():
    with mpl.rc_context({"font.size": 31, "lines.linewidth": 9}):
        before = dict(mpl.rcParams)
        history = pd.DataFrame({"epoch": [1, 2], "train/total": [2.0, 1.0]})
        figure = plot.loss_curves(history)
        assert dict(mpl.rcParams) == before
    assert figure.axes[0].lines[0].get_linewidth() == style.RC["lines.linewidth"]
    assert figure.axes[0].xaxis.label.get_fontsize() == style.RC["axes.labelsize"]
