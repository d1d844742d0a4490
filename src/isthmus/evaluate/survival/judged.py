"""A model's log risks beside those of its baselines on samples it has not seen: everything that a page shows.

Log risks of different folds are on different scales: concordance, Brier score and AUC are means over folds; risk groups
are cut, and survival is predicted, within each fold and then pooled; the nested test takes folds as strata. Where the
head has strata, log risks compare within each alone: so do C, its null, AUC, the slope and the tests; risk groups are
cut within each, and each has its baseline hazard.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from isthmus.evaluate.arrays import known_mean
from isthmus.evaluate.design import Design
from isthmus.evaluate.spread import nadeau_bengio
from isthmus.evaluate.survival.concordance import Kind, Pairs, bootstrap_concordance
from isthmus.evaluate.survival.cox import Cox, baseline_hazard, survival_curves
from isthmus.evaluate.survival.curves import KaplanMeier, LogRank, kaplan_meier, log_rank
from isthmus.evaluate.survival.groups import calibration, cut_points, reach, risk_groups
from isthmus.evaluate.survival.nested import Nested, nested
from isthmus.evaluate.survival.outcome import censoring_curve
from isthmus.evaluate.survival.scores import auc, brier, mean_auc, mean_over

log = logging.getLogger("isthmus.evaluate")
NOBODY = "kaplan_meier"
"""The representation that knows nothing of a sample but its stratum: the Kaplan-Meier curve of train for everybody."""
GRID = 60
FEWEST_PER_COVARIATE = 5
"""Events that the nested test asks for."""
RENAMED = {"value": "{}", "p": "{}_difference_p"}
KINDS: tuple[Kind, ...] = ("harrell", "uno")


@dataclass(frozen=True)
class Fold:
    """One split, n train and m test samples.

    Attributes
    ----------
    train, test
        Time and event (1 = happened), n x 2 and m x 2; rows with NaN are left out.
    risks
        Representation -> log risks of train (n) and of test (m); test samples for which one is NaN are left out of
        all.
    clinical
        Annotations of the m test samples that the model should add to (m x p, p from 0): classes and numbers.
    predicted
        Representation -> k times and the survival (m x k) that it predicts by then, for one that predicts curves
        itself. Of others, the baseline hazard is learnt from the log risks of train.
    units
        Of the m test samples: what is resampled together (patients); None: each on its own.
    strata
        Names of the strata of the n train and of the m test samples: risks compare within them, and each has a
        baseline hazard of its own. None: there is one.
    """

    train: np.ndarray
    test: np.ndarray
    risks: Mapping[str, tuple[np.ndarray, np.ndarray]]
    clinical: pd.DataFrame
    predicted: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    units: np.ndarray | None = None
    strata: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def groups(self) -> np.ndarray:
        """The stratum of each test sample; one and the same where there are none."""
        return np.full(len(self.test), "") if self.strata is None else self.strata[1]

    def complete(self) -> Fold:
        """The samples of which everything is known."""
        here = np.isfinite(self.test).all(axis=1)
        for _, risk in self.risks.values():
            here = here & np.isfinite(risk)
        known = np.isfinite(self.train).all(axis=1)
        return replace(
            self, train=self.train[known], test=self.test[here],
            risks={k: (a[known], b[here]) for k, (a, b) in self.risks.items()}, clinical=self.clinical[here],
            predicted={k: (t, s[here]) for k, (t, s) in self.predicted.items()},
            units=None if self.units is None else self.units[here],
            strata=None if self.strata is None else (self.strata[0][known], self.strata[1][here]),
        )  # fmt: skip

    def survival(self, name: str, times: np.ndarray) -> np.ndarray:
        """Predicted survival (m x k) of the test samples by a representation."""
        if name in self.predicted:
            at, curves = self.predicted[name]
            at, curves = np.concatenate([[0.0], at]), np.hstack([np.ones((len(curves), 1)), curves])
            hazard = -np.log(np.maximum(curves, np.finfo(float).tiny))
            return np.asarray(np.exp(-np.array([np.interp(times, at, row) for row in hazard])))
        train, test = (np.zeros(len(y)) for y in (self.train, self.test)) if name == NOBODY else self.risks[name]
        seen = np.isfinite(train)

        def predicted(of: np.ndarray, here: np.ndarray) -> np.ndarray:
            time, event = self.train[of].T
            if name == NOBODY:
                return np.tile(kaplan_meier(time, event).at(times), (len(test[here]), 1))
            return survival_curves(baseline_hazard(time, event, train[of]), test[here], times)

        found = predicted(seen, np.arange(len(test)))
        if self.strata is None:
            return found
        for stratum in np.unique(self.groups):
            of, here = seen & (self.strata[0] == stratum), self.groups == stratum
            if self.train[of, 1].any():  # else nothing is known of its hazard, and that of all stands for it
                found[here] = predicted(of, here)
        return found


@dataclass(frozen=True)
class Judged:
    """How well survival is predicted; tables have a row per representation, the model first.

    Attributes
    ----------
    scores
        `representation`; `harrell` and `uno` with `_sd`, `_lower`, `_upper`, and of a baseline `_difference`,
        what the model has more, with `_lower`, `_upper` and `_p`; `null_sd`, `null_lower`, `null_upper`, `null_p` of
        Harrell's C;
        `integrated_brier`; `auc`; `slope` (log hazard ratio of the log risk: 1 is right, less is too steep).
    curves
        `representation`, `time`, `brier`, `auc`.
    groups, log_rank
        Kaplan-Meier curve of each risk group of the model, lowest risk first, and the test whether they differ; None
        where only one group is met.
    calibration
        As `calibration` gives, at `horizon`, with `representation`.
    nested
        Representation -> what it adds to the clinical covariates (the model; empty where none are named).
    covariates
        Numbers that the clinical annotations come to; too few events for them leave `nested` empty.
    n, events, folds, strata, horizon
        Test samples, events among them, folds, strata (1: none are named); the time up to which Uno's C, Brier score
        and AUC are taken.
    """

    scores: pd.DataFrame
    curves: pd.DataFrame
    groups: dict[str, KaplanMeier]
    log_rank: LogRank | None
    calibration: pd.DataFrame
    nested: dict[str, Nested]
    covariates: int
    n: int
    events: int
    folds: int
    strata: int
    horizon: float


def judge(
    folds: Sequence[Fold],
    *,
    model: str,
    horizon: float | int | None = None,
    groups: int = 2,
    resamples: int = 1000,
    seed: int = 0,
) -> Judged | None:
    """Judge log risks on test samples.

    Parameters
    ----------
    folds
        One or several; every representation in each.
    model
        The representation that curves and tests are of, and that is compared with the others.
    horizon
        Time up to which Uno's C, Brier score and AUC are taken, and at which calibration is shown. None: the longest
        time at which a fifth of the train samples, and ten of them, are still observed.
    groups
        How many risk groups.
    resamples
        Of the bootstrap (one fold), and half of them of the null.
    seed
        Of both.

    Returns
    -------
    Judged or None
        None where no event is known among the test samples, or no time above 0.
    """
    known = [f for f in (f.complete() for f in folds) if f.test[:, 1].any()]
    end = min((_end(f, horizon) for f in known), default=0.0)
    if not end > 0:
        return None
    test, names = np.vstack([f.test for f in known]), [model, *(n for n in known[0].risks if n != model)]
    curves, over_time = _over_time(known, [*names, NOBODY], end)
    scores = _scores(known, names, horizon=end, resamples=resamples, seed=seed)
    scores = over_time[["representation"]].merge(scores, how="left").merge(over_time)
    member = np.concatenate([_member(f, model, groups) for f in known])
    present = [g for g in risk_groups(np.arange(groups), np.arange(groups - 1) + 0.5) if (member == g).any()]
    lines = {str(g): kaplan_meier(*test[member == g].T) for g in present}
    (time, event), within = test.T, np.concatenate([f.groups for f in known])
    clinical = _clinical(known)
    return Judged(
        scores, curves, lines, log_rank(time, event, member, strata=within) if len(lines) > 1 else None,
        _calibrated(known, names, end), _nested(known, clinical, model),
        int(np.linalg.matrix_rank(clinical)) if clinical.size else 0, len(test), int(event.sum()), len(known),
        len(set(within)), end,
    )  # fmt: skip


def _end(fold: Fold, horizon: float | int | None) -> float:
    """The horizon, or the last time at which some of train are not censored: of later ones nothing is known."""
    wanted = (reach(fold.train[:, 0]) or float(fold.train[:, 0].max())) if horizon is None else float(horizon)
    g = censoring_curve((fold.train[:, 0], fold.train[:, 1]))
    last = float(g.time[g.value > 0].max(initial=g.time[0]))
    if horizon is not None and last < wanted:
        log.warning("no sample of train was observed up to %g: survival is scored up to %g", wanted, last)
    return min(wanted, last)


def _member(fold: Fold, model: str, groups: int) -> np.ndarray:
    """The risk group of each test sample, cut on train: on its stratum, or on all where that has too few of train."""
    train, test = fold.risks[model]
    seen = np.isfinite(train)
    found = risk_groups(test, cut_points(train[seen], groups=groups))
    if fold.strata is None:
        return found
    for stratum in np.unique(fold.groups):
        of, here = seen & (fold.strata[0] == stratum), fold.groups == stratum
        if of.sum() >= groups:
            found[here] = risk_groups(test[here], cut_points(train[of], groups=groups))
    return found


def _over_time(folds: Sequence[Fold], names: Sequence[str], end: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Brier score and AUC at times from the first tenth of the events on, and integrated; means over folds."""
    happened = np.concatenate([f.test[f.test[:, 1] > 0, 0] for f in folds])
    times = np.linspace(min(float(np.quantile(happened, 0.1)), end / 2), end, GRID)
    curves, rows = [], []
    for name in names:
        errors, areas, means = [], [], []
        for f in folds:
            t, d = f.test.T
            risk, censoring = np.zeros(len(t)) if name == NOBODY else f.risks[name][1], (f.train[:, 0], f.train[:, 1])
            errors.append(brier(t, d, f.survival(name, times), times=times, censoring=censoring))
            areas.append(auc(t, d, risk, times=times, censoring=censoring, strata=f.groups))
            means.append(mean_auc(t, d, areas[-1], times=times))
        error, area, mean = (known_mean(np.array(v).reshape(len(folds), -1)) for v in (errors, areas, means))
        curves.append(pd.DataFrame({"representation": name, "time": times, "brier": error, "auc": area}))
        whole = mean_over(times, error)
        rows.append({"representation": name, "integrated_brier": whole, "auc": float(mean[0])})
    return pd.concat(curves, ignore_index=True), pd.DataFrame(rows)


