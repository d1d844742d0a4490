r"""Losses that bring two embeddings of the same samples together, row i of both the same sample.

u, v are n x d. Each is a mean over samples or a sum over latent dimensions, as it says, and 0 where fewer than two
samples have both: what a batch cannot say must not move anything.

Symmetric InfoNCE: van den Oord, Li & Vinyals, Representation learning with contrastive predictive coding, 2018,
arXiv:1807.03748; both ways as in Radford et al., Learning transferable visual models from natural language
supervision, ICML 2021, arXiv:2103.00020. Deep CCA: Andrew, Arora, Bilmes & Livescu, ICML 2013, with the ridge of their
section 3. DCCA-EY: Chapman, Wells & Lawry Aguila, Unconstrained stochastic CCA, ICLR 2024, arXiv:2310.01012. Barlow
twins: Zbontar, Jing, Misra, LeCun & Deny, ICML 2021, arXiv:2103.03230. VICReg: Bardes, Ponce & LeCun, ICLR 2022,
arXiv:2105.04906.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

FEWEST = 2
"""Samples below which nothing can be said of a pair."""
TINY = 1e-4
"""Added to a variance under a root, as in VICReg: keeps the slope finite where a dimension is the same for all."""
ROUNDING = 1e-12
"""Added to a variance that may be exactly 0."""


def info_nce(u: Float[Tensor, "n d"], v: Float[Tensor, "n d"], temperature: float | Tensor) -> Float[Tensor, ""]:
    """Cross-entropy in nats of finding a sample's partner by cos(u_i, v_j) / temperature; mean over samples, both ways.

    From 0; log n where nothing is known.
    """
    if len(u) < FEWEST:
        return _nothing(u, v)
    logits = functional.normalize(u, dim=1) @ functional.normalize(v, dim=1).T / temperature
    own = torch.arange(len(u), device=u.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def cosine(u: Float[Tensor, "n d"], v: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """1 - cos(u_i, v_i), mean over samples: 0 to 2. Nothing in it keeps all samples from falling into one point."""
    if len(u) < FEWEST:
        return _nothing(u, v)
    return 1 - functional.cosine_similarity(u, v, dim=1).mean()


def cca(u: Float[Tensor, "n d"], v: Float[Tensor, "n d"], *, ridge: float = 1e-4) -> Float[Tensor, ""]:
    """Minus the sum of the d canonical correlations of a batch: -d to 0; in float64.

    |(S_uu + r I)^-1/2 S_uv (S_vv + r I)^-1/2|_* with r = `ridge` times the mean variance of each side's dimensions.
    With few samples a batch is overfitted: d samples correlate perfectly whatever they are.
    """
    if len(u) < FEWEST:
        return _nothing(u, v)
    wide = u.dtype if u.device.type == "mps" else torch.float64
    a, b = (x.to(wide) - x.to(wide).mean(dim=0) for x in (u, v))
    left = torch.linalg.solve_triangular(_root(a, ridge), a.T @ b / (len(a) - 1), upper=False)
    between = torch.linalg.solve_triangular(_root(b, ridge), left.T, upper=False)
    found: Tensor = -torch.linalg.matrix_norm(between, "nuc")
    return found.to(u.dtype)


def cca_ey(u: Float[Tensor, "n d"], v: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """-2 tr C + tr(V1 V2), C = S_uv + S_vu and V = S_uu + S_vv: without bias, from batches of any size.

    At its least minus the sum of the squared canonical correlations, -d to 0, with u_k and v_k the k-th pair in a
    basis that both share. V1 and V2 are of either half of the batch, so that their product has no bias, and C is the
    mean over the halves. 0 below four samples.
    """
    if len(u) < 2 * FEWEST:
        return _nothing(u, v)
    halves = [slice(0, len(u) // 2), slice(len(u) // 2, None)]
    between, within = zip(*(_covariances(u[h], v[h]) for h in halves), strict=True)
    found: Tensor = (within[0] * within[1]).sum() - (between[0] + between[1]).trace()
    return found


def barlow_twins(u: Float[Tensor, "n d"], v: Float[Tensor, "n d"], *, redundancy: float = 5e-3) -> Float[Tensor, ""]:
    """Sum_k (1 - C_kk)^2 + redundancy sum_{k != l} C_kl^2, C the correlations (d x d) of u with v over the batch."""
    if len(u) < FEWEST:
        return _nothing(u, v)
    a, b = ((x - x.mean(dim=0)) / (x.var(dim=0, correction=0) + ROUNDING).sqrt() for x in (u, v))
    c = a.T @ b / len(a)
    on = (1 - c.diagonal()).square().sum()
    return on + redundancy * (c.square().sum() - c.diagonal().square().sum())


def vicreg(
    u: Float[Tensor, "n d"],
    v: Float[Tensor, "n d"],
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Float[Tensor, ""]:
    """Invariance s + variance (h(u) + h(v)) + covariance (c(u) + c(v)), each from 0 on.

    s: |u_i - v_i|^2, mean over samples and dimensions; h: by how much a dimension's standard deviation falls short of
    1, mean over dimensions; c: squared covariances between dimensions, sum over pairs, over d.
    """
    if len(u) < FEWEST:
        return _nothing(u, v)
    found = invariance * (u - v).square().mean()
    for x in (u, v):
        centred = x - x.mean(dim=0)
        c = centred.T @ centred / (len(x) - 1)
        found = found + variance * functional.relu(1 - (c.diagonal() + TINY).sqrt()).mean()
        found = found + covariance * (c.square().sum() - c.diagonal().square().sum()) / x.shape[1]
    return found


def _nothing(u: Tensor, v: Tensor) -> Float[Tensor, ""]:
    """0, with a gradient of 0."""
    return (u.sum() + v.sum()) * 0.0


def _root(x: Float[Tensor, "n d"], ridge: float) -> Float[Tensor, "d d"]:
    """The Cholesky factor of the covariance of centred columns, with a ridge; its slope is finite everywhere."""
    c = x.T @ x / (len(x) - 1)
    least = ridge * c.diagonal().mean() + ROUNDING
    root: Tensor = torch.linalg.cholesky(c + least * torch.eye(len(c), dtype=c.dtype, device=c.device))
    return root


def _covariances(u: Float[Tensor, "n d"], v: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"]]:
    """S_uv + S_vu, and S_uu + S_vv."""
    a, b = u - u.mean(dim=0), v - v.mean(dim=0)
    return (a.T @ b + b.T @ a) / (len(a) - 1), (a.T @ a + b.T @ b) / (len(a) - 1)
