"""Latent-mediated associations by the house's own networks: fitted, differentiated, compared, refitted for the null.

`dual` fits one autoencoder a modality and maps one embedding to the other; `joint` fits one architecture on both. The
scores are those of `isthmus.associate.latent`, their null and tests those of `isthmus.associate.refits`. A modality of
more features than samples (where `span` does not say otherwise) is trained on its coordinates in the span of the
samples, which hold all that the samples say, and derivatives are carried back to the features by the span's basis:
132,129 genes of 21 samples are 20 coordinates. Features are standardised, so that every feature counts alike.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from isthmus.associate import latent, refits
from isthmus.associate.design import design_of
from isthmus.associate.inputs import Data, blocks_of, joined, numbers
from isthmus.associate.latent import Embedded, Factors
from isthmus.associating.latent_keys import LatentSettings
from isthmus.errors import DataError
from isthmus.fitted import Fitted
from isthmus.fitting import fit
from isthmus.loading import config

__all__ = ["LatentLinks", "LatentSettings", "latent_links"]

log = logging.getLogger("isthmus.associate")
SIDES = ("x", "y")
NOTHING = 1e-10
"""Share of the largest eigenvalue below which a direction of the span is none."""
LEVEL = 0.05
SHOWN = 256
"""Bins of |score| in `LatentLinks.null`."""


@dataclass(frozen=True)
class LatentLinks:
    """Pairs that go together through latent dimensions.

    Attributes
    ----------
    table
        `x`, `y`, `score`, `p`, `q`, `p_refit`, `p_tied` as in `isthmus.associate.refits.Scored`, the smallest p first:
        the pairs asked for and the best. Without refits p and q are NaN.
    features
        Side (`x`, `y`) -> features x components, both in one space: the inner product of two rows is their score.
    seeds
        Of the fits that scores are averaged over.
    null
        Pairs by |score| (index: lower edge of a bin): `observed`, and `null`, the mean over refits.
    n_tests
        Number of pairs.
    p_any
        Share of the fits, the real one included, whose largest score reaches the real one's; NaN without refits.
    words
        What was done and found, a sentence each.
    """

    table: pd.DataFrame
    features: dict[str, pd.DataFrame]
    seeds: tuple[int, ...]
    null: pd.DataFrame
    n_tests: int
    p_any: float
    words: list[str]


def latent_links(
    x: Data, y: Data, *, settings: LatentSettings | None = None, pairs: pd.DataFrame | None = None,
    design: pd.Series | pd.DataFrame | None = None, blocks: pd.Series | None = None, threads: int | None = None,
) -> LatentLinks:  # fmt: skip
    """Score pairs of features by what latent dimensions carry from one to the other.

    Parameters
    ----------
    x, y
        Samples x features on the scale that is to be modelled (logarithms, say), joined by sample id. NaN is missing:
        not observed by the networks, or at the feature's mean in the span.
    settings
        How networks are fitted and how often.
    pairs
        Columns `x` and `y`: pairs that are listed whatever their score.
    design
        Groups or covariates per sample id, taken out of the features before anything is fitted, and out of the
        embeddings.
    blocks
        Groups per sample id within which the samples of `y` are permuted.
    threads
        Of the scoring; all cores by default.

    Raises
    ------
    DataError
        Too few samples in common, no feature that varies, or a pair that names none.
    RecipeError
        A setting is wrong, or the architecture does not take so many modalities.
    RunError
        A training failed.
    """
    settings = settings or LatentSettings()
    a, b, ids = joined(x, y)
    out = None if design is None else design_of(design, ids)
    basis = None if out is None else out.basis
    cells = blocks_of(blocks, ids) if blocks is not None else None if out is None else out.within
    tables = {side: _Table.of(frame, basis, settings) for side, frame in zip(SIDES, (a, b), strict=True)}
    networks = _Networks(settings, tables, ids, basis)
    orders = refits.permuted(len(ids), settings.refits, blocks=cells, seed=settings.training.seed)
    asked = None if pairs is None else _positions(pairs, a.columns, b.columns)
    test = refits.tied(a.to_numpy(np.float64), b.to_numpy(np.float64), design=basis)
    found = refits.scored(networks.draw, orders, test, top=settings.top, asked=asked, threads=threads)
    table = pd.DataFrame({
        "x": a.columns[found.x], "y": b.columns[found.y], "score": found.score,
        "p": found.p, "q": found.q, "p_refit": found.p_refit, "p_tied": found.p_tied,
    })  # fmt: skip
    if not settings.refits:
        table = table.assign(p=np.nan, q=np.nan, p_refit=np.nan)
    space = latent.common_space(networks.draw(None))
    features = {s: pd.DataFrame(v, index=f.columns) for s, v, f in zip(SIDES, space, (a, b), strict=True)}
    links = LatentLinks(
        table, features, networks.seeds, _histogram(found), a.shape[1] * b.shape[1],
        found.p_any if settings.refits else np.nan, [],
    )  # fmt: skip
    links.words.extend(_words(links, settings, tables, len(ids)))
    for line in links.words:
        log.info("%s", line)
    return links


@dataclass(frozen=True)
class _Table:
    """A modality ready for a network, and the way back.

    `inputs` is n x f with NaN for what is missing; `back` is p x f, from the network's features to standard deviations
    of the modality's (None: the same). `sd` is 1, or 0 for a feature that does not vary.
    """

    inputs: np.ndarray
    names: list[str]
    back: np.ndarray | None
    sd: np.ndarray
    gaps: int

    @classmethod
    def of(cls, frame: pd.DataFrame, design: np.ndarray | None, settings: LatentSettings) -> _Table:
        values = np.array(numbers(frame), dtype=np.float64)
        gaps = np.isnan(values)
        n, p = values.shape
        count = np.maximum((~gaps).sum(axis=0), 1)
        values -= np.where(gaps, 0, values).sum(axis=0) / count
        values[gaps] = 0
        before = (values**2).sum(axis=0)
        if design is not None:
            values -= design @ (design.T @ values)
        freedom = np.maximum(count - (1 if design is None else design.shape[1]), 1)
        squares = np.where(gaps, 0, values**2).sum(axis=0)
        sd = np.where(squares > NOTHING * before, np.sqrt(squares / freedom), 0.0)
        if not (sd > 0).any():
            raise DataError("no feature varies", met=f"{p} features of {n} samples")
        values /= np.where(sd > 0, sd, np.inf)
        whole = (sd > 0).astype(float)
        if settings.span if settings.span is not None else p > n:
            return cls(*_spanned(values), whole, int(gaps.sum()))
        values[gaps] = np.nan
        return cls(values, [str(c) for c in frame.columns], None, whole, int(gaps.sum()))

    def permuted(self, order: np.ndarray, design: np.ndarray | None) -> np.ndarray:
        """The inputs with their samples in another order, free of the design again."""
        values: np.ndarray = self.inputs[order]
        if design is None:
            return values
        gaps = np.isnan(values)
        values[gaps] = 0
        values -= design @ (design.T @ values)
        values[gaps] = np.nan
        return values

    def mapped(self, loadings: np.ndarray) -> np.ndarray:
        """Loadings of the network's features as loadings of the modality's."""
        return loadings if self.back is None else np.asarray(self.back @ loadings)


def _spanned(values: np.ndarray) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Coordinates in an orthonormal basis of the span of the samples, all on one scale of mean variance 1."""
    kernel = values @ values.T
    eigen, vectors = np.linalg.eigh(kernel)
    kept = eigen > NOTHING * eigen[-1]
    root = np.sqrt(eigen[kept])[::-1]
    left = vectors[:, kept][:, ::-1]
    scale = float(np.sqrt((root**2).sum() / (len(values) * len(root))))
    return left * root / scale, [f"span{j}" for j in range(len(root))], values.T @ left / root * scale


