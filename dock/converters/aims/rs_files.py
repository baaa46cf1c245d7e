"""The sparse files of periodic runs (``output_rs_matrices``): rs_indices.out and the numbers.

rs_indices.out says which cell, row and column each number of the matrix files belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, Int64Array
from dock.core.interop import orbital_indices
from dock.core.matrix import AOMatrix
from dock.errors import FormatError
from dock.io.hdf5 import new_hdf5, open_hdf5
from dock.io.text import CUT_FIX, TextNumbers

__all__ = [
    "EntrySlice",
    "SparseIndices",
    "SparsePattern",
    "fold_shifts",
    "read_indices",
    "read_values",
    "write_values",
]

DUMMY_CELL = 999999999
_SLICE = 2**18  # entries handled at once
_CHUNK = 2**16  # numbers formatted at once
_DATASET = "sparse_matrix"


class EntrySlice(NamedTuple):
    """Some consecutive entries.

    Attributes
    ----------
    begin, end
        Their positions, from 0.
    cell
        (n,) index of the cell of each.
    row, col
        (n,) basis functions, from 0; the column is not above the row.
    """

    begin: int
    end: int
    cell: Int64Array
    row: Int64Array
    col: Int64Array


@dataclass(frozen=True, eq=False)
class SparseIndices:
    """The index tables.

    Attributes
    ----------
    path
        The file.
    n_stored
        Numbers in each matrix file, the dummy at the end included.
    cells
        (n_cells, 3) lattice vectors, without the dummy: that by which the row is moved.
    starts, lengths
        (n_cells · n_basis,) first position (from 0) and number of entries of each row of each
        cell, in the order of the table.
    columns
        (n_stored − 1,) column of each entry, from 0.
    n_basis
        Basis functions of the cell.
    """

    path: Path
    n_stored: int
    cells: Int64Array
    starts: Int64Array
    lengths: Int64Array
    columns: NDArray[np.int32]
    n_basis: int

    @cached_property
    def _rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return _rows_in_order(self.starts, self.lengths)

    def slices(self) -> Iterator[EntrySlice]:
        """Yield all entries, some at a time."""
        order, ends = self._rows
        total = len(self.columns)
        for begin in range(0, total, _SLICE):
            end = min(begin + _SLICE, total)
            first = int(np.searchsorted(ends, begin, side="right"))
            last = int(np.searchsorted(ends, end - 1, side="right"))
            bounds = np.concatenate([[begin], ends[first:last], [end]])
            place = np.repeat(order[first : last + 1], np.diff(bounds))
            column = self.columns[begin:end].astype(np.int64)
            yield EntrySlice(begin, end, place // self.n_basis, place % self.n_basis, column)


def read_indices(path: Path, n_basis: int) -> SparseIndices:
    """Read rs_indices.out; `n_basis` is the number of functions in basis-indices.out.

    Raises
    ------
    FormatError
        When it is cut, contradicts itself or the basis, or holds more than one triangle.
    """
    with TextNumbers(path) as numbers:
        n_stored, n_cells, n_functions = (
            _count(path, numbers.line(), word)
            for word in ("n_hamiltonian_matrix_size", "n_cells_in_hamiltonian", "n_basis")
        )
        if n_functions != n_basis:
            expected = f"{n_basis} basis functions"
            _fail(path, "it belongs to another basis", expected, f"{n_functions}")
        if n_stored < 2 or n_cells < 2:
            _fail(path, "it holds no entries", "counts above 1", f"{n_stored} and {n_cells}")
        _title(path, numbers.line(), "cell_index")
        cells = numbers.take(3 * n_cells, np.int64, "cell_index").reshape(-1, 3)
        tables = []
        for number in (1, 2):
            _title(path, numbers.line(), f"index_hamiltonian({number}")
            what = f"index_hamiltonian({number},:,:)"
            tables.append(numbers.take(n_cells * n_basis, np.int64, what).reshape(n_cells, -1))
        _title(path, numbers.line(), "column_index_hamiltonian")
        columns = numbers.take_rest(n_stored, np.int32, "column_index_hamiltonian")
    if not np.all(cells[-1] == DUMMY_CELL) or np.any(np.abs(cells[:-1]) >= 2**20):
        _fail(path, "the cells are wrong", "lattice vectors and a last dummy", f"{cells[-1]}")
    starts, lengths = _ranges(path, tables[0][:-1].ravel(), tables[1][:-1].ravel(), n_stored)
    indices = SparseIndices(
        path, n_stored, cells[:-1], starts, lengths, columns[:-1] - np.int32(1), n_basis
    )
    _check_triangle(path, indices)
    return indices


def _rows_in_order(starts: Int64Array, lengths: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the rows that have entries, in the order of their positions, and where they end."""
    used = np.flatnonzero(lengths)
    order = used[np.argsort(starts[used], kind="stable")]
    return order, np.cumsum(lengths[order])


