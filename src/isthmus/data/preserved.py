"""Whole sites in one part: a model that reads the site instead of the biology must not be paid for it.

A random split puts samples of every site on both sides, so that whatever marks a site (scanner, stain, batch) helps to
predict an outcome that differs between sites (Howard et al. 2021, Nature Communications 12, 4423,
https://doi.org/10.1038/s41467-021-24698-1). Preserved sites answer that, at a price: classes are no longer shared out
evenly of themselves. Howard et al. choose the sites of each fold by quadratic programming over the counts of classes;
here the same sum of squares is brought down by moving and swapping sites, from several starts, which needs no solver
and, for as few sites as can be enumerated, finds the same least sum (a test enumerates). Departure: the number of
samples counts as one more class, so that parts keep their size.

Where samples also belong to groups (patients) that were seen at several sites, sites that share a group stay together.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from isthmus.data.deal import as_text, codes_of, column_of, dealt_groups, strata_of
from isthmus.errors import DataError, listed

__all__ = ["left_out", "preserved"]

log = logging.getLogger("isthmus.data")
STARTS = 12
MOST_SWAPPED = 600
"""With more sites these are moved one at a time only."""
LEAST_GAIN = 1e-12


def preserved(
    obs: pd.DataFrame, shares: Sequence[int], *, sites: str, group: str | None, stratify: str | None, seed: int
) -> pd.Series:
    """The number of the part of each sample, whole sites in one part and classes in balance.

    Parameters
    ----------
    obs
        Annotations; index = sample ids.
    shares
        Of the parts, as whole numbers.
    sites
        Column of sites; a sample without one is a site of its own.
    group
        Column of groups that stay together too, so that sites that share one do.
    stratify
        Column of classes; None balances the number of samples alone.
    seed
        Of the starts.

    Raises
    ------
    DataError
        A column is missing, or there are fewer sites (or sets of sites that share no group) than parts.
    """
    table = obs.set_axis(obs.index.astype(str)).sort_index()
    unit = _units(table, sites, group)
    units = int(unit.max(initial=-1)) + 1
    if units < len(shares):
        known = int(as_text(table[sites]).nunique())
        shared = f", of which those that share a {group!r} are one" if group is not None and units < known else ""
        met = f"{known} sites{shared}: {units} to be dealt"
        raise DataError("too few sites for the parts", where="data.split.sites", met=met, wanted=f"{len(shares)}")
    strata = np.zeros(len(table), int)
    if stratify is not None:
        strata = strata_of(column_of(table, stratify, key="stratify"), len(shares))
    counts = np.zeros((units, strata.max(initial=0) + 2))
    np.add.at(counts, (unit, strata), 1.0)
    counts[:, -1] = counts[:, :-1].sum(axis=1)
    rng = np.random.default_rng(seed)
    first = dealt_groups(unit, strata, tuple(shares), rng)
    start = np.zeros(units, int)
    start[unit] = first
    part = _balanced(counts, np.array(shares) / sum(shares), start, rng)
    return pd.Series(part[unit], table.index, name="fold").reindex(obs.index.astype(str)).set_axis(obs.index)


def left_out(obs: pd.DataFrame, sites: str, *, group: str | None = None) -> list[pd.Series]:
    """A fold per site: it is the test part, the others are train.

    Training samples of a group (a patient) that the test site has too are left out of that fold, samples without a
    site out of all.

    Parameters
    ----------
    obs
        Annotations; index = sample ids.
    sites
        Column of sites.
    group
        Column of groups that must not be on both sides.

    Raises
    ------
    DataError
        A column is missing, there are fewer than two sites, or a site leaves nothing to train on.
    """
    site = as_text(column_of(obs, sites, key="leave_out"))
    names = sorted(site.dropna().unique(), key=lambda s: (len(s), s) if s.isdecimal() else (10**9, s))
    if len(names) < 2:
        raise DataError("there is one site at most to leave out", where=f"obs column {sites!r}", met=list(names))
    if gone := int(site.isna().sum()):
        log.warning("split: %d samples have no %r and are left out", gone, sites)
    who = None if group is None else as_text(column_of(obs, group, key="group"))
    found = []
    for name in names:
        test = site == name
        train = site.notna() & ~test
        if who is not None:
            both = train & who.isin(who[test].dropna())
            if both.any():
                log.info("split: %d samples of a %r at %r are left out of train", int(both.sum()), group, name)
            train &= ~both
        if not train.any():
            raise DataError(f"leaves nothing to train on: every {group!r} was there", where=f"{sites} {name!r}")
        parts = pd.Series(np.where(test, "test", "train"), obs.index, dtype=object, name="split")
        found.append(parts[test | train])
    log.info("split: %d folds, each leaves out one of %s", len(found), listed(names, 6))
    return found


def _units(table: pd.DataFrame, sites: str, group: str | None) -> np.ndarray:
    """The number of what each sample is dealt with: its site, or the sites that groups tie to it."""
    each = [_own(column_of(table, sites, key="sites"))]
    if group is not None:
        each.append(_own(column_of(table, group, key="group")))
    if len(each) == 1:
        return np.asarray(pd.factorize(each[0])[0])
    site, who = each
    n = int(site.max(initial=-1)) + 1
    size = n + int(who.max(initial=-1)) + 1
    edges = sp.coo_matrix((np.ones(len(site)), (site, n + who)), shape=(size, size))
    _, joined = connected_components(edges, directed=False)
    return np.asarray(pd.factorize(joined[site])[0])


def _own(column: pd.Series) -> np.ndarray:
    """A number per value; each missing one has its own."""
    codes, missing = codes_of(column)
    return np.asarray(np.where(missing, codes.max(initial=0) + 1 + np.arange(len(codes)), codes))


def _balanced(counts: np.ndarray, shares: np.ndarray, start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The part of each unit with the least sum of squares that was found."""
    x = counts / np.maximum(counts.sum(axis=0), 1)
    best, least = start, np.inf
    for k in range(STARTS):
        part = start if k == 0 else rng.permutation(np.arange(len(x)) % len(shares))
        part = _descended(x, shares, part.copy())
        cost = unevenness(x, shares, part)
        if cost < least - LEAST_GAIN:
            best, least = part, cost
    return best


