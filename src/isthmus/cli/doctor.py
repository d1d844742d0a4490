"""`isthmus doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil

import typer

EXTRAS = {
    "captum": "explain", "torch-geometric": "graph", "umap-learn": "viz", "zarr": "zarr", "tensorboard": "tensorboard",
    "openslide-python": "wsi", "tifffile": "wsi",
    "zstandard": "full",
}  # fmt: skip


def command() -> None:
    """Say what this machine has: versions, devices, memory, optional packages."""
    import torch

    from isthmus.recipe import versions

    for name, found in versions().items():
        typer.echo(f"{name:20} {found}")
    typer.echo(f"{'system':20} {platform.platform()}")
    typer.echo(f"{'cores':20} {os.cpu_count()} ({torch.get_num_threads()} threads in torch)")
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        typer.echo(f"{'memory':20} {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB")
    typer.echo(f"{'disk free here':20} {shutil.disk_usage('.').free / 2**30:.1f} GiB")
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    typer.echo(f"{'CUDA devices':20} {', '.join(gpus) or 'none'}")
    for package, extra in EXTRAS.items():
        try:
            typer.echo(f"{package:20} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            typer.echo(f'{package:20} not installed: pip install -c constraints.txt "isthmus[{extra}]"')
