"""Plane waves in: the Hamiltonian of a pw.x run in a basis of atomic orbitals.

H = T + V_nl + V_loc, built in real space from the run's local potential, or from its charge density
alone, its pseudopotentials, and the radial functions of any code's basis.
"""

from __future__ import annotations

from dock.planewave.projection import Projection, Request, project
from dock.planewave.quality import BandQuality, compare_bands

__all__ = ["BandQuality", "Projection", "Request", "compare_bands", "project"]
