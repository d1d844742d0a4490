import html
import json
import re
from dataclasses import fields
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from report_results import HOSTILE, nothing, run_results

from isthmus import plot
from isthmus.plot.style import printable
from isthmus.report import render, run_page, write
from isthmus.report.page import (
    CodeBlock,
    Facts,
    FigureBlock,
    Items,
    Page,
    Prose,
    ScatterBlock,
    Section,
    TableBlock,
    slug,
)

VOID = {"meta", "br", "img", "input", "link", "hr"}
SVG_EMPTY = {"circle", "rect", "path", "use", "line", "clippath", "ellipse", "polygon"}


class Reader(HTMLParser):
    """Reads a page as a browser would, and asserts that what is opened is closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.text, self.scripts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text.append((self.open[-1], data))

    def count(self, tag):
        return sum(t == tag for t, _ in self.tags)


@pytest.fixture(scope="module")
def plain():
    return render(run_page(run_results()))


@pytest.mark.parametrize("label", [HOSTILE[0], HOSTILE[1] + HOSTILE[2], HOSTILE[7], " ".join(HOSTILE)])
def test_a_label_changes_nothing_but_text(plain, label):
    text = render(run_page(run_results(label=label)))
    before, after = Reader(plain), Reader(text)
    structure = [t for t, _ in before.tags if t not in ("title", "bdi")]
    assert [t for t, _ in after.tags if t not in ("title", "bdi")] == structure
    for tag in ("script", "style", "title", "select", "svg", "section"):
        assert after.count(tag) == before.count(tag)
    assert not {t for t, _ in after.tags} & {"img", "iframe", "object", "embed", "link", "base", "form"}
    assert not [k for _, attrs in after.tags for k in attrs if k.startswith("on")]
    assert after.scripts[-1] == before.scripts[-1]  # ours
    text.encode("utf-8")


def test_every_name_is_somewhere_in_the_text():
    label = "<b>&\"'"
    said = " ".join(data for _, data in Reader(render(run_page(run_results(label=label)))).text)
    for name in ("run ", "PCA", "vae", "rna", "z0", "log1p", "dropped ", "note ", "type", "a", "python"):
        assert name + label in said, name
    assert label + "s0" in said


def test_ten_thousand_characters_are_cut_in_the_page_and_whole_in_the_tables(tmp_path):
    label = "x" * 10_000
    write(run_page(run_results(label=label)), tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "x" * 2001 not in text
    assert label in (tmp_path / "tables" / "preparation.csv").read_text(encoding="utf-8")


def test_no_resource_is_asked_for_and_links_are_plain(plain):
    resources = ("src", "srcset", "href", "data", "action", "poster", "xlink:href")
    for tag, attrs in Reader(plain).tags:
        for name in resources:
            if name in attrs:
                external = not attrs[name].startswith("#")
                assert not external or (tag == "a" and attrs[name].startswith("https://"))
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|//cdn", plain)


def test_figures_and_tables_are_numbered_in_order(plain):
    labels = re.findall(r"<b>((?:Figure|Table) \d+)\.</b>", plain)
    for kind in ("Figure", "Table"):
        numbers = [int(x.split()[1]) for x in labels if x.startswith(kind)]
        assert len(numbers) > 5
        assert numbers == list(range(1, len(numbers) + 1))


def test_ids_are_unique_and_the_contents_lead_to_sections(plain):
    tags = Reader(plain).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    targets = [a["href"][1:] for t, a in tags if t == "a" and a["href"].startswith("#")]
    assert set(targets) <= set(ids)
    assert len(targets) == 1 + sum(t == "section" for t, _ in tags)


def test_the_verdict_is_the_first_paragraph(plain):
    assert re.search(r'<main id="content">\s*<p class="verdict" dir="auto">PCA is ahead of', plain)


def test_a_circle_per_sample_and_view_with_its_id(plain):
    circles = re.findall(r'<circle class="([^"]+)" cx="[\d.]+" cy="[\d.]+" r="[\d.]+"><title>([^<]*)</title>', plain)
    assert len(circles) == 2 * 60
    first = run_results()
    for (mark, title), kind in zip(circles, [*first.obs["type"]] * 2, strict=True):
        assert title.endswith(f"type: {kind}")
        assert mark == f"c{'abc'.index(kind)}"
    assert [title.split("\n")[0] for _, title in circles] == [*first.obs.index] * 2


def annotations(text):
    found = re.findall(r'<script type="application/json" id="[^"]*">(.*?)</script>', text, flags=re.DOTALL)
    return [json.loads(f) for f in found]


def test_annotations_are_held_once_and_unpack_to_the_table(plain):
    (held,) = annotations(plain)
    obs = run_results().obs
    assert [a["name"] for a in held] == ["type", "age", "split"]  # a class per sample is no colour
    for a in held:
        values = [a["texts"][k] for k in a["text"]]
        want = obs[a["name"]]
        if a["name"] == "age":
            assert [v == "missing" for v in values] == want.isna().tolist()
            known = [float(v) for v in values if v != "missing"]
            assert np.allclose(known, want.dropna(), rtol=1e-3)
        else:
            assert values == want.tolist()
    numeric = [held[1]["marks"][k] for k in held[1]["mark"]]
    order = np.argsort(obs["age"].dropna().to_numpy())
    bins = np.array([int(m[1:]) for m in numeric if m != "none"])
    assert (np.diff(bins[order]) >= 0).all()


def test_many_samples_are_drawn_in_part_and_the_caption_says_so():
    n = 25_000
    xy = pd.DataFrame(np.random.default_rng(0).normal(size=(n, 2)), columns=["a", "b"])
    xy.iloc[0, 0] = np.nan
    ids = pd.Index([f"s{k}" for k in range(n)])
    block = ScatterBlock(xy, pd.DataFrame({"k": ["p", "q"] * (n // 2)}), ids, "Many.", "many")
    text = render(Page("t", "", [], [Section("s", (block,))]))
    assert text.count("<title>s") == 20_000
    assert "20,000 of 25,000 samples are drawn." in text
    assert "<title>s0\n" not in text


def test_a_report_of_500_samples_is_below_two_megabytes():
    assert len(render(run_page(run_results(500))).encode()) < 2_000_000


def test_the_same_results_give_the_same_page(plain):
    assert render(run_page(run_results())) == plain


@pytest.mark.parametrize(
    "empty",
    [
        ("combinations", "history", "reconstruction", "obs", "recipe", "verdict"),
        ("cohort", "best_epoch", "by_feature", "views", "versions", "notes"),
        ("splits", "preparation", "embedding", "citation"),
        ("benchmark",),
    ],
)
def test_any_part_may_be_empty(empty):
    results = run_results(20)
    values = {f.name: getattr(results, f.name) for f in fields(results)} | {e: getattr(nothing(), e) for e in empty}
    Reader(render(run_page(type(results)(**values))))


def test_a_run_of_nothing_says_why():
    text = render(run_page(nothing()))
    said = " ".join(d for _, d in Reader(text).text)
    for reason in ("No history was kept.", "No sample was embedded.", "names no label", "asks for no evaluation"):
        assert reason in said
    assert "Methods" in said
    assert "How to cite" not in said


def test_written_files(tmp_path):
    page = run_page(run_results(label="=1+1"))
    write(page, tmp_path)
    blocks = [b for s in page.sections for b in s.blocks]
    figures = [b for b in blocks if isinstance(b, FigureBlock | ScatterBlock)]
    tables = [b for b in blocks if isinstance(b, TableBlock | ScatterBlock)]
    assert len(list((tmp_path / "figures").glob("*.svg"))) == len(figures)
    assert len(list((tmp_path / "tables").glob("*.csv"))) == len(tables)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(page)
    points = pd.read_csv(tmp_path / "tables" / "points-umap.csv")
    assert points["sample"].str.startswith("'=1+1").all()
    assert len(points) == 60
    by_feature = pd.read_csv(tmp_path / "tables" / "by_feature.csv")
    assert len(by_feature) == 60  # all of them, though the page shows a few
    for path in (tmp_path / "tables").iterdir():
        assert not re.search(r"(^|,)=", path.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_best_and_the_worst_features_are_shown():
    results = run_results()
    page = run_page(results)
    (table,) = [b for s in page.sections for b in s.blocks if isinstance(b, TableBlock) and b.name == "by_feature"]
    rna = table.excerpt[table.excerpt["modality"] == "rna"]["r2"].tolist()
    every = sorted(results.by_feature.query("modality == 'rna'")["r2"], reverse=True)
    assert rna == every[:3] + every[-3:]


def test_blocks_of_one_name_get_files_of_their_own(tmp_path):
    table = TableBlock(pd.DataFrame({"a": [1]}), "c", "../../etc/passwd")
    other = TableBlock(pd.DataFrame({"a": [2]}), "c", "../../etc/passwd")
    write(Page("t", "", [], [Section("s", (table, other)), Section("s", ())]), tmp_path)
    names = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.csv"))
    assert names == ["tables/etc-passwd-2.csv", "tables/etc-passwd.csv"]


def test_slugs():
    assert slug("PCA of the embedding") == "pca-of-the-embedding"
    assert slug("שלום") == "part"
    assert len(slug("x" * 999)) == 60


def test_every_kind_of_block():
    frame = pd.DataFrame({"name": ["a", "b"], "value": [0.12345, 2.0]})
    blocks = (
        Prose("See https://example.org/a?b=1&c=2. <b>", linked=True),
        Prose("Not https://example.org/plain."),
        Items(("one <i>",)),
        Facts({"term": "fact <i>"}),
        CodeBlock("a:\n  b:   1  # two  spaces\n\tc\x1b", "code"),
        TableBlock(frame, "t", "t", {"value": ".1f"}, most_rows=1, bold=(True,)),
        FigureBlock(plot.loss_curves(pd.DataFrame()), "f", "f"),
    )
    text = render(Page("t", "s", ["lead"], [Section("s", blocks, "section lead")]))
    Reader(text)
    links = re.findall(r'<a href="(https:[^"]+)"', text)
    assert [html.unescape(link) for link in links] == ["https://example.org/a?b=1&c=2"]
    assert "a:\n  b:   1  # two  spaces\n    c\ufffd" in text
    assert "one &lt;i&gt;" in text
    assert "fact &lt;i&gt;" in text
    assert ">0.1<" in text
    assert "1 of 2 rows; all of them are in <code>tables/t.csv</code>" in text
    assert '<tr class="ours">' in text
    assert printable("No epoch was trained.") in text
