r"""Importance-weighted draws of a variational model: what it says of a sample, from what is observed of it.

With z_1..z_K drawn from q(z | x_observed) the weights are :math:`w_k \propto p(x_{obs} \mid z_k) p(z_k) / q(z_k)`, and
a missing entry is :math:`\sum_k w_k g(z_k)` with the decoder's means g (Burda, Grosse & Salakhutdinov, Importance
weighted autoencoders, ICLR 2016, arXiv:1509.00519; for what is missing Mattei & Frellsen, ICML 2019, arXiv:1812.02633).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import mudata as md
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from isthmus.architecture import Architecture
from isthmus.data.batches import samples
from isthmus.fitted import Fitted
from isthmus.types import Batch, Posterior

__all__ = ["weighted"]

BATCH = 256
"""Samples at a time, of which all draws are held."""


def weighted(
    fitted: Fitted, mdata: md.MuData, target: str, *, sd: Mapping[str, np.ndarray], draws: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draws for some samples at a time, in their order.

    Parameters
    ----------
    fitted
        A model with one posterior, `z`, and decoder means.
    mdata
        The samples.
    target
        The modality whose means are wanted.
    sd
        Modality to the decoder's standard deviations (f).
    draws, seed
        How many of every sample (k), and their seed.

    Yields
    ------
    tuple
        Weights k x n, which sum to 1 over the draws; means of the target k x n x f, on the scale of prepared values.
    """
    module = fitted.module.eval()
    scales = {m: torch.as_tensor(sd[m], dtype=torch.float32) for m in fitted.spec.names}
    generator = torch.Generator().manual_seed(seed)
    for batch in samples(fitted.preparation.transform(mdata), fitted.spec).batches(BATCH):
        with torch.no_grad():
            q = module(batch).posteriors["z"]
            drawn = [_draw(module, batch, q, scales, generator) for _ in range(draws)]
        logs, means = torch.stack([log for log, _ in drawn]), torch.stack([mean[target] for _, mean in drawn])
        yield logs.double().softmax(dim=0).numpy(), means.numpy().astype(np.float64)


def _draw(
    module: Architecture, batch: Batch, q: Posterior, scales: Mapping[str, Tensor], generator: torch.Generator
) -> tuple[Float[Tensor, " n"], dict[str, Tensor]]:
    """Logarithms of the weights, and the decoder's means, at a point of every posterior."""
    sd = (0.5 * q.logvar).exp()
    z = q.mean + sd * torch.randn(q.mean.shape, generator=generator)
    means = module.decode(z)
    prior, posterior = -0.5 * (z**2).sum(1), -0.5 * (((z - q.mean) / sd) ** 2 + q.logvar).sum(1)
    fit = torch.zeros(len(batch))
    for m, scale in scales.items():
        fit -= 0.5 * ((((batch.x[m] - means[m]) / scale) ** 2) * batch.observed[m]).sum(1)
    return fit + prior - posterior, means
