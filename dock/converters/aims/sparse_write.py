"""Write rs_indices.out and the numbers that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.aims.pattern import fold_shifts
from dock.converters.aims.rs_files import DUMMY_CELL
from dock.core.interop import orbital_indices
from dock.core.matrix import AOMatrix
from dock.io.hdf5 import new_hdf5

__all__ = ["SparsePattern", "write_values"]

_CHUNK = 2**16  # numbers formatted at once


@dataclass(frozen=True, eq=False)
class SparsePattern:
    """The entries of one triangle that are stored, by cell, row and column.

    Parameters
    ----------
    cells
        (n_cells, 3) lattice vectors, the origin first.
    cell, row, col
        (n,) of each entry; functions from 0.
    sources
        (n,) where each entry stands in the matrices' flat arrays.
    n_basis
        Basis functions of the cell.
    """

    cells: NDArray[np.int64]
    cell: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    sources: NDArray[np.int64]
    n_basis: int

    @classmethod
    def of(cls, matrices: Sequence[AOMatrix]) -> SparsePattern:
        """Return what is stored of matrices on the same pairs: where any of them is not zero."""
        first = matrices[0]
        pairs, basis = first.pairs, first.basis
        n = fold_shifts(first.structure.fractional)
        moved = n[pairs.i] - n[pairs.j] - pairs.R
        lower = pairs.i >= pairs.j
        found = np.unique(np.concatenate([moved[lower], -moved[lower]]), axis=0)
        origin = ~np.any(found, axis=1)
        cells = np.concatenate([np.zeros((1, 3), dtype=np.int64), found[~origin]])
        pair = np.repeat(np.arange(len(pairs)), first.layout.rows * first.layout.cols)
        row, col = orbital_indices(basis, pairs)
        kept = lower[pair] & (col <= row)
        kept &= np.any([np.any(matrix.entries, axis=0) for matrix in matrices], axis=0)
        sources = np.flatnonzero(kept)
        cell = _place(cells, moved, lower)[pair[sources]]
        order = np.lexsort((col[sources], row[sources], cell))
        sources, cell = sources[order], cell[order]
        return cls(cells, cell, row[sources], col[sources], sources, basis.n_orbitals)

    def write(self, path: Path) -> None:
        """Write rs_indices.out."""
        n_rows = len(self.cells) * self.n_basis
        lengths = np.bincount(self.cell * self.n_basis + self.row, minlength=n_rows)
        ends = np.cumsum(lengths)
        starts = np.where(lengths > 0, ends - lengths + 1, 0)
        last = np.where(lengths > 0, ends, -1)
        dummies = np.zeros(self.n_basis, dtype=np.int64)
        cells = np.concatenate([self.cells, np.full((1, 3), DUMMY_CELL)])
        with path.open("w", encoding="ascii") as stream:
            stream.write(f"n_hamiltonian_matrix_size: {len(self.row) + 1:12d}\n")
            stream.write(f"n_cells_in_hamiltonian: {len(cells):12d}\n")
            stream.write(f"n_basis: {self.n_basis:12d}\ncell_index\n")
            _write_table(stream, cells)
            for number, table, empty in ((1, starts, 0), (2, last, -1)):
                stream.write(f"index_hamiltonian({number},:,:)\n")
                whole = np.concatenate([table, dummies + empty]).reshape(-1, self.n_basis)
                _write_table(stream, whole)
            stream.write("column_index_hamiltonian\n")
            _write_table(stream, np.append(self.col + 1, 0)[:, None])


def write_values(path: Path, values: NDArray[np.float64]) -> None:
    """Write the numbers of one matrix, followed by the dummy zero: text, or HDF5 by the suffix."""
    whole = np.append(values, 0.0)
    if path.suffix == ".h5":
        with new_hdf5(path) as file:
            file["sparse_matrix"] = whole
        return
    with path.open("w", encoding="ascii") as stream:
        for begin in range(0, len(whole), _CHUNK):
            piece = whole[begin : begin + _CHUNK].tolist()
            stream.write(("%24.16E\n" * len(piece)) % tuple(piece))


def _write_table(stream: IO[str], table: NDArray[Any]) -> None:
    """Write integers in columns."""
    line = "%10d" + " %10d" * (table.shape[1] - 1) + "\n"
    rows = max(1, _CHUNK // table.shape[1])
    for begin in range(0, len(table), rows):
        piece = table[begin : begin + rows]
        stream.write((line * len(piece)) % tuple(piece.ravel().tolist()))


def _place(
    cells: NDArray[np.int64], vectors: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the index of each chosen vector among the cells, −1 for the others."""
    known = {(int(a), int(b), int(c)): index for index, (a, b, c) in enumerate(cells)}
    distinct, inverse = np.unique(vectors[chosen], axis=0, return_inverse=True)
    places = np.array([known[int(a), int(b), int(c)] for a, b, c in distinct], dtype=np.int64)
    result = np.full(len(vectors), -1)
    result[chosen] = places[inverse.ravel()]
    return result
