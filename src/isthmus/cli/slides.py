"""`isthmus slides tile|encode|heatmap`."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

app = typer.Typer(
    help="Whole-slide images to tissue, tiles and features; attention over the thumbnail.",
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

Slides = Annotated[
    list[str],
    typer.Argument(help="image files, folders of them, or a csv with a column slide (name, mpp)", metavar="SLIDES..."),
]
Scale = Annotated[float | None, typer.Option(help="microns per pixel of level 0, where slides do not say it")]
Workers = Annotated[int, typer.Option(min=1, help="processes")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what was made by other settings")]


@app.command("tile")
def tile(
    slides: Slides,
    out: Annotated[Path, typer.Option(help="the folder")],
    mpp: Annotated[float, typer.Option(help="microns per pixel of the tiles (20x is about 0.5)")] = 0.5,
    size: Annotated[int, typer.Option(help="side of a tile in pixels")] = 256,
    overlap: Annotated[int, typer.Option(help="pixels that neighbours share")] = 0,
    min_tissue: Annotated[float, typer.Option(help="least share of tissue in a tile, 0..1")] = 0.5,
    slide_mpp: Scale = None,
    threshold: Annotated[
        int | None, typer.Option(min=0, max=254, help="saturation, 0..255, above which is tissue [by Otsu]")
    ] = None,
    speck: Annotated[float, typer.Option(min=0, help="smallest area of tissue, square microns")] = 5_000.0,
    hole: Annotated[float, typer.Option(min=0, help="largest gap in tissue that is filled, square microns")] = 10_000.0,
    workers: Workers = 1,
    overwrite: Overwrite = False,
) -> None:
    """Find tissue and lay tiles over it.

    Leaves patches/NAME_patches.h5 (coordinates in pixels of level 0, as TRIDENT and CLAM read them),
    thumbnails/NAME.png (tissue outlined, tiles drawn) and slides.csv. A broken slide is told and the others go on; the
    exit code is then 2. The table slides.csv is printed last.
    """
    from isthmus.slides.cohort import TABLE, listed_slides, tile_all
    from isthmus.slides.tiles import Tissue

    settings = {"mpp": mpp, "size": size, "overlap": overlap, "min_tissue": min_tissue}
    tissue = Tissue(threshold, speck, hole)
    found = tile_all(
        listed_slides(slides, mpp=slide_mpp),
        out,
        settings=settings,
        tissue=tissue,
        workers=workers,
        overwrite=overwrite,
    )
    _end(found, "tiled", f"see {out / TABLE}")
    typer.echo(out / TABLE)


@app.command("encode", short_help="Features of every tile, by an encoder that you have.")
def encode(
    slides: Slides,
    tiles: Annotated[Path, typer.Option(help="the folder that tile (or TRIDENT, or CLAM) wrote")],
    out: Annotated[Path, typer.Option(help="the folder: one HDF5 file a slide")],
    encoder: Annotated[
        str, typer.Option(help="colour, small_cnn, module:function, FILE.pt, FILE.pt2, timm:NAME or hf:FOLDER")
    ] = "colour",
    weights: Annotated[Path | None, typer.Option(help="local file with the weights of timm:NAME")] = None,
    resize: Annotated[int | None, typer.Option(help="side that networks see tiles at, such as 224")] = None,
    normalise: Annotated[
        Literal["imagenet", "unit"], typer.Option(help="colours for networks: ImageNet's mean and spread, or 0..1")
    ] = "imagenet",
    batch: Annotated[int, typer.Option(min=1, help="tiles at once")] = 64,
    half: Annotated[bool, typer.Option("--half", help="write float16")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    seed: Annotated[int, typer.Option(help="of small_cnn")] = 0,
    slide_mpp: Scale = None,
    workers: Workers = 1,
    overwrite: Overwrite = False,
) -> None:
    """Features of every tile, by an encoder that you have: nothing is downloaded.

    Leaves NAME.h5 with features (N x D) and coords, as TRIDENT does; the folder is what data.read takes as a modality.
    A run that was stopped goes on where it was. A module, a .pt or a .pt2 file runs its own code: name only what you
    trust. A broken slide is told and the others go on; the exit code is then 2.
    """
    from isthmus.slides.cohort import encode_all, listed_slides

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    keys: dict[str, Any] = {
        "normalise": normalise, "resize": resize, "weights": weights, "device": device, "seed": seed, "batch": batch,
        "half": half,
    }  # fmt: skip
    found = encode_all(
        listed_slides(slides, mpp=slide_mpp), out, tiles=tiles, encoder=encoder, keys=keys, workers=workers,
        overwrite=overwrite,
    )  # fmt: skip
    _end(found, "encoded", "the features of the others are written")
    typer.echo(out)


@app.command("heatmap", short_help="Draw weights of tiles over the thumbnail.")
def heatmap(
    slide: Annotated[Path, typer.Argument(help="the image file", metavar="SLIDE")],
    tiles: Annotated[Path, typer.Option(help="its tiles or features (.h5), or the folder that holds them")],
    out: Annotated[Path, typer.Option(help="the picture, .png or .svg; a csv of the weights goes beside it")],
    model: Annotated[
        Path | None, typer.Option(help="a model or run whose attention is drawn; --tiles then names features")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="csv with x, y and a column of weights or more")] = None,
    modality: Annotated[str | None, typer.Option(help="the model's modality of bags, where it has several")] = None,
    column: Annotated[
        str | None, typer.Option(help="column that is drawn [attention, or the first]; a model gives occlusion too")
    ] = None,
    show: Annotated[
        Literal["times", "rank", "value"], typer.Option(help="weights over their mean, their rank, or as they are")
    ] = "times",
    slide_mpp: Scale = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a picture that is there")] = False,
) -> None:
    """Draw the weights of a slide's tiles, such as a model's attention, over its thumbnail.

    Prints the path of the picture. The csv beside it has a row a tile: x, y and side in pixels of level 0, and every
    column of weights; attention also over its mean and as a rank. Of a model that is attention, with the slide taken
    for a whole bag, and occlusion: how far the embedding moves without the tile's tenth of tiles, over a random tenth.
    """
    from isthmus.errors import RecipeError

    if (model is None) == (weights is None):
        raise RecipeError("say what to draw", wanted="--model or --weights, one of both")
    if out.suffix.lower() not in (".png", ".svg"):
        raise RecipeError("is no picture", where="--out", met=str(out), wanted=".png or .svg")
    if out.exists() and not overwrite:
        raise RecipeError("exists", where=str(out), hint="add --overwrite to replace it")
    from isthmus.slides.cohort import listed_slides, tiles_of
    from isthmus.slides.tiles import read_tiles

    entry = listed_slides([slide], mpp=slide_mpp)[0]
    with entry.open() as opened:
        file = tiles_of(tiles, entry.name) if tiles.is_dir() else tiles
        found = read_tiles(file, opened)
        if (said := found.attributes.get("name", entry.name)) != entry.name:
            logging.getLogger("isthmus.slides").warning("%s: has the tiles of %s by its own word", file, said)
        if weights is not None:
            from isthmus.slides.heatmap import read_weights

            columns = read_weights(weights, found)
        else:
            from isthmus.slides.attention import attention_to

            columns = attention_to(Path(str(model)), file, found, modality=modality)
        _draw(opened, found, columns, chosen=_chosen(columns, column), show=show, out=out)
    typer.echo(out)


def _chosen(columns: dict[str, Any], column: str | None) -> str:
    """The column that is drawn."""
    from isthmus.errors import RecipeError, closest

    if column is None:
        return "attention" if "attention" in columns else next(iter(columns))
    if column not in columns:
        raise RecipeError("there is no such column of numbers", where="--column", met=column,
                          hint=closest(column, columns))  # fmt: skip
    return column


LABELS = {"times": "{} over its mean", "rank": "rank of {}, 0 to 1", "value": "{}"}


def _draw(slide: Any, tiles: Any, columns: dict[str, Any], *, chosen: str, show: str, out: Path) -> None:
    """The picture, and the csv beside it."""
    from isthmus.data.write import atomic, write
    from isthmus.plot.slides import slide_heatmap
    from isthmus.plot.style import themed
    from isthmus.report.svg import to_svg
    from isthmus.slides.heatmap import ranks, relative, table, weighted

    values = columns[chosen] if show == "value" else (relative if show == "times" else ranks)(columns[chosen])
    thumbnail, weights = weighted(slide, tiles, values)
    micron = slide.mpp * slide.size[0] / thumbnail.shape[1] if slide.mpp else None
    figure = slide_heatmap(
        thumbnail, weights, label=LABELS[show].format(chosen), title=slide.name, micron=micron, middle=show == "times"
    )
    with atomic(out) as temporary:
        if out.suffix.lower() == ".svg":
            temporary.write_text(to_svg(figure), encoding="utf-8")
        else:
            with themed():
                figure.savefig(temporary, dpi=200)
    write(table(tiles, columns), out.with_suffix(".csv"))


def _end(found: Any, done: str, hint: str) -> None:
    """An error where a slide was left out."""
    from isthmus.errors import DataError

    if n := int((found["error"] != "").sum()):
        raise DataError(f"{n} of {len(found)} slides could not be {done}", hint=hint if n < len(found) else "")
