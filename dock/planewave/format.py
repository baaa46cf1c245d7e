"""The door of the registry: a pw.x run, with a folder of basis files, is a `Calculation`."""

from __future__ import annotations

import logging
from pathlib import Path

from dock.converters.basis_files import (
    basis_for,
    basis_strings,
    detect_code,
    read_basis_folder,
)
from dock.converters.format import Format, ReadOptions
from dock.converters.qe import read_run
from dock.converters.qe.charge_density_dat import DAT, HDF5
from dock.converters.qe.data_file_schema import SCHEMA, find_save
from dock.core.calculation import Calculation
from dock.errors import MissingDataError, UsageError

__all__ = ["FORMAT"]

_log = logging.getLogger("dock")


def _read(path: Path, options: ReadOptions) -> Calculation:
    """Project a run onto the basis of a folder, and say how good that basis is."""
    import multiprocessing

    from dock.planewave.projection import Request, project

    settings = options.settings
    if options.basis is None:
        raise MissingDataError(
            "the folder of basis files",
            path,
            "Pass basis=DIR: .ion, .pao, .orb, or species_*.h5 and basis/El.h5 files.",
        )
    structure = read_run(path).structure
    strings = basis_strings(settings)
    if not strings and detect_code(options.basis) == "openmx":
        labels = dict.fromkeys(structure.labels)
        example = ",".join(f"{label}={label}7.0-s2p2d1" for label in labels)
        raise MissingDataError(
            "the choice of orbitals",
            options.basis,
            "A .pao file holds more than a basis takes: "
            f"settings={{'orbitals': '{example}'}}, or such.",
        )
    basis = basis_for(structure, read_basis_folder(options.basis, strings=strings))
    request = Request(
        potential=settings.get("potential", ""),
        pseudo=Path(settings["pseudo"]) if "pseudo" in settings else None,
        cutoff_rydberg=_cutoff(settings.get("cutoff")),
        quality=settings.get("quality", "auto"),
        # In a worker process of a batch one thread, else as many as there are CPUs.
        jobs=1 if multiprocessing.parent_process() is not None else None,
    )
    projection = project(path, basis, request)
    if projection.quality is not None:
        for sentence in (projection.quality, *projection.quality.doubts):
            _log.warning("%s: %s", path, sentence)
    return projection.calculation


def _cutoff(text: str | None) -> float | None:
    """Return the setting ``cutoff``: Ry, ``none`` as 0."""
    if text is None:
        return None
    if text.lower() == "none":
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise UsageError(f"the setting cutoff is an energy in Ry, or none; found '{text}'.")
    return value


def _inputs(path: Path) -> list[Path]:
    names = [path / SCHEMA, path / DAT, path / HDF5, path / "VSC", path.parent / "VSC"]
    return [file for file in names if file.is_file()]


FORMAT = Format(
    name="qe-orbitals",
    title="Quantum ESPRESSO run projected onto atomic orbitals",
    reads=("overlap", "hamiltonian"),
    versions="6.7 and 7.1",
    detect=find_save,
    read=_read,
    inputs=_inputs,
    read_settings={
        "potential": "density; vsc; or the path of pw2bgw.x's VSC (default: VSC if there is one)",
        "pseudo": "folder of pseudopotentials (default: the .save folder, the run's pseudo_dir)",
        "quality": "bands, wavefunctions (also the spillage), none, or auto (default)",
        "cutoff": "of the orbitals' waves in S, T and V_nl, Ry, or none (default: 1.1 ecutwfc)",
        "orbitals": "for OpenMX's .pao files: Ga=Ga7.0-s2p2d1,As=As7.0-s2p2d1",
    },
    notes="--from qe with --basis DIR means this one. Norm-conserving pseudopotentials; LDA, GGA. "
    "Without --basis the structure and the density of the run are converted.",
)
