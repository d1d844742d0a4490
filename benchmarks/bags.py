"""Bags of uneven size: packed against padded and one after the other; the contiguous cache against TRIDENT's chunks.

python benchmarks/bags.py [--quick]

Forward and backward of gated attention (1,024 features) over eight bags of 500 to 20,000 instances, on one thread:
medians of so many runs. Then the features of such slides, written as TRIDENT writes them (a row a chunk): a batch of
eight slides, and 2,048 instances of each, read from the HDF5 files and from the store that `ist.read` makes of them.
Last, what each way of pooling finds in simulated bags of which few instances say anything.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import isthmus as ist
from isthmus.data.bags import bags_of
from isthmus.nn.pooling import Attention
from isthmus.types import PackedBags

LENGTHS = (500, 850, 1_440, 2_440, 4_130, 7_000, 11_800, 20_000)
WIDTH, RUNS = 1_024, 5


def in_turn(calls, runs=RUNS):
    """Seconds of each run of each call, taken in turn, so that a busy machine is busy for all of them."""
    taken = {name: [] for name in calls}
    for k in range(runs + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if k:
                taken[name].append(time.perf_counter() - started)
    return {name: sorted(seconds) for name, seconds in taken.items()}


def row(name, taken, base=None):
    """A line of a table in markdown."""
    ratio = "" if base is None else f" {median(taken) / median(base):.2f} |"
    print(f"| {name} | {median(taken):.3f} | {taken[0]:.3f}-{taken[-1]:.3f} |{ratio}", flush=True)


def pooling(lengths):
    """Forward and backward of the same pool three ways, which give the same numbers."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(sum(lengths), WIDTH, generator=draw)
    offsets = torch.tensor([0, *itertools.accumulate(lengths)])
    bags = PackedBags(x, offsets)
    padded = torch.zeros(len(lengths), max(lengths), WIDTH)
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.bool)
    for i, (a, b) in enumerate(itertools.pairwise(offsets.tolist())):
        padded[i, : b - a], mask[i, : b - a] = x[a:b], True
    torch.manual_seed(0)
    pool = Attention(WIDTH)
    torch.nn.init.normal_(pool.gate.score.weight, std=0.1)

    def by_packing():
        return pool(bags)

    def by_padding():
        score = pool.gate(padded.flatten(0, 1)).view(mask.shape).masked_fill(~mask, -torch.inf)
        return torch.bmm(score.softmax(dim=1).unsqueeze(1), padded).squeeze(1)

    def one_by_one():
        parts = [x[a:b] for a, b in itertools.pairwise(offsets.tolist())]
        return torch.stack([pool.gate(part).softmax(dim=0) @ part for part in parts])

    def step(call):
        pool.zero_grad()
        found = call()
        found.square().mean().backward()
        return found.detach(), pool.gate.tanh.weight.grad.clone()

    ways = {"packed": by_packing, "padded": by_padding, "bag by bag": one_by_one}
    answers = {name: step(call) for name, call in ways.items()}
    for name, (z, slope) in answers.items():
        for found, wanted in ((z, answers["packed"][0]), (slope, answers["packed"][1])):
            off = float((found - wanted).abs().max() / wanted.abs().max())
            assert off < 1e-4, (name, off)
    sizes = f"{len(lengths)} bags of {min(lengths):,} to {max(lengths):,} instances x {WIDTH:,}"
    print(f"\n{sizes} ({sum(lengths):,} in all; padded {mask.numel():,}), forward and backward:\n")
    print("| way | median seconds | range | over packed |\n| --- | --- | --- | --- |")
    taken = in_turn({name: lambda call=call: step(call) for name, call in ways.items()})
    for name, seconds in taken.items():
        row(name, seconds, taken["packed"])


