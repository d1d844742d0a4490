"""The search for settings: finds what is planted, loses nothing, sees no test sample, says what is wrong in a line."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA

import cohorts
import isthmus as ist
from isthmus import registry
from isthmus.config import copy_with
from isthmus.data.batches import samples
from isthmus.data.cohort import take_samples
from isthmus.errors import InputError, NonFiniteLossError, RecipeError, RunError
from isthmus.fitting import fit
from isthmus.recipe import load_recipe, parse_recipe
from isthmus.report import tune as report
from isthmus.training.engine import InterruptedTraining
from isthmus.tuning import outcome, run, scores, search
from isthmus.tuning.bench import Bench, Division, Stopped, divisions, seed_of
from isthmus.tuning.crew import Crew
from isthmus.tuning.space import space_of
from isthmus.tuning.store import opened, quiet
from isthmus.tuning_keys import Tuning, parse_range

N = 60
LEARN = {"model.latent": [1, 6], "training.lr": [1e-5, 1e-1, "log"]}


def plan(modalities=("rna", "cnv"), *, data=None, model=None, training=None, prepare=None, **tune):
    """A recipe for a cohort that is given directly."""
    return parse_recipe(
        {
            "data": {"read": dict.fromkeys(modalities, "nothing.csv"), "split": {"seed": 1}} | (data or {}),
            "prepare": prepare or {},
            "model": {"name": "autoencoder", "latent": 1, "hidden": [8], "dropout": 0} | (model or {}),
            "training": {"epochs": 4, "batch_size": 16, "lr": 1e-3} | (training or {}),
            "evaluate": {"embedding": None},
            "tune": {"space": LEARN, "objective": "reconstruction", "trials": 6, "startup": 3, "refits": 2} | tune,
        }
    )


@pytest.fixture
def given(monkeypatch):
    """`run` reads this cohort."""

    def give(mdata):
        monkeypatch.setattr(run, "cohort", lambda _: mdata)
        return mdata

    give(cohorts.linear(N, (("rna", 12), ("cnv", 8))))
    return give


def children():
    return [p for p in multiprocessing.active_children() if p.name == "isthmus-tune"]


# ---- what it finds


def test_two_workers_find_a_planted_optimum_in_25_trials(given, tmp_path):
    """Three factors; the recipe's own settings have one latent dimension and hardly learn."""
    mdata = given(cohorts.linear(100, (("rna", 20), ("cnv", 20)), d=3))
    poor = plan(model={"hidden": []}, training={"lr": 1e-5, "epochs": 10}, trials=25, startup=8, refits=3)
    found = ist.tune(poor, tmp_path / "out", workers=2)
    values = found.trials.set_index("number")["value"]
    x = np.hstack([mdata.mod[m].X for m in ("rna", "cnv")])
    ideal = PCA(3).fit(x).explained_variance_ratio_.sum()  # of equal tables, centred: the R2 of three dimensions
    assert values[0] < 0.05
    assert values.max() > 0.85 * ideal
    assert found.best.model.latent >= 3
    assert found.best.training.lr > 1e-3
    rows = pd.read_csv(tmp_path / "out" / "tables" / "comparison.csv").set_index("score")
    assert rows.loc["reconstruction", "lower"] > 0.3
    assert "beat the recipe&#39;s own" in found.report.read_text(encoding="utf-8")
    assert children() == []


def test_what_it_leaves_is_a_recipe_for_run_a_table_and_a_journal(given, tmp_path):
    found = ist.tune(plan(trials=4), tmp_path / "out", workers=1)
    best = load_recipe(tmp_path / "out" / "best.yaml")
    assert best.model_copy(update={"versions": None}) == found.best
    assert best.tune is None
    table = pd.read_csv(tmp_path / "out" / "trials.csv")
    assert list(table.columns) == ["study", "number", "state", "value", "model.latent", "training.lr", "reason"]
    row = table.loc[table["value"].idxmax()]
    assert (best.model.latent, best.training.lr) == (row["model.latent"], pytest.approx(row["training.lr"]))
    own = table.iloc[0]
    assert (own["model.latent"], own["training.lr"]) == (1, 1e-3)
    with quiet():
        again = optuna.load_study(study_name=None, storage=opened(str(tmp_path / "out" / "study.journal"), tmp_path))
    assert len(search.finished(again)) == 4  # a worker that the machine kills may leave one that does not count
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    complete = ist.tune(plan(trials=4), tmp_path / "out", workers=1, resume=True)  # read, not searched again
    pd.testing.assert_frame_equal(
        complete.trials.drop(columns="reason"), found.trials.drop(columns="reason"), check_exact=True
    )


