"""Compiled loops over the entries of a matrix; `dock.core.kspace` is their only caller."""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def fold_dense(
    entries: Array,
    starts: Array,
    row: Array,
    col: Array,
    n_rows: Array,
    n_cols: Array,
    phases: Array,
    out: Array,
) -> None:
    """Add phases[p] · block p to out at (row[p], col[p]), for every block."""
    for p in range(len(row)):
        e = starts[p]
        for a in range(row[p], row[p] + n_rows[p]):
            for b in range(col[p], col[p] + n_cols[p]):
                out[a, b] += phases[p] * entries[e]
                e += 1


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def fold_sparse(
    entries: Array, starts: Array, place: Array, indptr: Array, phases: Array, data: Array
) -> None:
    """Add phases[p] · block p into the data of a CSR matrix, for every block.

    ``place[p]`` = (first row, rows, columns, slot, shrink, half): the block's column b stands in
    its row a at ``indptr[row + a] + slot − a · shrink + b``; of a ``half`` block only b ≥ a is
    kept. A negative slot leaves the block out.
    """
    for p in range(len(place)):
        row, n_rows, n_cols, slot, shrink, half = place[p]
        if slot < 0:
            continue
        e = starts[p]
        for a in range(n_rows):
            first = indptr[row + a] + slot - a * shrink
            for b in range(a * half, n_cols):
                data[first + b] += phases[p] * entries[e + b]
            e += n_cols


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def fill_columns(place: Array, col: Array, indptr: Array, indices: Array) -> None:
    """Write the column numbers of every block of a CSR pattern; `place` as in `fold_sparse`."""
    for p in range(len(place)):
        row, n_rows, n_cols, slot, shrink, half = place[p]
        for a in range(n_rows):
            first = indptr[row + a] + slot - a * shrink
            for b in range(a * half, n_cols):
                indices[first + b] = col[p] + b
