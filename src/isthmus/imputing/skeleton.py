"""A commented recipe for `isthmus impute`."""

from __future__ import annotations

from isthmus.imputing.recipe import FOLDS, Downstream, Imputing
from isthmus.skeleton import PREPARE, commented, data_section, keys_of, steps_known
from isthmus.training.settings import Training

__all__ = ["impute_skeleton"]


def impute_skeleton() -> str:
    """The recipe as YAML with comments."""
    parts = [
        data_section("impute", folds=FOLDS),
        "# Steps per modality, fitted on train, in order; [standardise] where a modality is not named. There are:",
        steps_known() + PREPARE,
        "# What stands here overrides what the methods that train networks set themselves\n"
        f"training: {{}}\n#  with these keys:\n{commented(keys_of(Training(), 2))}",
        "impute:\n" + keys_of(Imputing(), 2, within={"downstream": Downstream(label="subtype")}),
    ]
    return "\n".join(parts)
