"""Converters: every file format is a door into one object, `dock.core.calculation.Calculation`.

`read` and `write` find a format by name or content; each code's package has its own `read` and
`write`, such as ``dock.converters.siesta.read``. What a format is, `dock.converters.format` says;
which there are, `dock.converters.registry`; many runs are the matter of `dock.converters.plan` and
`dock.converters.batch`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dock.converters.batch import convert
    from dock.converters.format import Format, ReadOptions, WriteOptions
    from dock.converters.registry import (
        detect,
        format_names,
        get_format,
        read,
        resolve,
        transfer,
        write,
    )

__all__ = [
    "Format",
    "ReadOptions",
    "WriteOptions",
    "convert",
    "detect",
    "format_names",
    "get_format",
    "read",
    "resolve",
    "transfer",
    "write",
]

_HOMES = {
    "Format": "dock.converters.format",
    "ReadOptions": "dock.converters.format",
    "WriteOptions": "dock.converters.format",
    "convert": "dock.converters.batch",
    "detect": "dock.converters.registry",
    "format_names": "dock.converters.registry",
    "get_format": "dock.converters.registry",
    "read": "dock.converters.registry",
    "resolve": "dock.converters.registry",
    "transfer": "dock.converters.registry",
    "write": "dock.converters.registry",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a code's package does not need the registry."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dock.converters' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
