"""The symmetry operations that a Hamiltonian obeys, found through spglib and checked on its blocks.

An operation takes atom i at x_i (fractional) to ``W x_i + t = x_i' + n_i``. It acts on a matrix as
O'(R', i', j') = D_i O(R, i, j) D_jᵀ with R' = W R + n_j − n_i, and takes k to W⁻ᵀ k. With time
reversal it takes the complex conjugate too (of spinors σ_y O* σ_y), and k to −W⁻ᵀ k.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.core.transform import rotated_entries
from dock.errors import UsageError

__all__ = ["Operation", "Symmetry", "find_symmetry"]

_FEW_ATOMS = 300  # up to which all distances are computed
_SAME_PLACE = 1e-3  # Å within which spglib takes two atoms for one another


@dataclass(frozen=True, eq=False)
class Operation:
    """One space-group operation, with or without time reversal.

    Attributes
    ----------
    W : int (3, 3)
        Rotation in fractional coordinates: x → W x + t.
    Q : float (3, 3)
        The same rotation of Cartesian column vectors.
    atoms : int (n_atoms,)
        i' of each atom i.
    shifts : int (n_atoms, 3)
        n_i of each atom.
    """

    W: NDArray[np.int64]
    Q: NDArray[np.float64]
    atoms: NDArray[np.int64]
    shifts: NDArray[np.int64]
    reverses_time: bool = False

    @property
    def on_k(self) -> NDArray[np.int64]:
        """The integer matrix M with k' = M k for fractional k as a column."""
        inverse = np.rint(np.linalg.inv(self.W)).astype(np.int64).T
        return -inverse if self.reverses_time else inverse

    def source(self, matrix: AOMatrix) -> NDArray[np.int64] | None:
        """Return the pair that the operation takes to each pair; None if one is missing."""
        pairs = matrix.pairs
        lattice = pairs.R @ self.W.T + self.shifts[pairs.j] - self.shifts[pairs.i]
        target = pairs.find(lattice, self.atoms[pairs.i], self.atoms[pairs.j])
        if np.any(target < 0):
            return None
        source: NDArray[np.int64] = np.empty(len(target), dtype=np.int64)
        source[target] = np.arange(len(target))
        return source

    def apply(self, matrix: AOMatrix, source: NDArray[np.int64]) -> NDArray[Any]:
        """Return the entries of the transformed operator on the same pairs."""
        turned = matrix.entries if self.is_unit_rotation else rotated_entries(matrix, self.Q)
        entries = matrix.layout.take(turned, source)
        return _time_reversed(matrix, entries) if self.reverses_time else entries

    @property
    def is_unit_rotation(self) -> bool:
        """Whether W is the unit matrix."""
        return bool(np.array_equal(self.W, np.eye(3, dtype=np.int64)))


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The point operations of a crystal that its matrices obey.

    Attributes
    ----------
    operations
        At most one for each rotation and each choice of time reversal; the identity is first.
    tolerance
        Largest deviation of a Hamiltonian entry that was accepted, eV.
    largest_error
        Largest deviation found among the accepted operations, eV.
    n_crystal
        Number of rotations of the bare crystal, before the Hamiltonian was asked.
    """

    operations: tuple[Operation, ...]
    tolerance: float = 0.0
    largest_error: float = 0.0
    n_crystal: int = 1

    def symmetrise(self, matrix: AOMatrix) -> AOMatrix:
        """Return the average of the matrix over the operations.

        A density matrix summed over the irreducible points of a mesh becomes that of the whole
        mesh in this way.
        """
        total = np.zeros(matrix.entries.shape, matrix.entries.dtype)
        count = 0
        for operation in self.operations:
            if operation.reverses_time and not matrix.is_complex:
                continue  # real matrices are their own conjugates
            source = operation.source(matrix)
            if source is not None:
                total += operation.apply(matrix, source)
                count += 1
        return matrix.with_entries(total / count)

    def keeping(self, wanted: Sequence[Operation]) -> Symmetry:
        """Return the symmetry with only the given operations."""
        return replace(self, operations=tuple(wanted))


def find_symmetry(
    hamiltonian: AOMatrix,
    overlap: AOMatrix | None = None,
    *,
    tolerance: float = 1e-5,
    point_group: bool = True,
) -> Symmetry:
    """Return the operations under which the Hamiltonian (and the overlap) do not change.

    Real matrices always have time reversal. Spinors are tested for each rotation with and without
    it, so that magnetic groups are found as well. A set that does not close (a tolerance in the
    midst of the deviations) is given up for time reversal alone.

    Parameters
    ----------
    hamiltonian, overlap
        The matrices, with closed pairs.
    tolerance
        Largest change of an entry, positive, eV (of the overlap: the same number), else a
        `UsageError`. Codes that integrate on a grid break the crystal's symmetry by 1e-6 to 1e-3
        eV: what is larger than this is not used.
    point_group
        False: look for time reversal only.
    """
    if not tolerance > 0:
        raise UsageError(f"the symmetry tolerance must be a positive energy, found {tolerance}.")
    tests = [item for item in (overlap, hamiltonian) if item is not None]
    n_atoms = hamiltonian.structure.n_atoms
    no_shifts = np.zeros((n_atoms, 3), dtype=np.int64)
    candidates = [[Operation(np.eye(3, dtype=np.int64), np.eye(3), np.arange(n_atoms), no_shifts)]]
    if point_group:
        candidates = list(_crystal_operations(hamiltonian.structure)) or candidates
    accepted: list[Operation] = []
    worst = 0.0
    real = not any(matrix.is_complex for matrix in tests)
    for same_rotation in candidates:
        for reverses_time in (False,) if real else (False, True):
            for operation in same_rotation:
                tested = replace(operation, reverses_time=reverses_time)
                error = _largest_change(tested, tests, tolerance)
                if error <= tolerance:
                    accepted.append(tested)
                    worst = max(worst, error)
                    break
    if real:
        accepted += [replace(operation, reverses_time=True) for operation in accepted]
    accepted.sort(key=lambda op: not (op.is_unit_rotation and not op.reverses_time))
    if not _is_closed(accepted):
        accepted = [operation for operation in accepted if operation.is_unit_rotation]
    return Symmetry(tuple(accepted), tolerance, worst, len(candidates))


def _crystal_operations(structure: Structure) -> Iterator[list[Operation]]:
    """Yield, for each rotation of the crystal, the operations that spglib finds with it."""
    import spglib

    kinds = {label: number for number, label in enumerate(dict.fromkeys(structure.labels), 1)}
    numbers = [kinds[label] for label in structure.labels]
    fractional = structure.fractional
    with warnings.catch_warnings():
        # spglib warns of its own way to report errors, which is to change.
        warnings.simplefilter("ignore", DeprecationWarning)
        crystal = spglib.get_symmetry((structure.cell, fractional, numbers), symprec=_SAME_PLACE)
    if crystal is None:
        return
    by_rotation: dict[bytes, list[Operation]] = {}
    for W, t in zip(crystal["rotations"], crystal["translations"], strict=True):
        operation = _operation(structure, W.astype(np.int64), t)
        if operation is not None:
            by_rotation.setdefault(operation.W.tobytes(), []).append(operation)
    yield from by_rotation.values()


def _operation(
    structure: Structure, W: NDArray[np.int64], t: NDArray[np.float64]
) -> Operation | None:
    """Return the operation with the atoms that it exchanges; None if an atom has no image."""
    x: NDArray[np.float64] = structure.fractional.astype(np.float64)
    image = x @ W.T + t
    atoms = _nearest(x, image)
    difference = image - x[atoms]
    shifts = np.rint(difference)
    distance = np.linalg.norm((difference - shifts) @ structure.cell, axis=1)
    if distance.max() > 10 * _SAME_PLACE or len(np.unique(atoms)) < len(x):
        return None
    transposed = structure.cell.T
    Q = transposed @ W @ np.linalg.inv(transposed)
    # A cell that is symmetric to 1e-6 only gives a Q that is orthogonal to 1e-6 only.
    left, _, right = np.linalg.svd(Q)
    return Operation(W, left @ right, atoms, shifts.astype(np.int64))


def _nearest(x: NDArray[np.float64], image: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the atom nearest to each image, in fractional coordinates modulo the lattice."""
    if len(x) <= _FEW_ATOMS:
        difference = image[:, None, :] - x[None, :, :]
        squared = ((difference - np.rint(difference)) ** 2).sum(axis=2)
        nearest: NDArray[np.int64] = squared.argmin(axis=1).astype(np.int64)
        return nearest
    from scipy.spatial import cKDTree

    # Coordinates that rounding takes to 1 itself are outside of the tree's box.
    tree = cKDTree(np.mod(x, 1.0) % 1.0, boxsize=1.0)
    numbers: NDArray[np.int64] = tree.query(np.mod(image, 1.0) % 1.0)[1].astype(np.int64)
    return numbers


