"""OpenMX 3.9 and 3.8: reads and writes scfout files, writes restart files, reads ``.pao``.

>>> calc = read("fixtures/openmx/si")
>>> calc.basis.ls("Si")
(0, 0, 1)
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from dock.converters.format import Format
from dock.converters.openmx.check import check_run
from dock.converters.openmx.reader import read_calculation
from dock.converters.openmx.user_run import RESTART as OF_USER
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
        files = sorted(path.glob("*.scfout"))
        return files[0] if len(files) == 1 else (path if files else None)
    if path.suffix == ".scfout":
        return path
    beside = path.with_suffix(".scfout")
    return beside if path.suffix in {".dat", ".out"} and beside.is_file() else None


def _has_traces(folder: Path) -> bool:
    """Say whether a folder holds a run of OpenMX, or its input, whatever matrices it has."""
    if not folder.is_dir():
        return False
    for pattern, mark in (("*.out", b"openmx"), ("*.dat", b"<atoms.speciesandcoordinates")):
        for file in sorted(folder.glob(pattern))[:_LOOKED_INTO]:
            with contextlib.suppress(OSError), file.open("rb") as stream:
                if mark in stream.read(_HEAD).lower():
                    return True
    return False


def _inputs(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.glob("*.scfout"))


_LOOKED_INTO, _HEAD = 10, 2**16  # files of a folder, and bytes of each

_MATRICES = ("overlap", "hamiltonian", "density_matrix", "position", "gradient")

_VERSIONS = "reads 3.9 and 3.8, writes 3.9"
_NOTES = "Run OpenMX with 'HS.fileout on'; it writes <System.Name>.scfout."

FORMAT = (
    Format(
        "openmx",
        "OpenMX scfout file",
        versions=_VERSIONS,
        notes=_NOTES,
        restart=OF_USER,
        holds_level=True,
    )
    .reading(
        _MATRICES, read_calculation, _detect, inputs=_inputs, check=check_run, traces=_has_traces
    )
    .writing(_MATRICES, write_calculation, SCFOUT_SETTINGS, completes=("position", "gradient"))
)

RESTART = Format(
    "openmx-restart",
    "OpenMX restart files (one-shot bands)",
    versions="3.9",
    notes="OpenMX then diagonalises this Hamiltonian once; RESTART.txt says how.",
).writing(("overlap", "hamiltonian", "density_matrix"), write_restart_files, RESTART_SETTINGS)

read, write = FORMAT.load, FORMAT.save
write_restart = RESTART.save
