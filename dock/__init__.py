"""`dock`: DFT Hamiltonians in a basis of localized atomic orbitals.

>>> import dock
>>> calc = dock.read("fixtures/openmx/si")
>>> calc.hamiltonian.k([0, 0, 0]).shape
(10, 10)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dock import _moved
from dock._version import __version__

if TYPE_CHECKING:
    from dock.converters import read, write
    from dock.converters.batch import convert
    from dock.core.basis import Basis, Radial, Shell
    from dock.core.calculation import Calculation
    from dock.core.matrix import AOMatrix
    from dock.core.pairs import Pairs
    from dock.core.spin import Spin
    from dock.core.structure import Structure
    from dock.errors import DockError
    from dock.overlap import compute_overlap

__all__ = [
    "AOMatrix",
    "Basis",
    "Calculation",
    "DockError",
    "Pairs",
    "Radial",
    "Shell",
    "Spin",
    "Structure",
    "__version__",
    "compute_overlap",
    "convert",
    "read",
    "write",
]

_HOMES = {
    "AOMatrix": "dock.core.matrix",
    "Basis": "dock.core.basis",
    "Calculation": "dock.core.calculation",
    "DockError": "dock.errors",
    "Pairs": "dock.core.pairs",
    "Radial": "dock.core.basis",
    "Shell": "dock.core.basis",
    "Spin": "dock.core.spin",
    "Structure": "dock.core.structure",
    "compute_overlap": "dock.overlap",
    "convert": "dock.converters.batch",
    "read": "dock.converters",
    "write": "dock.converters",
}

_moved.install()


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``dock --help`` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dock' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