def _ranges(
    path: Path, first: NDArray[np.int64], last: NDArray[np.int64], n_stored: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return start and length of each row; together they must cover every entry once."""
    lengths = np.where((first > 0) & (last >= first), last - first + 1, 0)
    starts = first - 1
    order, ends = _rows_in_order(starts, lengths)
    covered = len(order) > 0 and np.array_equal(starts[order], ends - lengths[order])
    if not covered or int(ends[-1]) != n_stored - 1:
        _fail(
            path,
            "the rows do not cover the entries",
            f"positions 1 to {n_stored - 1}, each once",
            f"{int(lengths.sum())} positions",
        )
    return starts, lengths


def _check_triangle(path: Path, indices: SparseIndices) -> None:
    """Refuse columns out of range or above the row."""
    for part in indices.slices():
        if part.col.min(initial=0) < 0 or np.any(part.col > part.row):
            _fail(path, "a column is wrong", "1 up to the row's number", f"{part.col.max() + 1}")
        same_row = (np.diff(part.row) == 0) & (np.diff(part.cell) == 0)
        if np.any(same_row & (np.diff(part.col) <= 0)):
            _fail(path, "the columns of a row do not ascend", "ascending columns", "others")


def _count(path: Path, line: bytes | None, word: str) -> int:
    parts = (line or b"").split(b":")
    if len(parts) == 2 and parts[0].strip() == word.encode() and parts[1].strip().isdigit():
        return int(parts[1])
    return _fail(path, "the header is damaged", f"'{word}: number'", repr((line or b"")[:60]))


def _title(path: Path, line: bytes | None, word: str) -> None:
    if not (line or b"").replace(b" ", b"").startswith(word.encode()):
        _fail(path, "a title is missing", f"'{word}'", repr((line or b"")[:60]))


def _fail(path: Path, problem: str, expected: str, found: str) -> NoReturn:
    raise FormatError(path, problem, expected=expected, found=found, fix=CUT_FIX)


def read_values(path: Path, count: int) -> NDArray[np.float64]:
    """Return the numbers of a sparse file, text or HDF5, the dummy included."""
    if path.suffix != ".h5":
        with TextNumbers(path) as numbers:
            return numbers.take_rest(count, np.float64, "entries of rs_indices.out")
    with open_hdf5(path, CUT_FIX) as file:
        values = np.asarray(file[_DATASET][...], dtype=np.float64).ravel()
    if len(values) != count:
        raise FormatError(
            path,
            "the file does not fit its indices",
            where=_DATASET,
            expected=f"{count} numbers, as rs_indices.out says",
            found=f"{len(values)}",
            fix="Both must come from one run.",
        )
    return values


def fold_shifts(fractional: FloatArray) -> NDArray[np.int64]:
    """Return n with ``fractional − n`` in (−½, ½]; ½ itself stays, also when rounding moved it.

    Examples
    --------
    >>> fold_shifts(np.array([[2 / 3, 0.5, -0.5], [0.5 + 1e-12, -0.6, 1.2]])).tolist()
    [[1, 0, -1], [0, -1, 1]]
    """
    shifts: NDArray[np.int64] = np.ceil(fractional - 0.5 - 1e-9).astype(np.int64)
    return shifts


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

    cells: Int64Array
    cell: Int64Array
    row: Int64Array
    col: Int64Array
    sources: Int64Array
    n_basis: int

    @classmethod
    def of(cls, matrices: Sequence[AOMatrix]) -> SparsePattern:
        """Return what is stored of matrices on the same pairs: where any of them is not zero."""
        first = matrices[0]
        pairs, basis = first.pairs, first.basis
        n = fold_shifts(first.structure.fractional)
        moved = n[pairs.i] - n[pairs.j] - pairs.R
        origin = np.zeros((1, 3), dtype=np.int64)
        vectors, place = np.unique(np.vstack([origin, moved]), axis=0, return_inverse=True)
        origin_first = np.argsort(np.any(vectors, axis=1), kind="stable")
        cells = vectors[origin_first]
        cell_of_pair = np.argsort(origin_first)[place.ravel()[1:]]
        pair = np.repeat(np.arange(len(pairs)), first.layout.rows * first.layout.cols)
        row, col = orbital_indices(basis, pairs)
        kept = col <= row
        kept &= np.any([np.any(matrix.entries, axis=0) for matrix in matrices], axis=0)
        sources = np.flatnonzero(kept)
        cell = cell_of_pair[pair[sources]]
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
            file[_DATASET] = whole
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
