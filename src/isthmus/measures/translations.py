"""Every pair of modalities: the model's translation beside ridge, neighbours and means, on test samples that have both.

Scores are on the scale of the prepared values; counts as log(1 + count) at the typical library size, standardised by
train, as a translator is not told how many molecules of the target were counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from isthmus.assess import Scale, model_name
from isthmus.evaluate.arrays import feature_means
from isthmus.evaluate.crossmodal import crossmodal, pathway_scores
from isthmus.evaluate.images import ssim
from isthmus.evaluate.reconstruct import reconstruction_by_feature
from isthmus.evaluate.translation import Source, group_means, label_transfer, translation, translation_baselines
from isthmus.fitted import Fitted
from isthmus.measures.said import translated
from isthmus.prepare.prepared import Prepared

log = logging.getLogger("isthmus.assess")
FEWEST_TRAIN, FEWEST_TEST = 5, 3
FALSE = 0.05
"""The share of false discoveries among features, or pathways, that count as predicted."""
WINDOW = 7
GROUP, TRUE = "group", "true"
"""Representations that know the answer: the train mean of the sample's true class; the values that were measured."""


@dataclass(frozen=True)
class Cohorts:
    """Prepared train and test samples, how each modality is scored, a label of both (None: of neither), gene sets."""

    train: Mapping[str, Prepared]
    test: Mapping[str, Prepared]
    scales: Mapping[str, Scale]
    labels: tuple[pd.Series, pd.Series] | None
    pathways: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def rows(self, *names: str) -> tuple[np.ndarray, np.ndarray]:
        """The samples of train and of test that have all of some modalities."""
        train, test = (np.logical_and.reduce([p[m].present for m in names]) for p in (self.train, self.test))
        return np.flatnonzero(train), np.flatnonzero(test)

    def values(self, name: str, part: str, rows: np.ndarray) -> np.ndarray:
        """Dense values of some samples on the scale of the scores."""
        prepared = (self.train if part == "train" else self.test)[name]
        x = self.scales[name].matrix(prepared)[rows]
        if isinstance(x, np.ndarray):
            return x
        found: np.ndarray = np.asarray(x.toarray()) - self._centre(name)
        if prepared.unobserved is not None:
            found[:, prepared.unobserved] = np.nan
        return found

    def predicted(self, name: str, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """A model's means for some test samples on the scale of the scores."""
        return np.asarray(self.scales[name].predicted(values[rows], self.test[name]) - self._centre(name))

    def _centre(self, name: str) -> np.ndarray:
        """What is still to be taken off CSR, which stays about zero: the train means."""
        scale = self.scales[name]
        return np.asarray(np.zeros(len(scale.mean)) if self.train[name].dense else scale.mean / scale.sd)


@dataclass(frozen=True)
class Translations:
    """`scores`: a row per pair and representation; `transfer`: what labels are read off; the rest is the model's."""

    scores: pd.DataFrame
    by_feature: pd.DataFrame
    transfer: pd.DataFrame
    by_pathway: pd.DataFrame


def translations(
    fitted: Fitted, cohorts: Cohorts, pairs: Sequence[tuple[str, str]], *, baselines: Sequence[str]
) -> Translations:
    """Score every pair of source and target."""
    scores: list[dict[str, Any]] = []
    features, transfers, terms = [pd.DataFrame()], [pd.DataFrame()], [pd.DataFrame()]
    for source in dict.fromkeys(a for a, _ in pairs):
        targets = [b for a, b in pairs if a == source]
        ours = translated(fitted, cohorts.test, source, targets)
        known: dict[bytes, Source] = {}
        for target in targets:
            train, test = cohorts.rows(source, target)
            if len(train) < FEWEST_TRAIN or len(test) < FEWEST_TEST:
                log.info("%s to %s: %d train and %d test samples have both", source, target, len(train), len(test))
                continue
            key = train.tobytes() + test.tobytes()
            if key not in known:
                known[key] = _source(cohorts, source, train, test)
            y_train, y = cohorts.values(target, "train", train), cohorts.values(target, "test", test)
            model = cohorts.predicted(target, ours[target], test)
            guesses = {model_name(fitted): model, **translation_baselines(known[key], y_train, which=baselines)}
            pair = _Pair(fitted, source, target, y_train, y)
            beyond = {who: pair.beyond(guess, cohorts, test) for who, guess in guesses.items()}
            scores += pair.scores(guesses, cohorts, train, test, beyond=beyond)
            names = list(cohorts.test[target].features)
            features.append(pair.by_feature(model, names, beyond[model_name(fitted)].features))
            if len(of_terms := beyond[model_name(fitted)].terms):
                terms.append(of_terms.assign(**pair.about))
            transfers.append(pair.transfer(guesses, cohorts, train, test))
    tables = (pd.concat(found, ignore_index=True) for found in (features, transfers, terms))
    return Translations(pd.DataFrame(scores), *tables)


def _source(cohorts: Cohorts, name: str, train: np.ndarray, test: np.ndarray) -> Source:
    scale = cohorts.scales[name]
    return Source.of(scale.matrix(cohorts.train[name])[train], scale.matrix(cohorts.test[name])[test])


@dataclass(frozen=True)
class _Beyond:
    """What is predicted within classes, and more of it than by chance: features, pathways; empty for images."""

    features: pd.DataFrame = field(default_factory=pd.DataFrame)
    terms: pd.DataFrame = field(default_factory=pd.DataFrame)

    def summary(self) -> dict[str, float]:
        """Means over features and over pathways."""
        found = {}
        for suffix, table in (("", self.features), ("_pathways", self.terms)):
            if len(table):
                within = table["pearson_within"].to_numpy(dtype=float)
                known = within[~np.isnan(within)]
                found[f"pearson_within{suffix}"] = float(known.mean()) if len(known) else float("nan")
                found[f"predicted{suffix}"] = float(table["predicted"].mean())
        return found


@dataclass(frozen=True)
class _Pair:
    """One source and target, with the target's true values on the scale of the scores."""

    fitted: Fitted
    source: str
    target: str
    y_train: np.ndarray
    y: np.ndarray

    @property
    def about(self) -> dict[str, str]:
        return {"source": self.source, "target": self.target}

    @property
    def reference(self) -> np.ndarray:
        return np.asarray(np.nan_to_num(feature_means(self.y_train)))

    def beyond(self, guess: np.ndarray, cohorts: Cohorts, test: np.ndarray) -> _Beyond:
        """Features and pathways against permuted predictions, within the classes of the label where there is one."""
        if self.fitted.spec[self.target].kind == "image":
            return _Beyond()
        names = [str(f) for f in cohorts.test[self.target].features]
        groups = None if cohorts.labels is None else cohorts.labels[1].iloc[test]
        features = crossmodal(self.y, guess, features=names, groups=groups)
        terms = pathway_scores(self.y, guess, features=names, pathways=cohorts.pathways, groups=groups)
        return _Beyond(*(t.assign(predicted=(t["q"] < FALSE).astype(float)) for t in (features, terms)))

    def scores(
        self,
        guesses: Mapping[str, np.ndarray],
        cohorts: Cohorts,
        train: np.ndarray,
        test: np.ndarray,
        *,
        beyond: Mapping[str, _Beyond],
    ) -> list[dict[str, Any]]:
        """A row per representation."""
        within, reference = None, self.reference
        every = dict(guesses)
        if cohorts.labels is not None:
            within = group_means(self.y_train, cohorts.labels[0].iloc[train], cohorts.labels[1].iloc[test])
            every[GROUP] = np.where(np.isnan(within), reference, within)
        rows = []
        for who, guess in every.items():
            found = translation(self.y, guess, reference=reference, within=within)
            found |= beyond[who].summary() if who in beyond else {}
            rows.append({**self.about, "representation": who, **found, **self._images(guess, cohorts)})
        return rows

    def _images(self, guess: np.ndarray, cohorts: Cohorts) -> dict[str, float]:
        """Structural similarity, in original units, where the target is an image."""
        modality = self.fitted.spec[self.target]
        picture, scale = self.fitted.preparation[self.target].picture_, cohorts.scales[self.target]
        if picture is None or scale.counts or min(modality.shape[:2]) < 3:
            return {}
        true, made = (
            picture.clip(self.fitted.preparation.inverse(self.target, x + scale.mean)).reshape(-1, *picture.shape)
            for x in (self.y, guess)
        )
        side = min(WINDOW, *picture.shape[:2])
        values = ssim(true, made, data_range=picture.high - picture.low, window=side - (side + 1) % 2)
        return {"ssim": float(np.nanmean(values)) if (~np.isnan(values)).any() else float("nan")}

    def by_feature(self, guess: np.ndarray, names: list[str], beyond: pd.DataFrame) -> pd.DataFrame:
        """The model's score of every feature."""
        found = reconstruction_by_feature(self.y, guess, features=names, reference=self.reference)
        more = {c: beyond[c].to_numpy() for c in ("pearson_within", "predicted") if c in beyond}
        return found.assign(**more, **self.about)

    def transfer(
        self, guesses: Mapping[str, np.ndarray], cohorts: Cohorts, train: np.ndarray, test: np.ndarray
    ) -> pd.DataFrame:
        """What a classifier of real samples reads off the translations, and off the truth."""
        if cohorts.labels is None:
            return pd.DataFrame()
        theirs, ours = cohorts.labels[0].iloc[train], cohorts.labels[1].iloc[test]
        found = label_transfer(self.y_train, theirs, {**guesses, TRUE: self.y}, ours)
        return found.assign(**self.about, label=str(theirs.name))
