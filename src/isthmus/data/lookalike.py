"""Ids that a spreadsheet or R has rewritten: '1' for '001', '1.0' for '1', 'A.01' for 'A-01'."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping

import pandas as pd

log = logging.getLogger("isthmus.data")
DECIMALS = re.compile(r"(?<=[0-9])\.0+$")
SIGNS = re.compile(r"[\s._:/-]+")
ZEROS = re.compile(r"(?<![0-9])0+(?=[0-9])")


def plain(label: str) -> str:
    """An id without what rewriting changes: case, leading zeros, the decimals of a whole number, signs between."""
    text = label.strip().casefold()
    if text.count(".") == 1 and "-" not in text:
        text = DECIMALS.sub("", text)
    return ZEROS.sub("", SIGNS.sub("-", text))


def pairs(ids: Iterable[str], others: Iterable[str]) -> list[tuple[str, str]]:
    """Each of `ids` beside the one of `others` that it may be, where `others` do not have it as it is written.

    Nothing is told of ids that are alike within one of the two: there the difference is meant.
    """
    mine, theirs = list(dict.fromkeys(map(str, ids))), list(dict.fromkeys(map(str, others)))
    known = set(mine) & set(theirs)
    if len(known) == len(mine):
        return []
    keys, other_keys = {i: plain(i) for i in mine}, {i: plain(i) for i in theirs}
    counts, other_counts = Counter(keys.values()), Counter(other_keys.values())
    of = {k: i for i, k in other_keys.items() if i not in known and other_counts[k] == 1}
    return [(i, of[k]) for i, k in keys.items() if i not in known and k in of and counts[k] == 1]


def warn_of_lookalikes(tables: Mapping[str, pd.Index]) -> None:
    """Warn of samples that an earlier table seems to have under an id written otherwise (in more than its case)."""
    earlier: dict[str, None] = {}
    for name, ids in tables.items():
        if found := [(a, b) for a, b in pairs(ids, earlier) if a.casefold() != b.casefold()]:
            what = "%s: %d sample ids look like ids of other tables, such as %r and %r, and count as other samples"
            log.warning(what, name, len(found), *found[0])
        earlier |= dict.fromkeys(map(str, ids))


def hint_of(ids: Iterable[str], others: Iterable[str], what: str = "ids") -> str:
    """What to do about ids none of which match but which look alike; nothing where they do not."""
    found = pairs(ids, others)
    return f"{found[0][0]!r} and {found[0][1]!r} look alike: write {what} in the same way everywhere" if found else ""
