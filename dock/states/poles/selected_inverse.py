"""Entries of a sparse inverse on the sparsity of the matrix, without the rest of the inverse.

The matrix is eliminated front by front (`dock.states.sparse`). Going back down the tree, each
front's part of the inverse follows from its parent's:

    G₁₂ = −A₁₁⁻¹A₁₂ G₂₂,   G₂₁ = −G₂₂ A₂₁A₁₁⁻¹,   G₁₁ = A₁₁⁻¹ + A₁₁⁻¹A₁₂ G₂₂ A₂₁A₁₁⁻¹.

A matrix that equals its transpose is factored as L D Lᵀ by the multifrontal engine, and of G only
the lower triangle is made. Any other one has a block LU without pivoting between blocks: H − zS has
a definite imaginary part for complex z, and so have all its Schur complements. All arithmetic is
dense products on fronts; on a sheet of n atoms it grows as n^1.5 (bulk: n²).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.structure import Structure
from dock.errors import SolverError
from dock.states.sparse.blas import Blas, blas_threads
from dock.states.sparse.elimination import BLOCK, Pivots
from dock.states.sparse.factorisation import Pattern
from dock.states.sparse.fronts import Front
from dock.states.sparse.multifrontal import Multifrontal
from dock.states.sparse.substitution import backward, forward

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["SelectedInverse"]

Matrix = NDArray[Any]

_SINGULAR = (
    "a pivot block of H − zS is singular: the pole lies on an eigenvalue, or S is not positive "
    "definite. Check H and S with: dock check."
)
_STRIP = 256  # columns of a symmetric product that are made together


class SelectedInverse:
    """The symbolic part: made once for a pattern, used for every k-point and pole.

    The pattern is a CSR matrix, symmetric and with sorted columns; its numbers are not used.
    `atom_of` (n,) is the group (atom) of each row; orbitals of one group must be consecutive or,
    for spinors, form consecutive runs, and blocks of two groups are full or absent. The positions
    and the cell of `structure` help to find a better order.

    Attributes
    ----------
    rows, cols : int64 (nnz,)
        Where each entry of the pattern stands.
    mirror : int64 (nnz,)
        The position of the transposed entry.
    analysis
        The order of elimination and its cost.
    """

    def __init__(
        self,
        pattern: scipy.sparse.csr_array,
        atom_of: NDArray[np.int64],
        *,
        structure: Structure | None = None,
        threads: int = 1,
    ) -> None:
        n = pattern.shape[0]
        self.n, self.nnz = n, len(pattern.indices)
        rows = np.repeat(np.arange(n), np.diff(pattern.indptr))
        cols = pattern.indices.astype(np.int64)
        self.rows, self.cols = rows, cols
        self.mirror = _transposed_positions(rows, cols, n)
        self._upper = np.flatnonzero(cols >= rows)
        self._lower = self.mirror[self._upper]
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows[self._upper], minlength=n))])
        upper = Pattern(starts, cols[self._upper], atom_of, structure)
        self.analysis = Multifrontal().analyse(upper, threads=threads)

    @property
    def largest_front(self) -> int:
        """Rows of the largest dense piece."""
        return max(front.n_all for front in self.analysis.fronts)

    def invert(self, data: Matrix, *, symmetric: bool = False) -> Matrix:
        """Return the entries of the inverse at the positions of the CSR data of a matrix.

        `symmetric` says that the matrix equals its transpose (H − zS at a time-reversal-invariant
        k without spinors): half of the work is spared. `SolverError` where a pivot block is
        singular.
        """
        out = np.empty(self.nnz, dtype=data.dtype)
        with blas_threads(self.analysis.threads):
            if symmetric:
                upper = self._invert_symmetric(data)
                out[self._upper], out[self._lower] = upper, upper
            else:
                out[self._upper], out[self._lower] = self._invert_general(data)
        return out

    def count_negative(self, data: Matrix) -> int:
        """Return the number of negative eigenvalues of a Hermitian matrix (Sylvester's law)."""
        negative, _ = self.analysis.count_negative(data[self._upper], data.dtype)
        return negative

    def _invert_symmetric(self, data: Matrix) -> Matrix:
        """Return the inverse's entries in the upper triangle."""
        from dock.states.poles._square_kernels import take

        analysis = self.analysis
        factor = analysis.factor(data[self._upper], data.dtype, hermitian=False)
        if factor.n_perturbed:
            raise SolverError(_SINGULAR)
        blas = Blas(data.dtype, hermitian=False)
        upper = np.empty(len(self._upper), dtype=data.dtype)

        def one(number: int, G: Matrix) -> None:
            front = analysis.fronts[number]
            _fill_symmetric(front, *factor.pop(number), G, blas)
            runs = analysis.runs
            parts = (analysis.starts, analysis.blocks[number], runs.first, runs.size)
            take(G, *parts, True, upper, upper)

        _descend(analysis.fronts, data.dtype, one, symmetric=True)
        return upper

    def _invert_general(self, data: Matrix) -> tuple[Matrix, Matrix]:
        """Return the inverse's entries in the upper triangle, and their mirror images."""
        from dock.states.poles._square_kernels import take

        analysis = self.analysis
        stored = self._eliminate_general(data)
        upper = np.empty(len(self._upper), dtype=data.dtype)
        lower = np.empty_like(upper)

        def one(number: int, G: Matrix) -> None:
            inverse, left, right = stored.pop()
            m = len(inverse)
            below = G[m:, m:]
            G[m:, :m] = -(below @ right)
            G[:m, m:] = -(left @ below)
            G[:m, :m] = inverse - left @ G[m:, :m]
            runs = analysis.runs
            parts = (analysis.starts, analysis.blocks[number], runs.first, runs.size)
            take(G, *parts, False, upper, lower)

        _descend(analysis.fronts, data.dtype, one, symmetric=False)
        return upper, lower

    def _eliminate_general(self, data: Matrix) -> list[_Eliminated]:
        """Return A₁₁⁻¹, A₁₁⁻¹A₁₂ and A₂₁A₁₁⁻¹ of each front."""
        from dock.states.poles._square_kernels import add_square, put

        analysis = self.analysis
        upper, lower = data[self._upper], data[self._lower]
        updates: dict[int, Matrix] = {}
        stored = []
        for number, front in enumerate(analysis.fronts):
            F = np.zeros((front.n_all, front.n_all), dtype=data.dtype, order="F")
            runs = analysis.runs
            put(upper, lower, analysis.starts, analysis.blocks[number], runs.first, runs.size, F)
            for child in front.children:
                if child in updates:
                    add_square(updates.pop(child), analysis.fronts[child].into, F)
            m = front.n_own
            try:
                inverse = np.linalg.inv(F[:m, :m])
            except np.linalg.LinAlgError as error:
                raise SolverError(_SINGULAR) from error
            left, right = inverse @ F[:m, m:], F[m:, :m] @ inverse
            if front.n_rest:
                updates[number] = F[m:, m:] - F[m:, :m] @ left
            stored.append(_Eliminated(inverse, left, right))
        return stored


class _Eliminated(NamedTuple):
    """What is kept of a front of a general matrix."""

    inverse: Matrix
    left: Matrix
    right: Matrix


def _descend(
    fronts: list[Front],
    kind: np.dtype[Any],
    fill: Callable[[int, Matrix], None],
    *,
    symmetric: bool,
) -> None:
    """Give `fill` each front, parents first, with the inverse on its boundary filled in."""
    from dock.states.poles._square_kernels import pick_square

    waiting: dict[int, Matrix] = {}
    pending = [len(front.children) for front in fronts]
    for number in reversed(range(len(fronts))):
        front = fronts[number]
        G = np.empty((front.n_all, front.n_all), dtype=kind, order="F")
        m = front.n_own
        if front.parent >= 0:
            pick_square(waiting[front.parent], front.into, symmetric, G[m:, m:])
            pending[front.parent] -= 1
            if pending[front.parent] == 0:
                del waiting[front.parent]
        fill(number, G)
        if front.children:
            waiting[number] = G


def _fill_symmetric(front: Front, own: Matrix, pivots: Pivots, G: Matrix, blas: Blas) -> None:
    """Complete the lower triangle of a front's part of a symmetric inverse.

    `own` and `pivots` are the front's factor; G₂₂ is there.
    """
    m, b = front.n_own, front.n_rest
    for number, panel in enumerate(front.own_panels):
        # Columns of A₁₁⁻¹, from their diagonal on.
        columns = np.eye(m - panel.first, panel.width, dtype=blas.kind, order="F")
        forward(front, own, pivots, columns, blas, start=number)
        backward(front, own, pivots, columns, blas, start=number)
        G[panel.first : m, panel.first : panel.first + panel.width] = columns
    if b == 0:
        return
    X = _divided(front, own, pivots, blas)
    whole = blas.part(G)
    low = blas.at(whole, m, 0)
    blas.multiply_symmetric(low, blas.at(whole, m, m), blas.part(X), b, m)
    for first in range(0, m, _STRIP):
        width = min(_STRIP, m - first)
        target = blas.at(whole, first, first)
        left, right = blas.at(blas.part(X), 0, first), blas.at(low, 0, first)
        blas.subtract(target, left, right, m - first, width, b, (b"T", b"N"))


def _divided(front: Front, own: Matrix, pivots: Pivots, blas: Blas) -> Matrix:
    """Return A₂₁A₁₁⁻¹ = L₂₁L₁₁⁻¹ of a front, (rows of the boundary, own rows)."""
    m, b = front.n_own, front.n_rest
    X = np.empty((b, m), dtype=blas.kind, order="F")
    part = blas.part(X)
    for panel in reversed(front.own_panels):
        a = blas.part(own, panel.begin, panel.lead)
        columns = own[panel.begin : panel.begin + panel.width * panel.lead]
        below = columns.reshape(panel.width, panel.lead).T[m - panel.first :]
        for begin in reversed(range(0, panel.width, BLOCK)):
            width = min(BLOCK, panel.width - begin)
            first = panel.first + begin
            later = first + width
            chosen = slice(first, later)
            X[:, chosen] = below[:, begin : begin + width]
            target = blas.at(part, 0, first)
            left, right = blas.at(part, 0, later), blas.at(a, begin + width, begin)
            if later < m:
                blas.subtract(target, left, right, b, width, m - later, (b"N", b"N"))
            blas.solve_unit(b"R", b"N", blas.at(a, begin, begin), target, b, width)
            X[:, first + pivots.order[chosen]] = np.array(X[:, chosen])
    return X


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
