"""`AOMatrix`: one operator in the atomic-orbital basis, and the ways out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from dock.core.arrays import NumberArray
from dock.core.blockmatrix import BlockMatrix
from dock.core.interop import to_csr, to_sisl
from dock.core.kspace import KBuilder
from dock.core.transform import permute_atoms, rotate, select_atoms, supercell

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["AOMatrix"]


@dataclass(frozen=True, eq=False)
class AOMatrix(BlockMatrix):
    """An operator O with blocks ⟨i, cell 0 | O | j, cell R⟩; see `BlockMatrix` for its parts.

    The algebra on blocks is that of `BlockMatrix`; here are Bloch sums, other cells, and other
    packages' objects.

    Examples
    --------
    >>> import dock
    >>> dock.read("fixtures/openmx/si").overlap.k([0, 0, 0]).shape
    (10, 10)
    """

    def k(self, k_frac: ArrayLike) -> NumberArray:
        """Return the dense matrix at one k-point; for many use `dock.core.kspace.KBuilder`.

        Parameters
        ----------
        k_frac
            Three fractional coordinates.

        Returns
        -------
        ndarray
            (N, N); (2, N, N) for collinear spin; (2N, 2N) for spinors, all up orbitals first;
            (3, N, N) for vector operators. Real where the Bloch sum is.
        """
        return KBuilder(self).dense(k_frac)

    def to_csr(self, R: ArrayLike, component: int = 0) -> scipy.sparse.csr_array:
        """Return the (N, N) sparse matrix of one lattice vector and component."""
        return to_csr(self, R, component)

    def to_sisl(self, overlap: AOMatrix | None = None) -> Any:
        """Return a sisl ``Hamiltonian`` or ``DensityMatrix``; see `dock.core.interop.to_sisl`."""
        return to_sisl(self, overlap)

    def rotate(self, Q: ArrayLike) -> AOMatrix:
        """Return the operator of the structure rotated by Q; see `dock.core.transform.rotate`."""
        return rotate(self, Q)

    def supercell(self, matrix: ArrayLike) -> AOMatrix:
        """Return the operator of a supercell; see `dock.core.transform.supercell`."""
        return supercell(self, matrix)

    def select_atoms(self, atoms: ArrayLike) -> AOMatrix:
        """Return the blocks among the given atoms, renumbered in the given order."""
        return select_atoms(self, atoms)

    def permute_atoms(self, order: ArrayLike) -> AOMatrix:
        """Return the matrix with atom ``order[a]`` as its atom a; the blocks stay in place."""
        return permute_atoms(self, order)
