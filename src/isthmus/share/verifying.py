"""`verify`: a bundle is whole and unchanged, within its policy, and safe to open."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from isthmus import store
from isthmus.config import validate
from isthmus.data.archive import as_folder
from isthmus.errors import DataError, InputError
from isthmus.report.table import raw
from isthmus.share.canary import Canary, Watch
from isthmus.share.cells import rounded
from isthmus.share.disclosure import measured
from isthmus.share.keys import read_key
from isthmus.share.manifest import MANIFEST, files_of, read_manifest, sealed, sha256
from isthmus.share.policy import Policy
from isthmus.share.pseudonyms import names_file, read_names
from isthmus.share.safety import unsafe
from isthmus.share.searching import found_in

__all__ = ["Problem", "Verification", "verify"]


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Verification:
    """What was checked of a bundle, and what is wrong with it (nothing, if it holds)."""

    bundle: str
    problems: tuple[Problem, ...]
    words: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    def refuse(self) -> None:
        """Raise the first problem.

        Raises
        ------
        DataError
            There is one.
        """
        if self.ok:
            return
        first, *rest = self.problems
        hint = "; ".join(str(p) for p in rest[:3]) + (f"; and {len(rest) - 3} more" if len(rest) > 3 else "")
        raise DataError(first.what, where=f"{self.bundle}: {first.where}", hint=f"also: {hint}" if rest else "")


def verify(bundle: str | Path, *, key: str | Path | None = None, names: str | Path | None = None) -> Verification:
    """Check a bundle.

    Parameters
    ----------
    bundle
        A folder or `.zip`.
    key
        The project's key file: also check that its holder made the bundle, and that no name known beside the key is in
        any byte of it. Without it a manifest that was changed together with the files cannot be told.
    names
        The file of names, if it is not beside the key.

    Returns
    -------
    Verification
        `problems` is empty where all holds: every file has its sha256 and none was added or lost, nothing can run when
        it is opened, the model loads, and what is said of k, l and t is so.

    Raises
    ------
    DataError
        It is no bundle, or the key is wrong.
    """
    with as_folder(bundle) as folder:
        outside = (folder, bundle) if Path(bundle).is_dir() else (folder,)
        secret = None if key is None else read_key(key, outside=outside)
        tree = read_manifest(folder, str(bundle))
        problems = [*_form(tree), *_empty(Path(bundle), folder)]
        if not problems:
            problems += [*_integrity(folder, tree), *_safe(folder), *_policy(folder, tree)]
        words = [f"{len(files_of(folder))} files have the sums of the manifest and are safe to open"]
        words += _granted(tree)
        if secret is None:
            words.append("the manifest itself is checked with --key alone")
        if secret is not None and not problems:
            if not sealed(tree, secret):
                problems.append(Problem("manifest.json", "was not made with this key, or was changed since"))
            else:
                known = read_names(names_file(secret) if names is None else Path(names), secret)
                problems += _canaries(folder, tree, known)
                words.append("it was made with this key, and none of the names behind its pseudonyms is in it")
        return Verification(str(bundle), tuple(problems), tuple(words))


def _empty(bundle: Path, folder: Path) -> Iterator[Problem]:
    """Folders without a file, which no bundle has: on disk, or as entries of an archive."""
    places = {p for name in [*files_of(folder), "manifest.json"] for p in PurePosixPath(name).parents}
    there = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_dir() and not p.is_symlink()]
    if bundle.is_file():
        with zipfile.ZipFile(bundle) as archive:
            there += [i.filename for i in archive.infolist() if i.is_dir()]
    yield from (Problem(n, "is an empty folder that no bundle holds") for n in there if PurePosixPath(n) not in places)


def _form(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Whether a manifest has what a manifest has."""
    for name, kind in (("files", dict), ("policy", dict), ("disclosure", dict), ("pseudonyms", dict), ("risks", list)):
        if not isinstance(tree.get(name), kind):
            yield Problem("manifest.json", f"has no {name!r}")
    for name, said in dict(tree.get("files") or {}).items() if isinstance(tree.get("files"), dict) else ():
        if not isinstance(said, dict) or not isinstance(said.get("sha256"), str):
            yield Problem("manifest.json", f"has no sum of {name}")
    if isinstance(tree.get("policy"), dict) and isinstance(disclosure := tree.get("disclosure"), dict):
        try:
            policy = _told(tree["policy"])
        except InputError as error:
            yield Problem("manifest.json", f"has a policy that is none: {error.where} {error.what}")
            return
        for name, columns in (("quasi_identifiers", policy.quasi), ("sensitive", policy.sensitive)):
            if disclosure.get(name) != columns:
                yield Problem("manifest.json", f"names other columns under {name!r} than its policy")


def _told(tree: Mapping[str, Any]) -> Policy:
    """The policy of a manifest, which tells of merged levels only what they became; what it lacks is the default."""
    columns = tree.get("columns")
    if isinstance(columns, dict):
        columns = {name: _one_told(rule) for name, rule in columns.items()}
    return validate(Policy, {**tree, **({} if columns is None else {"columns": columns})}, where="policy")


def _one_told(rule: Any) -> Any:
    if isinstance(rule, dict) and isinstance(levels := rule.get("levels"), list):
        return {**rule, "levels": {str(level): str(level) for level in levels}}
    return rule


