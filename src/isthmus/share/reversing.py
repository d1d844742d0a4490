"""`reverse`: a bundle under its names again, for the key's holder."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anndata as ad

from isthmus import store
from isthmus.data.archive import as_folder
from isthmus.data.write import atomic
from isthmus.data.write import write as write_container
from isthmus.errors import DataError
from isthmus.report.table import raw, written
from isthmus.share.keys import Key, read_key
from isthmus.share.manifest import files_of, read_manifest, sealed
from isthmus.share.pseudonyms import LETTERS, names_file, read_names
from isthmus.share.verifying import verify
from isthmus.store import Stored

__all__ = ["reverse"]

MADE = frozenset(
    ("embedding.h5ad", "history.csv", "log.txt", "metrics.json", "model", "obs.csv", "recipe.yaml", "tables")
)
"""What it leaves; a run folder has a report besides."""
PSEUDONYM = re.compile(rf"(?<![A-Za-z0-9_])[sfcv]_[a-z2-7]{{{LETTERS}}}(?![A-Za-z0-9])")


def reverse(
    bundle: str | Path, out: str | Path, *, key: str | Path, names: str | Path | None = None, overwrite: bool = False
) -> Path:
    """Give a bundle its names back: model, tables, recipe, log, and samples where they are included.

    What was generalised, rounded, suppressed or left out stays so. Report and figures are left out.

    Parameters
    ----------
    bundle
        A folder or `.zip`.
    out
        A folder; it appears when all is done.
    key
        The key that the bundle was made with.
    names
        The file of names, if it is not beside the key.
    overwrite
        Replace a folder that is there.

    Returns
    -------
    Path
        That of `out`.

    Raises
    ------
    DataError
        The bundle is damaged, the key is another, or names are missing.
    """
    out = Path(out)
    _refuse(Path(bundle), out, overwrite=overwrite)
    with as_folder(bundle) as folder, TemporaryDirectory(prefix="isthmus-") as place:
        secret = read_key(key, outside=(folder, out, bundle) if Path(bundle).is_dir() else (folder, out))
        known = _known(folder, str(bundle), secret, None if names is None else Path(names))
        verify(folder).refuse()
        made = Path(place) / "reversed"
        for name in files_of(folder):
            if name.startswith("figures/") or name == "report.html" or name.startswith("model/"):
                continue
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            _restored(folder / name, made / name, known)
        if (folder / "model").is_dir():
            store.save(made / "model", _model(store.load(folder / "model"), known))
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic(out) as temporary:
            shutil.copytree(made, temporary)
    return out


def _refuse(bundle: Path, out: Path, *, overwrite: bool) -> None:
    """Say no where something would be lost."""
    if out.resolve().is_relative_to(bundle.resolve()) or bundle.resolve().is_relative_to(out.resolve()):
        raise DataError("lies within the bundle, or the bundle in it", where=str(out), wanted="another folder")
    if not out.exists():
        return
    if not overwrite:
        raise DataError("exists", where=str(out), hint="add --overwrite to replace it")
    if not out.is_dir() or {p.name for p in out.iterdir()} - MADE:
        raise DataError("is no folder that --reverse made, and is not replaced", where=str(out), wanted="another name")


def _known(folder: Path, where: str, key: Key, names: Path | None) -> dict[str, str]:
    """Pseudonym to name, once it is sure that the bundle is of this key."""
    tree = read_manifest(folder, where)
    if not sealed(tree, key):
        raise DataError(
            "was not made with this key, or was changed since", where=where, wanted="the key it was made with"
        )
    found = read_names(names_file(key) if names is None else names, key)
    return {pseudonym: name for of in found.values() for pseudonym, name in of.items()}


def _restored(path: Path, target: Path, known: Mapping[str, str]) -> None:
    if path.suffix == ".h5ad":
        adata = ad.read_h5ad(path)
        adata.obs_names = [_name(str(s), known) for s in adata.obs_names]
        write_container(adata, target)
        return
    text = path.read_bytes().decode("utf-8")
    if path.suffix == ".json":
        restored = json.dumps(_tree(json.loads(text), known), indent=1, ensure_ascii=False) + "\n"
    elif path.suffix == ".csv":
        rows = csv.reader(io.StringIO(text, newline=""))
        restored = written([[_text(raw(cell), known) for cell in row] for row in rows])
    elif path.suffix == ".yaml":
        restored = PSEUDONYM.sub(lambda m: json.dumps(_name(m[0], known), ensure_ascii=False), text)
    else:
        restored = PSEUDONYM.sub(lambda m: _name(m[0], known), text)
    target.write_bytes(restored.encode("utf-8"))


def _model(stored: Stored, known: Mapping[str, str]) -> Stored:
    description = _tree(stored.description, known)
    weights, learnt = ({_text(k, known): v for k, v in part.items()} for part in (stored.weights, stored.learnt))
    return Stored(weights, learnt, description)


def _tree(node: Any, known: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {_text(k, known): _tree(v, known) for k, v in node.items()}
    if isinstance(node, list):
        made = [_tree(v, known) for v in node]
        # one name in two modalities has two pseudonyms, which stand beside each other where it stood once
        return [v for i, v in enumerate(made) if not i or v != made[i - 1] or v == node[i] or node[i] == node[i - 1]]
    return _text(node, known) if isinstance(node, str) else node


def _text(text: str, known: Mapping[str, str]) -> str:
    return PSEUDONYM.sub(lambda m: _name(m[0], known), text)


def _name(pseudonym: str, known: Mapping[str, str]) -> str:
    """The name; one that was not pseudonymised looks no like a pseudonym."""
    if pseudonym not in known:
        if PSEUDONYM.fullmatch(pseudonym):
            hint = "the file of names is of another run: --names FILE says where the right one is"
            raise DataError("holds a pseudonym whose name is not known", where="reverse", hint=hint)
        return pseudonym
    return known[pseudonym]