class _Networks:
    """Fits networks and gives the factors of scores, with the samples of `y` as they are or permuted."""

    def __init__(
        self, settings: LatentSettings, tables: Mapping[str, _Table], ids: pd.Index, design: np.ndarray | None
    ) -> None:
        self.settings, self.tables, self.ids, self.design = settings, tables, ids, design
        keys = dict(settings.model)
        self.model = config(str(keys.pop("name")), keys)
        first = settings.training.seed
        self.seeds = tuple(range(first, first + settings.seeds))
        self.crosses: list[latent.Cross] = []
        self.real: Factors | None = None

    def draw(self, order: np.ndarray | None) -> Factors:
        """Scores averaged over seeds."""
        if order is None and self.real is not None:
            return self.real
        made = latent.averaged(self._dual(order) if self.settings.mode == "dual" else self._joint(order))
        if order is None:
            self.real = made
        return made

    def _dual(self, order: np.ndarray | None) -> list[Factors]:
        """Networks see one modality each: they are fitted once, and the map between them for every order."""
        if not self.crosses:
            for seed in self.seeds:
                a, b = self._alone("x", seed), self._alone("y", seed)
                self.crosses.append(latent.Cross(a, b, design=self.design, seed=seed))
        return [cross.factors(order) for cross in self.crosses]

    def _alone(self, side: str, seed: int) -> Embedded:
        fitted, data = self._fitted({side: self.tables[side].inputs}, seed)
        return self._embedded(fitted, data, side)

    def _joint(self, order: np.ndarray | None) -> list[Factors]:
        y = self.tables["y"]
        inputs = {"x": self.tables["x"].inputs, "y": y.inputs if order is None else y.permuted(order, self.design)}
        found = []
        for seed in self.seeds:
            fitted, data = self._fitted(inputs, seed)
            sides = [self._embedded(fitted, data, side) for side in SIDES]
            found.append(latent.joint(sides[0].z, *sides, design=self.design))
        return found

    def _fitted(self, inputs: Mapping[str, np.ndarray], seed: int) -> tuple[Fitted, dict[str, pd.DataFrame]]:
        data = {s: pd.DataFrame(v, self.ids.astype(str), self.tables[s].names) for s, v in inputs.items()}
        training = self.settings.training.model_copy(update={"seed": seed})
        return fit(self.model, data, prepare={s: [] for s in data}, training=training), data

    def _embedded(self, fitted: Fitted, data: dict[str, pd.DataFrame], side: str) -> Embedded:
        """Embedding and mean Jacobian at the training samples."""
        z = np.asarray(fitted.embed(data).X, dtype=np.float64)
        if not np.isfinite(z).all():
            raise DataError("has samples of which nothing is observed", where=side, met=int(np.isnan(z[:, 0]).sum()))
        loadings = fitted.explain(data).loc[side].to_numpy(np.float64)
        table = self.tables[side]
        return Embedded(z, table.mapped(loadings), table.sd)


