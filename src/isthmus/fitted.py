"""What `fit` returns: embed, reconstruct, translate, impute, explain, sample, traverse, save."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from isthmus import attention as weighing
from isthmus import attribution, store
from isthmus.architecture import Architecture
from isthmus.config import Variational
from isthmus.data.accepted import Data, cohort
from isthmus.data.batches import Samples, samples
from isthmus.data.cohort import build
from isthmus.data.images import as_adata
from isthmus.errors import DataError, RecipeError, closest
from isthmus.explaining import Explained, explained
from isthmus.filling import gaps, interval
from isthmus.latent import draws, path
from isthmus.predicting import predictions
from isthmus.prepare.preparation import Preparation
from isthmus.types import Batch, Spec, plain

log = logging.getLogger("isthmus.fitted")
EMBED_BATCH = 1024


@dataclass(eq=False)
class Fitted:
    """A trained model with everything needed to apply it to samples it has never seen.

    Attributes
    ----------
    module
        The torch module, in evaluation mode, on the CPU.
    preparation
        The fitted preparation of every modality.
    recipe
        Resolved settings: `model`, `prepare`, `likelihood`, `training`.
    history
        A row per epoch: every loss term in training and validation.
    moments
        Mean and covariance of the training embedding (`mean`: d, `covariance`: d x d), and the half-widths of 90 %
        intervals (`entry/<m>`, `modality/<m>`: f each).
    """

    module: Architecture
    preparation: Preparation
    recipe: dict[str, Any]
    history: pd.DataFrame
    moments: dict[str, Tensor]

    def __repr__(self) -> str:
        widths = ", ".join(f"{m.name} ({m.width} features, {m.likelihood})" for m in self.spec)
        return f"Fitted({self.module.config!r} of {widths}; {self.spec.n_train} training samples)"

    @property
    def spec(self) -> Spec:
        """What the model knows of the data."""
        return self.module.spec

    @property
    def latent(self) -> int:
        """Number of latent dimensions."""
        return len(self.moments["mean"])

    def features(self, modality: str) -> pd.Index:
        """The features of a modality that `reconstruct` and its kin give, in their order."""
        return self.preparation[modality].features_inverse_

    @torch.no_grad()
    def embed(self, mdata: Data, source: str | None = None) -> ad.AnnData:
        """Posterior means.

        Parameters
        ----------
        mdata
            Any samples: modalities may be missing, features reordered or absent (both are reported).
        source
            Encode this modality alone.

        Returns
        -------
        AnnData
            n x d, obs carried over; `layers["sd"]` for a variational model. A sample of which nothing is observed has
            a row of NaN.

        Raises
        ------
        DataError
            No feature in common with training.
        RecipeError
            The model has no modality `source`, or does not encode it.
        """
        mdata = self._cohort(mdata)
        only = None if source is None else (self._source(source),)
        means, sds, seen = [], [], []
        for batch in self._batches(mdata):
            kept = batch if only is None else batch.only(only)
            output = self.module(kept)
            means.append(self.module.encode(batch, source))
            if "z" in output.posteriors:
                sds.append((0.5 * output.posteriors["z"].logvar).exp())
            seen.append(self.module.encodable(kept))
        empty = ~torch.cat(seen).numpy()
        if empty.any():
            of = source or "the model's modalities"
            log.warning("%d samples have nothing observed of %s: their embedding is NaN", empty.sum(), of)
        blocks = pd.Categorical(self.module.blocks or ["shared"] * self.latent)
        var = pd.DataFrame({"block": blocks}, index=list(self.module.latent_names))
        found = ad.AnnData(
            np.where(empty[:, None], np.float32(np.nan), torch.cat(means).numpy()), obs=mdata.obs.copy(), var=var
        )
        if sds:
            found.layers["sd"] = np.where(empty[:, None], np.float32(np.nan), torch.cat(sds).numpy())
        return found

    def predict(self, mdata: Data, source: str | None = None) -> pd.DataFrame:
        """What the heads say of any samples, from all of their modalities or from `source` alone.

        Returns
        -------
        DataFrame
            A row per sample: `<head>/<class>` probabilities, `<head>` in original units, `<head>/log_risk` (and of
            discrete time `<head>/survival/<time>`). A sample of which nothing is observed has a row of NaN.

        Raises
        ------
        RecipeError
            The model has no heads.
        """
        return predictions(self.module, np.asarray(self.embed(mdata, source).X), self._cohort(mdata).obs_names)

    def reconstruct(self, mdata: Data) -> md.MuData:
        """Every modality as the decoder sees it, in original units, for every sample (absent modalities too)."""
        mdata = self._cohort(mdata)
        return self._container({m: self._restored(m, x) for m, x in self.means(mdata).items()}, mdata.obs)

    @torch.no_grad()
    def translate(self, mdata: Data, source: str, target: str) -> ad.AnnData:
        """`target` predicted from `source` alone, in original units, for the samples that have `source`.

        Raises
        ------
        DataError
            No sample has `source`.
        RecipeError
            The model has no such modality, does not encode `source`, or keeps the modalities apart.
        """
        if not self.module.joins:
            raise RecipeError("keeps the modalities apart: nothing passes from one to another", where="translate")
        mdata, source, target = self._cohort(mdata), self._source(source), self.known(target)
        parts, seen = [], []
        for batch in self._batches(mdata, told=True):
            parts.append(self.module.decode(self.module.encode(batch, source), batch.covariates)[target])
            seen.append(batch.present(source))
        rows = torch.cat(seen).numpy()
        if not rows.any():
            raise DataError("no sample has it", where=f"modality {source!r}")
        values = self._restored(target, self.preparation.widened(target, torch.cat(parts).numpy()[rows]))
        return self._modality(target, values, mdata.obs.loc[rows].copy())

    def impute(self, mdata: Data) -> md.MuData:
        """The samples with missing entries and absent modalities filled, in original units.

        Returns
        -------
        MuData
            Every modality for every sample: what was observed stands as it was; layers `lower` and `upper` bound 90 %
            split-conformal intervals of what was filled (equal to the value elsewhere; NaN where too few held-out
            samples calibrate them), `imputed` marks it; images have them in obsm. A feature that was never observed in
            training stays NaN. A modality without gaps keeps its CSR.
        """
        mdata = self._cohort(mdata)
        means = self.means(mdata)
        return self._container({m: self._filled(m, mdata, x) for m, x in means.items()}, mdata.obs)

    def explain(
        self, mdata: Data | None = None, *, method: str = "jacobian", source: str | None = None,
        units: str = "prepared", per: str = "unit", absolute: bool | None = None, head: str | None = None,
    ) -> pd.DataFrame:  # fmt: skip
        """How every feature is tied to every latent dimension; formulas in `isthmus.attribution`.

        Parameters
        ----------
        mdata
            The samples over which the answer is averaged. Without them `jacobian` takes draws from a normal
            distribution with the mean and covariance of the training embedding.
        method
            `jacobian`, what a dimension writes: the mean derivative of the decoder's mean. What it reads:
            `integrated_gradients` or `deeplift`, the shares of the features in the posterior mean (extra `explain`).
        source
            Encode this modality alone.
        units
            Of the features, for `jacobian` without `head`: `prepared` (log(1 + mean) of counts) or `original`.
        per
            Of the latent dimension: its `unit`, or without `head` an `sd` of the training embedding.
        absolute
            The mean of absolute values; by default that of `jacobian` is signed. Signed attributions of a cohort
            about the baseline average out, and those of a single sample sum to its embedding beyond the baseline's.
        head
            What this head reads, through the encoder, instead of the dimensions; its columns are those of `predict`.

        Returns
        -------
        DataFrame
            Features, with (modality, feature) as index, x latent dimensions.

        Raises
        ------
        RecipeError
            An option is wrong or does not go with `head`, or a method that needs samples got none.
        MissingExtraError
            The method needs captum.
        """
        attribution.check(method, source=source, given=mdata is not None, units=units, per=per)
        only = None if source is None else self._source(source)
        given = None if mdata is None else self._cohort(mdata)
        found = None if given is None else self._samples(given)
        of = Explained(self.module, self.preparation, self.moments, given, found)
        return explained(of, method=method, source=only, units=units, per=per, absolute=absolute, head=head)

    attention, occlusion = weighing.attention, weighing.occlusion

    def sample(self, n: int, seed: int = 0, *, of: str | None = None) -> md.MuData:
        """New samples: the decoder's mean at draws of the latent dimensions, in original units.

        Parameters
        ----------
        n, seed
            How many, and the seed of the draws.
        of
            `prior`, N(0, I), or `posterior`, a normal distribution with the mean and covariance of the training
            embedding. The prior is the default of variational models; others have none.

        Returns
        -------
        MuData
            n samples, named `sample0`, `sample1`, ...

        Raises
        ------
        RecipeError
            No such distribution, or a negative number.
        """
        of = of or ("prior" if isinstance(self.module.config, Variational) else "posterior")
        z = draws(self.moments, n, seed, of=of).numpy()
        return self.decode(z, pd.DataFrame(index=[f"sample{i}" for i in range(n)]))

    def traverse(self, dimension: int | str, *, span: float = 2.0, steps: int = 9) -> md.MuData:
        """The decoder's mean along one latent dimension, the others at the mean of the training embedding.

        Parameters
        ----------
        dimension
            Position, or name as in `embed(...).var_names`.
        span, steps
            From -span to +span standard deviations of the training embedding, in so many steps.

        Returns
        -------
        MuData
            A sample per step, in their order; the dimension's values are a column of obs.

        Raises
        ------
        RecipeError
            No such dimension, or fewer than one step.
        """
        names = self.module.latent_names
        place = dimension if isinstance(dimension, int) else names.index(dimension) if dimension in names else -1
        if not 0 <= place < self.latent:
            raise RecipeError("no such latent dimension", met=dimension, wanted=f"0 to {self.latent - 1}, or a name")
        z = path(self.moments, place, span=span, steps=steps).numpy()
        return self.decode(z, pd.DataFrame({names[place]: z[:, place]}, index=[f"step{i}" for i in range(steps)]))

    def decode(self, z: np.ndarray, obs: pd.DataFrame | None = None) -> md.MuData:
        """Points of the latent space in original units of every modality.

        Parameters
        ----------
        z
            n x d.
        obs
            Annotations of the points; without them they are named `point0`, `point1`, ...

        Raises
        ------
        DataError
            The points have another number of dimensions.
        """
        if np.ndim(z) != 2 or np.shape(z)[1] != self.latent:
            wanted = f"n x {self.latent}"
            raise DataError("has other dimensions than the model", where="z", met=np.shape(z), wanted=wanted)
        with torch.no_grad():
            means = self.module.eval().decode(torch.as_tensor(np.asarray(z, dtype=np.float32)))
        obs = pd.DataFrame(index=[f"point{i}" for i in range(len(z))]) if obs is None else obs
        wide = {m: self.preparation.widened(m, x.numpy()) for m, x in means.items()}
        return self._container({m: self._restored(m, x) for m, x in wide.items()}, obs)

    def to_anndata(self, mdata: Data, modality: str | None = None) -> ad.AnnData:
        """One modality (the first, unless named) with the embedding in `obsm["X_isthmus"]`, ready for scanpy."""
        mdata = self._cohort(mdata)
        name = self.known(modality or self.spec.names[0])
        z = self.embed(mdata)
        adata = mdata.mod[name].copy()
        rows = z.obs_names.get_indexer(adata.obs_names)
        adata.obs = mdata.obs.loc[adata.obs_names].copy()
        adata.obsm["X_isthmus"] = np.asarray(z.X)[rows]
        if "sd" in z.layers:
            adata.obsm["X_isthmus_sd"] = np.asarray(z.layers["sd"])[rows]
        return adata

    def save(self, path: str | Path) -> None:
        """Write a model directory: safetensors, JSON and sha256 sums, no pickle."""
        tensors, described = self.preparation.save_state()
        learnt = {f"prepare/{k}": torch.from_numpy(np.ascontiguousarray(v)) for k, v in tensors.items()}
        learnt |= {f"moments/{k}": v for k, v in self.moments.items()}
        description = {
            "recipe": self.recipe,
            "spec": plain(self.spec),
            "prepare": described,
            "history": self.history.astype(object).where(self.history.notna(), None).to_dict("records"),
        }
        store.save(Path(path), store.Stored(dict(self.module.state_dict()), learnt, description))

    def _batches(self, mdata: md.MuData, *, told: bool = False) -> Iterator[Batch]:
        """The samples prepared, with covariates where decoders are `told` them."""
        self.module.eval()
        return self._samples(mdata, told=told).batches(EMBED_BATCH)

    def _samples(self, mdata: md.MuData, *, told: bool = False) -> Samples:
        return samples(self.preparation.transform(mdata), self.spec, mdata.obs if told else None, targets=False)

    @torch.no_grad()
    def means(self, mdata: md.MuData) -> dict[str, np.ndarray]:
        """The likelihood's means, n x f a modality, on the scale of the prepared values."""
        parts: dict[str, list[Tensor]] = {m: [] for m in self.spec.names}
        for batch in self._batches(mdata, told=True):
            for m, d in self.module(batch).x_hat.items():
                parts[m].append(d.mean)
        return {m: self.preparation.widened(m, torch.cat(v).numpy()) for m, v in parts.items()}

    def _restored(self, name: str, x: np.ndarray) -> np.ndarray:
        return np.asarray(self.preparation.inverse(name, x), dtype=np.float32)

    def _container(self, values: Mapping[str, Any], obs: pd.DataFrame) -> md.MuData:
        """One AnnData a modality (arrays, or AnnData as they are) for the same samples."""
        mods = {
            m: x if isinstance(x, ad.AnnData) else self._modality(m, x, pd.DataFrame(index=obs.index))
            for m, x in values.items()
        }
        return build(mods, obs)

    def _modality(self, name: str, values: np.ndarray, obs: pd.DataFrame) -> ad.AnnData:
        """Rows in original units as a table, or as images."""
        picture = self.preparation[name].picture_
        if picture is not None:
            return as_adata(values, obs, picture)
        return ad.AnnData(values, obs, pd.DataFrame(index=self.features(name)))

    def _filled(self, name: str, mdata: md.MuData, mean: np.ndarray) -> ad.AnnData:
        """One modality with its gaps filled; see `impute`."""
        found = gaps(mdata.mod.get(name), mdata.obs_names, self.features(name))
        if sp.issparse(found.known):
            return found.whole()
        bounds = interval(self.spec[name], self.moments, found.absent, mean)
        filled = found.filled(*(self._restored(name, v) for v in bounds))
        picture = self.preparation[name].picture_
        return filled if picture is None else as_adata(filled.X, filled.obs, picture, **filled.layers)

    def known(self, name: str) -> str:
        """The name of a modality, if it is one of the model's."""
        if name not in self.spec.names:
            raise RecipeError("the model has no such modality", met=name, hint=closest(name, self.spec.names))
        return name

    def _source(self, name: str) -> str:
        if self.known(name) not in self.module.sources:
            raise RecipeError("the model does not encode it", met=name, wanted=" or ".join(self.module.sources))
        return name

    def _cohort(self, data: Data) -> md.MuData:
        """Any accepted container as MuData with at least one of the model's modalities."""
        found = cohort(data, self.spec.names)
        if not set(found.mod) & set(self.spec.names):
            met, wanted = ", ".join(found.mod), ", ".join(self.spec.names)
            raise DataError("has none of the model's modalities", met=met, wanted=wanted)
        return found
