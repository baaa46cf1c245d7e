"""Helpers of the tests of models are found; compiled programs live as long as the session."""

import os
import sys
from pathlib import Path

import pytest

from dock.models.network.environment import prepare_process

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE)]


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory):
    """Keep compiled programs out of the user's cache, and in one place for all processes."""
    before = os.environ.get("DOCK_JAX_CACHE")
    if before is None:
        os.environ["DOCK_JAX_CACHE"] = str(tmp_path_factory.mktemp("compiled"))
    prepare_process("cpu")  # flags are part of a program's name: the same from the beginning
    yield Path(os.environ["DOCK_JAX_CACHE"])
    if before is None:
        del os.environ["DOCK_JAX_CACHE"]
