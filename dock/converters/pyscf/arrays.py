"""A file of plain arrays in PySCF's order, for runs on machines without `dock`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.format import WriteOptions
from dock.converters.origin import in_source_order
from dock.converters.pyscf.native import (
    bloch_matrices,
    density_from_hamiltonian,
    density_on_mesh,
)
from dock.core.calculation import Calculation
from dock.core.density import require_density
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
    calc = in_source_order(calc)
    structure = calc.structure
    crystal = any(structure.pbc)
    why = "A crystal's arrays need the k-points of the PySCF run."
    mesh = options.require_counts("mesh", why) if crystal else (1, 1, 1)
    # as ``cell.make_kpts`` orders them, last axis fastest
    k_frac = np.indices(mesh).reshape(3, -1).T / np.array(mesh)
    names = [name for name in options.quantities or () if name in _NAMES]
    arrays: dict[str, NDArray[Any]] = {
        "atoms": np.array(structure.symbols),
        "positions_bohr": structure.positions / PYSCF.bohr_angstrom,
        "cell_bohr": structure.cell / PYSCF.bohr_angstrom,
        "k_frac": k_frac,
    }
    matrices: dict[str, NDArray[Any]] = {}
    if "density_matrix" in names:
        require_density(calc)
    for name in names:
        bloch_of = density_on_mesh if name == "density_matrix" else bloch_matrices
        matrices[_NAMES[name]] = bloch_of(calc.require(name), k_frac)
    solvable = "overlap" in calc.available and calc.n_electrons is not None
    if "hamiltonian" in names and solvable and "density_matrix" not in matrices:
        matrices["density_matrix"] = density_from_hamiltonian(calc, k_frac)
    if crystal:
        arrays["mesh"] = np.array(mesh)
        arrays |= matrices
    else:
        arrays |= {name: bloch[..., 0, :, :] for name, bloch in matrices.items()}
    path, text = folder / "pyscf.npz", folder / "PYSCF.txt"
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for allow_pickle
    text.write_text(_HOW, encoding="utf-8")
    return [path, text]
