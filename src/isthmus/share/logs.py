"""A log that tells of no sample: of its lines those are left whose form is known to be harmless."""

from __future__ import annotations

import re
from pathlib import Path

from isthmus.share.harmless import line
from isthmus.share.renaming import Renamer

__all__ = ["log_text"]

STAMP = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:DEBUG|INFO|WARNING|ERROR) *)?(.*)$")


def log_text(path: Path, renamer: Renamer) -> str:
    """The log of a run as it may be shared: when something was said, and what where it tells of no sample."""
    if not path.is_file():
        return ""
    lines = []
    for said in path.read_text(encoding="utf-8", errors="replace").splitlines():
        stamp, rest = match.groups("") if (match := STAMP.fullmatch(said)) else ("", said)
        lines.append(stamp + line(rest, renamer.house.modalities))
    return "".join(f"{text}\n" for text in lines)
