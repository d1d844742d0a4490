"""One thread per process, so that two workers share two cores."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
DATA = Path(os.environ.get("ISTHMUS_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data, or a skip."""
    if not DATA.is_dir():
        pytest.skip(f"no real data: set ISTHMUS_DATA or put it at {DATA}")
    return DATA


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Instances of bags go to a folder of this run, not of the user."""
    os.environ["ISTHMUS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
