"""Translations and the latent space on a page: what is shown, in which order, whatever names say."""

import numpy as np
import pandas as pd
import pytest
from report_results import HOSTILE
from test_report_page import Reader

from isthmus import plot
from isthmus.plot.scores import is_baseline
from isthmus.report import render
from isthmus.report.blocks import FigureBlock, Page, TableBlock
from isthmus.report.latent import latent_section
from isthmus.report.translation import translation_section

WHO = ("VAE", "ridge", "knn", "nearest", "mean", "group")


def scores(label="", pairs=2):
    rows = [
        {"source": f"a{k}{label}", "target": f"b{label}", "representation": who, "r2": 0.5 - 0.2 * j, "r2_within": 0.1}
        for k in range(pairs)
        for j, who in enumerate(WHO)
    ]
    return pd.DataFrame(rows).assign(pearson_feature=0.5, mse=0.7, n_samples=9.0)


def sections(label="", pairs=2):
    table = scores(label, pairs)
    transfer = table[["source", "target", "representation"]].assign(label="kind" + label, metric="auc", value=0.9)
    true = transfer[transfer["representation"] == "VAE"].assign(representation="true", value=0.95)
    features = table[table["representation"] == "VAE"][["source", "target", "r2"]].assign(feature="g" + label)
    subsets = pd.DataFrame(
        {"modalities": [f"a{label}", f"b{label}", f"a{label} + b{label}"], "r2": [0.5, 0.2, 1.0], "n": 9}
    ).assign(label="kind" + label, auc=[0.7, 0.6, 0.8])
    alignment = pd.DataFrame([{"first": f"a{label}", "second": f"b{label}", "foscttm": 0.1, "r1": 0.2, "n": 9.0}])
    latent = pd.DataFrame([{"coverage": np.nan, "total_correlation": 0.2, "n": 9}])
    dimensions = pd.DataFrame({"dimension": ["term" + label], "pearson": 0.9})
    return (
        translation_section(table, pd.concat([transfer, true]), features, model="VAE"),
        latent_section(latent, subsets, alignment, others={"dimensions": dimensions}),
    )


@pytest.mark.parametrize("label", ["", *HOSTILE], ids=lambda t: repr(t[:12]))
def test_names_are_text_and_pages_well_formed(label):
    text = render(Page("t", "s", ["lead"], list(sections(label))))
    Reader(text)
    assert "documentElement.dataset.hit=1<" not in text
    assert "<img src=x" not in text


def test_the_model_is_bold_and_the_yardstick_is_explained():
    translation, latent = sections()
    table = next(b for b in translation.blocks if isinstance(b, TableBlock) and b.name == "translation")
    assert list(table.bold) == [True, False, False, False, False, False] * 2
    assert list(table.excerpt["representation"][:6]) == [
        "VAE", "ridge", "kNN", "nearest neighbour", "train mean", "mean of the true class",
    ]  # fmt: skip
    assert [is_baseline(r) for r in table.excerpt["representation"][:6]] == [False] + [True] * 5
    assert "told the class" in table.caption
    read = next(b for b in translation.blocks if isinstance(b, TableBlock) and b.name == "label_transfer").excerpt
    assert list(read.columns)[:3] == ["source", "target", "VAE"]
    assert (read["measured values"] == 0.95).all()
    assert [type(b) for b in latent.blocks].count(FigureBlock) == 1


def test_what_was_not_measured_is_not_shown():
    empty = pd.DataFrame()
    assert translation_section(empty, empty, empty, model="VAE").blocks == ()
    assert latent_section(empty, empty, empty, others={"robustness": empty}).blocks == ()
    alone = translation_section(scores().drop(columns="r2_within"), empty, empty, model="VAE")
    assert [type(b) for b in alone.blocks] == [FigureBlock, TableBlock]
    assert "told the class" not in alone.blocks[1].caption
    assert "What is below \u22120.25 stands there" in alone.blocks[0].caption
    above = scores().assign(r2=0.5)
    assert "What is below" not in translation_section(above, empty, empty, model="VAE").blocks[0].caption


def points(axes):
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axes.lines if line.get_marker() == "o"]


def test_a_panel_per_pair_with_a_dot_per_representation():
    figure = plot.translations(scores(pairs=3))
    drawn = [a for a in figure.axes if a.get_visible()]
    assert [a.get_title() or a.get_title("left") for a in drawn] == ["a0 → b", "a1 → b", "a2 → b"]
    for axes in drawn:
        assert [x for x, _ in points(axes)] == pytest.approx([0.5, 0.3, 0.1, -0.1, -0.25, -0.25])  # the floor
        assert [t.get_text() for t in axes.texts][-1] == "\u22120.500"  # the number is told all the same


def test_what_fewer_modalities_leave_is_drawn_with_the_full_set_last_and_hollow():
    frame = pd.DataFrame({"modalities": ["a", "b", "a + b"], "r2": [0.5, -0.1, 1.0], "label": "kind", "auc": 0.7})
    left, right = plot.retained(frame).axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["a", "b", "all"]
    assert [x for x, _ in points(left)] == pytest.approx([0.5, -0.1, 1.0])
    assert len({line.get_markerfacecolor() for line in right.lines if line.get_marker() == "o"}) == 2
    assert len(plot.retained(frame.drop(columns=["label", "auc"])).axes) == 1
    assert "no fewer" in plot.retained(frame.iloc[:0]).texts[0].get_text()
    assert "No modality" in plot.translations(frame.iloc[:0]).texts[0].get_text()
