"""compare: the grid, nothing done twice, the statistics against formulas, planted truth, words and page."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import isthmus as ist
from isthmus import assess
from isthmus.cli import main
from isthmus.comparing.compare import compare
from isthmus.comparing.grid import cells
from isthmus.comparing.parts import Sight, parts
from isthmus.comparing.scores import predictions
from isthmus.comparing.statistics import adjusted, leaderboard
from isthmus.comparing.words import verdict
from isthmus.comparing.work import work
from isthmus.data.content import fingerprint
from isthmus.data.read import read
from isthmus.errors import DataError, RecipeError
from isthmus.prepare.prepared import Prepared
from isthmus.recipe import parse_recipe
from isthmus.report.compare import CompareResults, compare_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIMULATED = {
    "simulate": {"n": 90, "modalities": {"rna": 20, "cnv": 12}, "shared": 2, "private": 1, "pathways": 0, "links": 0},
    "split": {"fractions": [0.6, 0.2, 0.2], "stratify": "class"},
}  # fmt: skip


def tree(**section):
    return {
        "data": SIMULATED, "model": {"name": "vae", "latent": 3, "hidden": [8], "beta": 0.1},
        "training": {"epochs": 3, "batch_size": 32},
        "evaluate": {"embedding": {"labels": ["class"], "learners": ["logistic"]}},
        "compare": {"seeds": [0, 1], "baselines": ["pca", "random_features"], **section},
    }  # fmt: skip


# ---- the grid


def grid(**section):
    return cells(parse_recipe(tree(**section)), ["rna", "cnv"])


def test_keys_are_dropped_where_an_architecture_lacks_them_and_no_setting_is_run_twice():
    found = grid(grid={"model.beta": [0.1, 1.0], "model.name": ["vae", "autoencoder"], "model.latent": [2, 4]})
    assert [(c.model, c.latent, c.keys.get("model.beta")) for c in found] == [
        ("vae", 2, 0.1), ("vae", 4, 0.1), ("vae", 2, 1.0), ("vae", 4, 1.0),
        ("autoencoder", 2, None), ("autoencoder", 4, None),
    ]  # fmt: skip
    assert {tuple(c.tree["model"]["hidden"]) for c in found} == {(8,)}
    sections = grid(grid={"model": [{"name": "vae", "beta": 2}, {"name": "translator", "source": "cnv"}]})
    assert [c.tree["model"].get("beta") for c in sections] == [2.0, None]
    assert sections[1].tree["model"]["source"] == "cnv"


def test_modalities_and_controls_make_settings_of_their_own():
    found = grid(modalities=[["cnv"], ["cnv", "rna"]], controls=["labels", "pairing", "noise"])
    assert [(c.modalities, c.control) for c in found] == [
        (("cnv",), ""), (("cnv",), "labels"), (("rna", "cnv"), ""), (("rna", "cnv"), "labels"),
        (("rna", "cnv"), "pairing"), (("rna", "cnv"), "noise"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"grid": {"model.latnt": [2]}}, r"compare.grid.model.latnt: .*\n?.*did you mean 'model.latent'"),
        ({"grid": {"model.latent": []}}, "names no value"),
        ({"grid": {"model.latent": [0]}}, "model.latent"),
        ({"grid": {"data.obs": ["x"]}}, "cannot be varied"),
        ({"grid": {"training.seed": [1]}}, "compare.seeds sets the seeds"),
        ({"grid": {"model.name": ["vee"]}}, "no such architecture"),
        ({"modalities": [["rna", "cvn"]]}, "did you mean 'cnv'"),
        ({"seeds": [0, 0]}, "twice"),
        ({"tuned": {"autoencoder": "best.yaml"}}, "is not in the grid"),
        ({"foldss": 3}, "did you mean 'folds'"),
    ],
)
def test_what_is_wrong_in_a_grid_is_said_before_anything_runs(section, said):
    with pytest.raises(RecipeError, match=said):
        grid(**section)


def test_a_tuned_recipe_stands_beside_its_untuned_settings(tmp_path):
    best = tree() | {"model": {"name": "vae", "latent": 7, "beta": 3.0}, "training": {"epochs": 9}}
    best.pop("compare")
    (tmp_path / "best.yaml").write_text(json.dumps(best), encoding="utf-8")
    found = grid(
        grid={"model.name": ["vae", "autoencoder"], "model.latent": [2]}, tuned={"vae": str(tmp_path / "best.yaml")}
    )
    assert [(c.model, c.tuned, c.latent) for c in found] == [
        ("vae", False, 2),
        ("autoencoder", False, 2),
        ("vae", True, 2),
    ]
    assert (found[2].tree["model"]["beta"], found[2].tree["training"]["epochs"]) == (3.0, 9)
    assert (found[0].tree["model"]["beta"], found[0].tree["training"]["epochs"]) == (0.1, 3)


# ---- jobs


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two architectures on one and on two modalities, in this process."""
    folder = tmp_path_factory.mktemp("small") / "out"
    section = {
        "grid": {"model.name": ["vae", "translator"]}, "modalities": [["cnv"], ["rna", "cnv"]], "controls": ["labels"],
        "baselines": ["pca", "balanced_pca", "nmf", "random_features", "raw"],
    }  # fmt: skip
    return section, folder, ist.compare(tree(**section), folder, workers=0)


