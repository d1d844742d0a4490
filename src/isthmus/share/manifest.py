"""The manifest of a bundle: what is in it, by its sha256, under which policy, and what was found when it was made."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isthmus.errors import DataError
from isthmus.share.keys import Key

__all__ = ["FORMAT", "MANIFEST", "VERSION", "files_of", "read_manifest", "seal", "sealed", "sha256", "zipped"]

FORMAT, MANIFEST, VERSION = "isthmus-bundle", "manifest.json", 1
OLDEST = (1980, 1, 1, 0, 0, 0)


def sha256(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_of(folder: Path) -> list[str]:
    """Every file of a folder by its path from it, in order; the manifest is none of them."""
    found = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()]
    return sorted(f for f in found if f != MANIFEST)


def seal(tree: Mapping[str, Any], key: Key) -> dict[str, Any]:
    """The manifest with the keyed sum over all of it."""
    return {**tree, "mac": _mac(tree, key)}


def sealed(tree: Mapping[str, Any], key: Key) -> bool:
    """Whether the manifest is as the key's holder made it."""
    return bool(tree.get("mac") == _mac({k: v for k, v in tree.items() if k != "mac"}, key))


def _mac(tree: Mapping[str, Any], key: Key) -> str:
    body = json.dumps(tree, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return key.digest("manifest", body, size=32).hex()


def read_manifest(folder: Path, where: str) -> dict[str, Any]:
    """The manifest of an opened bundle.

    Raises
    ------
    DataError
        There is none, or it is none of a bundle.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DataError("is no bundle", where=where, met=f"no {MANIFEST}", wanted="what `isthmus share` wrote")
    try:
        tree = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise DataError("is not JSON", where=f"{where}: {MANIFEST}") from None
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        raise DataError("is no bundle", where=where, met="another manifest", wanted="what `isthmus share` wrote")
    if tree.get("format_version") != VERSION:
        hint = "made by a later version? pip install --upgrade isthmus"
        raise DataError("is a bundle of another format", where=where, met=tree.get("format_version"), hint=hint)
    return tree


def zipped(folder: Path, path: Path) -> None:
    """A folder as an archive whose bytes depend on the content alone."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in [MANIFEST, *files_of(folder)]:
            info = zipfile.ZipInfo(name, OLDEST)
            info.compress_type, info.external_attr, info.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
            archive.writestr(info, (folder / name).read_bytes(), compresslevel=6)
