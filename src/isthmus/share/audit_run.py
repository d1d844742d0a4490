"""`audit` on a run folder: its data are read again, its model attacked, the findings written beside each other."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import mudata as md
import numpy as np
import pandas as pd

from isthmus.data.cohort import take_samples
from isthmus.data.split import labels
from isthmus.data.split_files import read_split
from isthmus.errors import DataError, InputError, ModelError
from isthmus.experiment import cohort, timed
from isthmus.folder import LOG, RECIPE, growing
from isthmus.loading import load
from isthmus.recipe import Recipe, load_recipe, versions
from isthmus.report import page
from isthmus.report.audit import AuditResults, audit_page
from isthmus.share.audit_report import Report
from isthmus.share.auditing import REFITS, Subject, attack, check_refits

__all__ = ["audit_run", "cost", "subject", "write"]

log = logging.getLogger("isthmus.audit")
FITTED = re.compile(r"fit (all|fold\d+): ([\d.]+) s$", re.MULTILINE)


def audit_run(
    run: str | Path, out: str | Path, *, refits: int = REFITS, seed: int = 0, overwrite: bool = False
) -> tuple[Report, Path]:
    """Attack the model of a run folder, and write `audit.json` and `report.html`.

    Parameters
    ----------
    run
        A folder that `isthmus run` left; its data must still be where its recipe says.
    out
        Where the findings go; the folder appears when all is done.
    refits, seed
        See `isthmus.share.auditing.audit`.
    overwrite
        Replace an audit that is there.

    Raises
    ------
    ModelError
        `run` is no run folder.
    DataError
        Its data are no longer there, or are others.
    """
    check_refits(refits)
    attacked = subject(run)
    recipe = _recipe(Path(run))
    with growing(Path(out), recipe.text(), overwrite=overwrite) as folder:
        with timed("attack"):
            report = attack(attacked, refits=refits, seed=seed)
        write(report, folder, name=Path(run).resolve().name, recipe=recipe.text())
    return report, Path(out) / "report.html"


def write(report: Report, folder: Path, *, name: str, recipe: str) -> None:
    """`audit.json`, and `report.html` with its tables and figures, into a folder that is there."""
    text = json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n"
    (folder / "audit.json").write_text(text, encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(_metrics(report), indent=1) + "\n", encoding="utf-8")
    results = AuditResults(
        name=f"Audit of {name}", subtitle=_subtitle(report), verdict=report.words, remedies=report.remedies,
        membership=report.membership, attributes=report.attributes, features=report.features, scores=report.scores,
        curves={k: (c.fpr, c.tpr) for k, c in report.curves.items()}, privacy=report.privacy, recipe=recipe,
        versions=versions(),
    )  # fmt: skip
    page.write(audit_page(results), folder)


def _subtitle(report: Report) -> str:
    return f"{report.model}: {report.train} training samples, {report.held_out} held out, {report.refits} refits"


def _metrics(report: Report) -> dict[str, float | None]:
    """The numbers under flat names."""
    flat: dict[str, float | None] = {}
    for row in report.to_dict()["membership"]:
        place = f"membership/{row['target'].split()[-1]}/{row['attack'].replace(' ', '_')}"
        flat |= {f"{place}/{k}": v for k, v in row.items() if isinstance(v, float) or v is None}
    for row in report.to_dict()["attributes"]:
        flat[f"attribute/{row['annotation']}/{row['metric']}"] = row["embedding"]
    for row in report.to_dict()["features"]:
        flat[f"features/{row['modality']}/matched"] = row["matched"]
    return flat


def subject(run: str | Path) -> Subject:
    """The model of a run folder and its samples, read again.

    Raises
    ------
    ModelError
        It is no run folder.
    DataError
        The data are no longer there, or are not those that the model was fitted on.
    """
    folder = Path(run)
    recipe = _recipe(folder)
    fitted = load(folder / "model")
    try:
        mdata = cohort(recipe)
    except InputError as error:
        hint = "an audit attacks the model with the samples it was trained on: put the data back where they were"
        raise DataError(f"the data of this run cannot be read again: {error.what}", where=error.where or str(run),
                        met=error.met, hint=hint) from error  # fmt: skip
    splits = labels(mdata.obs, recipe.data.split)
    _check_same(folder, splits, mdata)
    keys = {
        "model": recipe.model, "prepare": recipe.prepare, "likelihood": recipe.likelihood, "training": recipe.training,
    }  # fmt: skip
    keys |= {k: v for k in ("heads", "confounders") if (v := getattr(recipe, k, None))}
    group = recipe.data.split.group
    if len(splits) > 1:
        return Subject(fitted, mdata, None, group=group, keys=keys, whole=mdata)
    parts = {p: take_samples(mdata, s) for p in ("train", "valid", "test") if len(s := _ids(splits[0], p))}
    if "test" not in parts:
        return Subject(fitted, parts["train"], None, parts.get("valid"), group, mdata, keys)
    return Subject(fitted, parts["train"], parts["test"], parts.get("valid"), group, mdata, keys)


def _ids(split: pd.Series, part: str) -> np.ndarray:
    return np.asarray(split.index[split == part])


def _recipe(folder: Path) -> Recipe:
    if not (folder / RECIPE).is_file() or not (folder / "model" / "manifest.json").is_file():
        raise ModelError("is not a run folder", where=str(folder.absolute()), wanted="a folder that isthmus run left")
    return load_recipe(folder / RECIPE)


def _check_same(folder: Path, splits: list[pd.Series], mdata: md.MuData) -> None:
    """The samples and their parts are those that the run wrote down."""
    file = folder / "tables" / "split.csv"
    if not file.is_file():
        return
    then = read_split(file)
    now = splits[0] if len(splits) == 1 else pd.Series("", index=mdata.obs_names)
    same = set(then.index.astype(str)) == set(now.index.astype(str))
    if same and len(splits) == 1:
        same = bool((then.reindex(now.index).astype(str) == now.astype(str)).all())
    if not same:
        raise DataError("the data are not those that the run was fitted on: samples or parts differ", where=str(folder),
                        met=f"{len(now)} samples", wanted=f"the {len(then)} of {file.name}")  # fmt: skip


def cost(run: str | Path, refits: int) -> str:
    """What refits will cost, told beforehand: their number, and the time the run's own training took.

    Raises
    ------
    RecipeError
        Refits go in pairs.
    ModelError
        `run` is no run folder.
    """
    check_refits(refits)
    _recipe(Path(run))
    if not refits:
        return "no refits: the likelihood-ratio attack is left out"
    file = Path(run) / LOG
    found = FITTED.findall(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else []
    if not found:
        return f"{refits} refits on halves of the samples"
    each = float(found[-1][1])
    most = refits * each
    return f"{refits} refits on halves of the samples; the model's own fit took {each:.0f} s: {most:.0f} s at most"
