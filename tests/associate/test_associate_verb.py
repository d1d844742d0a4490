"""`isthmus associate`: recipe, folder, what survives the groups, network, targets, report."""

import json
import re

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

import isthmus as ist
from isthmus import cli
from isthmus.associate import pools, spearman, targets
from isthmus.associate.modules import modules
from isthmus.associate.targets import detectable, interval
from isthmus.associating import views
from isthmus.associating.lines import external, grouped
from isthmus.associating.network import nodes, write_graphml, write_h5ad
from isthmus.associating.recipe import load_associate_recipe
from isthmus.associating.run import associate, save_tables
from isthmus.associating.study import control_cells, control_order
from isthmus.associating.tables import Tables, in_words, tables, varying
from isthmus.data.pathways import read_pathways
from isthmus.errors import DataError, RecipeError

SIMULATION = {
    "n": 60, "modalities": {"gene": 80, "metabolite": 30}, "shared": 1, "private": 1, "classes": 1, "noise": 3.0,
    "links": 8, "pathways": 0, "sites": 3, "site_effect": 4.0, "seed": 1,
}  # fmt: skip
RECIPE = {
    "data": {"simulate": SIMULATION},
    "associate": {
        "between": ["gene", "metabolite"], "design": ["site"], "targets": "metabolite_0003",
        "stability": {"halves": 10},
    },
}  # fmt: skip


def changed(**keys):
    return {**RECIPE, "associate": {**RECIPE["associate"], **keys}}


def plain(**keys):
    """Nothing but the direct test."""
    return changed(targets=None, stability=None, scatter=0, views=[], **keys)


def planted():
    links = ist.simulate(**SIMULATION).uns["truth"]["links"]
    return set(zip(links["source"], links["target"], strict=True))


def pairs_of(table):
    return set(zip(table["x"].astype(str), table["y"].astype(str), strict=True))


