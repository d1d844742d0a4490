"""Which side of a table the samples are on, and whether modalities belong together: by ids, never by position."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd

from isthmus.data.bags import STORE, is_bag
from isthmus.data.cohort import union
from isthmus.data.containers import refuse_twice
from isthmus.data.lookalike import hint_of, warn_of_lookalikes
from isthmus.data.tables import Grid
from isthmus.errors import DataError, listed

log = logging.getLogger("isthmus.data")
HINT = "set orientation: samples_in_rows or samples_in_columns for it"
WHOSE = "say which sample a slide is of: slides (a table of both), id_pattern or id_length; of rows, bag_of"


def oriented(
    grids: Mapping[str, Grid],
    asked: Mapping[str, str | None],
    known: pd.Index | None,
    *,
    bags: Mapping[str, pd.Index] | None = None,
) -> dict[str, ad.AnnData]:
    """Tables with their samples in rows.

    Parameters
    ----------
    grids
        Modality -> table.
    asked
        Modality -> orientation that the user gives, or None.
    known
        Ids of samples from elsewhere (the obs table, containers), or None where there are none.
    bags
        Modality of bags -> its ids: they may be those of slides, which is told where nothing else is known.

    Raises
    ------
    DataError
        The ids of a table match on neither or on both sides, or an id occurs twice.
    """
    sides = {m: asked.get(m) for m in grids}
    for m in (m for m, side in sides.items() if side is not None):
        known = _more(known, grids[m], str(sides[m]))
    unknown = [m for m, side in sides.items() if side is None]
    if known is None and unknown:
        known = _common_rows([grids[m] for m in unknown])
    for last in (False, True):
        for m in [m for m in unknown if sides[m] is None]:
            sides[m] = _side(m, grids[m], known, last=last, bags=bags or {})
            if sides[m] is not None:
                log.info("%s: %s", m, str(sides[m]).replace("_", " "))
                known = _more(known, grids[m], str(sides[m]))
    return {m: _adata(grid if sides[m] == "samples_in_rows" else grid.turned, m) for m, grid in grids.items()}


def _more(known: pd.Index | None, grid: Grid, side: str) -> pd.Index:
    ids = grid.rows if side == "samples_in_rows" else grid.columns
    if known is None:
        return ids
    both: pd.Index = known.append(ids[~ids.isin(known)])
    return both


def _common_rows(grids: list[Grid]) -> pd.Index | None:
    """Row labels that two tables share; without obs they are taken for the samples. None for a table alone."""
    if len(grids) == 1:
        return None
    counts = Counter(label for grid in grids for label in set(grid.rows))
    common: pd.Index = pd.Index([label for label, n in counts.items() if n > 1], dtype=object)
    if len(common):
        return common
    every = Counter(label for grid in grids for label in set(grid.rows) | set(grid.columns))
    if any(n > 1 for n in every.values()):
        raise DataError("the tables' rows share no id, but their columns do", where=_names(grids), hint=HINT)
    raise _no_common(_names(grids), *(grid.rows for grid in grids[:2]))


def _names(grids: list[Grid]) -> str:
    return ", ".join(grid.where for grid in grids)


def _side(name: str, grid: Grid, known: pd.Index | None, *, last: bool, bags: Mapping[str, pd.Index]) -> str | None:
    """Where the samples of a table are; None where that is left for a second look."""
    if known is None:
        log.info("%s: there is no other id to compare with, so rows are taken for samples", name)
        return "samples_in_rows"
    rows, columns = int(grid.rows.isin(known).sum()), int(grid.columns.isin(known).sum())
    if rows and columns:
        met = f"{rows} row names and {columns} column names, such as {grid.columns[grid.columns.isin(known)][0]!r}"
        raise DataError(f"{name}: ids of samples are on both sides", where=grid.where, met=met, hint=HINT)
    if rows or columns:
        return "samples_in_rows" if rows else "samples_in_columns"
    if not last:
        return None
    met = f"rows {listed(grid.rows)} and columns {listed(grid.columns)}"
    if bag := next((b for b, ids in bags.items() if known.isin(ids).all()), None):
        raise _not_of(f"{bag} and {name}", f"{bag} has {listed(bags[bag])}", f"{grid.where} has {met}")
    raise DataError(
        f"{name}: ids match on neither side",
        where=grid.where,
        met=None,
        wanted=f"such as {listed(known)}",
        hint=f"{met}\n" + (hint_of(grid.rows, known) or f"{HINT}, or id_column: if its ids are in another column"),
    )


def _adata(grid: Grid, name: str) -> ad.AnnData:
    if grid.duplicates == "first" and not grid.rows.is_unique:
        first = ~grid.rows.duplicated()
        log.info("%s: %d rows repeat the id of an earlier one and are left out", name, int((~first).sum()))
        grid = replace(grid, values=grid.values[np.flatnonzero(first)], rows=grid.rows[first])
    refuse_twice(grid.rows, grid.where, "sample")
    refuse_twice(grid.columns, grid.where, "feature")
    return ad.AnnData(grid.values, obs=pd.DataFrame(index=grid.rows), var=pd.DataFrame(index=grid.columns))


def _no_common(where: str, a: pd.Index, b: pd.Index) -> DataError:
    hint = f"one has {listed(a)}\nanother has {listed(b)}; {hint_of(b, a) or HINT}"
    return DataError("share no sample id", where=where, met=None, hint=hint)


def _not_of(where: str, bags: str, others: str) -> DataError:
    """Bags that no other table knows: mostly slides under their own names instead of their samples'."""
    return DataError("share no sample id", where=where, hint=f"{bags}; {others}\n{WHOSE}")


