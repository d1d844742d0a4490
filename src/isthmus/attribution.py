"""What a latent dimension stands for: loadings of the decoder, attributions of the encoder.

Loadings ask what a dimension writes. With g_m(z) the mean that the decoder gives modality m on the scale of the
prepared values (log(1 + mean) of counts), and n points z_i of the latent space,

    L_mfj = 1/n sum_i d g_mf(z_i) / d z_j,

exact derivatives in forward mode: d passes a batch, however many features there are. Of a linear decoder these are its
weights. In original units g is followed by the inverse of the preparation, differentiated along d g / d z_j by a
central difference.

Attributions ask what a dimension reads. With z_j(x) the posterior mean and b the baseline, integrated gradients are

    A_mfj(x) = (x_mf - b_mf) int_0^1 d z_j(b + t (x - b)) / d x_mf dt,

and sum over m and f to z_j(x) - z_j(b). b is 0, which is what stands for a missing entry: the mean of train where the
modality was standardised, no count where it counts. What a sample lacks is attributed nothing. DeepLIFT (its rescale
rule) replaces the integral by the slopes of the secants of each activation between b and x.

Of a bag the entries are those of its mean: along the path all its instances move alike, from a mean of 0 to where they
are.

Sundararajan, Taly & Yan, Axiomatic attribution for deep networks, ICML 2017, arXiv:1703.01365. Shrikumar, Greenside &
Kundaje, Learning important features through propagating activation differences, ICML 2017, arXiv:1704.02685. Both by
captum (Kokhlikyan et al. 2020, arXiv:2009.07896), with 64 points of Gauss-Legendre quadrature for the integral.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import mudata as md
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import forward_ad

from isthmus.architecture import Architecture
from isthmus.data.batches import Samples
from isthmus.errors import DataError, MissingExtraError, RecipeError, closest
from isthmus.nn.pooling import bag_means, moved_to
from isthmus.prepare.preparation import Preparation
from isthmus.training.calibration import on_scale
from isthmus.types import Batch, PackedBags

Inverse: TypeAlias = Callable[[str, np.ndarray], np.ndarray]
Score: TypeAlias = Callable[[Batch], Tensor]
CHOICES = {
    "method": ("jacobian", "integrated_gradients", "deeplift"),
    "units": ("prepared", "original"),
    "per": ("unit", "sd"),
}
ROWS = 256
"""Samples a pass."""
QUADRATURE = 64
STEP = 1e-4
"""Of the central difference, in units of the latent dimension; in float64."""


def check(method: str, *, source: str | None, given: bool, **choices: str) -> None:
    """Refuse what is no choice, or no choice for a method; `given` says whether there are samples.

    Raises
    ------
    RecipeError
        An unknown choice, one that needs samples where none are given, or units that attributions do not have.
    """
    for key, met in {"method": method, **choices}.items():
        if met not in CHOICES[key]:
            hint = closest(met, CHOICES[key], most=0)
            raise RecipeError("no such choice", where=key, met=met, wanted=" or ".join(CHOICES[key]), hint=hint)
    if method != "jacobian" and not given:
        raise RecipeError("needs samples", where=f"method {method!r}", hint="give the cohort as the first argument")
    if source is not None and not given:
        raise RecipeError("needs samples", where="source", hint="give the cohort as the first argument")
    if method != "jacobian" and choices["units"] != "prepared":
        what, met = "attributions are in units of the embedding", choices["units"]
        raise RecipeError(what, where="units", met=met, wanted="prepared")


def points(module: Architecture, samples: Samples, source: str | None = None) -> Float[Tensor, "n d"]:
    """The embedding of the samples that have one."""
    with torch.no_grad():
        return torch.cat([module.encode(b, source) for b in _encodable(module, samples, source)])


def loadings(
    module: Architecture,
    z: Float[Tensor, "n d"],
    *,
    absolute: bool = False,
    inverse: Inverse | None = None,
    wide: Inverse | None = None,
) -> dict[str, np.ndarray]:
    """Mean derivatives of the decoder's means, f x d a modality.

    Parameters
    ----------
    module
        In evaluation mode afterwards.
    z
        Where the derivatives are taken.
    absolute
        The mean of their absolute values instead.
    inverse
        Modality and what the decoder gives (n x units) to original units (n x f'); None: the prepared values' scale.
    wide
        Modality and derivatives of units (n x units) to those of features (n x f); None: units are features.
    """
    module.eval()
    total: dict[str, list[np.ndarray]] = {}
    for j in range(z.shape[1]):
        columns: dict[str, np.ndarray] = {}
        for part in z.split(ROWS):  # type: ignore[no-untyped-call]
            for m, slope in _slopes(module, part, j, inverse).items():
                slope = slope if absolute or wide is None or inverse else slope.sum(axis=0, keepdims=True)
                slope = slope if wide is None or inverse else wide(m, slope)
                found = (np.abs(slope) if absolute else slope).sum(axis=0, dtype=np.float64)
                columns[m] = columns.get(m, 0.0) + found
        for m, column in columns.items():
            total.setdefault(m, []).append(column / len(z))
    return {m: np.stack(columns, axis=1) for m, columns in total.items()}


def _slopes(module: Architecture, z: Tensor, j: int, inverse: Inverse | None) -> dict[str, np.ndarray]:
    """Derivatives along one dimension at every point, n x f a modality."""
    along = torch.zeros_like(z)
    along[:, j] = 1
    with torch.no_grad(), _forward_mode():
        means = module.decode(forward_ad.make_dual(z, along))  # type: ignore[no-untyped-call]
        means = means if inverse else {m: on_scale(v, module.spec, m) for m, v in means.items()}
        pairs = {m: forward_ad.unpack_dual(v) for m, v in means.items()}  # type: ignore[no-untyped-call]
    found = {}
    for m, (at, slope) in pairs.items():
        value, step = at.double().numpy(), (torch.zeros_like(at) if slope is None else slope).double().numpy()
        ends = (value + STEP * step, value - STEP * step)
        found[m] = step if inverse is None else (inverse(m, ends[0]) - inverse(m, ends[1])) / (2 * STEP)
    return found


@contextmanager
def _forward_mode() -> Iterator[None]:
    """Derivatives in forward mode, without what torch says of its own imports when it first enters it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script`", DeprecationWarning)
        with forward_ad.dual_level():
            yield


@dataclass(frozen=True)
class Reduced:
    """Modalities of which a model reads coordinates: the samples' `values` about the baseline, n x f, `wide` as above.

    With z(x) = z(V' x) the gradient by x is V times that by the coordinates: attributions to features are exact.
    """

    values: Mapping[str, np.ndarray]
    wide: Inverse

    def features(self, name: str, index: Tensor, slopes: np.ndarray) -> np.ndarray:
        """Attributions to the features of some samples, by position, from derivatives by the coordinates."""
        return np.asarray(self.wide(name, slopes) * self.values[name][index.numpy()])


def reduced(preparation: Preparation, mdata: md.MuData) -> Reduced | None:
    """What leads from coordinates to features, for some samples; None where no modality has the step `span`."""
    values = preparation.about_mean(mdata)
    return Reduced(values, preparation.directions) if values else None


def attributions(
    module: Architecture,
    samples: Samples,
    method: str,
    *,
    source: str | None = None,
    absolute: bool = True,
    reduced: Reduced | None = None,
    score: Score | None = None,
) -> dict[str, np.ndarray]:
    """Mean attributions of the posterior means to the entries of the samples, f x d an encoded modality.

    Parameters
    ----------
    module
        In evaluation mode afterwards.
    samples
        Those of which nothing is observed that can be encoded are left out.
    method
        `integrated_gradients` or `deeplift`.
    source
        Encode this modality alone.
    absolute
        The mean over samples of absolute values; else the signed mean.
    reduced
        What leads from coordinates to features; None: the model reads features.
    score
        What is attributed instead of the posterior means, a column each.

    Raises
    ------
    MissingExtraError
        captum is not installed.
    DataError
        No sample can be encoded.
    """
    names = module.sources if source is None else (source,)
    called = Called(module, names, score or (lambda batch: module.encode(batch, source)))
    attribute = _explainer(called, method, slopes=reduced is not None)
    total: dict[str, np.ndarray] = {}
    n = 0
    for batch in _encodable(module.eval(), samples, source):
        called.bags, given = batch.bags, entries(batch, names)
        tensors = tuple(given[m].requires_grad_() for m in names)
        masks = (*(batch.observed[m] for m in names), torch.arange(len(batch)))
        n += len(batch)
        with torch.no_grad():
            width = called(*tensors, *masks).shape[1]
        for j in range(width):
            for m, values in zip(names, attribute(tensors, masks, j), strict=True):
                found = values.detach().double().numpy()
                if reduced is not None:
                    here = m in reduced.values
                    found = reduced.features(m, batch.index, found) if here else found * batch.x[m].numpy()
                column = (np.abs(found) if absolute else found).sum(axis=0)
                total.setdefault(m, np.zeros((len(column), width)))[:, j] += column
    return {m: v / n for m, v in total.items()}


def slopes(
    module: Architecture,
    samples: Samples,
    score: Score,
    *,
    source: str | None = None,
    absolute: bool = False,
    wide: Inverse | None = None,
) -> dict[str, np.ndarray]:
    """Mean derivatives of a score by the entries of the samples, f x columns an encoded modality; 0 for missing ones.

    `wide`: modality and derivatives by units (n x units) to those by features; None: units are features.
    """
    names = module.sources if source is None else (source,)
    total: dict[str, np.ndarray] = {}
    n = 0
    for batch in _encodable(module.eval(), samples, source):
        tensors = {m: v.requires_grad_() for m, v in entries(batch, names).items()}
        scores, n = score(with_entries(batch, tensors)), n + len(batch)
        for j in range(scores.shape[1]):
            found = torch.autograd.grad(scores[:, j].sum(), list(tensors.values()), retain_graph=True)
            for m, value in zip(names, found, strict=True):
                slope = torch.where(batch.observed[m], value, 0.0).double().numpy()
                slope = slope if wide is None else wide(m, slope)
                column = (np.abs(slope) if absolute else slope).sum(axis=0)
                total.setdefault(m, np.zeros((len(column), scores.shape[1])))[:, j] += column
    return {m: v / n for m, v in total.items()}


def entries(batch: Batch, names: tuple[str, ...]) -> dict[str, Tensor]:
    """What attributions are to: the values of some modalities, of bags the means of their instances."""
    return {m: bag_means(batch.bags[m]) if m in batch.bags else batch.x[m].clone() for m in names}


def with_entries(batch: Batch, given: Mapping[str, Tensor]) -> Batch:
    """The batch with other entries, all instances of a bag moving alike."""
    bags = {m: moved_to(b, given[m]) if m in given else b for m, b in batch.bags.items()}
    return replace(batch, x={**batch.x, **{m: v for m, v in given.items() if m not in bags}}, bags=bags)


class Called(nn.Module):
    """A function of a batch in the form that captum calls: the values of some modalities, their masks, and positions.

    The positions are those of the samples in `bags`, since captum repeats what it passes on.
    """

    def __init__(self, module: Architecture, names: tuple[str, ...], score: Score) -> None:
        super().__init__()
        self.module, self.names, self.score = module, names, score
        self.bags: dict[str, PackedBags] = {}

    def forward(self, *tensors: Tensor) -> Tensor:
        n, (first, k) = len(tensors[0]), (tensors[0], len(self.names))
        x = dict(zip(self.names, tensors[:k], strict=True))
        observed = dict(zip(self.names, tensors[k : 2 * k], strict=True))
        bags = {m: b.take(tensors[-1]) for m, b in self.bags.items()}
        for m in self.module.spec:
            x.setdefault(m.name, first.new_zeros(n, m.units))
            observed.setdefault(m.name, torch.zeros(n, 1, dtype=torch.bool))
        order = self.module.spec.names
        given = {m: x[m] for m in self.names}
        x |= {m: first.new_zeros(n, self.module.spec[m].units) for m in bags}
        batch = Batch({m: x[m] for m in order}, {m: observed[m] for m in order}, torch.arange(n), bags=bags)
        return self.score(with_entries(batch, given))


def _explainer(called: Called, method: str, *, slopes: bool = False) -> Callable[[Any, Any, int], tuple[Tensor, ...]]:
    """Values, masks and a position in what is called, to attributions of the shapes of the values.

    `slopes`: before they are multiplied by the values.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from captum.attr import DeepLift, IntegratedGradients
    except ImportError:
        raise MissingExtraError("captum", "explain", f"the method {method!r}") from None
    kind = DeepLift if method == "deeplift" else IntegratedGradients
    explainer = kind(called, multiply_by_inputs=not slopes)

    def attribute(values: Any, masks: Any, target: int) -> tuple[Tensor, ...]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it sets hooks, and that it takes them away
            size = len(masks[-1]) if called.bags else ROWS * 4  # bags are as large as fits the memory
            options = {} if method == "deeplift" else {"n_steps": QUADRATURE, "internal_batch_size": size}
            found: tuple[Tensor, ...] = explainer.attribute(
                values, target=target, additional_forward_args=masks, **options
            )
        return found

    return attribute


def _encodable(module: Architecture, samples: Samples, source: str | None) -> Iterator[Batch]:
    """The samples of which something is observed that can be encoded, in batches."""
    found = False
    for batch in samples.batches(ROWS):
        rows = module.encodable(batch if source is None else batch.only((source,)))
        if rows.any():
            found = True
            yield batch if rows.all() else samples.batch(batch.index[rows])
    if not found:
        raise DataError("no sample has anything observed that the model encodes", met=source, wanted="a sample")


def table(
    parts: Mapping[str, np.ndarray], features: Mapping[str, pd.Index], dimensions: tuple[str, ...]
) -> pd.DataFrame:
    """Modality to f x d, as one DataFrame with (modality, feature) as index."""
    frames = {m: pd.DataFrame(v, index=features[m], columns=list(dimensions)) for m, v in parts.items()}
    return pd.concat(frames, names=["modality", "feature"])
