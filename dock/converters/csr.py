"""Sparse matrices by lattice vector, for formats without blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.core.interop import orbital_indices
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["csr_by_lattice_vector"]


def csr_by_lattice_vector(
    matrix: AOMatrix, *, doubled: bool = False
) -> Iterator[tuple[NDArray[np.int32], list[scipy.sparse.csr_array]]]:
    """Yield each lattice vector, (3,), ascending, with the (N, N) matrix of every component.

    `doubled` joins the spin components into one (2N, 2N) matrix, all up orbitals first.
    """
    from scipy.sparse import coo_array

    pairs = matrix.pairs
    size = matrix.basis.n_orbitals * (2 if doubled else 1)
    order = np.argsort(pairs.lattice_index, kind="stable")
    ends = np.cumsum(np.bincount(pairs.lattice_index, minlength=len(pairs.lattice_vectors)))
    for number, R in enumerate(pairs.lattice_vectors):
        part = matrix.take_pairs(order[ends[number - 1] if number else 0 : ends[number]])
        row, col = orbital_indices(part.basis, part.pairs)
        entries = part.entries
        if doubled:
            entries, row, col = _join_spins(part, row, col)
        yield R, [coo_array((x, (row, col)), shape=(size, size)).tocsr() for x in entries]


def _join_spins(
    part: AOMatrix, row: NDArray[np.int64], col: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Return the entries of the doubled matrix, (1, n), with their rows and columns."""
    size = part.basis.n_orbitals
    if part.facts.has_spin and part.spin is Spin.NONCOLLINEAR:
        places, components = ((0, 0), (0, 1), (1, 0), (1, 1)), (0, 1, 2, 3)
    else:
        places, components = ((0, 0), (1, 1)), (0, len(part.entries) - 1)  # type: ignore[assignment]
    values = np.concatenate([part.entries[component] for component in components])
    rows = np.concatenate([row + s * size for s, _ in places])
    cols = np.concatenate([col + t * size for _, t in places])
    return values[None], rows, cols
