"""What an error carries: what is wrong, where, what was met, what would be right, and a hint.

Every error a user can cause is an `InputError` (exit code 2); what is our fault or the machine's is a `RunError`
(exit code 1). The command line prints `str(error)`: one line, and at most two more of hint.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_VALUE = 80


class IsthmusError(Exception):
    """Base of every error raised on purpose.

    Parameters
    ----------
    what
        The complaint, as a clause without a full stop.
    where
        File, recipe key, modality, row or column that it concerns.
    met
        The value met; printed shortened.
    wanted
        What would have been right.
    hint
        What to do about it; up to two lines.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, where: str | None = None, met: object = None, wanted: str | None = None, hint: str = ""
    ) -> None:
        self.what, self.where, self.met, self.wanted, self.hint = what, where, met, wanted, hint
        super().__init__(str(self))

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}" if self.where else self.what
        if self.met is not None:
            line += f"; met {shortened(self.met)}"
        if self.wanted:
            line += f"; wanted {self.wanted}"
        line = " ".join(line.split())
        return "\n".join([line, *[h for h in self.hint.splitlines() if h.strip()][:2]])

    def __reduce__(self) -> tuple[object, ...]:
        """Keyword-only arguments survive a trip between processes."""
        return _rebuild, (type(self), self.what, self.where, self.met, self.wanted, self.hint)


class InputError(IsthmusError):
    """The user's input is wrong."""

    exit_code = 2


class RecipeError(InputError):
    """A recipe, a `key=value` override or an argument is wrong."""


class DataError(InputError):
    """A table, a container or what it holds is wrong."""


class ModelError(InputError):
    """A saved model is damaged, of another version, or does not fit the data."""


class MissingExtraError(InputError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra, self.purpose = package, extra, purpose
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed",
            hint=f'pip install -c constraints.txt "isthmus[{extra}]"',
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.package, self.extra, self.purpose)


class RunError(IsthmusError):
    """A run could not go on: a non-finite loss, no memory, no disk."""


class NonFiniteLossError(RunError):
    """A loss term became NaN or infinite."""


def _rebuild(
    kind: type[IsthmusError], what: str, where: str | None, met: object, wanted: str | None, hint: str
) -> IsthmusError:
    return kind(what, where=where, met=met, wanted=wanted, hint=hint)


def shortened(value: object, longest: int = LONGEST_VALUE) -> str:
    """`repr` of a value on one line, cut at `longest` characters."""
    text = " ".join((value if isinstance(value, str) and value.startswith("'") else repr(value)).split())
    return text if len(text) <= longest else text[: longest - 3] + "..."


def closest(word: object, candidates: Iterable[object], *, most: int = 12) -> str:
    """The hint for a misspelt name: the candidate closest to it, or else the candidates.

    Parameters
    ----------
    word
        What was met.
    candidates
        What would have been right.
    most
        How many candidates are named where none is close; 0 for where the error names them itself.

    Returns
    -------
    str
        `did you mean 'latent'?`, `known: 'a', 'b' and 3 more`, or nothing.
    """
    names = [str(c) for c in candidates]
    if found := difflib.get_close_matches(str(word), names, n=1, cutoff=0.6):
        return f"did you mean {shortened(found[0])}?"
    return f"known: {listed(names, most) or 'none'}" if most else ""


def listed(items: Iterable[object], most: int = 3) -> str:
    """`'a', 'b', 'c' and 4 more`."""
    every = list(items)
    text = ", ".join(shortened(i, 40) for i in every[:most])
    return text if len(every) <= most else f"{text} and {len(every) - most} more"