def _scores(folds: Sequence[Fold], names: Sequence[str], *, horizon: float, resamples: int, seed: int) -> pd.DataFrame:
    """Concordance with interval, difference and null, and the slope; a row per representation, the model's first."""
    rows: dict[str, dict[str, object]] = {n: {"representation": n} for n in names}
    for kind in KINDS:
        limit = horizon if kind == "uno" else None
        pairs = [Pairs.of(*f.test.T, kind=kind, censoring=tuple(f.train.T), tau=limit, strata=f.groups) for f in folds]
        if len(folds) == 1:
            risks = {n: folds[0].risks[n][1] for n in names}
            units = folds[0].units
            found = bootstrap_concordance(
                pairs[0], risks, reference=names[0], resamples=resamples, seed=seed, groups=units
            )
        else:
            found = _over_folds(folds, pairs, names)
        for row in _turned(found).to_dict("records"):
            place = rows[row["representation"]]
            for key, value in row.items():
                if key != "representation":
                    place[RENAMED.get(str(key), "{}_" + str(key)).format(kind)] = value
    for n in names:
        harrell = [Pairs.of(*f.test.T, strata=f.groups) for f in folds]
        rows[n] |= _null(harrell, [f.risks[n][1] for f in folds], resamples // 2, seed)
        rows[n]["slope"] = _slope(folds, n)
    return pd.DataFrame(list(rows.values()))


def _turned(found: pd.DataFrame) -> pd.DataFrame:
    """Differences as what the reference has more."""
    if "difference" not in found:
        return found
    ends = {"difference_lower": -found["difference_upper"], "difference_upper": -found["difference_lower"]}
    return found.assign(difference=-found["difference"], **ends)


def _over_folds(folds: Sequence[Fold], pairs: Sequence[Pairs], names: Sequence[str]) -> pd.DataFrame:
    """Means over folds with intervals after Nadeau and Bengio, in the form of `bootstrap_concordance`."""
    values = {n: np.array([p.concordance(f.risks[n][1]) for p, f in zip(pairs, folds, strict=True)]) for n in names}
    sizes = float(np.mean([len(f.train) for f in folds])), float(np.mean([len(f.test) for f in folds]))
    rows = []
    for n, v in values.items():
        of = nadeau_bengio(v, *sizes)
        sd = float(np.nanstd(v, ddof=1)) if (~np.isnan(v)).sum() > 1 else float("nan")
        lower, upper = (float(np.clip(end, 0, 1)) for end in (of.lower, of.upper))
        row = {"representation": n, "value": of.mean, "sd": sd, "lower": lower, "upper": upper}
        if n != names[0]:
            gap = nadeau_bengio(v - values[names[0]], *sizes)
            row |= {"difference": gap.mean, "difference_lower": gap.lower, "difference_upper": gap.upper, "p": gap.p}
        rows.append(row)
    return pd.DataFrame(rows)


def _null(pairs: Sequence[Pairs], risks: Sequence[np.ndarray], resamples: int, seed: int) -> dict[str, object]:
    """Harrell's C, mean over folds, if the outcomes of each fold (and stratum) are dealt out anew among its samples."""
    rng = np.random.default_rng(seed)
    value = known_mean(np.array([[p.concordance(r)] for p, r in zip(pairs, risks, strict=True)]))[0]
    drawn = np.array([[p.concordance(p.dealt(r, rng)) for p, r in zip(pairs, risks, strict=True)]
                      for _ in range(resamples)])  # fmt: skip
    means = known_mean(drawn.T)
    if np.isnan(means).any():
        return dict.fromkeys(("null_sd", "null_lower", "null_upper", "null_p"), float("nan"))
    lower, upper = np.quantile(means, [0.025, 0.975])
    p = float(((means >= value - 1e-12).sum() + 1) / (resamples + 1))
    return {"null_sd": float(means.std()), "null_lower": float(lower), "null_upper": float(upper), "null_p": p}


def _slope(folds: Sequence[Fold], name: str) -> float:
    """Log hazard ratio of the log risk on the test samples, within folds and strata; NaN where it does not vary."""
    test, risk, strata = _pooled(folds, name)
    if not risk.std() > 0:
        return float("nan")
    return float(Cox().fit(risk, *test.T, strata=strata).coef_[0])


def _pooled(folds: Sequence[Fold], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes, log risks, and folds with their strata of all test samples."""
    strata = [f"{i}|{s}" for i, f in enumerate(folds) for s in f.groups]
    return np.vstack([f.test for f in folds]), np.concatenate([f.risks[name][1] for f in folds]), np.array(strata)


def _calibrated(folds: Sequence[Fold], names: Sequence[str], horizon: float) -> pd.DataFrame:
    tables = []
    for name in names:
        predicted = np.concatenate([f.survival(name, np.array([horizon]))[:, 0] for f in folds])
        time, event = _pooled(folds, name)[0].T
        tables.append(calibration(time, event, predicted, horizon=horizon).assign(representation=name))
    return pd.concat(tables, ignore_index=True)


def _clinical(folds: Sequence[Fold]) -> np.ndarray:
    """The clinical annotations of all test samples as numbers; a missing value is the mean."""
    known = pd.concat([f.clinical for f in folds])
    return Design.of(known).columns(known)


def _nested(folds: Sequence[Fold], known: np.ndarray, model: str) -> dict[str, Nested]:
    """What the model adds to the clinical covariates, its log risk in standard deviations of its fold's train."""
    test, _, strata = _pooled(folds, model)
    rank = int(np.linalg.matrix_rank(known)) if known.size else 0
    if not rank or test[:, 1].sum() < FEWEST_PER_COVARIATE * (rank + 1):
        return {}
    scale = [np.nanstd(f.risks[model][0]) or 1.0 for f in folds]
    added = np.concatenate([f.risks[model][1] / s for f, s in zip(folds, scale, strict=True)])
    time, event = test.T
    return {model: nested(time, event, known, added=added, strata=strata)}