def _integrity(folder: Path, tree: Mapping[str, Any]) -> Iterator[Problem]:
    said, there = dict(tree["files"]), files_of(folder)
    yield from (Problem(name, "is missing") for name in said if name not in there)
    yield from (Problem(name, "is not in the manifest") for name in there if name not in said)
    for name in there:
        path = folder / name
        if path.is_symlink() or not path.is_file():
            yield Problem(name, "is a link, or no plain file")
        elif name in said and sha256(path) != said[name]["sha256"]:
            yield Problem(name, "does not have the sha256 sum of the manifest: it was changed")


def _safe(folder: Path) -> Iterator[Problem]:
    if (folder / MANIFEST).is_symlink():
        yield Problem(MANIFEST, "is a link, or no plain file")
    for name in [*files_of(folder), MANIFEST]:
        path = folder / name
        if path.is_file() and not path.is_symlink() and (why := unsafe(name, path)):
            yield Problem(name, why)
    if (folder / "model").is_dir():
        try:
            store.load(folder / "model")
        except InputError as error:
            yield Problem("model", error.what)


def _policy(folder: Path, tree: Mapping[str, Any]) -> Iterator[Problem]:
    """k, l and t of the samples' metadata, measured again; small counts in tables of counts."""
    policy = _told(tree["policy"])
    quasi, sensitive = (policy.quasi, policy.sensitive) if "metadata" in policy.include else ([], [])
    for name, table in _metadata(folder):
        if isinstance(table, str):
            yield Problem(name, table)
            continue
        if strange := [c for c in table.columns if c not in (*quasi, *sensitive)]:
            yield Problem(name, f"has a column that the policy does not share: {strange[0]!r}")
        if lost := [c for c in (*quasi, *sensitive) if c not in table.columns]:
            yield Problem(name, f"lacks the column {lost[0]!r} of the policy")
            continue
        found = measured(table, quasi, sensitive)
        if found.k is not None and found.k < policy.k:
            yield Problem(name, f"has k = {found.k} in the columns of the policy, which asks for {policy.k}")
        if found.l is not None and found.l < policy.l:
            yield Problem(name, f"has l = {found.l} in the columns of the policy, which asks for {policy.l}")
        if found.t is not None and found.t > policy.t + 1e-9:
            yield Problem(name, f"has t = {found.t:.3f} in the columns of the policy, which asks for {policy.t:g}")
    for path in sorted((folder / "tables").glob("*.csv")):
        yield from _small(path, policy)
    personal = {"embedding.h5ad": "embedding", "obs.csv": "metadata"}
    for name, word in personal.items():
        if (folder / name).exists() and word not in policy.include:
            yield Problem(name, "is personal and not included by the policy")


def _metadata(folder: Path) -> Iterator[tuple[str, pd.DataFrame | str]]:
    try:
        if (folder / "obs.csv").is_file():
            table = pd.read_csv(folder / "obs.csv", index_col=0, dtype=str, keep_default_na=False)
            yield "obs.csv", table.rename(columns=raw)
        if (folder / "embedding.h5ad").is_file():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield "embedding.h5ad", ad.read_h5ad(folder / "embedding.h5ad").obs.astype(str)
    except Exception as error:  # noqa: BLE001 - readers of damaged files raise anything
        yield "obs.csv or embedding.h5ad", f"cannot be read: {type(error).__name__}"


def _small(path: Path, policy: Policy) -> Iterator[Problem]:
    try:
        table = pd.read_csv(path, low_memory=False)
    except (ValueError, OSError):
        yield Problem(f"tables/{path.name}", "is no table")
        return
    least = int(rounded(np.array([policy.smallest_cell]), policy.rounding)[0]) or policy.rounding
    for column in [c for c in ("samples", "n", "n_samples", "n_train", "n_test") if c in table]:
        counts = pd.to_numeric(table[column], errors="coerce")
        if ((counts > 0) & (counts < least)).any():
            yield Problem(f"tables/{path.name}", f"shows a count below {policy.smallest_cell} in {column!r}")


def _granted(tree: Mapping[str, Any]) -> Iterator[str]:
    disclosure = tree.get("disclosure") if isinstance(tree.get("disclosure"), dict) else {}
    found = (disclosure or {}).get("samples")
    if isinstance(found, dict):
        numbers = ", ".join(f"{m} = {found[m]:.3g}" for m in ("k", "l", "t") if found.get(m) is not None)
        yield f"its {found.get('n')} rows of samples have {numbers}"
    else:
        yield "it holds no row of a sample"
    yield from (str(r) for r in tree.get("risks") or [])


def _canaries(folder: Path, tree: Mapping[str, Any], known: Mapping[str, Mapping[str, str]]) -> Iterator[Problem]:
    """Names known beside the key that are in the bundle."""
    kept = tree["pseudonyms"].get("features") == "kept"
    canaries, common = [], set[str]()
    for domain, names in known.items():
        kind, _, of = domain.partition("/")
        common |= {of} if kind == "feature" else set()
        if kind == "sample" or (kind == "feature" and not kept):
            canaries += [Canary(name, f"{kind} {i + 1}") for i, name in enumerate(names.values())]
    common |= set(_told(tree["policy"]).columns) | set(tree.get("statistics") or {})
    for hit in found_in(folder, Watch(canaries, common)):
        yield Problem(hit.where, f"holds the name of a {hit.what.split()[0]}")
