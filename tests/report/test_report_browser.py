"""The page in a real browser: narrow and wide, light and dark, with and without JavaScript."""

import html
import json
import os
import re
import shutil
import subprocess

import pytest
from report_results import HOSTILE, run_results

from isthmus.report import render, run_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed")

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--virtual-time-budget=20000", "--dump-dom"),
)
DARK = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]

MEASURE = """
const out = [];
for (const frame of document.querySelectorAll("iframe")) {
  const d = frame.contentDocument, w = frame.contentWindow, root = d.documentElement;
  const drawn = svg => [...svg.querySelectorAll("path, circle, use, rect, line")].filter(e => {
    const b = e.getBoundingClientRect(); return b.width + b.height > 0; }).length;
  const figures = [...d.querySelectorAll("figure svg")].filter(s => s.getBoundingClientRect().width > 0);
  const style = e => w.getComputedStyle(e);
  const report = {
    title: d.title, hit: root.dataset.hit || null, scripted: !frame.hasAttribute("sandbox"), width: root.clientWidth,
    overflow: root.scrollWidth - root.clientWidth, marks: figures.map(drawn), paper: style(d.body).backgroundColor,
    ink: style(d.body).color, circles: d.querySelectorAll(".points circle").length,
    chooser: [...d.querySelectorAll(".choose")].filter(e => e.offsetParent).length,
    titles: d.querySelectorAll(".points title").length, colours: [], errors: frame.errors || [],
  };
  const sizes = [...d.querySelectorAll("p, li, td, figcaption")].map(e => parseFloat(style(e).fontSize));
  report.smallest = Math.min(...sizes);
  const select = d.querySelector("select"), first = d.querySelector(".points circle");
  report.colours.push(style(first).fill);
  if (report.scripted) {
    const before = [...d.querySelectorAll(".points circle")].map(c => style(c).fill).join();
    select.value = "1"; select.dispatchEvent(new w.Event("change"));
    report.recoloured = before !== [...d.querySelectorAll(".points circle")].map(c => style(c).fill).join();
    report.legend = [...d.querySelectorAll(".legend")].map(l => l.children.length);
    first.dispatchEvent(new w.PointerEvent("pointermove", { bubbles: true, clientX: 100, clientY: 100 }));
    const tip = d.querySelector(".tip");
    report.tip = tip.hidden ? null : tip.textContent;
    report.tipInside = tip.getBoundingClientRect().right <= w.innerWidth;
    d.querySelector(".theme").click();
    report.toggled = style(d.body).backgroundColor;
  }
  out.push(report);
}
document.getElementById("found").textContent = JSON.stringify(out);
"""


def looked_at(text, folder, extra=()):
    """What a browser makes of a page at 360 and 1,920 pixels, with scripts and (the last) without."""
    frames = [("", 360), ("", 1920), ('sandbox="allow-same-origin"', 360)]
    page = html.escape(text)
    body = "".join(
        f'<iframe {a} style="border:0;width:{w}px;height:900px" srcdoc="{page}"></iframe>' for a, w in frames
    )
    host = f'<!DOCTYPE html><meta charset="utf-8"><body>{body}<pre id="found"></pre>'
    host += f"<script>onload = () => {{ {MEASURE} }};</script>"
    (folder / "host.html").write_bytes(host.encode("utf-8", "replace"))
    run = subprocess.run(
        [CHROMIUM, *FLAGS, *extra, f"--user-data-dir={folder / 'profile'}", (folder / "host.html").as_uri()],
        capture_output=True,
        timeout=120,
        check=False,
        env=os.environ | {"HOME": str(folder)},
    )
    found = re.search(r'<pre id="found">(.+?)</pre>', run.stdout.decode("utf-8", "replace"), flags=re.DOTALL)
    assert found, run.stderr.decode("utf-8", "replace")[-2000:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_hostile_labels_in_a_browser(tmp_path, dark):
    label = " ".join(HOSTILE[:8]) + "x" * 10_000
    found = looked_at(render(run_page(run_results(label=label))), tmp_path, DARK if dark else ())
    assert [f["width"] for f in found] == [360, 1920, 360]
    papers = {"rgb(20, 23, 26)"} if dark else {"rgb(255, 255, 255)"}
    for frame in found:
        assert frame["title"].startswith("run </script><script>")
        assert frame["hit"] is None
        assert frame["overflow"] <= 0
        assert {frame["paper"]} == papers
        assert frame["ink"] != frame["paper"]
        assert frame["circles"] == 120
        assert min(frame["marks"]) > 0
        assert len(frame["marks"]) >= 8
        assert frame["smallest"] >= 12
        assert frame["colours"] != [frame["paper"]]
    *scripted, without = found
    for frame in scripted:
        assert frame["recoloured"]
        assert frame["chooser"] == 2
        assert frame["titles"] == 0  # the tooltip speaks for them
        assert frame["tip"].startswith("</script><script>")
        assert frame["tipInside"]
        assert frame["toggled"] not in papers
    assert without["titles"] == 120
    assert without["chooser"] == 0
