"""What private training spent, in any report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isthmus.report.blocks import Facts, Items, Prose, Section
from isthmus.training.settings import hardly_private, upward

__all__ = ["privacy_section"]

LEAD = "What private training spent; below, what that does not cover."


def privacy_section(privacy: Mapping[str, Any] | None) -> Section:
    """What private training spent, and what that does not cover; empty without it."""
    if not privacy:
        return Section("", ())
    numbers = {k: v for k, v in privacy.items() if k != "not_covered"}
    shown = {k.replace("_", " "): f"{v:.4g}" if isinstance(v, float) else v for k, v in numbers.items()}
    shown["epsilon"] = upward(float(privacy["epsilon"]))
    items = tuple(str(s) for s in privacy.get("not_covered", ()))
    weak = hardly_private(float(privacy["epsilon"]))
    said = (Prose(f"{weak[0].upper()}{weak[1:]}."),) if weak else ()
    return Section("Private training", (*said, Facts(shown), Items(items)), LEAD)
