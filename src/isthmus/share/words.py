"""What a bundle says of itself, in sentences; never more than holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isthmus.share.house import House
from isthmus.share.policy import Policy

__all__ = ["lead", "learnable"]


def lead(house: House, policy: Policy, audit: Mapping[str, Any] | None, risks: Sequence[str]) -> list[str]:
    """The first paragraph."""
    features = "features keep their names" if policy.keep_feature_names else "samples and features are pseudonymised"
    said = [
        f"This is a pseudonymised bundle of a model of {', '.join(house.modalities)}: {features}, and whoever has the "
        "project's key can reverse that.",
        "It is derived from data on persons and may still tell of them; what is known of that is listed below.",
    ]
    if audit is not None and audit["auc"] is not None:
        interval = f"95 % interval {audit['auc_lower']:.2f} to {audit['auc_upper']:.2f}"
        said.append(
            f"The best membership attack that was tried reaches AUC {audit['auc']:.2f} ({interval}; .50 is chance)."
        )
    return [*said, *risks]


def learnable(house: House, policy: Policy, audit: Mapping[str, Any] | None) -> list[str]:
    """What a reader of the bundle can still learn."""
    spec = house.stored.description["spec"]
    widths = ", ".join(f"{len(f):,} of {m}" if f else m for m, f in house.features.items())
    said = [
        f"That there are {spec['n_train']:,} training samples, of which modalities, and how many features: {widths}."
    ]
    said += _of_features(policy, audit)
    said.append(
        "Whether a person whose data somebody already has was in training, as well as the audit's attacks tell, or "
        "better ones."
    )
    said.append(
        "Mean and covariance of the training embedding: the decoder makes of them samples like those of training."
    )
    if "model" in policy.include:
        said.append("Whatever of the training samples the model stores: it was included by name.")
    if "embedding" in policy.include:
        said.append(
            "Of every sample that is included its embedding, from which the decoder gives back what the model kept of "
            "its data: who has part of a person's data finds their row."
        )
    if "metadata" in policy.include:
        said.append(f"Of every sample that is included {_listed(list(policy.kept))}, as the policy coarsens them.")
        if policy.quasi:
            said[-1] += f" At least {policy.k} samples share each combination of {_listed(policy.quasi)}."
    elif policy.kept:
        said.append(
            f"How many samples there are of each level of {_listed(list(policy.kept))}, small counts suppressed."
        )
    said.append(
        "That two bundles are of one key and project, and which features (and, of one site, samples) they have in "
        "common."
    )
    return said


def _of_features(policy: Policy, audit: Mapping[str, Any] | None) -> list[str]:
    if policy.keep_feature_names:
        return ["Which features were measured, and the statistics that the preparation stores of each."]
    found = [r for r in (audit or {}).get("features", []) if r.get("matched") is not None]
    rates = ", ".join(f"{100 * r['matched']:.0f} % of {r['modality']}" for r in found)
    measured = f" (in the audit's attempt {rates} were)" if rates else ""
    return [
        "Which feature is which, wherever the means and spreads that the preparation stores, or the weights, are like "
        f"those of a public cohort of the same kind: such features can be re-linked{measured}.",
        "The order of the features, which is that of the table that was read: where it was sorted by name, a feature's "
        "place tells much of its name.",
    ]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