def one(table, **where):
    for key, value in where.items():
        table = table[table[key] == value]
    return table


def test_scores_are_those_of_a_run_of_its_own(small):
    runs = small[2].runs
    recipe = parse_recipe(tree())
    mdata = ist.simulate(**SIMULATED["simulate"])
    split = ist.split(mdata, (0.6, 0.2, 0.2), stratify="class", seed=1)
    named = dict(zip(("train", "valid", "test"), split, strict=True))
    training = ist.Training(**{**recipe.training.model_dump(), "seed": 1, "threads": 1})
    fitted = ist.fit(recipe.model, named["train"], named["valid"], training=training)
    alone = assess.measure(fitted, named, ["class"], learners=["logistic"], baselines=["pca"], seed=1)
    mine = one(runs, seed=1, modalities="rna + cnv", control="")
    for who, name in (("VAE", "vae"), ("pca", "pca")):
        for m in ("rna", "cnv"):
            theirs = one(alone.reconstruction, split="test", modality=m, representation=who)["r2"].item()
            assert one(mine, model=name, score=f"r2/{m}")["value"].item() == pytest.approx(theirs, abs=1e-5)
        theirs = one(alone.probes.table(), representation=who, metric="auc")["value"].item()
        assert one(mine, model=name, score="auc/class/logistic")["value"].item() == pytest.approx(theirs, abs=1e-9)
    assert one(mine, model="vae", score="parameters")["value"].item() == sum(
        p.numel() for p in fitted.module.parameters()
    )
    assert one(mine, model="vae", score="memory_mb")["value"].item() > 100


def test_what_cannot_run_is_a_row_that_says_why(small):
    board, runs = small[2].leaderboard, small[2].runs
    refused = one(board, model="translator", modalities="cnv", control="")
    assert refused["score"].tolist() == [""]
    assert "does not take this number of modalities" in refused["note"].item()
    assert "negative values" in one(board, model="nmf", modalities="cnv", control="")["note"].item()
    assert one(runs, model="translator", modalities="rna + cnv", control="", score="r2/cnv").shape[0] == 2
    assert any(
        s.startswith("4 of ") and "Translator" in s for s in small[2].verdict
    )  # with and without permuted labels


def test_nothing_done_is_done_again_when_the_grid_grows(small, tmp_path):
    section, folder = small[0], tmp_path / "out"
    shutil.copytree(small[1], folder)
    done = {p.name: p.stat().st_mtime_ns for p in (folder / "cells").glob("*.json")}
    grid = {"model.name": ["vae", "translator"], "model.beta": [0.1, 2.0]}
    grown = compare(tree(**section | {"grid": grid, "seeds": [0]}), folder, workers=0)
    after = {p.name: p.stat().st_mtime_ns for p in (folder / "cells").glob("*.json")}
    assert {k: after[k] for k in done} == done
    assert len(after) - len(done) == 2 * 2  # a further beta, on two combinations of modalities, real and permuted
    assert len(one(grown.leaderboard, model="vae", modalities="cnv", control="", score="r2/cnv")) == 2
    with pytest.raises(RecipeError, match="is not the folder of a comparison"):
        compare(tree(), folder.parent, workers=0)


