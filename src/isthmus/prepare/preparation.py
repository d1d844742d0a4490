"""A pipeline per modality: fitted on train, replayed on any sample, saved as tensors and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mudata as md
import numpy as np

from isthmus.data.table import aligned
from isthmus.errors import DataError, ModelError, RecipeError, closest, listed
from isthmus.prepare.pipeline import Pipeline
from isthmus.prepare.prepared import Prepared
from isthmus.prepare.residual import Residual
from isthmus.prepare.step import Entry, Step, describe, parse_steps

__all__ = ["Pipeline", "Preparation", "Prepared"]

DEFAULT: tuple[Entry, ...] = ("standardise",)
"""What a table gets for which a recipe names no steps."""
BAGS: tuple[Entry, ...] = ("standardise", "mean", "standardise")
"""What bags get: instances are standardised, and so are their means."""
PIXELS: dict[str, tuple[Entry, ...]] = {"gaussian": ({"pixels": "channel"},), "bernoulli": ("pixels",)}
"""What images get, by their likelihood; with another likelihood nothing."""


class Preparation:
    """A pipeline per modality.

    Parameters
    ----------
    pipelines
        Modality to pipeline.
    residual
        What is regressed out of the prepared features in the end, by annotations of the samples.
    """

    def __init__(self, pipelines: Mapping[str, Pipeline], residual: Residual | None = None) -> None:
        self.pipelines, self.residual = dict(pipelines), residual

    def __getitem__(self, modality: str) -> Pipeline:
        return self.pipelines[modality]

    @classmethod
    def parse(
        cls,
        prepare: Mapping[str, Sequence[Entry | Step] | None] | None,
        modalities: Sequence[str],
        *,
        defaults: Mapping[str, Sequence[Entry | Step]] | None = None,
    ) -> Preparation:
        """Pipelines from the key `prepare` of a recipe.

        Parameters
        ----------
        prepare
            Modality to list of steps.
        modalities
            The names there are.
        defaults
            Steps of a modality that `prepare` does not name; `[standardise]` where this does not name it either.

        Raises
        ------
        RecipeError
            An unknown modality, step or option.
        """
        given, defaults = dict(prepare or {}), dict(defaults or {})
        for name in given:
            if name not in modalities:
                hint = closest(name, modalities)
                raise RecipeError("no such modality", where=f"prepare.{name}", hint=hint)
        made = {}
        for name in modalities:
            entries = given[name] if name in given else defaults.get(name, DEFAULT)
            made[name] = Pipeline(parse_steps(entries, where=f"prepare.{name}"))
        return cls(made)

    def fit(self, mdata: md.MuData) -> Preparation:
        """Learn from training samples."""
        for name, pipeline in self.pipelines.items():
            if name not in mdata.mod:
                raise DataError("no such modality", where=name, met=listed(mdata.mod))
            pipeline.fit(aligned(mdata.mod[name], mdata.obs_names), name, ids=mdata.obs_names)
        if self.residual is not None:
            self.residual.fit(self._piped(mdata), mdata.obs)
        return self

    def transform(self, mdata: md.MuData) -> dict[str, Prepared]:
        """Any samples, in the order of `mdata.obs_names`; a modality that `mdata` lacks is absent everywhere."""
        made = self._piped(mdata)
        return made if self.residual is None else self.residual.transform(made, mdata.obs)

    def _piped(self, mdata: md.MuData) -> dict[str, Prepared]:
        """The samples through the pipelines."""
        made = {}
        for name, pipeline in self.pipelines.items():
            if name in mdata.mod:
                made[name] = pipeline.transform(aligned(mdata.mod[name], mdata.obs_names), ids=mdata.obs_names)
            else:
                made[name] = pipeline.absent(mdata.n_obs)
        return made

    def inverse(self, name: str, x: np.ndarray) -> np.ndarray:
        """Prepared values of a modality in original units: see `Pipeline.inverse`."""
        return self.pipelines[name].inverse(x)

    def widened(self, name: str, x: np.ndarray) -> np.ndarray:
        """What a decoder gives (n x units) as prepared values (n x f), in the type of `x`: see `Span.features`."""
        span = self.pipelines[name].span
        return x if span is None else span.features(x).astype(x.dtype)

    def directions(self, name: str, x: np.ndarray) -> np.ndarray:
        """Derivatives or weights by units (k x units) as those by features (k x f): see `Span.directions`."""
        span = self.pipelines[name].span
        return x if span is None else span.directions(x)

    def original(self, name: str, x: np.ndarray) -> np.ndarray:
        """What a decoder gives (n x units) in original units."""
        return self.inverse(name, self.widened(name, x))

    def about_mean(self, mdata: md.MuData) -> dict[str, np.ndarray]:
        """Prepared values about the mean of train, missing ones 0, of the modalities that end in `span`."""
        found = {}
        for name, prepared in self.transform(mdata).items():
            if prepared.span is not None:
                values = prepared.rows(np.arange(len(prepared))) - prepared.span.mean_
                found[name] = np.nan_to_num(values, copy=False)
        return found

    def describe(self) -> dict[str, list[str | dict[str, Any]]]:
        """The key `prepare` of a resolved recipe."""
        return {name: [describe(s) for s in p.steps] for name, p in self.pipelines.items()}

    def report(self) -> list[dict[str, Any]]:
        """Per modality and step: numbers of features before and after, and a message."""
        return [{"modality": name, **entry} for name, p in self.pipelines.items() for entry in p.report_]

    def save_state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Tensors (for safetensors) and a JSON-able description of everything learnt."""
        states = {name: p.get_state() for name, p in self.pipelines.items()}
        tensors = {f"{name}/{k}": v for name, (arrays, _) in states.items() for k, v in arrays.items()}
        meta: dict[str, Any] = {"pipelines": {name: meta for name, (_, meta) in states.items()}}
        if self.residual is not None:
            arrays, meta["residual"] = self.residual.get_state()
            tensors |= {f"residual:{name}": v for name, v in arrays.items()}
        return tensors, meta

    @classmethod
    def load_state(cls, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> Preparation:
        """The fitted preparation that `save_state` described.

        Raises
        ------
        ModelError
            Something is missing from it.
        """
        if "pipelines" not in meta:
            raise ModelError("the saved preparation is damaged", where="prepare", wanted="a key 'pipelines'")
        made = {}
        for name, saved in meta["pipelines"].items():
            mine = {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
            made[name] = Pipeline.from_state(mine, saved)
        if "residual" not in meta:
            return cls(made)
        arrays = {k.removeprefix("residual:"): v for k, v in tensors.items() if k.startswith("residual:")}
        return cls(made, Residual.from_state(arrays, meta["residual"]))
