"""What confounders leave in a fitted model's embedding of test samples, beside PCA with and without them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mudata as md
import numpy as np
import pandas as pd

from isthmus.assess import Scale, joined, model_name
from isthmus.errors import DataError
from isthmus.evaluate.arrays import Matrix, zero_filled
from isthmus.evaluate.baselines import representations
from isthmus.evaluate.confounding import EMBEDDING, PROBES, confounding, dependence, found_by_probes, mixing
from isthmus.evaluate.design import without_confounders
from isthmus.evaluate.probes import Probes, run_probes
from isthmus.evaluate.sites import Side, across_sites
from isthmus.evaluate.spread import bootstrap, nadeau_bengio, summarise
from isthmus.evaluate.tasks import kind_of
from isthmus.fitted import Fitted
from isthmus.measures.said import drawn
from isthmus.measures.tables import number
from isthmus.prepare.preparation import Preparation

__all__ = ["Confounded", "Suspects", "confounded", "confounded_flat", "summary_of"]

log = logging.getLogger("isthmus.assess")
MOST_TRAIN, MOST_TEST = 4_000, 2_000
"""Samples that probes learn from and are scored on."""
WITHOUT = "pca_without"
"""PCA of values from which a linear regression on the confounders was subtracted."""
FRESH = "fresh"
SCORES = ("auc", "r2", "balanced_accuracy")
INTERVAL = ("sd", "lower", "upper", "difference", "difference_lower", "difference_upper", "p", "p_adjusted")


@dataclass(frozen=True)
class Suspects:
    """Which columns of obs are confounders, which labels are to stay.

    `classes`: columns of numbers that stand for classes; `group`: a column of patients, whose samples stay together.
    """

    columns: Sequence[str]
    labels: Sequence[str] = ()
    classes: Sequence[str] = ()
    group: str | None = None
    folds: int = 5
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Confounded:
    """What was found, of one fit or (`summary_of`) of several.

    `probes`: answers of probes that were fitted on train. `found`: their scores and those of probes cross-validated
    among the test samples (`fitted` says which). `labels`, `partial`, `mixing`: as `evaluate.confounding` gives.
    """

    probes: Probes
    found: pd.DataFrame = field(default_factory=pd.DataFrame)
    labels: pd.DataFrame = field(default_factory=pd.DataFrame)
    partial: pd.DataFrame = field(default_factory=pd.DataFrame)
    mixing: pd.DataFrame = field(default_factory=pd.DataFrame)
    groups: np.ndarray | None = None


def confounded(
    fitted: Fitted, parts: Mapping[str, md.MuData], asked: Suspects, *, others: Mapping[str, Fitted] | None = None
) -> Confounded:
    """Look for confounders in the embedding of `parts["test"]` by probes that have not met the model.

    Each confounder is looked for twice: by probes fitted on the embedding of `parts["train"]` (where a model may have
    hidden it) and by probes cross-validated among the test samples (where it had no opportunity to).

    Parameters
    ----------
    fitted
        The model.
    parts
        `train`, what it was fitted on, and `test`; of many samples a draw (logged).
    asked
        Columns and labels; they are in obs.
    others
        Name -> other models of the same samples, such as the same one without control.
    """
    train = drawn(parts["train"], MOST_TRAIN, "probes of confounders", seed=asked.seed)
    test = drawn(parts["test"], MOST_TEST, "evaluation of confounders", seed=asked.seed)
    columns, labels = list(asked.columns), list(asked.labels)
    z = {model_name(fitted): fitted, **dict(others or {})}
    embedded = {who: [np.asarray(f.embed(part).X, dtype=np.float64) for part in (train, test)] for who, f in z.items()}
    seen = [np.asarray(~np.isnan(np.hstack([e[k] for e in embedded.values()])).any(axis=1)) for k in (0, 1)]
    obs = [_as_classes(part.obs.loc[here], asked.classes) for part, here in zip((train, test), seen, strict=True)]
    arrays: dict[str, tuple[Matrix, Matrix]] = {w: (a[seen[0]], b[seen[1]]) for w, (a, b) in embedded.items()}
    arrays |= _before(fitted, (train, test), seen, obs=[o[columns] for o in obs], seed=asked.seed)
    a, b = ({k: v[side] for k, v in arrays.items()} for side in (0, 1))
    groups = None if asked.group is None else _groups(obs[0][asked.group], obs[1][asked.group])
    group = None if groups is None else groups[1]
    probes = run_probes(a, b, obs[0][columns], obs[1][columns], learners=PROBES, seed=asked.seed)
    dense = {k: x for k, x in b.items() if isinstance(x, np.ndarray)}
    return Confounded(
        probes,
        _fresh(b, obs[1][columns], asked, group),
        _labels((a, b), (obs[0], obs[1]), asked, groups),
        dependence({k: x for k, x in dense.items() if k != "raw"}, obs[1][columns], obs[1][labels]),
        mixing(dense, obs[1][columns]),
        group,
    )


def _as_classes(obs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Numbers that stand for classes as text."""
    texts = {c: obs[c].map(lambda v: f"{v:g}" if isinstance(v, float) else str(v), na_action="ignore") for c in columns}
    return obs.assign(**{c: v.astype(object) for c, v in texts.items()})


