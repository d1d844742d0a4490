"""What an audit found, as numbers, as JSON and in sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import poisson

from isthmus.share.attack import Roc
from isthmus.training.settings import hardly_private, upward

__all__ = ["MEMBERSHIP", "Report"]

MEMBERSHIP = [
    "attack", "target", "auc", "auc_lower", "auc_upper", "tpr_at_fpr_01", "tpr_at_fpr_01_lower", "tpr_at_fpr_01_upper",
    "members", "others",
]  # fmt: skip
NUMBERS = MEMBERSHIP[2:8]
LITTLE, MUCH = 0.55, 0.7
"""AUC of membership below which little is given away, and above which much is."""


@dataclass(frozen=True, eq=False)
class Report:
    """What a model gives away.

    Attributes
    ----------
    model, train, held_out, refits, seed
        What was attacked, how many samples it was trained on and how many it has never seen, and how.
    membership
        A row per attack and target (`this model`, or `its recipe`: the mean over refits of it): AUC and true positive
        rate at 1 % false positives, with 95 % intervals.
    attributes, features
        See `isthmus.share.attack_attributes` and `isthmus.share.attack_features`.
    scores, curves
        Attack to (who was a member, score), and to its ROC curve.
    privacy
        What private training spent; None where there was none.
    """

    model: str
    train: int
    held_out: int
    refits: int
    seed: int
    membership: pd.DataFrame
    attributes: pd.DataFrame
    features: pd.DataFrame
    scores: dict[str, tuple[np.ndarray, np.ndarray]]
    curves: dict[str, Roc]
    privacy: dict[str, Any] | None = None

    @property
    def worst(self) -> dict[str, Any]:
        """The attack on this model with the highest AUC (on its recipe, where the model has seen every sample).

        One that could not be scored is the worst only where none could.
        """
        rows = self.membership[self.membership["target"] == self.membership["target"].iloc[0]]
        areas = rows["auc"].to_numpy(dtype=float)
        return {str(k): v for k, v in rows.iloc[int(np.nan_to_num(areas, nan=-1.0).argmax())].items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything but the curves, fit for JSON: `auc`, `tpr_at_fpr_01` and intervals are those of `worst`."""
        worst = self.worst
        tables = {k: getattr(self, k) for k in ("membership", "attributes", "features")}
        return {
            **{k: _plain(worst[k]) for k in (*NUMBERS, "attack", "target")},
            "model": self.model, "train": self.train, "held_out": self.held_out, "refits": self.refits,
            "seed": self.seed, "privacy": self.privacy, "words": self.words, "what_would_lower_it": self.remedies,
            **{k: [{str(c): _plain(v) for c, v in row.items()} for row in t.to_dict("records")]
               for k, t in tables.items()},
        }  # fmt: skip

    @property
    def words(self) -> list[str]:
        """The findings in sentences, the worst first."""
        return [*self._membership_words(), *self._attribute_words(), *self._feature_words()]

    def _membership_words(self) -> list[str]:
        worst = self.worst
        if math.isnan(worst["auc"]):
            return ["No membership attack could be scored: nothing is known of what this model remembers."]
        whose = "the model" if worst["target"] == "this model" else "models fitted by its recipe"
        area = f"AUC {worst['auc']:.2f}, 95 % interval {worst['auc_lower']:.2f} to {worst['auc_upper']:.2f}"
        if worst["auc_lower"] > MUCH:
            first = f"an attacker tells the samples that {whose} had from others of the same kind ({area}"
        elif worst["auc_lower"] > 0.5:
            first = f"an attacker tells better than by chance whether {whose} had a sample ({area}"
        else:
            first = f"no attack tells the samples that {whose} had from others ({area}"
        rate = f"{100 * worst['tpr_at_fpr_01']:.0f} % of them are found at one false alarm in a hundred"
        said = [f"{first[0].upper()}{first[1:]}; {worst['attack']}; .50 is chance).", f"{rate[0].upper()}{rate[1:]}."]
        if min(self.train, self.held_out or self.train) < 100:
            said.append("With so few samples that share rests on a handful of them, as its interval says.")
        if self.privacy:
            spent = f"epsilon {upward(self.privacy['epsilon'], 2)} at delta {self.privacy['delta']:g}"
            weak = hardly_private(float(self.privacy["epsilon"]))
            bounds = weak or f"{spent} bounds what any attack on its weights can find"
            said.append(f"It was trained privately{', but' if weak else ':'} {bounds}.")
        return said

    def _attribute_words(self) -> list[str]:
        rows = self.attributes
        if rows.empty:
            return ["No annotation could be put to the test."]
        known = np.fmax(rows["other annotations"].to_numpy(dtype=float), rows["majority"].to_numpy(dtype=float))
        beyond = rows[rows["lower"].to_numpy(dtype=float) > known].assign(known=known[rows["lower"] > known])
        if beyond.empty:
            return ["No annotation is told by embeddings beyond what the other annotations say of it."]
        gain = (beyond["embedding"] - beyond["known"]).sort_values(ascending=False).index
        told = [
            f"{r['annotation']} ({_metric(r['metric'])} {r['embedding']:.2f} beside {r['known']:.2f})"
            for r in beyond.loc[gain[:5]].to_dict("records")
        ]
        more = f" and {len(beyond) - 5} more" if len(beyond) > 5 else ""
        return [f"Embeddings tell more of their people than the other annotations do: {', '.join(told)}{more}."]

    def _feature_words(self) -> list[str]:
        rows = self.features.dropna(subset=["matched"]) if len(self.features) else self.features
        if rows.empty:
            return []
        told: dict[bool, list[str]] = {True: [], False: []}
        for r in rows.to_dict("records"):
            text = f"{r['modality']} {100 * r['matched']:.0f} % of {r['features']} (chance {100 * r['chance']:.2g} %)"
            found, expected = r["matched"] * r["features"], r["chance"] * r["features"]
            told[bool(poisson.sf(round(found) - 1, expected) < 0.05)].append(text)
        given = "the statistics that the model stores, given a public cohort of the same kind"
        words = {
            True: f"Pseudonyms of features are undone by {given}, for",
            False: f"By {given}, no more features than by chance are told of",
        }
        return [f"{words[much]} {', '.join(of)}." for much, of in told.items() if of]

    @property
    def remedies(self) -> list[str]:
        """What would lower it, for what was found."""
        found = []
        if self.worst["auc"] > LITTLE:
            found.append(
                "Membership: fewer epochs (training.patience stops too late for it), a narrower network (model.hidden, "
                "model.latent), more dropout and weight decay, a larger model.beta, more training samples. Each lowers "
                "what is remembered without a guarantee."
            )
            if not self.privacy or hardly_private(float(self.privacy["epsilon"])):
                found.append(
                    "Private training (training.private, with an epsilon up to 10) bounds what weights tell, whatever "
                    "the attack."
                )
            else:
                found.append(
                    "What private training leaves is told by what it does not cover: leave out steps that learn means "
                    "and standard deviations of the training samples, and scale by public constants."
                )
        if len(self.attributes) and (self.attributes["lower"] > self.attributes["majority"]).any():
            found.append(
                "Annotations: share no embeddings; take what must not be told out of them (confounders), and give "
                "fewer annotations beside them."
            )
        if (self.features.get("matched", pd.Series(dtype=float)) > 0.05).any():
            found.append(
                "Features: pseudonyms do not hide features from those who know the cohort's kind. A step that stores "
                "no statistic per feature helps little, since weights carry them, too: treat feature names as known."
            )
        return found or ["Nothing that was tried here asks for more."]


def _metric(name: object) -> str:
    return {"auc": "AUC", "r2": "R²"}.get(str(name), str(name))


def _plain(value: Any) -> Any:
    """A value for JSON: NaN is null."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
