"""PySCF, both ways: live objects and checkpoint files in; matrices and initial densities out."""

from __future__ import annotations

from dock.converters.format import Format
from dock.converters.pyscf.arrays import SETTINGS, write_arrays
from dock.converters.pyscf.chkfile import detect_chkfile, read_chkfile
from dock.converters.pyscf.native import initial_density, to_pyscf
from dock.converters.pyscf.scf import band_error, from_scf

__all__ = ["FORMAT", "band_error", "from_scf", "initial_density", "read", "to_pyscf", "write"]

_MATRICES = ("overlap", "hamiltonian", "density_matrix")

_VERSIONS = "2.x"
_NOTES = "Set mf.chkfile = 'run.chk' before mf.run(); live objects: from_scf(mf)."

FORMAT = (
    Format("pyscf", "PySCF checkpoint file", versions=_VERSIONS, notes=_NOTES)
    .reading((*_MATRICES, "kinetic", "position"), read_chkfile, detect_chkfile)
    .writing(_MATRICES, write_arrays, SETTINGS)
)

read, write = FORMAT.load, FORMAT.save
