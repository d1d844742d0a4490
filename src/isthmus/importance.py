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

HELD = 1 << 23
"""Decoder means of the target that are held at a time, of all draws of some samples."""


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
        Weights k x n, which sum to 1 over the draws; means of the target k x n x f, in single precision, on the scale
        of prepared values.
    """
    module = fitted.module.eval()
    scales = {m: torch.as_tensor(sd[m], dtype=torch.float32) for m in fitted.spec.names}
    generator = torch.Generator().manual_seed(seed)
    size = max(1, HELD // (draws * len(sd[target])))
    for batch in samples(fitted.preparation.transform(mdata), fitted.spec).batches(size):
        logs, means = torch.empty(draws, len(batch)), torch.empty(draws, len(batch), len(sd[target]))
        with torch.no_grad():
            q = module(batch).posteriors["z"]
            for k in range(draws):
                logs[k], found = _draw(module, batch, q, scales, generator)
                means[k] = found[target]
        yield logs.double().softmax(dim=0).numpy(), means.numpy()


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
