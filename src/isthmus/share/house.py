"""What a run folder holds that must not leave under its name: samples, features, metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from isthmus.errors import DataError, ModelError
from isthmus.prepare.preparation import Preparation
from isthmus.report.table import raw
from isthmus.share.canary import Canary
from isthmus.share.manifest import FORMAT, MANIFEST
from isthmus.store import Stored, load
from isthmus.yaml_text import load_yaml

__all__ = ["House", "opened"]

PARTS = ("split", "fold")
CUT = ";,| \t"
"""Between what may be several values in one cell."""
LONG_NUMBER = 1e7
"""From here on a number in metadata is taken for a name, such as that of a record."""
NAMES = dict.fromkeys(
    ("feature", "label", "head", "column", "confounder", "covariate", "modality", "modalities", "source", "target",
     "first", "second", "split", "representation", "learner", "step", "message"), str,
)  # fmt: skip
"""Columns of tables that hold names: text, though all were `007` or `NA`."""
WHOLE = ("recipe.yaml", "embedding.h5ad", "metrics.json", "history.csv")


@dataclass(frozen=True)
class House:
    """A run folder, read."""

    folder: Path
    stored: Stored
    recipe: dict[str, Any]
    embedding: ad.AnnData

    @property
    def obs(self) -> pd.DataFrame:
        """Metadata of every sample, without the part of the split."""
        return pd.DataFrame(self.embedding.obs.drop(columns=[c for c in PARTS if c in self.embedding.obs]))

    @property
    def parts(self) -> pd.Series:
        """The part of every sample: train, valid or test, or its fold."""
        for name in PARTS:
            if name in self.embedding.obs:
                return pd.Series(self.embedding.obs[name].astype(str))
        return pd.Series("all", index=self.embedding.obs_names)

    @property
    def samples(self) -> pd.Index:
        names: pd.Index = self.embedding.obs_names
        return names

    @property
    def modalities(self) -> list[str]:
        return list(self.pipelines)

    @property
    def pipelines(self) -> dict[str, Any]:
        """The description of every modality's preparation."""
        return dict(self.stored.description["prepare"]["pipelines"])

    @cached_property
    def features(self) -> dict[str, list[str]]:
        """Modality to the features that its table had."""
        return {m: [str(f) for f in p["features"]] for m, p in self.pipelines.items()}

    @cached_property
    def prepared(self) -> dict[str, list[str]]:
        """Modality to its features after preparation."""
        return prepared(self.stored, self.stored.description["prepare"])

    def table(self, name: str) -> pd.DataFrame:
        """One of the run's tables; without rows where it has none."""
        path = self.folder / "tables" / f"{name}.csv"
        if not path.is_file():
            return pd.DataFrame()
        found = pd.read_csv(path, low_memory=False, keep_default_na=False, na_values=[""], dtype=NAMES)
        texts = [c for c in found if not pd.api.types.is_numeric_dtype(found[c])]
        for column in texts:
            found[column] = found[column].map(lambda v: raw(v) if isinstance(v, str) else v)
        return found.rename(columns=raw)

    def canaries(self, kept: Mapping[str, pd.Series], *, features: bool = True) -> Iterator[Canary]:
        """Everything that must not occur in what is shared.

        Parameters
        ----------
        kept
            Columns of obs that are shared, as they are shared: their values may occur.
        features
            Whether names of features must not.
        """
        for number, name in enumerate(self.samples):
            yield Canary(str(name), f"sample {number + 1}")
        if features:
            for modality, names in self.features.items():
                more = [f for f in self.prepared[modality] if f not in set(names)] if names else []
                for number, name in enumerate([*names, *more]):
                    yield Canary(name, f"feature {number + 1} of {modality}")
        shared = {str(v) for column in kept.values() for v in column.dropna()}
        for column in self.obs.columns:
            values = self.obs[column].dropna()
            for number, text in enumerate(_denied(values)):
                if text not in shared:
                    yield Canary(
                        text, f"value {number + 1} of column {list(self.obs.columns).index(column) + 1}", value=True
                    )


def _denied(values: pd.Series) -> list[str]:
    """The distinct values of a column that are no plain numbers, and the parts of those that are lists."""
    if pd.api.types.is_bool_dtype(values):
        return []
    if pd.api.types.is_float_dtype(values):
        long = values[(values % 1 == 0) & (values.abs() >= LONG_NUMBER)]
        return [str(int(v)) for v in long.unique()]
    texts = list(dict.fromkeys(str(v) for v in values.unique()))
    parts = [p for text in texts for p in _parts(text)]
    return list(dict.fromkeys([*texts, *parts]))


def _parts(text: str) -> list[str]:
    for sign in CUT:
        text = text.replace(sign, "\n")
    return [p for p in text.split("\n") if len(p) >= 8 and any(c.isdigit() for c in p)]


def prepared(stored: Stored, described: Mapping[str, Any]) -> dict[str, list[str]]:
    """Modality to the names of its prepared features, for a description of the preparation."""
    tensors = {k.removeprefix("prepare/"): v.numpy() for k, v in stored.learnt.items() if k.startswith("prepare/")}
    pipelines = Preparation.load_state(tensors, described).pipelines
    return {m: [str(f) for f in p.features_out_] for m, p in pipelines.items()}


def opened(run: str | Path) -> House:
    """Read a run folder.

    Raises
    ------
    DataError
        It is none, or is damaged.
    ModelError
        Its model is.
    """
    folder = Path(run)
    hint = "share the run folder that it came from, which knows the samples whose names must not leave"
    if folder.is_file():
        raise DataError("is a file and no run folder", where=str(folder), hint=hint if folder.suffix == ".zip" else "")
    if not folder.is_dir():
        raise DataError("there is no such run folder", where=str(folder.absolute()))
    if (folder / MANIFEST).is_file() and FORMAT in (folder / MANIFEST).read_text(encoding="utf-8", errors="replace"):
        raise DataError("is a bundle already", where=str(folder), hint=hint)
    if (folder / MANIFEST).is_file() and not (folder / "model").is_dir():
        raise DataError("is a model and not a run folder", where=str(folder), hint=hint)
    if missing := [n for n in (*WHOLE, "model") if not (folder / n).exists()]:
        raise DataError(
            "is no run folder", where=str(folder), met=f"no {', '.join(missing)}", wanted="what `run` wrote"
        )
    stored = load(folder / "model")
    recipe = load_yaml((folder / "recipe.yaml").read_bytes(), str(folder / "recipe.yaml"))
    try:
        embedding = ad.read_h5ad(folder / "embedding.h5ad")
        embedding.X = np.asarray(embedding.X)
        house = House(folder, stored, recipe, embedding)
        house.prepared  # noqa: B018 - a damaged description is told here
    except (OSError, KeyError, ValueError, TypeError, json.JSONDecodeError) as error:
        raise DataError("is no whole run folder", where=str(folder), met=type(error).__name__) from None
    if len(set(house.samples.astype(str))) != len(house.samples):
        raise ModelError("names a sample twice", where=str(folder / "embedding.h5ad"))
    return house
