"""YAML is read as written: a table of scalars, a table of refusals, and round trips."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import RecipeError
from isthmus.yaml_text import dump_yaml, load_yaml, override


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("-2.5e+1", -25.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("12", 12),
        ("-7", -7),
        ("0", 0),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2020-01-01", "2020-01-01"),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("off", "off"),
        ("y", "y"),
        ("NA", "NA"),
        ("nan", "nan"),
        ("true", True),
        ("false", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("'12'", "12"),
        ('"true"', "true"),
        ("[1, a, 1e2]", [1, "a", 100.0]),
        ("{b: 1}", {"b": 1}),
    ],
)
def test_scalars(text, value):
    found = load_yaml(f"a: {text}\n", "recipe.yaml")["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text():
    assert load_yaml("1: a\nno: b\n007: c\nnull: d\n", "r") == {"1": "a", "no": "b", "007": "c", "null": "d"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("- a\n- b\n", "not a mapping"),
        ("just text", "not a mapping"),
        ("a: 1\nb: 2\na: 3\n", "r.yaml, line 3, column 1: has one key twice"),
        ("a: {x: 1, x: 2}\n", "line 1, column 11: has one key twice"),
        ("a: &x 1\nb: 2\n", "line 1, column 4: uses an anchor"),
        ("b: 1\na: *x\n", "line 2, column 4: uses an anchor"),
        ("a: !!python/object:os.system x\n", "line 1, column 4: uses a tag"),
        ("a: !!str 1\n", "uses a tag"),
        ("a: .nan\n", "not a finite"),
        ("a: -.inf\n", "not a finite"),
        ("a: 1e999\n", "not a finite"),
        ("a: " + "9" * 400, "too long a number"),
        ("a: " + "[" * 25 + "]" * 25, "nested too deeply"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: [1, 2\nb: 3\n", "r.yaml, line 2"),
        ("a: b: c\n", "r.yaml, line 1"),
        ("a: 'open\n", "not YAML"),
        ("\ta: 1\n", "not YAML"),
        ("a: 1\n---\nb: 2\n", "more than one document"),
        ("? [a]\n: 1\n", "key that is no text"),
        ("a: '\x01'\n", "not YAML"),
        (b"\xff\xfe\x00a", "not text in UTF-8"),
        (b"a: caf\xe9", "not text in UTF-8"),
        (b"a\x00: 1", "binary"),
        ("a: " + "x" * (1 << 20), "too large"),
    ],
)
def test_refused_on_one_line(text, said):
    with pytest.raises(RecipeError) as error:
        load_yaml(text, "r.yaml")
    assert said in str(error.value).splitlines()[0]
    assert str(error.value).startswith("r.yaml")
    assert len(str(error.value)) < 400


def test_byte_order_mark_and_windows_line_ends():
    assert load_yaml(b"\xef\xbb\xbfa: 1\r\nb: no\r\n", "r") == {"a": 1, "b": "no"}


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.sampled_from(["no", "1e5", "007", "~", "null", "=", "<<", "2020-01-01", "1_0", "0x1", ".nan", "1:30", "- a"]),
)
keys = st.text(max_size=200)
trees = st.recursive(scalars, lambda t: st.lists(t, max_size=4) | st.dictionaries(keys, t, max_size=4), max_leaves=12)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keys, trees, min_size=1, max_size=4))
def test_round_trip(tree):
    assert load_yaml(dump_yaml(tree), "r") == tree


@pytest.mark.parametrize("text", ["no", "1e5", "007", "true", "null", "~", "1.5", "2020-01-01", "off"])
def test_look_alikes_are_quoted_for_other_readers(text):
    assert dump_yaml({"a": text}) == f"a: '{text}'\n"


@pytest.mark.parametrize("bad", [math.nan, math.inf, object(), {1, 2}])
def test_dump_refuses_what_would_not_come_back(bad):
    with pytest.raises(RecipeError, match=r"a\.b: cannot be written"):
        dump_yaml({"a": {"b": bad}})


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        ("model.latent=16", {"model": {"name": "vae", "latent": 16}, "seed": 0}),
        ("model.beta=1e-3", {"model": {"name": "vae", "latent": 8, "beta": 0.001}, "seed": 0}),
        ("a.b=[1,2]", {"model": {"name": "vae", "latent": 8}, "seed": 0, "a": {"b": [1, 2]}}),
        ("a.b.c={x: no}", {"model": {"name": "vae", "latent": 8}, "seed": 0, "a": {"b": {"c": {"x": "no"}}}}),
        ("seed=", {"model": {"name": "vae", "latent": 8}, "seed": None}),
        ("out=a=b", {"model": {"name": "vae", "latent": 8}, "seed": 0, "out": "a=b"}),
    ],
)
def test_override(item, wanted):
    tree = {"model": {"name": "vae", "latent": 8}, "seed": 0}
    assert override(tree, item) == wanted
    assert tree == {"model": {"name": "vae", "latent": 8}, "seed": 0}


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("model.latent", "is not an override"),
        ("=3", "is not an override"),
        ("model..latent=3", "is not an override"),
        ("model.latent.x=3", "model.latent: has no keys below it"),
        ("model.latent=[1", "model.latent, line "),
        ("model.latent=!!int 3", "uses a tag"),
    ],
)
def test_override_refuses(item, said):
    with pytest.raises(RecipeError) as error:
        override({"model": {"latent": 8}}, item)
    assert said in str(error.value)
