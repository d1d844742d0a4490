"""The forms of what the package says that tell of no sample: all else it said is withheld.

A word or a number tells by where it stands: `42` is a time, a number of features, few samples, or the id of one. So
whole sentences are known or not, and nothing within them is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from isthmus.share.canary import vocabulary

__all__ = ["WITHHELD", "line", "message"]

WITHHELD = "(withheld)"
N, VALUE = r"\d+", r"[-+]?[0-9.]+(?:e[-+]?[0-9]+)?"
MESSAGES = (
    "", rf"dropped {N} of {N} features", rf"{N} columns in {N} levels", rf"total {VALUE}", rf"full width: {N} features",
    rf"{N} coordinates of {N} features", rf"{N} features without a value other than 0: scale 1",
    rf"{N} features? constant or observed less than twice: scale 1",
    rf"{N} features vary but have an interquartile range of 0: scale 1",
    rf"mean length {VALUE}(?:; dropped {N} genes without a length)?",
)  # fmt: skip
"""What steps of preparation say of features; nothing of samples."""
MESSAGE = re.compile(rf"(?:{'|'.join(MESSAGES)})(?:; (?:{'|'.join(MESSAGES[1:])}))*")
FIT = r"(?:all|fold\d+)"
STEP = re.compile(rf"(\S.*?): ([a-z_]+), ({N}) -> ({N}) features(?: \((.*)\))?")
ROWS = re.compile(r"(\S.*?): samples in (?:rows|columns)")
LINES = re.compile(
    rf"(?:read|report|(?:fit|evaluate) {FIT}): {VALUE} s|fit {FIT}: already done"
    rf"|{N} folds are measured; the model that is kept is fitted on all samples"
    r"|the same model without control of confounders"
)


def message(text: str) -> str:
    """What a step said, where it is known to be of features alone."""
    return text if MESSAGE.fullmatch(text) else WITHHELD


def line(text: str, modalities: Collection[str]) -> str:
    """A line of a log without its time, where it is known to tell of no sample."""
    if LINES.fullmatch(text):
        return text
    if (match := ROWS.fullmatch(text)) and match[1] in modalities:
        return text
    if (match := STEP.fullmatch(text)) and match[1] in modalities and match[2] in vocabulary():
        said = f" ({message(match[5])})" if match[5] else ""
        return f"{match[1]}: {match[2]}, {match[3]} -> {match[4]} features{said}".replace(f"({WITHHELD})", WITHHELD)
    return WITHHELD
