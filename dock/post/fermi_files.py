"""fermi_energy.json and eigval.h5 in the DeepH layout; eigenvalues kept under a fingerprint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from dock._version import __version__
from dock.core.calculation import Calculation
from dock.errors import DockError
from dock.io.files import write_text
from dock.io.hdf5 import new_hdf5, open_hdf5
from dock.post.fermi import FermiResult
from dock.states.gap import Edge
from dock.states.kmesh import KMesh
from dock.states.problem import Problem
from dock.states.spectrum import Spectrum

__all__ = ["holds", "load_spectrum", "save", "save_spectrum", "to_dict"]


def save(result: FermiResult, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the JSON file and ``eigval.h5`` beside it; return both.

    An ``eigval.h5`` that holds these very eigenvalues already is left as it is.

    Raises
    ------
    OutputError
        When a file exists or cannot be written.
    """
    eigenvalues = path.with_name("eigval.h5")
    if not holds(eigenvalues, result.spectrum.fingerprint):
        save_spectrum(result.spectrum, eigenvalues, overwrite=overwrite)
    write_text(path, json.dumps(to_dict(result)) + "\n", overwrite=overwrite)
    return [path, eigenvalues]


def save_spectrum(spectrum: Spectrum, path: Path, *, overwrite: bool = False) -> Path:
    """Write eigenvalues on the whole mesh: ``kmesh``, ``kpoints``, ``eigval_data`` (N_k, N_band).

    ``eigval_data`` merges and sorts the spin channels at each k-point, as the doubled
    eigenproblem of a spinful folder does. The group ``irreducible`` has what was computed, one
    row per spin channel, and the fingerprint under which it may be used again.
    """
    mesh = spectrum.mesh
    merged = np.sort(spectrum.energies.transpose(1, 0, 2).reshape(mesh.n_points, -1), axis=1)
    with new_hdf5(path, overwrite=overwrite) as file:
        file["kmesh"] = np.array(mesh.size, dtype=np.int64)
        file["kpoints"] = mesh.full_points
        file["eigval_data"] = merged[mesh.index]
        group = file.create_group("irreducible")
        group["energies"] = spectrum.energies
        group["points"] = mesh.points
        group["weights"] = mesh.weights
        group["index"] = mesh.index
        file.attrs["fingerprint"] = spectrum.fingerprint
        file.attrs["spin"] = spectrum.spin.value
        file.attrs["n_removed"] = spectrum.n_removed
        file.attrs["unit"] = "eV, absolute"
        file.attrs["written_by"] = f"dock {__version__}"
    return path


def load_spectrum(
    calc: Calculation, mesh: KMesh, path: Path, *, s_threshold: float | None = None
) -> Spectrum | None:
    """Return the eigenvalues of a file that carries this calculation's fingerprint, else None.

    A file that is stale, of another mesh, cut, or no file of this kind is passed over: it holds
    nothing that cannot be computed again.
    """
    mark = Problem.of(calc).fingerprint(mesh, s_threshold=s_threshold)
    if not holds(path, mark):
        return None
    try:
        with open_hdf5(path, "Compute it again.") as file:
            energies = np.asarray(file["irreducible/energies"], dtype=np.float64)
            removed = int(file.attrs["n_removed"])
    except DockError:
        return None
    if energies.ndim != 3 or energies.shape[:2] != (calc.spin.n_channels, mesh.n_points):
        return None
    energies.flags.writeable = False
    return Spectrum(calc.structure, calc.spin, mesh, energies, mark, removed)


def holds(path: Path, mark: str) -> bool:
    """Say whether a file exists and carries a fingerprint."""
    try:
        with open_hdf5(path, "Compute it again.") as file:
            return bool(file.attrs.get("fingerprint") == mark)
    except DockError:
        return False


def to_dict(result: FermiResult) -> dict[str, Any]:
    """Return the result as plain Python data."""
    spectrum, gap = result.spectrum, result.gap
    mesh = spectrum.mesh
    symmetry = mesh.symmetry
    return {
        "fermi_energy_eV": result.level,
        "n_electrons": result.n_electrons,
        "counted_electrons": result.counted,
        "method": result.method_name,
        "kind": gap.kind,
        "gap_eV": gap.size,
        "direct_gap_eV": gap.direct,
        "vbm": _edge(gap.vbm),
        "cbm": _edge(gap.cbm),
        "band_energy_eV": result.band_energy,
        "entropy_energy_eV": result.entropy_energy,
        "spin_moment_muB": result.spin_moment,
        "formula": spectrum.structure.formula,
        "spin": spectrum.spin.value,
        "kmesh": list(mesh.size),
        "kmesh_shift": list(mesh.shift),
        "n_kpoints": mesh.n_full,
        "n_irreducible": mesh.n_points,
        "n_symmetries": 1 if symmetry is None else len(symmetry.operations),
        "symmetry_error_eV": 0.0 if symmetry is None else symmetry.largest_error,
        "n_bands": int(spectrum.energies.shape[2]),
        "n_removed_states": spectrum.n_removed,
        "fingerprint": spectrum.fingerprint,
    }


def _edge(edge: Edge | None) -> dict[str, Any] | None:
    if edge is None:
        return None
    return {
        "energy_eV": edge.energy,
        "k_frac": list(edge.k_frac),
        "band": edge.band,
        "spin": edge.spin,
    }
