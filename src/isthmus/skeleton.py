"""A commented recipe with every key, its default and its meaning, printed from the classes that declare the keys."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from isthmus import registry
from isthmus.config import members
from isthmus.data.split import Split
from isthmus.evaluating_keys import Evaluate
from isthmus.prepare import step as steps
from isthmus.supervising_keys import Confounders, Head
from isthmus.training.settings import Training
from isthmus.tuning_keys import Tuning
from isthmus.yaml_text import dump_yaml

HEAD = """\
# A recipe for isthmus run. Every key is here with its default; delete what you leave as it is.
# Relative paths start at the folder of this file; ${NAME:-default} takes an environment variable.

data:
  # modality: file (csv, tsv, parquet, xlsx, h5ad, zarr), or {path: ..., orientation: ..., separator: ..., ...};
  # or one h5mu file. Instead of read: `simulate: {n: 200, modalities: {rna: 500, protein: 60}}`.
  read:
    rna: rna.parquet
    cnv: cnv.csv.gz
  # table of annotations, one row a sample
  obs: clinical.csv
  split:
"""


def skeleton(model: str) -> str:
    """The recipe of an architecture, as YAML with comments.

    Raises
    ------
    RecipeError
        There is no such architecture.
    """
    kind = registry.settings(model)
    known = [f"#   {n}: {(steps.get(n).__doc__ or '').strip().splitlines()[0]}" for n in steps.names()]
    parts = [
        HEAD + _keys(Split(), 4, fractions=[0.6, 0.2, 0.2]),
        "# Steps per modality, fitted on train, in order; [standardise] where a modality is not named. There are:",
        *known,
        "prepare:\n  rna: [{top_variance: 2000}, standardise]\n  cnv: [standardise]\n",
        "# gaussian (default), bernoulli, poisson, nb or zinb, by modality",
        "likelihood: {rna: gaussian, cnv: gaussian}\n",
        "# name: what is predicted from the embedding; a head named as a column of obs reads that column. Its keys,\n"
        "# of which those of other kinds may not be given:\n"
        f"heads: {{}}\n#  subtype:\n{_commented(_keys(Head(kind='class'), 4))}",
        "# columns of obs that the embedding should not tell of\n"
        f"confounders: null\n#  with these keys:\n{_commented(_keys(Confounders(columns=('site',)), 4))}",
        f"# {(kind.__doc__ or '').strip().splitlines()[0]}\nmodel:\n  name: {model}\n" + _keys(kind(), 2),
        "training:\n" + _keys(Training(), 2),
        "evaluate:\n" + _sections(Evaluate()),
        "# for isthmus tune alone\ntune:\n" + _keys(Tuning(), 2),
    ]
    return "\n".join(parts)


def _commented(text: str) -> str:
    """Keys that stand in the recipe as a comment."""
    return "".join(f"#{line}\n" for line in text.splitlines())


def _keys(settings: BaseModel, indent: int, **instead: Any) -> str:
    """A line of comment and a line of `key: value` per key."""
    pad, lines = " " * indent, []
    values = settings.model_dump(mode="json") | instead
    for key, field in type(settings).model_fields.items():
        lines += [f"{pad}# {_meaning(key, field)}", f"{pad}{_one_line(key, values[key])}"]
    return "\n".join(lines) + "\n"


def _sections(settings: BaseModel) -> str:
    """Keys that hold settings of their own, each with these."""
    lines: list[str] = []
    for key, field in type(settings).model_fields.items():
        inner, lines = getattr(settings, key), [*lines, f"  # {_meaning(key, field)}"]
        if inner is None or not type(inner).model_fields:
            lines.append(f"  {key}: {'null' if inner is None else '{}'}")
        else:
            lines.append(f"  {key}:\n{_keys(inner, 4)}".rstrip())
    return "\n".join(lines) + "\n"


def _meaning(key: str, field: FieldInfo) -> str:
    """What a key means and which words it takes, on one line."""
    meaning = " ".join((field.description or key).split())
    choices = [str(c) for m in members(field.annotation) if get_origin(m) is Literal for c in get_args(m)]
    if not choices or all(re.search(rf"\b{re.escape(c)}\b", meaning) for c in choices):
        return meaning
    return f"{meaning} Choices: {', '.join(dict.fromkeys(choices))}."


def _one_line(key: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{key}: [{', '.join(str(v) for v in value)}]"
    return dump_yaml({key: value}).strip()
