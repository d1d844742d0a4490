"""Every registered step, found by discovery: what holds for all of them."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.data.table import Table
from isthmus.errors import DataError, RecipeError
from isthmus.prepare import Pipeline
from isthmus.prepare import step as steps
from isthmus.prepare.step import describe, parse_step

N, F = 40, 12
DENSE_ONLY = {"clr", "one_hot", "m_score"}


@pytest.fixture(scope="module")
def side_files(tmp_path_factory):
    """Gene lengths and copy numbers for the M-score."""
    folder = tmp_path_factory.mktemp("m_score")
    rng = np.random.default_rng(5)
    genes, samples = names(), ids(3 * N)
    pd.DataFrame({"gene": genes, "length": rng.integers(300, 9000, F)}).to_csv(folder / "cds.csv", index=False)
    pd.DataFrame(rng.normal(size=(3 * N, F)), index=samples, columns=genes).to_csv(folder / "cna.csv")
    return {"cds": str(folder / "cds.csv"), "cna": str(folder / "cna.csv")}


@pytest.fixture(params=steps.names())
def entry(request, side_files):
    """A step as a recipe writes it, with options small enough for the table."""
    name = request.param
    options = {
        "clip": {"low": -1.0, "high": 4.0},
        "correlation": 5,
        "mad": 5,
        "top_variance": 5,
        "detected_in": 0.4,
        "m_score": side_files,
    }
    return {name: options[name]} if name in options else name


def names(f=F):
    return pd.Index([f"g{i:02d}" for i in range(f)], dtype=object)


def ids(n=N):
    return pd.Index([f"S{i:03d}" for i in range(n)], dtype=object)


def counts(seed=0, n=N, f=F, gaps=0.1):
    """Counts that vary by feature, with missing entries."""
    rng = np.random.default_rng(seed)
    x = rng.poisson(np.linspace(0.5, 6, f), size=(n, f)).astype(np.float32)
    x[rng.random((n, f)) < gaps] = np.nan
    return x


def table(x, features=None):
    return Table(x, names(x.shape[1]) if features is None else features, np.ones(x.shape[0], dtype=bool))


def sparse(x):
    """CSR with stored NaN for missing."""
    return sp.csr_matrix(x)


def fitted(entry, x=None):
    return Pipeline([entry]).fit(table(counts() if x is None else x), "rna", ids=ids())


def test_all_steps_of_the_methods_are_there():
    wanted = "log1p log2 normalise_total clip clr arcsinh standardise minmax robust maxabs top_variance mad"
    wanted += " nonzero_variance correlation detected_in one_hot m_score"
    assert set(wanted.split()) <= set(steps.names())


def test_the_inverse_gives_back_what_the_step_keeps(entry):
    pipeline = fitted(entry)
    x = counts()
    if not pipeline.steps[0].invertible:
        assert pipeline.steps[0].name in {"clip", "normalise_total", "clr", "m_score"}
        return
    back = pipeline.inverse(pipeline.transform(table(x), ids=ids()).x)
    kept = names().get_indexer(pipeline.features_inverse_)
    np.testing.assert_allclose(back, x[:, kept], rtol=2e-5, atol=2e-5)


def test_missing_passes_through(entry):
    x = counts()
    x[3] = np.nan
    pipeline = fitted(entry, x)
    out = pipeline.transform(table(x), ids=ids()).x
    assert np.isnan(out[3]).all()
    step = pipeline.steps[0]
    for column in range(out.shape[1]):
        missing = np.isnan(x[:, step.origins(np.array([column]))[0]])
        np.testing.assert_array_equal(np.isnan(out[:, column]), missing)


def test_a_sparse_table_gives_what_a_dense_one_gives(entry):
    name = entry if isinstance(entry, str) else next(iter(entry))
    x = counts()
    if name in DENSE_ONLY:
        with pytest.raises(RecipeError, match="dense"):
            fitted(entry, sparse(x))
        return
    dense, thin = fitted(entry, x), fitted(entry, sparse(x))
    assert dense.features_out_.equals(thin.features_out_)
    prepared = thin.transform(table(sparse(x)))
    assert not prepared.dense
    assert prepared.x.nnz <= np.count_nonzero(x)
    some = np.array([7, 3, 3, 0])
    np.testing.assert_allclose(prepared.rows(some), dense.transform(table(x)).rows(some), rtol=1e-5, atol=1e-5)


def test_state_comes_back_bit_for_bit(entry):
    pipeline = fitted(entry)
    arrays, meta = pipeline.get_state()
    again = Pipeline.from_state(arrays, meta)
    new = counts(1)
    np.testing.assert_array_equal(
        again.transform(table(new), ids=ids()).x, pipeline.transform(table(new), ids=ids()).x, strict=True
    )
    arrays_again, meta_again = again.get_state()
    assert meta_again == meta
    assert arrays_again.keys() == arrays.keys()
    assert all(arrays_again[k].tobytes() == v.tobytes() for k, v in arrays.items())


def test_transforming_new_samples_changes_nothing_learnt(entry):
    pipeline = fitted(entry)
    before = {k: v.copy() for k, v in pipeline.get_state()[0].items()}
    meta = pipeline.get_state()[1]
    train = pipeline.transform(table(counts()), ids=ids()).x
    pipeline.transform(table(counts(9, n=2 * N) * 3), ids=ids(2 * N))
    after, meta_after = pipeline.get_state()
    assert meta_after == meta
    assert all(np.array_equal(after[k], v, equal_nan=True) for k, v in before.items())
    np.testing.assert_array_equal(pipeline.transform(table(counts()), ids=ids()).x, train)


def test_a_sample_does_not_depend_on_its_neighbours(entry):
    pipeline, x = fitted(entry), counts(2)
    alone = pipeline.transform(table(x[:1]), ids=ids()[:1]).x
    np.testing.assert_array_equal(pipeline.transform(table(x), ids=ids()).x[:1], alone)


def test_order_of_features_is_no_matter(entry):
    order = np.random.default_rng(0).permutation(F)
    x, new = counts(), counts(3)
    pipeline = fitted(entry, x)
    out = pipeline.transform(table(new), ids=ids())
    shuffled = pipeline.transform(table(new[:, order], names()[order]), ids=ids())
    np.testing.assert_array_equal(shuffled.x, out.x)
    other = Pipeline([entry]).fit(table(x[:, order], names()[order]), "rna", ids=ids())
    assert set(other.features_out_) == set(pipeline.features_out_)
    again = other.transform(table(new), ids=ids())
    np.testing.assert_allclose(again.x[:, other.features_out_.get_indexer(out.features)], out.x, rtol=1e-6, atol=1e-6)


def test_constant_and_empty_columns_do_no_harm(entry):
    x = counts()
    x[:, 0], x[:, 1], x[:, 2] = np.nan, 0.1, 0.0
    x[1:, 4] = np.nan
    pipeline = fitted(entry, x)
    new = np.full((N, F), 2, np.float32)
    new[0] = np.nan
    out = pipeline.transform(table(new), ids=ids()).x
    assert not np.isinf(out).any()
    assert np.isfinite(out[1:]).all()
    assert np.isfinite(pipeline.inverse(out[1:])).any()


def test_a_step_keeps_the_type_of_the_table(entry):
    for dtype in (np.float32, np.float64):
        x = counts().astype(dtype)
        assert fitted(entry, x).transform(table(x), ids=ids()).x.dtype == dtype


def test_input_is_left_alone(entry):
    x, new = counts(), counts(4)
    kept, kept_new = x.copy(), new.copy()
    fitted(entry, x).transform(table(new), ids=ids())
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(new, kept_new)


def test_a_description_parses_to_the_same_step(entry):
    step = parse_step(entry)
    assert describe(parse_step(describe(step))) == describe(step)
    assert type(parse_step(describe(step))) is type(step)


def test_every_option_and_step_is_explained(entry):
    kind = type(parse_step(entry))
    assert kind.__doc__
    assert all(field.description for field in kind.Options.model_fields.values())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-6, 1.0, 1e4]), name=st.sampled_from(
    ["standardise", "robust", "minmax", "maxabs", "arcsinh"]))  # fmt: skip
def test_scaling_round_trip_over_magnitudes(seed, scale, name):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(15, 4)) * scale
    x[rng.random(x.shape) < 0.2] = np.nan
    pipeline = Pipeline([name]).fit(table(x))
    np.testing.assert_allclose(pipeline.inverse(pipeline.transform(table(x)).x), x, rtol=1e-9, atol=1e-9 * scale)


def test_a_negative_value_is_named():
    x = counts()
    x[5, 3] = -2
    for entry in ("log1p", "log2", "normalise_total"):
        for made in (x, sparse(x)):
            with pytest.raises(DataError, match=r"rna, \w+, sample 'S005', feature 'g03': a negative value; met -2"):
                fitted(entry, made)
    with pytest.raises(DataError, match="negative"):
        fitted("log1p").transform(table(x), ids=ids())


def test_an_infinite_value_is_named():
    x = counts()
    x[2, 1] = np.inf
    with pytest.raises(DataError, match=r"rna.*row 2, feature 'g01'"):
        fitted("standardise", x)


def test_a_misspelt_step_or_option_names_the_nearest():
    with pytest.raises(RecipeError, match=r"prepare\.rna\.1: no such step; met 'standardize'\ndid you mean 'standard"):
        steps.parse_steps(["log1p", "standardize"], "prepare.rna")
    with pytest.raises(RecipeError, match=r"prepare\.rna\.0\.clip\.lo: unknown key\ndid you mean 'low'"):
        steps.parse_steps([{"clip": {"lo": 1}}], "prepare.rna")
    with pytest.raises(RecipeError, match="takes no options"):
        parse_step({"log1p": 3})
    with pytest.raises(RecipeError, match=r"prepare\.top_variance\.k: "):
        parse_step({"top_variance": -1})
    with pytest.raises(RecipeError, match=r"prepare\.clip: has no bounds"):
        parse_step("clip")
    with pytest.raises(RecipeError, match=r"prepare\.minmax: high is not above low"):
        parse_step({"minmax": {"low": 2}})
    with pytest.raises(RecipeError, match="is not a list of steps"):
        steps.parse_steps("log1p", "prepare.rna")
    with pytest.raises(RecipeError, match="is not a step"):
        parse_step({"log1p": None, "log2": None})


def test_a_third_party_adds_a_step_by_one_class():
    @steps.step("test_halve")
    class Halve(steps.Step):
        """Half of it."""

        invertible = True

        def transform(self, x, *, ids=None):
            return x / 2

        def inverse_transform(self, x, *, columns=None):
            return x * 2

    try:
        x = counts()
        np.testing.assert_array_equal(Pipeline(["test_halve"]).fit(table(x)).transform(table(x)).x, x / 2)
        with pytest.raises(RecipeError, match="two steps have one name"):
            steps.step("log1p")(Halve)
    finally:
        steps._KNOWN.pop("test_halve")
