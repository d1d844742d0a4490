import re
from xml.etree import ElementTree

import pandas as pd
import pytest
from report_results import HOSTILE

from isthmus import plot
from isthmus.plot.style import printable, variables
from isthmus.report.svg import inline, to_svg

HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "train/total": [3.0, 2.0, 1.5], "valid/total": [3.0, 2.0, 1.6]})


@pytest.fixture(scope="module")
def file():
    return to_svg(plot.loss_curves(HISTORY, best_epoch=2))


def test_the_file_is_black_on_white_and_says_nothing_of_when_or_where(file):
    root = ElementTree.fromstring(file.encode())
    assert root.tag.endswith("svg")
    assert "var(" not in file
    assert not re.search(r"<metadata|matplotlib v|\d{4}-\d\d-\d\dT", file)


def test_inline_colours_are_variables_only(file):
    text = inline(file, name="loss", label="loss")
    used = set(re.findall(r"var\(--(\w+)\)", text))
    assert {"ink", "muted", "grid", "paper", "c0"} <= used <= set(variables())
    assert not re.search(r"#[0-9a-f]{6}", text)


def test_inline_ids_are_its_own_and_all_references_resolve(file):
    ids = []
    for name in ("one", "two"):
        text = inline(file, name=name, label="loss")
        own = re.findall(r'\bid="([^"]+)"', text)
        referred = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
        assert referred
        assert referred == set(own)
        ids += own
    assert len(set(ids)) == len(ids)


def test_inline_is_an_image_with_a_name_and_without_namespaces(file):
    text = inline(file, name="loss", label='a "label" <b>')
    root = ElementTree.fromstring(text)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'a "label" <b>'
    assert "xmlns" not in text
    assert "http" not in text
    assert not list(root.iter("style"))


@pytest.mark.parametrize("label", HOSTILE)
def test_labels_are_text_in_the_file_and_inline(label):
    figure = plot.embedding_scatter(pd.DataFrame([[0.0, 0.0], [1.0, 1.0]]), pd.Series([label, "b"]), label)
    file = to_svg(figure)
    for text in (file, inline(file, name="f", label=label)):
        root = ElementTree.fromstring(text.encode())
        said = [e.text for e in root.iter() if e.tag.endswith("text")]
        assert printable(label) in said
        assert not [e for e in root.iter() if e.tag.endswith(("script", "image", "foreignObject"))]
        assert not [k for e in root.iter() for k in e.attrib if k.startswith("on")]