def test_settings_are_compared_with_pca_of_their_own_preparation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = [["standardise"], ["log1p", "standardise"]]
    section = {"grid": {"prepare.rna": steps}, "baselines": ["pca"], "modalities": [["rna"]]}
    counts = {
        "simulate": SIMULATED["simulate"] | {"likelihood": {"rna": "poisson"}},
        "split": {"fractions": [0.7, 0.3]},
    }
    evaluate = {"embedding": None}
    found = compare(tree(**section) | {"data": counts, "evaluate": evaluate}, "out", workers=0)
    assert found.report == Path("out/report.html")  # as the folder was given
    assert found.report.is_file()
    board = one(found.leaderboard, score="r2/rna")
    for keys in ("prepare.rna=[standardise]", "prepare.rna=[log1p, standardise]"):
        assert (
            one(board, keys=keys, kind="model")["pca"].item() == one(board, keys=keys, kind="baseline")["mean"].item()
        )
    assert one(board, kind="model")["pca"].nunique() == 2
    assert "reconstruct" in found.verdict[0]


def test_identity_is_of_content_not_of_place(tmp_path):
    marks = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text("id,g\ns1,1\n", encoding="utf-8")
        marks.add(
            fingerprint({"read": {"x": {"path": str(tmp_path / name / "x.csv"), "decimal": "."}}, "split": {"seed": 1}})
        )
    assert len(marks) == 1
    (tmp_path / "b" / "x.csv").write_text("id,g\ns1,2\n", encoding="utf-8")
    marks.add(fingerprint({"read": {"x": {"path": str(tmp_path / "b" / "x.csv"), "decimal": "."}}}))
    marks.add(fingerprint({"read": {"x": {"path": str(tmp_path / "b" / "x.csv"), "decimal": ","}}}))
    assert len(marks) == 3
    folds = tmp_path / "folds.csv"
    for text in ("id,fold\ns1,0\n", "id,fold\ns1,1\n"):
        folds.write_text(text, encoding="utf-8")
        marks.add(fingerprint({"read": str(tmp_path / "a" / "x.csv"), "split": {"file": str(folds)}}))
    assert len(marks) == 5


def sight(**keys):
    task = {
        "data": {"simulate": SIMULATED["simulate"]}, "prepare": {}, "likelihood": {}, "split": SIMULATED["split"],
        "fold": 0, "seed": 3, "modalities": ["rna", "cnv"], "labels": ["class"], "control": "",
    }  # fmt: skip
    return parts(Sight.of(task | keys))


def test_controls_destroy_what_they_say_and_nothing_else():
    real, labels, pairing, noise = (sight(control=c) for c in ("", "labels", "pairing", "noise"))
    assert (labels.obs["train"]["class"] != real.obs["train"]["class"]).any()
    assert np.array_equal(labels.matrices["train"], real.matrices["train"])

    def values(seen, m):
        return pd.DataFrame(seen.prepared["train"][m].x, seen.raw["train"].obs_names).sort_index().to_numpy()

    assert np.array_equal(values(pairing, "rna"), values(real, "rna"))
    mixed, whole = values(pairing, "cnv"), values(real, "cnv")
    assert (mixed != whole).any(axis=1).mean() > 0.8
    assert np.allclose(
        mixed[mixed[:, 0].argsort()], whole[whole[:, 0].argsort()], atol=1e-5
    )  # whole rows change places
    assert np.array_equal(pairing.prepared["test"]["cnv"].x, real.prepared["test"]["cnv"].x)
    assert np.array_equal(noise.raw["test"].mod["rna"].X, real.raw["test"].mod["rna"].X)
    x, y = ([s.raw[p].mod["cnv"].X for p in ("train", "valid", "test")] for s in (real, noise))
    assert np.allclose(np.sort(np.vstack(x), axis=0), np.sort(np.vstack(y), axis=0))
    correlation = [np.abs(np.corrcoef(np.vstack(v).T)).mean() for v in (x, y)]
    assert correlation[1] < 0.6 * correlation[0]


