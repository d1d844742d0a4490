"""Terms are read from what they are distributed in; what is ambiguous or broken is refused by the line."""

import gzip
import logging

import pytest

from isthmus.data.pathways import Pathways, read_pathways
from isthmus.errors import DataError, RecipeError

GENES = [f"G{i}" for i in range(12)]
GMT = "alpha\tR-1\tG0\tG1\tG2\tG2\t\nbeta\tR-2\tG2\tG3\n\ngamma\tR-3\tG9\tother\n"
SETS = {"alpha": ("G0", "G1", "G2"), "beta": ("G2", "G3"), "gamma": ("G9", "other")}


@pytest.fixture
def file(tmp_path):
    def write(name, text):
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.mark.parametrize("name", ["sets.gmt", "sets.GMT", "sets.gmt.gz"])
def test_gmt(file, name):
    assert read_pathways(file(name, GMT), features=GENES).levels == (SETS,)
    assert read_pathways(SETS, features=GENES).levels == (SETS,)


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("features_first", [True, False])
def test_two_columns_in_either_order(file, separator, features_first):
    pairs = [(g, t) for t, genes in SETS.items() for g in genes]
    text = "".join(separator.join(p if features_first else p[::-1]) + "\r\n" for p in pairs)
    assert read_pathways(file("pairs.txt.gz", text), features=GENES).levels == (SETS,)


def test_columns_that_could_be_either_are_refused(file):
    path = file("pairs.tsv", "".join(f"G{i}\tG{i + 1}\n" for i in range(8)))
    with pytest.raises(DataError, match=r"more than one column matches the features.*column 1: 8.*column 2: 8"):
        read_pathways(path, features=GENES)


def test_nothing_in_common_says_what_was_met_and_wanted(file):
    with pytest.raises(
        DataError, match=r"met 'G0', 'G1', 'G2' and 3 more; wanted 'g0', 'g1', 'g10' and 9 more\n6 would match without"
    ):
        read_pathways({"a": GENES[:6]}, features=["g0", "g1", *GENES[6:]]).measured([g.lower() for g in GENES])
    with pytest.raises(DataError, match="no member of any term"):
        read_pathways(file("pairs.tsv", "a\tb\nc\td\n"), features=GENES)


def test_levels_bind_by_name_or_by_the_id_of_a_gmt_file(file):
    up = file("up.tsv", "R-1\tTop\nR-2\tTop\nR-3\tOther\n")
    found = read_pathways(file("s.gmt", GMT), features=GENES, levels=[up, {"Root": ("Top", "Other")}])
    assert found.levels[1:] == ({"Top": ("alpha", "beta"), "Other": ("gamma",)}, {"Root": ("Top", "Other")})
    assert found.terms == ("Root",)
    with pytest.raises(DataError, match="levels: no member of any term"):
        read_pathways(file("s.gmt", GMT), features=GENES, levels=[{"Top": ("delta",)}])


#   R ── A ── C ── E       S ── F (a branch that ends above)
#   └─── B ── D ──┘
HIERARCHY = "parent\tchild\nR\tA\nR\tB\nA\tC\nB\tD\nC\tE\nD\tE\nS\tF\n"
OWN = {t: (f"G{i}",) for i, t in enumerate("RABCDEF")} | {"lonely": ("G9",)}


@pytest.mark.parametrize(
    ("depth", "levels"),
    [
        (0, ({"R": "012345", "S": "6"},)),
        (1, ({"A": "135", "B": "245", "F": "6"}, {"R": "AB", "S": "F"})),
        (2, ({"C": "35", "D": "45", "F": "6"}, {"R": "CD", "S": "F"})),
        (3, ({"E": "5", "F": "6"}, {"R": "E", "S": "F"})),
    ],
)
def test_hierarchy_puts_roots_over_the_terms_at_a_depth(file, caplog, depth, levels):
    caplog.set_level(logging.INFO)
    found = read_pathways(OWN, features=GENES, hierarchy=file("h.tsv", HIERARCHY), depth=depth)
    plain = tuple(
        {t: "".join(sorted(m.removeprefix("G") for m in members)) for t, members in v.items()} for v in found.levels
    )
    assert plain == levels
    assert "1 terms are not in the hierarchy: 'lonely'" in caplog.text


def test_hierarchy_without_a_root_or_a_term(file):
    with pytest.raises(DataError, match="has no root"):
        read_pathways(OWN, features=GENES, hierarchy=file("h.tsv", "A\tB\nB\tA\n"))
    with pytest.raises(DataError, match="no member of any term"):
        read_pathways(OWN, features=GENES, hierarchy=file("h.tsv", "X\tY\n"))
    with pytest.raises(RecipeError, match="exclude each other"):
        read_pathways(OWN, features=GENES, hierarchy=file("h.tsv", HIERARCHY), levels=[{"a": ("b",)}])


