"""OpenMX 3.9 and 3.8: reads and writes scfout files, writes restart files, reads ``.pao``.

>>> calc = read("fixtures/openmx/si")
>>> calc.basis.ls("Si")
(0, 0, 1)
"""

from __future__ import annotations

from pathlib import Path

from dock.converters.format import Format
from dock.converters.openmx.check import check_run
from dock.converters.openmx.reader import read_calculation
from dock.converters.openmx.writer import (
    RESTART_SETTINGS,
    SCFOUT_SETTINGS,
    write_calculation,
    write_restart_files,
)

__all__ = ["FORMAT", "RESTART", "read", "write", "write_restart"]


def _detect(path: Path) -> Path | None:
    """Recognise an scfout file, an input or output beside one, or a folder with one."""
    if path.is_dir():
        found = sorted(path.glob("*.scfout"))
        return found[0] if len(found) == 1 else (path if found else None)
    if path.suffix == ".scfout":
        return path
    beside = path.with_suffix(".scfout")
    return beside if path.suffix in {".dat", ".out"} and beside.is_file() else None


def _inputs(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.glob("*.scfout"))


_READS = ("overlap", "hamiltonian", "density_matrix", "position", "gradient")

FORMAT = Format(
    name="openmx",
    title="OpenMX scfout file",
    reads=_READS,
    writes=_READS,
    versions="reads 3.9 and 3.8, writes 3.9",
    detect=_detect,
    read=read_calculation,
    write=write_calculation,
    inputs=_inputs,
    check=check_run,
    settings=SCFOUT_SETTINGS,
    notes="Run OpenMX with 'HS.fileout on'; it writes <System.Name>.scfout.",
)

RESTART = Format(
    name="openmx-restart",
    title="OpenMX restart files (one-shot bands)",
    writes=("overlap", "hamiltonian", "density_matrix"),
    versions="3.9",
    write=write_restart_files,
    settings=RESTART_SETTINGS,
    notes="OpenMX then diagonalises this Hamiltonian once; RESTART.txt says how.",
)

read, write = FORMAT.load, FORMAT.save
write_restart = RESTART.save