def test_a_last_modality_is_flat_and_bags_are_dealt_out():
    flat = sight(control="mean")
    assert np.ptp(np.vstack([flat.raw[p].mod["cnv"].X for p in ("train", "test")]), axis=0).max() < 1e-6
    bags = {"n": 40, "modalities": {"rna": 6}, "bags": {"slide": {"features": 4, "instances": [3, 6]}}, "seed": 0}
    seen = {
        c: sight(data={"simulate": bags}, modalities=["rna", "slide"], control=c, split={"fractions": [0.5, 0.1, 0.4]})
        for c in ("", "noise")
    }
    real, dealt = (np.vstack([s.matrices[p][:, 6:] for p in ("train", "test")]) for s in seen.values())
    assert np.abs(np.corrcoef(real[:, 0], dealt[:, 0])[0, 1]) < 0.5
    with pytest.raises(DataError, match="no mean to show"):
        sight(
            data={"simulate": bags}, modalities=["rna", "slide"], control="mean", split={"fractions": [0.5, 0.1, 0.4]}
        )


def test_every_baseline_is_fitted_on_train_alone():
    task = {
        "data": {"simulate": SIMULATED["simulate"] | {"likelihood": {"rna": "poisson"}}}, "prepare": {"rna": ["log1p"]},
        "likelihood": {}, "split": SIMULATED["split"], "fold": 0, "seed": 0, "modalities": ["rna"], "labels": ["class"],
        "learners": ["logistic"], "control": "", "latent": 2,
    }  # fmt: skip
    from isthmus.comparing.factors import baseline

    seen = parts(Sight.of(task))
    few_test = replace(
        seen,
        matrices=seen.matrices | {"test": seen.matrices["test"][:3]},
        raw=seen.raw | {"test": seen.raw["test"][:3].copy()},
        prepared=seen.prepared | {"test": {}},
    )
    for method in ("pca", "balanced_pca", "sparse_pca", "nmf", "random_features", "raw"):
        whole = baseline(method, seen, 2, 0).pairs[0]
        few = baseline(method, few_test, 2, 0).pairs[0]
        assert np.allclose(few[0], whole[0]), method
        assert np.allclose(few[1], whole[1][:3], atol=1e-4), method
        assert work({**task, "kind": method}, Path())["dimensions"] == (20 if method == "raw" else 2)


def test_balanced_pca_lets_modalities_count_alike(small):
    """Two noisy features of one factor beside sixty of another: PCA of one dimension sees the many alone."""
    from isthmus.comparing.factors import baseline

    rng = np.random.default_rng(0)
    few, many = rng.normal(size=(2, 200, 1))
    x = np.hstack([2 * few + 0.1 * rng.normal(size=(200, 2)), many + rng.normal(size=(200, 60))])
    prepared = {m: Prepared(x[:120, c], pd.Index(range(p)), np.ones(120, bool)) for m, c, p in
                (("few", slice(2), 2), ("many", slice(2, 62), 60))}  # fmt: skip
    seen = replace(sight(), matrices={"train": x[:120], "test": x[120:]}, prepared={"train": prepared})
    found = {m: baseline(m, seen, 1, 0) for m in ("pca", "balanced_pca")}
    strength = {m: np.abs(np.corrcoef(f.pairs[0][1][:, 0], few[120:, 0])[0, 1]) for m, f in found.items()}
    assert strength["pca"] < 0.3
    assert strength["balanced_pca"] > 0.6
    error = {m: ((f.reconstructed - x[120:]) ** 2).mean() for m, f in found.items()}
    assert error["pca"] < error["balanced_pca"] < (x[120:] ** 2).mean()  # in the units of the input
    runs = one(small[2].runs, model="balanced_pca")
    assert set(runs["modalities"]) == {"rna + cnv"}


def test_mofa_finds_linear_factors():
    pytest.importorskip("mofapy2", reason="needs the extra mofa")
    from isthmus.comparing.factors import baseline

    ours, pca = (baseline(m, sight(), 2, 0).pairs[0][1] for m in ("mofa", "pca"))
    assert np.linalg.svd(np.linalg.qr(ours - ours.mean(0))[0].T @ np.linalg.qr(pca - pca.mean(0))[0])[1].min() > 0.8


# ---- statistics