# ---- nothing is lost or counted twice


def trials_of(folder):
    return (folder / "trials.csv").read_bytes()


@dataclass(frozen=True)
class Quick(Bench):
    """Values that depend on parameters and seed alone, without any training."""

    def trial(self, task, report):
        time.sleep(0.01)
        return [np.log(task["parameters"]["training.lr"]) * task["parameters"]["model.latent"] + task["seed"] / 2**32]

    def refit(self, task, report):
        return [float(task["seed"])] * len(self.scores)


@pytest.fixture
def unrefitted(monkeypatch):
    """What comes after the search, on test samples, costs no fits."""
    monkeypatch.setattr(run, "_all_of", lambda bench, tasks, _: {t: [0.0] * len(bench.scores) for t in tasks})
    monkeypatch.setattr(run.page, "write", lambda *_: None)


@pytest.fixture
def quick(given, monkeypatch):
    monkeypatch.setattr(run, "Bench", Quick)
    monkeypatch.setattr(run.page, "write", lambda *_: None)


UNDISTURBED = {}


def left_by(folder, sampler):
    """The table of a search that nothing happens to, made once for each sampler."""
    if sampler not in UNDISTURBED:
        run.tune(plan(trials=12, sampler=sampler, pruner="none"), folder / "whole", workers=1)
        UNDISTURBED[sampler] = trials_of(folder / "whole")
    return UNDISTURBED[sampler]


def test_a_killed_workers_trial_is_begun_again_once_and_nothing_else_changes(quick, tmp_path, caplog):
    killed = []

    def kill(told):
        if told.done == 4:
            killed.append(children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    recipe = plan(trials=12, sampler="random", pruner="none")
    found = ist.tune(recipe, tmp_path / "out", workers=2, watch=kill)
    assert len(killed) == 1
    assert list(found.trials["number"]) == list(range(12))
    assert set(found.trials["state"]) == {"complete"}
    assert "ended with signal SIGKILL" in caplog.text
    assert trials_of(tmp_path / "out") == left_by(tmp_path, "random")
    assert children() == []


@pytest.mark.parametrize(("sampler", "workers"), [("tpe", 1), ("random", 2)])
def test_interrupted_and_resumed_is_as_if_nothing_had_happened(quick, tmp_path, sampler, workers):
    recipe = plan(trials=12, sampler=sampler, pruner="none")

    def interrupt(told):
        if told.done == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedTraining) as stop:
        ist.tune(recipe, tmp_path / "out", workers=workers, watch=interrupt)
    assert stop.value.exit_code == 130
    assert not (tmp_path / "out").exists()
    with pytest.raises(RecipeError, match="interrupted run is kept"):
        ist.tune(recipe, tmp_path / "out")
    done = []
    ist.tune(recipe, tmp_path / "out", workers=workers, resume=True, watch=lambda told: done.append(told.done))
    assert done == list(range(6, 13))
    assert trials_of(tmp_path / "out") == left_by(tmp_path, sampler)
    assert children() == []


def test_more_trials_go_on_from_the_journal_that_a_search_left(quick, tmp_path):
    first = plan(trials=6, pruner="none")
    ist.tune(first, tmp_path / "first", workers=1)
    done = []
    journal = str(tmp_path / "first" / "study.journal")
    recipe = plan(trials=12, pruner="none")
    ist.tune(recipe, tmp_path / "more", workers=1, storage=journal, watch=lambda told: done.append(told.done))
    assert done == list(range(7, 13))
    assert trials_of(tmp_path / "more") == left_by(tmp_path, "tpe")


@dataclass(frozen=True)
class Parabola(Bench):
    """The value of a trial is (x - 3)^2, without any training; `doing` is what happens on the way."""

    doing: object = None

    def trial(self, task, report):
        if self.doing is not None:
            self.doing(task, report)
        return [(task["parameters"]["training.lr"] - 3) ** 2]


