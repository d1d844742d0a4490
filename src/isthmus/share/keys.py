"""The key of a project: 32 random bytes that only its holders have.

It stands in hex in a file that nobody else may read. It is never shown: not in a log, not in an error, not in `repr`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from isthmus.data.write import disk_error
from isthmus.errors import DataError

__all__ = ["Key", "keygen", "read_key"]

BYTES = 32
PERSON = b"isthmus.share.v1"
HEX = re.compile(rb"[0-9a-fA-F]{64}")
LARGEST = 1024


class Key:
    """The bytes of a key, and what is computed with them; it has no `repr` of its content."""

    __slots__ = ("_bytes", "path")

    def __init__(self, content: bytes, path: Path | None = None) -> None:
        if len(content) != BYTES:
            raise DataError("has another length than a key", where="key", wanted=f"{BYTES} bytes")
        self._bytes, self.path = content, path

    def __repr__(self) -> str:
        return "Key(...)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a key is not copied into another process or file")

    def digest(self, *parts: str | bytes, size: int = 10) -> bytes:
        """Keyed BLAKE2b over parts, each with its length before it, so that no two lists of parts read the same."""
        found = hashlib.blake2b(key=self._bytes, person=PERSON, digest_size=size)
        for part in parts:
            content = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            found.update(len(content).to_bytes(8, "little"))
            found.update(content)
        return found.digest()

    def check(self, project: str) -> str:
        """By what two bundles of one key and project know each other; says nothing of the key."""
        return self.digest("check", project, size=16).hex()


def keygen(path: str | Path) -> Path:
    """Write a new key: 32 random bytes in hex, readable by its owner alone (mode 0600).

    Parameters
    ----------
    path
        The file; it must not be there yet.

    Returns
    -------
    Path
        That of the argument.

    Raises
    ------
    DataError
        Something stands there, or the folder may not be written to.
    """
    path = Path(path)
    if path.suffix == ".zip":
        raise DataError("is no name for a key", where=str(path), hint="keep keys out of archives")
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        hint = "a key that is replaced is lost, and with it every name that it hid: choose another name"
        raise DataError("exists", where=str(path), hint=hint) from None
    except FileNotFoundError:
        raise DataError("there is no such folder to write to", where=str(path.absolute().parent)) from None
    except OSError as error:
        raise disk_error(error, path) from error
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(BYTES) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return path


def read_key(path: str | Path, *, outside: Iterable[str | Path] = ()) -> Key:
    """The key in a file.

    Parameters
    ----------
    path
        What `keygen` wrote.
    outside
        Folders in which a key must not lie: the run, the bundle.

    Raises
    ------
    DataError
        It is not there, is no key, lies in one of the folders, or others than its owner may read it.
    """
    path = Path(path)
    if not path.is_file():
        hint = f"make one: isthmus share keygen --out {path}"
        raise DataError("there is no such key", where=str(path.absolute()), hint=hint)
    for folder in outside:
        if path.resolve().is_relative_to(Path(folder).resolve()):
            hint = "whoever gets the folder would get the key: move it elsewhere"
            raise DataError("lies inside the folder that is shared", where=str(path), met=str(folder), hint=hint)
    refuse_open(path)
    content = path.read_bytes() if path.stat().st_size <= LARGEST else b""
    text = content.strip()
    if not HEX.fullmatch(text):
        raise DataError("is no key", where=str(path), wanted=f"{BYTES} bytes as {2 * BYTES} hexadecimal digits")
    return Key(bytes.fromhex(text.decode("ascii")), path)


def refuse_open(path: Path) -> None:
    """An error where others than the owner may read or write a file.

    Raises
    ------
    DataError
        They may.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        raise DataError(
            "may be read by others than its owner", where=str(path), met=f"mode {mode:04o}", wanted="mode 0600",
            hint=f"chmod 600 {path}",
        )  # fmt: skip
