"""`AOMatrix`: one operator in the atomic-orbital basis, and the ways out of it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from numpy.typing import ArrayLike

from dock.core import interop, transform
from dock.core.arrays import FloatArray, NumberArray
from dock.core.blockmatrix import BlockMatrix
from dock.core.kspace import KBuilder

__all__ = ["AOMatrix"]

_POINTS = ("dock.states.kpath", "labelled_point")
"""What knows points of high symmetry: by name, for it stands above this package."""


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

    def k(self, k_frac: ArrayLike | str) -> NumberArray:
        """Return the dense matrix at one k-point; for many use `dock.core.kspace.KBuilder`.

        Its shape is (N, N); (2, N, N) for collinear spin; (2N, 2N) for spinors, all up orbitals
        first; (3, N, N) for vector operators. It is real where the Bloch sum is.

        The k-point is three fractions of the reciprocal vectors, or the label of a point of high
        symmetry, ``H.k("K")``, as in paths of bands; `UsageError` lists those of the lattice.
        """
        point = self._named_point(k_frac) if isinstance(k_frac, str) else k_frac
        return KBuilder(self).dense(point)

    def _named_point(self, label: str) -> FloatArray:
        reaches = zip(self.structure.pbc, self.pairs.periodic_axes, strict=True)
        axes = [axis for axis, both in enumerate(reaches) if all(both)]
        labelled = getattr(import_module(_POINTS[0]), _POINTS[1])
        point: FloatArray = labelled(label, self.structure, axes)
        return point
