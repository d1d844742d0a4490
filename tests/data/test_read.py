"""Reading: values and ids as written, whatever the format; what could mean two things is refused on one line."""

from __future__ import annotations

import gzip
import logging
import warnings

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import isthmus.data.read
from isthmus.data import accepted
from isthmus.data.cohort import build, combinations
from isthmus.data.read import Source, read
from isthmus.data.source import expand
from isthmus.data.write import write
from isthmus.errors import DataError, InputError, RecipeError


def table(mdata: md.MuData, name: str) -> pd.DataFrame:
    adata = mdata.mod[name]
    x = adata.X.toarray() if sp.issparse(adata.X) else adata.X
    return pd.DataFrame(x, index=list(adata.obs_names), columns=list(adata.var_names))


def put(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


# --- values and ids as written


def test_ids_stay_text(tmp_path):
    path = put(
        tmp_path, "x.csv", "id,01,NA,no,1e5,null\n007,1,2,3,4,5\nNA,1,2,3,4,5\nno,1,2,3,4,5\n1e5,6,,NA, nan ,#N/A\n"
    )
    found = table(read({"x": path}), "x")
    assert list(found.index) == ["007", "NA", "no", "1e5"]
    assert list(found.columns) == ["01", "NA", "no", "1e5", "null"]
    assert found.loc["1e5"].isna().tolist() == [False, True, True, True, True]
    assert found.to_numpy().dtype == np.float32


def test_whole_numbers_that_float32_cannot_hold_stay_whole(tmp_path):
    path = put(tmp_path, "x.csv", "id,a,b\ns1,16777217,1\ns2,2,0.1\n")
    assert table(read({"x": path}), "x").loc["s1", "a"] == 16777217
    frame = pd.DataFrame({"a": [2**24 + 1, 2]}, index=["s1", "s2"])
    assert read({"x": frame})["x"].X.dtype == np.float64
    assert read({"x": frame - 1})["x"].X.dtype == np.float32
    assert np.isfinite(table(read({"x": put(tmp_path, "y.csv", "id,a\ns1,1e300\n")}), "x").loc["s1", "a"])


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", " "])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "csv.gz", "csv.bz2", "csv.xz", "csv.zst"])
def test_separators_and_compressions(tmp_path, rna, separator, suffix):
    if suffix != "csv" and separator != ";":
        return
    path = tmp_path / f"x.{suffix}"
    rna.to_csv(tmp_path / "plain.csv", sep=separator, na_rep="NA", index_label="id")
    plain = (tmp_path / "plain.csv").read_bytes()
    if suffix.endswith("gz"):
        path.write_bytes(gzip.compress(plain))
    elif suffix.count("."):
        import bz2
        import lzma

        import pyarrow as pa

        pack = {"bz2": bz2.compress, "xz": lzma.compress, "zst": lambda b: pa.compress(b, "zstd", asbytes=True)}
        path.write_bytes(pack[suffix.split(".")[1]](plain))
    else:
        path.write_bytes(plain)
    pd.testing.assert_frame_equal(table(read({"x": path}), "x"), rna)


@pytest.mark.parametrize(
    "text",
    [
        "id,a,b\r\ns1,1,2\r\ns2,3,4\r\n",
        "id,a,b\rs1,1,2\rs2,3,4",
        "\ufeffid,a,b\ns1,1,2\ns2,3,4",
        "\n\nid,a,b\n\ns1,1,2\n\ns2,3,4\n\n",
        "a,b\ns1,1,2\ns2,3,4\n",
        "id,a,b,\ns1,1,2,\ns2,3,4,\n",
        'id,"a",b\n"s1","1",2\n"s2",3,4\n',
        "id, a ,b\n s1,1, 2\ns2 ,3,4\n",
        "id;a;b\ns1;1;2\ns2;3;4\n",
    ],
)
def test_the_same_table_however_it_is_spelt(tmp_path, text):
    found = table(read({"x": put(tmp_path, "x.csv", text)}), "x")
    assert list(found.index) == ["s1", "s2"]
    assert list(found.columns) == ["a", "b"]
    assert found.to_numpy().tolist() == [[1, 2], [3, 4]]


def test_quoted_cells_keep_separators_quotes_and_line_ends(tmp_path):
    found = table(read({"x": put(tmp_path, "x.csv", 'id,"a,1","b""q"\n"s\n1",1,2\n"s,2",3,4\n')}), "x")
    assert list(found.index) == ["s\n1", "s,2"]
    assert list(found.columns) == ["a,1", 'b"q']


def test_decimal_commas_and_encodings(tmp_path):
    text = "id;a;b\ns1;1,5;2\ns2;3,25;-1,0e2\n"
    found = table(read({"x": {"path": str(put(tmp_path, "x.csv", text)), "decimal": ","}}), "x")
    assert found.to_numpy().tolist() == [[1.5, 2], [3.25, -100]]
    path = put(tmp_path, "y.csv", "id,gène\né1,1\n", "latin-1")
    found = table(read({"y": Source(path=str(path), encoding="latin-1")}), "y")
    assert (found.index[0], found.columns[0]) == ("é1", "gène")


TWO = "id,a,b\ns1,1,2\n"


@pytest.mark.parametrize(
    ("text", "keys", "said"),
    [
        ("id,a,b\ns1,1,x\n", {}, "row 's1', column 'b': is no number; met 'x'"),
        ("id,a,b\ns1,1,2\ns2,true,2\n", {}, "row 's2', column 'a'"),
        ("id;a;b\ns1;1,5;2\n", {}, 'beside the path: decimal: ","'),
        ('id,a,b\ns1,"1,5",2\n', {}, 'beside the path: decimal: ","'),
        ("id;a\ns1;1.5\n", {"decimal": ","}, "is no number; met '1.5'"),
        ("id,a,b\ns1,1,n/a\n", {}, "missing is an empty cell or one of NA, NaN,"),
        ("id,batch,b\ns1,first,1\n", {}, "drop: [COLUMN] leaves a column of words out"),
        ("# made by us\nid,a,b\ns1,1,2\n", {}, "the first line looks like a comment"),
        ("id,a,b\ns1,1,inf\n", {}, "row 's1', column 'b': is infinite"),
        ("id,a,b\ns1,1,2\ns2,NA,-Infinity\n", {}, "row 's2', column 'b'"),
        ("id,a,b\ns1,1,2\ns1,1,2\ns1,1,2\n", {}, "2 sample ids are not unique; met 's1'"),
        ("id,a,a\ns1,1,2\n", {}, "1 feature id is not unique; met 'a'"),
        ("id,a,b\ns1 ,1,2\ns1,1,2\n", {}, "1 sample id is not unique"),
        ("id,a,b\n,1,2\n", {}, "row number 1 has no name"),
        ("id,a,\ns1,1,2\n", {}, "column number 2 has no name"),
        (b"id,a,b\ncaf\xe9,1,2\n", {}, 'encoding="latin-1"'),
        ("id,a\ns1,1\n".encode("utf-16"), {}, 'encoding="utf-16"'),
        (b"id,a,b\ns1,1,\x002\n", {}, "NUL byte"),
        ("", {}, "is empty"),
        ("\n\n", {}, "is empty"),
        ("id,a,b\n", {}, "a header but no rows"),
        ("id,a,b\ns1,1,2\ns2,1\ns3,1,2\n", {}, "row 3: has 2 cells where the header has 3"),
        ("id,a,b\ns1,1,2\ns2,1,2,3\n", {}, "row 3: has 4 cells where the header has 3"),
        ('id,a,b\n"s\n1",1,2\ns2,1\n', {}, "row 4: has 2 cells"),
        ("id;a;b\ns1;1;2\n", {"separator": ","}, "beside the path: separator: ';'"),
        ("id\ns1\n", {}, "single column"),
        (TWO, {"id_column": "ida"}, "did you mean 'id'"),
        (TWO, {"drop": ["c"]}, "no such column"),
        (TWO, {"encoding": "utf8000"}, "no such encoding"),
        (TWO, {"orientation": "rows"}, "orientation: wrong value; met 'rows'; wanted 'samples_in_rows'"),
        (TWO, {"seperator": ","}, "did you mean 'separator'"),
        ("<!DOCTYPE html><html>\n</html>\n", {}, "is a web page"),
        (b"PAR1xxxx\n", {}, "is no text but parquet"),
        (b"\x1f\x8b\x08\x00broken", {}, "damaged or cut short"),
    ],
)
def test_bad_text_is_refused_on_one_line(tmp_path, text, keys, said):
    path = put(tmp_path, "x.csv", text)
    with pytest.raises(InputError) as raised:
        read({"x": {"path": str(path), **keys}})
    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 3


def test_blanks_and_ids_that_differ_in_case_are_warned_of(tmp_path, caplog):
    path = put(tmp_path, "x.csv", "id,a,b\n s1,1,2\nS1,1,2\ns2,1,2\n")
    with caplog.at_level(logging.WARNING, "isthmus"):
        read({"x": path})
    assert "blanks around 1 row names" in caplog.text
    assert "differ from another in case only" in caplog.text


def test_genes_that_became_dates_are_warned_of(tmp_path, caplog):
    path = put(tmp_path, "x.csv", "id,1-Mar,2-Sep,HLA-A,1-Marx\ns1,1,2,3,4\n")
    with caplog.at_level(logging.WARNING, "isthmus"):
        read({"x": path})
    assert "2 column names look like dates that Excel made of names, such as '1-Mar'" in caplog.text


def test_columns_that_are_no_features(tmp_path):
    path = put(tmp_path, "x.csv", ",patient,note,a,b\nbar1,p1,hm,1,2\nbar2,p2,,3,4\nbar3,p2,,5,6\n")
    keys = {"path": str(path), "id_column": "patient", "drop": ["note"], "duplicates": "first"}
    found = table(read({"x": keys}), "x")
    assert found.to_dict("split") == {"index": ["p1", "p2"], "columns": ["a", "b"], "data": [[1, 2], [3, 4]]}


# --- files that are missing or damaged


def test_missing_path_names_the_nearest(tmp_path):
    put(tmp_path, "rna.parquet", "")
    with pytest.raises(DataError) as raised:
        read({"rna": "rna.parqet"}, root=tmp_path)
    assert str(tmp_path / "rna.parqet") in str(raised.value)
    assert "did you mean 'rna.parquet'" in str(raised.value)
    with pytest.raises(DataError, match="the folder ends at"):
        read({"rna": tmp_path / "no" / "rna.csv"})


def _h5ad(folder, **keys):
    adata = ad.AnnData(np.ones((20, 30), np.float32), **keys)
    adata.write_h5ad(folder / "whole.h5ad")
    return (folder / "whole.h5ad").read_bytes()


@pytest.mark.parametrize("name", ["x.h5ad", "x.h5mu", "x.parquet", "x.feather", "x.xlsx", "x.zarr"])
@pytest.mark.parametrize("content", ["html", "half", "nothing", "garbage"])
def test_damaged_files(tmp_path, rna, name, content):
    kind = name.split(".")[1]
    path = tmp_path / name
    if content == "half" and kind != "zarr":
        mdata = build({"rna": ad.AnnData(rna)})
        if kind == "xlsx":
            rna.to_excel(path)
        elif kind == "feather":
            rna.to_feather(path)
        else:
            write(mdata if kind == "h5mu" else mdata["rna"], path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "zarr":
        path.mkdir()
    else:
        path.write_bytes({"html": b"<html><body>404", "nothing": b"", "garbage": b"\x00\x01\x02" * 50}[content])
    with pytest.raises(DataError) as raised:
        read({"x": path})
    assert str(path) in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 3


def test_containers_without_what_is_asked_for(tmp_path):
    path = tmp_path / "x.h5ad"
    ad.AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["g"]), layers={"raw": np.ones((1, 1))}).write(
        path
    )
    with pytest.raises(DataError, match=r"has no X\n.*layer: raw"):
        read({"x": path})
    assert read({"x": {"path": str(path), "layer": "raw"}})["x"].X.tolist() == [[1]]
    with pytest.raises(DataError, match="no such layer"):
        read({"x": {"path": str(path), "layer": "row"}})
    with pytest.raises(DataError, match="no such matrix in obsm"):
        read({"x": {"path": str(path), "obsm": "z"}})
    with pytest.raises(DataError, match="is a folder"):
        read({"x": tmp_path})
    with pytest.raises(DataError, match="suffix that is not read"):
        read({"x": put(tmp_path, "x.doc", "")})
    two = {k: ad.AnnData(np.ones((1, 1), np.float32), obs=pd.DataFrame(index=["a"])) for k in "ab"}
    write(build(two), tmp_path / "x.h5mu")
    with pytest.raises(DataError, match="several modalities"):
        read({"x": tmp_path / "x.h5mu"})
    assert list(read({"x": {"path": "x.h5mu", "modality": "b"}}, root=tmp_path).mod) == ["x"]


