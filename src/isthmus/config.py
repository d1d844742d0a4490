"""Typed settings. A key is declared once, beside the code that reads it.

The class that declares a key is at the same time the Python argument, the YAML schema, the commented recipe that
`isthmus init` prints, the tuning space and the table in the docs. This module imports no torch, so that a recipe can
be checked before anything heavy is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticKnownError

from isthmus.errors import RecipeError, closest

__all__ = [
    "Annealing", "Config", "Joint", "Likelihood", "Network", "Pooling", "Tune", "Variational", "Weighted", "validate",
]  # fmt: skip

Norm = Literal["layer", "batch", "none"]
Likelihood = Literal["gaussian", "bernoulli", "poisson", "nb", "zinb"]
Pooling = Literal["attention", "mean", "top_k", "prototype"]
Annealing = Literal[
    "constant",
    "logistic_early",
    "logistic_mid",
    "logistic_late",
    "linear_three_phase",
    "logistic_three_phase",
    "five_phase",
    "cyclical",
]

C = TypeVar("C", bound="Config")
UNION = re.compile(
    r"(str|int|float|bool|none|nullable|constrained-\w+|(dict|list|tuple|literal|function-\w+)\[.*)$", re.DOTALL
)
"""What pydantic puts into the path of a complaint for a member of a union."""


MAPPING = "keys and values"
WANTED = {
    "greater_than_equal": "at least {ge}", "greater_than": "above {gt}", "less_than_equal": "at most {le}",
    "less_than": "below {lt}", "literal_error": "{expected}", "finite_number": "a finite number",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list"), **dict.fromkeys(("dict_type", "mapping_type"), MAPPING),
    "string_type": "text", "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters", "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
}  # fmt: skip
"""What would be right, by the name of pydantic's complaint."""


@dataclass(frozen=True)
class Tune:
    """The range in which `isthmus tune` looks for a value: `low..high`, or one of `choices`.

    `weighs`: the key weighs a term of the loss, so that losses under two of its values cannot be compared. `asked`: it
    is varied only where a recipe names it.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    weighs: bool = False
    asked: bool = False


class Config(BaseModel):
    """Frozen and closed: an unknown key is an error, a set key never moves, no number is infinite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, validate_default=True
    )

    def __init__(self, **keys: Any) -> None:
        try:
            super().__init__(**keys)
        except ValidationError as error:
            raise complaint(error, type(self), where=type(self).__name__) from None

    paths: ClassVar[tuple[str, ...]] = ()
    """Names of the keys that hold files (one, several, or a mapping instead): a recipe makes them absolute."""
    wanted: ClassVar[str] = MAPPING
    """What may stand where such settings are asked for."""

    # a settings class within another is then built by pydantic, which collects its complaints, not by this method
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @field_validator("*", mode="before")
    @classmethod
    def _no_number(cls, value: Any, info: Any) -> Any:
        """`true` is no number, though Python counts it as 1."""
        kinds = members(cls.model_fields[info.field_name].annotation)
        if isinstance(value, bool) and bool not in kinds and (int in kinds or float in kinds):
            raise PydanticKnownError("float_type" if float in kinds else "int_type")
        return value

    def loaded(self: C, features: Mapping[str, Sequence[str]]) -> C:
        """The settings with the content of a file in place of its path, so that a saved model needs no file.

        `fit` calls it before the module is built.

        Parameters
        ----------
        features
            Modality to the names of its prepared features.
        """
        return self

    @classmethod
    def tunable(cls) -> dict[str, Tune]:
        """Keys that declare a tuning range."""
        ranges = {k: [t for t in f.metadata if isinstance(t, Tune)] for k, f in cls.model_fields.items()}
        return {k: found[0] for k, found in ranges.items() if found}


class Network(Config):
    """What every architecture has."""

    columns: ClassVar[tuple[str, ...]] = ()
    """Names of the keys that hold a column of obs: `fit` hands its classes to the architecture as `Batch.targets`."""
    latent: Annotated[int, Field(ge=1), Tune(2, 64, log=True)] = 8
    """Number of latent dimensions."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Widths of the encoder's hidden layers, mirrored in the decoder. None: two, a quarter each time, at least 32."""
    cap: Annotated[int, Field(ge=1)] | None = 1024
    """Largest width of a hidden layer when `hidden` is None; None lifts the bound."""
    dropout: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.5)] = 0.1
    """Share of hidden units dropped in training."""
    norm: Annotated[Norm, Tune(choices=("layer", "batch", "none"))] = "layer"
    """Normalisation within a block."""
    convolutions: Annotated[int, Field(ge=1), Tune(2, 6, asked=True)] = 5
    """For images: convolutions of the encoder, each halving height and width, mirrored in the decoder. At most so many
    that two rows and columns are left."""
    channels: Annotated[int, Field(ge=1), Tune(4, 64, log=True, asked=True)] = 16
    """For images: channels after the first convolution; each further one doubles them."""
    places: Annotated[Literal["kept", "averaged"], Tune(choices=("kept", "averaged"), asked=True)] = "kept"
    """For images: whether the encoder keeps the places after its last convolution, or reads every map `averaged` over
    them, as mean and standard deviation: for pictures without top and bottom, such as patches of tissue."""
    pooling: Annotated[Pooling, Tune(choices=get_args(Pooling), asked=True)] = "attention"
    """For bags: how instances become one vector. Their `mean`; by gated `attention` (at first, the mean too); the
    `top_k` that a gate rates highest; or what is left of them at each `prototype` that they are assigned to."""
    pooled: Annotated[int, Field(ge=1), Tune(4, 64, log=True, asked=True)] = 16
    """For bags: how many instances `top_k` keeps, or how many prototypes there are."""