def reading(lengths, folder):
    """A batch from TRIDENT's files and from the store."""
    files = folder / "features_made_up"
    files.mkdir()
    rng = np.random.default_rng(0)
    for i, n in enumerate(lengths):
        x = rng.normal(size=(n, WIDTH)).astype(np.float32)
        with h5py.File(files / f"S{i}.h5", "w") as file:
            file.create_dataset("features", data=x, chunks=(1, WIDTH), maxshape=(None, WIDTH))
            file.create_dataset("coords", data=np.zeros((n, 2), np.int64), chunks=(1, 2), maxshape=(None, 2))
    os.environ["ISTHMUS_CACHE"] = str(folder / "cache")
    started = time.perf_counter()
    mdata = ist.read({"slide": files})
    first = time.perf_counter() - started
    started = time.perf_counter()
    ist.read({"slide": files})
    again = time.perf_counter() - started
    bags = bags_of(mdata.mod["slide"])
    every = np.arange(len(lengths))

    def chunks(most=None):
        parts = []
        for i, n in enumerate(lengths):
            with h5py.File(files / f"S{i}.h5", "r") as file:
                if most is None or n <= most:
                    parts.append(file["features"][()])
                else:
                    parts.append(file["features"][np.sort(np.random.default_rng(i).choice(n, most, replace=False))])
        return np.concatenate(parts)

    def store(most=None):
        return np.array(bags.values(bags.rows(every, most)[0]))  # a copy: values alone may be a view of the file

    assert np.array_equal(chunks(), store())
    size = sum(lengths) * WIDTH * 4 / 1e6
    print(f"\n{len(lengths)} slides of the same sizes, {size:,.0f} MB; all in the system's memory of files:\n")
    print("| read | median seconds | range | over the store |\n| --- | --- | --- | --- |")
    for what, most in (("whole slides", None), ("2,048 instances a slide", 2_048)):
        calls = {"the store": lambda most=most: store(most), "TRIDENT's files": lambda most=most: chunks(most)}
        taken = in_turn(calls, 3)
        for name, seconds in taken.items():
            row(f"{what}, from {name}", seconds, taken["the store"])
    print(f"\nMaking the store (`ist.read` for the first time): {first:.2f} s; finding it again: {again:.2f} s")


def finding(seeds):
    """How well a class is told from bags of which one instance in twenty shows it, on test samples."""
    rows = {}
    for seed in range(seeds):
        bags = {"slide": {"features": 32, "instances": (60, 240), "informative": 0.05}}
        mdata = ist.simulate(n=400, modalities={}, bags=bags, seed=seed)
        train, valid, test = ist.split(mdata, (0.6, 0.15, 0.25), stratify="class", seed=seed)
        truth = mdata.uns["truth"]["informative"]["slide"]
        shown = truth["informative"].to_numpy() == 1
        every = pd.DataFrame(np.asarray(bags_of(mdata.mod["slide"]).store.x))
        best = every[shown].groupby(truth["sample"][shown].to_numpy()).mean()
        means = mdata.mod["slide"].to_df()
        found = {"logistic regression on means": (_linear(means, train, test), np.nan)}
        found["the same on the informative instances alone"] = (_linear(best, train, test), np.nan)
        for kind in ("mean", "attention", "top_k", "prototype"):
            found[f"pooling: {kind}"] = _head(kind, (train, valid, test), truth, seed)
        for name, scores in found.items():
            rows.setdefault(name, []).append(scores)
    print(
        f"\nBalanced accuracy of three classes on 100 test samples, {seeds} simulated cohorts of 400; attention on the"
    )
    print("informative instances, of which there are 5 %:\n")
    print("| | balanced accuracy | sd | attention on the informative |\n| --- | --- | --- | --- |")
    for name, scores in rows.items():
        accuracy, share = np.array(scores).T
        told = "" if np.isnan(share).any() else f"{share.mean():.2f}"
        print(f"| {name} | {accuracy.mean():.3f} | {accuracy.std(ddof=1):.3f} | {told} |", flush=True)


def _linear(values, train, test):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2_000))
    model.fit(values.loc[train.obs_names], train.obs["class"].astype(str))
    return balanced_accuracy_score(test.obs["class"].astype(str), model.predict(values.loc[test.obs_names]))


def _head(kind, parts, truth, seed):
    """Balanced accuracy of a head on an autoencoder of bags, and the share of attention on informative instances."""
    train, valid, test = parts
    heads = {"class": {"kind": "class", "column": "class", "weight": 10.0}}
    training = ist.Training(epochs=60, batch_size=32, lr=2e-3, patience=10, instances=128, seed=seed)
    fitted = ist.fit(ist.Autoencoder(latent=8, pooling=kind), train, valid, heads=heads, training=training)
    told = fitted.predict(test).filter(like="class/").idxmax(axis=1).str.removeprefix("class/")
    accuracy = balanced_accuracy_score(test.obs["class"].astype(str), told)
    if kind == "prototype":
        return accuracy, np.nan
    weights = fitted.attention(test).merge(truth, on=["sample", "slide", "x", "y"])
    return accuracy, weights.loc[weights["informative"] == 1, "attention"].sum() / test.n_obs


def main():
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--quick", action="store_true", help="a tenth of the instances, one cohort")
    quick = asked.parse_args().quick
    lengths = [n // 10 for n in LENGTHS] if quick else list(LENGTHS)
    torch.set_num_threads(1)
    print(f"{platform.machine()}, one thread, torch {torch.__version__}, Python {sys.version.split()[0]}")
    pooling(lengths)
    folder = Path(tempfile.mkdtemp())
    try:
        reading(lengths, folder)
    finally:
        shutil.rmtree(folder)
    finding(1 if quick else 5)


if __name__ == "__main__":
    main()
