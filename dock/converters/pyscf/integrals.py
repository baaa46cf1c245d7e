"""One-electron integrals of PySCF in real space: overlap, kinetic energy, position.

They are computed between the home cell and each of its images, so a periodic overlap is exact at
every k, whatever the mesh of the run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.pyscf.basis import from_pyscf_order, is_periodic
from dock.core.arrays import IntArray
from dock.core.basis import Basis
from dock.core.interop import orbital_indices
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.extras import require
from dock.units import PYSCF

__all__ = ["HOME", "INTEGRALS", "all_pairs", "integral"]

INTEGRALS = {
    "overlap": ("int1e_ovlp", 1.0),
    "kinetic": ("int1e_kin", PYSCF.hartree_ev),
    "position": ("int1e_r", PYSCF.bohr_angstrom),
}
"""PySCF's name of each integral, and the factor to the units of `dock`."""

HOME = np.zeros((1, 3), dtype=np.int32)  # the lattice vector of a molecule's only cell
_NEGLIGIBLE = 1e-12  # blocks below this in overlap are not stored


def all_pairs(R: IntArray, n_atoms: int) -> Pairs:
    """Return all pairs of atoms for each of the (n, 3) lattice vectors."""
    first, second = np.divmod(np.tile(np.arange(n_atoms**2), len(R)), n_atoms)
    return Pairs(np.repeat(R, n_atoms**2, axis=0), first, second, n_atoms)


def integral(quantity: str, mol: Any, structure: Structure, basis: Basis) -> AOMatrix:
    """Return one operator of `INTEGRALS` on all pairs that overlap.

    `structure` and `basis` are what `dock.converters.pyscf.basis.atoms_of` made of the ``Mole`` or
    ``Cell``.
    """
    name, factor = INTEGRALS[quantity]
    order = from_pyscf_order(basis)
    if is_periodic(mol):
        R = _lattice_vectors(mol, structure)
        dense = _between_cells(name, mol, R @ structure.cell)
    else:
        R = HOME
        with mol.with_common_origin((0.0, 0.0, 0.0)):
            dense = np.asarray(mol.intor(name))[None]
    pairs = all_pairs(R, structure.n_atoms)
    dense = dense.reshape(len(dense), -1, *dense.shape[-2:])
    dense = dense[:, :, order[:, None], order[None, :]] * factor
    row, col = orbital_indices(basis, pairs)
    cell = np.repeat(np.arange(len(dense)), row.size // len(dense))
    entries = np.ascontiguousarray(dense[cell, :, row, col].T)
    matrix = AOMatrix(quantity, structure, basis, pairs, Spin.NONE, entries)
    return _without_far_pairs(matrix, mol, structure, basis) if is_periodic(mol) else matrix


def _without_far_pairs(matrix: AOMatrix, mol: Any, structure: Structure, basis: Basis) -> AOMatrix:
    """Drop the pairs whose overlap is negligible, the same ones for every integral."""
    if matrix.quantity == "overlap":
        return matrix.drop_small(_NEGLIGIBLE)
    kept = integral("overlap", mol, structure, basis).pairs
    return matrix.take_pairs(matrix.pairs.find(kept.R, kept.i, kept.j))


def _lattice_vectors(cell: Any, structure: Structure) -> NDArray[np.int32]:
    """Return the lattice vectors within PySCF's own cut-off radius, closed under inversion."""
    vectors = np.asarray(cell.get_lattice_Ls(rcut=cell.rcut)) * PYSCF.bohr_angstrom
    R = np.rint(np.linalg.solve(structure.cell.T, vectors.T).T).astype(np.int32)
    return np.unique(np.concatenate([R, -R]), axis=0)


def _between_cells(name: str, cell: Any, shifts: NDArray[Any]) -> NDArray[Any]:
    """Return ⟨i, 0|O|j, R⟩ of the molecule-like Gaussians of a cell and its images.

    The (n, 3) `shifts` are in Å; all images go to PySCF as one molecule, for which its integrals
    have a slice on the first axis.
    """
    gto = require("pyscf.gto", "pyscf")
    images, number = cell.copy(), np.arange(len(shifts))
    centres = cell.atom_coords() + shifts[:, None] / PYSCF.bohr_angstrom
    images._env = np.concatenate([cell._env, centres.ravel()])
    images._atm = np.tile(cell._atm, (len(shifts), 1))
    images._atm[:, gto.PTR_COORD] = len(cell._env) + 3 * np.arange(len(images._atm))
    images._bas = np.tile(cell._bas, (len(shifts), 1))
    images._bas[:, gto.ATOM_OF] += np.repeat(cell.natm * number, len(cell._bas))
    values: NDArray[Any] = np.asarray(gto.mole.intor_cross(name, cell, images))
    blocks = values.reshape(*values.shape[:-1], len(shifts), -1)
    return np.ascontiguousarray(np.moveaxis(blocks, -2, 0))
