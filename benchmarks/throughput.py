"""Time per epoch of the engine, beside a bare torch loop and the floor of its matrix products.

A VAE on 9,000 samples of three modalities with 2,000 features each, batches of 256, one thread. In every round the
three are timed in turn, so that whatever else the machine does strikes all of them; ratios are taken within rounds.
We want at most 1.15 times the bare loop, and a floor of at least 60 % of our time. With one thread, the seconds are
those of the processor, which another program on the machine does not lengthen as it does the clock's:

    python benchmarks/throughput.py [--samples 9000] [--rounds 5]

The bare loop is what one would write by hand for this cohort: the modalities concatenated beforehand into one matrix,
no masks, one output layer, no named terms and no history. It has as many weights, the same loss, fused Adam, clipping
and batches in a random order. The floor is the products of every linear layer at these batch sizes, forward, weight
gradient and, but for the first layer, input gradient, written into memory allocated beforehand: no bias, activation,
normalisation, loss or optimiser.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterator
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus import registry
from isthmus.data.batches import Samples
from isthmus.losses import annealing
from isthmus.training import engine
from isthmus.training.settings import Training
from isthmus.types import Modality, Spec

MODALITIES, FEATURES, BATCH = 3, 2_000, 256
LATENT, HIDDEN = 8, (1024, 256)
LR, CLIP, DROPOUT, BETA = 1e-3, 1.0, 0.1, 1.0
WARM_UP = 1
"""Epochs of each engine run that are not counted: the optimiser allocates its memory in the first."""


class Bare(nn.Module):
    """The same layers as `VAEModule` with `join: direct`, written down one after the other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*block(width, HIDDEN[0]), *block(HIDDEN[0], HIDDEN[1]))
        self.mean, self.logvar = nn.Linear(HIDDEN[1], LATENT), nn.Linear(HIDDEN[1], LATENT)
        self.decoder = nn.Sequential(
            *block(LATENT, HIDDEN[1]), *block(HIDDEN[1], HIDDEN[0]), nn.Linear(HIDDEN[0], width)
        )

    def forward(self, x: Tensor, rise: float) -> Tensor:
        """The loss."""
        h = self.encoder(x)
        mean, logvar = self.mean(h), self.logvar(h)
        z = torch.addcmul(mean, torch.randn_like(mean), (0.5 * logvar).exp())
        recon = functional.mse_loss(self.decoder(z), x, reduction="sum") / len(x)
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(dim=1).mean()
        return recon + rise * kl


def block(a: int, b: int) -> list[nn.Module]:
    return [nn.Linear(a, b), nn.LayerNorm(b), nn.ReLU(), nn.Dropout(DROPOUT)]


def engine_epoch(samples: Samples, spec: Spec) -> tuple[float, int]:
    """Seconds of one epoch of the engine after the warm-up, and the number of weights."""
    config = registry.config_of("vae")(latent=LATENT, hidden=HIDDEN, dropout=DROPOUT, beta=BETA)
    torch.manual_seed(0)
    model = registry.get("vae")(config, spec)
    training = Training(epochs=WARM_UP + 1, batch_size=BATCH, lr=LR, gradient_clip=CLIP, patience=None)
    marks: list[float] = []
    engine.fit(engine.Job(model, samples, None, training, watch=lambda _: marks.append(time.process_time())))
    return marks[-1] - marks[-2], sum(p.numel() for p in model.parameters())


def bare_epochs(x: Tensor) -> Iterator[tuple[float, int]]:
    """Seconds of one epoch of the bare loop, again and again; the first is the warm-up."""
    torch.manual_seed(0)
    model = Bare(x.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    model.train()
    rise = BETA * annealing.weight("logistic_early", 0.5)
    while True:
        started = time.process_time()
        for index in torch.randperm(len(x)).split(BATCH):
            loss = model(x.index_select(0, index), rise)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
        yield time.process_time() - started, sum(p.numel() for p in model.parameters())


def floor_epochs(n: int, width: int) -> Iterator[float]:
    """Seconds of the matrix products of one epoch, again and again."""
    shapes = [(width, HIDDEN[0]), HIDDEN, (HIDDEN[1], LATENT), (HIDDEN[1], LATENT)]
    shapes += [(LATENT, HIDDEN[1]), (HIDDEN[1], HIDDEN[0]), (HIDDEN[0], width)]
    whole = [products(BATCH, a, b, first=i == 0) for i, (a, b) in enumerate(shapes)]
    rest = [products(n % BATCH, a, b, first=i == 0) for i, (a, b) in enumerate(shapes)] if n % BATCH else []
    while True:
        started = time.process_time()
        for calls in [*[whole] * (n // BATCH), rest]:
            for call in calls:
                for a, b, out in call:
                    torch.mm(a, b, out=out)
        yield time.process_time() - started


def products(n: int, a: int, b: int, *, first: bool) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Operands and results of one linear layer: forward, weight gradient, input gradient."""
    x, w, g = torch.randn(n, a), torch.randn(b, a), torch.randn(n, b)
    calls = [(x, w.T, torch.empty(n, b)), (g.T, x, torch.empty(b, a))]
    return calls if first else [*calls, (g, w, torch.empty(n, a))]


def cohort(n: int) -> tuple[Samples, Spec]:
    """Standard normal values; what they are does not matter to the clock."""
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"m{i}" for i in range(MODALITIES))
    x = {m: torch.randn(n, FEATURES, generator=generator) for m in names}
    present = {m: torch.ones(n, 1, dtype=torch.bool) for m in names}
    spec = Spec(tuple(Modality(m, (FEATURES,)) for m in names), n_train=n)
    return Samples(n, x, present, names=names), spec


def main() -> None:
    """Time, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--samples", type=int, default=9_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    samples, spec = cohort(options.samples)
    bare = bare_epochs(torch.cat(list(samples.x.values()), dim=1))
    floor = floor_epochs(options.samples, spec.width)
    next(bare), next(floor)
    rounds = []
    for _ in range(options.rounds):
        (ours, weights), (theirs, theirs_weights), least = engine_epoch(samples, spec), next(bare), next(floor)
        if weights != theirs_weights:
            raise SystemExit(f"the bare network differs: {theirs_weights:,} weights, not {weights:,}")
        rounds.append((ours, theirs, least))
    report(rounds, f"{options.samples:,} x ({MODALITIES} x {FEATURES:,}), {weights:,} weights")


def report(rounds: list[tuple[float, float, float]], what: str) -> None:
    ours, bare, floor = (median(r[i] for r in rounds) for i in range(3))
    overhead = sorted(r[0] / r[1] for r in rounds)
    share = sorted(r[2] / r[0] for r in rounds)
    print(f"{what}, batch {BATCH}, one thread, torch {torch.__version__}, {platform.machine()}, {len(rounds)} rounds\n")
    print("| | seconds an epoch (median) |\n| --- | --- |")
    print(f"| isthmus | {ours:.2f} |\n| bare torch loop | {bare:.2f} |\n| matrix products alone | {floor:.2f} |\n")
    print("| ratio | median | range | target |\n| --- | --- | --- | --- |")
    print(f"| isthmus / bare | {median(overhead):.2f} | {overhead[0]:.2f} to {overhead[-1]:.2f} | at most 1.15 |")
    print(f"| floor / isthmus | {median(share):.2f} | {share[0]:.2f} to {share[-1]:.2f} | at least 0.60 |")


if __name__ == "__main__":
    main()
