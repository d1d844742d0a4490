"""The parts of sharing, each against brute force, an identity or an attack."""

import base64
import bz2
import gzip
import io
import json
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as to_safetensors
from typer.main import get_command

from isthmus.cli import main
from isthmus.cli.share import RUN, app
from isthmus.data.archive import as_folder
from isthmus.errors import DataError, RecipeError
from isthmus.share import verifying
from isthmus.share.canary import Canary, Watch, vocabulary
from isthmus.share.cells import bounds, margins, rounded, suppressed
from isthmus.share.disclosure import enforced, measured
from isthmus.share.keys import Key, keygen
from isthmus.share.policy import generalised, load_policy
from isthmus.share.pseudonyms import Names, read_names, write_names
from isthmus.share.safety import unsafe
from isthmus.share.unpacking import pieces

FEW = settings(max_examples=60, deadline=None)


def hits(watch, name, content):
    """What a watch finds in a file."""
    found = []
    for piece in pieces(name, content):
        found += [h.what for h in watch.in_bytes(piece.content, piece.where, text=piece.text)]
        found += [h.what for h in watch.in_cells(piece.cells, piece.where)]
        found += [h.what for h in watch.in_cells(piece.names, piece.where, names=True)]
    return set(found)


# ---- k, l, t


def brute(rows, quasi, sensitive):
    """k, l, t by comparing every row with every other."""
    key = lambda r: tuple(str(r[q]) for q in quasi)  # noqa: E731
    classes = {key(r): [o for o in rows if key(o) == key(r)] for r in rows}
    k = min(len(c) for c in classes.values())
    l_ = min(len({str(r[s]) for r in c}) for c in classes.values() for s in sensitive)
    t = 0.0
    for c in classes.values():
        for s in sensitive:
            values = {str(r[s]) for r in rows}
            share = lambda part, v, s=s: sum(str(r[s]) == v for r in part) / len(part)  # noqa: E731
            t = max(t, sum(abs(share(c, v) - share(rows, v)) for v in values) / 2)
    return k, l_, t


tables = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 1), st.sampled_from(["x", "y", "z"])),
    min_size=1, max_size=25,
)  # fmt: skip


@FEW
@given(tables)
def test_k_l_and_t_are_those_of_brute_force(rows):
    table = pd.DataFrame(rows, columns=["q1", "q2", "s"])
    found = measured(table, ["q1", "q2"], ["s"])
    k, l_, t = brute(table.to_dict("records"), ["q1", "q2"], ["s"])
    assert (found.k, found.l) == (k, l_)
    assert found.t == pytest.approx(t)


@FEW
@given(tables, st.integers(1, 4), st.integers(1, 3), st.sampled_from([0.2, 0.5, 1.0]))
def test_what_stays_satisfies_the_policy_and_good_classes_stay(rows, k, l_, t):
    table = pd.DataFrame(rows, columns=["q1", "q2", "s"])
    stays = enforced(table, ["q1", "q2"], ["s"], k=k, l=l_, t=t)
    found = measured(table[stays], ["q1", "q2"], ["s"])
    if stays.any():
        assert found.k >= k
        assert found.l >= l_
        assert found.t <= t + 1e-9
    if t == 1:  # then no class that is large and varied enough goes
        for _, part in table.groupby(["q1", "q2"], dropna=False):
            assert stays[part.index].all() == (len(part) >= k and part["s"].nunique() >= l_)


# ---- counts


def possible(counts, hidden, equations):
    """Every table of whole numbers that a reader cannot tell from the true one, by trying all."""
    places, left = np.flatnonzero(hidden), int(counts[hidden].sum())
    tried = np.indices((left + 1,) * len(places)).reshape(len(places), -1).T
    every = np.repeat(np.where(hidden, 0, counts)[None], len(tried), axis=0)
    every[:, places] = tried
    return every[(every @ equations.T == equations @ counts).all(axis=1)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=6, max_size=6))
def test_no_subtraction_gives_a_small_count_back(counts):
    counts, equations = np.array(counts), margins((2, 3))
    hidden = suppressed(counts, equations, 3)
    small = (counts > 0) & (counts < 3)
    assert (hidden | ~small).all()
    if not small.any():
        assert not hidden.any()
        return
    if (counts[hidden].sum() + 1.0) ** hidden.sum() > 2e6:
        return  # too many tables to try
    every = possible(counts, hidden, equations)
    for cell in np.flatnonzero(small):
        low, high = bounds(counts, hidden, equations, int(cell))
        assert every[:, cell].min() >= low - 1e-6
        assert every[:, cell].max() <= high + 1e-6
        if not hidden.all():
            assert len(set(every[:, cell])) > 3  # at least four values are possible


