"""Fuzzing guided by coverage, where atheris is installed: the recipe parser and the readers of text.

`make fuzz` runs it after `tests/fuzz.py`. Arguments go to libFuzzer, such as `-max_total_time=600`.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["isthmus", "yaml"]):
    from isthmus.data.split_files import read_folds
    from isthmus.data.tables import read_grid, read_obs
    from isthmus.recipe import load_recipe
    from isthmus.yaml_text import load_yaml

import fuzz
from isthmus.data.source import Source

FOLDER = Path(tempfile.mkdtemp(prefix="isthmus-guided-"))


def once(content: bytes) -> None:
    """The first byte chooses the target."""
    target, content = content[:1], content[1:]
    path = FOLDER / ("x.csv" if target > b"\x80" else "recipe.yaml")
    path.write_bytes(content)
    if target > b"\x80":
        source = Source(path=str(path))
        for read in (lambda: read_grid(path, source), lambda: read_obs(path, source), lambda: read_folds(path)):
            fuzz.outcome(read)
    else:
        fuzz.outcome(lambda: load_yaml(content, "r"))
        fuzz.outcome(lambda: load_recipe(path))


if __name__ == "__main__":
    logging.getLogger("isthmus").addHandler(logging.NullHandler())
    logging.getLogger("isthmus").propagate = False
    seeds = FOLDER / "seeds"
    seeds.mkdir()
    (seeds / "recipe").write_bytes(b"\x00" + fuzz.RECIPE.encode())
    (seeds / "table").write_bytes(b"\xff" + b'id,a,"b"\ns1,1,NA\ns2,-2e3,\n')
    (seeds / "split").write_bytes(b"\xff" + b"sample,split\ns1,train\ns2,test\n")
    atheris.Setup([sys.argv[0], *sys.argv[1:], str(seeds)], once)
    atheris.Fuzz()