class Weighted(Network):
    """What architectures have that reconstruct every modality."""

    weights: dict[str, Annotated[float, Field(ge=0)]] | None = None
    """Weight of each modality's reconstruction. None: equal contribution, p_total / (M p_m)."""


class Joint(Weighted):
    """What architectures have that encode all modalities into one embedding."""

    join: Annotated[Literal["direct", "after"], Tune(choices=("direct", "after"))] = "direct"
    """`direct`: one network over the concatenated modalities; `after`: one encoder a modality, then joined."""


class Variational(Network):
    """What every variational architecture has besides."""

    beta: Annotated[float, Field(ge=0), Tune(0.01, 10.0, log=True, weighs=True)] = 1.0
    """Weight of the divergence from the prior, in nats summed over latent dimensions."""
    annealing: Annotated[Annealing, Tune(choices=get_args(Annealing), asked=True)] = "logistic_early"
    """How the weight of the divergence rises to `beta` in the course of training."""


def validate(schema: type[C], keys: Mapping[str, Any], *, where: str, strict: bool | None = None) -> C:
    """Build `schema` from `keys`; a wrong key or value raises `RecipeError` that names its path below `where`.

    `strict`: what is no number is not read as one, such as the text "5".
    """
    if not isinstance(keys, Mapping):
        raise RecipeError("is not a mapping of keys", where=where or "recipe", met=keys, wanted="keys and values")
    try:
        return schema.model_validate(dict(keys), strict=strict)
    except ValidationError as error:
        raise complaint(error, schema, where=where) from None


def complaint(error: ValidationError, schema: type[BaseModel], *, where: str) -> RecipeError:
    """The first of pydantic's complaints as one of ours, with its path and the nearest known key.

    Where a key takes values of several kinds, pydantic complains once for each: of these the one that got furthest
    into the value is told, and what the others of the same place would take stands beside it.
    """
    classes = {c.__name__ for c in _classes(schema)}
    found = [(e, _path(e, classes)) for e in error.errors(include_url=False)]
    deepest = max((f for f in found if f[1][: len(found[0][1])] == found[0][1]), key=lambda f: len(f[1]))
    first, path = next((f for f in found if f[0]["type"] == "extra_forbidden"), deepest)
    place, *rest = dict.fromkeys(_place(where, p) for p in (path, *(p for _, p in found if p != path[: len(p)])))
    more = f"also wrong: {', '.join(rest[:4])}" + (f" and {len(rest) - 4} more" if rest[4:] else "") if rest else ""
    if first["type"] == "extra_forbidden":
        hint = closest(path[-1], sorted(_schema_at(schema, path[:-1]).model_fields))
        return RecipeError("unknown key", where=place, hint=f"{hint}\n{more}")
    if isinstance(raised := first.get("ctx", {}).get("error"), RecipeError):
        return raised
    if first["type"] == "missing":
        return RecipeError("is missing", where=place, wanted="a value", hint=more)
    taken = [_taken(e, _schema_at(schema, p)) for e, p in found if p == path]
    if not (wanted := " or ".join(dict.fromkeys(w for w in taken if w))):
        return RecipeError(_lower(first["msg"]), where=place, met=first["input"], hint=more)
    what = "is empty" if first["input"] is None else "wrong value"
    return RecipeError(what, where=place, met=first["input"], wanted=wanted, hint=more)


def _place(where: str, path: list[str]) -> str:
    return ".".join([where, *path] if where else path) or "recipe"


def _path(complained: ErrorDetails, classes: set[str]) -> list[str]:
    """The keys that lead to a value, without the names that pydantic gives the members of a union."""
    loc, kept = complained["loc"], complained["type"] in ("extra_forbidden", "missing")  # the end is a key for certain
    ends = len(loc) - 1 if kept else len(loc)
    named = [isinstance(p, str) and (p in classes or UNION.match(p) is not None) for p in loc[:ends]]
    return [str(p) for p, union in zip(loc, [*named, False], strict=False) if not union]


def _classes(schema: type[BaseModel]) -> set[type[BaseModel]]:
    """The settings classes within a settings class."""
    inner = (m for field in schema.model_fields.values() for m in members(field.annotation))
    below = {m for m in inner if isinstance(m, type) and issubclass(m, BaseModel) and m is not schema}
    return below.union(*(_classes(m) for m in below))


def _taken(complained: ErrorDetails, schema: type[BaseModel]) -> str:
    """What would be right, by the kind of a complaint; nothing where its own message says it."""
    kind = complained["type"]
    if kind in ("model_type", "model_attributes_type"):
        return getattr(schema, "wanted", MAPPING)
    return WANTED.get(kind, "").format(**complained.get("ctx", {}))


def _schema_at(schema: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """The settings class that a path of keys ends in, as far as it can be followed."""
    for part in path:
        field = schema.model_fields.get(part)
        inner = [] if field is None else members(field.annotation)
        schema = next((i for i in inner if isinstance(i, type) and issubclass(i, BaseModel)), schema)
    return schema


def members(annotation: Any) -> list[Any]:
    """An annotation and all that it is made of."""
    return [annotation, *(m for inner in get_args(annotation) for m in members(inner))]


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def copy_with(config: C, **keys: Any) -> C:
    """The same settings with some keys changed, validated again."""
    return type(config)(**{**{k: getattr(config, k) for k in type(config).model_fields}, **keys})
