"""A bundle of a run whose ids are random, some of them parts of others: nothing of them is left, and all comes back."""

import json
import logging
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import isthmus as ist
from isthmus import experiment, store
from isthmus.cli import main
from isthmus.errors import DataError, InputError, RecipeError
from isthmus.recipe import parse_recipe
from isthmus.share import tabling
from isthmus.share.bundling import check
from isthmus.share.disclosure import enforced, measured
from isthmus.share.house import opened
from isthmus.share.keys import read_key
from isthmus.share.policy import generalised, load_policy, unlisted
from isthmus.share.renaming import Renamer, named

POLICY = {
    "columns": {"age": {"bins": 20}, "kind": {"keep": True, "sensitive": True}, "seen": {"date": "year"}},
    "k": 5, "l": 2, "include": ["embedding", "metadata"],
}  # fmt: skip
LETTERS = np.array(list("ABCDEFGHJKLMNPQRSTUVWXYZ23456789"))


def names(rng, n, prefix=""):
    """Distinct ids; every fifth is the one before it with more letters, every seventh with less."""
    found = []
    while len(found) < n:
        fresh = prefix + "Q" + "".join(rng.choice(LETTERS, size=int(rng.integers(4, 9)))) + "7"
        if len(found) % 5 == 4:
            fresh = found[-1] + fresh[-2:]
        if len(found) % 7 == 6:
            fresh = found[-1][:-1] + "9"
        if fresh not in found:
            found.append(fresh)
    return found


def cohort(folder, seed=0, n=90, features=None):
    """Two tables and metadata on disk; ids of any letters, values with structure."""
    rng = np.random.default_rng(seed)
    ids = names(rng, n)
    tables = features or {"rna": names(rng, 30, "g"), "cnv": names(rng, 12, "g")}
    factors = rng.normal(size=(n, 3))
    folder.mkdir(parents=True, exist_ok=True)
    for m, f in tables.items():
        x = factors @ rng.normal(size=(3, len(f))) + 0.5 * rng.normal(size=(n, len(f)))
        pd.DataFrame(x, ids, f).to_csv(folder / f"{m}.csv", index_label="id")
    obs = pd.DataFrame(
        {
            "kind": np.where(factors[:, 0] > 0, "high", "low"), "age": rng.integers(30, 80, n),
            "seen": [f"20{rng.integers(10, 12)}-0{rng.integers(1, 9)}-1{rng.integers(0, 9)}" for _ in range(n)],
            "record": [f"MRN{rng.integers(10**7, 10**8)}" for _ in range(n)],
            "clinic": rng.choice(["Frauenklinik-Ost", "Zentrum-Nord"], n), "weight": rng.normal(70, 10, n),
        },
        index=ids,
    )  # fmt: skip
    obs.to_csv(folder / "clinical.csv", index_label="id")
    return ids, tables, obs


