"""Compiled programs kept on disk whole: a later start need not trace them again.

JAX's own cache saves the compilation, but looks a program up by its text, which must be traced and
lowered first; that was a third of what a start costs. A program is found here by what the text
follows from: the project's source, versions, processor, options, shapes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import platform
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from dock.errors import DockError
from dock.files import atomic_path

__all__ = ["KeptProgram"]

_LOG = logging.getLogger(__name__)
_SETTINGS = (
    "jax_default_matmul_precision",
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_debug_nans",
    "jax_debug_infs",
    "jax_disable_jit",
)
_DIGEST = 32  # bytes of SHA-256 in front of a program
_LEAST_TIME = "jax_persistent_cache_min_compile_time_secs"
_CACHE_HITS = [0]


def _count_hits(event: str, **_: Any) -> None:
    _CACHE_HITS[0] += event == "/jax/compilation_cache/cache_hits"


jax.monitoring.register_event_listener(_count_hits)


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
        self._identity = json.dumps(identity, sort_keys=True, default=str)
        self._shapes_of = shapes_of
        self._folder = folder if jax.default_backend() == "cpu" else None
        self._programs: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        if self._folder is None:
            return self._function(*arguments)
        varying = arguments[self._shapes_of]
        shapes = tuple((name, value.shape) for name, value in varying.items())
        program = self._programs.get(shapes)
        if program is None:
            program = self._programs[shapes] = self._find(self._folder, arguments)
        return program(*arguments)

    def _find(self, folder: Path, arguments: tuple[Any, ...]) -> Any:
        """Load the program for such arguments, or make and keep it."""
        kind = _kind_of(arguments)
        link = folder / f"{_hash(_surroundings(), _source(), self._identity, kind)}.link"
        program = _load(folder, _read_link(link))
        if program is None:
            lowered = self._function.lower(*arguments)
            # Another source or other options may well give the same program.
            name = _hash(_surroundings(), kind, lowered.as_text())
            program = _load(folder, name) or _compile(lowered, folder, name)
            if (folder / f"{name}.program").is_file():
                _write(link, name.encode())
        return program


def _kind_of(arguments: tuple[Any, ...]) -> str:
    """Return structure, types and shapes of arguments."""
    leaves, tree = jax.tree.flatten(arguments)
    return f"{tree} {' '.join(f'{leaf.dtype}{leaf.shape}' for leaf in leaves)}"


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _compile(lowered: Any, folder: Path, name: str) -> Any:
    """Compile a program and keep it."""
    settings: Any = jax.config
    before, least = _CACHE_HITS[0], getattr(settings, _LEAST_TIME)
    # JAX's cache need not hold it too; what comes out of that lacks parts when written again.
    settings.update(_LEAST_TIME, 1e9)
    try:
        program = lowered.compile()
    finally:
        settings.update(_LEAST_TIME, least)
    if _CACHE_HITS[0] == before:
        _keep(folder / f"{name}.program", program)
    return program


def _own(path: Path) -> bytes | None:
    """Return the content of a file of this user: a program is code, nobody else's is run."""
    try:
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            return None
        return path.read_bytes()
    except OSError:
        return None


def _read_link(path: Path) -> str:
    """Return the name of a program, empty where there is none."""
    found = (_own(path) or b"").decode(errors="replace")
    return found if re.fullmatch("[0-9a-f]{64}", found) else ""


def _load(folder: Path, name: str) -> Any | None:
    """Return a kept program; None where there is none that is whole."""
    from jax.experimental import serialize_executable

    path = folder / f"{name}.program"
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
    except (RuntimeError, ValueError, TypeError) as error:
        _LOG.info("%s cannot be loaded and will be made anew: %s", path, error)
        return None


def _keep(path: Path, program: Any) -> None:
    """Write a program, its digest in front."""
    from jax.experimental import serialize_executable

    try:
        payload = pickle.dumps(serialize_executable.serialize(program))
    except (RuntimeError, ValueError, pickle.PicklingError) as error:
        _LOG.info("a program was not kept: %s", error)
        return
    _write(path, hashlib.sha256(payload).digest() + payload)


def _write(path: Path, content: bytes) -> None:
    """Write a file; where that cannot be, the next start compiles again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_bytes(content)
    except (OSError, DockError) as error:
        _LOG.info("%s was not kept: %s", path, error)


@lru_cache(maxsize=1)
def _surroundings() -> str:
    """Return what a program depends on besides its text."""
    settings = {name: str(getattr(jax.config, name, "")) for name in _SETTINGS}
    names = ("jax", "jaxlib", "optax", "numpy")
    facts = {
        "versions": [platform.python_version(), *(version(name) for name in names)],
        "settings": settings,
        "flags": os.environ.get("XLA_FLAGS", ""),
        "processor": _processor(),
    }
    return json.dumps(facts, sort_keys=True)


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