def parabola(doing=None, *, early=False):
    recipe = plan(space={"training.lr": [1.0, 5.0]}, training={"lr": 5.0})
    space = space_of(recipe, recipe.tune)
    return Parabola(cohorts.linear(2), space, (scores.ValidLoss(space),), (Division((), (), ()),), early, doing)


def searched(folder, bench, *, workers=2, shared=None, **keys):
    keys = Tuning(**{"trials": 12, "startup": 4} | keys)
    with quiet():
        going = search.Search(bench, keys, opened(shared, folder / "journal"), "study", shared=shared is not None)
        with Crew(bench.trial, workers) as crew:
            return going.run(crew)


def test_what_ends_its_worker_twice_is_given_up_and_made_good_by_another_trial(tmp_path):
    def fatal(task, _):
        if task["parameters"]["training.lr"] == 5.0:
            os.kill(os.getpid(), signal.SIGKILL)

    study = searched(tmp_path, parabola(fatal))
    assert [t.number for t in study.trials if t.state.name == "FAIL"] == [0]
    assert study.trials[0].user_attrs["deaths"] == 2
    assert sum(t.state.name == "COMPLETE" for t in study.trials) == 12


def test_a_search_whose_trials_all_end_their_workers_ends(tmp_path):
    with pytest.raises(RunError, match="end the processes"):
        searched(tmp_path, parabola(lambda *_: os._exit(7)))


def test_settings_that_cannot_be_trained_count_and_do_not_end_the_search(tmp_path):
    def some(task, _):
        if task["parameters"]["training.lr"] > 4:
            raise NonFiniteLossError("loss term 'recon' is not finite")

    study = searched(tmp_path, parabola(some), trials=16)
    states = ["PRUNED" if t.params["training.lr"] > 4 else "COMPLETE" for t in study.trials]
    assert [t.state.name for t in study.trials] == states
    assert len(states) == 16
    assert "not finite" in study.trials[0].user_attrs["reason"]
    assert search.winner(study).params["training.lr"] == pytest.approx(3, abs=0.7)


def test_a_wrong_recipe_and_our_own_mistakes_end_the_search(tmp_path):
    def wrong(*_):
        raise RecipeError("is wrong")

    def ours(*_):
        raise KeyError("oops")

    with pytest.raises(RecipeError, match="is wrong"):
        searched(tmp_path / "a", parabola(wrong))
    with pytest.raises(RunError, match="unexpected KeyError"):
        searched(tmp_path / "b", parabola(ours))


def test_the_pruner_stops_what_is_behind_the_median_at_the_same_step(tmp_path):
    def steps(task, report):
        for epoch in range(20):
            if report(epoch, (task["parameters"]["training.lr"] - 3) ** 2 + 1 / (epoch + 1)):
                raise Stopped

    study = searched(tmp_path, parabola(steps, early=True), trials=30, workers=1)
    off = {
        s: [abs(t.params["training.lr"] - 3) for t in study.trials if t.state.name == s] for s in ("COMPLETE", "PRUNED")
    }
    assert len(off["COMPLETE"]) + len(off["PRUNED"]) == 30
    assert np.median(off["COMPLETE"]) < np.median(off["PRUNED"])
    assert all(len(t.intermediate_values) < 20 for t in study.trials if t.state.name == "PRUNED")


def test_two_parents_on_one_database_share_exactly_the_trials_that_are_wanted(tmp_path):
    address = f"sqlite:///{tmp_path}/study.db"
    opened(address, tmp_path)  # its tables
    context = multiprocessing.get_context("fork")
    keys = {"shared": address, "workers": 1, "trials": 15}
    both = [
        context.Process(target=searched, args=(tmp_path, parabola()), kwargs=keys)
        for _ in range(2)
    ]  # fmt: skip
    for parent in both:
        parent.start()
    for parent in both:
        parent.join(60)
    assert [p.exitcode for p in both] == [0, 0]
    with quiet():
        study = optuna.load_study(study_name="study", storage=opened(address, tmp_path))
    counted = [t for t in study.trials if t.state.name != "FAIL"]
    assert [t.state.name for t in counted] == ["COMPLETE"] * 15
    assert len({t.user_attrs["owner"] for t in counted}) == 2


