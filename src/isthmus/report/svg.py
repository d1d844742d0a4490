"""Figures as SVG: as they are for a file, or with CSS variables for colours to stand inside a page.

The inline form drops what belongs to a file (prolog, metadata, namespaces, matplotlib's page-wide style) and makes ids
unique, since a page holds many figures.
"""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree as Tree

from matplotlib.figure import Figure

from isthmus.plot.style import printable, themed, variables

PAPER_FONTS = "Helvetica, Arial, 'Liberation Sans', sans-serif"
FILE_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
NUMBER = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")
REFERENCE = re.compile(r"url\(#([^)]+)\)")


def to_svg(figure: Figure) -> str:
    """A figure as an SVG file: black on white, text as text, the same bytes at every call."""
    buffer = io.StringIO()
    with themed():
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # laid out once: a second time would move things a little
        figure.savefig(buffer, format="svg", metadata=FILE_METADATA)
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r' d="[^"]*"', lambda d: NUMBER.sub(_rounded, d[0]), text)
    return text.replace("'DejaVu Sans', sans-serif", PAPER_FONTS)


def inline(svg: str, *, name: str, label: str) -> str:
    """The SVG of `to_svg` as part of a page: themable, with ids that begin with `name`, read out as `label`."""
    root = Tree.fromstring(svg.encode())
    for parent in root.iter():
        for child in [c for c in parent if _plain(c.tag) in ("metadata", "style")]:
            parent.remove(child)
    referred = _referred(root)
    for element in root.iter():
        element.tag = _plain(element.tag)
        element.attrib = {_plain(k): _themed(v, name) for k, v in element.attrib.items()}
        if (identity := element.get("id")) is not None:
            if identity in referred:
                element.set("id", f"{name}-{identity}")
            else:
                del element.attrib["id"]
        if (target := element.get("href", "")).startswith("#"):
            element.set("href", f"#{name}-{target[1:]}")
        element.text, element.tail = (element.text or "").strip(), ""
    width = root.get("viewBox", "0 0 500 300").split()[2]
    root.attrib = {"viewBox": root.get("viewBox", ""), "style": f"--width:{float(width) / 0.75:.0f}px"}
    root.attrib |= {"class": "figure", "role": "img", "aria-label": printable(label, 200)}
    return Tree.tostring(root, encoding="unicode")


def _plain(name: str) -> str:
    """A name without its namespace."""
    return name.rsplit("}", maxsplit=1)[-1]


def _rounded(number: re.Match[str]) -> str:
    """No more decimals than can be seen."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _referred(root: Tree.Element) -> set[str]:
    """Ids that something in the figure points to."""
    values = [v for e in root.iter() for v in e.attrib.values()]
    return {v[1:] for v in values if v.startswith("#")} | {i for v in values for i in REFERENCE.findall(v)}


def _themed(value: str, name: str) -> str:
    """An attribute with variables for colours, unique references and no more decimals than can be seen."""
    value = REFERENCE.sub(rf"url(#{name}-\1)", value)
    value = NUMBER.sub(_rounded, value)
    value = value.replace("'DejaVu Sans', sans-serif", "inherit").replace(PAPER_FONTS, "inherit")
    for variable, (sentinel, _, _) in variables().items():
        value = value.replace(sentinel, f"var(--{variable})")
    return value
