"""`isthmus apply MODEL DATA ... --task embed --out FILE`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from isthmus.errors import RecipeError

log = logging.getLogger("isthmus.apply")


class Task(StrEnum):
    """What to do with the samples."""

    embed = "embed"
    reconstruct = "reconstruct"
    impute = "impute"
    predict = "predict"
    translate = "translate"  # type: ignore[assignment]


def command(
    model: Annotated[
        Path, typer.Argument(help="a model directory or saved imputer, or a folder that holds one", metavar="MODEL")
    ],
    data: Annotated[list[str], typer.Argument(help="name=path for each modality, or one h5mu file", metavar="DATA...")],
    out: Annotated[Path, typer.Option(help=".csv, .parquet, .h5ad or .h5mu; no suffix: a folder of tables")],
    task: Annotated[Task, typer.Option(help="what to do")] = Task.embed,
    source: Annotated[str | None, typer.Option(help="encode this modality alone")] = None,
    target: Annotated[str | None, typer.Option(help="translate into this modality")] = None,
    obs: Annotated[
        Path | None, typer.Option(help="table of annotations, for what reads confounders or classes")
    ] = None,
    read: Annotated[
        list[str] | None,
        typer.Option(help="how to read a table, such as rna.separator=';'; may be repeated", metavar="NAME.KEY=VALUE"),
    ] = None,
    raw_ids: Annotated[bool, typer.Option("--raw-ids", help="put no ' before ids that begin like a formula")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a file that is there")] = False,
) -> None:
    """Apply a saved model to new samples; prints the path of what it wrote.

    Features may be in another order or missing, modalities may be absent: both are reported. Several tables from one
    task go to an h5mu file or to a folder. `predict` writes a table with what the model's heads say: probabilities of
    classes, values, log risks. The keys of --read are those of a recipe's data.read: separator, decimal,
    encoding, orientation, id_column, sheet, ... In text files a ' stands before ids and feature names that a
    spreadsheet would run as a formula; --raw-ids leaves them as they are.
    """
    if out.exists() and not overwrite:
        raise RecipeError("exists", where=str(out), hint="add --overwrite to replace it")
    _check(task, source, target)
    sources = _with_options(_sources(data), read or [])
    if (imputer := _imputer(model)) is not None:
        if task is not Task.impute:
            raise RecipeError("is a saved imputer", where=str(imputer), met=f"--task {task.value}", wanted="impute")
        found = _filled(imputer, sources, obs)
    else:
        found = _applied(model, sources, obs, task=task, source=source, target=target)
    found = _one_or_several(found, out) if task in (Task.reconstruct, Task.impute) else found
    typer.echo(_written(found, out, raw_ids=raw_ids, filled=task is Task.impute))


def _check(task: Task, source: str | None, target: str | None) -> None:
    """Refuse modalities that a task does not take, and a task without those that it does."""
    if task is Task.translate and (source is None or target is None):
        raise RecipeError("names no modality", where="--task translate", wanted="--source NAME --target NAME")
    if target is not None and task is not Task.translate:
        raise RecipeError("only --task translate has a target", where="--target", met=target)


def _applied(
    model: Path, sources: dict[str, Any] | str, obs: Path | None, *, task: Task, source: str | None, target: str | None
) -> Any:
    """What a saved model makes of the samples."""
    from isthmus.data.read import read as read_tables
    from isthmus.loading import load

    fitted = load(model / "model" if (model / "model").is_dir() else model)
    for name in sources if isinstance(sources, dict) else ():
        fitted.known(name)
    _refuse_bags(sources, [m.name for m in fitted.spec if m.kind != "bag"])
    mdata = read_tables(sources) if obs is None else read_tables(sources, str(obs))
    match task:
        case Task.embed:
            return fitted.embed(mdata, source)
        case Task.predict:
            return fitted.predict(mdata, source)
        case Task.translate:
            return fitted.translate(mdata, str(source), str(target))
        case Task.reconstruct:
            return fitted.reconstruct(mdata)
        case Task.impute:
            return fitted.impute(mdata)


def _one_or_several(tables: Any, out: Path) -> Any:
    """The cohort, or its one modality where the file holds a single table."""
    several = len(tables.mod) > 1 or out.suffix in (".h5mu", "")
    if several and out.suffix not in (".h5mu", ""):
        met = f"{len(tables.mod)} modalities"
        raise RecipeError("holds one table", where=str(out), met=met, wanted="an .h5mu file, or a folder (no suffix)")
    return tables if several else next(iter(tables.mod.values()))


def _written(found: Any, out: Path, *, raw_ids: bool, filled: bool) -> Path:
    """The path, when it holds what was found; a folder of filled tables holds bounds and what was imputed, too."""
    from isthmus.data.write import write

    if filled and (not out.suffix or out.is_dir()):
        from isthmus.impute.written import write_filled

        return write_filled(found, out, spreadsheet_safe=not raw_ids)
    if filled and out.suffix not in (".h5mu", ".h5ad", ".zarr"):
        log.warning("%s holds the values alone; an .h5mu file or a folder also holds lower, upper and imputed", out)
    return write(found, out, spreadsheet_safe=not raw_ids)


def _imputer(model: Path) -> Path | None:
    """The folder that `isthmus impute` saved, where that is what was named."""
    return next((p for p in (model, model / "imputer") if (p / "imputer.json").is_file()), None)


def _filled(folder: Path, sources: dict[str, Any] | str, obs: Path | None) -> Any:
    """New samples through a saved imputer; their other modalities come out as they went in."""
    from isthmus.data.read import read as read_tables
    from isthmus.impute.saved import impute, known_modalities, load_imputer

    fillers = load_imputer(folder)
    _refuse_bags(sources, known_modalities(fillers))
    return impute(read_tables(sources) if obs is None else read_tables(sources, str(obs)), fillers)


def _refuse_bags(sources: dict[str, Any] | str, tables: Iterable[str]) -> None:
    """Refuse a folder of bags for a table: it can be read, and then none of its ids would be another table's."""
    from isthmus.data.bag_files import feature_folder

    if isinstance(sources, str):
        return
    for name in (t for t in tables if t in sources):
        path = Path(sources[name]["path"])
        if path.is_dir() and feature_folder(path) is not None:
            raise RecipeError("is a folder of bags", where=f"{name}={path}", wanted="a table, as in training")


