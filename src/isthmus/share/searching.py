"""The last look before anything leaves: no raw name and no denied value in any byte of a bundle."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from isthmus.errors import DataError
from isthmus.share.canary import WORD, Canary, Hit, Watch, vocabulary
from isthmus.share.house import House
from isthmus.share.manifest import MANIFEST, files_of
from isthmus.share.policy import Policy
from isthmus.share.unpacking import pieces

__all__ = ["Watched", "found_in", "refuse", "watched"]


@dataclass(frozen=True)
class Watched:
    """What is looked for: how many names, and how."""

    names: int
    watch: Watch

    def told(self) -> dict[str, Any]:
        """For the manifest."""
        return {"names": self.names, "looked_for_in": self.watch.counts}


def watched(house: House, shared: pd.DataFrame, policy: Policy, columns: Mapping[str, str]) -> Watched:
    """Every name of a run that must not leave.

    Parameters
    ----------
    house
        The run.
    shared
        Metadata as they are shared: their values may occur.
    policy
        What keeps its name, and what is harmless.
    columns
        Columns of obs and heads, and their names in the bundle: those with another one must not occur, unless they are
        words of this package.
    """
    kept = {str(c): shared[c] for c in shared.columns}
    levels = {str(v) for column in kept.values() for v in column.dropna()}
    common = {*house.modalities, *policy.kept, *policy.harmless, *levels}
    canaries = list(house.canaries(kept, features=not policy.keep_feature_names))
    features = {f for names in house.features.values() for f in names} if policy.keep_feature_names else set[str]()
    ours = vocabulary()
    for number, (name, new) in enumerate(columns.items()):
        if name != new and name not in features and not all(w in ours for w in WORD.findall(name)):
            canaries.append(Canary(name, f"the name of column or head {number + 1}", value=True))
    return Watched(len(canaries), Watch(canaries, common))


def refuse(folder: Path, watched: Watched) -> None:
    """Look through a finished folder, its manifest included.

    Raises
    ------
    DataError
        A name is there.
    """
    hits = list(found_in(folder, watched.watch))
    if hits:
        more = f" and {len(hits) - 1} more" if len(hits) > 1 else ""
        raise DataError(
            f"would have left the house: {hits[0].what}{more}", where=f"bundle, {hits[0].where}",
            hint="nothing was written. If it is no name but an everyday word, list it under `harmless` in the\n"
            "policy; otherwise please report where it was met",
        )  # fmt: skip


def found_in(folder: Path, watch: Watch, also: Collection[str] = ()) -> Iterator[Hit]:
    """Every canary in a folder: in the names of its files, and in all that they hold."""
    names = files_of(folder)
    yield from watch.in_bytes("\n".join(names).encode(), "the names of its files", text=True)
    for name in [*names, *also]:
        yield from _in_file(folder / name, name, watch)
    if (folder / MANIFEST).is_file():
        yield from _in_file(folder / MANIFEST, MANIFEST, watch)


def _in_file(path: Path, name: str, watch: Watch) -> Iterable[Hit]:
    for piece in pieces(name, path.read_bytes()):
        yield from watch.in_bytes(piece.content, piece.where, text=piece.text)
        yield from watch.in_cells(piece.cells, piece.where)
        yield from watch.in_cells(piece.names, piece.where, names=True)
