"""dos.h5 in the DeepH layout, with a JSON file of the same content beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dock._version import __version__
from dock.io.files import write_text
from dock.io.hdf5 import new_hdf5
from dock.post.density_of_states import DensityOfStates

__all__ = ["save", "to_dict"]


def save(result: DensityOfStates, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write ``path`` (HDF5) and the JSON file of the same name; return both.

    ``energy`` is relative to the Fermi level, ``dos_data`` in states/eV/cell with all spins.
    ``dos_up`` and ``dos_down`` are there for collinear spin; ``projections`` (n_spin, n_names, n)
    and ``projection_names`` where projections were asked for.

    Raises
    ------
    OutputError
        When a file exists or cannot be written.
    """
    import h5py

    with new_hdf5(path, overwrite=overwrite) as file:
        file["energy"] = result.energies - result.fermi_level
        file["dos_data"] = result.total.sum(axis=0)
        file["fermi_energy_before_shift"] = np.float64(result.fermi_level)
        if len(result.total) == 2:
            file["dos_up"], file["dos_down"] = result.total
        if result.names:
            file["projections"] = result.projected
            file.create_dataset(
                "projection_names", data=list(result.names), dtype=h5py.string_dtype()
            )
        for name, value in _facts(result).items():
            file.attrs[name] = value
        file.attrs["written_by"] = f"dock {__version__}"
    json_path = path.with_suffix(".json")
    write_text(json_path, json.dumps(to_dict(result)) + "\n", overwrite=overwrite)
    return [path, json_path]


def to_dict(result: DensityOfStates, *, values: bool = True) -> dict[str, Any]:
    """Return the result as plain Python data."""
    content: dict[str, Any] = {
        "formula": result.structure.formula,
        **_facts(result),
        "projection_names": list(result.names),
        "emin_eV": float(result.energies[0] - result.fermi_level),
        "emax_eV": float(result.energies[-1] - result.fermi_level),
        "n_energies": len(result.energies),
    }
    if values:
        content["energy_eV"] = (result.energies - result.fermi_level).tolist()
        content["dos"] = result.total.tolist()
        content["projections"] = result.projected.tolist()
    return content


def _facts(result: DensityOfStates) -> dict[str, Any]:
    return {
        "spin": result.spin.value,
        "fermi_energy_eV": result.fermi_level,
        "n_electrons": result.n_electrons,
        "integral_to_fermi_level": result.counted,
        "integral_over_energies": result.covered,
        "capacity": result.capacity,
        "kind": result.kind,
        "method": result.method,
        "step_eV": result.step,
        "kmesh": list(result.mesh.size),
        "n_irreducible": result.mesh.n_points,
    }
