"""A commented recipe with every key, its default and its meaning, printed from the classes that declare the keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from isthmus import registry
from isthmus.comparing_keys import Comparison, Rows
from isthmus.config import members
from isthmus.data.split import Split
from isthmus.evaluating_keys import Evaluate
from isthmus.prepare import step as steps
from isthmus.supervising_keys import Confounders, Head
from isthmus.training.settings import Training
from isthmus.tuning_keys import Tuning
from isthmus.yaml_text import dump_yaml

__all__ = ["commented", "data_section", "keys_of", "skeleton", "steps_known"]

DATA = """\
# A recipe for isthmus {verb}. Every key is here with its default; delete what you leave as it is.
# Relative paths start at the folder of this file; ${{NAME:-default}} takes an environment variable.

data:
  # modality: file (csv, tsv, parquet, xlsx, h5ad, zarr), or {{path: ..., orientation: ..., separator: ..., ...}};
  # or one h5mu file. Instead of read: `simulate: {{n: 200, modalities: {{rna: 500, protein: 60}}}}`.
  read:
    rna: rna.parquet
    cnv: cnv.csv.gz
  # table of annotations, one row a sample
  obs: clinical.csv
"""
PREPARE = "prepare:\n  rna: [{top_variance: 2000}, standardise]\n  cnv: [standardise]\n"


def skeleton(model: str, verb: str = "run") -> str:
    """The recipe of an architecture, as YAML with comments, for `run`, `compare` or `tune`.

    Raises
    ------
    RecipeError
        There is no such architecture.
    """
    kind = registry.settings(model)
    parts = [
        data_section(verb, fractions=[0.6, 0.2, 0.2]),
        "# Steps per modality, fitted on train, in order; [standardise] where a modality is not named. There are:",
        steps_known() + PREPARE,
        "# gaussian (default), bernoulli, poisson, nb or zinb, by modality",
        "likelihood: {rna: gaussian, cnv: gaussian}\n",
        "# name: what is predicted from the embedding; a head named as a column of obs reads that column. Its keys,\n"
        "# of which those of other kinds may not be given:\n"
        f"heads: {{}}\n#  subtype:\n{commented(keys_of(Head(kind='class'), 4))}",
        "# columns of obs that the embedding should not tell of\n"
        f"confounders: null\n#  with these keys:\n{commented(keys_of(Confounders(columns=('site',)), 4))}",
        f"# {(kind.__doc__ or '').strip().splitlines()[0]}\nmodel:\n  name: {model}\n" + keys_of(kind(), 2),
        "training:\n" + keys_of(Training(), 2),
        "evaluate:\n" + _sections(Evaluate()),
    ]
    if verb == "compare":
        parts.append("compare:\n" + keys_of(Comparison(), 2, within={"rows": Rows()}))
    if verb == "tune":
        parts.append("tune:\n" + keys_of(Tuning(), 2))
    return "\n".join(parts)


def data_section(verb: str, **split: Any) -> str:
    """The head of a recipe and its section `data`; without a split where no key of it is given."""
    return DATA.format(verb=verb) + (f"  split:\n{keys_of(Split(), 4, **split)}" if split else "")


def steps_known() -> str:
    """The steps of preparation, a comment each."""
    return "".join(f"#   {n}: {(steps.get(n).__doc__ or '').strip().splitlines()[0]}\n" for n in steps.names())


def commented(text: str) -> str:
    """Keys that stand in the recipe as a comment."""
    return "".join(f"#{line}\n" for line in text.splitlines())


def keys_of(settings: BaseModel, indent: int, *, within: Mapping[str, BaseModel] | None = None, **instead: Any) -> str:
    """A line of comment and a line of `key: value` per key.

    Parameters
    ----------
    settings
        The keys with their defaults.
    indent
        Blanks before each line.
    within
        Key that is null by default to the settings that it may hold: these follow as a comment.
    **instead
        Values in the place of defaults.
    """
    pad, lines = " " * indent, []
    nested = {k: v.model_dump(mode="json", exclude_unset=True) for k, v in settings if isinstance(v, BaseModel)}
    values = settings.model_dump(mode="json") | nested | instead
    for key, field in type(settings).model_fields.items():
        lines += [f"{pad}# {_meaning(key, field)}", f"{pad}{key}: {_inline(values[key])}"]
        if within and key in within:
            lines += [f"#{pad}  with these keys:", *commented(keys_of(within[key], indent + 2)).splitlines()]
    return "\n".join(lines) + "\n"


def _sections(settings: BaseModel) -> str:
    """Keys that hold settings of their own, each with these."""
    lines: list[str] = []
    for key, field in type(settings).model_fields.items():
        inner, lines = getattr(settings, key), [*lines, f"  # {_meaning(key, field)}"]
        if inner is None or not type(inner).model_fields:
            lines.append(f"  {key}: {'null' if inner is None else '{}'}")
        else:
            lines.append(f"  {key}:\n{keys_of(inner, 4)}".rstrip())
    return "\n".join(lines) + "\n"


def _meaning(key: str, field: FieldInfo) -> str:
    """What a key means and which words it takes, on one line."""
    meaning = " ".join((field.description or key).split())
    choices = [str(c) for m in members(field.annotation) if get_origin(m) is Literal for c in get_args(m)]
    if not choices or all(re.search(rf"\b{re.escape(c)}\b", meaning) for c in choices):
        return meaning
    return f"{meaning} Choices: {', '.join(dict.fromkeys(choices))}."


def _inline(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, dict) and value:
        return f"{{{', '.join(f'{k}: {_inline(v)}' for k, v in value.items())}}}"
    return dump_yaml({"key": value}).strip().removeprefix("key: ")