@pytest.fixture(scope="module", autouse=True)
def _few_draws():
    """A null of 2 million pairs instead of 60: it can still accept one pair of 2,400."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "FEW_DRAWS", 2_000_000)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return associate(RECIPE, tmp_path_factory.mktemp("verb") / "run")


def test_links_that_were_planted_are_found_and_group_effects_are_not(done):
    found = pairs_of(done.hits.table)
    assert len(found & planted()) >= 6
    assert len(found - planted()) <= 1
    assert done.marginal.n_hits > 300
    assert done.hits.table["n"].eq(60).all()


def test_the_words_begin_with_what_could_be_seen(done):
    assert re.match(r"Minimum detectable effect: with n = 60 samples and 2,400 pairs tested", done.verdict[0])
    needed = float(re.search(r"\|ρ\| of (0\.\d+)", done.verdict[0])[1])
    assert done.hits.minimum_detectable == pytest.approx(needed, abs=5e-4)
    assert f"as the samples stand, {done.marginal.n_hits:,} would be" in done.verdict[1]
    gone = len(pairs_of(done.marginal.table) - pairs_of(done.hits.table))
    assert done.verdict[2].startswith(f"{gone:,} of these {done.marginal.n_hits:,}")
    assert done.verdict[2].endswith("only with site taken out.")
    page = re.sub(r"<[^>]+>", " ", done.report.read_text(encoding="utf-8"))
    assert page.index("Minimum detectable effect") < page.index("What was tested")
    for words in ("groups taken out", "What the groups explain", "Stability", "Evidence", "t-SNE 1", "Control:"):
        assert words in page, words


def test_what_is_written_is_read_back(done):
    folder = done.report.parent
    hits = pd.read_parquet(folder / "hits.parquet").astype({"x": str, "y": str})
    assert hits["p"].is_monotonic_increasing
    pd.testing.assert_frame_equal(hits.drop(columns="marginal_hit"), done.hits.table)
    assert set(hits["marginal_hit"]) <= {True, False}
    graph = nx.read_graphml(folder / "network.graphml")
    assert graph.number_of_edges() == len(hits)
    first = hits.iloc[0]
    edge = graph.edges[f"gene/{first['x']}", f"metabolite/{first['y']}"]
    assert edge["rho"] == pytest.approx(first["rho"])
    assert graph.nodes[f"gene/{first['x']}"]["feature"] == first["x"]
    net = ad.read_h5ad(folder / "network.h5ad")
    assert set(net.obs["side"]) == {"gene", "metabolite"}
    rho = net.obsp["rho"].toarray()
    np.testing.assert_array_equal(rho, rho.T)
    at = net.obs_names.get_indexer([f"gene/{first['x']}", f"metabolite/{first['y']}"])
    assert rho[at[0], at[1]] == pytest.approx(first["rho"])
    assert (net.obsp["rho"] != 0).sum() == 2 * len(hits)
    modules = pd.read_csv(folder / "modules.csv")
    assert set(modules["module"]) == set(net.obs["module"])
    evidence = pd.read_csv(folder / "evidence.csv")
    assert pairs_of(hits) <= pairs_of(evidence)
    assert tuple(evidence.loc[0, ["x", "y"]]) in planted()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["direct/n_hits"] == len(hits)
    assert metrics["control/n_hits"] <= 1


def test_every_feature_is_ranked_for_a_target(done):
    ranked = pd.read_parquet(done.report.parent / "targets.parquet")
    assert set(ranked["feature"]) == {f"gene_{i:04d}" for i in range(80)}
    assert (ranked["rank"] == range(1, 81)).all()
    assert (ranked["lower"] < ranked["rho"]).all()
    assert (ranked["rho"] < ranked["upper"]).all()
    np.testing.assert_allclose(ranked["q"], stats.false_discovery_control(ranked["p"]), rtol=1e-9)


def test_the_resolved_recipe_gives_the_same_numbers_and_is_refused_without_overwrite(tmp_path):
    first = associate(plain(), tmp_path / "run")
    resolved = load_associate_recipe(tmp_path / "run" / "recipe.yaml")
    assert resolved.text() == (tmp_path / "run" / "recipe.yaml").read_text()
    with pytest.raises(RecipeError, match="exists"):
        associate(resolved, tmp_path / "run")
    again = associate(resolved, tmp_path / "run", overwrite=True)
    pd.testing.assert_frame_equal(first.hits.table, again.hits.table)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_no_hit_is_no_error(tmp_path):
    tree = plain(fdr=1e-6, correction="bonferroni")
    tree["data"] = {"simulate": {**SIMULATION, "links": 0, "n": 12}}
    found = associate(tree, tmp_path / "run")
    assert found.hits.n_hits == 0
    assert nx.read_graphml(tmp_path / "run" / "network.graphml").number_of_nodes() == 0
    assert ad.read_h5ad(tmp_path / "run" / "network.h5ad").n_obs == 0
    assert "No pair is accepted" in found.report.read_text(encoding="utf-8")


def test_known_groups_are_taken_out_by_default_and_blocks_permute(tmp_path):
    obs = ist.simulate(**SIMULATION).obs
    recipe = plain(design=None)
    mdata = ist.simulate(**SIMULATION)
    with pytest.raises(RecipeError, match="more classes than can be taken out"):
        tables(_with(mdata, obs[["site"]].assign(many=[f"c{i // 2}" for i in range(60)])), _parsed(recipe))
    only = tables(_with(mdata, obs[["site"]]), _parsed(recipe))
    assert list(only.design.columns) == ["site"]
    assert not only.chosen
    assert tables(_with(mdata, obs[["age"]]), _parsed(recipe)).design is None
    assert tables(mdata, _parsed(plain(design=[]))).design is None
    blocked = tables(mdata, _parsed(plain(design=None, blocks="site")))
    assert blocked.design is None
    assert blocked.blocks.nunique() == 3
    joint = tables(mdata, _parsed(plain(design=["site*sex"])))
    assert joint.design.iloc[:, 0].nunique() == obs.groupby(["site", "sex"], observed=True).ngroups


def _with(mdata, obs):
    mdata = mdata.copy()
    mdata.obs = obs
    return mdata


def _parsed(tree):
    from isthmus.associating.recipe import parse_associate_recipe

    return parse_associate_recipe(tree)


def test_samples_without_a_value_of_the_design_are_left_out_and_told(tmp_path):
    mdata = ist.simulate(**SIMULATION)
    obs = mdata.obs.astype({"site": object})
    obs.loc[obs.index[:5], "site"] = None
    made = tables(_with(mdata, obs), _parsed(plain()))
    assert len(made.x) == 55
    assert made.n_unknown == 5


def test_what_is_constant_is_not_tested_and_told(caplog):
    mdata = ist.simulate(**SIMULATION)
    x = mdata.mod["gene"].X
    x[:, 3], x[:, 5] = np.nan, 7.0
    made = tables(mdata, _parsed(plain()))
    assert varying(made.x).sum() == 78
    names = "'gene_0003', 'gene_0005'"
    assert f"gene: 2 of 80 features are constant or missing and not tested, such as {names}" in caplog.text
    mdata.mod["metabolite"].X[:] = 1.0
    with pytest.raises(DataError, match="data: metabolite: holds nothing to correlate with; met '30 features"):
        tables(mdata, _parsed(plain()))


def test_external_evidence_and_annotations_stand_beside(tmp_path):
    links = sorted(planted())
    (tmp_path / "known.csv").write_text("x,y,score\n" + f"{links[0][0]},{links[0][1]},9\ngene_0000,other,1\n")
    genes = [a for a, _ in links] + ["gene_0001"]
    (tmp_path / "sets.gmt").write_text("planted\tna\t" + "\t".join(genes) + "\n")
    tree = plain(
        external=str(tmp_path / "known.csv"), annotations=str(tmp_path / "sets.gmt"), weights={"external": 0.5},
        fdr=1.0, network=40,
    )  # fmt: skip
    found = associate(tree, tmp_path / "run")
    row = found.evidence.set_index(["x", "y"]).loc[links[0]]
    assert row["external"] == 9
    assert found.evidence.attrs["weights"] == pytest.approx({"direct": 2 / 3, "external": 1 / 3})
    best = found.lines.enrichment.iloc[0]
    assert best["term"] == "planted"
    assert best["modality"] == "gene"
    sizes = found.lines.modules.summary.set_index("module")["n_x"]
    assert set(found.lines.enrichment["module"]) == set(sizes.index[sizes >= 3])
    assert (sizes < 3).any()


def test_modules_too_small_for_sets_are_said(caplog):
    x, y = (pd.DataFrame(1.0, ["s"], list(names)) for names in ("abcdef", "mn"))
    given = Tables(x, y, pd.DataFrame(index=x.index), None, None, chosen=True, n_read=1, n_unknown=0)
    pairs = modules(pd.DataFrame({"x": ["a", "b"], "y": ["m", "n"]}))
    assert grouped(pairs, given, _parsed(plain(annotations="sets.gmt")).associate, {"s": list("abcde")}).empty
    assert "no module has 3 features" in caplog.text


def test_a_feature_called_na_is_no_missing_value(tmp_path):
    x, y = (pd.DataFrame(1.0, ["s"], list(names)) for names in (("NA", "null", "g"), ("nan", "m")))
    given = Tables(x, y, pd.DataFrame(index=x.index), None, None, chosen=True, n_read=1, n_unknown=0)
    (tmp_path / "known.csv").write_text("x,y,score\nNA,nan,2\nnull, m,1\n")
    found = external(tmp_path / "known.csv", given)
    assert found.to_numpy().tolist() == [["NA", "nan", 2.0], ["null", "m", 1.0]]
    (tmp_path / "known.csv").write_text("x,y,score\nNA,nan,2,1\n")
    with pytest.raises(DataError, match="more cells than the header"):
        external(tmp_path / "known.csv", given)


def test_a_pair_of_external_evidence_twice_is_told_and_with_two_scores_refused(tmp_path, caplog):
    x, y = (pd.DataFrame(1.0, ["s"], list(names)) for names in ("ab", "mn"))
    given = Tables(x, y, pd.DataFrame(index=x.index), None, None, chosen=True, n_read=1, n_unknown=0)
    file = tmp_path / "known.csv"
    file.write_text("x,y,score\na,m,2\nb,n,1\na,m,2.0\nb,n,1\nother,n,3\nother,n,4\n")
    assert external(file, given).to_numpy().tolist() == [["a", "m", 2.0], ["b", "n", 1.0]]
    assert "2 rows repeat a pair and its score, such as a - m" in caplog.text
    file.write_bytes("x,y,score\né,m,2\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"known.csv: is not UTF-8 text\nsave it as UTF-8"):
        external(file, given)
    file.write_text("x,y,score\na,m,2\nb,n,1\na,m,3\n")
    with pytest.raises(DataError, match=r"gives a pair two scores; met 'a - m with 2.0, 3.0 on lines 2, 4'"):
        external(file, given)


def test_sets_that_are_not_utf_8_are_told_without_an_option_that_is_not_there(tmp_path):
    (tmp_path / "sets.gmt").write_bytes("Gène\tna\ta\tb\n".encode("latin-1"))
    for content in ((tmp_path / "sets.gmt").read_bytes(), "A\tna\ta\n".encode("utf-16")):
        (tmp_path / "sets.gmt").write_bytes(content)
        with pytest.raises(DataError) as caught:
            read_pathways(tmp_path / "sets.gmt", features={"a"})
        assert "encoding=" not in str(caught.value)
        assert caught.value.hint.startswith("save it as UTF-8")


def test_no_name_in_a_csv_is_a_formula(tmp_path):
    save_tables({"evidence": pd.DataFrame({"x": ["=1+1", "g"], "y": ["@m", "-0.5"], "rho": [-0.25, None]})}, tmp_path)
    said = (tmp_path / "evidence.csv").read_text().splitlines()
    assert said == ["x,y,rho", "'=1+1,'@m,-0.25", "g,-0.5,"]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({**RECIPE, "asociate": {}}, "did you mean 'associate'"),
        (changed(between=["gene", "metabolit"]), "did you mean 'metabolite'"),
        (changed(between=["gene", "gene"]), "names one modality twice"),
        (changed(between=["gene"]), "associate.between"),
        (changed(corelation="pearson"), "did you mean 'correlation'"),
        (changed(correlation="kendall"), "associate.correlation"),
        (changed(design=["sit"]), "did you mean 'site'"),
        (changed(design=["site", "site"]), "twice"),
        (changed(design=["age*site"]), "joins columns that are no classes"),
        (changed(design=["class"]), "one value throughout"),
        (changed(blocks="patien"), "did you mean 'patient'"),
        (changed(targets=["metabolite_003"]), "did you mean"),
        (changed(targets=[]), "names no feature"),
        (changed(null="exact"), "without ties, design or blocks"),
        (changed(latent={"refit": 2}), "did you mean 'refits'"),
        (changed(graph={"epoch": 2}), "did you mean 'epochs'"),
        (changed(external="none.csv"), "there is no such file"),
        (changed(weights={"direct": 0, "stability": 0}), "all zero"),
        (changed(annotations="sets.gmt"), "no set has enough features"),
        (changed(fdr=0), "associate.fdr"),
        ({**RECIPE, "data": {**RECIPE["data"], "split": {"folds": 3}}}, "is not read by isthmus associate"),
        ({**RECIPE, "prepare": {"gene": ["log1q"]}}, "did you mean 'log1p'"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_no_folder(tree, message, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    (tmp_path / "sets.gmt").write_text("few\tna\tgene_0001\tgene_0002\n", encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        cli.main(["associate", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")])
    said = capsys.readouterr().err
    lines = [line for line in said.strip().splitlines() if not line.startswith("warning:")]
    assert ended.value.code == 2, said
    assert lines[0].startswith("error: ")
    assert message in said
    assert len(lines) <= 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["recipe.yaml", "sets.gmt"]


# ---- targets in Python


def cohort(n=30, p=40):
    rng = np.random.default_rng(3)
    ids = [f"s{i}" for i in range(n)]
    x = pd.DataFrame(rng.normal(size=(n, p)), ids, [f"g{i}" for i in range(p)])
    y = pd.DataFrame(rng.normal(size=(n, 3)), ids, list("abc"))
    y["a"] = x["g7"] + 0.3 * rng.normal(size=n)
    return x, y


def test_targets_are_the_rows_of_all_pairs():
    x, y = cohort()
    ranked = targets(x, y, ["a", "c"])
    assert ranked["feature"].iloc[0] == "g7"
    every = spearman(x, y, fdr=1).table.set_index(["x", "y"])
    for row in ranked.to_dict("records"):
        assert row["rho"] == pytest.approx(every.at[(row["feature"], row["target"]), "rho"])
        assert row["p"] == pytest.approx(every.at[(row["feature"], row["target"]), "p"])
    with pytest.raises(RecipeError, match="no such feature"):
        targets(x, y, "d")
    with pytest.raises(RecipeError, match="twice"):
        targets(x, y, ["a", "a"])


def test_a_target_that_no_sample_shows_is_named(tmp_path):
    x, y = cohort()
    with pytest.raises(DataError, match=r"target 'b': is shown by too few samples; met 2"):
        targets(x, y.assign(b=y["b"].where(np.arange(len(y)) < 2)), ["a", "b"])
    x.to_csv(tmp_path / "x.csv")
    y.assign(b=np.nan, c=1).to_csv(tmp_path / "y.csv")
    read = {"x": str(tmp_path / "x.csv"), "y": str(tmp_path / "y.csv")}
    with pytest.raises(DataError, match=r"associate.targets, 'b': is shown by too few"):
        associate({"data": {"read": read}, "associate": {"between": ["x", "y"], "targets": "b"}}, tmp_path / "run")


def test_targets_of_numbered_features_are_found_by_their_text():
    x, y = cohort()
    ranked = targets(x, y.set_axis(range(3), axis=1), "0")
    assert ranked["feature"].iloc[0] == "g7"


def test_intervals_are_fishers_and_hold_the_truth():
    lower, upper = interval(np.array([0.5]), np.array([30]), kind="pearson", level=0.95)
    theirs = stats.pearsonr(*_with_correlation(0.5, 30)).confidence_interval(0.95)
    assert (lower[0], upper[0]) == pytest.approx((theirs.low, theirs.high))
    rng, rho, inside = np.random.default_rng(0), 0.6, []
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's of a normal pair
    for _ in range(1500):
        a = rng.normal(size=40)
        b = rho * a + np.sqrt(1 - rho**2) * rng.normal(size=40)
        low, high = interval(np.array([stats.spearmanr(a, b).statistic]), np.array([40]), kind="spearman", level=0.9)
        inside.append(low[0] <= truth <= high[0])
    assert np.mean(inside) == pytest.approx(0.9, abs=0.025)


def _with_correlation(r, n):
    rng = np.random.default_rng(0)
    a = stats.zscore(rng.normal(size=n))
    b = rng.normal(size=n)
    b = stats.zscore(b - a * (a @ b) / n)
    return a, r * a + np.sqrt(1 - r**2) * b


def test_what_is_detectable_is_detected_in_that_share_of_studies():
    rng, least, n = np.random.default_rng(0), 0.5, 40
    rho = detectable(least, n, kind="pearson", power=0.8)
    a = rng.normal(size=(4000, n))
    b = rho * a + np.sqrt(1 - rho**2) * rng.normal(size=(4000, n))
    a, b = (v - v.mean(axis=1, keepdims=True) for v in (a, b))
    r = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    assert np.mean(np.abs(r) >= least) == pytest.approx(0.8, abs=0.025)
    assert detectable(1.0, 21, kind="spearman") == 1.0


# ---- parts


def test_maps_keep_what_is_near_and_say_what_they_are(monkeypatch):
    rng = np.random.default_rng(0)
    values = np.repeat(np.eye(3), 12, axis=0) @ rng.normal(size=(3, 20)) * 5 + rng.normal(size=(36, 20))
    values[rng.random(values.shape) < 0.02] = np.nan
    ids = pd.Index([f"s{i}" for i in range(36)])
    label = np.repeat(np.arange(3), 12)
    monkeypatch.setattr(views, "find_spec", lambda name: None)
    for kind, name in (("tsne", "t-SNE"), ("pca", "PCA"), ("umap", "PCA")):
        xy = views.view(values, kind, index=ids, seed=0)
        assert list(xy.columns) == [f"{name} 1", f"{name} 2"]
        distance = np.linalg.norm(xy.to_numpy()[:, None] - xy.to_numpy(), axis=2)
        np.fill_diagonal(distance, np.inf)
        assert (label[distance.argmin(axis=1)] == label).mean() > 0.95
    assert list(views.view(values[:5], "tsne", index=ids[:5], seed=0).columns) == ["PCA 1", "PCA 2"]


def test_the_control_breaks_pairs_and_keeps_groups():
    mdata = ist.simulate(**SIMULATION)
    made = tables(mdata, _parsed(plain()))
    order = control_order(made, 0)
    assert sorted(order) == list(range(60))
    assert (order != np.arange(60)).mean() > 0.8
    np.testing.assert_array_equal(made.design["site"].to_numpy()[order], made.design["site"].to_numpy())


def test_names_that_no_file_can_hold_do_not_break_the_network(tmp_path):
    edges = pd.DataFrame({"x": ["a/b\x01", "<g>"], "y": ["m", "m"], "rho": [0.5, -0.6], "p": [0.1, 0.2]})
    table = nodes(edges, ("gene", "gene2"), None)
    write_graphml(edges, table, ("gene", "gene2"), tmp_path / "n.graphml")
    write_h5ad(edges, table, ("gene", "gene2"), tmp_path / "n.h5ad")
    graph = nx.read_graphml(tmp_path / "n.graphml")
    assert graph.edges["gene/<g>", "gene2/m"]["rho"] == -0.6
    assert graph.degree("gene2/m") == 2
    assert ad.read_h5ad(tmp_path / "n.h5ad").n_obs == 3


def test_weights_of_lines_that_are_not_there_are_refused_before_anything_is_read():
    with pytest.raises(RecipeError, match=r"associate.weights.latent: is not asked for by the recipe"):
        _parsed(plain(weights={"latent": 1}))
    with pytest.raises(RecipeError, match=r"associate.weights.directt: is no line of evidence"):
        _parsed(plain(weights={"directt": 1}))
    assert _parsed(changed(weights={"direct": 0})).associate.weights == {"direct": 0}  # stability has 1


def test_groups_that_are_not_taken_out_of_themselves_are_named(caplog):
    mdata = ist.simulate(**SIMULATION)
    obs = mdata.obs[["site"]].astype(object)
    obs["centre"] = obs["site"].mask(np.arange(60) == 4)
    obs["batch"] = ["one", *["many"] * 30, *["more"] * 29]
    obs["id"] = [f"i{k}" for k in range(60)]
    made = tables(_with(mdata, obs), _parsed(plain(design=None)))
    assert list(made.design.columns) == ["site"]
    assert "not taken out: centre (1 sample without a value), batch (a class of one sample)" in caplog.text


def test_columns_are_spoken_of_one_after_another():
    assert [in_words("abc"[:k]) for k in (1, 2, 3)] == ["a", "a and b", "a, b and c"]


def test_the_control_says_within_groups_only_where_it_is():
    mdata = ist.simulate(**SIMULATION)
    for design, within in ((["site"], True), (["site", "age"], False)):
        made = tables(mdata, _parsed(plain(design=design)))
        assert (control_cells(made) is not None) == within


def test_a_sample_without_values_does_not_narrow_the_freedom_of_intervals():
    x, y = (pd.DataFrame(np.random.default_rng(k).normal(size=(21, 3)), columns=list("abc")) for k in (0, 1))
    x.iloc[4] = np.nan
    columns = ["lower", "upper"]
    whole, fewer = (targets(t, y, "a").sort_values("feature")[columns] for t in (x, x.drop(index=4)))
    np.testing.assert_allclose(whole.to_numpy(), fewer.to_numpy())
