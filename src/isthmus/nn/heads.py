"""From an embedding to what is predicted of a sample."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from isthmus.nn.mlp import mlp


class Answer(nn.Module):
    """Blocks of hidden layers without normalisation, then a linear map; without hidden layers the map alone."""

    def __init__(self, latent: int, width: int, hidden: Sequence[int] = (), *, dropout: float = 0.0) -> None:
        super().__init__()
        widths = (latent, *hidden)
        self.layers = nn.Sequential(*mlp(widths, norm="none", dropout=dropout), nn.Linear(widths[-1], width))

    def forward(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        out: Tensor = self.layers(z)
        return out
