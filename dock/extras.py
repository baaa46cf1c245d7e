"""Imports that wait: optional packages, and the names that a package takes from its modules."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from dock.errors import DependencyError

__all__ = ["lazy_names", "require"]


def require(module: str, extra: str) -> Any:
    """Import an optional package, or raise a DependencyError that says which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"{module.partition('.')[0]} is needed for this and is not installed. "
            f"Install it with: pip install 'dock-dft[{extra}]'"
        ) from error


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