def _largest_change(operation: Operation, tests: Sequence[AOMatrix], tolerance: float) -> float:
    """Return the largest change of an entry under an operation, inf if a pair has no image."""
    worst = 0.0
    for matrix in tests:
        source = operation.source(matrix)
        if source is None:
            return np.inf
        trivial = operation.is_unit_rotation and not (operation.reverses_time and matrix.is_complex)
        if trivial and np.array_equal(source, np.arange(len(source))):
            continue
        change = np.abs(operation.apply(matrix, source) - matrix.entries).max(initial=0.0)
        worst = max(worst, float(change))
        if worst > tolerance:
            break
    return worst


def _time_reversed(matrix: AOMatrix, entries: NDArray[Any]) -> NDArray[Any]:
    """Return T O T⁻¹: the conjugate, of spinors σ_y O* σ_y."""
    if matrix.spin is not Spin.NONCOLLINEAR or not matrix.facts.has_spin:
        return entries.conj() if matrix.is_complex else entries
    uu, ud, du, dd = entries.conj()
    return np.stack([dd, -du, -ud, uu])


def _is_closed(operations: Sequence[Operation]) -> bool:
    """Say whether the products of all operations are among them."""
    known = {(a.W.tobytes(), a.reverses_time) for a in operations}
    return all(
        ((a.W @ b.W).tobytes(), a.reverses_time != b.reverses_time) in known
        for a in operations
        for b in operations
    )
