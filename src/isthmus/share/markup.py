"""Which HTML and SVG is safe to open: what the package's own reports and figures are made of, and nothing else.

Tags, attributes and what attributes refer to are on a list. What is on it has to be written so plainly that no two
parsers read it differently: no `<` or `>` within a value, a comment, a style or a text, every value in quotes.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from html.parser import HTMLParser

from isthmus.report import page

__all__ = ["unsafe_markup"]

HELD = """
    a b bdi body button circle clippath code dd defs div dl dt figcaption figure g h1 h2 head header html image input
    label li main meta nav ol option output p path pattern pre rect script section select style svg table tbody td text
    th thead title tr tspan ul use
"""
TOLD = """
    aria-hidden aria-label aria-labelledby autocomplete charset class clip-path content cx cy d data-source dir fill
    height hidden href id lang name opacity patterncontentunits patternunits placeholder r rel role scope src stroke
    style tabindex title transform type value version viewbox width x xlink:href xml:space xmlns xmlns:xlink y
"""
TAGS, ATTRIBUTES = frozenset(HELD.split()), frozenset(TOLD.split())
REFERRING = frozenset(("href", "xlink:href", "src"))
WORDS = frozenset(("aria-label", "content", "placeholder", "title"))
"""Attributes that hold text for a reader."""
ONLY = {
    "charset": ("utf-8",), "xmlns": ("http://www.w3.org/2000/svg",), "xmlns:xlink": ("http://www.w3.org/1999/xlink",),
}  # fmt: skip
DECLARED = (
    "DOCTYPE html",
    'DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"',
)
PROLOG = re.compile(r'xml version="1\.0" encoding="utf-8"( standalone="no")?\s*\?', re.IGNORECASE)
PLAIN = re.compile(r"""<[a-zA-Z][\w:.-]*(?:\s+[\w:.-]+(?:=(?:"[^"<>]*"|'[^'<>]*'))?)*\s*/?>""")
LOADS = re.compile(r"url\(\s*[\"']?\s*(?!#)[^\"'\s]|@import|image-set\(|src\(|\\", re.IGNORECASE)
ARROWS = re.compile(r"\\219[13]\b")
"""What the report's own style writes with a backslash."""
PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]*")
RAW = ("script", "style")
JSON = "application/json"


def unsafe_markup(text: str, *, scripts: bool) -> str:
    """Why HTML or SVG is not safe to open, or nothing.

    Parameters
    ----------
    text
        The file.
    scripts
        Whether it may hold the scripts of an empty report, and JSON.
    """
    reader = _Reader(_ours() if scripts else frozenset(), scripts=scripts)
    try:
        reader.feed(text)
        reader.close()
    except (AssertionError, ValueError):
        return "is no markup"
    return reader.why or (f"holds a {reader.raw} that does not end" if reader.raw else "")


class _Reader(HTMLParser):
    """Reads markup and keeps the first thing in it that is not on the list."""

    def __init__(self, known: frozenset[str], *, scripts: bool) -> None:
        super().__init__(convert_charrefs=False)
        self.known, self.scripts = known, scripts
        self.why, self.raw, self.inert = "", "", False
        self.said: list[str] = []

    def refuse(self, why: str) -> None:
        self.why = self.why or why

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if why := _attribute(tag, name, value or ""):
                self.refuse(why)
        if tag not in TAGS:
            self.refuse(f"holds an element {tag[:40]!r}")
        elif tag == "script" and not self.scripts:
            self.refuse("holds a script that is not the report's own")
        elif not PLAIN.fullmatch(self.get_starttag_text() or ""):
            self.refuse(f"holds an element {tag!r} that readers may take for different things")
        if tag in RAW:
            self.raw, self.inert, self.said = tag, dict(attrs).get("type") == JSON, []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in RAW:
            self.refuse(f"holds a {tag} that does not end")

    def handle_endtag(self, tag: str) -> None:
        if tag != self.raw:
            return
        said, self.raw = "".join(self.said), ""
        if tag == "style":
            if "<" in said or LOADS.search(ARROWS.sub("", said)):
                self.refuse("loads something by its style")
        elif (self.inert and "<" in said) or (not self.inert and _sum(said) not in self.known):
            self.refuse("holds a script that is not the report's own")

    def handle_data(self, data: str) -> None:
        if self.raw:
            self.said.append(data)
        elif "<" in data:
            self.refuse("holds a < that begins no element")

    def handle_comment(self, data: str) -> None:
        if "<" in data or ">" in data:
            self.refuse("holds a comment that readers may take for different things")

    def handle_decl(self, decl: str) -> None:
        if " ".join(decl.split()) not in DECLARED:
            self.refuse("defines entities, or is of another kind than a report")

    def unknown_decl(self, data: str) -> None:
        self.refuse("holds a section of another kind than a report")

    def handle_pi(self, data: str) -> None:
        if not PROLOG.fullmatch(data):
            self.refuse("holds an instruction to the reader")


def _attribute(tag: str, name: str, value: str) -> str:
    """Why an attribute is not safe, or nothing."""
    if name.startswith("on"):
        return f"holds an event handler ({name[:40]})"
    if name not in ATTRIBUTES:
        return f"holds an attribute {name[:40]!r} of {tag[:40]!r}"
    if name in REFERRING:
        picture = tag == "image" and PICTURE.fullmatch(value) is not None
        outward = tag == "a" and name == "href" and value.startswith("https://")
        return "" if picture or outward or value.startswith("#") else f"refers to {value[:40]!r}"
    if name in ONLY and value.lower() not in ONLY[name]:
        return f"holds an attribute {name!r} of {value[:40]!r}"
    return "loads something by its style" if name not in WORDS and LOADS.search(value) else ""


@cache
def _ours() -> frozenset[str]:
    """Sums of the scripts of an empty report."""
    empty = page.render(page.Page("", "", [], []))
    return frozenset(_sum(s) for s in re.findall(r"<script>(.*?)</script>", empty, re.DOTALL))


def _sum(script: str) -> str:
    return hashlib.sha256(script.strip().encode()).hexdigest()
