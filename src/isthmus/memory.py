"""Memory that is free within the process, back to the system."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

__all__ = ["give_back"]


def give_back() -> None:
    """Return what training has freed, where the C library knows how to (glibc); elsewhere nothing happens.

    Gradients and batches leave holes in the memory of the process that large tables do not fit into: after a network of
    some million weights more than a gigabyte of them.
    """
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # no such library, or one without the function
        ctypes.CDLL(None).malloc_trim(0)
