"""Geometric operations on a matrix: rotation, supercell, selection and order of atoms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import atom_list
from dock.core.basis import Basis
from dock.core.blockmatrix import BlockMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import lattice_points, supercell_matrix
from dock.core.wigner import orthogonal_matrix, shell_rotation, spinor_rotation
from dock.errors import LayoutError

M = TypeVar("M", bound=BlockMatrix)

__all__ = ["permute_atoms", "rotate", "rotated_entries", "select_atoms", "supercell"]


def rotate(matrix: M, Q: ArrayLike) -> M:
    """Return the operator of the structure rotated about the origin, r → Q r.

    Each block becomes D_i(Q) O D_j(Q)ᵀ with the real Wigner matrices of `dock.core.wigner`;
    spinors are rotated with the SU(2) matrix U(Q) as well, and a vector operator as a vector.
    Collinear spin keeps its own axis, which is not bound to the lattice. The precision stays.

    Q is a (3, 3) orthogonal matrix, a reflection allowed; `ConventionError` where it is not
    orthogonal to 1e-8.
    """
    structure = matrix.structure.rotate(orthogonal_matrix(Q))
    return replace(matrix, structure=structure, entries=rotated_entries(matrix, Q))


def rotated_entries(matrix: BlockMatrix, Q: ArrayLike) -> NDArray[Any]:
    """Return the entries of `rotate` alone, (components, entries); for many Q that is quicker."""
    orthogonal = orthogonal_matrix(Q)
    basis = matrix.basis
    turns = {label: shell_rotation(orthogonal, basis.ls(label)) for label in basis.species}
    pairs, layout = matrix.pairs, matrix.layout
    mixing = _component_mixing(matrix, orthogonal)
    complex_type = np.complex64 if mixing is not None and mixing.dtype.kind == "c" else np.float32
    result = np.empty(matrix.entries.shape, np.result_type(matrix.entries, complex_type))
    for group in layout.groups(basis.pair_kinds(pairs.i, pairs.j)):
        left, right = (turns[label] for label in basis.species_of_kind(group.kind))
        blocks = left @ layout.read(matrix.entries, group) @ right.T
        if mixing is not None:
            blocks = np.tensordot(mixing, blocks, axes=1)
        layout.write(result, group, blocks)
    return result


def _component_mixing(matrix: BlockMatrix, Q: NDArray[np.float64]) -> NDArray[Any] | None:
    """Return the matrix that mixes the components: U ⊗ U* for spinors, Q for vectors."""
    if matrix.spin is Spin.NONCOLLINEAR and matrix.facts.has_spin:
        turn = spinor_rotation(Q)
        mixing: NDArray[Any] = np.kron(turn, turn.conj())
        return mixing
    return Q if matrix.facts.n_vector == 3 else None


def supercell(matrix: M, transform: ArrayLike) -> M:
    """Return the operator of a supercell; atoms as in `Structure.supercell`.

    `transform` is three integers or a (3, 3) integer matrix whose rows times the cell are the new
    cell. `LayoutError` for one that is no supercell, and for a position operator: its origin is not
    that of the copies.
    """
    if matrix.facts.parity == 0:
        raise LayoutError(f"{matrix.quantity}: a supercell of it needs the overlap as well.")
    wanted = supercell_matrix(transform)
    points = lattice_points(wanted)
    n_copies, n_atoms, pairs = len(points), matrix.basis.n_atoms, matrix.pairs
    determinant = round(float(np.linalg.det(wanted)))
    adjugate = np.rint(np.linalg.inv(wanted) * determinant).astype(np.int64)
    reached = points[:, None, :] + pairs.R[None, :, :]
    lattice = np.floor_divide(reached @ adjugate, determinant)
    inside = reached - lattice @ wanted
    low = points.min(axis=0)
    number = np.zeros(points.max(axis=0) - low + 1, dtype=np.int64)
    number[tuple((points - low).T)] = np.arange(n_copies)
    copy = number[tuple((inside - low).reshape(-1, 3).T)]
    origin = np.repeat(np.arange(n_copies), len(pairs))
    new_pairs = Pairs(
        lattice.reshape(-1, 3),
        origin * n_atoms + np.tile(pairs.i, n_copies),
        copy * n_atoms + np.tile(pairs.j, n_copies),
        n_copies * n_atoms,
    )
    return type(matrix)(
        matrix.quantity,
        matrix.structure.supercell(wanted),
        matrix.basis.repeat(n_copies),
        new_pairs,
        matrix.spin,
        np.tile(matrix.entries, (1, n_copies)),
    )


def select_atoms(matrix: M, atoms: ArrayLike) -> M:
    """Return the blocks among the given atoms (each at most once), renumbered in that order.

    `LayoutError` for atoms outside the cell, an atom named twice, or a mask in place of numbers.
    """
    chosen = atom_list(atoms, matrix.basis.n_atoms)
    if len(np.unique(chosen)) != len(chosen):
        raise LayoutError("an atom is named twice.")
    new_number = np.full(matrix.basis.n_atoms, -1, dtype=np.int64)
    new_number[chosen] = np.arange(len(chosen))
    pairs = matrix.pairs
    kept = np.flatnonzero((new_number[pairs.i] >= 0) & (new_number[pairs.j] >= 0))
    entries = (
        matrix.entries if len(kept) == len(pairs) else matrix.layout.take(matrix.entries, kept)
    )
    renumbered = Pairs(
        pairs.R[kept], new_number[pairs.i[kept]], new_number[pairs.j[kept]], len(chosen)
    )
    basis: Basis = matrix.basis.select(chosen)
    structure = matrix.structure.select(chosen)
    return type(matrix)(matrix.quantity, structure, basis, renumbered, matrix.spin, entries)


def permute_atoms(matrix: M, order: ArrayLike) -> M:
    """Return the matrix whose atom a is the old atom ``order[a]``; the entries stay in place.

    `LayoutError` where `order` does not have each atom once.
    """
    if np.size(order) != matrix.basis.n_atoms:
        raise LayoutError(
            f"an order of {matrix.basis.n_atoms} atoms is needed, found {np.size(order)}."
        )
    return select_atoms(matrix, order)
