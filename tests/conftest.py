"""Fixtures of the whole suite: one seeded generator, the bundled data, the reference data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

# `import synthetic` gives every test the random structures, bases and matrices.
sys.path.append(str(ROOT / "tests" / "core"))

# The same examples in every run: a failure is found again, and no run fails by chance.
hypothesis.settings.register_profile(
    "dock", derandomize=True, deadline=None, max_examples=40, database=None
)
hypothesis.settings.load_profile("dock")


@pytest.fixture
def rng() -> np.random.Generator:
    """Return the one seeded generator of the suite."""
    return np.random.default_rng(20261120)


@pytest.fixture(scope="session")
def bundled() -> Path:
    """Return the folder of real data that comes with the project."""
    return ROOT / "fixtures"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of reference data beside the project (``DOCK_SHARED`` overrides it)."""
    folder = Path(os.environ.get("DOCK_SHARED", ROOT.parent / "shared"))
    if not (folder / "fixtures").is_dir():
        pytest.skip(f"no reference data at {folder} (set DOCK_SHARED to its place)")
    return folder