def test_infinite_values_in_containers():
    x = sp.random(20, 10, 0.3, "csr", np.float32, rng=np.random.default_rng(0))
    x.data[3] = np.inf
    at = x.tocoo()
    with pytest.raises(DataError, match=rf"sample '{at.row[3]}', feature '{at.col[3]}': is infinite"):
        read({"x": ad.AnnData(x)})
    dense = np.zeros((3, 2))
    dense[2, 1] = -np.inf
    with pytest.raises(DataError, match="sample '2', feature '1'"):
        read({"x": ad.AnnData(dense)})


# --- orientation and alignment


def test_orientation_is_told_by_obs_and_stated(rna, cnv, obs, caplog):
    with caplog.at_level(logging.INFO, "isthmus"):
        mdata = read({"rna": rna, "cnv": cnv.T}, obs)
    assert "cnv: samples in columns" in caplog.text
    assert "rna: samples in rows" in caplog.text
    pd.testing.assert_frame_equal(table(mdata, "cnv"), cnv)
    pd.testing.assert_frame_equal(table(mdata, "rna"), rna)


def test_orientation_is_told_by_the_majority(rna, cnv):
    third = rna.rename(columns=str.lower)
    pd.testing.assert_frame_equal(table(read({"rna": rna, "t": third, "cnv": cnv.T}), "cnv"), cnv)


