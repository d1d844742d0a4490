"""A fitted imputer as a folder that anyone may open: safetensors, JSON and sha256 sums; never a pickle.

imputer.json           format version; per modality: features, preparation, methods, half-widths, calls
arrays.safetensors     every array that these refer to
network<i>/            a model directory (see `isthmus.store`) for each network
manifest.json          sha256 of the first two

Some methods keep training values (kNN and kernels the rows themselves): the folder is data, not only a model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mudata as md
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from isthmus.data.cohort import build
from isthmus.data.write import atomic
from isthmus.errors import DataError, ModelError, listed
from isthmus.impute.filling import Filler
from isthmus.impute.state import decode, encode
from isthmus.prepare.pipeline import Pipeline
from isthmus.prepare.preparation import Preparation
from isthmus.telling import once

if TYPE_CHECKING:
    from isthmus.fitted import Fitted

__all__ = ["DESCRIPTION", "impute", "is_imputer", "load_imputer", "save_imputer"]

FORMAT_VERSION = 1
DESCRIPTION, ARRAYS, MANIFEST = "imputer.json", "arrays.safetensors", "manifest.json"
FORGED = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, MemoryError)
"""What a description raises whose sums are right and whose content is not."""


def impute(mdata: md.MuData, fillers: Mapping[str, Filler]) -> md.MuData:
    """A cohort with the modalities of `fillers` filled for all samples (see `Filler.transform`)."""
    if not any(m in mdata.mod for m in known_modalities(fillers)):
        wanted = listed(known_modalities(fillers))
        raise DataError("has no modality that the imputer knows", met=listed(mdata.mod), wanted=wanted)
    with once("isthmus.prepare"):  # a modality is prepared as a target, and as a source of every other
        filled = {m: f.transform(mdata) for m, f in fillers.items()}
    return build({**{m: a for m, a in mdata.mod.items() if m not in filled}, **filled}, mdata.obs)


def known_modalities(fillers: Mapping[str, Filler]) -> list[str]:
    """What the imputer reads or fills."""
    read = [m for f in fillers.values() if f.sources is not None for m in f.sources.pipelines]
    return list(dict.fromkeys([*fillers, *read]))


def save_imputer(fillers: Mapping[str, Filler], path: str | Path) -> None:
    """Write a fitted imputer; what stands at `path` is replaced if it is one.

    Raises
    ------
    ModelError
        A method holds something that arrays and JSON cannot say (scikit-learn's and hyperimpute's imputers).
    DataError
        Something else stands there.
    """
    folder = Path(path)
    if folder.exists() and not is_imputer(folder):
        raise DataError("exists and is not a saved imputer", where=str(folder), hint="choose another name")
    arrays: dict[str, np.ndarray] = {}
    networks: list[Fitted] = []
    told = {m: _described(f, arrays, networks) for m, f in fillers.items()}
    tree = {"format_version": FORMAT_VERSION, "networks": len(networks), "targets": told}
    contents = {DESCRIPTION: _json(tree), ARRAYS: to_bytes(arrays)}
    contents[MANIFEST] = _json({k: hashlib.sha256(v).hexdigest() for k, v in contents.items()})
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic(folder) as fresh:
        fresh.mkdir()
        for name, content in contents.items():
            (fresh / name).write_bytes(content)
        for i, network in enumerate(networks):
            network.save(fresh / f"network{i}")


def is_imputer(folder: Path) -> bool:
    """Whether `save_imputer` wrote it."""
    return (folder / DESCRIPTION).is_file()


def load_imputer(path: str | Path) -> dict[str, Filler]:
    """Modality to what fills it, from the folder that `save_imputer` wrote.

    Raises
    ------
    ModelError
        A file is missing or damaged, or of a format that this version does not know.
    """
    folder = Path(path)
    contents = {name: _content(folder / name) for name in (DESCRIPTION, ARRAYS, MANIFEST)}
    try:
        sums = json.loads(contents[MANIFEST])
        for name in (DESCRIPTION, ARRAYS):
            if sums[name] != hashlib.sha256(contents[name]).hexdigest():
                hint = "the file was changed or cut short after it was saved: copy it again"
                raise ModelError("does not have the sha256 sum of the manifest", where=str(folder / name), hint=hint)
        tree = json.loads(contents[DESCRIPTION])
        if (version := tree["format_version"]) != FORMAT_VERSION:
            raise ModelError("has an unknown format", where=str(folder), met=version, wanted=str(FORMAT_VERSION))
        networks = _networks(folder, int(tree["networks"]))
        arrays = from_bytes(contents[ARRAYS])
        return {m: _restored(m, told, arrays, networks) for m, told in tree["targets"].items()}
    except (*FORGED, SafetensorError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError("does not describe an imputer", where=str(folder), met=str(error)[:100]) from error


def _described(filler: Filler, arrays: dict[str, np.ndarray], networks: list[Fitted]) -> dict[str, Any]:
    learnt, meta = filler.pipeline.get_state()
    sources = None if filler.sources is None else filler.sources.save_state()
    told = {
        "pipeline": [learnt, meta],
        "sources": None if sources is None else list(sources),
        "methods": dict(filler.methods),
        "widths": dict(filler.widths),
        "level": filler.level,
        "levels": filler.levels,
        "classes": filler.classes,
    }
    return {k: encode(v, arrays, networks) for k, v in told.items()}


def _restored(target: str, told: Mapping[str, Any], arrays: Mapping[str, np.ndarray], networks: list[Fitted]) -> Filler:
    found = {k: decode(v, arrays, networks) for k, v in told.items()}
    sources = None if found["sources"] is None else Preparation.load_state(*found["sources"])
    pipeline = Pipeline.from_state(*found["pipeline"])
    return Filler(
        target, pipeline, sources, found["methods"], found["widths"], float(found["level"]), found["levels"],
        found["classes"], {},
    )  # fmt: skip


def _networks(folder: Path, number: int) -> list[Fitted]:
    if not number:
        return []
    from isthmus.loading import load

    return [load(folder / f"network{i}") for i in range(number)]


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise ModelError("is missing", where=str(path.absolute()), wanted="a folder that isthmus impute wrote")
    return path.read_bytes()


def _json(tree: Mapping[str, Any]) -> bytes:
    return (json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
