"""What the step `span` saves and what it costs nothing: CPU per step, time and memory, and held-out R2 beside PCA.

    python benchmarks/span.py                  # steps; the 2.18-billion-weight network, five folds x 200 epochs
    python benchmarks/span.py --r2             # held-out R2, five folds: span, full width, PCA (an hour, 12 GB)

Claims: at 132,129 features a step in the span takes at most a fiftieth of the processor seconds that the same network
takes at full width with fused Adam; the reading with 2,182,008,161 weights is trained for five folds x 200 epochs in
under five minutes and 2 GiB. One thread: a second one waits longer than it works on the small network.

The cohort is that of examples/few_samples.yaml: 21 simulated samples. The network of the steps is gene_ae in the
reading `counts`, 543,593,441 weights, 16 training samples in one batch; the larger reading does not fit into the memory
of most machines at full width (35 GB with Adam). Every part runs in a process of its own, so that its memory is its.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import mudata as md
import numpy as np
import torch

import isthmus as ist
from isthmus import assess, registry
from isthmus.data.cohort import build
from isthmus.experiment import cohort
from isthmus.recipe import load_recipe
from isthmus.training import optimizers
from isthmus.types import Batch, Modality, Spec

RECIPE = Path(__file__).resolve().parents[1] / "examples" / "few_samples.yaml"
GENES, TRAIN, COORDINATES = 132_129, 16, 15
STEPS, WARM_UP = 9, 2
CLAIM_STEP, CLAIM_SECONDS, CLAIM_GIB = 50, 300, 2
CLIP = 1.0


def step(width: int, optimizer: str) -> dict[str, float]:
    """Processor seconds of a step (median): forward, backward, clip, step."""
    torch.manual_seed(0)
    spec = Spec((Modality("genes", (GENES,), coordinates=width),))
    model = registry.get("dual_autoencoder")(registry.config_of("dual_autoencoder")(), spec)
    moving = optimizers.build(ist.Training(optimizer=optimizer), model.parameters())
    scale = (GENES / width) ** 0.5
    some = torch.arange(TRAIN)
    batch = Batch({"genes": scale * torch.randn(TRAIN, width)}, {"genes": torch.ones(TRAIN, 1, dtype=torch.bool)}, some)
    seconds = []
    for _ in range(WARM_UP + STEPS):
        started = time.process_time()
        loss = model.loss(model(batch), batch, "model", 1.0).total
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        moving.step()
        seconds.append(time.process_time() - started)
    return {"cpu": median(seconds[WARM_UP:]), "weights": sum(p.numel() for p in model.parameters())}


def folds() -> list[tuple[md.MuData, md.MuData]]:
    """Train and test of five folds, the genes alone."""
    whole = cohort(load_recipe(RECIPE))
    return list(ist.folds(build({"genes": whole.mod["genes"]}, whole.obs), 5, seed=0))


def fitted(train: md.MuData, epochs: int, *, reading: str, span: bool, optimizer: str) -> ist.Fitted:
    """gene_ae on the samples of a fold."""
    model = registry.config_of("dual_autoencoder")(reading=reading)
    steps = {"genes": ["log2", "standardise", {"span": span}]}
    return ist.fit(
        model, train, prepare=steps, training=ist.Training(epochs=epochs, optimizer=optimizer, patience=None, threads=1)
    )


def large(epochs: int) -> dict[str, float]:
    """The reading `widths` in the span, five folds."""
    pairs = folds()
    wall, cpu = time.perf_counter(), time.process_time()
    for train, _ in pairs:
        made = fitted(train, epochs, reading="widths", span=True, optimizer="rowwise_adam")
    inner = sum(p.numel() for p in made.module.parameters())
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "weights": inner}


def scored(way: str, epochs: int) -> dict[str, Any]:
    """Held-out R2 of the genes, the mean over folds and every fold's, of a network and of PCA."""
    how = {"span": (True, "rowwise_adam"), "full": (False, "adam"), "full, rowwise_adam": (False, "rowwise_adam")}[way]
    ours, pca, cpu = [], [], 0.0
    for train, test in folds():
        started = time.process_time()
        made = fitted(train, epochs, reading="counts", span=how[0], optimizer=how[1])
        cpu += time.process_time() - started
        found = assess.measure(made, {"train": train, "test": test}, [], learners=(), baselines=()).reconstruction
        r2 = found[found["split"] == "test"].set_index("representation")["r2"]
        ours.append(float(r2["DualAutoencoder"]))
        pca.append(float(r2["pca"]))
    return {"r2": float(np.mean(ours)), "sd": float(np.std(ours, ddof=1)), "pca": float(np.mean(pca)), "cpu": cpu}


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "step span": lambda _: step(COORDINATES, "rowwise_adam"),
    "step full": lambda _: step(GENES, "adam"),
    "large": large,
    "r2 span": lambda epochs: scored("span", epochs),
    "r2 full": lambda epochs: scored("full", epochs),
}


def apart(part: str, epochs: int = 0) -> dict[str, Any]:
    """A part in a process of its own, with its peak memory in GiB."""
    call = [sys.executable, __file__, "--part", part, "--epochs", str(epochs)]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure; 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--r2", action="store_true")
    parser.add_argument("--epochs", type=int, default=40, help="of --r2")
    parser.add_argument("--part", choices=PARTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.part:
        found = PARTS[given.part](given.epochs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({**found, "gib": peak}))
        return 0
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.machine()}")
    if given.r2:
        return _r2(given.epochs)
    small, full = apart("step span"), apart("step full")
    ratio = full["cpu"] / small["cpu"]
    print(f"a step at {GENES:,} features, gene_ae (counts), {TRAIN} samples; processor seconds, median of {STEPS}")
    for name, one in (("full width, fused Adam", full), ("in the span, rowwise_adam", small)):
        print(f"  {name:28} {one['cpu']:8.4f} s  {one['weights']:>13,} weights  peak {one['gib']:5.2f} GiB", flush=True)
    print(f"  ratio {ratio:.0f} (claim: at least {CLAIM_STEP})", flush=True)
    whole = apart("large", 200)
    print("gene_ae (widths), 2,182,008,161 weights, in the span: five folds x 200 epochs, preparation included")
    print(
        f"  {whole['wall']:.0f} s by the clock, {whole['cpu']:.0f} s of processor, peak {whole['gib']:.2f} GiB", end=""
    )
    print(f" (claims: {CLAIM_SECONDS} s, {CLAIM_GIB} GiB); {whole['weights']:,} weights in memory")
    return int(ratio < CLAIM_STEP or whole["wall"] > CLAIM_SECONDS or whole["gib"] > CLAIM_GIB)


def _r2(epochs: int) -> int:
    print(f"held-out R2 of {GENES:,} genes, 21 samples, five folds, {epochs} epochs, gene_ae (counts)")
    for part in ("r2 span", "r2 full"):
        one = apart(part, epochs)
        print(f"  {part[3:]:5} {one['r2']:6.3f} (sd {one['sd']:.3f})   PCA {one['pca']:.3f}", end="")
        print(f"   {one['cpu']:8.1f} s of processor, peak {one['gib']:.1f} GiB", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
