"""What stands in files, as a short text: the same wherever the files lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["content_of", "fingerprint"]

PIECE = 1 << 22
MOST_HASHED = 1 << 30
"""Bytes of a file that its fingerprint reads; of the rest it takes the size."""
PLACES = ("path", "slides")
"""Keys of a source that name files."""


def fingerprint(data: Mapping[str, Any]) -> str:
    """What a section `data` would read: its settings without places, and the content of its files.

    Of its split the file alone counts: the rest stands in every job.
    """
    plain = json.loads(json.dumps(data))
    digest = hashlib.sha256()

    def content(node: Any) -> Any:
        if isinstance(node, dict):
            files = {k: content_of(Path(v)) for k, v in node.items() if k in PLACES and isinstance(v, str)}
            return {k: files.get(k) or content(v) for k, v in node.items()}
        return [content(v) for v in node] if isinstance(node, list) else node

    if file := (plain.pop("split", None) or {}).get("file"):
        plain["split_file"] = content_of(Path(file))
    if isinstance(plain.get("read"), str):
        plain["read"] = content_of(Path(plain["read"]))
    digest.update(json.dumps(content(plain)).encode())
    return digest.hexdigest()


def content_of(path: Path) -> str:
    """A hash of a file, or of all files of a folder; of nothing where there is none."""
    digest = hashlib.sha256()
    for file in (
        sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.is_file() else []
    ):
        digest.update(f"{file.relative_to(path.parent)} {file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            for _ in range(MOST_HASHED // PIECE):
                if not (piece := stream.read(PIECE)):
                    break
                digest.update(piece)
    return digest.hexdigest()