def test_one_small_cell_takes_a_rectangle_with_it():
    counts, equations = np.array([[20, 30, 2], [40, 25, 18], [15, 50, 22]]).ravel(), margins((3, 3))
    hidden = suppressed(counts, equations, 5).reshape(3, 3)
    assert hidden[0, 2]
    rows, columns = hidden.sum(axis=1), hidden.sum(axis=0)
    assert 1 not in (*rows, *columns)  # alone in its row or column, a cell is the rest of the total
    low, high = bounds(counts, hidden.ravel(), equations, 2)
    assert high - low >= 5
    alone = np.zeros(9, dtype=bool)
    alone[2] = True
    assert bounds(counts, alone, equations, 2) == (2, 2)  # which is what suppression without a complement gives


def test_counts_are_rounded_to_the_nearest_multiple():
    assert rounded(np.array([0, 2, 3, 7, 8, 12]), 5).tolist() == [0, 0, 5, 5, 10, 10]
    assert rounded(np.array([3, 4]), 1).tolist() == [3, 4]


# ---- the policy


def test_generalisation_by_hand():
    obs = pd.DataFrame(
        {
            "age": [49.0, 50.0, np.nan, 71.5], "day": ["2011-03-04", "4.12.1998", None, "2010"],
            "stage": ["I", "II", "IV", None], "site": ["A", "A", "A", "B"], "code": [1.0, 2.0, 1.0, np.nan],
            "name": list("wxyz"),
        }
    )  # fmt: skip
    policy = load_policy(
        {
            "columns": {
                "age": {"bins": 10}, "day": {"date": "decade"}, "stage": {"levels": {"I": "early", "II": "early"}},
                "site": {"rare": 2}, "code": "keep", "name": "drop",
            }
        }
    )  # fmt: skip
    found = generalised(obs, policy)
    assert found["age"].tolist() == ["40-<50", "50-<60", None, "70-<80"]
    assert found["day"].tolist() == ["2010s", "1990s", None, "2010s"]
    assert found["stage"].tolist() == ["early", "early", "other", None]
    assert found["site"].tolist() == ["A", "A", "A", "other"]
    assert found["code"].tolist() == ["1", "2", "1", None]
    assert "name" not in found
    edges = load_policy({"columns": {"age": {"bins": [50, 70]}}})
    assert generalised(obs, edges)["age"].tolist() == ["<50", "50-<70", None, ">=70"]
    assert generalised(obs, load_policy(None)).shape == (4, 0)
    assert set(policy.told()["columns"]) == {"age", "day", "stage", "site", "code"}


def test_whole_numbers_stay_apart_and_a_policy_that_cannot_be_followed_is_told():
    obs = pd.DataFrame({"id": [2000001.0, 2000002.0], "x": [1.0, np.inf]})
    assert generalised(obs, load_policy({"columns": {"id": "keep"}}))["id"].tolist() == ["2000001", "2000002"]
    binned = generalised(obs, load_policy({"columns": {"id": {"bins": 1}}}))["id"]
    assert binned.tolist() == ["2000001-<2000002", "2000002-<2000003"]
    for rule in ("keep", {"rare": 2}, {"bins": 1}):
        with pytest.raises(DataError, match="infinite value"):
            generalised(obs, load_policy({"columns": {"x": rule}}))
    with pytest.raises(RecipeError, match="bins"):
        load_policy({"columns": {"x": {"bins": []}}})


# ---- pseudonyms

keys = st.binary(min_size=32, max_size=32)


@FEW
@given(
    st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=20, unique=True),
    st.binary(min_size=32, max_size=32),
)
def test_pseudonyms_are_the_same_under_one_key_and_no_two_names_have_one(names, content):
    one, again = Names(Key(content)), Names(Key(content))
    found = one.every("sample", names)
    assert found == again.every("sample", names)
    assert len(set(found)) == len(names)
    others = [
        Names(Key(bytes(32))) if content != bytes(32) else Names(Key(bytes([1]) * 32)),
        Names(Key(content), project="p"), Names(Key(content), site="s"),
    ]  # fmt: skip
    assert all(set(found).isdisjoint(o.every("sample", names)) for o in others)
    features = one.every("feature/rna", names)
    assert set(features).isdisjoint(one.every("feature/cnv", names))
    assert Names(Key(content), site="s").every("feature/rna", names) == features  # sites join by features
    # parts of a message are told apart by their length
    assert Names(Key(content), project="ab").of("sample", "c") != Names(Key(content), project="a").of("sample", "bc")


