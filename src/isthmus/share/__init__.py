"""Share what was learnt, expose no one: pseudonymised bundles, disclosure control, an audit, and what remains.

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "Policy": "isthmus.share.policy",
    "audit": "isthmus.share.auditing",
    "bundle": "isthmus.share.bundling",
    "keygen": "isthmus.share.keys",
    "pseudonymise": "isthmus.share.renaming",
    "reverse": "isthmus.share.reversing",
    "verify": "isthmus.share.verifying",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'isthmus.share' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
