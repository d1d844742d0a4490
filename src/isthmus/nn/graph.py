r"""Two layers of graph convolution, or of graph attention, that say of a pair of nodes how likely it is to hold.

Node features :math:`v_i` become :math:`h_i`: two layers over the weighted edges, with a linear map of :math:`v_i`
beside them. A pair has features :math:`t` of its own (|rho|, degree, common neighbours) and a sign s (whether its
correlation has the sign that the orientation of its nodes leads to expect), and

.. math:: \operatorname{logit} = a^\top t + c + \sum_k (s w_k + u_k) h_{ik} h_{jk},

the same for (i, j) and (j, i). w and u start at 0, a and c as a logistic regression on t has them, so that training
starts from that regression, and keeps it unless something else does better on the pairs set aside.

Coordinates of profiles are right up to a rotation, and a node can be told by them: in every epoch each graph's are
turned by a rotation drawn anew, without which the network learns by heart which nodes replicated.

Graph convolution: Kipf & Welling 2017, arXiv:1609.02907; attention: Veličković et al. 2018, arXiv:1710.10903; the
decoder is DistMult's (Yang et al. 2015, arXiv:1412.6575) with and without sign; layers of this kind cannot count the
common neighbours of a pair, so that link predictors are told (Chamberlain et al. 2023, arXiv:2209.15486). Departures:
|rho| weighs the edges of the convolution and is an edge feature of the attention; the linear map; the rotations.

The loop here is no copy of the training engine's: there is one batch, whole graphs, and no `Spec` it would fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from isthmus.errors import MissingExtraError, NonFiniteLossError

__all__ = ["Fit", "LinkNetwork", "Links", "fit_links", "installed"]

Layer = Literal["gcn", "gat"]
ENDS = ("edges", "pairs")
NORM = 5.0
"""Largest norm of the gradient."""
DECAY = 5e-4


def installed() -> Any:
    """The layers of PyTorch Geometric.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        with warnings.catch_warnings():
            # importing it compiles a class by torch.jit.script, which newer torch calls deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            from torch_geometric import nn as layers
    except ImportError:
        raise MissingExtraError("torch-geometric", "graph", "graph refinement") from None
    return layers


class Links(NamedTuple):
    """A graph and pairs of its nodes: n nodes with f coordinates and k other features, e edges, m pairs."""

    nodes: Float[Tensor, "n f"]
    known: Float[Tensor, "n k"]
    edges: Int[Tensor, "2 e"]
    weight: Float[Tensor, " e"]
    pairs: Int[Tensor, "2 m"]
    given: Float[Tensor, "m g"]
    sign: Float[Tensor, " m"]
    label: Float[Tensor, " m"]

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> Links:
        """From arrays by the names of the fields; edges of one direction, which get their opposites."""
        made = {k: torch.as_tensor(np.ascontiguousarray(v, np.int64 if k in ENDS else np.float32))
                for k, v in arrays.items()}  # fmt: skip
        made["edges"] = torch.cat([made["edges"], made["edges"].flip(0)], dim=1)
        made["weight"] = made["weight"].repeat(2)
        return cls(**made)

    @property
    def inputs(self) -> Float[Tensor, "n d"]:
        """All that is known of a node."""
        return torch.cat([self.nodes, self.known], dim=1)

    @classmethod
    def joined(cls, parts: Sequence[Links]) -> Links:
        """Several graphs beside each other as one."""
        starts = np.cumsum([0, *(len(p.nodes) for p in parts)])
        moved = [
            p._replace(edges=p.edges + int(s), pairs=p.pairs + int(s)) for p, s in zip(parts, starts, strict=False)
        ]
        columns = zip(cls._fields, zip(*moved, strict=True), strict=True)
        return cls(**{k: torch.cat(same, dim=1 if k in ENDS else 0) for k, same in columns})


@dataclass(frozen=True)
class Fit:
    """How a network is made and trained.

    Attributes
    ----------
    layer
        `gcn` or `gat`.
    hidden, heads
        Width of both layers; heads of attention in the first.
    dropout
        Share of node features and hidden units dropped in training.
    epochs, patience, rate
        At most so many steps over the whole graph, the epochs without a smaller loss of the pairs set aside after which
        training ends, and Adam's rate.
    """

    layer: Layer = "gcn"
    hidden: int = 32
    heads: int = 4
    dropout: float = 0.3
    epochs: int = 200
    patience: int = 25
    rate: float = 0.01


