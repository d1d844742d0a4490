"""What several folds measured as one set of tables, and as numbers under flat names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from isthmus.measures.measured import Further

KEYS: Mapping[str, tuple[str, ...]] = {
    "translation": ("source", "target", "representation"),
    "by_feature": ("source", "target", "feature"),
    "transfer": ("source", "target", "representation", "label", "metric"),
    "by_pathway": ("source", "target", "term"),
    "latent": (),
    "subsets": ("modalities", "label"),
    "alignment": ("first", "second"),
    "disentanglement": (),
    "robustness": (),
    "dimensions": ("dimension",),
    "predictions": ("head", "kind", "representation", "metric"),
}
"""Table -> the columns that say of what a row speaks."""
BOUNDS = ("lower", "upper")
COUNTED = ("n", "size", "n_samples", "n_features", "n_entries", "n_features_constant", "bins", "refits")


def averaged(found: Sequence[Further]) -> Further:
    """The mean over folds of every score, with `<score>_sd` where there are several."""
    tables: dict[str, Any] = {k: _averaged([getattr(f, k) for f in found], keys) for k, keys in KEYS.items()}
    return Further(**tables)


def _averaged(frames: Sequence[pd.DataFrame], keys: tuple[str, ...]) -> pd.DataFrame:
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    by = [k for k in keys if k in rows]
    if len(frames) < 2 or rows.empty:
        return rows
    scores = [c for c in rows if c not in by]
    grouped = rows.groupby(by, sort=False)[scores] if by else rows[scores].groupby(lambda _: 0)
    spread = grouped.std().drop(columns=[c for c in scores if c in COUNTED])
    return grouped.mean().round(dict.fromkeys(COUNTED, 0)).join(spread.add_suffix("_sd")).reset_index(drop=not by)


def flat(found: Further, *, model: str) -> dict[str, Any]:
    """Every score under a flat name; those of baselines under `baseline/<name>/`, a spread under `<name>/sd`."""
    every: dict[str, Any] = {}
    for who, name, value in _named(found):
        every[name if who in (None, model) else f"baseline/{who}/{name}"] = number(value)
    return every


def number(value: Any) -> float | None:
    """A finite number, or nothing."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _named(found: Further) -> Iterator[tuple[str | None, str, Any]]:
    """Who, name, value; None for whoever is the model."""
    for row in _rows(found.translation):
        for key, value in _scores(row, "translation"):
            yield row["representation"], _name("translation", key, f"{row['source']}->{row['target']}"), value
    for row in _rows(found.transfer):
        place = f"{row['label']}/{row['source']}->{row['target']}"
        yield row["representation"], f"translation/test/{row['metric']}/{place}", row["value"]
    for row in _rows(found.predictions):
        place = f"prediction/test/{row['metric']}/{row['head']}"
        for key, value in _scores(row, "predictions"):
            if key in ("value", "value_sd", "lower", "upper") and not (key in BOUNDS and "value_sd" in row):
                yield row["representation"], place + {"value": "", "value_sd": "/sd"}.get(key, f"/{key}"), value
    for table, place in (("alignment", "{first}-{second}"), ("subsets", "{modalities}"), ("dimensions", "{dimension}")):
        for row in _rows(getattr(found, table)):
            for key, value in _scores(row, table):
                about = place.format(**row).replace(" + ", "+")
                yield (
                    None,
                    _name({"subsets": "subset", "dimensions": "robustness"}.get(table, table), key, about),
                    value,
                )
    for table in ("latent", "disentanglement", "robustness"):
        for row in _rows(getattr(found, table)):
            for key, value in _scores(row, table):
                yield None, _name(table, key, ""), value


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _scores(row: Mapping[str, Any], table: str) -> Iterator[tuple[str, Any]]:
    """The scores of a row that are known."""
    for key, value in row.items():
        if key not in (*KEYS[table], *COUNTED) and not pd.isna(value):
            yield key, value


def _name(what: str, key: str, about: str) -> str:
    score = key.removesuffix("_sd")
    return "/".join([what, "test", score, *([about] if about else []), *(["sd"] if key != score else [])])
