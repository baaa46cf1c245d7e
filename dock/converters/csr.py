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

__all__ = ["csr_by_lattice_vector", "entries_by_lattice_vector"]

_AT_ONCE = 2**18  # entries; one lattice vector of a small cell has a few hundred


def csr_by_lattice_vector(
    matrix: AOMatrix, *, doubled: bool = False
) -> Iterator[tuple[NDArray[np.int32], list[scipy.sparse.csr_array]]]:
    """Yield each lattice vector, (3,), ascending, with the (N, N) matrix of every component.

    `doubled` joins the spin components into one (2N, 2N) matrix, all up orbitals first.
    """
    from scipy.sparse import coo_array

    size = matrix.basis.n_orbitals * (2 if doubled else 1)
    for R, entries, row, col in entries_by_lattice_vector(matrix, doubled=doubled):
        yield R, [coo_array((x, (row, col)), shape=(size, size)).tocsr() for x in entries]


def entries_by_lattice_vector(
    matrix: AOMatrix, *, doubled: bool = False
) -> Iterator[tuple[NDArray[np.int32], NDArray[Any], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield each lattice vector with entries (components, n) and their rows and columns, (n,).

    The rest is as for `csr_by_lattice_vector`.
    """
    pairs, layout = matrix.pairs, matrix.layout
    order = np.argsort(pairs.lattice_index, kind="stable")
    ends = np.cumsum(np.bincount(pairs.lattice_index, minlength=len(pairs.lattice_vectors)))
    sizes = np.cumsum((layout.rows * layout.cols)[order])[ends - 1]  # entries up to each vector
    begin = 0
    while begin < len(ends):
        done = sizes[begin - 1] if begin else 0
        stop = max(int(np.searchsorted(sizes, done + _AT_ONCE, side="right")), begin + 1)
        part = matrix.take_pairs(order[ends[begin - 1] if begin else 0 : ends[stop - 1]])
        row, col = orbital_indices(part.basis, part.pairs)
        for number in range(begin, stop):
            own = slice(sizes[number - 1] - done if number else 0, sizes[number] - done)
            found = part.entries[:, own], row[own], col[own]
            yield pairs.lattice_vectors[number], *(_joined(part, *found) if doubled else found)
        begin = stop


def _joined(
    part: AOMatrix, entries: NDArray[Any], row: NDArray[np.int64], col: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Return entries of the doubled matrix, (1, n), with their rows and columns."""
    size = part.basis.n_orbitals
    if part.facts.has_spin and part.spin is Spin.NONCOLLINEAR:
        places, components = ((0, 0), (0, 1), (1, 0), (1, 1)), (0, 1, 2, 3)
    else:
        places, components = ((0, 0), (1, 1)), (0, len(entries) - 1)  # type: ignore[assignment]
    values = np.concatenate([entries[component] for component in components])
    rows = np.concatenate([row + s * size for s, _ in places])
    cols = np.concatenate([col + t * size for _, t in places])
    return values[None], rows, cols
