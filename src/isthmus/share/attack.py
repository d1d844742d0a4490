"""Attacks on what a model gives away, as arithmetic: who was trained on, and which feature is which. No torch.

*Membership by a threshold* (Yeom et al. 2018, arXiv:1709.01604): samples on which the loss is low were trained on.

*Membership by a likelihood ratio*, LiRA-lite (Carlini et al. 2022, arXiv:2112.03570). The recipe is fitted again on
random halves of the samples. Of sample i and logarithm of its loss l, with means m over the refits that had the sample
in training or out of it, and standard deviations s shared by all samples (their variant for few refits),

    score_i = sum_k  log N(l_ik; m_in,ik, s_in,k) - log N(l_ik; m_out,ik, s_out,k),

k over the parts of the loss (one a modality). Departures: logarithms of losses are first centred by their mean over all
samples, fit by fit, as the fits may differ in size; the ratio is cut where the loss is beyond both means, since normal
tails say nothing there.

*Re-linkage of features*: features are told apart by the statistics that a model stores of them. Statistics of two
disjoint sets of samples are ranked and matched by the least total squared distance (Kuhn 1955).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

from isthmus.evaluate.metrics import auc

__all__ = ["RESAMPLES", "Roc", "Score", "halves", "likelihood_ratio", "matched", "roc", "scored", "tpr_at"]

RESAMPLES = 1000
FPR = 0.01
LEVEL = 0.95
FLOOR = 1e-12
"""Added to a loss before its logarithm: far below any that is not zero."""


@dataclass(frozen=True)
class Score:
    """How well members are told from others: area under the ROC curve and true positive rate at 1 % false positives.

    Each is a triple (value, lower, upper), the interval a 95 % bootstrap over samples.
    """

    auc: tuple[float, float, float]
    tpr: tuple[float, float, float]


@dataclass(frozen=True)
class Roc:
    """False and true positive rates, from (0, 0) to (1, 1)."""

    fpr: np.ndarray
    tpr: np.ndarray


def halves(n: int, refits: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Which samples each refit has: random halves and their complements, so that each sample is in every other one.

    Parameters
    ----------
    n, refits, seed
        Samples, an even number of refits, and the seed of the draws.
    groups
        Samples of one group (n) stay together.

    Returns
    -------
    np.ndarray
        Booleans, refits x n.
    """
    codes = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    rng, rows = np.random.default_rng(seed), []
    for _ in range(refits // 2):
        order = rng.permutation(codes.max() + 1)
        half = np.isin(codes, order[: len(order) // 2])
        rows += [half, ~half]
    return np.array(rows, dtype=bool).reshape(-1, n)


def logged(losses: np.ndarray) -> np.ndarray:
    """Logarithms of losses (n x k, NaN where a sample lacks a modality), about their means over the samples."""
    logs = np.log(np.maximum(losses, 0) + FLOOR)
    known = ~np.isnan(logs)
    mean = np.where(known, logs, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.asarray(logs - mean)


def threshold(losses: np.ndarray) -> np.ndarray:
    """Minus the mean logarithm of the losses a sample has (n x k to n): higher where it looks like a member."""
    logs = logged(losses)
    known = ~np.isnan(logs)
    return np.asarray(-np.where(known, logs, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1))


def likelihood_ratio(target: np.ndarray, refits: np.ndarray, member: np.ndarray) -> np.ndarray:
    """The score of the module's docstring.

    Parameters
    ----------
    target
        Losses of the model under attack, n x k, NaN where a sample lacks a modality.
    refits
        Losses of the refits, R x n x k.
    member
        Which samples each refit had, R x n.

    Returns
    -------
    np.ndarray
        n scores, higher where a sample looks like a member; 0 for one that no refit had, or that all had.
    """
    logs, seen = logged(target), np.stack([logged(r) for r in refits])
    centres, spreads = [], []
    for side in (member, ~member):
        weight = (side[:, :, None] & ~np.isnan(seen)).astype(float)
        total = weight.sum(axis=0)
        mean = np.where(total > 0, (np.nan_to_num(seen) * weight).sum(axis=0) / np.maximum(total, 1), np.nan)
        off = np.nan_to_num(seen - mean) * weight
        freedom = np.maximum((total - (total > 0)).sum(axis=0), 1)
        spreads.append(np.sqrt((off**2).sum(axis=(0, 1)) / freedom) + FLOOR)
        centres.append(mean)
    (m_in, m_out), (s_in, s_out) = centres, spreads
    bounded = np.clip(logs, np.fmin(m_in, m_out) - s_in, np.fmax(m_in, m_out) + s_out)
    ratio = _normal(bounded, m_in, s_in) - _normal(bounded, m_out, s_out)
    return np.asarray(np.nan_to_num(ratio).sum(axis=1))


def _normal(x: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Log density, less its constant."""
    return np.asarray(-0.5 * ((x - mean) / sd) ** 2 - np.log(sd))


def roc(member: np.ndarray, score: np.ndarray) -> Roc:
    """The ROC curve of a score (n) for members (n, bool); ties are one step."""
    yes, no = _steps(member, score, np.ones((1, len(score))))
    return Roc(np.r_[0, no[0]], np.r_[0, yes[0]])


def tpr_at(member: np.ndarray, score: np.ndarray, weights: np.ndarray, fpr: float = FPR) -> np.ndarray:
    """The share of members found by the lowest threshold that takes no more than `fpr` of the others; R numbers.

    With fewer than 1 / fpr others: the share of members above all of them.
    """
    yes, no = _steps(member, score, weights)
    return np.asarray(np.where(no <= fpr + 1e-9, yes, 0.0).max(axis=1))


def _steps(member: np.ndarray, score: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted shares of members and of others at or above every distinct score, from the highest down (R x steps)."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.r_[score[order][1:] != score[order][:-1], True])
    shares = []
    for side in (member[order], ~member[order]):
        counted = np.cumsum(weights[:, order] * side, axis=1)[:, ends]
        shares.append(counted / np.maximum(counted[:, -1:], FLOOR))
    return shares[0], shares[1]


def scored(member: np.ndarray, score: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Score:
    """AUC and TPR at 1 % FPR over one or several models, with intervals.

    Parameters
    ----------
    member
        Booleans, models x n (or n for one); at least one of either kind in each row.
    score
        Of the same shape. Over several models the mean of their numbers is told.
    resamples, seed
        Of the bootstrap: samples are drawn with replacement, the same ones for all models.
    """
    members, scores = np.atleast_2d(member), np.atleast_2d(score)
    n = members.shape[1]
    rng = np.random.default_rng(seed)
    weights = np.vstack([np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=resamples)]).astype(float)
    pairs = list(zip(members, scores, strict=True))
    areas = np.mean([auc(m, s, weights) for m, s in pairs], axis=0)
    rates = np.mean([tpr_at(m, s, weights) for m, s in pairs], axis=0)
    return Score(_interval(areas), _interval(rates))


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """The first of the values, and percentiles of the others."""
    known = values[1:][~np.isnan(values[1:])]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (np.nan, np.nan)
    return float(values[0]), float(low), float(high)


def matched(victim: np.ndarray, attacker: np.ndarray) -> np.ndarray:
    """For each feature of the victim the one of the attacker's that it is taken for.

    Parameters
    ----------
    victim
        Statistics, p x s.
    attacker
        The same statistics of P candidates, P x s, P at least p.

    Returns
    -------
    np.ndarray
        p positions among the candidates, each once.
    """
    both = np.vstack([victim, attacker])
    ranks = np.column_stack([rankdata(column) for column in both.T]) / len(both)
    one, other = ranks[: len(victim)], ranks[len(victim) :]
    cost = np.zeros((len(one), len(other)))
    for k in range(one.shape[1]):
        cost += (one[:, k, None] - other[None, :, k]) ** 2
    return np.asarray(linear_sum_assignment(cost)[1])