def test_orientation_is_told_by_a_container(rna, cnv):
    pd.testing.assert_frame_equal(table(read({"rna": ad.AnnData(rna), "cnv": cnv.T}), "cnv"), cnv)


def test_orientation_by_hand(rna, cnv):
    found = read({"rna": rna.T}, orientation="samples_in_columns")
    pd.testing.assert_frame_equal(table(found, "rna"), rna)
    assert list(read({"rna": rna.T}).obs_names) == list("ABCD")


def test_what_could_mean_two_things_is_refused(rna, cnv, obs):
    other = rna.set_axis([f"t{i}" for i in range(6)])
    with pytest.raises(DataError, match=r"ids match on neither side[\s\S]*orientation: "):
        read({"rna": rna, "cnv": other.set_axis(list("efgh"), axis=1)}, obs)
    both = rna.set_axis(["s0", "s1", "x", "y"], axis=1)
    with pytest.raises(DataError, match=r"on both sides[\s\S]*orientation: "):
        read({"rna": both}, obs)
    with pytest.raises(DataError, match=r"rows share no id, but their columns do[\s\S]*orientation: "):
        read({"rna": rna.T.set_axis(list("efgh")), "cnv": cnv.T.set_axis(list("abc"))})
    with pytest.raises(DataError, match=r"share no sample id\n.*'s0', 's1', 's2' and 3 more\n.*'t0', 't1', 't2'"):
        read({"rna": rna, "cnv": other.set_axis(list("efgh"), axis=1)})
    with pytest.raises(DataError, match="share no sample id"):
        read({"rna": ad.AnnData(rna), "cnv": ad.AnnData(other)})