class LinkNetwork(nn.Module):
    """The network of this module's formula, over `features` node features and `given` pair features."""

    def __init__(self, features: int, given: int, settings: Fit) -> None:
        super().__init__()
        layers, h = installed(), settings.hidden
        if settings.layer == "gcn":
            self.first, self.second = layers.GCNConv(features, h), layers.GCNConv(h, h)
        else:
            each = h // settings.heads
            self.first = layers.GATConv(features, each, heads=settings.heads, edge_dim=1, fill_value=1.0)
            self.second = layers.GATConv(each * settings.heads, h, edge_dim=1, fill_value=1.0)
        self.beside = nn.Linear(features, h)
        self.attends = settings.layer == "gat"
        self.dropout = settings.dropout
        self.slopes, self.offset = nn.Parameter(torch.zeros(given)), nn.Parameter(torch.zeros(()))
        self.signed, self.unsigned = nn.Parameter(torch.zeros(h)), nn.Parameter(torch.zeros(h))

    def embed(self, links: Links) -> Float[Tensor, "n h"]:
        """Hidden features of every node."""
        weight = links.weight[:, None] if self.attends else links.weight
        nodes = functional.dropout(links.inputs, self.dropout, self.training)
        h = functional.relu(self.first(nodes, links.edges, weight))
        h = functional.dropout(h, self.dropout, self.training)
        out: Tensor = self.second(h, links.edges, weight) + self.beside(nodes)
        return out

    def forward(self, links: Links) -> Float[Tensor, " m"]:
        """The logit of every pair."""
        h = self.embed(links)
        product = h[links.pairs[0]] * h[links.pairs[1]] / h.shape[1] ** 0.5
        logit: Tensor = links.given @ self.slopes + self.offset
        logit = logit + links.sign * (product @ self.signed) + product @ self.unsigned
        return logit

    @torch.no_grad()
    def scores(self, links: Links) -> np.ndarray:
        """The logits, without dropout."""
        self.eval()
        return np.asarray(self(links).double().numpy())

    @torch.no_grad()
    def attention(self, links: Links) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per layer the edges that a node attends along (from, to; 2 x e, a node to itself among them) and how much.

        Averaged over heads: what goes to one node sums to 1.
        """
        self.eval()
        weight, found, h = links.weight[:, None], [], links.inputs
        for layer in (self.first, self.second):
            h, (edges, alpha) = layer(h, links.edges, weight, return_attention_weights=True)
            h = functional.relu(h)
            found.append((edges.numpy(), alpha.mean(dim=1).double().numpy()))
        return found


def fit_links(parts: Sequence[Links], aside: Bool[np.ndarray, " m"], settings: Fit, *, seed: int) -> LinkNetwork:
    """Train on the pairs of known label (not NaN) of several graphs; keep the state with the least loss on those aside.

    Parameters
    ----------
    parts
        The graphs.
    aside
        Which of their pairs, in order, training is stopped on.
    settings
        See `Fit`. The loss is the cross-entropy, averaged over pairs.
    seed
        Of the first weights, dropout and rotations.

    Raises
    ------
    NonFiniteLossError
        The loss is no finite number.
    """
    links = Links.joined(parts)
    known = ~torch.isnan(links.label)
    held = torch.as_tensor(aside) & known
    learnt = known & ~held
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LinkNetwork(links.inputs.shape[1], links.given.shape[1], settings)
        _start(network, links, learnt)
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.rate, weight_decay=DECAY)
        best, state, since = _loss(network, links, held), _copied(network), 0
        for epoch in range(settings.epochs):
            network.train()
            optimiser.zero_grad()
            turned = links._replace(nodes=torch.cat([p.nodes @ _rotation(p.nodes.shape[1]) for p in parts]))
            loss = _cross_entropy(network(turned), links.label, learnt)
            if not torch.isfinite(loss):
                raise NonFiniteLossError("the loss of the graph network is not finite", met=f"epoch {epoch}")
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), NORM)
            optimiser.step()
            now = _loss(network, links, held)
            best, state, since = (now, _copied(network), 0) if now < best else (best, state, since + 1)
            if since >= settings.patience:
                break
    network.load_state_dict(state)
    return network


def _rotation(width: int) -> Tensor:
    """A random orthogonal matrix."""
    q: Tensor = torch.linalg.qr(torch.randn(width, width)).Q
    return q


def _start(network: LinkNetwork, links: Links, which: Tensor) -> None:
    """Slopes and offset of a logistic regression on the pair features alone."""
    line = [network.slopes, network.offset]
    solver = torch.optim.LBFGS(line, max_iter=50, line_search_fn="strong_wolfe")
    given, label = links.given[which], links.label[which]

    def closure() -> Tensor:
        solver.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(given @ network.slopes + network.offset, label)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]


def _cross_entropy(logits: Tensor, label: Tensor, which: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits[which], label[which])


@torch.no_grad()
def _loss(network: LinkNetwork, links: Links, which: Tensor) -> float:
    network.eval()
    return float(_cross_entropy(network(links), links.label, which))


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in network.state_dict().items()}
