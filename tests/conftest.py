"""Fixtures of the whole suite: one seeded generator, the bundled data, the reference data."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Generator, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Before NumPy is imported, and for the processes that tests start: threads of BLAS and OpenMP that
# wait for each other take a third of the CPU time, where other workers have the cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import numpy as np
import pytest
from _pytest.doctest import DoctestModule

ROOT = Path(__file__).resolve().parents[1]

# `import synthetic` gives every test the random structures, bases and matrices.
sys.path.append(str(ROOT / "tests" / "core"))

# The same examples in every run: a failure is found again, and no run fails by chance.
hypothesis.settings.register_profile(
    "dock", derandomize=True, deadline=None, max_examples=40, database=None
)
# Few of them, where the same tests run a second time with other versions of numpy and the rest.
hypothesis.settings.register_profile(
    "few", derandomize=True, deadline=None, max_examples=8, database=None
)
hypothesis.settings.load_profile("dock")


def _keep_bytecode() -> None:
    """Let this process and those it starts find Python's bytecode, whatever the environment says.

    A short command takes half of its time to compile the package, if it has to at each start.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def _compile_quickly() -> None:
    """Let XLA optimise nothing, in this process and those it starts, before JAX is imported.

    The networks of the tests run for a few steps; compiling them well takes seven times as long.
    """
    try:
        known = tuple(int(part) for part in version("jaxlib").split(".")[:2])
    except PackageNotFoundError:
        return
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_backend_optimization_level=0"]
    flags += ["--xla_llvm_disable_expensive_passes=true"]
    flags += ["--xla_cpu_parallel_codegen_split_count=1"]  # one piece of code to compile, not 32
    if known >= (0, 7):  # XLA ends a process that gives it a flag it does not know
        flags.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join(flags).strip()


_keep_bytecode()
_compile_quickly()
# As `dock.cli.main` does it: a twelfth of tracing networks went into looking for garbage.
gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list[pytest.Collector], object]:
    """Look for doctests where there is one: the rest would be gone through name by name."""
    found = yield
    if file_path.suffix != ".py" or ">>> " in file_path.read_text(encoding="utf-8"):
        return found
    return [item for item in found if not isinstance(item, DoctestModule)]


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep compiled programs out of the user's cache, in one place for all processes of a worker.

    Not for all workers: JAX writes its files in place, and another process would read half of one.
    """
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("compiled")
        patch.setenv("DOCK_JAX_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Undo what a command that runs in the tests' own process does to the log."""
    logger = logging.getLogger("dock")
    handlers, level = logger.handlers, logger.level
    logger.propagate = True  # fixtures of a module may have run a command before
    logger.setLevel(logging.NOTSET)
    yield
    logger.handlers, logger.propagate = handlers, True
    logger.setLevel(level)


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
