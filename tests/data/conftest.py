"""Where real data is, and a small cohort to read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of real data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("ISTHMUS_DATA", str(ROOT.parent / "shared" / "data")))
    if not folder.is_dir():
        pytest.skip("real data is not beside the repository (ISTHMUS_DATA)")
    return folder


@pytest.fixture
def rna() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = pd.DataFrame(rng.normal(size=(6, 4)).astype(np.float32), [f"s{i}" for i in range(6)], list("ABCD"))
    x.iloc[1, 2] = np.nan
    return x


@pytest.fixture
def cnv() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        rng.integers(-2, 3, (5, 3)).astype(np.float32), ["s7", "s5", "s4", "s1", "s0"], ["A", "B", "g3"]
    )


@pytest.fixture
def obs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "age": [50, 61, None, 40, 33, 20, 70],
            "sex": ["f", "m", "f", None, "m", "f", "f"],
            "smoker": ["no", "yes", "no", "no", "NA", "yes", "no"],
            "dead": [True, False, True, True, False, False, True],
            "stage": [1, 2, 3, 1, 2, 3, 1],
            "code": ["007", "010", "007", "010", "007", "007", "010"],
        },
        index=["s5", "s4", "s3", "s2", "s1", "s0", "nobody"],
    )