def test_two_names_with_one_pseudonym_are_refused(monkeypatch):
    names = Names(Key(bytes(32)))
    names.of("sample", "a")
    monkeypatch.setattr(Key, "digest", lambda *_, **__: Key(bytes(32)) and b"\0" * 10)
    names.of("sample", "b")
    with pytest.raises(DataError, match="two names have one pseudonym"):
        names.of("sample", "c")


def test_names_beside_the_key_are_under_its_sum(tmp_path):
    key = Key(bytes(range(32)), tmp_path / "k")
    names = Names(key)
    names.every("sample", ["a", "ü", "b\n"])
    path = write_names(names)
    assert path.stat().st_mode & 0o777 == 0o600
    later = Names(key)
    later.of("feature/rna", "TP53")
    write_names(later)
    found = read_names(path, key)
    assert set(found["sample"].values()) == {"a", "ü", "b\n"}
    assert list(found["feature/rna"].values()) == ["TP53"]
    with pytest.raises(DataError, match="not of this key"):
        read_names(path, Key(bytes(32)))
    path.write_text(path.read_text().replace("TP53", "TP54"))
    with pytest.raises(DataError, match="changed"):
        read_names(path, key)


# ---- the search


ids = st.text(alphabet="QXZJ0123456789-_", min_size=5, max_size=14).filter(
    lambda s: any(c in "QXZJ" for c in s.strip("-_"))
)


@settings(max_examples=100, deadline=None)
@given(st.lists(ids, min_size=1, max_size=15, unique=True), st.data())
def test_the_search_finds_what_stands_there_and_nothing_else(names, data):
    watch = Watch([Canary(n, n) for n in names])
    written = data.draw(st.lists(st.sampled_from(names), max_size=4))
    text = " loss 0.5 ".join(["", *written, ""])
    found = hits(watch, "log.txt", text.encode())
    assert set(written) <= found
    for extra in found - set(written):  # found besides only what does stand within a longer name
        assert any(extra in w or extra.lower() in w.lower() for w in written)


def test_short_names_count_alone_and_long_ones_within_words():
    watch = Watch(
        [Canary("PX19", "a"), Canary("PX192", "b"), Canary("TCGA-A1-A0SB", "c"), Canary("Zq", "d"), Canary("12", "e")]
    )
    assert hits(watch, "x.txt", b"PX192") == {"b"}
    assert hits(watch, "x.txt", b"see PX19_rna, PX19.") == {"a"}
    assert hits(watch, "x.txt", b"fooTCGA-A1-A0SB-01Zbar") == {"c"}
    assert hits(watch, "x.txt", b"tcga-a1-a0sb") == {"c"}
    assert hits(watch, "x.txt", b"0.12 Zq 12") == set()
    assert hits(watch, "x.csv", b"note,n\nZq,12\n") == {"d"}
    assert hits(watch, "x.csv", b"sample,n\n12,3\n") == {"e"}
    assert hits(watch, "x.csv", b"n,m\n12,3\n") == set()


def packed(raw):
    """A text within every format that a bundle holds or could hold."""
    frame = pd.DataFrame({"note": [f"see {raw}"], "x": [1.0]})
    parquet, table = io.BytesIO(), io.BytesIO()
    frame.to_parquet(parquet)
    with h5py.File(table, "w") as file:
        file.create_dataset("a/note", data=np.array([raw.encode()] * 400), compression="gzip")
    attribute, name = io.BytesIO(), io.BytesIO()
    with h5py.File(attribute, "w") as file:
        file.attrs["made by"] = raw
    with h5py.File(name, "w") as file:
        file.create_group(f"uns/{raw}")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("inner/a.txt", f"{raw} " * 50)
    named = io.BytesIO()
    with zipfile.ZipFile(named, "w") as file:
        file.writestr(f"{raw}.txt", "x")
    uri = base64.b64encode(f"<svg>{raw}</svg>".encode()).decode()
    return {
        "a.parquet": parquet.getvalue(), "a.h5ad": table.getvalue(), "b.h5ad": attribute.getvalue(),
        "c.h5ad": name.getvalue(), "a.zip": archive.getvalue(), "b.zip": named.getvalue(),
        "a.csv.gz": gzip.compress(raw.encode()), "a.bz2": bz2.compress(raw.encode()),
        "a.safetensors": to_safetensors({"w": np.zeros(3, np.float32)}, {"note": raw}),
        "a.svg": f"<svg><text>{raw}</text></svg>".encode(), "a.json": json.dumps({"a": [raw]}).encode(),
        "a.html": f'<img src="data:image/svg+xml;base64,{uri}">'.encode(), "a.txt": raw.encode("utf-16"),
        "b.html": f"<p>{''.join(f'&#{ord(c)};' for c in raw)}</p>".encode(),
        "a.npy": np.char.encode([raw], "utf-8").tobytes(),
    }  # fmt: skip


