"""Imports that wait: optional packages and libraries, and the names that a package re-exports."""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dock.errors import DependencyError

__all__ = ["lazy_names", "missing", "require", "require_library"]

_EXTRAS = {
    "models": "e3nn_jax flatbuffers jax jaxlib optax",
    "mpi": "mpi4py",
    "plot": "matplotlib",
    "pymatgen": "pymatgen",
    "pyscf": "pyscf",
    "sisl": "netCDF4 sisl",
}
"""The modules of each extra, for what is imported without `require`, or by another package."""


def require(module: str, extra: str) -> Any:
    """Import an optional package, or raise a DependencyError that says which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _not_there(module, extra, error) from error


def missing(error: ImportError) -> DependencyError | None:
    """Return what to say of an import that failed; None where no extra brings the module."""
    for extra, modules in _EXTRAS.items():
        if (error.name or "").partition(".")[0] in modules.split():
            return _not_there(str(error.name), extra, error)
    return None


def _not_there(module: str, extra: str, error: ImportError) -> DependencyError:
    """Return an error that says whether a package is missing or cannot be imported."""
    package = module.partition(".")[0]
    found = "is not installed"
    if not isinstance(error, ModuleNotFoundError):
        found = f"cannot be imported ({error})"
    elif error.name is not None and error.name.partition(".")[0] != package:
        found = f"cannot be imported, because {error.name} is not installed"
    return DependencyError(
        f"{package} is needed for this and {found}. "
        f"Install it with: pip install 'dock-dft[{extra}]'"
    )


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
    from importlib import metadata  # a third of the time of `dock --help`

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
