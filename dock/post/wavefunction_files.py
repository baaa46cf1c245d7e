"""wavefunction.h5, and wavefunctions on a grid as HDF5, cube and xsf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.core.spin import Spin
from dock.grid.cube_xsf import write_cube, write_xsf
from dock.io.files import atomic_path, write_text
from dock.post.grid_files import require_grid_name
from dock.post.wavefunction import Coefficients, GridStates
from dock.units import CODATA2018

__all__ = ["save_coefficients", "save_states", "state_names"]

_BOHR = CODATA2018.bohr_angstrom


def save_coefficients(result: Coefficients, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write ``kpts``, ``kgrid``, ``wfnao`` (N_k, N_band, N_orb), ``el``, ``efermi``; return both.

    Collinear spin has its channels one behind another on the axis of bands, each in the
    (N_orb × 2) layout of spinors, so that a reader of spinful folders finds what it expects; the
    dataset ``spin_channel`` tells them apart.
    """
    import h5py

    n_spin, n_k, n_states, size = result.vectors.shape
    vectors = result.vectors.transpose(1, 0, 2, 3).reshape(n_k, n_spin * n_states, size)
    energies = result.energies.transpose(1, 0, 2).reshape(n_k, -1)
    channel = np.repeat(np.arange(n_spin), n_states)
    if result.spin is Spin.COLLINEAR:
        doubled = np.zeros((*vectors.shape[:2], 2 * size), dtype=vectors.dtype)
        doubled[:, channel == 0, :size] = vectors[:, channel == 0]
        doubled[:, channel == 1, size:] = vectors[:, channel == 1]
        vectors = doubled
    level = np.nan if result.fermi_level is None else result.fermi_level
    with atomic_path(path, overwrite=overwrite) as temporary, h5py.File(temporary, "w") as file:
        file["kpts"] = result.kpoints
        file["kgrid"] = np.array(result.size or (0, 0, 0), dtype=np.int64)
        file["wfnao"] = vectors
        file["el"] = energies
        file["efermi"] = level
        file["bands"] = np.tile(result.bands, n_spin)
        file["spin_channel"] = channel
        file.attrs["spin"] = result.spin.value
        file.attrs["unit"] = "el, efermi: eV, absolute"
        file.attrs["phase"] = "psi = sum_R exp(+2 pi i k.R) sum_j c_j phi_j(r - tau_j - R)"
        file.attrs["written_by"] = f"dock {__version__}"
    text = path.with_suffix(".json")
    content = {
        "written_by": f"dock {__version__}",
        "formula": result.structure.formula,
        "spin": result.spin.value,
        "fermi_energy_eV": result.fermi_level,
        "kpoints_frac": result.kpoints.tolist(),
        "bands": (result.bands + 1).tolist(),
        "energies_eV": result.energies.tolist(),
    }
    write_text(text, json.dumps(content) + "\n", overwrite=overwrite)
    return [path, text]


def state_names(result: GridStates) -> list[str]:
    """Return a short name of each state: ``band5``, ``band5_up``."""
    collinear = bool(result.channels.max(initial=0))
    names = []
    for band, channel in zip(result.bands, result.channels, strict=True):
        names.append(f"band{band + 1}{('_up', '_down')[channel] if collinear else ''}")
    return names


def save_states(result: GridStates, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write wavefunctions in the format that the name's ending says, and a JSON file."""
    require_grid_name(path)
    structure = result.grid.structure
    names = state_names(result)
    suffix = path.suffix.lower()
    written = [path]
    if suffix == ".h5":
        _save_hdf5(result, path, overwrite=overwrite)
    elif suffix == ".xsf":
        fields = {
            f"{name}_{kind}": values
            for number, name in enumerate(names)
            for kind, values in _real_fields(result, number).items()
        }
        write_xsf(path, structure, fields, overwrite=overwrite)
    else:
        written = []
        for number, name in enumerate(names):
            for kind, values in _real_fields(result, number).items():
                target = path.with_stem(f"{path.stem}_{name}_{kind}")
                power = 3 if kind == "density" else 1.5
                comment = f"{structure.formula} {name} {kind} at k {result.k_frac.tolist()}"
                write_cube(
                    target, structure, values * _BOHR**power, comment=comment, overwrite=overwrite
                )
                written.append(target)
    text = path.with_suffix(".json")
    write_text(text, json.dumps(_facts(result)) + "\n", overwrite=overwrite)
    return [*written, text]


def _real_fields(result: GridStates, number: int) -> dict[str, NDArray[np.float64]]:
    """Return the real functions that show one state."""
    values = result.values[number]
    peak = values.ravel()[np.abs(values).argmax()]
    turned = values * (np.abs(peak) / peak if peak != 0 else 1.0)
    fields: dict[str, NDArray[np.float64]] = {}
    for part, component in enumerate(turned):
        spin = ("_up", "_down")[part] if len(turned) == 2 else ""
        fields[f"real{spin}"] = np.ascontiguousarray(component.real)
        if np.abs(component.imag).max() > 1e-9 * np.abs(peak):
            fields[f"imag{spin}"] = np.ascontiguousarray(component.imag)
    fields["density"] = result.density(number)
    return fields


def _save_hdf5(result: GridStates, path: Path, *, overwrite: bool) -> None:
    import h5py

    with atomic_path(path, overwrite=overwrite) as temporary, h5py.File(temporary, "w") as file:
        file["shape"] = np.array(result.grid.shape, dtype=np.int64)
        file["cell"] = result.grid.structure.cell
        file["k_frac"] = result.k_frac
        file["values"] = result.values
        file["energy"] = result.energies
        file["band"] = result.bands
        file["spin_channel"] = result.channels
        file["norm"] = result.norms
        file.attrs["function"] = "u" if result.periodic else "psi"
        file.attrs["unit"] = "angstrom^(-3/2)"
        file.attrs["written_by"] = f"dock {__version__}"


def _facts(result: GridStates) -> dict[str, Any]:
    return {
        "written_by": f"dock {__version__}",
        "function": "u" if result.periodic else "psi",
        "formula": result.grid.structure.formula,
        "shape": list(result.grid.shape),
        "k_frac": result.k_frac.tolist(),
        "states": state_names(result),
        "energies_eV": result.energies.tolist(),
        "fermi_energy_eV": result.fermi_level,
        "norms": result.norms.tolist(),
    }
