"""What is said of a mistake: what, where, what would be right, always in the same words."""

from __future__ import annotations

from pathlib import Path

import isthmus
from isthmus.errors import closest


def test_the_nearest_name_is_offered_in_one_wording():
    assert closest("latnt", ["beta", "latent"]) == "did you mean 'latent'?"
    assert closest("zz", ["beta", "latent", "lr"], most=2) == "known: 'beta', 'latent' and 1 more"
    assert closest(3, []) == "known: none"
    assert closest("zz", ["beta"], most=0) == ""
    source = Path(isthmus.__file__).parent
    by_hand = [f.name for f in source.rglob("*.py") if "did you mean" in f.read_text(encoding="utf-8")]
    assert by_hand == ["errors.py"]
