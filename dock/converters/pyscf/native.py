"""From a Calculation to PySCF: matrices in its orbital order, and a density to start from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.converters.bloch_mesh import mesh_of, to_mesh
from dock.converters.pyscf.basis import is_periodic, require_same_atoms, to_pyscf_order
from dock.core.calculation import Calculation
from dock.core.density import require_density
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import LayoutError, MissingDataError
from dock.states.problem import Problem
from dock.states.solver import Want
from dock.states.stream import states
from dock.units import PYSCF

__all__ = [
    "bloch_matrices",
    "density_from_hamiltonian",
    "density_on_mesh",
    "initial_density",
    "to_pyscf",
]

_UNITS = {
    "hamiltonian": PYSCF.hartree_ev,
    "kinetic": PYSCF.hartree_ev,
    "energy_density_matrix": PYSCF.hartree_ev,
    "position": PYSCF.bohr_angstrom,
}


def to_pyscf(matrix: AOMatrix, mol: Any, kpts: ArrayLike | None = None) -> NDArray[Any]:
    """Return a matrix as PySCF has it: Hartree, Bohr, its order of atoms and orbitals.

    Parameters
    ----------
    matrix
        Any operator with the basis of `mol`.
    mol
        The ``Mole`` or ``Cell``.
    kpts
        (n_k, 3) k-points as in PySCF (1/Bohr, Cartesian) for a ``Cell``.

    Returns
    -------
    ndarray
        (N, N), (2, N, N) for collinear spin or (2N, 2N) for spinors, (3, N, N) for the position;
        with an axis of k-points before the last two for crystals.

    Raises
    ------
    LayoutError
        When atoms or basis differ, or a molecule's matrix reaches into other cells.
    """
    order = require_same_atoms(matrix.structure, matrix.basis, mol)
    matrix = matrix if order is None else matrix.permute_atoms(order)
    if not is_periodic(mol) and np.any(matrix.pairs.R != 0):
        raise LayoutError(
            f"{matrix.quantity}: a PySCF molecule has one cell, but this matrix reaches into "
            "others. Use a pyscf.pbc Cell."
        )
    result = bloch_matrices(matrix, _k_frac(mol, kpts))
    return result if is_periodic(mol) else result[..., 0, :, :]


def bloch_matrices(matrix: AOMatrix, k_frac: NDArray[np.float64]) -> NDArray[Any]:
    """Return O(k) of (n_k, 3) fractional k-points in PySCF's orbital order, Hartree and Bohr."""
    builder = KBuilder(matrix)
    bloch = np.stack([np.asarray(builder.dense(k)) for k in k_frac], axis=-3)
    return _in_pyscf_order(bloch, matrix) / _UNITS.get(matrix.quantity, 1.0)


def _k_frac(mol: Any, kpts: ArrayLike | None) -> NDArray[np.float64]:
    """Return PySCF's k-points in fractional coordinates; Γ where none are given."""
    if not is_periodic(mol) or kpts is None:
        return np.zeros((1, 3))
    return np.asarray(mol.get_scaled_kpts(np.reshape(np.asarray(kpts), (-1, 3))))


