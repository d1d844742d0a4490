"""Private training: stochastic gradient descent that is (epsilon, delta) differentially private, by Opacus.

Every step draws a Poisson sample (each training sample with probability q, so that a batch may be empty), clips the
gradient of each sample's own loss to length C, sums, adds normal noise of standard deviation sigma C to every weight,
and divides by the expected size q n:

    g = ( sum_{i in sample} g_i min(1, C / |g_i|)  +  N(0, sigma^2 C^2 I) ) / (q n).

sigma is the least for which all the steps of a training together spend no more than epsilon at delta, by the Renyi
accountant of subsampled Gaussian noise; what was spent is that of the steps that were taken.

Abadi et al., Deep learning with differential privacy, CCS 2016, arXiv:1607.00133; Mironov, Talwar & Zhang, Renyi
differential privacy of the sampled Gaussian mechanism 2019, arXiv:1908.10530; Yousefpour et al., Opacus 2021,
arXiv:2109.12298.

Departures: gradients of single samples come from `torch.func` (one by one where a loss cannot be vectorised), so that
no kind of layer is excluded; a sample's loss is that of a batch of one. Sampling and noise are drawn from a secret of
128 bits by Philox, in place of torch's generator, whose seed has 32 bits and could be tried out: whoever knows the
seed of a recipe must not know the noise. Philox is no cryptographic generator, and the noise is rounded to float32.
"""

from __future__ import annotations

import importlib
import logging
import math
import secrets
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from torch import nn

from isthmus.architecture import Architecture, Phase
from isthmus.errors import MissingExtraError, RecipeError
from isthmus.training.settings import Training, hardly_private, upward

log = logging.getLogger("isthmus.fit")
WHERE = "training.private"
FEW = 1000
"""Below so many training samples a warning says in numbers what noise does to a step."""
NOT_COVERED = (
    "what is learnt of training samples outside of training: scalers, choice of features, classes, confounders "
    "regressed out (prepare.safetensors)",
    "what heads learn of training samples' labels before training: classes, mean and standard deviation of numbers, "
    "edges of discrete time (model.json)",
    "what is measured of training samples afterwards: mean and covariance of their embedding, widths of intervals, "
    "the losses of every epoch (prepare.safetensors, model.json, history.csv)",
    "embeddings, metrics, tables and figures of the run, which hold single samples",
    "validation samples, by which training stops and the best weights are chosen",
    "settings that were chosen by looking at the same samples (tune, compare, or by hand)",
    "the number of training samples, which is told",
)


@dataclass(frozen=True)
class Plan:
    """How much noise (a multiple of the clipping length), which share of samples a step, how many steps in all."""

    noise: float
    rate: float
    expected: float
    steps_per_epoch: int
    steps: int


def check(model: Architecture, settings: Training, n: int) -> None:
    """Refuse what cannot be trained privately, by name.

    Raises
    ------
    RecipeError
        The architecture, a layer, a modality or a setting mixes samples, or delta is no small number.
    MissingExtraError
        Opacus is not installed.
    """
    keys = settings.private
    if keys is None:
        return
    opacus()
    if reason := next((m.unprivate for m in model.modules() if isinstance(m, Architecture) and m.unprivate), ""):
        raise RecipeError(f"{_name(model)} {reason}", where=WHERE, hint="private training needs a loss per sample")
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        what = "batch normalisation mixes the samples of a batch"
        raise RecipeError(what, where=f"{WHERE}: model.norm", met="batch", wanted="layer or none")
    if any(len(phase.players) > 1 for phase in model.phases):
        raise RecipeError("several players see every batch", where=WHERE, met=_name(model))
    for m in model.spec:
        if m.kind == "bag" or m.coordinates is not None:
            what = "holds bags, which differ in size" if m.kind == "bag" else "has the step span, whose basis is data"
            raise RecipeError(what, where=f"{WHERE}: modality {m.name!r}")
    if settings.devices > 1 or settings.strategy == "ddp" or settings.precision not in ("32-true", "64-true"):
        met = f"devices: {settings.devices}, strategy: {settings.strategy}, precision: {settings.precision}"
        raise RecipeError("is for one device and whole precision", where=WHERE, met=met, wanted="1, auto, 32-true")
    if keys.delta * n >= 1:
        raise RecipeError(
            "would allow that a sample is simply published", where=f"{WHERE}.delta", met=keys.delta,
            wanted=f"well below 1 / n = {1 / n:.2g}",
        )  # fmt: skip


def _name(model: Architecture) -> str:
    return type(model.config).__name__


