"""Imports that wait: optional packages and libraries, and the names that a package re-exports."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from dock.errors import DependencyError

__all__ = ["lazy_names", "require", "require_library"]


def require(module: str, extra: str) -> Any:
    """Import an optional package, or raise a DependencyError that says which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"{module.partition('.')[0]} is needed for this and is not installed. "
            f"Install it with: pip install 'dock-dft[{extra}]'"
        ) from error


def require_library(distribution: str, stem: str, extra: str) -> ctypes.CDLL:
    """Load a shared library that a wheel without Python modules brings.

    It is looked for among the files of the distribution, then where conda keeps libraries. A
    DependencyError says which extra brings it, or why the system does not load it.
    """
    line = f"Install it with: pip install 'dock-dft[{extra}]'"
    for file in _library_files(distribution, stem):
        try:
            return ctypes.CDLL(str(file))
        except OSError as error:
            raise DependencyError(f"{file} cannot be loaded ({error}). {line}") from error
    raise DependencyError(f"{distribution} is needed for this and is not installed. {line}")


def _library_files(distribution: str, stem: str) -> Iterator[Path]:
    """Find ``stem.so``, with or without a version, and its names on other systems."""
    names = (f"{stem}.so*", f"{stem}*.dylib")
    try:
        listed = metadata.distribution(distribution).files or []
    except metadata.PackageNotFoundError:
        listed = []
    for file in listed:
        if any(file.match(name) for name in names):
            yield Path(str(file.locate())).resolve()
    for name in names:
        yield from sorted((Path(sys.prefix) / "lib").glob(name))


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package whose names are lazy.

    A name is imported when it is first used, so that ``dock --help`` loads no numpy. `homes` are
    the names, separated by spaces, by the module that they come from.
    """
    home = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(home[name]), name)

    return get, lambda: sorted(home), sorted(home)
