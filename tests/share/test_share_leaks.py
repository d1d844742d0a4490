"""What would tell of single samples by a way round: a log, a message, a column, a file's name, an audit of nothing."""

import json
import sys
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from isthmus.data.targets import covariate_of, encoded
from isthmus.errors import DataError, RecipeError
from isthmus.report.table import to_csv
from isthmus.share import bundling, tabling, verifying
from isthmus.share.audit_report import MEMBERSHIP, Report
from isthmus.share.classes import CLASSES, holds_samples, statistics
from isthmus.share.harmless import WITHHELD, line, message
from isthmus.share.house import House
from isthmus.share.keys import Key, keygen
from isthmus.share.logs import log_text
from isthmus.share.policy import generalised, load_policy
from isthmus.share.renaming import Renamer, named, pseudonymise
from isthmus.share.reversing import _restored
from isthmus.share.rounding import losses
from isthmus.share.safety import unsafe
from isthmus.share.searching import refuse, watched
from isthmus.store import Stored

STAMP = "2026-11-21 13:57:44 INFO    "


def house(folder, *, heads=None, targets=(), covariates=(), residual=()):
    """A run of samples that are numbers and words, without modalities."""
    ids = ["42", "train", *map(str, range(100, 118))]
    obs = pd.DataFrame({"age": [30.0, 50.0] * 10, "Krebsregister": "x"}, index=ids)
    obs["split"] = "train"
    embedding = ad.AnnData(np.arange(40.0).reshape(20, 2), obs)
    described = {
        "recipe": {"heads": heads or {}}, "prepare": {"pipelines": {}, "residual": {"covariates": list(residual)}},
        "spec": {"targets": list(targets), "covariates": list(covariates), "n_train": 20}, "history": [],
    }  # fmt: skip
    if not residual:
        del described["prepare"]["residual"]
    return House(folder, Stored({}, {}, described), {}, embedding)


def renamer_of(found, rules):
    return Renamer(found, named(Key(bytes(32)), rules), rules)


def test_a_log_keeps_what_is_known_to_tell_of_no_sample_and_never_a_pseudonym(tmp_path):
    found = house(tmp_path)
    told = renamer_of(found, load_policy(None))
    said = ["split: 42 train, 3 valid, 4 test", "split: 3 folds, each leaves out one of 17, Dresden", "read: 42.0 s"]
    (tmp_path / "log.txt").write_text("".join(f"{STAMP}{s}\n" for s in said) + "Traceback: 42\n")
    assert log_text(tmp_path / "log.txt", told).splitlines() == [
        STAMP + WITHHELD, STAMP + WITHHELD, STAMP + "read: 42.0 s", WITHHELD,
    ]  # fmt: skip


def test_lines_and_messages_of_samples_are_withheld_and_of_features_stay():
    assert message("dropped 10 of 30 features") == "dropped 10 of 30 features"
    assert message("total 10000; 2 samples of total 0 left as they are") == WITHHELD
    step = "rna: top_variance, 30 -> 20 features"
    for known in (f"{step} (dropped 10 of 30 features)", step, "rna: samples in rows", "fit fold3: 1.6 s"):
        assert line(known, ["rna"]) == known
        assert line(known.replace("rna", "secret"), ["rna"]) == (known if "fit" in known else WITHHELD)
    assert line(f"{step} (total 1; 2 samples of total 0 left as they are)", ["rna"]) == f"{step} {WITHHELD}"


@pytest.mark.parametrize("include", [["embedding"], ["embedding", "metadata"]])
def test_columns_leave_beside_embeddings_only_with_the_metadata(tmp_path, include):
    rules = load_policy({"columns": {"age": "keep"}, "include": include})
    found = house(tmp_path)
    stays = pd.Series(data=True, index=found.obs.index)
    draft = bundling.Draft(tmp_path, found, rules, renamer_of(found, rules), found.obs[["age"]], stays, None)
    bundling._samples(draft)
    made = ad.read_h5ad(tmp_path / "embedding.h5ad")
    assert list(made.obs.columns) == (["age"] if "metadata" in include else [])
    assert made.n_obs == 20
    assert ("obs" in draft.left_out) == ("metadata" not in include)
    for name in found.samples:  # every row is that of its own sample
        np.testing.assert_array_equal(made[draft.renamer.sample(name)].X, found.embedding[name].X)


LEVELS = ["=1+1", "+a b", "-b;=c", "'@d", "@e"]


