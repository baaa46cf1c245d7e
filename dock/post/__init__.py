"""From matrices to physics: bands here; further quantities join behind the same objects.

>>> import dock
>>> from dock.post import bands
>>> structure = bands(dock.read("fixtures/openmx/si"), path="LGX", points=10)
>>> structure.gap.kind
'insulator'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dock.post.band_structure import BandStructure, bands
    from dock.post.gap import Gap
    from dock.post.kpath import KPath

__all__ = ["BandStructure", "Gap", "KPath", "bands"]

_HOMES = {
    "BandStructure": "dock.post.band_structure",
    "Gap": "dock.post.gap",
    "KPath": "dock.post.kpath",
    "bands": "dock.post.band_structure",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dock.post' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