def initial_density(calc: Calculation, mol: Any, kpts: ArrayLike | None = None) -> NDArray[Any]:
    """Return a density matrix for ``mf.kernel(dm0=...)``.

    The stored density matrix is used where there is one; else the Hamiltonian, a predicted one
    for example, is diagonalised and its lowest levels are filled.

    Parameters
    ----------
    calc
        Density matrix, or Hamiltonian, overlap and number of electrons.
    mol
        The ``Mole`` or ``Cell`` of the run to start.
    kpts
        Its k-points as in PySCF (1/Bohr, Cartesian), for a ``Cell``.

    Returns
    -------
    ndarray
        As PySCF wants it: (N, N) with both spins, (2, N, N), or (2N, 2N); with an axis of k-points
        before the last two for crystals.

    Raises
    ------
    LayoutError
        When atoms or basis differ, or the k-points are no Γ-centred mesh although a stored
        density matrix is to be used.
    MissingDataError
        When the calculation has too little.

    Examples
    --------
    >>> mf.kernel(dm0=initial_density(dock.read("folder"), mol))  # doctest: +SKIP
    """
    order = require_same_atoms(calc.structure, calc.basis, mol)
    calc = calc if order is None else calc.permute_atoms(order)
    k_frac = _k_frac(mol, kpts)
    if "density_matrix" in calc.available:
        result = density_on_mesh(require_density(calc), k_frac)
    else:
        result = density_from_hamiltonian(calc, k_frac)
    return result if is_periodic(mol) and kpts is not None else result[..., 0, :, :]


def density_on_mesh(density: AOMatrix, k_frac: ArrayLike) -> NDArray[Any]:
    """Return ρ(k) of a stored density matrix in PySCF's orbital order, spins joined.

    A density matrix in real space is periodic with the mesh it was made on, so its images on the
    wanted mesh are averaged and not added up. `k_frac` is (n_k, 3), a Γ-centred mesh.
    """
    mesh, place = mesh_of(k_frac)
    components = to_mesh(density.entries, mesh, density.basis, density.pairs)[:, place]
    if density.spin is Spin.NONCOLLINEAR:
        uu, ud, du, dd = components
        bloch = np.block([[uu, ud], [du, dd]])
    else:
        bloch = components[0] if density.spin is Spin.NONE else components
    if len(place) == 1 and density.spin is not Spin.NONCOLLINEAR:
        bloch = np.ascontiguousarray(bloch.real)
    return _in_pyscf_order(bloch, density)


def density_from_hamiltonian(calc: Calculation, k_frac: ArrayLike) -> NDArray[Any]:
    """Return ρ(k) from the lowest levels of the Hamiltonian, in PySCF's orbital order.

    Levels are filled over all k-points and spins together, without smearing.

    Raises
    ------
    MissingDataError
        When Hamiltonian, overlap or the number of electrons is missing.
    """
    if calc.n_electrons is None:
        raise MissingDataError(
            "the number of electrons", calc.source, "It says how many levels are filled."
        )
    problem = Problem.of(calc)
    solved = [at.states for at in states(problem, k_frac, Want(vectors=True))]
    levels = np.array([at.energies for at in solved]).reshape(problem.n_channels, -1, problem.size)
    filling = _fill(levels, calc.n_electrons, calc.spin)
    vectors = np.array([at.vectors for at in solved]).reshape(*levels.shape, problem.size)
    bloch = (vectors * filling[:, :, None, :]) @ vectors.conj().swapaxes(-1, -2)
    result = bloch if calc.spin is Spin.COLLINEAR else bloch[0]
    return _in_pyscf_order(result, calc.require("hamiltonian"))


def _fill(levels: NDArray[np.float64], n_electrons: float, spin: Spin) -> NDArray[np.float64]:
    """Return occupations of the lowest levels (channels, N_k, N); the last may be partly filled."""
    capacity = float(spin.degeneracy)
    order = np.argsort(levels, axis=None, kind="stable")
    left = n_electrons * levels.shape[1] - capacity * np.arange(len(order))
    filling = np.empty(len(order))
    filling[order] = np.clip(left, 0.0, capacity)
    return filling.reshape(levels.shape)


def _in_pyscf_order(bloch: NDArray[Any], matrix: AOMatrix) -> NDArray[Any]:
    """Reorder the orbitals of (…, N, N) or of spinors (…, 2N, 2N)."""
    order = to_pyscf_order(matrix.basis)
    if bloch.shape[-1] == 2 * len(order):
        order = np.concatenate([order, order + len(order)])
    result: NDArray[Any] = bloch[..., order[:, None], order[None, :]]
    return result