def opacus() -> Any:
    """The package, without its complaints and without what it does to everybody's logging."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            package = importlib.import_module("opacus")
            importlib.import_module("opacus.accountants.utils")
        except ImportError:
            raise MissingExtraError("opacus", "private", "private training") from None
        finally:  # it sets up logging for everybody when it is imported
            root.handlers[:] = handlers
            root.setLevel(level)
    return package


def epochs_of(phase: Phase, settings: Training) -> int:
    """Epochs of a phase."""
    return max(1, round(settings.epochs * phase.share))


def plan(settings: Training, phases: tuple[Phase, ...], n: int) -> Plan:
    """What a training of n samples asks for.

    Raises
    ------
    RecipeError
        No noise keeps to the budget.
    """
    assert settings.private is not None
    rate = min(1.0, settings.batch_size / n)
    steps_per_epoch = math.ceil(1 / rate)
    steps = steps_per_epoch * sum(epochs_of(phase, settings) for phase in phases)
    noise = _noise(settings.private.epsilon, settings.private.delta, rate, steps)
    return Plan(noise, rate, rate * n, steps_per_epoch, steps)


@lru_cache(maxsize=64)
def _noise(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """The least noise multiplier that keeps to the budget, to a hundredth of it."""
    least = _told((0.0,) * len(_orders()), 1, delta)  # of noise without end; a search for less is long
    try:
        if epsilon <= least:
            raise ValueError(epsilon)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = opacus().accountants.utils.get_noise_multiplier(
                target_epsilon=epsilon, target_delta=delta, sample_rate=rate, steps=steps, accountant="rdp",
                epsilon_tolerance=min(0.01, epsilon / 100),
            )  # fmt: skip
    except ValueError:
        hint = "a larger epsilon or delta, fewer training.epochs, or more samples"
        wanted = f"above {upward(least, 2)}, the least that the accountant tells at this delta"
        raise RecipeError(
            "no noise keeps to it", where=f"{WHERE}.epsilon", met=epsilon, wanted=wanted, hint=hint
        ) from None
    return float(found)


@lru_cache(maxsize=64)
def _one_step(noise: float, rate: float) -> tuple[float, ...]:
    """Renyi divergence that a step spends, at every order of the accountant."""
    found = opacus().accountants.analysis.rdp.compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=_orders())
    return tuple(float(v) for v in found)


def _orders() -> list[float]:
    """Of the Renyi divergences that the accountant keeps."""
    return [float(a) for a in opacus().accountants.RDPAccountant.DEFAULT_ALPHAS]


def spent(noise: float, rate: float, steps: int, delta: float) -> float:
    """Epsilon at `delta` after so many steps, as Opacus' Renyi accountant has it: divergences add up."""
    return _told(_one_step(noise, rate), steps, delta) if steps else 0.0


def _told(divergences: tuple[float, ...], steps: int, delta: float) -> float:
    """Epsilon at `delta` of so many steps of these divergences."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the orders that it tries
        epsilon, _ = opacus().accountants.analysis.rdp.get_privacy_spent(
            orders=_orders(), rdp=np.array(divergences) * steps, delta=delta
        )
    return float(epsilon)


def statement(settings: Training, phases: tuple[Phase, ...], n: int, epochs: int) -> dict[str, Any] | None:
    """What a training of so many epochs spent, and what that does not cover; None where it was not private."""
    keys = settings.private
    if keys is None:
        return None
    made = plan(settings, phases, n)
    steps = epochs * made.steps_per_epoch
    return {
        "epsilon": spent(made.noise, made.rate, steps, keys.delta), "delta": keys.delta, "accountant": "rdp",
        "noise_multiplier": made.noise, "sample_rate": made.rate, "steps": steps, "clip": keys.clip,
        "covered": "the weights of the model, each training sample being added or left out",
        "not_covered": list(NOT_COVERED if keys.secret else ("anyone who knows training.seed", *NOT_COVERED)),
    }  # fmt: skip


def said(found: Mapping[str, Any]) -> str:
    """A statement in a sentence."""
    budget = f"epsilon {upward(found['epsilon'])} at delta {found['delta']:g}"
    return f"private training spent {budget} on the weights; what that does not cover is in the report"


def begin(model: Architecture, settings: Training, n: int) -> dict[str, Any]:
    """What has to be kept to go on: the secret, as text. Says in numbers what noise will do."""
    keys = settings.private
    assert keys is not None
    made = plan(settings, model.phases, n)
    if weak := hardly_private(keys.epsilon):
        log.warning("%s.epsilon: %s", WHERE, weak)
    weights = sum(p.numel() for p in model.parameters())
    ratio = made.noise * math.sqrt(weights) / made.expected
    text = (
        f"private training of {n} samples: sample rate {made.rate:.3f}, {made.steps} steps, noise multiplier "
        f"{made.noise:.2f}: a step's noise is {ratio:.1f} times the largest signal that {made.expected:.0f} clipped "
        f"gradients over {weights:,} weights can have"
    )
    if n < FEW and not weak:
        more = "with so few samples little is learnt: a larger epsilon, fewer weights, or larger batches help"
        log.warning("%s; %s", text, more)
    else:
        log.info("%s", text)
    return {"secret": f"{secrets.randbits(128) if keys.secret else settings.seed:032x}"}
