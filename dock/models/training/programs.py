"""Compiled programs kept on disk whole: a later start need not trace them again.

JAX's own cache saves the compilation, but looks a program up by its text, which must be traced and
lowered first; that was a third of what a start costs. A program is found here by what the text
follows from: the project's source, versions, settings, processor, options, shapes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pickle
import platform
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from dock.errors import DockError
from dock.io.files import atomic_path

__all__ = ["KeptProgram"]

_LOG = logging.getLogger(__name__)
_DIGEST = 32  # bytes of SHA-256 in front of a program
_NO_CODE = (
    "cache",
    "_log_",
    "logging",
    "dump",
    "traceback",
    "profiler",
)  # settings that make no other program


class KeptProgram:
    """A jitted function whose programs are kept, on one CPU; elsewhere the function as it is.

    Parameters
    ----------
    function
        From `jax.jit`. All that its text depends on must be in `identity` or in its arguments'
        shapes.
    identity
        Plain data for JSON.
    shapes_of
        Which argument varies from call to call; the others keep shapes and types.
    folder
        Where programs are kept; None: nowhere.
    """

    def __init__(
        self, function: Any, identity: Mapping[str, Any], shapes_of: int, folder: Path | None
    ) -> None:
        self._function = function
        self._identity = json.dumps(identity, sort_keys=True)
        self._shapes_of = shapes_of
        self._folder = folder if jax.default_backend() == "cpu" else None
        self._programs: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        if self._folder is None:
            return self._function(*arguments)
        varying = arguments[self._shapes_of]
        shapes = tuple((name, value.shape, value.dtype) for name, value in varying.items())
        program = self._programs.get(shapes)
        if program is None:
            program = self._programs[shapes] = self._find(self._folder, arguments)
        return program(*arguments)

    def _find(self, folder: Path, arguments: tuple[Any, ...]) -> Any:
        """Load the program for such arguments, or make and keep it."""
        name = _hash(_surroundings(), _settings(), _source(), self._identity, _kind_of(arguments))
        path = folder / f"{name}.program"
        program = _load(path)
        if program is None:
            with _without_cache():
                program = self._function.lower(*arguments).compile()
            _keep(path, program)
        return program


def _kind_of(arguments: tuple[Any, ...]) -> str:
    """Return structure, types and shapes of arguments."""
    leaves, tree = jax.tree.flatten(arguments)
    return f"{tree} {' '.join(f'{leaf.dtype}{leaf.shape}' for leaf in leaves)}"


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
    """Compile without JAX's cache: what comes out of that lacks parts when it is written again."""
    from jax.experimental.compilation_cache import compilation_cache

    settings: Any = jax.config
    before = settings.jax_enable_compilation_cache
    compilation_cache.reset_cache()
    settings.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        settings.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def _own(path: Path) -> bytes | None:
    """Return the content of a file that this user alone can write: a program is code."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    with os.fdopen(file, "rb") as stream:
        facts = os.fstat(stream.fileno())
        shared = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if hasattr(os, "getuid") and (facts.st_uid != os.getuid() or shared):
            return None
        return stream.read()


def _load(path: Path) -> Any | None:
    """Return a kept program; None where there is none that is whole."""
    from jax.experimental import serialize_executable

    content = _own(path)
    if content is None:
        return None
    digest, payload = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(payload).digest() != digest:
        _LOG.info("%s is damaged and will be made anew", path)
        return None
    try:
        kept = pickle.loads(payload)  # noqa: S301 - this user's own, and whole
        return serialize_executable.deserialize_and_load(*kept)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it can be made anew
        _LOG.info("%s cannot be loaded and will be made anew: %s", path, error)
        return None


def _keep(path: Path, program: Any) -> None:
    """Write a program, its digest in front; where that cannot be, the next start compiles again."""
    from jax.experimental import serialize_executable

    try:
        payload = pickle.dumps(serialize_executable.serialize(program))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_bytes(hashlib.sha256(payload).digest() + payload)
            temporary.chmod(0o600)
    except DockError as error:
        _LOG.info("a program was not kept: %s", error)
    except Exception as error:  # noqa: BLE001 - a run does not end because of it
        _LOG.info("%s was not kept: %s", path, error)


def _settings() -> str:
    """Return the settings of JAX and XLA at this moment."""
    values: Mapping[str, Any] = jax.config.values
    kept = {
        name: str(getattr(jax.config, name, value))
        for name, value in values.items()
        if not any(word in name for word in _NO_CODE)
    }
    flags = [os.environ.get(name, "") for name in ("XLA_FLAGS", "NPROC")]
    return json.dumps([kept, flags], sort_keys=True)


@lru_cache(maxsize=1)
def _surroundings() -> str:
    """Return versions and processor."""
    names = ("jax", "jaxlib", "optax", "numpy")
    versions = [platform.python_version(), *(version(name) for name in names)]
    return json.dumps({"versions": versions, "processor": _processor()})


@lru_cache(maxsize=1)
def _source() -> str:
    """Return the hash of the source that programs are traced from."""
    root = Path(__file__).resolve().parents[2]
    found = hashlib.sha256()
    for part in ("core", "models"):
        for path in sorted((root / part).rglob("*.py")):
            found.update(path.relative_to(root).as_posix().encode())
            found.update(path.read_bytes())
    return found.hexdigest()


def _processor() -> list[str]:
    """Return what machine code depends on: the processor and how many of its cores are ours."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = [platform.machine(), platform.processor(), str(cores)]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return facts
    kinds = ("model name", "flags", "Features", "CPU part")
    return facts + sorted({line for line in lines if line.startswith(kinds)})
