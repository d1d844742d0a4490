"""Cohorts with planted truth: several modalities driven by shared and private factors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import anndata as ad
import mudata as md
import pandas as pd

from isthmus.data.bag_write import write_bags
from isthmus.data.bags import is_bag
from isthmus.data.cohort import build
from isthmus.data.simulation_bags import draw_bags
from isthmus.data.simulation_gaps import absences, hide_entries
from isthmus.data.simulation_images import draw_images
from isthmus.data.simulation_samples import Samples, draw_samples
from isthmus.data.simulation_settings import IMAGE, Simulation
from isthmus.data.simulation_values import Values, draw_values
from isthmus.data.write import atomic, write
from isthmus.errors import DataError

__all__ = ["Simulation", "simulate", "write_cohort"]

LISTS = ("pathways", "links", "missing", "informative")
"""Parts of the truth whose index means nothing."""


def simulate(n: int = 200, modalities: Mapping[str, int] | None = None, **keys: Any) -> md.MuData:
    """A cohort whose truth is known.

    Parameters
    ----------
    n
        Number of samples, `S0001` onwards.
    modalities
        Name -> number of features; `{"rna": 500, "protein": 60}` by default.
    **keys
        Any other key of `Simulation`: `shared`, `private`, `classes`, `seed`, `noise`, `likelihood`, `missing`, ...

    Returns
    -------
    MuData with `obs` columns class, site, batch, patient, age (years), sex, time (months) and event (1 = happened).
    `uns["truth"]` holds DataFrames: `factors` (samples x shared and private factors), `loadings` by modality (features
    x factors and pathways), `pathways` (pathway, feature, weight), `activities` (samples x pathways), `links`
    (pairs of features), `class_means`, `site_effects` and `batch_effects` by modality, `survival` (coefficients per
    standard deviation of a patient's factor), `log_risk`, `library` by modality, `missing` (what drove it, MAR),
    `informative` by modality of bags (instances that show the factors), and `settings` (JSON). What does not apply is
    left out.

    Raises
    ------
    RecipeError
        A key or value is wrong.
    """
    given = {} if modalities is None else {"modalities": dict(modalities)}
    s = Simulation(n=n, **given, **keys)
    samples = draw_samples(s)
    values = draw_values(s, samples)
    drivers = hide_entries(s, values.x, values.features)
    here = absences(s)
    ids, made = samples.obs.index, {}
    for m, x in values.x.items():
        rows = here[m].to_numpy()
        made[m] = ad.AnnData(x[rows], pd.DataFrame(index=ids[rows]), pd.DataFrame(index=values.features[m]))
    if s.images is not None:
        rows = here[IMAGE].to_numpy()
        pictures = draw_images(s, samples.factors.to_numpy())[rows]
        made[IMAGE] = ad.AnnData(obs=pd.DataFrame(index=ids[rows]), obsm={"image": pictures})
    truth = _truth(s, samples, values, drivers)
    for m in s.bags:
        drawn = draw_bags(s, m, samples, here[m].to_numpy())
        made[m], truth["loadings"] = drawn.adata, truth.get("loadings", {}) | {m: drawn.loadings}
        truth["informative"] = truth.get("informative", {}) | {m: drawn.informative}
        if drawn.shifts is not None:
            truth["site_effects"] = truth.get("site_effects", {}) | {m: drawn.shifts}
    return build(made, samples.obs, uns={"truth": truth})


def _truth(s: Simulation, samples: Samples, values: Values, drivers: pd.DataFrame) -> dict[str, Any]:
    """What was planted; empty parts are left out."""
    every: dict[str, Any] = {
        "factors": pd.concat([samples.factors, values.private], axis=1),
        "loadings": values.loadings,
        "pathways": values.pathways,
        "activities": values.activities,
        "links": values.links,
        "class_means": samples.class_means,
        "site_effects": values.shifts.get("site", {}),
        "batch_effects": values.shifts.get("batch", {}),
        "survival": samples.survival,
        "log_risk": samples.log_risk,
        "library": values.library,
        "missing": drivers,
        "settings": s.model_dump_json(),
    }
    return {k: v for k, v in every.items() if (v.size if isinstance(v, pd.DataFrame) else v)}


def write_cohort(mdata: md.MuData, folder: str | Path, format: Literal["h5mu", "csv"] = "h5mu") -> Path:
    """Write a simulated cohort as a folder, whole or not at all.

    Parameters
    ----------
    mdata
        What `simulate` returned.
    folder
        A folder that does not exist yet.
    format
        `h5mu`: `cohort.h5mu`, truth included. `csv`: a table per modality, `obs.csv`, images in `image.h5ad`, and the
        truth in the folder `truth`. Bags are feature files as TRIDENT leaves them, in a folder of their own. With
        either, pathways also stand in `pathways.gmt`.

    Returns
    -------
    The folder.

    Raises
    ------
    DataError
        The folder exists, or cannot be made.
    """
    folder = Path(folder)
    if folder.exists():
        raise DataError("exists already", where=str(folder), wanted="a new folder")
    with atomic(folder) as new:
        new.mkdir()
        truth = mdata.uns.get("truth", {})
        if format == "h5mu":
            write(mdata, new / "cohort.h5mu")
        else:
            _write_tables(mdata, new)
            _write_truth(truth, new / "truth")
        if "pathways" in truth:
            (new / "pathways.gmt").write_text(_gmt(truth["pathways"]), encoding="utf-8")
    return folder


def _write_tables(mdata: md.MuData, folder: Path) -> None:
    for m, part in mdata.mod.items():
        if is_bag(part):
            write_bags(part, folder / m)
        else:
            write(part, folder / (f"{m}.csv" if part.n_vars else f"{m}.h5ad"))
    write(mdata.obs, folder / "obs.csv")


def _write_truth(truth: Mapping[str, Any], folder: Path) -> None:
    """DataFrames as csv, those of a modality as `<what>_<modality>.csv`."""
    folder.mkdir()
    for name, value in truth.items():
        if name == "settings":
            (folder / "settings.json").write_text(json.dumps(json.loads(value), indent=2) + "\n", encoding="utf-8")
            continue
        parts = {name: value} if isinstance(value, pd.DataFrame) else {f"{name}_{m}": v for m, v in value.items()}
        for part, frame in parts.items():
            frame.to_csv(folder / f"{part}.csv", index=name not in LISTS)


def _gmt(pathways: pd.DataFrame) -> str:
    """Gene sets in the GMT format: name, description, genes, tab-separated."""
    sets = pathways.groupby("pathway", sort=False, observed=True)["feature"]
    return "".join("\t".join([str(name), "simulated", *map(str, genes)]) + "\n" for name, genes in sets)
