"""`isthmus models`, `isthmus models NAME --features P`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from isthmus.architecture import Architecture


def command(
    name: Annotated[
        str | None, typer.Argument(help="an architecture, gene_ae or metabolite_ae: print its layers", metavar="NAME")
    ] = None,
    features: Annotated[int | None, typer.Option(help="of each modality (presets: as published)", min=1)] = None,
    reading: Annotated[str | None, typer.Option(help="of a preset: `counts` (default) or `widths`")] = None,
) -> None:
    """List the architectures there are, by their name in a recipe; or one's layers and number of parameters."""
    from isthmus import registry

    if name is not None:
        _layers(_on_meta(name, features, reading))
        return
    for known in registry.names():
        kind = registry.settings(known)
        typer.echo(f"{known:24} {kind.__name__:20} {(kind.__doc__ or '').strip().splitlines()[0]}")


def _on_meta(name: str, features: int | None, reading: str | None) -> Architecture:
    """The module without memory for its weights, of as few modalities as it takes."""
    import torch

    from isthmus import registry
    from isthmus.architectures.dual_autoencoder import FEATURES
    from isthmus.config import validate
    from isthmus.errors import RecipeError, closest
    from isthmus.types import Modality, Spec

    if name not in FEATURES and name not in registry.names():
        hint = closest(name, [*FEATURES, *registry.names()])
        raise RecipeError("no such architecture", where="isthmus models", met=name, hint=hint)
    keys: dict[str, Any] = {} if reading is None else {"reading": reading}
    preset, width = name if name in FEATURES else None, features or FEATURES.get(name)
    if width is None:
        raise RecipeError("does not know how wide", where="isthmus models", wanted="--features P")
    kind = "dual_autoencoder" if preset else name
    names = [f"m{i}" for i in range(registry.get(kind).modalities[0])]
    keys |= {"networks": dict.fromkeys(names, preset)} if preset else {}
    config = validate(registry.config_of(kind), keys, where="isthmus models")
    with torch.device("meta"):
        return registry.get(kind)(config, Spec(tuple(Modality(m, (width,)) for m in names)))


def _layers(module: Architecture) -> None:
    """A line per layer that has weights, and their number."""
    rows = []
    for place, layer in module.named_modules():
        own = sum(p.numel() for p in layer.parameters(recurse=False))
        if own:
            rows.append((place, f"{str(layer).removesuffix(')').split(', bias')[0].split(', eps')[0]})", own))
    wide = [max(len(row[i]) for row in rows) for i in (0, 1)]
    for place, what, number in rows:
        typer.echo(f"{place:{wide[0]}}  {what:{wide[1]}}  {number:>13,}")
    typer.echo(f"{sum(p.numel() for p in module.parameters()):,} parameters")
