"""Settings of heads and of confounders. Imports no torch, so that a recipe can be checked without it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from isthmus.config import Config, Tune
from isthmus.errors import RecipeError

__all__ = ["Confounders", "Head", "Method", "check_head_names"]

Method = Literal["conditional", "adversarial", "hsic", "correlation", "residualise"]
WEIGHTS = {"adversarial": 0.1, "hsic": 10.0, "correlation": 1.0}
SURVIVAL = ("cox", "discrete")
OF_KIND: dict[str, tuple[str, ...]] = {
    "column": ("class", "value"), "balanced": ("class",), "time": SURVIVAL, "event": SURVIVAL, "censoring": SURVIVAL,
    "strata": ("cox",), "ties": ("cox",), "bins": ("discrete",),
}  # fmt: skip
"""Keys that only some kinds of heads have."""
UNFIT = '/\\:*?"<>|='
"""What the name of a head may not hold."""


class Head(Config):
    """What is predicted from the embedding, and how much it shapes it."""

    kind: Literal["class", "value", "cox", "discrete"]
    """Classes, a number, or survival: Cox's proportional hazards, or a hazard for each of some intervals of time."""
    column: str | None = None
    """Column of obs that holds the class or the number. None: the head's name."""
    time: str | None = None
    """Survival: column of the time to the event or to the end of observation."""
    event: str | None = None
    """Survival: column that holds 1 where the event happened, 0 where observation ended before."""
    censoring: str | None = None
    """The same turned round, instead of `event`: 1 where observation ended before the event."""
    strata: str | None = None
    """Cox: column of groups, each with a baseline hazard of its own."""
    ties: Literal["efron", "breslow"] = "efron"
    """Cox: what is done about events at the same time, `efron` or `breslow`."""
    bins: Annotated[int, Field(ge=2)] = 10
    """Discrete time: intervals at most, cut at quantiles of the event times of train."""
    balanced: bool = False
    """Classes: whether every class counts alike in the loss, however frequent it is."""
    weight: Annotated[float, Field(ge=0), Tune(0.01, 10.0, log=True, weighs=True, asked=True)] = 0.1
    """Weight of its loss, a mean over samples, against the reconstruction, a mean over features."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Widths of hidden layers between the embedding and the answer; `[]` for a linear map."""
    dropout: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.5, asked=True)] = 0.0
    """Share of hidden units dropped in training."""
    auxiliary: Annotated[float, Field(ge=0), Tune(0.01, 1.0, log=True, asked=True)] = 0.0
    """Weight, times `weight`, of the same loss on each modality's own embedding, where the architecture has them."""

    @model_validator(mode="after")
    def _of_kind(self) -> Head:
        for key, kinds in OF_KIND.items():
            if self.kind not in kinds and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is for {' and '.join(kinds)}, not for a head of kind {self.kind}")
        if self.kind in SURVIVAL and self.time is None:
            raise ValueError(f"a head of kind {self.kind} needs the column `time`")
        if self.kind in SURVIVAL and (self.event is None) == (self.censoring is None):
            raise ValueError(f"a head of kind {self.kind} needs one of the columns `event` and `censoring`")
        return self


def check_head_names(names: Iterable[object]) -> None:
    """Refuse names that would not do in a file's name, or in that of a score, such as `survival/test/harrell/os`.

    Raises
    ------
    RecipeError
        A name is empty, begins with a dot, or holds a character that means something else there.
    """
    for name in names:
        text = str(name)
        if not text.strip() or text[0] == "." or not text.isprintable() or set(text) & set(UNFIT):
            wanted = f"a name without {' '.join(UNFIT)}; the column of obs may be named by `column`"
            raise RecipeError("is no name for a head", where="heads", met=name, wanted=wanted)


class Confounders(Config):
    """Columns of obs that the embedding should not tell of, and what is done about it."""

    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    """Columns of obs: text, booleans and those in `classes` are classes, other numbers are numbers."""
    method: Annotated[tuple[Method, ...], Field(min_length=1), Tune(choices=get_args(Method), asked=True)] = (
        "conditional",
    )
    """One or several of `conditional` (the decoders are told the columns, so that the embedding need not),
    `adversarial`, `hsic`, `correlation` (penalties on what the embedding tells), `residualise` (regressed out of the
    prepared features)."""
    classes: tuple[str, ...] = ()
    """Columns of numbers that stand for classes, such as coded sites."""
    weight: Annotated[float | None, Field(ge=0), Tune(0.01, 100.0, log=True, weighs=True, asked=True)] = None
    """Weight of each penalty. None: 0.1 of `adversarial`, 10 of `hsic`, 1 of `correlation`."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (64, 32)
    """Hidden widths of the adversary."""

    @field_validator("columns", "method", "classes", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        """A single name stands for a list of it."""
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> Confounders:
        if strange := [c for c in self.classes if c not in self.columns]:
            raise ValueError(f"classes names {strange[0]!r}, which is not among the columns")
        return self

    @property
    def penalties(self) -> tuple[str, ...]:
        """The methods that add terms to the loss."""
        return tuple(m for m in self.method if m in WEIGHTS)

    def weighs(self, penalty: str) -> float:
        """The weight of a penalty."""
        return WEIGHTS[penalty] if self.weight is None else self.weight
