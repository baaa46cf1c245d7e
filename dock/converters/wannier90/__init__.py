"""Exit to Wannier90's files: an orthogonalised Hamiltonian, or H and S as a pair."""

from __future__ import annotations

from dock.converters.format import Format
from dock.converters.wannier90.writer import SETTINGS, write_calculation

__all__ = ["FORMAT", "write"]

_VERSIONS = "files of Wannier90 2.x and 3.x"
_NOTES = "Atomic orbitals are orthogonalised; the setting orthogonal=no writes H and S as a pair."

FORMAT = Format(
    "wannier90", "Wannier90 hr.dat and tb.dat", versions=_VERSIONS, notes=_NOTES
).writing(("overlap", "hamiltonian"), write_calculation, SETTINGS)

write = FORMAT.save