def unevenness(x: np.ndarray, shares: np.ndarray, part: np.ndarray) -> float:
    """Sum over parts and classes of (share of the class in the part - share of the part)^2; x: unit's share of each."""
    return float((_excess(x, shares, part) ** 2).sum())


def _excess(x: np.ndarray, shares: np.ndarray, part: np.ndarray) -> np.ndarray:
    held = np.zeros((len(shares), x.shape[1]))
    np.add.at(held, part, x)
    return np.asarray(held - shares[:, None] * x.sum(axis=0))


def _descended(x: np.ndarray, shares: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Move or swap units, the best first, until nothing helps; no part is left empty."""
    square = (x**2).sum(axis=1)
    swaps = len(x) <= MOST_SWAPPED
    apart = square[:, None] + square - 2 * x @ x.T if swaps else np.empty((0, 0))
    own = np.arange(len(x))
    while True:
        at = x @ _excess(x, shares, part).T
        gain = at - at[own, part][:, None]  # of going to each part, in half units
        move = 2 * (gain + square[:, None])
        move[own, part] = np.inf
        move[np.bincount(part, minlength=len(shares))[part] < 2] = np.inf
        unit, to = np.unravel_index(move.argmin(), move.shape)
        swap = np.inf
        if swaps:
            there = gain[:, part]
            both = 2 * (there + there.T + apart)
            both[part[:, None] == part] = np.inf
            a, b = np.unravel_index(both.argmin(), both.shape)
            swap = float(both[a, b])
        if min(swap, float(move[unit, to])) > -LEAST_GAIN:
            return part
        if swap < move[unit, to]:
            part[[a, b]] = part[[b, a]]
        else:
            part[unit] = to