def test_levels_like_formulas_are_safe_in_a_bundle_and_exact_when_reversed(tmp_path):
    rules = load_policy({"columns": {"=grade": "keep"}, "include": ["metadata"], "k": 4})
    found = house(tmp_path)
    found.embedding.obs["=grade"] = LEVELS * 4
    stays = pd.Series(data=True, index=found.obs.index)
    draft = bundling.Draft(tmp_path, found, rules, renamer_of(found, rules), found.obs[["=grade"]], stays, None)
    bundling._samples(draft)
    assert unsafe("obs.csv", tmp_path / "obs.csv") == ""
    (tmp_path / "tables").mkdir()
    tree = {"policy": json.loads(json.dumps(rules.told()))}
    assert list(verifying._policy(tmp_path, tree)) == []
    known = {p: n for n, p in draft.renamer.names.known["sample"].items()}
    _restored(tmp_path / "obs.csv", tmp_path / "back.csv", known)
    back = pd.read_csv(tmp_path / "back.csv", index_col=0, dtype=str)
    assert back.loc[list(found.samples), "=grade"].tolist() == LEVELS * 4


def test_a_table_of_the_run_is_read_as_it_was_before_its_formulas_were_made_harmless(tmp_path):
    (tmp_path / "tables").mkdir()
    before = pd.DataFrame({"feature": [*LEVELS, "-2"], "=r2": np.arange(6.0)})
    (tmp_path / "tables" / "by_feature.csv").write_text(to_csv(before))
    pd.testing.assert_frame_equal(house(tmp_path).table("by_feature"), before)


def test_names_in_tables_of_the_run_are_text_whatever_they_look_like(tmp_path):
    (tmp_path / "tables").mkdir()
    for names in (["NA", "null", "None"], ["007", "1e5", "-0"]):
        before = pd.DataFrame({"feature": names, "r2": [0.5, np.nan, 1.0], "label": [None, *names[1:]]})
        (tmp_path / "tables" / "by_feature.csv").write_text(to_csv(before))
        found = house(tmp_path).table("by_feature")
        assert found["feature"].tolist() == names
        assert found["label"].tolist()[1:] == names[1:]
        np.testing.assert_array_equal(found["r2"], before["r2"])
        assert pd.isna(found["label"][0])


def test_losses_have_three_digits_and_a_budget_all_of_its_own(tmp_path):
    history = pd.DataFrame({"phase": ["main"], "epoch": [1234], "valid/total": [1234.5678], "epsilon": [7.99123456]})
    assert losses(history).iloc[0].tolist() == ["main", 1234, 1230.0, 7.99123456]
    rules = load_policy(None)
    spent = {"privacy/epsilon": 7.99123456, "privacy/delta": 1e-5}
    assert tabling.metrics(spent, renamer_of(house(tmp_path), rules), rules) == spent


@pytest.mark.parametrize(
    ("include", "kept", "said"),
    [([], [], "2 of 2 annotations are dropped: the policy does not include"), (["metadata"], ["age"], "1 of 2")],
)  # fmt: skip
def test_annotations_of_new_samples_stay_as_far_as_the_policy_shares_them(tmp_path, caplog, include, kept, said):
    table = pd.DataFrame(np.eye(8), index=[f"P{i}" for i in range(8)]).rename(columns=str)
    obs = pd.DataFrame({"age": [41, 44, 47, 48, 49, 62, 63, 70], "record": "x"}, index=table.index)
    rules = {"columns": {"age": {"bins": 10}, "elsewhere": "keep"}, "k": 5, "include": include}
    found = pseudonymise({"rna": table}, key=keygen(tmp_path / "k"), policy=rules, obs=obs)
    assert said in caplog.text
    assert list(found.obs.columns) == kept
    if kept:
        assert found.obs["age"].astype(object).fillna("").tolist() == ["40-<50"] * 5 + [""] * 3
        assert "3 of 8 samples lose their annotations" in caplog.text


@pytest.mark.parametrize("bins", [10, 0.25, [-5, 1e-7, 60]])
def test_a_model_that_was_told_numbers_takes_the_middles_of_their_bins(bins, caplog):
    age = pd.Series([-7.25, 0.0, 41.0, 49.5, 1e13, np.nan], list("abcdef"), name="age")
    by = covariate_of(age[:4], "test")
    told = encoded(pd.DataFrame({"age": age}), by)
    assert "middle" not in caplog.text
    coarse = generalised(pd.DataFrame({"age": age}), load_policy({"columns": {"age": {"bins": bins}}}))
    found = encoded(coarse.astype("category"), by)
    assert "5 samples have ranges of 'age'" in caplog.text
    low = np.floor(age / bins) * bins if not isinstance(bins, list) else [0, -2.5 + 5e-8, 30, 30, 0, 0]
    expected = np.array([-5, low[1], low[2], low[3], 60, 0]) if isinstance(bins, list) else low + bins / 2
    expected = np.nan_to_num((expected - by.mean) / by.sd)
    expected[5] = 0.0
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)
    assert told.shape == found.shape
    for wrong in ("old", "40-50", "<x"):
        with pytest.raises(DataError, match=r"confounders: age: holds no numbers(?s:.*)leave the column out"):
            encoded(pd.DataFrame({"age": ["40-<50", wrong]}), by)


