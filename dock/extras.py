"""Optional packages: imported when they are needed, with the pip line where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from dock.errors import DependencyError

__all__ = ["require"]


def require(module: str, extra: str) -> Any:
    """Import an optional package, or say which extra brings it.

    Raises
    ------
    DependencyError
        With the ``pip install`` line.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"{module.partition('.')[0]} is needed for this and is not installed. "
            f"Install it with: pip install 'dock-dft[{extra}]'"
        ) from error