def runs_of(values, *, score="auc/class/logistic", seeds=None):
    """Runs of one score: name -> values over seeds; `pca` and `random_features` are baselines."""
    group = "reconstruction" if score.startswith("r2") else "task"
    metric, label, *learner = score.split("/")
    rows = []
    for i, (name, of) in enumerate(values.items()):
        kind = "baseline" if name in ("pca", "random_features", "raw") else "model"
        about = {
            "id": i, "setting": name, "kind": kind, "model": name, "latent": 2, "modalities": "rna", "control": "",
            "tuned": False, "keys": "", "fold": 0, "n_train": 60, "n_test": 20, "job": "", "note": "",
        }  # fmt: skip
        for seed, draws in enumerate(of):
            rows += [
                about
                | {
                    "seed": seed,
                    "group": group,
                    "score": score,
                    "metric": metric,
                    "label": label,
                    "learner": "".join(learner),
                    "draw": d,
                    "value": v,
                }
                for d, v in enumerate(np.atleast_1d(draws))
            ]
            rows.append(
                about
                | {
                    "seed": seed,
                    "group": "cost",
                    "score": "dimensions",
                    "metric": "dimensions",
                    "label": "",
                    "learner": "",
                    "draw": 0,
                    "value": 2,
                }
            )
    return pd.DataFrame(rows)


def test_the_leaderboard_is_the_formula():
    ours, pca = np.array([0.80, 0.85, 0.83, 0.90]), np.array([0.78, 0.80, 0.83, 0.84])
    drawn = [[0.5, 0.6, 0.7], [0.4, 0.6, 0.8], [0.5, 0.6, 0.7], [0.5, 0.6, 0.7]]
    board = leaderboard(runs_of({"vae": ours, "pca": pca, "random_features": drawn}))
    row = one(board, setting="vae", group="task").iloc[0]
    d = ours - pca
    error = np.sqrt(d.var(ddof=1) * (1 / 4 + 20 / 60))  # Nadeau & Bengio
    t = d.mean() / error
    assert row["difference"] == pytest.approx(d.mean())
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(t), 3))
    assert row["difference_upper"] == pytest.approx(d.mean() + stats.t.ppf(0.975, 3) * error)
    assert row["sd"] == pytest.approx(ours.std(ddof=1))
    assert row["n"] == 4
    assert row["z"] == pytest.approx(np.mean((ours - 0.6) / np.array([0.1, 0.2, 0.1, 0.1])))  # equation 5
    assert (row["best"], row["pca"]) == ("vae", pytest.approx(pca.mean()))
    assert one(board, setting="pca", group="task")["to_best"].item() == pytest.approx(-d.mean())
    assert np.isnan(one(board, setting="pca", group="task")["difference"].item())


def test_p_values_are_corrected_for_their_number():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.02])
    assert adjusted(p, "bh")[[0, 2, 3, 4]] == pytest.approx([0.04, 0.04, 0.04, 0.04])
    assert adjusted(p, "holm")[[0, 2, 3, 4]] == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert np.isnan(adjusted(p, "bh")[1])


def test_under_permuted_labels_false_claims_are_as_rare_as_promised():
    """Forty embeddings that know nothing of the label against PCA: the whole way from probes to the verdict."""
    rng = np.random.default_rng(0)
    z, x = rng.normal(size=(100, 3)), rng.normal(size=(100, 3))
    p = []
    for run in range(40):
        label = rng.permutation(np.repeat(["a", "b"], 50))
        scores = {"vae": [], "pca": []}
        for seed in range(3):
            order = np.random.default_rng([run, seed]).permutation(100)
            rows = {"train": order[:70], "test": order[70:]}
            obs = {part: pd.DataFrame({"class": label[r]}) for part, r in rows.items()}
            for name, of in (("vae", z), ("pca", x)):
                found = predictions([(of[rows["train"]], of[rows["test"]])], obs, ["logistic"], seed)
                scores[name].append(next(r["value"] for r in found if r["metric"] == "auc"))
        board = leaderboard(runs_of({k: np.array(v) for k, v in scores.items()}))
        p.append(one(board, setting="vae", group="task")["p"].item())
    assert (np.array(p) < 0.05).sum() <= stats.binom.ppf(0.99, 40, 0.05)
    assert np.median(p) > 0.2
    assert "No architecture is told ahead" in verdict(board)[0]


