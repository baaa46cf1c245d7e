"""From matrices to physics: bands, Fermi level, density of states, density matrix, populations.

>>> import dock
>>> from dock.post import bands
>>> structure = bands(dock.read("fixtures/openmx/si"), path="LGX", points=10)
>>> structure.gap.kind
'insulator'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dock.extras import lazy_names

if TYPE_CHECKING:
    from dock.post.band_structure import BandStructure as BandStructure, bands as bands
    from dock.post.chebyshev_density import ChebyshevDensity as ChebyshevDensity
    from dock.post.chebyshev_spectral import (
        SpectralFunction as SpectralFunction,
        spectral_function as spectral_function,
    )
    from dock.post.chebyshev_sum import chebyshev_dos as chebyshev_dos
    from dock.post.density_grid import GridDensity as GridDensity, charge_density as charge_density
    from dock.post.density_matrices import (
        DensityMatrix as DensityMatrix,
        density_matrix as density_matrix,
    )
    from dock.post.density_of_states import DensityOfStates as DensityOfStates, dos as dos
    from dock.post.fat_bands import FatBands as FatBands, project_bands as project_bands
    from dock.post.fermi import FermiResult as FermiResult, fermi_level as fermi_level
    from dock.post.population import Populations as Populations, populations as populations
    from dock.post.saved import read_figure as read_figure
    from dock.post.together import BandsWithDos as BandsWithDos, Together as Together
    from dock.states.gap import Gap as Gap
    from dock.states.kmesh import KMesh as KMesh, make_mesh as make_mesh
    from dock.states.kpath import KPath as KPath
    from dock.states.smearing import Smearing as Smearing

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "dock.post.band_structure": "BandStructure bands",
        "dock.post.chebyshev_density": "ChebyshevDensity",
        "dock.post.chebyshev_sum": "chebyshev_dos",
        "dock.post.density_grid": "GridDensity charge_density",
        "dock.post.density_matrices": "DensityMatrix density_matrix",
        "dock.post.density_of_states": "DensityOfStates dos",
        "dock.post.fat_bands": "FatBands project_bands",
        "dock.post.fermi": "FermiResult fermi_level",
        "dock.post.population": "Populations populations",
        "dock.post.saved": "read_figure",
        "dock.post.chebyshev_spectral": "SpectralFunction spectral_function",
        "dock.post.together": "BandsWithDos Together",
        "dock.states.gap": "Gap",
        "dock.states.kmesh": "KMesh make_mesh",
        "dock.states.kpath": "KPath",
        "dock.states.smearing": "Smearing",
    },
)
