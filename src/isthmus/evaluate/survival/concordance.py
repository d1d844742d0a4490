r"""How well risks order the times of events: Harrell's and Uno's C.

A pair counts where the earlier time is an event (of equal times: one event, one censored later in truth); it is
concordant where the earlier has the higher risk, half so where risks are equal. Harrell et al. (1996, Stat Med 15,
361) count pairs alike, and the answer depends on who was censored; Uno et al. (2011, Stat Med 30, 1105) weigh a pair
by :math:`1 / G(t-)^2` of its event, G the Kaplan-Meier curve of the censoring, learnt on train.
With strata (groups with baseline hazards of their own, between which log risks cannot be compared) pairs are counted
within each, and summed.

Pairs are counted by a Fenwick tree over the ranks of risk: O(n log n).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, no_type_check

import numpy as np
import pandas as pd
from numba import njit

from isthmus.errors import DataError
from isthmus.evaluate.arrays import check_rows
from isthmus.evaluate.survival.outcome import Outcome, censoring_curve, check_reach, finite, outcome

Kind = Literal["harrell", "uno"]


@no_type_check  # what numba compiles must not be wrapped by the tests' type checks
@njit(cache=True, nogil=True)
def _count(rank, moment, event, weight, mass):  # noqa: ANN001, ANN202
    """Concordant, tied and comparable pairs, in weight; samples in descending time."""
    n, size = len(rank), rank.max() + 1
    tree, equal = np.zeros(size + 1), np.zeros(size)
    total = concordant = tied = pairs = 0.0
    start = 0
    while start < n:
        stop = start
        while stop < n and moment[stop] == moment[start]:
            stop += 1
        for phase in range(2):
            for i in range(start, stop):
                if event[i] != phase:
                    continue
                if phase == 1:
                    below, k = 0.0, rank[i]
                    while k > 0:
                        below += tree[k]
                        k -= k & -k
                    w = weight[i] * mass[i]
                    concordant += w * below
                    tied += w * equal[rank[i]]
                    pairs += w * total
            for i in range(start, stop):
                if event[i] != phase:
                    continue
                k = rank[i] + 1
                while k <= size:
                    tree[k] += mass[i]
                    k += k & -k
                equal[rank[i]] += mass[i]
                total += mass[i]
        start = stop
    return concordant, tied, pairs


@dataclass(frozen=True)
class Pairs:
    """Samples in the order in which pairs are counted, so that risks and resamples can be tried quickly.

    Strata lie one after the other; `ends` says where in the order each ends.
    """

    order: np.ndarray
    moment: np.ndarray
    event: np.ndarray
    weight: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(
        cls, time: Any, event: Any, *, kind: Kind = "harrell", censoring: Outcome | None = None,
        tau: float | int | None = None, strata: Any = None,
    ) -> Pairs:  # fmt: skip
        """Sort, and weigh every event; see `concordance`."""
        times, events = outcome(time, event)
        if kind not in ("harrell", "uno"):
            raise DataError("is no kind of concordance", met=kind, wanted="harrell or uno")
        limit = np.inf if tau is None else tau
        weight = np.ones(len(times))
        if kind == "uno":
            g = censoring_curve((times, events) if censoring is None else censoring)
            check_reach(times, events & (times < limit), g, horizon=limit)
            share = g.before(times)
            weight = np.divide(1.0, share**2, out=np.zeros(len(times)), where=share > 0)
        weight = np.where(times < limit, weight, 0.0)
        names = np.zeros(len(times)) if strata is None else np.asarray(strata)
        check_rows(len(times), len(names), where="strata")
        codes = np.unique(names.astype(str), return_inverse=True)[1]
        order, ends = np.lexsort((-times, codes)), np.cumsum(np.bincount(codes))
        return cls(order, times[order], events[order].astype(np.int64), weight[order], ends)

    @property
    def strata(self) -> list[slice]:
        """Where in the order each stratum lies."""
        return [slice(a, b) for a, b in pairwise((0, *self.ends.tolist()))]

    def dealt(self, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The values of n samples dealt out anew among those of each stratum."""
        found = values.copy()
        for of in self.strata:
            rows = np.sort(self.order[of])
            found[rows] = rng.permutation(values[rows])
        return found

    def concordance(self, risk: np.ndarray, mass: np.ndarray | None = None) -> float:
        """C of some risks, samples counted `mass` times; NaN where no pair is comparable."""
        rank = np.unique(risk, return_inverse=True)[1][self.order].astype(np.int64)
        every = np.ones(len(rank)) if mass is None else mass[self.order].astype(np.float64)
        counted = [_count(rank[s], self.moment[s], self.event[s], self.weight[s], every[s]) for s in self.strata]
        concordant, tied, pairs = (sum(of) for of in zip(*counted, strict=True))
        return (concordant + 0.5 * tied) / pairs if pairs > 0 else float("nan")