POSITIONS = "id\tband\tchromosome\tsymbol\nE0\tq12\t1\tG0\nE1\tp2\t1\tG1\nE2\tq12\tX\tG2\nE3\t\tMT\tG3\nE4\tq1\t7\t\n"


def test_chromosomes_and_bands(file):
    path = file("positions.tsv.gz", POSITIONS)
    assert read_pathways(path, features=GENES, term_columns=["chromosome"]).levels == (
        {"1": ("G0", "G1"), "X": ("G2",), "MT": ("G3",)},
    )
    assert read_pathways(path, features=GENES, term_columns=["chromosome", "band"]).levels == (
        {"1 q12": ("G0",), "1 p2": ("G1",), "X q12": ("G2",), "MT": ("G3",)},
        {"1": ("1 q12", "1 p2"), "X": ("X q12",), "MT": ("MT",)},
    )
    assert set(read_pathways(path, features=["E0", "E4"], term_columns=["chromosome"]).terms) == {"1", "X", "MT", "7"}
    with pytest.raises(RecipeError, match=r"term_columns: the file has no such column.*\n.*'chromosome'"):
        read_pathways(path, features=GENES, term_columns=["chromosom"])
    with pytest.raises(RecipeError, match=r"terms, or GMT \(\.gmt\)\n.*term_columns.* of 'id', 'band'"):
        read_pathways(path, features=GENES)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.gmt", "alpha\tx\tG0\nbeta G1 G2\n", "a.gmt, line 2: is no set of features"),
        ("a.gmt", "alpha\tx\tG0\n\tx\tG1\n", "a.gmt, line 2: is no set of features"),
        ("a.gmt", "alpha\tx\tG0\nalpha\tx\tG1\n", "a.gmt, line 2: a term occurs twice; met 'alpha'"),
        ("a.tsv", "G0\talpha\n\nG1\tbeta\tmore\n", "a.tsv, line 3: has 3 cells.*wanted 2 cells"),
        ("a.tsv", "G0\nG1\n", "a.tsv: has a single column"),
        ("a.tsv", "\n \n", "a.tsv: is empty"),
        ("a.tsv", "G0\talpha\nG1\t\0\n", "a.tsv, line 2: holds a NUL byte"),
    ],
)
def test_a_broken_file_is_named_with_its_line(file, name, text, message):
    with pytest.raises(DataError, match=message):
        read_pathways(file(name, text), features=GENES)


def test_missing_file_names_the_nearest(file):
    path = file("reactome.gmt", GMT)
    with pytest.raises(DataError, match=r"no such file\n?.*'reactome.gmt'"):
        read_pathways(path.with_name("reactom.gmt"), features=GENES)


def test_only_what_was_measured_stays():
    found = Pathways((SETS, {"Top": ("alpha", "gamma"), "Low": ("beta",)}))
    kept, gone = found.measured(GENES, 3)
    assert kept.levels == ({"alpha": ("G0", "G1", "G2")}, {"Top": ("alpha",)})
    assert gone == {"beta": 2, "gamma": 1}
    assert kept.measured(GENES, 3) == (kept, {})
    with pytest.raises(DataError, match="no term has so many measured features; met 'at most 3'"):
        found.measured(GENES, 4)
    rest = kept.with_rest(GENES[:5])
    assert rest.levels == (
        {"alpha": ("G0", "G1", "G2"), "unassigned": ("G3", "G4")},
        {"Top": ("alpha",), "unassigned": ("unassigned",)},
    )
    assert rest.with_rest(GENES[:5]) == rest


def test_reactome_and_positions_of_the_shared_data(real_data):
    folder = real_data / "pathways"
    if not folder.is_dir():
        pytest.skip("no pathways among the real data")
    gmt, relation = folder / "Reactome_symbols.gmt", folder / "ReactomePathwaysRelation_human.tsv"
    flat = read_pathways(gmt, features=["TP53"])
    assert len(flat.terms) == 1448
    assert len(flat.features) == 11194
    roots = read_pathways(gmt, features=["TP53"], hierarchy=relation, depth=0)
    assert len(roots.terms) == 28  # 29 roots, one of which has no gene
    assert {"Signal Transduction", "Immune System"} <= set(roots.terms)
    two = read_pathways(gmt, features=["TP53"], hierarchy=relation, depth=1)
    assert set(two.terms) == set(roots.terms)
    assert "Adaptive Immune System" in two.levels[1]["Immune System"]
    onto = read_pathways(
        folder / "full_ont_lvl1_reactome.txt.gz", features=["1", "100"],
        levels=[folder / "full_ont_lvl2_reactome_named.txt.gz"],
    )  # fmt: skip
    assert "R-HSA-140837" in onto.levels[1]["Hemostasis"]
    sex = read_pathways(
        folder / "genes_chromosomes.tsv.gz", features=["SRY", "XIST", "TP53"],
        term_columns=["Chromosome/scaffold name"],
    )  # fmt: skip
    assert "SRY" in sex.levels[0]["Y"]
    assert "XIST" in sex.levels[0]["X"]
