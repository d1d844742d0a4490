"""Where a modality comes from: settings of one source, and paths with variables in them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from isthmus.config import Config, validate
from isthmus.errors import DataError, RecipeError, closest

__all__ = ["Source", "existing", "expand", "source_of"]

Orientation = Literal["samples_in_rows", "samples_in_columns"]
VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::-(?P<default>[^}]*))?\}|(?P<bare>\w+))")


class Source(Config):
    """One file, and how to read it. A path alone stands for `{path: ...}`."""

    wanted: ClassVar[str] = "a file, or {path: FILE}"
    path: str = Field(min_length=1)
    """File; `~`, `${NAME}` and `${NAME:-default}` are expanded. A relative path starts at the recipe's folder."""
    orientation: Orientation | None = None
    """Where the samples are. None: told by ids that the obs table or the other modalities have too."""
    separator: str | None = Field(None, min_length=1, max_length=1)
    """Character between the cells of a text file. None: told by the first lines."""
    decimal: Literal[".", ","] = "."
    """Decimal mark of a text file."""
    encoding: str = "utf-8"
    """Encoding of a text file, such as latin-1."""
    id_column: str | None = None
    """Column that holds the row labels. None: the first one, or the index that a parquet file names."""
    drop: tuple[str, ...] = ()
    """Columns that are no features."""
    duplicates: Literal["refuse", "first"] = "refuse"
    """What to do with a second row of one sample id: refuse the table, or keep the first row."""
    sheet: str | int = 0
    """Sheet of an Excel file, by name or number from 0."""
    layer: str | None = None
    """Layer of an h5ad file to take instead of X."""
    obsm: str | None = None
    """Matrix, or images, in obsm of an h5ad file to take instead of X."""
    names: str | None = None
    """Key in uns of an h5ad file that holds the feature names of `obsm`."""
    modality: str | None = None
    """Modality of an h5mu file to take. None: the only one."""
    array: str | None = None
    """Array of an npz file that holds the images. None: the only one of three or four dimensions."""
    ids: str | None = None
    """Array of an npz file that holds the sample ids (None: the only one), or a text file beside an npy file."""

    bag_of: str | None = None
    """Column that says of which sample a row is an instance, such as the donor of a cell: makes bags of the rows."""
    slides: str | None = None
    """For a folder of slides' features: table of the sample (second column, `sample` or `patient`) of each slide."""
    id_pattern: str | None = None
    """For a folder of slides' features: regular expression for the sample in a file's name (its first group)."""
    id_length: int | None = Field(None, ge=1)
    """For a folder of slides' features: leading characters of a file's name that are the sample (12: TCGA patients)."""

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        """A path alone."""
        return {"path": str(value)} if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _agree(self) -> Source:
        if self.layer is not None and self.obsm is not None:
            raise ValueError("layer and obsm exclude each other")
        if self.names is not None and self.obsm is None:
            raise ValueError("names is for the features of obsm, which is not given")
        if sum(key is not None for key in (self.slides, self.id_pattern, self.id_length)) > 1:
            raise ValueError("slides, id_pattern and id_length exclude each other")
        if self.separator is not None and self.separator in '\r\n"':
            raise ValueError("separator cannot be a quote or line end")
        return self


def source_of(value: str | Path | Source | Mapping[str, Any], defaults: Mapping[str, Any], *, where: str) -> Source:
    """Settings from what a user gives for one source; `defaults` fill the keys that it does not set."""
    if isinstance(value, str | Path):
        value = {"path": str(value)}
    keys = value.model_dump(exclude_unset=True) if isinstance(value, Source) else dict(value)
    return validate(Source, {**defaults, **keys}, where=where)


def expand(path: str | Path, *, root: Path | None = None, where: str | None = None) -> Path:
    """A path with its variables and `~` put in; a relative one starts at `root`.

    Raises
    ------
    RecipeError
        A variable is not set and has no default.
    """

    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"]
        if (found := os.environ.get(name) or match["default"]) is not None:
            return found
        hint = f"set it, or write ${{{name}:-default}}"
        raise RecipeError("an environment variable is not set", where=where, met=name, hint=hint)

    try:
        full = Path(VARIABLE.sub(value, str(path))).expanduser()
    except RuntimeError:
        raise RecipeError("has no home folder to expand", where=where, met=str(path)) from None
    return full if root is None else root / full


def existing(path: Path) -> Path:
    """The path, or an error that names the absolute path tried and the nearest name beside it."""
    try:
        if path.exists():
            return path
    except (OSError, ValueError):
        raise DataError("is no path", where=str(path)[:200]) from None
    path = path.absolute()
    folder = next(p for p in path.parents if p.is_dir())
    if folder != path.parent:
        raise DataError("there is no such file", where=str(path), hint=f"the folder ends at {folder}")
    hint = closest(path.name, [p.name for p in folder.iterdir()], most=0)
    raise DataError("there is no such file", where=str(path), hint=hint)
