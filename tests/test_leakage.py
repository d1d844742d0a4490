"""Nothing that a run learns depends on its test samples: not by one bit, anywhere.

A run is carried out twice, the second time with every value and label of the test samples changed and some of their
rows gone. Whatever was learnt in either must be the same: the model directory (weights, preparation, moments, interval
half-widths, features, history), and what every scikit-learn estimator, UMAP among them, was fitted on. Steps,
architectures, baselines and learners are found by discovery, so that a new one is covered at once. Validation samples
may decide when to stop, so that for them only what is learnt before training is compared.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import warnings
from importlib.util import find_spec
from typing import get_args

import mudata as md
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from safetensors.numpy import load_file
from sklearn.base import BaseEstimator

import isthmus as ist
from cohorts import table
from isthmus import experiment, registry, results
from isthmus.data.cohort import build
from isthmus.evaluating_keys import Embedding
from isthmus.prepare import step as steps
from isthmus.recipe import parse_recipe

N, F = 60, 6
PARTS = np.array(["train"] * 36 + ["valid"] * 12 + ["test"] * 12)
OPTIONS = {
    "clip": {"low": 0.0, "high": 6.0},
    "correlation": 3,
    "mad": 3,
    "top_variance": 3,
    "detected_in": 0.4,
    "m_score": {"cds": "cds.csv", "cna": "cna.csv"},
}
"""Of the steps that need some, for the tables of this test."""
COMPLETE = "by_span"
"""The table of the step that takes no gaps in train."""
METHODS = ("fit", "fit_transform", "fit_predict", "partial_fit")
DESCRIPTIVE = "isthmus.evaluate.neighbours"
"""Clusters and neighbours among the test samples are what is measured there, not what is learnt."""


def cohort(modalities, changed=None, seed=0):
    """Counts with gaps and labels; with `changed`, all samples of that part (or the one of that id) are others."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"s{i:02d}" for i in range(N)])
    kind = np.arange(N) % 2
    obs = pd.DataFrame({"kind": np.where(kind, "a", "b"), "age": rng.normal(50, 9, N), "part": PARTS}, index=ids)
    there = (changed == PARTS) | (ids == changed)
    mods = {}
    for name in modalities:
        x = rng.poisson(2 + 2 * kind[:, None] * rng.random(F), size=(N, F)).astype(float)
        x[rng.random(x.shape) < 0.05] = np.nan
        other = rng.poisson(30, size=x.shape) * 1.0
        other[rng.random(x.shape) < 0.3] = np.nan
        x[there] = other[there]
        if name == COMPLETE:
            x = np.nan_to_num(x, nan=2.0)
        mods[name] = table(x, ids, "g")
    if there.sum() > 1:
        gone = ids[there][::3]
        last = list(mods)[-1]
        mods[last] = mods[last][~mods[last].obs_names.isin(gone)].copy()
        obs.loc[there, "kind"] = rng.choice(["a", "b", "never seen"], there.sum())
    obs.loc[there, "age"] = 1e4
    return build(mods, obs)


def recipe(folder, modalities, **keys):
    """A recipe for a cohort that is given directly."""
    return parse_recipe(
        {
            "data": {"read": dict.fromkeys(modalities, "nothing.csv"), "split": {"by": "part"}},
            "training": {"epochs": 4, "batch_size": 16, "patience": 2},
            "evaluate": {"embedding": {"labels": ["kind", "age"], "baselines": ["pca"], "learners": ["logistic"]}},
        }
        | keys,
        root=folder,
    )


class Spy:
    """Digests of what every estimator is fitted on, in the order of fitting."""

    def __init__(self, monkeypatch) -> None:
        self.seen, self.depth = [], 0
        if find_spec("umap") is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                importlib.import_module("umap")
        kinds = [BaseEstimator]
        for kind in kinds:
            kinds += [k for k in kind.__subclasses__() if k not in kinds]
            for method in [m for m in METHODS if m in vars(kind)]:
                monkeypatch.setattr(kind, method, self.wrapped(vars(kind)[method]))

    def wrapped(self, real):
        def method(estimator, *given, **keys):
            if not self.depth and not self.descriptive():
                self.seen.append((type(estimator).__name__, *map(digest, given)))
            self.depth += 1
            try:
                return real(estimator, *given, **keys)
            finally:
                self.depth -= 1

        return method

    @staticmethod
    def descriptive() -> bool:
        frame = sys._getframe(2)
        while frame is not None and frame.f_globals.get("__name__") != DESCRIPTIVE:
            frame = frame.f_back
        return frame is not None