@pytest.mark.parametrize(("age", "taken"), [(10 * search.SILENT, True), (0, False)])
def test_on_a_shared_storage_only_what_a_silent_parent_left_is_taken_over(tmp_path, monkeypatch, age, taken):
    monkeypatch.setattr(search, "SETTLE", 0)
    bench, shared = parabola(), str(tmp_path / "shared.journal")
    keys = Tuning(trials=3)
    with quiet():
        dead, here = (search.Search(bench, keys, opened(shared, tmp_path), "study", shared=True) for _ in range(2))
        number = dead._next()
        dead.study.set_user_attr(f"beat:{dead.owner}", search.time.time() - age)
        assert (here._next() == number) == taken


def test_of_parents_that_ask_at_the_same_moment_the_later_one_gives_way(tmp_path):
    with quiet():
        going = search.Search(parabola(), Tuning(trials=2), opened(None, tmp_path / "j"), "study", shared=True)
        asked = [going.study.ask(going.bench.space.distributions).number for _ in range(4)]
        assert [going._surplus(n) for n in asked] == [False, False, True, True]
        going._tell(asked[0], optuna.trial.TrialState.FAIL)
        assert [going._surplus(n) for n in asked[1:]] == [False, False, True]


# ---- honest


def test_no_trial_sees_a_test_sample_and_none_changes_with_them(monkeypatch, tmp_path, unrefitted):
    seen, real = [], search.Search

    def spy(bench, *given, **keys):
        seen.append((set(bench.mdata.obs_names), {i for d in bench.divisions for i in (*d.train, *d.valid, *d.held)}))
        return real(bench, *given, **keys)

    monkeypatch.setattr(run, "Search", spy)
    recipe = plan(trials=2, pruner="none", training={"epochs": 2})
    left = []
    for name in ("honest", "tampered", "other"):
        mdata = cohorts.linear(N, (("rna", 12), ("cnv", 8)))
        parts = run.labels(mdata.obs, recipe.data.split)[0]
        if name != "honest":
            rows = mdata.obs_names.isin(parts.index[parts == ("test" if name == "tampered" else "valid")])
            for adata in mdata.mod.values():
                adata.X[rows] = 1e3
        monkeypatch.setattr(run, "cohort", lambda _, m=mdata: m)
        ist.tune(recipe, tmp_path / name, workers=1)
        left.append([(tmp_path / name / f).read_bytes() for f in ("trials.csv", "best.yaml")])
    assert left[0] == left[1]
    assert left[0][0] != left[2][0]
    assert all(a == b == set(parts.index[parts != "test"]) for a, b in seen)


def test_losses_are_compared_at_the_recipes_own_weights():
    recipe = plan(model={"name": "vae", "beta": 0.5}, objective="valid_loss", space={"model.beta": [0.1, 10.0, "log"]})
    space = space_of(recipe, recipe.tune)
    mdata = cohorts.linear(N, (("rna", 12), ("cnv", 8)))
    trial = space.recipe_with({"model.beta": 8.0})
    told = []
    fitted = fit(
        trial.model, take_samples(mdata, mdata.obs_names[:40]), take_samples(mdata, mdata.obs_names[40:]),
        training=trial.training, measure=lambda m, v: told.append(scores.loss_of(m, v, space)) or {},
    )  # fmt: skip
    held = take_samples(mdata, mdata.obs_names[40:])
    batch = samples(fitted.preparation.transform(held), fitted.spec).batch(torch.arange(20))
    with torch.no_grad():
        loss = fitted.module.loss(fitted.module(batch), batch, "model", 1.0)
    assert loss.weights["kl"] == pytest.approx(8.0, rel=1e-5)
    recon = sum(loss.weights[t] * v for t, v in loss.terms.items() if t.startswith("recon"))
    value = scores.ValidLoss(space).measure(scores.Held(fitted, mdata, held))
    assert value == pytest.approx([20 * float(recon + 0.5 * loss.terms["kl"]), 20], rel=1e-4)
    best = fitted.history["valid/total"].idxmin()
    assert told[best] == pytest.approx(value[0] / 20, rel=1e-5)


