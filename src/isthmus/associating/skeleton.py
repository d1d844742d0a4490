"""A commented recipe for `isthmus associate`."""

from __future__ import annotations

from isthmus.associating.graph_keys import GraphSettings
from isthmus.associating.latent_keys import LatentSettings
from isthmus.associating.recipe import Associating, StabilitySettings
from isthmus.skeleton import data_section, keys_of, steps_known

__all__ = ["associate_skeleton"]

PREPARE = """\
# Steps per modality, in order; none where a modality is not named. Ranks need neither logarithms nor scaling, shares of
# a whole need clr. There are:
"""


def associate_skeleton() -> str:
    """The recipe as YAML with comments."""
    within = {"stability": StabilitySettings(), "latent": LatentSettings(), "graph": GraphSettings()}
    parts = [
        data_section("associate"),
        f"{PREPARE}{steps_known()}prepare: {{}}\n",
        "associate:\n" + keys_of(Associating(between=("rna", "cnv")), 2, within=within),
    ]
    return "\n".join(parts)