@pytest.mark.parametrize("raw", ["QX-1985-Zürich", "Müller <Anna> & Söhne 7", "QZX77J4K"])
def test_a_name_is_found_in_every_format(raw):
    watch = Watch([Canary(raw, "it")])
    missed = [name for name, content in packed(raw).items() if hits(watch, name, content) != {"it"}]
    assert missed == []
    clean = [name for name, content in packed("nothing of it").items() if hits(watch, name, content)]
    assert clean == []


def test_words_of_the_package_are_no_canaries_but_where_names_stand():
    assert {"mean", "train", "loss"} <= vocabulary()
    watch = Watch([Canary("mean", "it"), Canary("Positive", "value", value=True)], common=["Positive"])
    assert hits(watch, "a.csv", b"representation,x\nmean,1\n") == set()
    assert hits(watch, "a.csv", b"feature,x\nmean,1\n") == {"it"}
    assert hits(watch, "a.txt", b"Positive") == set()


def test_archives_that_lead_out_are_refused(tmp_path):
    for number, name in enumerate(["../evil.txt", "/etc/evil", "a\\b", "C:evil"]):
        path = tmp_path / f"{number}.zip"
        with zipfile.ZipFile(path, "w") as file:
            info = zipfile.ZipInfo("x")
            info.filename = name
            file.writestr(info, "x")
        with pytest.raises(DataError, match="leads out"), as_folder(path):
            pass
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(DataError, match="no whole zip"), as_folder(tmp_path / "bad.zip"):
        pass


# ---- what could run


@pytest.mark.parametrize(
    "text",
    [
        "<svg/onload=alert(1)>", '<a title=">" onclick=alert(1)>x</a>', '<img src="data:image/png,x"/onerror=alert(1)>',
        '<meta name=x http-equiv=refresh content="0;url=https://example.org">', "<svg><animate attributeName=href>",
        "<svg><style>a{}<script>alert(1)</script></style></svg>", '<a href=" javascript:alert(1)">x</a>',
        '<p style="background:u\\72l(https://example.org)">x</p>', "<title><!--</title><script>alert(1)</script>-->",
        '<script type="application/json"/>alert(1)', "<p onclick", "<!--><img src=x onerror=alert(1)>-->",
        '<svg xmlns:x="http://www.w3.org/1999/xlink"><a x:href="javascript:alert(1)">x</a></svg>',
        '<!DOCTYPE svg [<!ENTITY a "b">]><svg/>', '<?xml-stylesheet href="x.xsl"?><svg/>', "<![CDATA[<p>]]>",
    ],
)  # fmt: skip
def test_markup_that_no_report_holds_is_unsafe(text, tmp_path):
    for name in ("a.html", "a.svg"):
        (tmp_path / name).write_text(text)
        assert unsafe(name, tmp_path / name)


def test_reports_and_figures_of_the_package_are_safe_whatever_their_labels(tmp_path):
    from matplotlib.figure import Figure

    from isthmus.report import page

    label = '<b onclick="x">"=1+1" & javascript:alert(1) \\ @import url(x) --> \'</b>'
    figure = Figure()
    axes = figure.subplots()
    axes.imshow(np.eye(3))
    axes.bar([0, 1], [1, 2], hatch="/", label=label)
    axes.legend()
    frame = pd.DataFrame({label: [label, "=1+1"], "n": [-1.5, 2.0]})
    xy, obs = pd.DataFrame(np.eye(4)[:, :2]), pd.DataFrame({label: [label, "a", "a", "b"]})
    blocks = [
        page.Prose(f"{label} https://example.org/x", linked=True), page.CodeBlock(label, label), page.Items((label,)),
        page.Facts({label: label}), page.TableBlock(frame, label, "t", sortable=True),
        page.FigureBlock(figure, label, "f"),
        page.ScatterBlock(xy, obs, pd.Index(list("wxyz")), label, "s"),
    ]  # fmt: skip
    page.write(page.Page(label, label, [label], [page.Section(label, tuple(blocks), label)]), tmp_path)
    found = {p.name: unsafe(p.name, p) for p in tmp_path.rglob("*.*")}
    assert {p.rsplit(".")[1] for p in found} == {"html", "svg", "csv"}
    assert set(found.values()) == {""}, found