def test_scores_are_those_of_evaluate():
    mdata = cohorts.linear(N, (("rna", 12), ("cnv", 8)), missing=0.1, absent=5)
    train, held = (take_samples(mdata, mdata.obs_names[s]) for s in (slice(0, 40), slice(40, None)))
    fitted = fit(ist.Autoencoder(latent=3, hidden=(8,)), train, training={"epochs": 10, "patience": None})
    of = scores.Held(fitted, train, held)
    means, each = fitted.means(held), []
    for m in ("rna", "cnv"):
        x, present, reference = of.values(m)
        r2 = ist.evaluate.reconstruction(x[present], means[m][present], reference=reference)["r2"]
        each.append(r2)
    score = scores.Reconstruction()
    assert score.pooled([score.measure(of)]) == pytest.approx(np.mean(each), rel=1e-6)
    to = scores.Translation("rna", "cnv")
    guess = fitted.translate(held, "rna", "cnv")
    truth = held.mod["cnv"][guess.obs_names].to_df().to_numpy()
    scale = np.nanstd(train.mod["cnv"].X, axis=0)
    centre = np.nanmean(train.mod["cnv"].X, axis=0)
    r2 = ist.evaluate.reconstruction((truth - centre) / scale, (guess.X - centre) / scale, reference=np.zeros(8))["r2"]
    assert to.pooled([to.measure(of)]) == pytest.approx(r2, abs=1e-5)


def test_few_samples_leave_one_out_is_what_it_says(given, tmp_path, unrefitted):
    """n = 21: the value of the recipe's own settings, with the folds and fits written out."""
    mdata = given(cohorts.linear(21, (("rna", 10),), d=2))
    keys = {"split": {"by": "part"}}
    mdata.obs["part"] = ["train"] * 8 + ["test"] * 13
    recipe = plan(["rna"], data=keys, folds="loo", trials=1, training={"epochs": 2})
    found = ist.tune(recipe, tmp_path / "out", workers=1)
    sse = sst = 0.0
    ids = list(mdata.obs_names[:8])
    for k, left in enumerate(ids):
        train, held = take_samples(mdata, [i for i in ids if i != left]), take_samples(mdata, [left])
        training = copy_with(recipe.training, seed=seed_of(seed_of(0, 0), k))
        of = scores.Held(fit(recipe.model, train, training=training), train, held)
        x, _, mean = of.values("rna")
        sse, sst = sse + ((x - of.fitted.means(held)["rna"]) ** 2).sum(), sst + ((x - mean) ** 2).sum()
    assert found.trials["value"][0] == pytest.approx(1 - sse / sst, abs=1e-5)


def test_nested_folds_test_every_sample_once_and_repeats_divide_anew(given, tmp_path):
    given(cohorts.linear(21, (("rna", 8),), d=2))
    nested = {"split": {"folds": 3, "seed": 0}}
    keys = {"data": nested, "nested": True, "folds": 2, "training": {"epochs": 2}}
    found = ist.tune(plan(["rna"], **keys, trials=1), tmp_path / "out", workers=2)
    assert list(found.trials.groupby("study", sort=False).size().items()) == [
        ("fold0", 1), ("fold1", 1), ("fold2", 1), ("all", 1),
    ]  # fmt: skip
    recipe = plan(["rna"], **keys, repeats=2)
    refits = pd.read_csv(tmp_path / "out" / "tables" / "refits.csv")
    assert set(refits.groupby(["fold", "settings", "score"]).size()) == {2}
    mdata = cohorts.linear(21, (("rna", 8),), d=2)
    outer = run.labels(mdata.obs, recipe.data.split)
    assert sorted(i for s in outer for i in s.index[s == "test"]) == sorted(mdata.obs_names)
    inner = divisions(outer[0], mdata.obs, recipe.data.split, recipe.tune)
    test = set(outer[0].index[outer[0] == "test"])
    assert len(inner) == 4
    assert not any(test & {*d.train, *d.held} for d in inner)
    assert len({frozenset(d.held) for d in inner}) == 4
    assert all(len(set(inner[k].held) | set(inner[k + 1].held)) == 14 for k in (0, 2))