def test_union_of_samples_in_the_order_of_obs(rna, cnv, obs, caplog):
    with caplog.at_level(logging.INFO, "isthmus"):
        mdata = read({"rna": rna, "cnv": cnv}, obs)
    assert list(mdata.obs_names) == ["s5", "s4", "s3", "s2", "s1", "s0", "s7"]
    assert list(mdata.obs.columns) == list(obs.columns)
    assert "1 rows of obs have no modality" in caplog.text
    assert "1 samples have no row in obs" in caplog.text
    assert mdata.obs.loc["s7"].isna().all()
    assert combinations(mdata).to_dict("records") == [
        {"rna": True, "cnv": True, "samples": 4},
        {"rna": True, "cnv": False, "samples": 2},
        {"rna": False, "cnv": True, "samples": 1},
    ]
    assert "4 samples have rna + cnv" in caplog.text
    shuffled = read({"rna": rna.sample(frac=1, random_state=1), "cnv": cnv.iloc[::-1]}, obs)
    pd.testing.assert_frame_equal(shuffled.obs, mdata.obs)
    pd.testing.assert_frame_equal(table(shuffled, "rna").loc[rna.index], rna)


def test_disjoint_modalities_may_be_tied_by_obs(rna, obs, caplog):
    a, b = rna.iloc[:3], rna.iloc[3:].set_axis(list("efgh"), axis=1)
    with caplog.at_level(logging.WARNING, "isthmus"):
        assert read({"a": a, "b": b}, obs).n_obs == 6
    assert "no two modalities share a sample" in caplog.text
    with pytest.raises(DataError, match="names none of the modalities' samples"):
        read({"a": ad.AnnData(rna)}, obs.set_axis(obs.index + "x"))


