"""Exit to Wannier90's files: an orthogonalised Hamiltonian, or H and S as a pair."""

from __future__ import annotations

from dock.converters.format import Format
from dock.converters.wannier90.writer import SETTINGS, write_calculation

__all__ = ["FORMAT", "write"]

FORMAT = Format(
    name="wannier90",
    title="Wannier90 hr.dat and tb.dat",
    writes=("overlap", "hamiltonian"),
    versions="files of Wannier90 2.x and 3.x",
    write=write_calculation,
    settings=SETTINGS,
    notes="Atomic orbitals are orthogonalised; the setting orthogonal=no writes H and S as a pair.",
)

write = FORMAT.save