# ---- the space


KEYS = {
    "translator": {"source": "rna", "target": "cnv"},
    "crossmodal_vae": {},
    "ontology_vae": {"pathways": {f"t{i}": [f"rna{j}" for j in range(i, i + 3)] for i in range(3)}},
}
"""Of the architectures that need some."""


@pytest.mark.parametrize("name", registry.names())
def test_every_declared_range_can_be_searched(name):
    recipe = parse_recipe({"data": {"read": "x.h5mu"}, "model": {"name": name, **KEYS.get(name, {})}})
    space = space_of(recipe, Tuning(space=None))
    declared = {f"model.{k}" for k, t in type(recipe.model).tunable().items() if not t.asked}
    assert declared <= set(space.distributions)
    assert space.recipe_with(space.start).model_dump().keys() == recipe.model_dump().keys()


def test_ranges_as_people_write_them():
    assert (parse_range([2, 64], where="").low, parse_range([2, 64, "log"], where="").log) == (2, True)
    assert parse_range({"low": 1, "high": 2, "log": True}, where="").high == 2
    assert parse_range([32, 64, 128], where="").choices == (32, 64, 128)
    assert parse_range({"choices": [[8], None]}, where="").choices == ([8], None)
    assert parse_range(None, where="") is None


def test_choices_that_are_lists_and_options_of_steps_arrive():
    recipe = plan(
        prepare={"rna": ["log1p", {"top_variance": 9}, "standardise"]},
        space={"model.hidden": {"choices": [[8], [16, 8], None]}, "prepare.rna.top_variance.k": [4, 7]},
    )
    space = space_of(recipe, recipe.tune)
    assert space.start == {"model.hidden": "[8]", "prepare.rna.top_variance.k": 7}
    found = space.recipe_with({"model.hidden": "[16, 8]", "prepare.rna.top_variance.k": 5})
    assert found.model.hidden == (16, 8)
    assert found.prepare["rna"][1] == {"top_variance": {"k": 5}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": {"model.latnt": [1, 2]}}, "did you mean 'model.latent'"),
        ({"space": {"training.lr": [0.1, 0.01]}}, "empty range"),
        ({"space": {"training.lr": [0, 1, "log"]}}, "no logarithm"),
        ({"space": {"model.latent": [0, 4]}}, r"tune\.space\.model\.latent.*at least 1"),
        ({"space": {"model.latent": [1.5, 4]}}, "whole numbers"),
        ({"space": {"model.norm": ["layer", "bach", "none"]}}, r"tune\.space\.model\.norm.*'bach'"),
        ({"space": {"model.name": ["vae", "autoencoder"]}}, "isthmus compare"),
        ({"space": {"training.seed": [0, 9]}}, "set by the search"),
        ({"space": {"model.hidden": None}}, "declares no range"),
        ({"space": {}}, "names nothing"),
        ({"objective": "reconstructon"}, "did you mean 'reconstruction'"),
        ({"objective": "embedding/kindd/logistic"}, "did you mean 'kind'"),
        ({"objective": "embedding/kind/logistc"}, "did you mean 'logistic'"),
        ({"objective": "translation/rna->cmv"}, "did you mean 'cnv'"),
        ({"objective": "embedding/kind/logistic", "folds": "loo"}, "one sample"),
        ({"objective": ["reconstruction", {"name": "valid_loss"}]}, "mixes"),
        ({"nested": True}, r"data\.split\.folds"),
        ({"trails": 3}, "did you mean 'trials'"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_name_and_leaves_nothing(given, tmp_path, changes, said):
    with pytest.raises(InputError, match=f"(?s){said}") as error:
        ist.tune(plan(**changes), tmp_path / "out", workers=1)
    assert len(str(error.value).splitlines()) <= 3
    assert list(tmp_path.iterdir()) == []


def test_losses_over_other_features_are_not_compared():
    recipe = plan(
        prepare={"rna": [{"top_variance": 9}]}, space={"prepare.rna.top_variance.k": [4, 7]}, objective="valid_loss"
    )
    with pytest.raises(RecipeError, match="cannot be compared"):
        space_of(recipe, recipe.tune)


# ---- what is said of it


def table_of(default, best, folds=1):
    rows = [
        (f"fold{f}", who, seed, "reconstruction", float(v[f * (len(v) // folds) + seed]))
        for who, v in (("default", default), ("best", best))
        for f in range(folds)
        for seed in range(len(v) // folds)
    ]
    return pd.DataFrame(rows, columns=["fold", "settings", "seed", "score", "value"])


def test_the_interval_is_students_over_seeds():
    rng = np.random.default_rng(0)
    default, best = rng.normal(size=5), rng.normal(1, 1, size=5)
    (row,) = outcome.compared(table_of(default, best), {"reconstruction": True}, (1.0, 1.0)).to_dict("records")
    expected = stats.ttest_rel(best, default).confidence_interval(0.95)
    assert (row["lower"], row["upper"]) == pytest.approx((expected.low, expected.high))
    (other,) = outcome.compared(table_of(default, best), {"reconstruction": False}, (1.0, 1.0)).to_dict("records")
    assert other["difference"] == pytest.approx(-row["difference"])


def test_over_outer_folds_the_interval_is_wider_than_students():
    rng = np.random.default_rng(1)
    default, best = rng.normal(size=8), rng.normal(1, 1, size=8)
    (row,) = outcome.compared(table_of(default, best, 4), {"reconstruction": True}, (30.0, 10.0)).to_dict("records")
    gain = (best - default).reshape(4, 2).mean(axis=1)
    plain = stats.ttest_1samp(gain, 0).confidence_interval(0.95)
    wider = (row["upper"] - row["lower"]) / (plain.high - plain.low)
    assert wider == pytest.approx(np.sqrt((1 / 4 + 10 / 30) / (1 / 4)))


@pytest.mark.parametrize(
    ("lower", "upper", "said"),
    [(0.1, 0.3, "beat the recipe's own"), (-0.1, 0.3, "cannot be told"), (-0.3, -0.1, "own settings beat the tuned")],
)
def test_the_verdict_says_so_where_the_search_was_not_worth_it(lower, upper, said):
    row = {"score": "reconstruction", "default": 0.5, "default_sd": 0.1, "best": 0.6, "best_sd": 0.0953612}
    sentence = outcome._sentence(row | {"lower": lower, "upper": upper}, over="5 seeds", larger=True)
    assert said in sentence
    assert "0.6 ± 0.095 against" in sentence


def test_numbers_of_the_report_end_at_the_second_digit_of_their_spread():
    assert report._with_sd(pd.Series([0.8943, -148.41, 0.5]), pd.Series([0.04, 12.3, 0.0])) == [
        "0.894 ± 0.040", "\u2212148 ± 12", "0.5 ± 0"
    ]  # fmt: skip
    ends = pd.DataFrame({"lower": [-0.000562, 0.14, np.nan], "upper": [0.0886, 0.36, np.nan]})
    assert report._ranges(ends) == ["\u22120.001 to 0.089", "0.14 to 0.36", "–"]


def test_of_several_compromises_the_nearest_to_the_best_of_each_is_chosen():
    with quiet():
        study = optuna.create_study(directions=["minimize", "maximize"])
        for values in ((0, 0), (10, 10), (2, 8), (6, 7)):
            study.add_trial(optuna.trial.create_trial(values=[float(v) for v in values]))
    assert search.winner(study).values == [2, 8]


def test_several_scores_weighted_and_as_compromises(given, tmp_path, unrefitted):
    label = "embedding/kind/logistic"
    both = ist.tune(plan(objective=["reconstruction", label], trials=2), tmp_path / "both", workers=1)
    weighted = [{"name": "reconstruction", "weight": 2}, {"name": "valid_loss", "weight": 0.01}]
    one = ist.tune(plan(objective=weighted, trials=1), tmp_path / "one", workers=1)
    alone = ist.tune(plan(objective="valid_loss", trials=1), tmp_path / "alone", workers=1)
    r2 = both.trials["value/reconstruction"]
    assert both.trials[f"value/{label}"].between(0.3, 1).all()
    assert one.trials["value"][0] == pytest.approx(2 * r2[0] - 0.01 * alone.trials["value"][0], rel=1e-5)