def digest(values) -> str:
    parts = (values.data, values.indices, values.indptr) if sp.issparse(values) else (np.asarray(values),)
    return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()


def learnt(monkeypatch, folder, plan, mdata: md.MuData, *, report=True):
    """Everything that a run over some samples learns: files of the model, and what estimators were fitted on."""
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "cohort", lambda _: mdata)
        patch.setattr(results.page, "write", lambda *_: (folder / f".{name}.partial" / "tables").mkdir())
        name = f"run{len(list(folder.iterdir()))}"
        if not report:
            patch.setattr(results, "write", lambda at, found: found.fitted.save(at / "model"))
        spy = Spy(patch)
        experiment.run(plan, folder / name)
    model = folder / name / "model"
    files = {f.name: f.read_bytes() for f in model.iterdir()}
    return files | {"fitted": spy.seen}, model


def step_options(name):
    """A step as a recipe writes it."""
    kind = steps.get(name)
    needed = [k for k, f in kind.Options.model_fields.items() if f.is_required()]
    assert name in OPTIONS or not needed, f"give the step {name!r} options in this test"
    return {name: OPTIONS[name]} if name in OPTIONS else name


@pytest.fixture
def side_files(tmp_path):
    """Gene lengths and copy numbers for the M-score."""
    rng = np.random.default_rng(5)
    genes = [f"g{j}" for j in range(F)]
    pd.DataFrame({"gene": genes, "length": rng.integers(300, 9000, F)}).to_csv(tmp_path / "cds.csv", index=False)
    cna = pd.DataFrame(rng.normal(size=(N, F)), index=[f"s{i:02d}" for i in range(N)], columns=genes)
    cna.to_csv(tmp_path / "cna.csv")
    return tmp_path


def all_steps(folder, names, **embedding):
    return recipe(
        folder, names,
        prepare={f"by_{s}": [step_options(s)] for s in steps.names()},
        model={"name": "vae", "latent": 2, "hidden": [8]},
        training={"epochs": 4, "batch_size": 16, "patience": 2, "optimizer": "rowwise_adam"},  # as span asks
        evaluate={"embedding": {"labels": ["kind", "age"], "resamples": 10, **embedding}},
    )  # fmt: skip


@pytest.mark.slow
def test_no_step_baseline_or_learner_of_a_run_learns_from_test_samples(monkeypatch, side_files):
    """One run with a modality for every step there is, and every baseline and learner."""
    names = [f"by_{s}" for s in steps.names()]
    keys = Embedding.model_fields
    every = {k: list(get_args(get_args(keys[k].annotation)[0])) for k in ("learners", "baselines")}
    assert min(map(len, every.values())) > 2
    plan = all_steps(side_files, names, **every)
    (side_files / "runs").mkdir()
    honest, tampered = (
        learnt(monkeypatch, side_files / "runs", plan, cohort(names, changed))[0] for changed in (None, "test")
    )
    assert [a for a, b in zip(honest["fitted"], tampered["fitted"], strict=True) if a != b] == []
    assert different(honest, tampered) == set()
    fitted = {kind for kind, *_ in honest["fitted"]}
    assert {"PCA", "LogisticRegression", "SVC", "RandomForestClassifier", "Ridge", "StandardScaler"} <= fitted
    assert ("UMAP" in fitted) == (find_spec("umap") is not None)


