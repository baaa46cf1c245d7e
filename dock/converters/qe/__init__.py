"""Quantum ESPRESSO (pw.x): structure, levels and charge density, both ways.

pw.x has plane waves and no orbitals, so there is no ``Calculation`` to read: `read_run` gives a
`PlaneWaveRun`, `to_folder` writes what it has beside other folders of the unified format, and
`to_save` brings a charge density back. Both are the transfers of `FORMAT` and `FOLDER`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from dock.converters.format import Format, ReadOptions, Settings, WriteOptions
from dock.converters.qe.charge_density_dat import read_density
from dock.converters.qe.charge_density_h5 import GridDensity, read_grid, write_grid
from dock.converters.qe.data_file_schema import PlaneWaveRun, find_save, read_run
from dock.converters.qe.density import PlaneWaveDensity, from_grid, to_grid
from dock.converters.qe.folder import (
    describe_folder,
    fill_folder,
    find_folder,
    folder_files,
    to_folder,
    unsound_folder,
)
from dock.converters.qe.save import describe_run, fill_save, require_cutoff, save_files, to_save
from dock.converters.registry import read as read_any
from dock.core.calculation import Calculation
from dock.errors import MissingDataError

__all__ = [
    "FOLDER",
    "FORMAT",
    "GridDensity",
    "PlaneWaveDensity",
    "PlaneWaveRun",
    "from_grid",
    "read",
    "read_density",
    "read_grid",
    "read_run",
    "to_folder",
    "to_grid",
    "to_save",
    "write_grid",
]


def read(
    path: str | Path, *, basis: str | Path | None = None, settings: Settings = None
) -> Calculation:
    """Project a pw.x run onto the orbitals of a folder of basis files.

    `path` is the ``.save`` folder or the run's folder; the settings are those of ``qe-orbitals``.

    Raises
    ------
    MissingDataError
        When no basis is given; `read_run` then reads what there is.
    """
    return read_any(path, "qe", basis=basis, settings=settings)


def _read(path: Path, options: ReadOptions) -> NoReturn:  # noqa: ARG001
    """Say what a plane-wave run has instead of matrices."""
    raise MissingDataError(
        "a Hamiltonian in atomic orbitals",
        path,
        "pw.x has plane waves and no orbital basis: pass one as basis=DIR and it is projected. "
        "Without, dock convert takes structure, levels and charge density to a folder, and a "
        "density back into a .save folder (target='qe').",
    )


def _to_folder(path: Path, folder: Path, options: WriteOptions) -> list[Path]:  # noqa: ARG001
    return fill_folder(path, folder)


def _to_save(path: Path, folder: Path, options: WriteOptions) -> list[Path]:
    like = options.settings.get("like") or None
    cutoff = require_cutoff(options.settings.get("ecutrho_hartree"))
    return fill_save(path, folder, like=like, ecutrho_hartree=cutoff)


FORMAT = Format(
    "qe",
    "Quantum ESPRESSO .save folder",
    versions="6.7 to 7.5 (tested: 6.7, 7.1, and the XML of 7.5)",
    transfers={"deeph": _to_folder},
    describe=describe_run,
    unsound=lambda path: read_run(path).unsound,
    with_basis="qe-orbitals",
    settings={
        "like": ".save folder of a run with the same cell and cut-off, for its order of G and XML",
        "ecutrho_hartree": "cut-off of the density, where neither `like` nor the file says it",
    },
    notes="pw.x writes <outdir>/<prefix>.save with data-file-schema.xml and charge-density.*. It "
    "has no matrices: structure, levels and charge density are converted. With a folder of basis "
    "files the Hamiltonian is projected onto atomic orbitals, see qe-orbitals.",
).reading((), _read, find_save, inputs=save_files)

FOLDER = Format(
    "qe-folder",
    "structure, levels and charge density of a plane-wave run",
    versions="1.0",
    transfers={"qe": _to_save},
    describe=describe_folder,
    unsound=unsound_folder,
    notes="What dock makes of a .save folder; or any unified folder with charge_density.h5, when "
    "its format is named.",
).reading((), _read, find_folder, inputs=folder_files)