def run_of(folder, out, **more):
    recipe = {
        "data": {
            "read": {m: str(folder / f"{m}.csv") for m in ("rna", "cnv")}, "obs": str(folder / "clinical.csv"),
            "split": {"fractions": [0.6, 0.2, 0.2], "stratify": "kind"},
        },
        "prepare": {"rna": [{"top_variance": 20}, "standardise"]},
        "model": {"name": "vae", "latent": 3, "hidden": [8]}, "training": {"epochs": 4, "patience": None},
        "evaluate": {"embedding": {"labels": ["kind", "clinic"], "learners": ["logistic"], "baselines": ["pca"],
                                   "resamples": 20}, "translation": None, "disentanglement": None},
        **more,
    }  # fmt: skip
    experiment.run(parse_recipe(recipe), out)
    return out


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A run with its key and its bundle, as a folder."""
    place = tmp_path_factory.mktemp("site")
    ids, features, obs = cohort(place / "hidden_hospital_name")
    heads = {"clinic": {"kind": "class"}}
    run = run_of(place / "hidden_hospital_name", place / "run", heads=heads)
    ist.share.keygen(place / "project.key")
    ist.share.bundle(run, place / "bundle", key=place / "project.key", policy=POLICY, refits=0, accept_risk=True)
    return place, ids, features, obs


def every_byte(bundle):
    """Each file of a bundle with what it holds unpacked by its own reader."""
    for path in sorted(p for p in bundle.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.suffix == ".h5ad":
            adata = ad.read_h5ad(path)
            content += str([*adata.obs_names, *adata.var_names, adata.obs.to_csv(), dict(adata.uns)]).encode()
        yield path.relative_to(bundle).as_posix(), content


def test_no_raw_id_and_no_denied_value_is_in_any_byte(site):
    place, ids, features, obs = site
    raw = [*ids, *features["rna"], *features["cnv"], *obs["record"], *obs["seen"].unique(), *obs["clinic"].unique()]
    raw += ["hidden_hospital_name", str(place), "record"]
    for name, content in every_byte(place / "bundle"):
        assert [r for r in raw if r.encode() in content or r.encode() in name.encode()] == [], name
    text = (place / "project.key").read_text().strip().encode()
    assert not any(text in c for _, c in every_byte(place / "bundle"))


def test_nothing_that_was_kept_is_lost(site):
    place, _, _, obs = site
    rows = pd.read_csv(place / "bundle" / "obs.csv", index_col=0)
    assert set(rows.columns) == {"age", "kind", "seen"}
    z = ad.read_h5ad(place / "bundle" / "embedding.h5ad")
    assert set(z.obs_names) == set(rows.index)
    known = json.loads((place / "project.key.names.json").read_bytes())["names"]["sample"]
    old = ad.read_h5ad(place / "run" / "embedding.h5ad")
    for pseudonym in z.obs_names[:10]:  # every row is that of its own sample
        np.testing.assert_array_equal(z[pseudonym].X, old[known[pseudonym]].X)
        assert rows.loc[pseudonym, "kind"] == obs.loc[known[pseudonym], "kind"]
        assert str(rows.loc[pseudonym, "seen"]) == obs.loc[known[pseudonym], "seen"][:4]
    manifest = json.loads((place / "bundle" / "manifest.json").read_bytes())
    assert manifest["canary"]["found"] == 0
    assert manifest["risk_accepted"] is True
    assert "weaker" in manifest["risks"][0]
    assert manifest["files"]["embedding.h5ad"]["class"] == "personal"
    assert "clinic" not in json.dumps(manifest)


@pytest.mark.parametrize("rule", [{"rare": 10}, {"levels": {"Zentrum-Nord": "north"}}, {"keep": True}])
def test_raw_levels_stand_in_a_model_only_where_the_column_is_kept_as_it_is(site, rule):
    policy = load_policy({"columns": {"clinic": rule}})
    renamer = Renamer(opened(site[0] / "run"), named(read_key(site[0] / "project.key"), policy), policy)
    target = next(t for t in renamer.model().description["spec"]["targets"] if t["name"] == "head/clinic")
    levels = renamer.recipe({"data": {"read": "x.h5mu", "split": {"by": {"clinic": {"Zentrum-Nord": "test"}}}}})
    shared = set(target["classes"]) | set(levels["data"]["split"]["by"]["clinic"])
    raw = {"Frauenklinik-Ost", "Zentrum-Nord"}
    assert shared & raw == (raw if "keep" in rule else set())


def test_the_same_run_key_and_policy_give_the_same_bytes_and_no_name_is_logged(site, tmp_path, caplog):
    place, ids, *_ = site
    caplog.set_level(logging.DEBUG)
    out = ist.share.bundle(
        place / "run", tmp_path / "b.zip", key=place / "project.key", policy=POLICY, refits=0, accept_risk=True
    )
    with zipfile.ZipFile(out) as archive:
        archive.extractall(tmp_path / "b")
    first, second = dict(every_byte(place / "bundle")), dict(every_byte(tmp_path / "b"))
    assert first == second
    assert (tmp_path / "b.zip").stat().st_size < sum(map(len, first.values()))
    assert ist.share.verify(out, key=place / "project.key").ok
    secret = (place / "project.key").read_text().strip()
    assert [t for t in (secret, *ids) if t in caplog.text] == []


def test_reverse_is_exact(site, tmp_path):
    place, ids, *_ = site
    out = ist.share.reverse(place / "bundle", tmp_path / "named", key=place / "project.key")
    for name in ("weights.safetensors", "prepare.safetensors"):
        assert (out / "model" / name).read_bytes() == (place / "run" / "model" / name).read_bytes()
    new, old = (json.loads((p / "model" / "model.json").read_bytes()) for p in (out, place / "run"))
    assert {**new, "history": old["history"]} == old  # losses stay rounded
    assert new["history"] == [
        {k: float(f"{v:.3g}") if isinstance(v, float) else v for k, v in row.items()} for row in old["history"]
    ]
    table, before = (pd.read_csv(p / "tables" / "by_feature.csv") for p in (out, place / "run"))
    assert list(table["feature"]) == list(before["feature"])
    z = ad.read_h5ad(out / "embedding.h5ad")
    assert set(z.obs_names) <= set(ids)
    pd.testing.assert_frame_equal(z.to_df().sort_index(), ad.read_h5ad(place / "run" / "embedding.h5ad").to_df().loc[sorted(z.obs_names)], check_names=False)  # fmt: skip  # noqa: E501


def test_a_wrong_key_gives_nothing_back(site, tmp_path):
    place, *_ = site
    ist.share.keygen(tmp_path / "other.key")
    shutil.copy(place / "project.key.names.json", tmp_path / "other.key.names.json")
    with pytest.raises(DataError, match="was not made with this key"):
        ist.share.reverse(place / "bundle", tmp_path / "named", key=tmp_path / "other.key")
    assert not (tmp_path / "named").exists()
    with pytest.raises(DataError, match="lies within the bundle"):
        ist.share.reverse(place / "bundle", place / "bundle" / "named", key=place / "project.key")
    found = ist.share.verify(place / "bundle", key=tmp_path / "other.key")
    assert "was not made with this key" in found.problems[0].what


def test_a_model_is_applied_to_data_under_the_same_pseudonyms(site, tmp_path):
    place, *_ = site
    data = ist.read({m: str(place / "hidden_hospital_name" / f"{m}.csv") for m in ("rna", "cnv")})
    fitted = ist.load(place / "bundle")
    hidden = ist.share.pseudonymise(data, key=place / "project.key")
    expected = ist.load(place / "run").embed(data)
    np.testing.assert_array_equal(fitted.embed(hidden).X, expected.X)
    back = fitted.translate(hidden, "rna", "cnv")
    assert set(back.var_names) == set(hidden.mod["cnv"].var_names)
    with pytest.raises(DataError, match="no feature in common"):
        fitted.embed(data)
    heads = fitted.predict(hidden)  # the head's column was not shared: it has a pseudonym, and so have its classes
    assert heads.shape[1] == 2
    assert not any("clinic" in c or "Frauenklinik" in c for c in heads.columns)


def test_two_sites_with_one_key_join_and_another_project_does_not(site, tmp_path):
    place, _, features, _ = site
    cohort(tmp_path / "data", seed=5, features=features)
    other = ist.read({m: str(tmp_path / "data" / f"{m}.csv") for m in features})
    here = ist.load(place / "bundle")
    there = ist.share.pseudonymise(other, key=place / "project.key", policy={"site": "two"})
    assert set(there.mod["rna"].var_names) >= set(here.features("rna"))
    assert np.isfinite(here.embed(there).X).all()
    assert set(there.mod["rna"].var_names).isdisjoint(there.mod["cnv"].var_names)
    elsewhere = ist.share.pseudonymise(other, key=place / "project.key", policy={"project": "another"})
    assert set(elsewhere.mod["rna"].var_names).isdisjoint(there.mod["rna"].var_names)
    ist.share.keygen(tmp_path / "k")
    with_another = ist.share.pseudonymise(other, key=tmp_path / "k")
    assert set(with_another.mod["rna"].var_names).isdisjoint(there.mod["rna"].var_names)


def linked(path):
    path.rename(path.parents[1] / path.name)
    path.symlink_to(path.parents[1] / path.name)


@pytest.mark.parametrize(
    ("damage", "where", "what"),
    [
        (lambda b: (b / "history.csv").write_text("phase\n"), "history.csv", "sha256"),
        (lambda b: (b / "log.txt").unlink(), "log.txt", "missing"),
        (lambda b: (b / "notes.txt").write_text("hello"), "notes.txt", "not in the manifest"),
        (lambda b: (b / "notes").mkdir(), "notes", "empty folder"),
        (lambda b: (b / "model.pkl").write_bytes(b"\x80\x04."), "model.pkl", "kind that a bundle never holds"),
        (lambda b: (b / "log.txt").unlink() or (b / "log.txt").symlink_to("/etc/hostname"), "log.txt", "link"),
        (lambda b: linked(b / "manifest.json"), "manifest.json", "link"),
    ],
)
def test_tampering_is_found(site, tmp_path, damage, where, what):
    bundle = Path(shutil.copytree(site[0] / "bundle", tmp_path / "b"))
    damage(bundle)
    problems = ist.share.verify(bundle).problems
    assert any(p.where == where and what in p.what for p in problems), problems


def test_an_empty_folder_is_found_in_an_archive_too(site, tmp_path):
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for path in sorted((site[0] / "bundle").rglob("*")):
            archive.write(path, path.relative_to(site[0] / "bundle"))
    assert ist.share.verify(tmp_path / "b.zip").ok  # folders that hold files have entries too
    with zipfile.ZipFile(tmp_path / "b.zip", "a") as archive:
        archive.writestr("notes/", "")
    assert [p.where for p in ist.share.verify(tmp_path / "b.zip").problems] == ["notes/"]


def test_without_a_key_it_is_said_that_the_manifest_is_not_checked(site):
    said = "the manifest itself is checked with --key alone"
    assert said in ist.share.verify(site[0] / "bundle").words
    assert said not in ist.share.verify(site[0] / "bundle", key=site[0] / "project.key").words


@pytest.mark.parametrize(
    ("policy", "mode", "out", "said"),
    [
        ("{}", 0o600, "there", "exists"),
        ("{}", 0o644, "b", "may be read by others"),
        ("{}", 0o600, "run/b", "within the run"),
        ("columns: {none: keep}", 0o600, "b", "not there"),
        ("columns: {clinic: {bins: 5}}", 0o600, "b", "something else than numbers"),
        ("columns: {clinic: {date: year}}", 0o600, "b", "without a year"),
    ],
)
def test_cheap_refusals_come_before_the_audit(site, tmp_path, capsys, policy, mode, out, said):
    (tmp_path / "run").symlink_to(site[0] / "run")
    (tmp_path / "there").mkdir()
    ist.share.keygen(tmp_path / "k").chmod(mode)
    (tmp_path / "p.yaml").write_text(policy)
    options = ["--key", "k", "--out", out, "--policy", "p.yaml"]
    options = [str(tmp_path / o) if i % 2 else o for i, o in enumerate(options)]
    with pytest.raises(SystemExit) as stop:
        main(["share", str(tmp_path / "run"), *options])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert said in err
    assert "audit:" not in err


def test_scores_have_two_decimals_and_those_of_small_classes_stay(site):
    place, *_ = site
    found = opened(place / "run")
    flat = json.loads((place / "bundle" / "metrics.json").read_bytes())
    raw = json.loads((place / "run" / "metrics.json").read_bytes())
    assert any(v != round(v, 2) for v in raw.values() if v is not None)
    assert all(v == round(v, 2) for v in flat.values() if v is not None)
    assert any("kind" in k.split("/") for k in flat)
    history, exact = (pd.read_csv(place / p / "history.csv")["valid/total"] for p in ("bundle", "run"))
    assert history.tolist() == [float(f"{v:.3g}") for v in exact] != exact.tolist()
    audit = json.loads((place / "bundle" / "manifest.json").read_bytes())["audit"]
    assert audit["auc"] == round(audit["auc"], 2)
    assert all(v == round(v, 2) for row in audit["membership"] for v in row.values() if isinstance(v, float))
    assert not {"members", "others"} & set(audit["membership"][0])
    table = pd.read_csv(place / "bundle" / "tables" / "benchmark.csv")
    assert table["mean"].round(2).equals(table["mean"])
    test = found.parts.index[found.parts == "test"]
    few = found.embedding.copy()
    few.obs["kind"] = np.where(few.obs_names.isin(test[:3]), "high", "low")
    changed = replace(found, embedding=few)
    rules = load_policy(POLICY)
    assert "kind" not in tabling.of_few(found, rules)
    assert "kind" in tabling.of_few(changed, rules)
    renamer = Renamer(changed, named(read_key(place / "project.key"), rules), rules)
    assert not any("kind" in k.split("/") for k in tabling.metrics(raw, renamer, rules))
    assert "kind" not in set(tabling.tables(renamer, rules)[0].get("benchmark", table.iloc[:0])["label"])


def test_scores_of_combinations_of_few_samples_stay(site, monkeypatch):
    place, *_ = site
    rules = load_policy(POLICY)
    renamer = Renamer(opened(place / "run"), named(read_key(place / "project.key"), rules), rules)
    flat = {"subset/test/r2/rna": 0.51234, "reconstruction/test/r2/rna": 0.3}
    for n, left in ((5, 2), (4, 1)):
        tables = {"subsets": pd.DataFrame({"modalities": ["rna"], "n": [n]})}
        monkeypatch.setattr(type(renamer.house), "table", lambda _, k, t=tables: t.get(k, pd.DataFrame()))
        assert len(tabling.metrics(flat, renamer, rules)) == left


def test_levels_that_are_not_listed_are_one_and_counted():
    obs = pd.DataFrame({"stage": ["I", "II", "III", "IV", None]})
    rules = load_policy({"columns": {"stage": {"levels": {"I": "early"}}}})
    assert generalised(obs, rules)["stage"].tolist()[:4] == ["early", "other", "other", "other"]
    assert unlisted(obs, rules) == {"stage": 3}


def test_pseudonyms_without_a_policy_are_warned_of(tmp_path, caplog):
    ist.share.keygen(tmp_path / "k")
    data = cohort(tmp_path / "c", n=9) and {"rna": tmp_path / "c" / "rna.csv"}
    for policy, said in (({}, False), (None, True)):
        caplog.clear()
        ist.share.pseudonymise({k: str(v) for k, v in data.items()}, key=tmp_path / "k", policy=policy)
        assert ("project and site" in caplog.text) == said


def forge(bundle, name, text):
    """Change a file and its sum in the manifest."""
    from isthmus.share.manifest import sha256

    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text(text)
    tree = json.loads((bundle / "manifest.json").read_bytes())
    tree["files"][name] = {"sha256": sha256(bundle / name), "bytes": 1, "class": "public"}
    (bundle / "manifest.json").write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("report.html", "<p onclick='x()'>", "event handler"),
        ("report.html", "<script>alert(1)</script>", "script"),
        ("report.html", "<img src=http://example.org/x.png>", "refers to"),
        ("report.html", "<a href='javascript:alert(1)'>x</a>", "refers to"),
        ("figures/a.svg", "<svg><style>@import 'http://x'</style></svg>", "style"),
        ("tables/a.csv", "a,b\n1,=HYPERLINK(1)\n", "formula"),
        ("tables/splits.csv", "split,samples\ntest,3\n", "a count below 5"),
        ("recipe.yaml", "a: !!python/object/apply:os.system [ls]\n", "tag"),
        ("log.txt", "#!/bin/sh\n", "program"),
        ("model/model.json", "{}", "sha256"),
        ("obs.csv", "sample,age,kind,seen\ns_a,30,high,2010\n", "k = 1"),
        ("obs.csv", "sample,age,kind,seen,record\n" + "s_a,30,high,2010,MRN1\n" * 6, "does not share"),
        ("obs.csv", "sample,age,kind,seen\n" + "s_a,30,high,2010\n" * 6, "l = 1"),
    ],
)
def test_a_forged_bundle_is_unsafe_or_breaks_its_policy_and_the_key_tells(site, tmp_path, name, text, what):
    bundle = Path(shutil.copytree(site[0] / "bundle", tmp_path / "b"))
    forge(bundle, name, text)
    problems = ist.share.verify(bundle).problems
    assert any(what in p.what for p in problems), problems


def test_a_forgery_that_is_well_formed_is_told_by_the_key_alone(site, tmp_path):
    bundle = Path(shutil.copytree(site[0] / "bundle", tmp_path / "b"))
    forge(bundle, "log.txt", "all is well\n")
    assert ist.share.verify(bundle).ok
    assert "changed since" in ist.share.verify(bundle, key=site[0] / "project.key").problems[0].what


def test_a_name_that_is_left_stops_a_bundle_and_a_verification(site, tmp_path, monkeypatch):
    place, ids, *_ = site
    from isthmus.share import bundling

    def leaky(path, renamer, **_):
        return f"INFO: sample {ids[3]} was dropped\n"

    monkeypatch.setattr(bundling, "log_text", leaky)
    with pytest.raises(DataError, match=r"log\.txt: would have left the house: sample") as stop:
        ist.share.bundle(place / "run", tmp_path / "b", key=place / "project.key", refits=0, accept_risk=True)
    assert ids[3] not in str(stop.value)
    assert not (tmp_path / "b").exists()


def test_a_key_is_refused_where_others_could_read_it(tmp_path):
    key = ist.share.keygen(tmp_path / "k")
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(key.read_text().strip())) == 32
    with pytest.raises(DataError, match="exists"):
        ist.share.keygen(key)
    secret = key.read_text().strip()
    key.chmod(0o640)
    with pytest.raises(DataError, match="may be read by others") as stop:
        read_key(key)
    assert secret not in str(stop.value)
    key.chmod(0o600)
    with pytest.raises(DataError, match="lies inside"):
        read_key(key, outside=[tmp_path])
    for content in ("abc", secret[:-2], secret + "00", "x" * 64, ""):
        (tmp_path / "bad").write_text(content)
        (tmp_path / "bad").chmod(0o600)
        with pytest.raises(DataError, match="is no key") as stop:
            read_key(tmp_path / "bad")
        assert not content or content not in str(stop.value)
    assert secret not in repr(read_key(key))
    assert secret not in repr(vars(type(read_key(key))))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"columns": {"agee": {"bins": 10}}}, "not there"),
        ({"columns": {"kind": {"bins": 10}}}, "something else than numbers"),
        ({"columns": {"clinic": {"date": "year"}}}, "without a year"),
        ({"columns": {"age": {"bins": [40, 40]}}}, "an edge of bins occurs twice"),
        ({"columns": {"age": {"bins": 10, "keep": True}}}, "exactly one"),
        ({"kk": 3}, "unknown key"),
        ({"columns": {"record": "keep"}, "include": ["metadata"]}, "no sample satisfies the policy"),
    ],
)
def test_a_wrong_policy_is_told(site, tmp_path, policy, message):
    with pytest.raises(InputError, match=message):
        ist.share.bundle(
            site[0] / "run", tmp_path / "b", key=site[0] / "project.key", policy=policy, refits=0, accept_risk=True
        )
    assert not (tmp_path / "b").exists()


def test_a_model_above_the_threshold_needs_a_word(site, tmp_path, monkeypatch):
    place, *_ = site
    from isthmus.share import audit as real

    class Found:
        def to_dict(self):
            return {**real(place / "run", refits=0).to_dict(), "auc": 0.83}

    monkeypatch.setattr(sys.modules["isthmus.share.auditing"], "audit", lambda run, **_: Found())
    with pytest.raises(RecipeError, match=r"gives away.*0\.83"):
        ist.share.bundle(place / "run", tmp_path / "b", key=place / "project.key", refits=0)
    with pytest.raises(RecipeError, match="leaves out the likelihood-ratio attack"):
        ist.share.bundle(place / "run", tmp_path / "b", key=place / "project.key", policy={"threshold": 1}, refits=0)
    ist.share.bundle(place / "run", tmp_path / "b", key=place / "project.key", refits=0, accept_risk=True)
    tree = json.loads((tmp_path / "b" / "manifest.json").read_bytes())
    assert tree["risk_accepted"] is True
    assert "0.83" in tree["risks"][0]
    assert not (tmp_path / "b" / "embedding.h5ad").exists()
    assert not (tmp_path / "b" / "obs.csv").exists()


def test_the_command_line(site, tmp_path, capsys):
    place, *_ = site

    def typed(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        said = capsys.readouterr()
        return stop.value.code, said.out.strip(), said.err

    assert typed("share", "keygen", "--out", tmp_path / "k")[0] == 0
    assert typed("share", "keygen", "--out", tmp_path / "k")[0] == 2
    assert typed("share", place / "run", "--out", tmp_path / "b")[0] == 2
    options = ("--key", tmp_path / "k", "--refits", 0, "--accept-risk", "--keep-feature-names")
    code, out, err = typed("share", place / "run", "--out", tmp_path / "b.zip", *options)
    assert (code, out) == (0, str(tmp_path / "b.zip")), err
    assert ist.load(tmp_path / "b.zip").features("rna")[0] in site[2]["rna"]
    assert typed("verify", tmp_path / "b.zip", "--key", tmp_path / "k")[0] == 0
    (tmp_path / "b.zip").write_bytes((tmp_path / "b.zip").read_bytes()[:-900])
    code, _, err = typed("verify", tmp_path / "b.zip")
    assert code == 2
    assert err.startswith("error: ")
    table = place / "hidden_hospital_name" / "rna.csv"
    code, out, err = typed(
        "share", "pseudonymise", f"rna={table}", "--key", tmp_path / "k", "--out", tmp_path / "p.csv"
    )
    assert code == 0, err
    assert pd.read_csv(out, index_col=0).index.str.match(r"s_[a-z2-7]{16}$").all()
    code, _, err = typed("share", tmp_path / "nothing", "--key", tmp_path / "k", "--out", tmp_path / "x")
    assert (code, err.splitlines()[-1][:7]) == (2, "error: ")


def test_what_is_no_run_folder_is_told(site, tmp_path):
    place, *_ = site
    for folder, said in (
        (place / "run" / "model", "is a model"),
        (place / "bundle", "is a bundle already"),
        (place / "run" / "recipe.yaml", "is a file and no run folder"),
        (place, "lies inside"),
    ):
        with pytest.raises(InputError, match=said):
            ist.share.bundle(folder, tmp_path / "b", key=place / "project.key", refits=0)
    with pytest.raises(DataError, match="lies within"):
        ist.share.bundle(place / "run", place / "run" / "b", key=place / "project.key", refits=0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="is no bundle"):
        ist.share.bundle(place / "run", tmp_path / "mine", key=place / "project.key", refits=0, overwrite=True)
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="is no whole zip"):
        check(
            place / "run", tmp_path / "thesis.txt", key=place / "project.key", policy=load_policy(None), overwrite=True
        )
    with pytest.raises(DataError, match="is no folder that --reverse made"):
        ist.share.reverse(place / "bundle", tmp_path / "mine", key=place / "project.key", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").is_file()


def test_words_never_promise_what_does_not_hold(site):
    place, *_ = site
    docs = Path(__file__).resolve().parents[2] / "docs"
    for text in ((place / "bundle" / "report.html").read_text(), (place / "bundle" / "manifest.json").read_text(),
                 (docs / "privacy.md").read_text()):  # fmt: skip
        assert "anonymous" not in text.lower()
        assert "pseudonymised" in text
    assert "What a reader can still learn" in (place / "bundle" / "report.html").read_text()


def test_names_of_any_letters_and_terms_of_genes_in_two_modalities(tmp_path):
    ids = [f'Müller, "Ä{i}" <b>&amp; {i * 7919}' for i in range(60)]
    genes = ["TP53", "KRAS", "MET", "BRCA1", "MYC", "EGFR", "mean", "=SUM(A1)+1"]
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(2)
    for m in ("rna", "cnv"):
        pd.DataFrame(rng.normal(size=(60, 8)), ids, genes).to_parquet(folder / f"{m}.parquet")
    data = {m: str(folder / f"{m}.parquet") for m in ("rna", "cnv")}
    terms = {"PATHWAY_A": genes[:4], "PATHWAY_B": genes[3:]}
    recipe = {
        "data": {"read": data}, "model": {"name": "ontology_vae", "pathways": terms, "min_size": 1},
        "training": {"epochs": 2, "patience": None},
        "evaluate": {"embedding": None, "translation": None, "disentanglement": None, "latent": None},
    }  # fmt: skip
    run, key = tmp_path / "run", ist.share.keygen(tmp_path / "k")
    experiment.run(parse_recipe(recipe), run)
    bundle = ist.share.bundle(
        run, tmp_path / "b", key=key, policy={"include": ["embedding"]}, refits=0, accept_risk=True
    )
    assert ist.share.verify(bundle, key=key).ok
    for name, content in every_byte(bundle):
        assert not [r for r in [*ids, "TP53", "KRAS", "BRCA1", "EGFR", "=SUM(A1)+1"] if r.encode() in content], name
    mdata = ist.read(data)
    fitted = ist.load(bundle)
    expected = ist.load(run).embed(mdata)
    np.testing.assert_array_equal(fitted.embed(ist.share.pseudonymise(mdata, key=key)).X, expected.X)
    assert list(fitted.embed(ist.share.pseudonymise(mdata, key=key)).var_names) == list(expected.var_names)
    out = ist.share.reverse(bundle, tmp_path / "named", key=key)
    new, old = (json.loads((p / "model" / "model.json").read_bytes()) for p in (out, run))
    assert {**new, "history": old["history"]} == old


def test_the_policy_of_the_example_is_for_its_data(real_data):
    examples = Path(__file__).resolve().parents[2] / "examples"
    policy = load_policy(examples / "share_brca_policy.yml")
    obs = pd.read_csv(real_data / "tcga_cohorts" / "brca" / "clinical.csv", index_col=0)
    found = generalised(obs, policy)
    stays = enforced(found, policy.quasi, policy.sensitive, k=policy.k, l=policy.l, t=policy.t)
    assert 900 < stays.sum() < len(obs)
    grants = measured(found[stays], policy.quasi, policy.sensitive)
    assert grants.k >= 5
    assert grants.l >= 2


def test_a_column_named_like_a_weight_leaves_the_model_whole(site):
    place, *_ = site
    assert store.load(place / "bundle" / "model").weights.keys() == store.load(place / "run" / "model").weights.keys()
