"""Terms and the features that belong to them: gene sets, pathway hierarchies, chromosomes and bands.

What is read, compressed or not:

- GMT: a line a term, `name <tab> description or id <tab> feature <tab> feature ...`.
- A table of two columns, feature and term in either order: the column is that of the features whose entries match their
  names.
- A wider table with a header, of which `term_columns` names the columns of terms, from the latent level down: for
  Ensembl's gene positions `[Chromosome/scaffold name]`, or with bands `[Chromosome/scaffold name, Karyotype band]`.
- A hierarchy of the terms, `parent <tab> child` (Reactome's ReactomePathwaysRelation), names or ids of a GMT file.

Names match exactly, upper and lower case as they are.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from isthmus.data.source import existing
from isthmus.data.text import decoded
from isthmus.errors import DataError, RecipeError, closest, listed

__all__ = ["Pathways", "Sets", "read_pathways"]

log = logging.getLogger("isthmus.data")
Sets: TypeAlias = dict[str, tuple[str, ...]]
AMBIGUOUS = 0.1
"""A second column that matches this share of what the best one matches leaves open which of them is meant."""


@dataclass(frozen=True)
class Pathways:
    """Terms in one or more levels.

    Attributes
    ----------
    levels
        Term to features, then for every further level term to terms of the level before; the last ones are the latent
        terms.
    """

    levels: tuple[Sets, ...]

    @property
    def terms(self) -> tuple[str, ...]:
        """The latent terms."""
        return tuple(self.levels[-1])

    @property
    def features(self) -> frozenset[str]:
        """Everything that belongs to a term."""
        return frozenset(f for members in self.levels[0].values() for f in members)

    def measured(self, features: Collection[str], min_size: int = 1) -> tuple[Pathways, dict[str, int]]:
        """Only what was measured.

        Parameters
        ----------
        features
            Names of what was measured.
        min_size
            The fewest of them that a term keeps its place with.

        Returns
        -------
        tuple
            The terms that are left with their measured features, and those of the first level that are gone, with the
            number of measured features they have. A term of a further level is gone when all below it are.

        Raises
        ------
        DataError
            No term is left.
        """
        known = frozenset(features)
        sizes = {t: tuple(f for f in dict.fromkeys(members) if f in known) for t, members in self.levels[0].items()}
        kept = [{t: members for t, members in sizes.items() if len(members) >= min_size}]
        for level in self.levels[1:]:
            inner = {t: tuple(c for c in dict.fromkeys(members) if c in kept[-1]) for t, members in level.items()}
            kept.append({t: members for t, members in inner.items() if members})
        if not kept[-1]:
            largest = max(map(len, sizes.values()), default=0)
            if not largest:
                raise _no_match("pathways", self.features, known)
            what = "no term has so many measured features" if not kept[0] else "no term of the last level has any below"
            raise DataError(what, where="pathways", met=f"at most {largest}", wanted=f"min_size: {min_size}")
        used = _used(kept)
        return Pathways(used), {t: len(members) for t, members in sizes.items() if t not in used[0]}

    def with_rest(self, features: Iterable[str]) -> Pathways:
        """The same with one more term, of the features that belong to none, on every level."""
        rest = tuple(f for f in dict.fromkeys(features) if f not in self.features)
        if not rest:
            return self
        name = "unassigned"
        while any(name in level for level in self.levels):
            name += "_"
        return Pathways(tuple({**level, name: (name,) if i else rest} for i, level in enumerate(self.levels)))


@dataclass(frozen=True)
class _Read:
    """What a file holds: levels of sets, and the names that go with ids."""

    levels: tuple[Sets, ...]
    ids: dict[str, str] = field(default_factory=dict)


def read_pathways(
    source: Path | str | Mapping[str, Sequence[str]],
    *,
    features: Collection[str],
    levels: Sequence[Path | str | Mapping[str, Sequence[str]]] = (),
    hierarchy: Path | str | None = None,
    depth: int = 1,
    term_columns: Sequence[str] = (),
) -> Pathways:
    """Read terms and their features.

    Parameters
    ----------
    source
        File (see the module's docstring), or term to features.
    features
        Names that were measured, by which the columns of a table are told apart.
    levels
        Files or mappings of terms to terms of the level before, upwards.
    hierarchy
        File of `parent <tab> child` pairs between the terms: the latent terms are its roots.
    depth
        With `hierarchy`, how far below its root a term of the hidden level stands (its shortest way up); 0 for none.
        A branch that ends above counts with its last term. A term has the features of all below it.
    term_columns
        Columns of a table of more than two that hold the terms, from the latent level down.

    Returns
    -------
    Pathways
        All that the source holds, one level or more, whether measured or not; see `Pathways.measured`.

    Raises
    ------
    DataError
        A file is missing or broken, nothing matches, or more than one column does.
    RecipeError
        `term_columns` and the file disagree, or `levels` and `hierarchy` are both given.
    """
    if hierarchy is not None and levels:
        raise RecipeError("levels and hierarchy exclude each other", where="model.levels")
    if term_columns and (isinstance(source, Mapping) or _is_gmt(Path(source))):
        raise RecipeError("is for tables alone", where="model.term_columns", met=source)
    read = _read(source, frozenset(features), term_columns)
    if hierarchy is not None:
        return Pathways(_descended(read, Path(hierarchy), depth))
    found = list(read.levels)
    for level in levels:
        names = dict.fromkeys(found[-1])
        upper = _read(level, frozenset([*names, *read.ids]), ()).levels[0]
        found.append({t: tuple(read.ids.get(c, c) for c in members) for t, members in upper.items()})
        if not any(c in names for members in found[-1].values() for c in members):
            raise _no_match("levels", {c for m in upper.values() for c in m}, frozenset(names))
    return Pathways(tuple(found))


def _used(levels: Sequence[Sets]) -> tuple[Sets, ...]:
    """The levels without terms that no term of the level above has."""
    found = [levels[-1]]
    for level in reversed(levels[:-1]):
        wanted = {c for members in found[0].values() for c in members}
        found.insert(0, {t: members for t, members in level.items() if t in wanted})
    return tuple(found)


def _no_match(where: str, met: Collection[str], known: Collection[str]) -> DataError:
    """What to say when not one name matches."""
    folded = {k.casefold() for k in known}
    alike = sum(m.casefold() in folded for m in met)
    hint = f"{alike} would match without regard to case" if alike else "map the identifiers of one to the other first"
    return DataError(
        "no member of any term is among the names",
        where=where,
        met=listed(sorted(met)),
        wanted=listed(sorted(known)),
        hint=hint,
    )


def _read(source: Path | str | Mapping[str, Sequence[str]], known: Collection[str], columns: Sequence[str]) -> _Read:
    """The terms of a file or mapping."""
    if isinstance(source, Mapping):
        return _Read(({str(t): tuple(map(str, members)) for t, members in source.items()},))
    path = existing(Path(source))
    if path.is_dir():
        raise DataError("is a folder", where=str(path), wanted="a file of terms")
    lines = _lines(path)
    if not any(line.strip() for line in lines):
        raise DataError("is empty", where=str(path))
    if _is_gmt(path):
        return _gmt(lines, str(path))
    rows = _rows(lines, str(path))
    if columns:
        return _Read(_columns(rows, known, columns, str(path)))
    if len(rows[0][1]) != 2:
        raise RecipeError(
            "has more than two columns", where=str(path), met=f"{len(rows[0][1])} columns",
            wanted="features and terms, or GMT (.gmt)",
            hint=f"of ontology_vae alone model.term_columns names those of the terms, of {listed(rows[0][1], 8)}",
        )  # fmt: skip
    at = _feature_column([cells for _, cells in rows], known, str(path))
    return _Read((_grouped((cells[1 - at], cells[at]) for _, cells in rows),))


def _lines(path: Path) -> list[str]:
    """The lines of a file, for which nobody can name another encoding."""
    return decoded(path, "utf-8", hint="save it as UTF-8, the encoding in which terms are read").decode().split("\n")


def _is_gmt(path: Path) -> bool:
    return ".gmt" in [s.lower() for s in path.suffixes]


def _gmt(lines: Sequence[str], where: str) -> _Read:
    """Gene sets, and the names of their ids (second column)."""
    sets: Sets = {}
    ids = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *rest = (cell.strip() for cell in line.split("\t"))
        members = tuple(dict.fromkeys(cell for cell in rest[1:] if cell))
        if not name or not members:
            wanted = "name, description and features, with tabs between them"
            raise DataError("is no set of features", where=f"{where}, line {number}", met=line, wanted=wanted)
        if name in sets:
            raise DataError("a term occurs twice", where=f"{where}, line {number}", met=name)
        sets[name] = members
        if rest[0]:
            ids[rest[0]] = name
    return _Read((sets,), ids)


def _rows(lines: Sequence[str], where: str) -> list[tuple[int, list[str]]]:
    """The rows of a table with their line numbers; all have as many cells as the first."""
    first = next(line for line in lines if line.strip())
    separator = next((s for s in "\t,; " if s in first), None)
    if separator is None:
        raise DataError("has a single column", where=where, met=first, wanted="features and terms, or GMT (.gmt)")
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator)
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if rows and len(cells) != len(rows[0][1]):
                place, wanted = f"{where}, line {reader.line_num}", f"{len(rows[0][1])} cells as in the first row"
                raise DataError(f"has {len(cells)} cells", where=place, met=separator.join(cells), wanted=wanted)
            rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise DataError(f"is no table: {error}", where=f"{where}, line {reader.line_num}") from None
    return rows


def _feature_column(rows: Sequence[Sequence[str]], known: Collection[str], where: str, skip: Sequence[int] = ()) -> int:
    """The one column whose entries are names that were measured."""
    matched = {i: len({row[i] for row in rows} & set(known)) for i in range(len(rows[0])) if i not in skip}
    best, *others = sorted(matched, key=lambda i: -matched[i])
    if not matched[best]:
        raise _no_match(where, {row[best] for row in rows}, known)
    if others and matched[others[0]] > AMBIGUOUS * matched[best]:
        met = ", ".join(f"column {i + 1}: {matched[i]} names" for i in (best, others[0]))
        raise DataError(
            "more than one column matches the features", where=where, met=met,
            hint="give the terms as a GMT file: a line a term, name, description and its features",
        )  # fmt: skip
    return best


def _columns(
    rows: Sequence[tuple[int, list[str]]], known: Collection[str], columns: Sequence[str], where: str
) -> tuple[Sets, ...]:
    """Levels from the named columns of a table with a header; an empty cell takes the term of the level above."""
    header = rows[0][1]
    for name in columns:
        if name not in header:
            hint = closest(name, header)
            raise RecipeError("the file has no such column", where="model.term_columns", met=name, hint=hint)
    places = [header.index(name) for name in columns]
    at = _feature_column([cells for _, cells in rows[1:]] or [header], known, where, places)
    paths = [(_named_down([cells[i] for i in places]), cells[at]) for _, cells in rows[1:] if cells[at]]
    paths = [(terms, feature) for terms, feature in paths if terms[0]]
    pairs = [[(terms[-1], feature) for terms, feature in paths]]
    pairs += [[(terms[i], terms[i + 1]) for terms, _ in paths] for i in reversed(range(len(columns) - 1))]
    return tuple(_grouped(level) for level in pairs)


def _named_down(terms: Sequence[str]) -> list[str]:
    """Each term with those above it in its name (`q12` of chromosome 1 is `1 q12`); an empty one is that above."""
    found: list[str] = []
    for term in terms:
        found.append(" ".join([*found[-1:], term]) if term else next(iter(found[-1:]), ""))
    return found


def _grouped(pairs: Iterable[tuple[str, str]]) -> Sets:
    """Term to members, from pairs of term and member; a pair with an empty half is left out."""
    found: dict[str, dict[str, None]] = {}
    for term, member in pairs:
        if term and member:
            found.setdefault(term, {})[member] = None
    return {term: tuple(members) for term, members in found.items()}


def _descended(read: _Read, file: Path, depth: int) -> tuple[Sets, ...]:
    """Roots of the hierarchy over the terms at `depth`, with the features of all below them; see `read_pathways`."""
    where, (sets, *_) = str(file), read.levels
    rows = _rows(_lines(existing(file)), where)
    if len(rows[0][1]) != 2:
        raise DataError("is no table of parent and child", where=where, met=rows[0][1], wanted="two columns")
    below = _grouped((read.ids.get(a, a), read.ids.get(b, b)) for _, (a, b) in rows)
    children = {c for members in below.values() for c in members}
    if not children & set(sets):
        raise _no_match(where, children | set(below), frozenset([*sets, *read.ids]))
    roots = [t for t in below if t not in children]
    if not roots:
        raise DataError("has no root: every term is below another", where=where)
    if outside := [t for t in sets if t not in children and t not in below]:
        log.info("%s: %d terms are not in the hierarchy: %s", where, len(outside), listed(outside, len(outside)))
    layers = _layers(roots, below)
    level_of = {t: i for i, layer in enumerate(layers) for t in layer}
    pooled = {t: _pooled(t, below, sets) for t in level_of}
    if not depth:
        return ({t: pooled[t] for t in roots if pooled[t]},)
    hidden = [t for t, i in level_of.items() if pooled[t] and (i == depth or (i < depth and t not in below))]
    inside = {t: _reached(t, below) for t in roots}
    upper = {t: tuple(h for h in hidden if h in inside[t]) for t in roots}
    return {t: pooled[t] for t in hidden}, {t: members for t, members in upper.items() if members}


def _layers(roots: Sequence[str], below: Sets) -> list[list[str]]:
    """The terms by the length of their shortest way to a root."""
    layers, seen = [list(roots)], set(roots)
    while layers[-1]:
        following = dict.fromkeys(c for t in layers[-1] for c in below.get(t, ()) if c not in seen)
        seen |= following.keys()
        layers.append(list(following))
    return layers[:-1]


def _reached(term: str, below: Sets) -> dict[str, None]:
    """A term and all below it."""
    return dict.fromkeys(t for layer in _layers([term], below) for t in layer)


def _pooled(term: str, below: Sets, sets: Sets) -> tuple[str, ...]:
    """The features of a term and of all below it."""
    return tuple(dict.fromkeys(f for t in _reached(term, below) for f in sets.get(t, ())))