# --- obs


def test_types_of_annotations(tmp_path, rna, obs):
    obs.to_csv(tmp_path / "obs.csv")
    put(tmp_path, "o.tsv", (tmp_path / "obs.csv").read_text().replace(",", "\t"))
    for name in ("obs.csv", "o.tsv"):
        found = read({"rna": rna}, tmp_path / name).obs
        assert found["age"].dtype == np.float64
        assert found["stage"].dtype == np.int64
        assert found["dead"].dtype == bool
        assert found["smoker"].astype(object).where(found["smoker"].notna(), None).tolist() == [
            "no", "yes", "no", "no", None, "yes",
        ]  # fmt: skip
        assert found["sex"].isna().sum() == 1
        assert found["code"].tolist() == ["007", "010", "007", "010", "007", "007"]
    frame = read({"rna": rna}, obs.drop(columns="smoker")).obs
    pd.testing.assert_frame_equal(frame, found.drop(columns="smoker"))


def test_annotations_by_another_column(tmp_path, rna):
    path = put(tmp_path, "o.csv", "name,id,age\nann,s1,4\nbob,s0,5\n")
    assert read({"rna": rna}, path, id_column="id").obs["age"].tolist()[:2] == [4, 5]
    assert read({"rna": rna}, {"path": str(path), "id_column": "id"}).obs["name"].tolist()[:2] == ["ann", "bob"]
    with pytest.raises(DataError, match="1 sample id is not unique"):
        read({"rna": rna}, put(tmp_path, "p.csv", "id,age\ns1,4\ns1,5\n"))
    with pytest.raises(DataError, match="is infinite"):
        read({"rna": rna}, put(tmp_path, "p.csv", "id,age\ns1,4\ns2,inf\n"))


def test_annotations_of_containers_are_joined(rna, cnv):
    a = ad.AnnData(rna, obs=pd.DataFrame({"batch": list("xxyyzz"), "depth": range(6)}, index=rna.index))
    b = ad.AnnData(cnv, obs=pd.DataFrame({"batch": list("qzzxx"), "depth": range(5)}, index=cnv.index))
    found = read({"rna": a, "cnv": b}).obs
    assert found["batch"].tolist() == list("xxyyzzq")
    assert list(found.columns) == ["batch", "rna:depth", "cnv:depth"]


# --- the same cohort in every format


def test_every_format_gives_the_same_cohort(tmp_path, rna, cnv, obs):
    obs = obs.drop(columns="smoker")
    wanted = read({"rna": rna, "cnv": cnv}, obs)
    rna.to_excel(tmp_path / "rna.xlsx")
    cnv.T.to_feather(tmp_path / "cnv.feather")
    obs.to_excel(tmp_path / "obs.xlsx")
    cohorts = {
        "xlsx": lambda: read({"rna": "rna.xlsx", "cnv": "cnv.feather"}, "obs.xlsx", root=tmp_path),
        "h5mu": lambda: read(write(wanted, tmp_path / "c.h5mu")),
        "zarr": lambda: read(write(wanted, tmp_path / "c.zarr")),
        "mudata": lambda: read(wanted),
        "csv": lambda: read(write(wanted, tmp_path / "csv")),
        "csv.gz": lambda: read(write(wanted, tmp_path / "gz", tables=".csv.gz")),
        "parquet": lambda: read(write(wanted, tmp_path / "parquet", tables=".parquet")),
        "h5ad": lambda: read({m: write(a, tmp_path / f"{m}.h5ad") for m, a in wanted.mod.items()}, obs),
    }
    for kind, cohort in cohorts.items():
        found = cohort()
        assert list(found.obs_names) == list(wanted.obs_names), kind
        for name in ("rna", "cnv"):
            pd.testing.assert_frame_equal(table(found, name).loc[list(wanted[name].obs_names)], table(wanted, name))
        pd.testing.assert_frame_equal(found.obs, wanted.obs, obj=kind)


names = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=5).map(str.strip).filter(bool)
cells = st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False))


@st.composite
def frames(draw):
    rows = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    columns = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    x = [[draw(cells) for _ in columns] for _ in rows]
    return pd.DataFrame(np.array(x, dtype=np.float32), pd.Index(rows, dtype=object), pd.Index(columns, dtype=object))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frame=frames())
@pytest.mark.parametrize("suffix", [".csv", ".tsv.gz", ".parquet", ".h5ad", ".h5mu"])
def test_ids_and_gaps_survive_every_format(tmp_path, suffix, frame):
    path = tmp_path / f"x{suffix}"
    adata = ad.AnnData(frame)
    write(build({"x": adata}) if suffix == ".h5mu" else adata, path, spreadsheet_safe=False)
    found = read(
        path if suffix == ".h5mu" else {"x": {"path": str(path), "separator": "\t" if "tsv" in suffix else ","}}
    )
    pd.testing.assert_frame_equal(table(found, "x"), frame)


# --- sparse, images, paths, settings


def test_sparse_stays_sparse(tmp_path, monkeypatch):
    x = sp.random(50, 40, 0.1, "csr", np.float32, rng=np.random.default_rng(0))
    for kind in (sp.csr_matrix, sp.csc_matrix, sp.csr_array):
        ad.AnnData(kind(x)).write(tmp_path / "x.h5ad")

        def refuse(*_, **__):
            raise AssertionError("densified")

        with monkeypatch.context() as patch:
            for owner in (sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.csc_array):
                patch.setattr(owner, "toarray", refuse)
                patch.setattr(owner, "todense", refuse, raising=False)
            found = read({"x": tmp_path / "x.h5ad"})["x"].X
        assert isinstance(found, sp.csr_matrix)
        assert found.dtype == np.float32
        assert (found != x).nnz == 0
    frame = pd.DataFrame.sparse.from_spmatrix(x, index=[f"s{i}" for i in range(50)])
    found = read({"x": frame.rename(columns=str)})["x"].X
    assert (found != x).nnz == 0


def test_counts_of_any_type(tmp_path):
    for kind in (np.int8, np.int64, np.uint16, bool, np.float16, np.float64):
        x = np.array([[0, 1], [1, 0]]).astype(kind)
        assert read({"x": ad.AnnData(x)})["x"].X.tolist() == [[0, 1], [1, 0]]
        assert read({"x": pd.DataFrame(x, ["a", "b"], ["f", "g"])})["x"].X.dtype == np.float32
    frame = pd.DataFrame({"f": pd.array([1, None], dtype="Int64"), "g": ["2.5", None]}, index=["a", "b"])
    assert np.array_equal(read({"x": frame})["x"].X, [[1, 2.5], [np.nan, np.nan]], equal_nan=True)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame({"f": ["x", "1"]}, index=["a", "b"]), "row 'a', column 'f': is no number"),
        (pd.DataFrame({"f": pd.to_datetime(["2020-01-01"])}, index=["a"]), "is a date"),
        (pd.DataFrame({"f": [1.0, 2.0]}), "has no ids"),
        (pd.DataFrame({"f": []}), "has no rows"),
        (pd.DataFrame({"f": [1, 2]}, index=["a", "a"]), "1 sample id is not unique"),
        (pd.DataFrame([[1, np.inf]], ["a"], ["f", "g"]), "row 'a', column 'g': is infinite"),
    ],
)
def test_bad_frames(frame, said):
    with pytest.raises(DataError) as raised:
        read({"x": frame})
    assert said in str(raised.value)


def test_frame_with_ids_in_its_first_column():
    found = read({"x": pd.DataFrame({"id": ["007", "b"], "f": [1, 2]})})
    assert list(found.obs_names) == ["007", "b"]


