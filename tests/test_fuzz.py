"""What reads other people's files survives whatever is in them: our own errors or nothing, and no hang.

`tests/fuzz.py` has the targets and runs them at length; here they run for a bounded number of inputs.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fuzz
import isthmus as ist
from isthmus.errors import IsthmusError
from isthmus.recipe import parse_recipe
from isthmus.yaml_text import load_yaml
from test_store import frozen, put

BOUNDED = settings(
    deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["", "nan", "1e9", "../..", "~root", "${X}", "vae", "rna", "standardise", "\ud800", 10**400, -1]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def valid(folder):
    """A valid file of every kind."""
    (folder / "whole.yaml").write_text(fuzz.RECIPE)
    return fuzz.corpus(folder)


def test_the_targets_read_what_is_valid(valid, folder):
    """Otherwise the fuzzing would stop at the door."""
    for kind, content in valid.items():
        assert fuzz.try_table(kind, content, folder).startswith("read"), kind
    assert fuzz.try_recipe(fuzz.RECIPE.encode(), folder).startswith("read+read")


def test_the_harness_notices(folder):
    """An exception of another kind, a message of many lines, and a crash below Python."""
    import os
    import signal

    for bad in (KeyError("x"), IsthmusError("a", hint="b" * 3000)):

        def fail(error=bad):
            raise error

        with pytest.raises((KeyError, AssertionError)):
            fuzz.outcome(fail)
        with pytest.raises(AssertionError, match="!"):
            fuzz.apart(lambda fail=fail: fuzz.outcome(fail))
    assert fuzz.apart(lambda: os.kill(os.getpid(), signal.SIGSEGV)) == "crash"


@pytest.mark.slow
@settings(BOUNDED, max_examples=250)
@given(seed=st.integers(0, 2**32 - 1))
def test_mutated_files_and_yaml_like_text(valid, folder, seed):
    _, said = fuzz.one(random.Random(seed), valid, folder)
    assert set(said.split("+")) <= {"read", "DataError", "RecipeError", "InputError", "MissingExtraError", "crash"}


@settings(BOUNDED, max_examples=60)
@given(kind=st.sampled_from(fuzz.KINDS), content=st.binary(max_size=300))
def test_random_bytes(folder, kind, content):
    assert "crash" not in fuzz.try_table(kind, content, folder)


@settings(BOUNDED, max_examples=300)
@given(text=st.text(st.sampled_from(list("ab:-{}[],#&*!|>'\"%@` \n\t~0.e?")), max_size=60) | st.text(max_size=60))
def test_yaml_of_random_characters(text):
    assert fuzz.outcome(lambda: load_yaml(text, "r")) in ("read", "RecipeError")


def places(tree, path=()):
    """Every place in a tree of mappings and lists."""
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def changed(tree, path, value, key=None):
    """The tree with another value at a place, or with one more key there."""
    tree = copy.deepcopy(tree)
    if not path:
        return value if key is None else {**tree, key: value}
    at = tree
    for part in path[:-1]:
        at = at[part]
    inner = at[path[-1]]
    at[path[-1]] = {**inner, key: value} if key is not None and isinstance(inner, dict) else value
    return tree


WHOLE = load_yaml(fuzz.RECIPE, "r")


@settings(BOUNDED, max_examples=600)
@given(path=st.sampled_from(list(places(WHOLE))), value=VALUES, key=st.none() | st.text(max_size=6))
def test_recipes_with_any_value_at_any_place(path, value, key):
    tree = changed(WHOLE, path, value, key)
    tree = tree if isinstance(tree, dict) else {"data": tree}
    said = fuzz.outcome(lambda: parse_recipe(tree).text())
    assert said in ("read", "RecipeError", "DataError", "MissingExtraError")


DESCRIPTION = json.loads((frozen(1) / "model/model.json").read_text())


@settings(BOUNDED, max_examples=300)
@given(path=st.sampled_from(sorted(places(DESCRIPTION), key=str)), value=VALUES)
def test_descriptions_of_models_with_any_value_at_any_place(folder, path, value):
    """With the right sum in the manifest, as somebody who tampers would write it."""
    model = folder / "model"
    shutil.rmtree(model, ignore_errors=True)
    shutil.copytree(frozen(1) / "model", model)
    put(model, "model.json", json.dumps(changed(DESCRIPTION, path, value)).encode())
    said = fuzz.outcome(lambda: ist.load(model))
    assert said in ("read", "ModelError", "RecipeError", "DataError")


def test_make_fuzz_runs_the_same():
    make = (Path(__file__).parents[1] / "Makefile").read_text()
    assert "python tests/fuzz.py $(SECONDS)" in make
