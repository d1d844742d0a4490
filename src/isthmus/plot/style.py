"""How figures look: colours, fonts, and text that is harmless whatever it says.

A figure is drawn black on white, fit for a paper. The colours named here are also sentinels: `isthmus.report.svg` finds
them in the SVG and puts CSS variables in their place, so that the same figure follows a page from light to dark. No
other colour is used in a figure.

Colours of classes begin with those of Okabe and Ito (2008, https://jfly.uni-koeln.de/color/), yellow darkened and black
replaced so that each is seen on white, and go on with those of Paul Tol. Every eighth colour the marks change too
(filled, hollow, with a dark rim), so that no class is told by its hue alone among more than eight.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

P = ParamSpec("P")

INK, MUTED, GRID, PAPER = "#17191c", "#5d646e", "#dde1e6", "#ffffff"
SHADE = "#f2f4f6"
CLASSES = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288", "#b8a200"),
    *("#882255", "#44aa99", "#aa4499", "#117733", "#cc6677", "#999933", "#6f4e37", "#ee3377"),
    *("#4477aa", "#cc3311", "#6a994e", "#8c6bb1", "#a6761d", "#1b4965", "#ee7733", "#00695c"),
)
RAMP = tuple(to_hex(mpl.colormaps["viridis"](0.85 * k / 8)) for k in range(9))
DARK = {INK: "#e6e8eb", MUTED: "#a0a8b2", GRID: "#343b43", PAPER: "#14171a", SHADE: "#1d2126"}
ACCENT = CLASSES[0]

MOST_POINTS = 20_000
LONGEST_LABEL = 32
WIDTH = 6.9  # inches: a page's text width
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")

RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: figures are laid out alike on every machine
    "font.size": 8,
    "text.parse_math": False,  # a label is a label: `$` is a dollar sign
    "text.color": INK,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 5),
    "axes.formatter.use_mathtext": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "isthmus",
}


@contextmanager
def themed() -> Iterator[None]:
    """Our settings instead of the user's, and no complaint about a glyph that the measuring font lacks."""
    with warnings.catch_warnings(), mpl.rc_context():
        warnings.filterwarnings("ignore", message=".*Glyph.*")
        warnings.filterwarnings("ignore", message=".*constrained_layout not applied.*")
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def themes(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under our settings, whatever the user's matplotlib is set to."""

    @functools.wraps(draw)
    def under_theme(*args: P.args, **keys: P.kwargs) -> Figure:
        with themed():
            return draw(*args, **keys)

    return under_theme


def blank(width: float = WIDTH, height: float = 3.0) -> Figure:
    """An empty figure, in inches, whose parts keep out of each other's way."""
    return Figure(figsize=(width, height), layout="constrained")


def note(text: str) -> Figure:
    """What stands in the place of a figure for which there is no data."""
    figure = blank(height=0.7)
    figure.text(0.5, 0.5, printable(text, 100), ha="center", va="center", color=MUTED, style="italic")
    return figure


def frameless(axes: Axes, *, grid: str | None = None) -> None:
    """Take the frame away; leave grid lines of one axis, or none."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    if grid in ("x", "y"):
        axes.grid(visible=True, axis="x" if grid == "x" else "y")


def printable(value: object, longest: int | None = LONGEST_LABEL) -> str:
    """Text on one line without control characters, cut with an ellipsis at `longest` characters."""
    text = str(value)
    if longest is not None and len(text) > 4 * longest:
        text = text[: 4 * longest]
    text = " ".join(harmless(text).split())
    return text if longest is None or len(text) <= longest else text[: longest - 1].rstrip() + "…"


def harmless(text: str) -> str:
    """Text without control characters, unpaired surrogates and marks that turn the direction of what follows."""
    return text.translate(_HARMLESS)


_HARMLESS: dict[int, str] = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), *range(0xD800, 0xE000)), "\ufffd"),
    **{k: " " for k in range(0x3001) if chr(k).isspace()},
    **dict.fromkeys(map(ord, BIDI_CONTROLS), ""),
}
"""What stands for a character that does harm: U+FFFD, a space, or nothing."""


def number(value: float, digits: int = 3) -> str:
    """A number to so many significant digits, thousands set apart; a dash for NaN."""
    if value != value:
        return "–"
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "-∞"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits}f}" if abs(value) < 1 else f"{value:.{digits}g}"


def contrast(one: str, other: str) -> float:
    """Ratio of luminances of two colours, 1..21 (WCAG 2.2)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def lightened(colour: str, least: float = 4.5) -> str:
    """The colour mixed with as much white as it takes to be seen on dark paper."""
    red, green, blue = to_rgb(colour)
    for step in range(21):
        share = step / 20
        mixed = to_hex((red + (1 - red) * share, green + (1 - green) * share, blue + (1 - blue) * share))
        if contrast(mixed, DARK[PAPER]) >= least:
            return mixed
    return "#ffffff"


@functools.cache
def variables() -> dict[str, tuple[str, str, str]]:
    """CSS variable -> (sentinel in figures, value on light paper, value on dark paper)."""
    names = {"ink": INK, "muted": MUTED, "grid": GRID, "paper": PAPER, "shade": SHADE}
    found = {name: (colour, colour, DARK[colour]) for name, colour in names.items()}
    found |= {f"c{k}": (colour, colour, lightened(colour)) for k, colour in enumerate(CLASSES)}
    bright = [to_hex(mpl.colormaps["viridis"](0.25 + 0.75 * k / 8)) for k in range(9)]
    return found | {f"r{k}": (colour, colour, bright[k]) for k, colour in enumerate(RAMP)}
