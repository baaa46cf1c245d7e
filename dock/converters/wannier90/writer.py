"""From a Calculation to Wannier90's files: an orthogonalised Hamiltonian, or H and S as a pair."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dock._version import __version__
from dock.converters.format import WriteOptions
from dock.converters.wannier90.hr_dat import write_hr, write_tb
from dock.converters.wannier90.lowdin import Deviation, converged, deviation, orthogonalised
from dock.converters.wannier90.win import write_centres, write_win
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.io.files import write_text
from dock.io.text import json_text

__all__ = ["SETTINGS", "write_calculation"]

SETTINGS: Mapping[str, str] = {
    "orthogonal": "yes: Löwdin-orthogonalised H (default); no: H and S as a pair",
    "mesh": "n1,n2,n3: k-mesh of the orthogonalisation (default: fine enough for the tolerance)",
    "tolerance": "largest error in eV of the bands below the Fermi level (default 0.01)",
    "name": "seed name of the files (default dock)",
    "tb": "yes or no: write _tb.dat as well (default no)",
}
_log = logging.getLogger("dock")


def write_calculation(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write ``<name>_hr.dat`` and its companions.

    With ``orthogonal=yes`` the Hamiltonian is orthogonalised after Löwdin on a k-mesh; the error of
    its bands between the mesh points is measured and stands in ``<name>_dock.json``. With
    ``orthogonal=no`` the overlap stands in ``<name>_sr.dat``, in the layout of ``_hr.dat``. A
    collinear calculation gives two sets, ``<name>_up`` and ``<name>_down``; spinors have all up
    orbitals first. Energies are absolute, in eV. Wannier centres are put at the atoms.

    A `dock.converters.format.Writer`; it needs Hamiltonian and overlap and uses the settings of
    `SETTINGS`.

    Raises
    ------
    MissingDataError
        When Hamiltonian or overlap is missing.
    SolverError
        When S(k) has no inverse root.
    """
    orthogonal = options.choice("orthogonal", ("yes", "no"), "yes") == "yes"
    name = options.settings.get("name", "dock")
    hamiltonian = calc.require("hamiltonian", "Wannier90's files are made around it.")
    overlap = calc.require("overlap", "Atomic orbitals are not orthogonal.")
    doubled = calc.spin is Spin.NONCOLLINEAR
    error, mesh = None, None
    if orthogonal:
        matrix, mesh, error = _orthogonalise(hamiltonian, overlap, calc.fermi_level, options)
    else:
        matrix, overlap = hamiltonian.aligned(overlap)
    seeds = [f"{name}_up", f"{name}_down"] if calc.spin is Spin.COLLINEAR else [name]
    for component, seed in enumerate(seeds):
        write_hr(folder / f"{seed}_hr.dat", matrix, component, doubled=doubled)
        if options.choice("tb", ("yes", "no"), "no") == "yes":
            write_tb(folder / f"{seed}_tb.dat", matrix, component, doubled=doubled)
        write_centres(folder / f"{seed}_centres.xyz", calc.structure, calc.basis, doubled=doubled)
        write_win(folder / f"{seed}.win", matrix, mesh, doubled=doubled)
    if not orthogonal:
        write_hr(folder / f"{name}_sr.dat", overlap, 0, doubled=doubled)
    facts = _facts(calc, matrix, error, mesh)
    write_text(folder / f"{name}_dock.json", json_text(facts) + "\n")
    return sorted(folder.iterdir())


def _facts(
    calc: Calculation, matrix: AOMatrix, error: Deviation | None, mesh: tuple[int, ...] | None
) -> dict[str, Any]:
    """Return what the files of Wannier90 have no place for."""
    table = calc.basis.table
    facts: dict[str, Any] = {
        "written_by": f"dock {__version__}",
        "orthogonal": error is not None,
        "spin": calc.spin.value,
        "fermi_level_eV": calc.fermi_level,
        "n_electrons": calc.n_electrons,
        "n_lattice_vectors": len(matrix.pairs.lattice_vectors),
        "centres": "at the atoms (an approximation)",
        "orbitals": {key: getattr(table, key).tolist() for key in table._fields},
    }
    if error is not None:
        facts["mesh"] = mesh
        facts["band_error_eV"] = error.all_bands
        facts["band_error_below_fermi_eV"] = error.occupied
    return facts


def _orthogonalise(
    hamiltonian: AOMatrix, overlap: AOMatrix, fermi_level: float | None, options: WriteOptions
) -> tuple[AOMatrix, tuple[int, int, int], Deviation]:
    """Orthogonalise on the mesh that was asked for, or on one that is fine enough."""
    tolerance = _positive(options.settings.get("tolerance", "0.01"))
    mesh = options.counts("mesh")
    if mesh is None:
        matrix, mesh, error = converged(hamiltonian, overlap, fermi_level, tolerance)
    else:
        matrix = orthogonalised(hamiltonian, overlap, mesh)
        error = deviation(matrix, hamiltonian, overlap, fermi_level)
    text = "" if error.occupied is None else f", {error.occupied:.1e} eV below the Fermi level"
    _log.log(
        logging.WARNING if error.judged > tolerance else logging.INFO,
        "Wannier90: on the %d×%d×%d mesh the orthogonalised bands are off by up to %.1e eV%s.",
        *mesh,
        error.all_bands,
        text,
    )
    return matrix, mesh, error


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 100:
        raise UsageError(f"the setting tolerance is an energy in eV, found '{text}'.")
    return value
