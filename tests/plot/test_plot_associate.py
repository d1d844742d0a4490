"""Figures of associations: what is drawn is what was given, and no name covers another."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from isthmus.plot import associate as plot
from isthmus.plot.style import ACCENT, CLASSES


def texts(figure):
    """Boxes of all names inside the panels, in pixels."""
    figure.draw_without_rendering()
    return [
        (axes, t.get_text(), t.get_window_extent())
        for axes in figure.axes for t in axes.texts if t.get_text()
    ]  # fmt: skip


def network(seed, x=14, y=12, links=60):
    rng = np.random.default_rng(seed)
    pairs = {(int(a), int(b)) for a, b in zip(rng.integers(0, x, links), rng.integers(0, y, links), strict=True)}
    rows = [(f"gene_with_a_name_{a}", f"d__Bacteria;f__Lachnospiraceae;g__{b}", rng.uniform(-1, 1)) for a, b in pairs]
    return pd.DataFrame(rows, columns=["x", "y", "rho"])


@pytest.mark.parametrize("seed", range(4))
def test_no_name_in_a_network_covers_another(seed):
    parts = [(f"module {k}", network(10 * seed + k, links=20 + 15 * k)) for k in range(4)]
    found = texts(plot.modules(parts, sides=("gene", "genus")))
    assert len(found) >= 12
    for i, (axes, name, box) in enumerate(found):
        assert box.x0 >= 0
        for other, another, second in found[i + 1 :]:
            if axes is other:
                assert not box.overlaps(second), (name, another)


def test_pairs_by_themselves_share_a_panel():
    alone = [(f"module {k}", pd.DataFrame({"x": [f"g{k}"], "y": [f"m{k}"], "rho": [0.9]})) for k in range(5)]
    figure = plot.modules(alone, sides=("gene", "metabolite"))
    (axes,) = [a for a in figure.axes if a.get_visible()]
    assert axes.get_title(loc="left") == "5 pairs by themselves"
    assert {t.get_text() for t in axes.texts} == {f"{c}{k}" for c in "gm" for k in range(5)}


def test_what_is_lost_and_kept_has_its_colour_and_height():
    rows = [
        ("as they stand", -0.9, 1e-8, "lost"),
        ("as they stand", 0.8, 1e-6, "kept"),
        ("as they stand", 0.1, 0.5, "pair"),
    ]
    figure = plot.volcano(
        pd.DataFrame(rows, columns=["panel", "rho", "p", "kind"]), unit="ρ", threshold={"as they stand": 1e-6}
    )
    lines = {to_hex(x.get_color()): x for x in figure.axes[0].lines if len(x.get_xdata()) == 1}
    assert lines[ACCENT].get_ydata()[0] == pytest.approx(6)
    assert lines[CLASSES[1]].get_xdata()[0] == -0.9
    assert figure.axes[0].lines[-1].get_ydata()[0] == pytest.approx(6)


def test_samples_are_coloured_by_their_group_not_by_their_place():
    ids = list("abcd")
    group = pd.Series(["two", "one", "two", None], ids, name="site")
    a, b = (pd.Series([1.0, 2, 3, 4], ids, name=n) for n in ("gene", "metabolite"))
    figure = plot.pairs([(a.iloc[::-1], b.iloc[::-1], "+0.9")], group)
    colours = [to_hex(c) for c in figure.axes[0].collections[0].get_facecolors()]
    assert colours[1] == colours[3] != colours[2]
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["one", "two"]


def test_long_names_keep_their_end():
    short = plot.short_name("d__Bacteria;f__Lachnospiraceae;g__Blautia", 14)
    assert len(short) <= 14
    assert short.endswith("g__Blautia")
    assert plot.short_name("short", 14) == "short"


@pytest.mark.parametrize(
    "figure",
    [
        lambda: plot.modules([], sides=("a", "b")), lambda: plot.pairs([], None), lambda: plot.p_values({}),
        lambda: plot.volcano(pd.DataFrame(columns=["panel", "rho", "p", "kind"]), unit="ρ", threshold={}),
        lambda: plot.intervals(pd.DataFrame(columns=["rho", "lower", "upper", "feature"]), names="feature", unit="ρ"),
    ],
)  # fmt: skip
def test_nothing_to_draw_is_said(figure):
    assert figure().texts
