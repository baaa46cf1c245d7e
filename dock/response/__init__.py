"""What the states of a crystal say of its response to fields, and of its topology.

One quantity a module, each on the k-point data of `dock.response.kdata`.

>>> import dock
>>> from dock.response import velocities
>>> velocities(dock.read("fixtures/openmx/si"), [[0, 0, 0]], bands="1").vectors.round(6).tolist()
[[[[0.0, 0.0, 0.0]]]]
>>> from dock.response import optics
>>> spectrum = optics(dock.read("fixtures/openmx/si"), (4, 4, 4), [1.0, 2.0, 3.0])
>>> spectrum.epsilon.shape
(3, 3, 3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dock.extras import lazy_names

if TYPE_CHECKING:
    from dock.response.effective_mass import Masses as Masses, masses as masses
    from dock.response.fermi_surfaces import (
        FermiSurface as FermiSurface,
        fermi_surface as fermi_surface,
    )
    from dock.response.optical_spectrum import (
        OpticalSpectrum as OpticalSpectrum,
        kramers_kronig as kramers_kronig,
        optics as optics,
    )
    from dock.response.second_order import (
        NonlinearSpectrum as NonlinearSpectrum,
        nonlinear_optics as nonlinear_optics,
    )
    from dock.response.spin import SpinTexture as SpinTexture, spin_texture as spin_texture
    from dock.response.velocity import Velocities as Velocities, velocities as velocities

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "dock.response.effective_mass": "Masses masses",
        "dock.response.fermi_surfaces": "FermiSurface fermi_surface",
        "dock.response.spin": "SpinTexture spin_texture",
        "dock.response.velocity": "Velocities velocities",
        "dock.response.second_order": "NonlinearSpectrum nonlinear_optics",
        "dock.response.optical_spectrum": "OpticalSpectrum kramers_kronig optics",
    },
)
