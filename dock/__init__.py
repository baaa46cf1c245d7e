"""`dock`: DFT Hamiltonians in a basis of localized atomic orbitals.

>>> import dock
>>> calc = dock.read("fixtures/openmx/si")
>>> calc.hamiltonian.k([0, 0, 0]).shape
(10, 10)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dock import _moved
from dock._version import __version__
from dock.extras import lazy_names

if TYPE_CHECKING:
    from dock.converters import read as read, write as write
    from dock.converters.batch import convert as convert
    from dock.core.basis import Basis as Basis, Radial as Radial, Shell as Shell
    from dock.core.calculation import Calculation as Calculation
    from dock.core.matrix import AOMatrix as AOMatrix
    from dock.core.pairs import Pairs as Pairs
    from dock.core.spin import Spin as Spin
    from dock.core.structure import Structure as Structure
    from dock.errors import DockError as DockError
    from dock.overlap import compute_overlap as compute_overlap

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "dock.converters": "read write",
        "dock.converters.batch": "convert",
        "dock.core.basis": "Basis Radial Shell",
        "dock.core.calculation": "Calculation",
        "dock.core.matrix": "AOMatrix",
        "dock.core.pairs": "Pairs",
        "dock.core.spin": "Spin",
        "dock.core.structure": "Structure",
        "dock.errors": "DockError",
        "dock.overlap": "compute_overlap",
    },
)
__all__ += ["__version__"]

_moved.install()