def _with_options(sources: dict[str, str] | str, given: list[str]) -> dict[str, Any] | str:
    """The sources with what `--read` says of them."""
    from isthmus.yaml_text import override

    tree: dict[str, Any] = {}
    for item in given:
        key, sign, value = item.partition("=")
        value = value.replace("\\t", "\t")
        tree = override(tree, key + sign + (json.dumps(value) if len(value) == 1 and not value.isalnum() else value))
    if isinstance(sources, str):
        if given:
            raise RecipeError("is for tables with a name", where="--read", met=given[0], hint=f"NAME={sources}")
        return sources
    for name, keys in tree.items():
        if not isinstance(keys, dict):
            raise RecipeError("is not NAME.KEY=VALUE", where="--read", met=f"{name}={keys}")
        if name not in sources:
            raise RecipeError("is of no table given", where="--read", met=name, wanted=" or ".join(sources))
    return {name: {**tree.get(name, {}), "path": path} for name, path in sources.items()}


def _sources(data: list[str]) -> dict[str, str] | str:
    """`name=path` items as a mapping, or the one path that was given."""
    if len(data) == 1 and ("=" not in data[0] or Path(data[0]).exists()):
        return data[0]
    pairs = [item.partition("=") for item in data]
    for (name, sign, path), item in zip(pairs, data, strict=True):
        if not (name and sign and path):
            raise RecipeError("is not name=path", where="DATA", met=item, hint="for example rna=rna.csv cnv=cnv.csv")
        if [n for n, _, _ in pairs].count(name) > 1:
            raise RecipeError("is given twice", where="DATA", met=name)
    return {name: path for name, _, path in pairs}