def test_bags_are_refused_before_anything_is_read(tmp_path):
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "TCGA-A1.h5").write_bytes(b"")
    key = keygen(tmp_path / "k")
    for sources in ({"wsi": tmp_path / "slides"}, {"wsi": {"path": str(tmp_path / "slides")}}, tmp_path):
        with pytest.raises(RecipeError, match=r"holds bags.*\n.*keep_feature_names"):
            pseudonymise(sources, key=key, policy={})
    assert not (tmp_path / "k.names.json").exists()


SHARES = {"name": "grade", "classes": ["a", "b"], "shares": [0.9, 0.1]}
EDGES = {"name": "os", "kind": "survival", "classes": [], "edges": [0.0, 311.0, 1207.0]}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"targets": [EDGES]}, "times of events"), ({"covariates": [SHARES]}, "fewer than 5 training samples"),
        ({"residual": [SHARES]}, "fewer than 5 training samples"),
        ({"covariates": [{**SHARES, "shares": [0.5] * 2}]}, ""),
    ],
)  # fmt: skip
def test_a_model_whose_spec_tells_of_few_samples_is_personal(tmp_path, spec, why):
    found = house(tmp_path, **spec)
    assert why in holds_samples(found)
    assert bool(holds_samples(found)) == bool(why)
    told = statistics(found)["heads and confounders"]
    assert told["class"] == ("personal" if why else "aggregate")
    assert told["stored"] == (["edges"] if "targets" in spec else ["shares"])


def test_tables_that_are_left_out_are_named_by_kind(tmp_path):
    (tmp_path / "tables").mkdir()
    for name in ("survival_krebsregister", "predictions_krebsregister", "points-age", "krebsregister"):
        (tmp_path / "tables" / f"{name}.csv").write_text("a\n1\n")
    rules = load_policy(None)
    made, left = tabling.tables(renamer_of(house(tmp_path), rules), rules)
    assert made == {}
    assert set(left) == {"tables/survival", "tables/predictions", "tables/points", "tables/ of other kinds"}
    assert "row" not in left["tables/survival"]
    assert {CLASSES.of(n) for n in left if "other" not in n} == {"personal"}


@pytest.mark.parametrize("name", ["Krebsregister", "rezidiv_os"])
def test_names_of_denied_columns_and_heads_are_looked_for_in_the_manifest_too(tmp_path, name):
    found = house(tmp_path, heads={"rezidiv_os": {"time": "age", "event": "age"}})
    rules = load_policy(None)
    columns = renamer_of(found, rules).columns
    watch = watched(found, found.obs[[]], rules, columns)
    (tmp_path / "manifest.json").write_text('{"left_out": "train age"}')  # words of ours are no names
    refuse(tmp_path, watch)
    (tmp_path / "manifest.json").write_text(f'{{"left_out": {{"tables/survival_{name}.csv": ""}}, "b": "{name}"}}')
    with pytest.raises(DataError, match=r"manifest\.json: would have left the house: the name of column or head"):
        refuse(tmp_path, watch)


def report(*areas):
    rows = pd.DataFrame([["threshold", "this model", a, a, a, 0.1, 0.0, 0.2, 9, 9] for a in areas], columns=MEMBERSHIP)
    empty = pd.DataFrame()
    return Report("m", 9, 9, 2, 0, rows, empty, empty, {}, {})


def test_features_that_are_told_no_more_than_by_chance_are_not_said_to_be_undone():
    rows = pd.DataFrame(
        {
            "modality": ["rna", "cnv"],
            "features": [30, 1558],
            "matched": [1 / 30, 28 / 1558],
            "chance": [1 / 30, 1 / 1558],
        }
    )
    undone, chance = replace(report(0.7), features=rows)._feature_words()
    assert undone.startswith("Pseudonyms of features are undone")
    assert undone.endswith("for cnv 2 % of 1558 (chance 0.064 %).")
    assert "no more features than by chance are told of rna 3 % of 30 (chance 3.3 %)" in chance


def test_the_worst_attack_is_one_that_was_scored_and_a_model_without_any_is_not_audited(tmp_path, monkeypatch):
    assert report(np.nan, 0.7, 0.9, np.nan).to_dict()["auc"] == 0.9
    nothing = report(np.nan, np.nan)
    assert nothing.to_dict()["auc"] is None
    assert "could be scored" in nothing.words[0]
    __import__("isthmus.share.auditing")
    monkeypatch.setattr(sys.modules["isthmus.share.auditing"], "audit", lambda *_, **__: nothing)
    with pytest.raises(DataError, match="could not score any attack"):
        bundling._audited(house(tmp_path), load_policy(None), 2, accept=False)
    _, risks = bundling._audited(house(tmp_path), load_policy(None), 2, accept=True)
    assert "not audited" in risks[0]