def test_images_are_carried_through(tmp_path, rna):
    image = np.arange(3 * 4 * 5 * 1, dtype=np.uint8).reshape(3, 4, 5, 1)
    images = ad.AnnData(obs=pd.DataFrame(index=["s2", "s0", "s9"]), obsm={"image": image})
    found = read({"rna": rna, "image": images})
    np.testing.assert_array_equal(found["image"].obsm["image"], image)
    again = read(write(found, tmp_path / "x.h5mu"))
    np.testing.assert_array_equal(again["image"].obsm["image"], image)
    assert list(again["image"].obs_names) == ["s2", "s0", "s9"]


def test_paths_with_variables(tmp_path, monkeypatch, rna):
    rna.to_csv(tmp_path / "rna.csv")
    monkeypatch.setenv("COHORT", str(tmp_path))
    monkeypatch.delenv("ABSENT", raising=False)
    for path in ("${COHORT}/rna.csv", "$COHORT/rna.csv", f"${{ABSENT:-{tmp_path}}}/rna.csv"):
        assert read({"rna": path}).n_obs == 6
    assert read({"rna": "rna.csv"}, root=tmp_path).n_obs == 6
    with pytest.raises(RecipeError, match="environment variable is not set; met 'ABSENT'"):
        expand("${ABSENT}/x")
    assert expand("~/x").is_absolute()


def test_one_path_without_a_modality(tmp_path, rna):
    write(ad.AnnData(rna), tmp_path / "x.h5ad")
    with pytest.raises(DataError, match="without a name of its modality"):
        read(tmp_path / "x.h5ad")
    with pytest.raises(RecipeError, match="names no modality"):
        read({})
    with pytest.raises(RecipeError, match="no name for a modality"):
        read({"a/b": rna})


