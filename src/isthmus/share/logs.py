"""A log without names: every word that is not ours is replaced or withheld."""

from __future__ import annotations

import re
from pathlib import Path

from isthmus.share.canary import NUMBER, vocabulary
from isthmus.share.renaming import WITHHELD, Renamer

__all__ = ["log_text"]

STAMP = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:DEBUG|INFO|WARNING|ERROR) *)?(.*)$")
TOKEN = re.compile(r"[^\s,;:()\[\]{}'\"]+")


def log_text(path: Path, renamer: Renamer, *, smallest: int = 5) -> str:
    """The log of a run as it may be shared: without names, and without numbers of few samples."""
    if not path.is_file():
        return ""
    words = vocabulary() | {*renamer.house.modalities, "->"}
    known = {str(s): renamer.sample(s) for s in renamer.house.samples}
    for names in (*renamer.inputs.values(), *renamer.outputs.values()):
        known |= names
    known |= renamer.columns

    def told(match: re.Match[str]) -> str:
        word = match[0]
        bare = word.strip(".%<>=")
        if word in known:
            return known[word]
        return word if word in words or bare in words or NUMBER.fullmatch(bare) or not bare else WITHHELD

    few = re.compile(rf"\b(?:{'|'.join(map(str, range(1, smallest)))}) samples?\b") if smallest > 1 else None
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        stamp, rest = match.groups("") if (match := STAMP.fullmatch(line)) else ("", line)
        rest = TOKEN.sub(told, rest)
        lines.append(stamp + (few.sub(f"fewer than {smallest} samples", rest) if few else rest))
    return "".join(f"{line}\n" for line in lines)
