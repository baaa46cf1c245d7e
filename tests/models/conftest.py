"""Helpers of the tests of models are found; each test begins in single precision."""

import sys
from pathlib import Path

import pytest

from dock.models.network.environment import prepare_process

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent), str(HERE)]
prepare_process("cpu")  # what JAX reads when it is imported


@pytest.fixture(autouse=True)
def _single_precision():
    """Undo what loading a network in double precision leaves behind in the process."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)


@pytest.fixture(scope="module", autouse=True)
def _programs_of_one_file():
    """Forget compiled programs after the file that shares them: they come to a gigabyte."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
