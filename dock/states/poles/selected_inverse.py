"""Entries of a sparse inverse on the sparsity of the matrix, without the rest of the inverse.

The matrix is eliminated front by front along a nested dissection (multifrontal block LU without
pivoting: H − zS has a definite imaginary part for complex z, and so have all its Schur
complements). Going back down, each front's part of the inverse follows from its parent's:

    G₁₂ = −A₁₁⁻¹A₁₂ G₂₂,   G₂₁ = −G₂₂ A₂₁A₁₁⁻¹,   G₁₁ = A₁₁⁻¹ + A₁₁⁻¹A₁₂ G₂₂ A₂₁A₁₁⁻¹.

All arithmetic is dense products on fronts; on a sheet of n atoms it grows as n^1.5 (bulk: n²).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import SolverError
from dock.states.poles.dissection import Node, dissect

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["SelectedInverse"]

Matrix = NDArray[Any]


@dataclass(eq=False)
class _Front:
    """A dense piece of the elimination.

    ``place`` are positions in the CSR data of the rows of the front's own orbitals, ``mirror``
    those of the transposed entries, (row, col) where they stand in the front. ``into`` is where
    the boundary stands in the parent's front.
    """

    n_own: int
    n_all: int
    place: NDArray[np.int64]
    mirror: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    into: NDArray[np.int64]
    children: list[int]
    parent: int


class SelectedInverse:
    """The symbolic part: made once for a pattern, used for every k-point and pole.

    The pattern is a CSR matrix, symmetric and with sorted columns; its numbers are not used.
    `atom_of` (n,) is the group (atom) of each row; orbitals of one group must be consecutive or,
    for spinors, form consecutive runs. The smallest pieces have about `leaf` orbitals.
    """

    def __init__(
        self, pattern: scipy.sparse.csr_array, atom_of: NDArray[np.int64], *, leaf: int = 120
    ) -> None:
        import scipy.sparse

        n = pattern.shape[0]
        self.n, self.nnz = n, len(pattern.indices)
        rows = np.repeat(np.arange(n), np.diff(pattern.indptr))
        cols = pattern.indices.astype(np.int64)
        mirror = _transposed_positions(rows, cols, n)
        n_atoms = int(atom_of.max()) + 1
        ones = np.ones(self.nnz)
        graph = scipy.sparse.coo_array(
            (ones, (atom_of[rows], atom_of[cols])), shape=(n_atoms, n_atoms)
        ).tocsr()
        members = _members(atom_of, n_atoms)
        sizes = np.bincount(atom_of, minlength=n_atoms)
        self.rows, self.cols, self.mirror = rows, cols, mirror
        nodes = dissect(graph, sizes, leaf=leaf)
        # The rows of each front: its own, then those of its boundary in the order of elimination.
        spans = [
            np.concatenate([members[atom] for atom in (*node.atoms, *node.boundary)])
            for node in nodes
        ]
        owned = [int(sizes[node.atoms].sum()) for node in nodes]
        local = np.full(n, -1, dtype=np.int64)  # where a row stands in a front, −1 outside it
        self._fronts = [
            self._front(node, span, n_own, pattern.indptr, local)
            for node, span, n_own in zip(nodes, spans, owned, strict=True)
        ]
        for front, span in zip(self._fronts, spans, strict=True):
            if front.parent >= 0:
                above = spans[front.parent]
                local[above] = np.arange(len(above))
                front.into = local[span[front.n_own :]]
                local[above] = -1

    def _front(
        self,
        node: Node,
        span: NDArray[np.int64],
        n_own: int,
        indptr: NDArray[Any],
        local: NDArray[np.int64],
    ) -> _Front:
        """Return where the entries of a front's own rows stand."""
        own = span[:n_own]
        local[span] = np.arange(len(span))
        place = _ranges(indptr[own], indptr[own + 1])
        col = local[self.cols[place]]
        kept = col >= 0  # what was eliminated before is not in the front
        place, col = place[kept], col[kept]
        row = local[self.rows[place]]
        local[span] = -1
        nowhere = np.empty(0, dtype=np.int64)
        mirror = self.mirror[place]
        return _Front(
            n_own, len(span), place, mirror, row, col, nowhere, node.children, node.parent
        )

    @property
    def largest_front(self) -> int:
        """Rows of the largest dense piece."""
        return max(front.n_all for front in self._fronts)

    def invert(self, data: Matrix, *, symmetric: bool = False) -> Matrix:
        """Return the entries of the inverse at the positions of the CSR data of a matrix.

        `symmetric` says that the matrix equals its transpose (H − zS at a time-reversal-invariant
        k without spinors): a third of the work is spared. `SolverError` where a pivot block is
        singular.
        """
        stored = []
        updates: dict[int, Matrix] = {}
        for number, front in enumerate(self._fronts):
            F = self._assemble(front, data, updates)
            m = front.n_own
            try:
                inverse = np.linalg.inv(F[:m, :m])
            except np.linalg.LinAlgError as error:
                raise SolverError(
                    "a pivot block of H − zS is singular: the pole lies on an eigenvalue, or S is "
                    "not positive definite. Check H and S with: dock check."
                ) from error
            left = inverse @ F[:m, m:]
            right = left.T if symmetric else F[m:, :m] @ inverse
            if front.n_all > m:
                updates[number] = F[m:, m:] - F[m:, :m] @ left
            stored.append((inverse, left, right))
        return self._back(stored, data.dtype, symmetric=symmetric)

    def _back(
        self, stored: list[tuple[Matrix, Matrix, Matrix]], dtype: Any, *, symmetric: bool
    ) -> Matrix:
        """Go down the tree from the roots and collect the entries of the inverse."""
        out = np.empty(self.nnz, dtype=dtype)
        waiting: dict[int, Matrix] = {}
        pending = [len(front.children) for front in self._fronts]
        for number in reversed(range(len(self._fronts))):
            front = self._fronts[number]
            inverse, left, right = stored.pop()
            G = np.empty((front.n_all, front.n_all), dtype=dtype)
            m = front.n_own
            if front.parent >= 0:
                above = waiting[front.parent]
                below = above[np.ix_(front.into, front.into)]
                pending[front.parent] -= 1
                if pending[front.parent] == 0:
                    del waiting[front.parent]
                G[m:, m:] = below
                G[:m, m:] = -left @ below
                G[m:, :m] = G[:m, m:].T if symmetric else -below @ right
                inverse = inverse - G[:m, m:] @ right
            G[:m, :m] = inverse
            out[front.place] = G[front.row, front.col]
            out[front.mirror] = G[front.col, front.row]
            if front.children:
                waiting[number] = G
        return out

    def count_negative(self, data: Matrix) -> int:
        """Return the number of negative eigenvalues of a Hermitian matrix (Sylvester's law)."""
        updates: dict[int, Matrix] = {}
        total = 0
        for number, front in enumerate(self._fronts):
            F = self._assemble(front, data, updates)
            m = front.n_own
            values, vectors = np.linalg.eigh(F[:m, :m])
            total += int(np.count_nonzero(values < 0))
            if front.n_all > m:
                tiny = np.finfo(np.float64).tiny ** 0.5
                values = np.where(np.abs(values) < tiny, tiny, values)
                projected = vectors.conj().T @ F[:m, m:]
                updates[number] = F[m:, m:] - projected.conj().T @ (projected / values[:, None])
        return total

    def _assemble(self, front: _Front, data: Matrix, updates: dict[int, Matrix]) -> Matrix:
        """Return the front with the matrix's entries and its children's updates."""
        F = np.zeros((front.n_all, front.n_all), dtype=data.dtype)
        F[front.row, front.col] = data[front.place]
        F[front.col, front.row] = data[front.mirror]
        for child in front.children:
            if child in updates:
                into = self._fronts[child].into
                F[np.ix_(into, into)] += updates.pop(child)
        return F


def _members(atom_of: NDArray[np.int64], n_atoms: int) -> list[NDArray[np.int64]]:
    """Return the rows of each atom."""
    order = np.argsort(atom_of, kind="stable")
    ends = np.cumsum(np.bincount(atom_of, minlength=n_atoms))
    return np.split(order, ends[:-1])


def _ranges(begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return all integers of the ranges begins[i] … ends[i] − 1, one range after another."""
    lengths = (ends - begins).astype(np.int64)
    before = np.cumsum(lengths) - lengths
    return np.repeat(begins - before, lengths) + np.arange(int(lengths.sum()))


def _transposed_positions(
    rows: NDArray[np.int64], cols: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """Return, for each entry (i, j) of a sorted CSR pattern, the position of (j, i)."""
    keys = rows * n + cols
    mirrored = cols * n + rows
    place = np.minimum(np.searchsorted(keys, mirrored), len(keys) - 1)
    if not np.array_equal(keys[place], mirrored):
        raise SolverError("the sparse pattern is not symmetric: some pair lacks its partner.")
    return place
