"""A file of plain arrays in PySCF's order, for runs on machines without `dock`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.format import WriteOptions
from dock.converters.pyscf.basis import to_pyscf_order
from dock.converters.pyscf.native import density_from_hamiltonian, density_on_mesh
from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.units import PYSCF

__all__ = ["SETTINGS", "write_arrays"]

SETTINGS = {"mesh": "k-points of the run to start: n1,n2,n3 (Gamma-centred), for crystals"}
_NAMES = {"overlap": "overlap", "hamiltonian": "fock", "density_matrix": "density_matrix"}
_HOW = """\
# Arrays in PySCF's order of orbitals, Hartree and Bohr; atoms in the order of `atoms`.
#   data = numpy.load("pyscf.npz")
#   mf.kernel(dm0=data["density_matrix"])
# For crystals the arrays have an axis of k-points, those of cell.make_kpts(data["mesh"]).
"""


def write_arrays(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write ``pyscf.npz`` with overlap, Fock matrix and density matrix, and how to use it.

    A density matrix that is not there is made from Hamiltonian, overlap and the number of
    electrons, so that a predicted Hamiltonian gives an initial guess.

    A `dock.converters.format.Writer`; it uses ``quantities`` and the setting ``mesh``.
    """
    structure = calc.structure
    crystal = any(structure.pbc)
    k_frac = _mesh_points(options, crystal=crystal)
    names = [name for name in options.quantities or () if name in _NAMES]
    arrays: dict[str, NDArray[Any]] = {
        "atoms": np.array(structure.symbols),
        "positions_bohr": structure.positions / PYSCF.bohr_angstrom,
        "cell_bohr": structure.cell / PYSCF.bohr_angstrom,
        "k_frac": k_frac,
    }
    if crystal:
        arrays["mesh"] = np.array([len(np.unique(k_frac[:, axis])) for axis in range(3)])
    for name in names:
        matrix = calc.require(name)
        if name == "density_matrix":
            bloch = density_on_mesh(matrix, k_frac)
        else:
            bloch = _bloch(matrix, k_frac)
        arrays[_NAMES[name]] = bloch if crystal else bloch[..., 0, :, :]
    if "hamiltonian" in names and "overlap" in calc.available and "density_matrix" not in arrays:
        density = density_from_hamiltonian(calc, k_frac) if calc.n_electrons is not None else None
        if density is not None:
            arrays["density_matrix"] = density if crystal else density[..., 0, :, :]
    path, text = folder / "pyscf.npz", folder / "PYSCF.txt"
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for allow_pickle
    text.write_text(_HOW, encoding="utf-8")
    return [path, text]


def _bloch(matrix: AOMatrix, k_frac: NDArray[np.float64]) -> NDArray[Any]:
    """Return a matrix at k-points in PySCF's order and unit."""
    builder = KBuilder(matrix)
    bloch = np.stack([np.asarray(builder.dense(k)) for k in k_frac], axis=-3)
    order = to_pyscf_order(matrix.basis)
    if bloch.shape[-1] == 2 * len(order):
        order = np.concatenate([order, order + len(order)])
    unit = PYSCF.hartree_ev if matrix.quantity == "hamiltonian" else 1.0
    result: NDArray[Any] = bloch[..., order[:, None], order[None, :]] / unit
    return result


def _mesh_points(options: WriteOptions, *, crystal: bool) -> NDArray[np.float64]:
    """Return the k-points of a mesh, last axis fastest, as ``cell.make_kpts`` orders them."""
    if not crystal:
        return np.zeros((1, 3))
    mesh = options.require_counts("mesh", "A crystal's arrays need the k-points of the PySCF run.")
    axes = [np.arange(size) / size for size in mesh]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