def _groups(train: pd.Series, test: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """A number per group, the same in train and test; a sample without one is a group of its own."""
    codes, _ = pd.factorize(np.concatenate([train.astype(object), test.astype(object)]))
    every = np.where(codes < 0, codes.max(initial=-1) + 1 + np.arange(len(codes)), codes)
    return every[: len(train)], every[len(train) :]


def _before(
    fitted: Fitted,
    cohorts: tuple[md.MuData, md.MuData],
    seen: Sequence[np.ndarray],
    *,
    obs: list[pd.DataFrame],
    seed: int,
) -> dict[str, tuple[Matrix, Matrix]]:
    """The prepared values before any control, their PCA, and that of what a regression on the confounders leaves."""
    plain = Preparation(fitted.preparation.pipelines)  # `residualise` is part of the model's own preparation
    prepared = [plain.transform(m) for m in cohorts]
    scales = {m.name: Scale.of(prepared[0][m.name], m.likelihood, m.library) for m in fitted.spec}
    a, b = (
        zero_filled(joined([scales[m].matrix(p[m]) for m in fitted.spec.names]))[here]
        for p, here in zip(prepared, seen, strict=True)
    )
    found = representations(a, b, fitted.latent, which=["pca"], seed=seed)
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        rest = without_confounders(a, b, obs[0], obs[1])
        found[WITHOUT] = representations(*rest, fitted.latent, which=["pca"], seed=seed)["pca"]
    return {**found, "raw": (a, b)}


def _fresh(z: Mapping[str, Matrix], obs: pd.DataFrame, asked: Suspects, group: np.ndarray | None) -> pd.DataFrame:
    """Every confounder by probes that are cross-validated among the test samples."""
    first, *others = z
    rows = []
    for column in obs:
        try:
            before = {k: z[k] for k in others}
            found = confounding(z[first], obs[column], before=before, groups=group, folds=asked.folds, seed=asked.seed)
        except DataError as error:
            log.info("confounder %r is not looked for among the test samples alone: %s", column, error)
            continue
        rows.append(found.probes.assign(representation=found.probes["representation"].replace(EMBEDDING, first)))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _labels(
    z: tuple[Mapping[str, Matrix], Mapping[str, Matrix]],
    obs: tuple[pd.DataFrame, pd.DataFrame],
    asked: Suspects,
    groups: tuple[np.ndarray, np.ndarray] | None,
) -> pd.DataFrame:
    """Labels mixed, within and across the classes of each confounder: learnt on train, scored on test."""
    rows = []
    of_train, of_test = groups or (None, None)
    for site in asked.columns:
        if kind_of(obs[0][site]) != "class":
            continue
        for label in asked.labels:
            if label != site:
                train = Side(z[0], obs[0][label], obs[0][site], of_train)
                rows.append(across_sites(train, Side(z[1], obs[1][label], obs[1][site], of_test), seed=asked.seed))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def summary_of(found: Sequence[Confounded], asked: Suspects | None) -> Confounded | None:
    """One set of tables of what one fit or several folds found; None where nothing was looked for.

    Of a single split, intervals of probes fitted on train are those of the bootstrap over test samples; over folds,
    those of Nadeau and Bengio. Latent dimensions of different fits are different ones: over folds their partial
    correlations are averaged by rank.
    """
    if not found or asked is None:
        return None
    one = found[0]
    if len(found) == 1:
        table = bootstrap(one.probes, resamples=asked.resamples, seed=asked.seed, groups=one.groups)
        fresh, labels, partial, mixed = one.found, one.labels, one.partial, one.mixing
    else:
        long = pd.concat([c.probes.table().assign(fold=i) for i, c in enumerate(found)], ignore_index=True)
        long.attrs.clear()
        table = summarise(long) if len(long) else pd.DataFrame()
        fresh = _over_folds([c.found for c in found], "mean")
        labels = _over_folds([c.labels for c in found], "value")
        partial, mixed = _ranked([c.partial for c in found]), _over_folds([c.mixing for c in found], "mixing")
    both = [t for t in (_named(table, "train"), _named(fresh, "test")) if len(t)]
    whole = pd.concat(both, ignore_index=True) if both else pd.DataFrame()
    whole.attrs.clear()
    return replace(one, found=whole, labels=labels, partial=partial, mixing=mixed)


def _named(table: pd.DataFrame, fitted: str) -> pd.DataFrame:
    if table.empty:
        return pd.DataFrame()
    return (found_by_probes(table) if "label" in table else table).assign(fitted=fitted)


def _over_folds(frames: Sequence[pd.DataFrame], score: str) -> pd.DataFrame:
    """The mean of a score over folds, with an interval where there was one."""
    rows = pd.concat([f.assign(fold=i) for i, f in enumerate(frames) if len(f)] or [pd.DataFrame()], ignore_index=True)
    if rows.empty:
        return rows
    keys = ("representation", "label", "confounder", "learner", "way", "metric")
    made = []
    for names, of in rows.groupby(by := [k for k in keys if k in rows], sort=False):
        first = dict(zip(by, names, strict=True))
        values = of[score].to_numpy(dtype=np.float64)
        n = float(of["n_test"].mean()) if "n_test" in of else float(of["n"].mean())
        corrected = nadeau_bengio(values, n * (len(frames) - 1), n)
        row = {**first, score: corrected.mean, **{k: round(of[k].mean()) for k in ("n", "n_test", "sites") if k in of}}
        least = -np.inf if first.get("metric") == "r2" else 0.0
        ends = {"lower": float(np.maximum(corrected.lower, least)), "upper": float(np.minimum(corrected.upper, 1.0))}
        made.append({**row, **ends} if "lower" in of else row)
    return pd.DataFrame(made)


def _ranked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Partial correlations by rank within each fold, the mean of their sizes over folds."""
    keys, made = ["representation", "of", "given"], []
    for fold, frame in enumerate(frames):
        if frame.empty:
            continue
        size = frame.assign(correlation=frame["correlation"].abs(), fold=fold)
        size = size.sort_values("correlation", ascending=False, kind="stable")
        made.append(size.assign(dimension=size.groupby(keys, sort=False).cumcount() + 1))
    if not made:
        return pd.DataFrame()
    rows = pd.concat(made, ignore_index=True).groupby([*keys, "dimension"], sort=False)
    return rows[["correlation", "chance", "n"]].mean().reset_index()


def confounded_flat(found: Confounded | None, *, model: str) -> dict[str, Any]:
    """Every score under a flat name, those of baselines under `baseline/<name>/`."""
    if found is None:
        return {}
    every: dict[str, Any] = {}
    for who, name, value in _flat(found):
        every[name if who == model else f"baseline/{who}/{name}"] = number(value)
    return every


def _flat(found: Confounded) -> Iterator[tuple[str, str, Any]]:
    """Who, name, value."""
    for row in _records(found.found):
        if row["metric"] in SCORES:
            name = f"confounding/test/{row['metric']}/{row['confounder']}/{row['learner']}"
            name += f"/{FRESH}" if row["fitted"] == "test" else ""
            yield row["representation"], name, row["mean"]
            for key in INTERVAL:
                if not pd.isna(row.get(key, np.nan)):
                    yield row["representation"], f"{name}/{key}", row[key]
    for row in _records(found.labels):
        name = f"confounding/test/{row['metric']}/{row['label']}/{row['confounder']}/{row['way']}"
        yield row["representation"], name, row["value"]
        for key in ("lower", "upper"):
            if not pd.isna(row[key]):
                yield row["representation"], f"{name}/{key}", row[key]
    if len(found.partial):
        for (who, of, given), rows in found.partial.groupby(["representation", "of", "given"], sort=False):
            about = f"{of}|{given}" if given else str(of)
            sizes = rows["correlation"].dropna().to_numpy(dtype=np.float64)
            if len(sizes):
                yield str(who), f"confounding/test/partial/{about}", float(np.sqrt(np.mean(sizes**2)))
                yield str(who), f"confounding/test/partial/{about}/max", float(np.abs(sizes).max())
    for row in _records(found.mixing):
        yield row["representation"], f"confounding/test/mixing/{row['confounder']}", row["mixing"]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
