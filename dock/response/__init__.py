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
>>> from dock.response import chern_number
>>> from dock.structures import haldane
>>> chern_number(haldane(), (1, 2), points=8).chern
-1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dock.extras import lazy_names

if TYPE_CHECKING:
    from dock.response.berry import (
        BerryCurvature as BerryCurvature,
        berry_curvature as berry_curvature,
    )
    from dock.response.boltzmann import Transport as Transport, transport as transport
    from dock.response.chern import (
        ChernNumber as ChernNumber,
        chern_number as chern_number,
        chirality as chirality,
    )
    from dock.response.effective_mass import Masses as Masses, masses as masses
    from dock.response.fermi_surfaces import (
        FermiSurface as FermiSurface,
        fermi_surface as fermi_surface,
    )
    from dock.response.hall import AnomalousHall as AnomalousHall, anomalous_hall as anomalous_hall
    from dock.response.optical_spectrum import (
        OpticalSpectrum as OpticalSpectrum,
        kramers_kronig as kramers_kronig,
        optics as optics,
    )
    from dock.response.polarisation import (
        Polarization as Polarization,
        polarization as polarization,
    )
    from dock.response.second_order import (
        NonlinearSpectrum as NonlinearSpectrum,
        nonlinear_optics as nonlinear_optics,
    )
    from dock.response.spin import SpinTexture as SpinTexture, spin_texture as spin_texture
    from dock.response.velocity import Velocities as Velocities, velocities as velocities
    from dock.response.wilson import (
        WilsonLoops as WilsonLoops,
        wilson_loop as wilson_loop,
        z2_indices as z2_indices,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "dock.response.boltzmann": "Transport transport",
        "dock.response.effective_mass": "Masses masses",
        "dock.response.fermi_surfaces": "FermiSurface fermi_surface",
        "dock.response.spin": "SpinTexture spin_texture",
        "dock.response.velocity": "Velocities velocities",
        "dock.response.second_order": "NonlinearSpectrum nonlinear_optics",
        "dock.response.optical_spectrum": "OpticalSpectrum kramers_kronig optics",
        "dock.response.berry": "BerryCurvature berry_curvature",
        "dock.response.chern": "ChernNumber chern_number chirality",
        "dock.response.hall": "AnomalousHall anomalous_hall",
        "dock.response.polarisation": "Polarization polarization",
        "dock.response.wilson": "WilsonLoops wilson_loop z2_indices",
    },
)