def test_cells_that_a_spreadsheet_would_run_are_unsafe(tmp_path):
    path = tmp_path / "a.csv"
    for cell in ("=1+cmd|' /C calc'!A0", "+cmd|x", "-cmd|x", "@SUM(1)", "=1", " =1+1", "a;=1+1", "\uff1d1+1"):
        path.write_text(f'a,b\n1,"{cell}"\n')
        assert "formula" in unsafe("a.csv", path), cell
    path.write_text("a,b\n-1.5,+2e-3\n-10-<0,'=1+1\n-inf,a - b\n-,+\n-nan,x=1\n")
    assert unsafe("a.csv", path) == ""


# ---- the command line


@pytest.mark.parametrize(
    ("asked", "usage"),
    [([], " share [OPTIONS] "), (["keygen"], " share keygen [OPTIONS]"),
     (["pseudonymise"], " share pseudonymise [OPTIONS] ")],
)  # fmt: skip
def test_every_verb_of_share_has_a_help_of_its_own_and_explains_every_option(asked, usage, capsys):
    command = get_command(app).commands[asked[0] if asked else RUN]
    assert [p.name for p in command.params if not p.help] == []
    with pytest.raises(SystemExit) as stop:
        main(["share", *asked, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert usage in out
    assert command.help.split(":")[0] in out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("keygen", "Missing option"), ("pseudonymise rna=x.csv --out y.csv", "--key: is missing"),
        ("--out k keygen", "share: stands behind an option"), ("--out b", "Missing argument"),
        ("x.zip --reverse --out b", "the one that the bundle was made with"),
        ("pseudonymise rna={0}/x.csv --key {0}/k --out {0}/k --overwrite", "--out: is what it is to be made from"),
        ("pseudonymise rna={0}/x.csv --key {0}/k --out {0}/y.csv", "x.csv: there is no such file"),
    ],
)  # fmt: skip
def test_a_wrong_step_is_a_line_and_loses_nothing(typed, said, tmp_path, capsys):
    content = keygen(tmp_path / "k").read_bytes()
    with pytest.raises(SystemExit) as stop:
        main(["share", *typed.format(tmp_path).split()])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert (tmp_path / "k").read_bytes() == content


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_what_is_interrupted_says_so(stop, code, monkeypatch, capsys):
    def command():
        raise stop

    monkeypatch.setattr("isthmus.cli.steps.command", command)
    with pytest.raises(SystemExit) as ended:
        main(["steps"])
    assert (ended.value.code, capsys.readouterr().err) == (code, "error: interrupted\n")


# ---- damaged manifests


def test_small_counts_are_found_whatever_the_rounding_and_damage_is_told(tmp_path):
    path = tmp_path / "a.csv"
    for least, base, shown, bad in ((5, 1, 5, 2), (5, 1, 6, 4), (5, 5, 5, 3), (5, 10, 10, 5), (2, 5, 5, 1)):
        policy = load_policy({"smallest_cell": least, "rounding": base})
        for count, wrong in ((shown, False), (0, False), (bad, True)):
            path.write_text(f"samples\n{count}\n")
            assert bool(list(verifying._small(path, policy))) == wrong, (least, base, count)
    tree = {"files": {}, "disclosure": {"quasi_identifiers": [], "sensitive": []}, "pseudonyms": {}, "risks": []}
    assert list(verifying._form({**tree, "policy": {}})) == []  # what is lacking has its careful default
    for policy in ({"k": "x"}, {"include": 3}, {"columns": [1]}, {"columns": {"a": {"bins": 0}}}, {"new": 1}):
        assert any("policy" in p.what for p in verifying._form({**tree, "policy": policy})), policy
    assert any("other columns" in p.what for p in verifying._form({**tree, "policy": {"columns": {"a": "keep"}}}))
    kept = {"columns": {"b": {"levels": {"x": "y", "z": "y"}}, "c": {"bins": [1, 2]}, "d": "drop"}, "rounding": 1}
    told = json.loads(json.dumps(load_policy(kept).told()))
    disclosure = {"quasi_identifiers": ["b", "c"], "sensitive": []}
    assert list(verifying._form({**tree, "policy": told, "disclosure": disclosure})) == []
