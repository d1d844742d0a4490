"""What each artefact is: public, aggregate, or personal."""

from __future__ import annotations

import re
from typing import Any

from isthmus.share.house import House

__all__ = ["CLASSES", "holds_samples", "statistics"]

PUBLIC, AGGREGATE, PERSONAL = "public", "aggregate", "personal"
RULES = (
    (r"embedding\.h5ad|obs(\.csv)?|tables/(points|split(\.|$)|images|attention|predictions|survival|risk).*", PERSONAL),
    (r"recipe\.yaml|log\.txt|manifest\.json", PUBLIC),
    (r".*", AGGREGATE),
)
EXTREMES = "smallest or largest values, which are those of single samples"
SINGLE = {
    "minmax": EXTREMES, "maxabs": EXTREMES, "pixels": EXTREMES, "one_hot": "every level that occurs, however rare",
    "span": "a basis of the training samples",
}  # fmt: skip
"""Steps that store values of single samples."""
LEARNT = re.compile(
    r"moments/(mean|covariance|(entry|modality|seen)/.+)|prepare/residual:.+"
    r"|prepare/.+/\d+/(shift|scale|keep|weight|levels|source|coded|mean)_"
)
"""What a model stores besides weights that is known to be over many samples."""
COLUMNS = "heads and confounders"
"""Where `statistics` tells of columns."""
MEMORY = re.compile(r"(^|[._])(memory|queue|bank|neighbou?rs|samples)([._]|$)")


class _Classes:
    """File name to class."""

    def of(self, name: str) -> str:
        """The class of an artefact by its path in the folder."""
        return next(kind for pattern, kind in RULES if re.fullmatch(pattern, name))


CLASSES = _Classes()


def holds_samples(house: House, smallest: int = 5) -> str:
    """Why a model is personal, or nothing; `smallest`: the count below which a share of train tells of few."""
    steps = {m: _steps(p) for m, p in house.pipelines.items()}
    if spans := [m for m, names in steps.items() if "span" in names]:
        return f"the step span of {', '.join(spans)} stores a basis of samples"
    strange = [k for k in house.stored.learnt if not LEARNT.fullmatch(k)]
    if strange:
        return f"it stores {strange[0].split('/')[0]} values that are not known to be over many samples"
    if any(MEMORY.search(k) for k in house.stored.weights):
        return "its weights hold a memory of samples"
    return _told_by_spec(house, smallest)


def _told_by_spec(house: House, smallest: int) -> str:
    """Why what is known of heads and confounders tells of single samples, or nothing."""
    if any(t.get("edges") for t in _targets(house)):
        return "a head of discrete survival stores its intervals, whose ends are times of events of samples"
    n = house.stored.description["spec"]["n_train"]
    if any(0 < n * share < smallest - 0.5 for c in _covariates(house) for share in c.get("shares", ())):
        return f"a confounder stores the share of a class of fewer than {smallest} training samples"
    return ""


def _targets(house: House) -> list[dict[str, Any]]:
    return [t for t in house.stored.description["spec"].get("targets") or () if isinstance(t, dict)]


def _covariates(house: House) -> list[dict[str, Any]]:
    """Of the model, and of what its preparation takes out."""
    found = [*(house.stored.description["spec"].get("covariates") or ())]
    found += (house.stored.description["prepare"].get("residual") or {}).get("covariates") or ()
    return [c for c in found if isinstance(c, dict)]


def statistics(house: House, smallest: int = 5) -> dict[str, Any]:
    """What the preparation stores of every feature of a modality, and the model of columns; these are data."""
    told = {}
    for modality, described in house.pipelines.items():
        stored = sorted({k.rsplit("/", 1)[-1].rstrip("_") for k in house.stored.learnt if _of(k, modality)})
        single = list(dict.fromkeys(SINGLE[s] for s in _steps(described) if s in SINGLE))
        words = "; ".join(single) or "over the training samples"
        told[modality] = {"class": PERSONAL if single else AGGREGATE, "stored": stored, "what": words}
    asked = [*_targets(house), *_covariates(house)]
    if stored := sorted({k for t in asked for k in ("edges", "shares", "mean", "sd") if t.get(k)}):
        why = _told_by_spec(house, smallest)
        words = why or "over the training samples"
        told[COLUMNS] = {"class": PERSONAL if why else AGGREGATE, "stored": stored, "what": words}
    return told


def _of(key: str, modality: str) -> bool:
    return key.startswith(f"prepare/{modality}/")


def _steps(described: Any) -> list[str]:
    return [s["step"] if isinstance(s["step"], str) else next(iter(s["step"])) for s in described["steps"]]
