"""`load`: a model directory back to what `fit` returned."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from isthmus import registry, store
from isthmus.config import Config, validate
from isthmus.data.archive import as_folder
from isthmus.errors import ModelError
from isthmus.fitted import Fitted
from isthmus.prepare.preparation import Preparation
from isthmus.supervising import supervision_of, wrapped
from isthmus.types import Covariate, Modality, Spec, Target

FORGED = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, MemoryError)
"""What a description raises whose sums are right and whose content is not."""


def load(path: str | Path) -> Fitted:
    """Open a model directory, or the one in a run folder or a bundle (a folder, or a `.zip` of it).

    Raises
    ------
    ModelError
        A file is missing or damaged, or of a format that this version does not know.
    """
    path = Path(path)
    if path.suffix == ".zip" and path.is_file():
        with as_folder(path) as folder:
            return load(folder)
    inner = path / "model"
    stored = store.load(inner if (inner / "manifest.json").is_file() else path)
    try:
        return _described(stored)
    except FORGED as error:
        raise ModelError("does not describe a model", where=str(path), met=str(error)) from error


def _described(stored: store.Stored) -> Fitted:
    recipe, saved = stored.description["recipe"], stored.description["spec"]
    tensors = {k.removeprefix("prepare/"): v.numpy() for k, v in stored.learnt.items() if k.startswith("prepare/")}
    preparation = Preparation.load_state(tensors, stored.description["prepare"])
    features = {m: tuple(map(str, p.features_out_)) for m, p in preparation.pipelines.items()}
    modalities = [
        {**m, "shape": tuple(m["shape"]), "features": features.get(m["name"], ())} for m in saved["modalities"]
    ]
    targets = tuple(Target(**_frozen(t)) for t in saved["targets"])
    covariates = tuple(Covariate(**_frozen(c)) for c in saved["covariates"])
    spec = Spec(tuple(Modality(**m) for m in modalities), targets, covariates, saved["n_train"])
    prepared = {m: p.shape for m, p in preparation.pipelines.items()}
    if not len(spec) or any(prepared.get(m.name) != m.shape for m in spec if m.kind != "bag"):
        raise ValueError(f"the model reads {', '.join(spec.names) or 'nothing'}, and the preparation gives {prepared}")
    keys = dict(recipe["model"])
    name = keys.pop("name")
    asked = supervision_of(recipe.get("heads"), recipe.get("confounders"))
    module = wrapped(registry.get(name)(config(name, keys), spec), asked)
    module.load_state_dict(stored.weights)
    moments = {k.removeprefix("moments/"): v for k, v in stored.learnt.items() if k.startswith("moments/")}
    return Fitted(module.eval(), preparation, recipe, pd.DataFrame(stored.description["history"]), moments)


def _frozen(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of a JSON object as tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}


def config(name: str, keys: Mapping[str, Any]) -> Config:
    """The settings of a model from the keys of a recipe."""
    return validate(registry.config_of(name), keys, where="model")