def test_no_warning_leaks_where_modalities_share_features(rna, cnv, obs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(read({"rna": rna, "cnv": cnv}, obs))


# --- real data


def test_pancan12(real):
    folder = real / "tcga_pancan12"
    mdata = read({m: f"{m}.parquet" for m in ("cnv", "methylation", "mirna")}, "labels.csv", root=folder)
    assert {m: a.shape for m, a in mdata.mod.items()} == {
        "cnv": (2421, 84), "methylation": (2421, 623), "mirna": (2421, 51),
    }  # fmt: skip
    assert mdata.obs["cancer"].value_counts()["BRCA"] == 657
    days = pd.read_csv(folder / "labels.csv", index_col=0)["days"]
    pd.testing.assert_series_equal(mdata.obs["days"], days, check_index_type=False)
    turned = read({"cnv": pd.read_parquet(folder / "cnv.parquet").T}, folder / "labels.csv")
    np.testing.assert_array_equal(turned["cnv"].X, mdata["cnv"].X)


def test_acc_mini_has_five_views_with_gaps(real):
    views = {"rna": 79, "cnv": 90, "protein": 46, "mutation": 90, "mirna": 80}
    sources = {v: {"path": f"{v}.csv.gz", "id_column": "patient"} for v in views}
    mdata = read(sources, "clinical.csv", root=real / "tcga_acc_mini")
    assert {m: a.n_obs for m, a in mdata.mod.items()} == views
    found = combinations(mdata)
    assert found["samples"].sum() == mdata.n_obs == 92
    for view, n in views.items():
        assert found.loc[found[view], "samples"].sum() == n
    assert found["samples"].is_monotonic_decreasing


def test_citeseq_stays_sparse_and_brings_its_proteins(real):
    path = str(real / "pbmc10k_citeseq" / "pbmc10k_citeseq.h5ad")
    mdata = read({"rna": path, "protein": {"path": path, "obsm": "protein_counts", "names": "protein_names"}})
    assert sp.issparse(mdata["rna"].X)
    assert mdata["rna"].X.format == "csr"
    assert mdata["protein"].shape == (5484, 14)
    assert "CD3_TotalSeqB" in list(mdata["protein"].var_names)
    assert mdata["protein"].X.max() == 12908


def test_mosaic_h5mu(real):
    mdata = read(real / "pbmc_mosaic_rna_adt" / "quickstart_pbmc_mosaic.h5mu")
    assert mdata.n_obs == 1600
    assert list(mdata.obs.columns) == ["batch", "celltype"]
    assert mdata.obs.notna().all(axis=None)
    assert combinations(mdata)["samples"].sum() == 1600


def test_one_path_as_settings(tmp_path, rna, cnv):
    path = write(read({"rna": rna, "cnv": cnv}), tmp_path / "x.h5mu")
    assert list(read(Source(path=str(path))).mod) == ["rna", "cnv"]


def test_repeated_patients_are_kept_once_on_request(real):
    folder = real / "tcga_xena3"
    with pytest.raises(DataError, match="3 sample ids are not unique"):
        read({"rna": folder / "rna_log2tpm.parquet"})
    assert read({"rna": folder / "rna_log2tpm.parquet"}, folder / "clinical.csv", duplicates="first").n_obs == 1013


def test_public_names():
    assert isthmus.read is read
    assert isthmus.data.read.Source is Source


@pytest.mark.parametrize("what", [np.ones((3, 2)), [[1, 2]], 3, None])
def test_what_has_no_ids_is_no_table(what):
    with pytest.raises(DataError, match=f"read.rna: is no table; met '?{type(what).__name__}.*DataFrame or AnnData"):
        read({"rna": what})


def test_what_is_no_cohort_is_one_line():
    with pytest.raises(DataError, match=r"is no cohort; met .*ndarray"):
        accepted.cohort(np.ones((3, 2)), ("rna",))


@pytest.mark.parametrize(
    ("first", "second"), [("001", "1"), ("1", "1.0"), ("TCGA.A1.01", "tcga-a1-1"), ("P 7", "P_07"), ("A.01", "A-01")]
)
def test_ids_that_a_spreadsheet_rewrote_are_warned_of(tmp_path, caplog, first, second):
    x = put(tmp_path, "x.csv", f"id,a\nboth,1\n{first},2\n")
    y = put(tmp_path, "y.csv", f"id,b\nboth,1\n{second},2\n")
    with caplog.at_level(logging.WARNING, "isthmus"):
        read({"x": x, "y": y})
    assert f"y: 1 sample ids look like ids of other tables, such as {second!r} and {first!r}" in caplog.text
    with pytest.raises(DataError, match=f"'{first}' and '{second}' look alike: write ids in the same way"):
        read({"x": pd.DataFrame({"a": [1.0]}, index=[first])}, obs=pd.DataFrame({"c": [1]}, index=[second]))


def test_ids_that_are_meant_to_differ_are_not_warned_of(tmp_path, caplog):
    x = put(tmp_path, "x.csv", "id,a\ns1,1\ns01,2\ns2,3\nt10,4\n")
    y = put(tmp_path, "y.csv", "id,b\ns1,1\ns3,2\nt1,5\n")
    with caplog.at_level(logging.WARNING, "isthmus"):
        read({"x": x, "y": y})
    assert not caplog.text


def test_codes_of_digits_and_letters_are_no_numbers_gone_wrong(tmp_path, caplog):
    codes = [*map(str, range(40, 90)), "4B", "J2", "L4", "7X"]
    obs = put(tmp_path, "obs.csv", "id,site\n" + "".join(f"s{i},{c}\n" for i, c in enumerate(codes)))
    x = put(tmp_path, "x.csv", "id,a\n" + "".join(f"s{i},{i}\n" for i in range(len(codes))))
    with caplog.at_level(logging.WARNING, "isthmus"):
        assert read({"x": x}, obs).obs["site"].tolist() == codes
    assert not caplog.text


@pytest.mark.parametrize(
    ("odd", "said"),
    [("unknown", "column 'age': is read as text, since 1 of 13 values are no numbers: 'unknown'"),
     ("60,5", "column 'age': is read as text; if the comma in '60,5' is a decimal mark, set decimal: ','"),
     ("61", None), ("061", None)],
)  # fmt: skip
def test_a_column_of_obs_that_is_text_for_one_cell_is_warned_of(tmp_path, caplog, odd, said):
    ages = [*map(str, range(40, 52)), odd]
    index = [f"s{i}" for i in range(13)]
    obs = pd.DataFrame({"age": ages, "kind": [*"123456789abcd"], "code": [f"0{a}" for a in ages]}, index=index)
    obs.to_csv(tmp_path / "obs.csv", sep=";")
    x = pd.DataFrame({"a": 1.0}, index=index)
    excel = obs.assign(age=[*range(40, 52), odd], code="x")
    for table_of_obs in (tmp_path / "obs.csv", excel) if said else (tmp_path / "obs.csv",):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "isthmus"):
            read({"x": x}, obs=table_of_obs)
        assert (said in caplog.text and caplog.text.count("\n") == 1) if said else not caplog.text