def test_no_step_learns_from_validation_samples_and_every_one_from_train(monkeypatch, side_files):
    names = [f"by_{s}" for s in steps.names()]
    plan = all_steps(side_files, names, learners=["logistic"], baselines=["pca"])
    (side_files / "runs").mkdir()
    (honest, model), (valid, other), (train, third) = (
        learnt(monkeypatch, side_files / "runs", plan, cohort(names, changed)) for changed in (None, "valid", "train")
    )
    assert different(prepared(model), prepared(other)) == set()
    assert valid["model.json"] != honest["model.json"]  # its losses are in the history
    assert train["fitted"] != honest["fitted"]
    changes = different(prepared(model), prepared(third))
    silent = {s for s in steps.names() if not any(f"by_{s}/" in k for k in changes)}
    assert silent <= WITHOUT_STATE, f"the test cannot see what {silent - WITHOUT_STATE} learn"


WITHOUT_STATE = {
    "mean", "log1p", "log2", "arcsinh", "clr", "clip", "detected_in", "nonzero_variance", "m_score",
}  # fmt: skip
"""Steps that learn nothing from values, or that keep every feature of these tables."""


def prepared(model):
    """What is learnt before training, by name."""
    tensors = {k: v.tobytes() for k, v in load_file(model / "prepare.safetensors").items() if k.startswith("prepare/")}
    described = json.loads((model / "model.json").read_text())
    steps_of = {f"{m}/steps": json.dumps(v["steps"]) for m, v in described["prepare"]["pipelines"].items()}
    return tensors | steps_of | {"prepare": json.dumps(described["prepare"]), "spec": json.dumps(described["spec"])}


def different(one, other):
    return {k for k in {*one, *other} if one.get(k) != other.get(k)}


MODEL_KEYS = {
    "translator": {"source": "rna", "target": "protein"},
    "crossmodal_vae": {},
    "ontology_vae": {"min_size": 3, "pathways": {f"t{i}": [f"g{j}" for j in range(i, i + 3)] for i in range(3)}},
}
"""Of the architectures that need some."""


@pytest.mark.parametrize("name", registry.names())
def test_no_architecture_learns_from_test_samples(monkeypatch, tmp_path, name):
    fields = registry.settings(name).model_fields
    small = {k: v for k, v in {"latent": 2, "hidden": [8]}.items() if k in fields}
    plan = recipe(
        tmp_path, ["rna", "protein"], likelihood={"rna": "nb"},
        model={"name": name, **small, **MODEL_KEYS.get(name, {})},
    )  # fmt: skip
    (honest, _), (tampered, _), (train, _) = (
        learnt(monkeypatch, tmp_path, plan, cohort(["rna", "protein"], changed), report=False)
        for changed in (None, "test", "s00")
    )
    assert honest == tampered
    assert train["weights.safetensors"] != honest["weights.safetensors"]


def test_folds_learn_from_their_own_train_samples_alone(monkeypatch, tmp_path):
    """With folds every sample is a test sample once: the fits of a fold do not see its own."""
    plan = recipe(tmp_path, ["rna"], data={"read": {"rna": "x.csv"}, "split": {"folds": 2}}, model={"name": "vae"})
    real = experiment.assess.measure
    weights = {}
    for changed in (None, "s00"):
        found = weights[changed] = []

        def measure(fitted, parts, *given, found=found, **keys):
            found.append((fitted.module.state_dict(), set(parts["test"].obs_names)))
            return real(fitted, parts, *given, **keys)

        with monkeypatch.context() as patch:
            patch.setattr(experiment, "cohort", lambda _, c=changed: cohort(["rna"], c))
            patch.setattr(experiment.assess, "measure", measure)
            patch.setattr(results, "write", lambda *_: None)
            experiment.run(plan, tmp_path / f"folds{changed}")
    for (before, test), (after, same) in zip(*weights.values(), strict=True):
        assert test == same
        equal = all((before[k] == after[k]).all() for k in before)
        assert equal == ("s00" in test)


def test_what_is_tested_here_is_what_python_users_get(tmp_path):
    """`ist.fit` has no way to see test samples; `ist.split` gives disjoint parts that cover the cohort."""
    mdata = cohort(["rna"])
    parts = ist.split(mdata, (0.6, 0.2, 0.2), stratify="kind", seed=0)
    ids = [set(p.obs_names) for p in parts]
    assert sum(map(len, ids)) == len(set.union(*ids)) == N