def check_overlap(modalities: Mapping[str, ad.AnnData], obs: pd.DataFrame | None) -> None:
    """Refuse modalities that share no sample; warn of ids that seem to be written in two ways.

    Modalities that do not overlap may still make a cohort where the obs table knows samples of each.

    Raises
    ------
    DataError
        No two modalities share an id; three of each are shown.
    """
    ids = {m: a.obs_names for m, a in modalities.items()}
    names = list(ids)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    if pairs and not any(ids[a].isin(ids[b]).any() for a, b in pairs):
        tied = obs is not None and all(i.isin(obs.index).any() for i in ids.values())
        if not tied:
            a, b = sorted(names, key=lambda m: not is_bag(modalities[m]))[:2]
            if is_bag(modalities[a]):
                raise _not_of(f"{a} and {b}", f"{a} has {listed(ids[a])}", f"{b} has {listed(ids[b])}")
            raise _no_common(f"{a} and {b}", ids[a], ids[b])
        log.warning("no two modalities share a sample")
    for m in [m for m in ids if len(ids) > 1 and not any(ids[m].isin(ids[o]).any() for o in ids if o != m)]:
        log.warning("%s: none of its samples is in another modality", m)
    every = union(modalities)
    warn_of_lookalikes(({} if obs is None else {"obs": obs.index}) | ids)
    folded = pd.Series(every.str.casefold(), index=every)
    if (again := folded.duplicated(keep=False)).any():
        alike = folded[again].sort_values(kind="stable").index
        log.warning("%d sample ids differ from another in case only, such as %s", len(alike), listed(alike, 2))


def merged_obs(modalities: Mapping[str, ad.AnnData], given: pd.DataFrame | None, where: str = "obs") -> pd.DataFrame:
    """The annotations of the union of all samples: the given table first, then what the modalities carry.

    A sample without a row keeps missing values; a row without any modality is left out. Where modalities contradict
    each other in a column, each gets its own, called `modality:column`.
    """
    ids = union(modalities)
    if given is not None:
        refuse_twice(given.index, where, "sample")
        known = given.index[given.index.isin(ids)]
        if not len(known):
            hint = f"{where} has {listed(given.index)}\nthe modalities have {listed(ids)}"
            hint += f"; {WHOSE}" if any(STORE in a.uns for a in modalities.values()) else ""
            hint += f"; {alike}" if (alike := hint_of(ids, given.index)) else ""
            raise DataError("names none of the modalities' samples", where=where, hint=hint)
        if gone := len(given) - len(known):
            log.info("%d rows of %s have no modality and are left out", gone, where)
        if less := len(ids) - len(known):
            log.info("%d samples have no row in %s; their annotations are missing", less, where)
        ids = known.append(ids[~ids.isin(known)])
    obs = pd.DataFrame(index=ids) if given is None else _reindexed(given, ids)
    carried = {m: a.obs for m, a in modalities.items() if a.obs.shape[1]}
    columns = dict.fromkeys(c for frame in carried.values() for c in frame.columns if c not in obs.columns)
    found: dict[str, pd.Series] = {}
    for column in columns:
        parts = {m: frame[column].dropna() for m, frame in carried.items() if column in frame}
        found |= _merged(str(column), parts, ids)
    return obs.join(pd.DataFrame(found, index=ids)) if found else obs


def _reindexed(table: pd.DataFrame, ids: pd.Index) -> pd.DataFrame:
    """`table` for other samples; whole numbers and booleans without gaps keep their type."""
    if ids.isin(table.index).all():
        return table.loc[ids]
    nullable = {str(c): "boolean" for c, t in table.dtypes.items() if t.kind == "b"}
    return table.astype(nullable).reindex(ids)


def _merged(column: str, parts: dict[str, pd.Series], ids: pd.Index) -> dict[str, pd.Series]:
    """One column from several modalities, or one each where they contradict."""
    values = pd.concat([p.astype(object) for p in parts.values()])
    first = values[~values.index.duplicated()]
    agree = all((p.astype(object) == first.loc[p.index]).all() for p in parts.values())
    if agree:
        kind = next(iter(parts.values())).dtype
        whole = first.reindex(ids)
        same = all(p.dtype == kind for p in parts.values()) and not isinstance(kind, pd.CategoricalDtype)
        return {column: whole.astype(kind) if same and not whole.isna().any() else whole}
    log.info("the modalities contradict each other in obs column %r: one column each", column)
    return {f"{m}:{column}": p.reindex(ids) for m, p in parts.items()}