def _positions(pairs: pd.DataFrame, x: pd.Index, y: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Positions of named pairs."""
    found = []
    for side, names in zip(SIDES, (x, y), strict=True):
        if side not in pairs.columns:
            raise DataError("has no such column", where="pairs", met=list(pairs.columns), wanted="columns x and y")
        place = names.get_indexer(pd.Index(pairs[side]))
        if (place < 0).any():
            raise DataError(f"is no feature of {side}", where="pairs", met=str(pairs[side].to_numpy()[place < 0][0]))
        found.append(place.astype(np.int64))
    return found[0], found[1]


def _histogram(found: refits.Scored) -> pd.DataFrame:
    """Counts in few bins."""
    together = len(found.edges) // SHOWN
    null = found.null.mean(axis=0) if len(found.null) else np.full(len(found.edges), np.nan)
    return pd.DataFrame(
        {
            "observed": found.observed.reshape(-1, together).sum(axis=1),
            "null": null.reshape(-1, together).sum(axis=1),
        },
        index=pd.Index(found.edges[::together], name="score"),
    )


def _words(links: LatentLinks, settings: LatentSettings, tables: Mapping[str, _Table], n: int) -> Sequence[str]:
    name, many = settings.model["name"], len(links.seeds)
    sides = [len(t.sd) for t in tables.values()]
    what = (
        f"one {name} a modality and a ridge map between their embeddings"
        if settings.mode == "dual"
        else f"one {name} of both modalities"
    )
    spans = [s for s, t in tables.items() if t.back is not None]
    lines = [f"{sides[0]:,} x {sides[1]:,} features of {n} samples, scored through {what}, averaged over {many} seeds."]
    if spans:
        lines.append(f"Trained on coordinates in the span of the samples: {' and '.join(spans)}.")
    for side, t in tables.items():
        if t.gaps:
            stand = "stand at their feature's mean" if t.back is not None else "are not observed by the network"
            lines.append(f"{t.gaps:,} missing entries of {side} {stand}.")
    if not settings.refits:
        return [*lines, "No refits: scores without a null."]
    hits = int((links.table["q"] <= LEVEL).sum())
    more = " or more" if hits >= settings.top else ""
    return [
        *lines,
        f"Null: {settings.refits} permutations of the samples of y; {hits:,}{more} pairs have q <= {LEVEL}.",
        f"The largest score is reached by chance with p = {links.p_any:.3g}: with {settings.refits} refits no smaller "
        f"value than {1 / (1 + settings.refits):.3g} can be had.",
    ]
