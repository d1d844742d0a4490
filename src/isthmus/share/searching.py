"""The last look before anything leaves: no raw name and no denied value in any byte of a bundle."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from isthmus.errors import DataError
from isthmus.share.canary import Hit, Watch
from isthmus.share.house import House
from isthmus.share.manifest import MANIFEST, files_of
from isthmus.share.policy import Policy
from isthmus.share.unpacking import pieces

__all__ = ["found_in", "search"]


def search(folder: Path, house: House, shared: pd.DataFrame, policy: Policy) -> dict[str, Any]:
    """Look through a folder for every name of a run.

    Returns
    -------
    dict
        How many names were looked for, how, and in how many bytes.

    Raises
    ------
    DataError
        One is there.
    """
    kept = {str(c): shared[c] for c in shared.columns}
    levels = {str(v) for column in kept.values() for v in column.dropna()}
    common = {*house.modalities, *policy.kept, *policy.harmless, *levels}
    canaries = list(house.canaries(kept, features=not policy.keep_feature_names))
    watch = Watch(canaries, common)
    hits = list(found_in(folder, watch))
    if hits:
        more = f" and {len(hits) - 1} more" if len(hits) > 1 else ""
        raise DataError(
            f"would have left the house: {hits[0].what}{more}", where=f"bundle, {hits[0].where}",
            hint="nothing was written. If it is no name but an everyday word, list it under `harmless` in the\n"
            "policy; otherwise please report where it was met",
        )  # fmt: skip
    size = sum((folder / f).stat().st_size for f in files_of(folder))
    return {"names": len(canaries), "looked_for_in": watch.counts, "bytes": size, "found": 0}


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