def trajectory(folder, *, curved, n=120, p=30):
    """Samples along a path that turns in every dimension, or in a plane."""
    rng = np.random.default_rng(0)
    t = rng.random(n)
    bumps = np.exp(-((t[:, None] - np.linspace(0, 1, p)) ** 2) / (2 * 0.06**2)) + 0.15 * rng.normal(size=(n, p))
    plane = 3 * np.c_[t, rng.random(n)] @ rng.normal(size=(2, p)) + 0.5 * rng.normal(size=(n, p))
    ids = [f"s{i:03d}" for i in range(n)]
    pd.DataFrame(bumps if curved else plane, ids, [f"g{j}" for j in range(p)]).to_csv(folder / "x.csv")
    pd.DataFrame({"stage": np.where(t > 0.5, "late", "early")}, ids).to_csv(folder / "obs.csv")
    return {
        "data": {
            "read": {"rna": str(folder / "x.csv")}, "obs": str(folder / "obs.csv"),
            "split": {"fractions": [0.6, 0.15, 0.25], "stratify": "stage"},
        },
        "model": {"name": "autoencoder", "latent": 2, "hidden": [32], "dropout": 0.0},
        "training": {"epochs": 40, "batch_size": 32, "lr": 0.01, "patience": 30},
        "evaluate": {"embedding": {"labels": ["stage"], "learners": ["logistic"]}},
        "compare": {"seeds": [0, 1, 2], "baselines": ["pca"]},
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("curved", [True, False])
def test_an_autoencoder_is_ahead_of_pca_where_the_signal_is_curved_and_only_there(tmp_path, curved):
    found = compare(trajectory(tmp_path, curved=curved), tmp_path / "out", workers=0)
    row = one(found.leaderboard, model="autoencoder", score="r2/rna").iloc[0]
    task = one(found.leaderboard, model="autoencoder", group="task").iloc[0]
    sentence = next(s for s in found.verdict if "reconstruct" in s)
    if curved:
        assert row["difference"] > 0.2
        assert row["p_adjusted"] < 0.05
        assert (row["best"], row["mean"]) == ("Autoencoder", one(found.leaderboard, score="r2/rna")["mean"].max())
        assert "1 reconstruct better than PCA, told for 1" in sentence
    else:
        assert row["difference"] < 0
        assert "0 reconstruct better than PCA" in sentence
        assert not (task["difference"] > 0 and task["p_adjusted"] < 0.05)
        assert "No architecture is told ahead of PCA on any of 1 task " in found.verdict[0]


# ---- words


def test_the_verdict_counts_tasks_and_puts_a_baseline_that_is_ahead_first():
    base = np.array([0.8, 0.81, 0.79, 0.8])
    tables = []
    for k, (label, gain) in enumerate({"a": 0.1, "b": -0.1, "c": 0.0}.items()):
        wobble = np.array([0.01, -0.01, 0.005, -0.005])
        table = runs_of({"VAE": base + gain + wobble, "pca": base, "raw": base + 0.05}, score=f"auc/{label}/logistic")
        tables.append(table if k == 0 else table[table["group"] == "task"])
    said = verdict(leaderboard(pd.concat(tables, ignore_index=True)))
    assert said[0].startswith("No architecture is told ahead of PCA on 2 of 3 tasks; VAE is on 1 ")
    assert "The highest mean of all is a baseline's on 2 of 3 tasks: raw on 2." in said
    assert (
        "Of 3 comparisons, a setting on a task, PCA is told ahead in 1, the model in 1; the others are not told apart."
        in said
    )
    assert (
        "a (logistic): the best model is VAE 2 on rna with AUC .900; the best baseline is raw 2 on rna with AUC .850."
        in said
    )
    once = leaderboard(runs_of({"VAE": base[:1], "pca": base[:1]}))
    assert verdict(once)[0].startswith("There is one split alone")


def test_a_refusal_is_told_once_however_many_settings_and_modalities_it_is_of():
    board = leaderboard(runs_of({"VAE": np.array([0.8, 0.7]), "pca": np.array([0.7, 0.7])}))
    wrong = [("Translator", "rna", "'rna'"), ("Translator", "all", "'rna, cnv, mir'"), ("Other", "rna", "'rna'")]
    row = board.iloc[0].to_dict() | {"group": "", "score": "", "mean": np.nan}
    what = "model.name: translator: does not take this number of modalities; met {}; wanted exactly 2"
    refused = [
        row | {"id": 90 + k, "setting": s, "modalities": m, "note": what.format(met)}
        for k, (s, m, met) in enumerate(wrong)
    ]
    told = verdict(pd.concat([board, pd.DataFrame(refused)], ignore_index=True))[-1]
    assert told == (
        "3 of 5 settings did not run, or not always: Translator, Other: does not take this number of modalities "
        "(wanted exactly 2)."
    )


def test_it_is_said_where_pca_has_fewer_dimensions_than_the_models():
    runs = runs_of({"VAE": np.array([0.8, 0.7]), "pca": np.array([0.7, 0.7])})
    board = leaderboard(runs)
    told = "PCA has fewer dimensions than the models"
    assert not any(s.startswith(told) for s in verdict(board))
    few = board.assign(latent=5, dimensions=[2 if m == "pca" else 5 for m in board["model"]])
    assert any(s.startswith(told) and s.endswith(": 2 instead of 5 on rna.") for s in verdict(few))
    for table, said in (
        (board, "PCA of as many dimensions, with"),
        (few, "PCA of as many dimensions (2 instead of 5:"),
    ):
        shown = compare_page(CompareResults("", "", [], table, runs, "bh", "", {}))
        (against,) = (s for s in shown.sections if s.title == "Against PCA")
        assert said in against.blocks[0].caption


# ---- page and command


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed")
def test_the_leaderboard_sorts_and_filters_in_a_browser_and_reads_without_a_script(small, tmp_path):
    text = (small[1] / "report.html").read_text(encoding="utf-8")
    script = """
      const table = document.querySelector("#table-settings"), rows = () => [...table.querySelectorAll("tbody tr")];
      const column = k => rows().map(r => r.cells[k].textContent.trim());
      const before = column(3), heads = [...table.querySelectorAll("th button")];
      heads[3].click(); const down = column(3); heads[3].click(); const up = column(3);
      const field = table.querySelector("input"); field.value = "vae cnv"; field.dispatchEvent(new Event("input"));
      const left = rows().filter(r => !r.hidden).map(r => r.textContent);
      document.title = JSON.stringify({ before, down, up, left });
    """
    (tmp_path / "page.html").write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--virtual-time-budget=5000",
        "--dump-dom",
    )
    done = subprocess.run(
        [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    found = json.loads(re.search(r"<title>(.+?)</title>", done.stdout)[1])
    ranks = [float(v) for v in found["up"]]
    assert ranks == sorted(ranks) == [float(v) for v in found["before"]]
    assert [float(v) for v in found["down"]] == sorted(ranks, reverse=True)
    assert found["left"]
    assert all("VAE" in r and "cnv" in r for r in found["left"])
    body = text[: text.index("<script>")]
    for part in ("PCA", "VAE", "Translator", "Time against quality", "What did not run", "Controls"):
        assert part in body


def test_tables_hold_what_the_specification_names(small):
    folder, found = small[1], small[2]
    board = pd.read_csv(folder / "leaderboard.csv", keep_default_na=False)
    wanted = ["mean", "sd", "n", "difference", "difference_lower", "difference_upper", "p", "p_adjusted"]
    assert set(wanted) <= set(board.columns)
    assert not board.duplicated(["id", "score"]).any()
    assert len(pd.read_csv(folder / "runs.csv")) == len(found.runs)
    permuted = one(found.leaderboard, control="labels", group="task")
    assert abs(permuted["mean"].mean() - 0.5) < 0.15


@pytest.mark.slow
def test_the_command_prints_the_verdict_and_ends_well_though_a_setting_failed(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    section = {"grid": {"model.name": ["autoencoder", "translator"]}, "modalities": [["rna"]], "baselines": ["pca"]}
    section["seeds"] = [0]
    recipe.write_text(json.dumps(tree(**section)), encoding="utf-8")
    arguments = ["compare", str(recipe), "training.epochs=1", "--out", str(tmp_path / "out"), "--workers", "1"]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    done = capsys.readouterr()
    assert (stop.value.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == str(tmp_path / "out" / "report.html")
    assert "Translator: " in done.out
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(recipe), "compare.grid={model.latnt: [2]}", "--out", str(tmp_path / "new")])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: compare.grid.model.latnt")
    assert not (tmp_path / "new").exists()


def test_the_cohort_is_read_as_elsewhere(tmp_path):
    section = trajectory(tmp_path, curved=True)["data"]
    task = {
        "data": {k: v for k, v in section.items() if k != "split"}, "split": section["split"],
        "prepare": {}, "likelihood": {}, "fold": 0, "seed": 0, "modalities": ["rna"], "labels": ["stage"],
        "control": "",
    }  # fmt: skip
    mdata = read(section["read"], section["obs"])
    assert sum(len(m.obs) for m in parts(Sight.of(task)).raw.values()) == mdata.n_obs
