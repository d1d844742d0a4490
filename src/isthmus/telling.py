"""A warning that folds or fillers would repeat, said once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Once", "once"]


class Once(logging.Filter):
    """Lets every distinct warning (its text as it is read) through once; what is no warning always."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is new."""
        if record.levelno < logging.WARNING:
            return True
        text = record.getMessage()
        new = text not in self.said
        self.said.add(text)
        return new


@contextmanager
def once(name: str) -> Iterator[None]:
    """Let a logger say each distinct warning once while the block lasts."""
    logger, few = logging.getLogger(name), Once()
    logger.addFilter(few)
    try:
        yield
    finally:
        logger.removeFilter(few)
