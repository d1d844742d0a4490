"""A log without names: every word that is not ours is replaced or withheld."""

from __future__ import annotations

import re
from pathlib import Path

from isthmus.share.canary import NUMBER, vocabulary
from isthmus.share.renaming import WITHHELD, Renamer

__all__ = ["log_text"]

STAMP = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:DEBUG|INFO|WARNING|ERROR) *)?(.*)$")
TOKEN = re.compile(r"[^\s,;:()\[\]{}'\"]+")


def log_text(path: Path, renamer: Renamer) -> str:
    """The log of a run as it may be shared; nothing where there is none."""
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

    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        stamp, rest = match.groups("") if (match := STAMP.fullmatch(line)) else ("", line)
        lines.append(stamp + TOKEN.sub(told, rest))
    return "".join(f"{line}\n" for line in lines)