def concordance(
    time: Any, event: Any, risk: Any, *, kind: Kind = "harrell", censoring: Outcome | None = None,
    tau: float | int | None = None, strata: Any = None,
) -> float:  # fmt: skip
    """Share of comparable pairs that the risks put into the right order.

    Parameters
    ----------
    time, event
        Of n test samples: time to the event or to the end of observation; 1 where it happened, 0 where censored.
    risk
        Of n samples: higher means an earlier event. Any scale.
    kind
        `harrell`, or `uno`, which weighs out who was censored.
    censoring
        Uno: (time, event) of the train samples, from which the censoring is learnt. None: of the samples themselves.
    tau
        Only events before it count. Uno needs it where test samples were observed for longer than train ones.
    strata
        Of n samples: groups within which pairs are compared, as those of a Cox model. None: all are compared.

    Returns
    -------
    float
        0..1; 0.5 is chance, 1 a perfect order. NaN where no pair is comparable.

    Raises
    ------
    DataError
        See `outcome.outcome`; or an event lies beyond the times that train was observed.
    """
    pairs = Pairs.of(time, event, kind=kind, censoring=censoring, tau=tau, strata=strata)
    return pairs.concordance(finite(risk, len(pairs.order), where="risk"))


@dataclass(frozen=True)
class Null:
    """C of permuted outcomes: what `n` samples with these events give by chance.

    `mean`, `sd`, central 95 % from `lower` to `upper`; `p`: share of permutations that reach the C of the risks.
    """

    mean: float
    sd: float
    lower: float
    upper: float
    p: float


def null_concordance(pairs: Pairs, risk: Any, *, resamples: int = 500, seed: int = 0) -> Null:
    """The spread of C if the risks said nothing: outcomes dealt out anew among the samples (of a stratum).

    Parameters
    ----------
    pairs
        `Pairs.of(time, event, ...)`.
    risk
        Of n samples.
    resamples, seed
        How many permutations, and their seed.
    """
    values = finite(risk, len(pairs.order), where="risk")
    rng = np.random.default_rng(seed)
    drawn = np.array([pairs.concordance(pairs.dealt(values, rng)) for _ in range(resamples)])
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return Null(*[float("nan")] * 5)
    lower, upper = np.quantile(known, [0.025, 0.975])
    reached = (known >= pairs.concordance(values) - 1e-12).sum()
    return Null(known.mean(), known.std(), float(lower), float(upper), float((reached + 1) / (len(known) + 1)))


def bootstrap_concordance(
    pairs: Pairs,
    risks: Mapping[str, np.ndarray],
    *,
    reference: str | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> pd.DataFrame:
    """C of several risks of the same samples, with intervals from resampling these.

    Parameters
    ----------
    pairs
        `Pairs.of(time, event, ...)`.
    risks
        Name -> risk of n samples.
    reference
        The name that the others are compared with, on the same resamples.
    resamples, level, seed
        Of the percentile intervals.
    groups
        Of n samples: whole groups (patients) are drawn.

    Returns
    -------
    pandas.DataFrame
        A row per name: `representation`, `value`, `sd`, `lower`, `upper`, `difference`, `difference_lower`,
        `difference_upper`, `p` (twice the smaller share of resamples on either side of no difference).
    """
    n = len(pairs.order)
    member = np.arange(n) if groups is None else np.unique(groups.astype(str), return_inverse=True)[1]
    units = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    masses = rng.multinomial(units, np.full(units, 1 / units), size=resamples)[:, member]
    drawn = {k: np.array([pairs.concordance(r, mass) for mass in masses]) for k, r in risks.items()}
    value = {k: pairs.concordance(finite(r, n, where=k)) for k, r in risks.items()}
    rows = []
    for name, values in drawn.items():
        row = {"representation": name, "value": value[name], **_spread(values, level)}
        if reference in drawn and name != reference:
            gap = values - drawn[reference]
            gap = gap[~np.isnan(gap)]
            row["difference"] = value[name] - value[reference]
            row |= {f"difference_{k}": v for k, v in _spread(gap, level).items() if k != "sd"}
            row["p"] = min(1.0, 2 * (min((gap <= 0).sum(), (gap >= 0).sum()) + 1) / (len(gap) + 1))
        rows.append(row)
    return pd.DataFrame(rows)


def _spread(values: np.ndarray, level: float) -> dict[str, float]:
    """`sd`, `lower` and `upper` of what is known; NaN of fewer than two."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return dict.fromkeys(("sd", "lower", "upper"), float("nan"))
    lower, upper = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return {"sd": float(known.std(ddof=1)), "lower": float(lower), "upper": float(upper)}
