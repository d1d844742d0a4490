"""Losses of survival heads: Cox's partial likelihood, and the likelihood of a hazard per interval of time.

Cox, over the events i with risk set R_i (everybody of i's stratum who was still under observation at t_i):

    -1/E sum_i [ r_i - log sum_{j in R_i} exp(r_j) ]

Events at the same time: Breslow (1974) lets each of d tied events keep the whole risk set; Efron (1977, JASA 72, 557)
takes k/d of the tied events' own sum away for the k-th of them (k = 0 .. d-1), which is close to the exact likelihood.

Discrete time (Zadeh and Schmid 2020, IEEE TPAMI 43, 3126; Kvamme and Borgan 2021), hazards h_j = sigmoid(logit_j):

    event in interval k: -log h_k - sum_{j<k} log(1 - h_j)        censored in k: -sum_{j<=k} log(1 - h_j)

written with log sigmoid, so that nothing is clamped and a gradient never dies.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

Ties = Literal["efron", "breslow"]


def cox(
    log_risk: Float[Tensor, " n"],
    time: Float[Tensor, " n"],
    event: Float[Tensor, " n"],
    *,
    ties: Ties = "efron",
    strata: Int[Tensor, " n"] | None = None,
) -> Float[Tensor, ""]:
    """Negative log partial likelihood in nats, mean over events; 0 (with a gradient of 0) where there is none.

    `event` is 1 where it happened and 0 where the sample was censored; samples whose time or event is NaN are left
    out. `strata` are whole numbers: risk sets never cross strata. O(n log n).
    """
    known = torch.isfinite(time) & torch.isfinite(event)
    happened = (event > 0.5) & known
    n_events = happened.sum()
    if not n_events:
        return log_risk.sum() * 0.0
    codes = torch.zeros_like(known, dtype=torch.long) if strata is None else strata
    total = log_risk.new_zeros(())
    for code in torch.unique(codes[happened]):
        inside = known & (codes == code)
        total = total + _partial(log_risk[inside], time[inside], happened[inside], ties)
    return -total / n_events


def _partial(log_risk: Tensor, time: Tensor, happened: Tensor, ties: Ties) -> Tensor:
    """Log partial likelihood of one stratum with at least one event, summed over its events."""
    order = torch.argsort(time, descending=True, stable=True)
    risk, happened = log_risk[order], happened[order]
    _, moment, counts = torch.unique_consecutive(time[order], return_inverse=True, return_counts=True)
    last = counts.cumsum(0) - 1
    at_risk = torch.logcumsumexp(risk, dim=0)[last[moment[happened]]]
    own = risk[happened]
    if ties == "breslow":
        return (own - at_risk).sum()
    _, tied, sizes = torch.unique_consecutive(moment[happened], return_inverse=True, return_counts=True)
    place = torch.arange(len(own), device=own.device) - (sizes.cumsum(0) - sizes)[tied]
    share = place.to(own.dtype) / sizes[tied]
    part = (_log_sums(own, tied, len(sizes))[tied] - at_risk).exp()
    return (own - at_risk - torch.log1p(-share * part)).sum()


def _log_sums(values: Tensor, groups: Tensor, n_groups: int) -> Tensor:
    """Log sum exp of `values` within each group."""
    peak = values.detach().new_full((n_groups,), -torch.inf).scatter_reduce(0, groups, values.detach(), "amax")
    sums = values.new_zeros(n_groups).index_add(0, groups, (values - peak[groups]).exp())
    return peak + sums.log()


def discrete(
    logits: Float[Tensor, "n b"], time_bin: Int[Tensor, " n"], event: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Negative log-likelihood in nats of hazards sigmoid(logits), summed over intervals, mean over known samples.

    `time_bin` is the interval (0 .. b-1) in which the event happened or, where censored, the last one lived through
    (-1: none, nothing is learnt of the sample), as `time_bins.bin_of` gives it. NaN events are left out; 0 where no
    sample is known.
    """
    known = torch.isfinite(event)
    if not known.any():
        return logits.sum() * 0.0
    logits, time_bin, happened = logits[known], time_bin[known], event[known] > 0.5
    interval = torch.arange(logits.shape[1], device=logits.device)
    lived = interval <= (time_bin - happened.to(time_bin.dtype))[:, None]
    died = (interval == time_bin[:, None]) & happened[:, None]
    log_likelihood = torch.where(lived, functional.logsigmoid(-logits), 0.0)
    log_likelihood = log_likelihood + torch.where(died, functional.logsigmoid(logits), 0.0)
    return -log_likelihood.sum(dim=1).mean()
