"""Quantum ESPRESSO (pw.x): structure, levels and charge density, both ways.

pw.x has plane waves and no orbitals, so there is no ``Calculation`` to read: `read_run` gives a
`PlaneWaveRun`, `to_folder` writes what it has beside other folders of the unified format, and
`to_save` brings a charge density back.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from dock.converters._format import Format, ReadOptions
from dock.converters.qe.convert import from_grid, to_folder, to_grid, to_save
from dock.converters.qe.density import PlaneWaveDensity
from dock.converters.qe.densityfile import read_density
from dock.converters.qe.gridfile import GridDensity, read_grid, write_grid
from dock.converters.qe.xmlfile import PlaneWaveRun, find_save, read_run
from dock.errors import MissingDataError

__all__ = [
    "FORMAT",
    "GridDensity",
    "PlaneWaveDensity",
    "PlaneWaveRun",
    "from_grid",
    "read_density",
    "read_grid",
    "read_run",
    "to_folder",
    "to_grid",
    "to_save",
    "write_grid",
]


def _read(path: Path, options: ReadOptions) -> NoReturn:  # noqa: ARG001
    """Say what a plane-wave run has instead of matrices."""
    raise MissingDataError(
        "a Hamiltonian in atomic orbitals",
        path,
        "pw.x has plane waves and no orbital basis. Its structure, levels and charge density are "
        "converted by dock.converters.qe.to_folder.",
    )


FORMAT = Format(
    name="qe",
    title="Quantum ESPRESSO .save folder",
    versions="6.7 and 7.1",
    detect=find_save,
    read=_read,
    notes="pw.x writes <outdir>/<prefix>.save with data-file-schema.xml and charge-density.*.",
)
