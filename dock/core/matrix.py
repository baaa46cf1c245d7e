"""`AOMatrix`: one operator in the atomic-orbital basis, and the ways out of it."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from dock.core import interop, transform
from dock.core.arrays import NumberArray
from dock.core.blockmatrix import BlockMatrix
from dock.core.kspace import KBuilder

__all__ = ["AOMatrix"]


@dataclass(frozen=True, eq=False, repr=False)
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

    rotate = transform.rotate
    supercell = transform.supercell
    select_atoms = transform.select_atoms
    permute_atoms = transform.permute_atoms
    to_csr = interop.to_csr
    to_sisl = interop.to_sisl

    def k(self, k_frac: ArrayLike) -> NumberArray:
        """Return the dense matrix at one k-point; for many use `dock.core.kspace.KBuilder`.

        Its shape is (N, N); (2, N, N) for collinear spin; (2N, 2N) for spinors, all up orbitals
        first; (3, N, N) for vector operators. It is real where the Bloch sum is.
        """
        return KBuilder(self).dense(k_frac)
