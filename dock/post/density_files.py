"""Density matrices and populations as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dock._version import __version__
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.io.files import write_text
from dock.io.hdf5 import new_hdf5
from dock.post.density_matrices import DensityMatrix
from dock.post.population import Populations

__all__ = ["populations_to_dict", "save", "save_populations", "to_dict"]

_SUM = {
    True: "both spins: Tr(rho S) is the number of electrons",
    False: "each spin part separately: Tr(rho_uu S) + Tr(rho_dd S) is the number of electrons",
}


def save(result: DensityMatrix, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write one file (a name that ends in .h5) or a complete unified folder (any other name).

    Raises
    ------
    OutputError
        When a file exists or cannot be written.
    """
    if path.suffix != ".h5":
        return _save_folder(result, path, overwrite=overwrite)
    written = [_save_matrix(result.density, path, overwrite=overwrite)]
    if result.energy_density is not None:
        beside = path.with_name("energy_" + path.name)
        written.append(_save_matrix(result.energy_density, beside, overwrite=overwrite))
    summary = path.with_suffix(".json")
    write_text(summary, json.dumps(to_dict(result)) + "\n", overwrite=overwrite)
    return [*written, summary]


def to_dict(result: DensityMatrix) -> dict[str, Any]:
    """Return the sums of a density matrix as plain Python data."""
    content: dict[str, Any] = {
        "formula": result.density.structure.formula,
        "spin": result.density.spin.value,
        "method": result.method,
        **result.settings,
        "fermi_energy_eV": result.fermi_level,
        "trace_rho_S": result.n_electrons,
        "band_energy_eV": result.band_energy,
        "kmesh": list(result.mesh.size),
        "n_irreducible": result.mesh.n_points,
        "n_pairs": len(result.density.pairs),
    }
    if result.energy_density is not None:
        overlap = result.calculation.require("overlap")
        content["trace_energy_density_S_eV"] = result.energy_density.dot(overlap)
    return content


def save_populations(result: Populations, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write HDF5 (``atoms``, ``orbitals`` and their quantum numbers) and JSON; return both.

    Raises
    ------
    OutputError
        When a file exists or cannot be written.
    """
    table = result.basis.table
    with new_hdf5(path, overwrite=overwrite) as file:
        file["atoms"] = np.column_stack([result.electrons, result.moments])
        file["orbitals"] = result.orbitals
        for name, values in table._asdict().items():
            file[f"orbital_{name}"] = values
        file.attrs["columns"] = "electrons, m_x, m_y, m_z (Bohr magnetons)"
        file.attrs["scheme"] = result.scheme
        file.attrs["spin"] = result.spin.value
        file.attrs["written_by"] = f"dock {__version__}"
    summary = path.with_suffix(".json")
    write_text(summary, json.dumps(populations_to_dict(result)) + "\n", overwrite=overwrite)
    return [path, summary]


def populations_to_dict(result: Populations) -> dict[str, Any]:
    """Return populations as plain Python data."""
    atoms = [
        {
            "atom": number,
            "species": label,
            "electrons": float(electrons),
            "moment_muB": moment.tolist(),
        }
        for number, (label, electrons, moment) in enumerate(
            zip(result.basis.labels, result.electrons, result.moments, strict=True), 1
        )
    ]
    shells = [
        {"atom": atom + 1, "shell": shell + 1, "l": l, "electrons": row[0], "moment_muB": row[1:]}
        for atom, shell, l, row in ((a, s, l, values.tolist()) for a, s, l, values in result.shells)
    ]
    return {
        "scheme": result.scheme,
        "formula": result.structure.formula,
        "spin": result.spin.value,
        "n_electrons": float(result.total[0]),
        "moment_muB": result.total[1:].tolist(),
        "atoms": atoms,
        "shells": shells,
    }


def _save_folder(result: DensityMatrix, path: Path, *, overwrite: bool) -> list[Path]:
    from dock.converters import write
    from dock.converters.format import WriteOptions

    names = ["hamiltonian", "overlap", "density_matrix"]
    if result.energy_density is not None:
        names.append("energy_density_matrix")
    options = WriteOptions(quantities=tuple(names), overwrite=overwrite)
    return write(result.completed(), path, "deeph", options)


def _save_matrix(matrix: AOMatrix, path: Path, *, overwrite: bool) -> Path:
    from dock.converters.deeph.blockfile import write_matrix

    attributes = {
        "quantity": matrix.quantity,
        "unit": matrix.facts.unit,
        "spin": matrix.spin.value,
        "spin_sum": _SUM[matrix.spin is Spin.NONE],
        "written_by": f"dock {__version__}",
    }
    write_matrix(path, matrix, attributes, overwrite=overwrite)
    return path
