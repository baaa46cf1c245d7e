"""From matrices to physics: bands, Fermi level, density of states, density matrix, populations.

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
    from dock.post.density_grid import GridDensity, charge_density
    from dock.post.density_matrices import DensityMatrix, density_matrix
    from dock.post.density_of_states import DensityOfStates, dos
    from dock.post.fat_bands import FatBands, project_bands
    from dock.post.fermi import FermiResult, fermi_level
    from dock.post.population import Populations, populations
    from dock.states.gap import Gap
    from dock.states.kmesh import KMesh, make_mesh
    from dock.states.kpath import KPath
    from dock.states.smearing import Smearing

__all__ = [
    "BandStructure",
    "DensityMatrix",
    "DensityOfStates",
    "FatBands",
    "FermiResult",
    "Gap",
    "GridDensity",
    "KMesh",
    "KPath",
    "Populations",
    "Smearing",
    "bands",
    "charge_density",
    "density_matrix",
    "dos",
    "fermi_level",
    "make_mesh",
    "populations",
    "project_bands",
]

_HOMES = {
    "BandStructure": "dock.post.band_structure",
    "DensityMatrix": "dock.post.density_matrices",
    "DensityOfStates": "dock.post.density_of_states",
    "FatBands": "dock.post.fat_bands",
    "FermiResult": "dock.post.fermi",
    "Gap": "dock.states.gap",
    "GridDensity": "dock.post.density_grid",
    "KMesh": "dock.states.kmesh",
    "KPath": "dock.states.kpath",
    "Populations": "dock.post.population",
    "Smearing": "dock.states.smearing",
    "bands": "dock.post.band_structure",
    "charge_density": "dock.post.density_grid",
    "density_matrix": "dock.post.density_matrices",
    "dos": "dock.post.density_of_states",
    "fermi_level": "dock.post.fermi",
    "make_mesh": "dock.states.kmesh",
    "populations": "dock.post.population",
    "project_bands": "dock.post.fat_bands",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dock.post' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
