"""The unified folder of the DeepH format: see docs/format.md for the specification.

>>> calc = read("fixtures/unified/si")
>>> calc.structure.formula, calc.available[:2]
('Si2', ('overlap', 'hamiltonian'))
"""

from __future__ import annotations

from pathlib import Path

from dock.converters.deeph.beside import inputs_of
from dock.converters.deeph.check import check_folder
from dock.converters.deeph.folder import FILES, PREDICTION, read_folder
from dock.converters.deeph.writer import SETTINGS, write_folder
from dock.converters.format import Format

__all__ = ["FORMAT", "read", "write"]


def _detect(path: Path) -> Path | None:
    """Recognise a folder with info.json and POSCAR, or a matrix file in one."""
    folder = path
    if path.is_file():
        known = path.name in {*FILES.values(), PREDICTION} or (
            path.suffix == ".h5" and "hamiltonian" in path.name
        )
        if not known:
            return None
        folder = path.parent
    if (folder / "info.json").is_file() and (folder / "POSCAR").is_file():
        return path
    return None


_VERSIONS = "1.1, 1.0; the folders of DeepH-dock 0.9, HPRO, aimspy"
_NOTES = "POSCAR, info.json and one HDF5 file for each matrix."

FORMAT = (
    Format("deeph", "unified folder (DeepH format)", versions=_VERSIONS, notes=_NOTES, carries=True)
    .reading(tuple(FILES), read_folder, _detect, inputs=inputs_of, check=check_folder)
    .writing(tuple(FILES), write_folder, SETTINGS)
)

read, write = FORMAT.load, FORMAT.save
