"""Write matrices as ABACUS's sparse text files, in the layouts before and since 3.9.0.25."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dock.core.interop import orbital_indices
from dock.core.matrix import AOMatrix

__all__ = ["CsrWriter", "new_header"]

_CHUNK = 2**16  # numbers formatted at once
_TITLES = {
    "hamiltonian": "H",
    "overlap": "S",
    "density_matrix": "DM",
    "kinetic": "T",
    "position": "r",
}
_BOX = """ #----------------------------------------------------------------------#
 #                               CSR Format                             #
 # Each matrix begins with its lattice vector R and the number of       #
 # non-zero elements; values, column indices and row pointers follow.   #
 #----------------------------------------------------------------------#
"""


@dataclass(frozen=True, eq=False)
class CsrWriter:
    """How matrices are written.

    Parameters
    ----------
    lattice
        (n_R, 3) lattice vectors to be listed.
    digits
        Digits behind the point.
    spinor
        Whether every matrix has rows and columns for both spins, the spin running fastest.
    new_header
        The structure's part of the header; None for the old layout.
    """

    lattice: NDArray[np.integer[Any]]
    digits: int
    spinor: bool
    new_header: str | None = None

    def write(self, path: Path, matrix: AOMatrix, components: tuple[int, ...]) -> None:
        """Write one file.

        Parameters
        ----------
        path
            The file.
        matrix
            The matrix, in ABACUS's units and orbital order.
        components
            Which components go into the file: one, the four of spinors, or x, y and z.
        """
        is_vector = matrix.quantity == "position"
        size = matrix.basis.n_orbitals * (2 if self.spinor else 1)
        keep_empty = self.new_header is None and matrix.quantity != "density_matrix"
        groups = _by_lattice(matrix)
        nothing = np.zeros(0, dtype=np.int64)
        with path.open("wb") as stream:
            stream.write(self._header(matrix.quantity, size, components[0]).encode())
            for R in self.lattice:
                here = groups.get((int(R[0]), int(R[1]), int(R[2])), nothing)
                parts = _sparse(matrix.take_pairs(here), components, spinor=self.spinor)
                if not (keep_empty or is_vector or any(len(part[0]) for part in parts)):
                    continue
                place = " ".join(str(int(number)) for number in R)
                stream.write(f"{place}\n".encode() if is_vector else f"{place} ".encode())
                for rows, cols, values in parts:
                    stream.write(f"{len(rows)}\n".encode())
                    if len(rows):
                        self._write_block(stream, size, rows, cols, values)

    def _header(self, quantity: str, size: int, component: int) -> str:
        title = _TITLES[quantity]
        if self.new_header is None:
            return (
                f"STEP: 0\nMatrix Dimension of {title}(R): {size}\n"
                f"Matrix number of {title}(R): {len(self.lattice)}\n"
            )
        return (
            f" --- Ionic Step 1 ---\n # print {title} matrix in real space {title}(R)\n"
            f" {component + 1} # spin index\n {size} # number of localized basis\n"
            f" {len(self.lattice)} # number of Bravais lattice vector R\n\n"
            f"{self.new_header}\n{_BOX}\n"
        )

    def _write_block(
        self,
        stream: IO[bytes],
        size: int,
        rows: NDArray[np.int64],
        cols: NDArray[np.int64],
        values: NDArray[Any],
    ) -> None:
        pointers = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=size))])
        number = f" %.{self.digits}e"
        if values.dtype.kind == "c":
            number = f" (%.{self.digits}e,%.{self.digits}e)"
            values = np.ascontiguousarray(values).view(np.float64).reshape(-1, 2)
        lines = ((number, values, "values"), (" %d", cols, "column indices"))
        for form, data, title in (*lines, (" %d", pointers, "row pointers")):
            if self.new_header is not None:
                stream.write(f" # CSR {title}\n".encode())
            for piece in _formatted(form, data):
                stream.write(piece)
            stream.write(b"\n")


def new_header(lattice: str, symbols: str, counts: str, positions: str) -> str:
    """Return the structure's part of the new layout's header.

    Parameters
    ----------
    lattice
        Three lines: the lattice vectors in Å.
    symbols, counts
        The species and their numbers of atoms.
    positions
        One line of fractional coordinates for each atom.
    """
    return f" user_defined_lattice\n 1\n{lattice}\n {symbols}\n {counts}\n Direct\n{positions}\n"


def _formatted(form: str, data: NDArray[Any]) -> Iterator[bytes]:
    """Yield the text of many numbers, a piece at a time."""
    for begin in range(0, len(data), _CHUNK):
        piece = data[begin : begin + _CHUNK]
        yield ((form * len(piece)) % tuple(piece.ravel().tolist())).encode()


def _by_lattice(matrix: AOMatrix) -> dict[tuple[int, int, int], NDArray[np.int64]]:
    """Return the numbers of the pairs of each lattice vector."""
    index = matrix.pairs.lattice_index
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], np.arange(1, len(matrix.pairs.lattice_vectors)))
    parts = np.split(order, bounds)
    return {
        (int(R[0]), int(R[1]), int(R[2])): part
        for R, part in zip(matrix.pairs.lattice_vectors, parts, strict=True)
    }


def _sparse(
    part: AOMatrix, components: tuple[int, ...], *, spinor: bool
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]]:
    """Return rows, columns and values of one lattice vector: one list for each axis."""
    row, col = orbital_indices(part.basis, part.pairs)
    entries = part.entries[list(components)]
    if not spinor:
        return [_nonzero(row, col, one) for one in entries]
    if len(entries) == 4:
        rows = np.concatenate([2 * row, 2 * row, 2 * row + 1, 2 * row + 1])
        cols = np.concatenate([2 * col, 2 * col + 1, 2 * col, 2 * col + 1])
        return [_nonzero(rows, cols, entries.reshape(-1))]
    rows, cols = np.concatenate([2 * row, 2 * row + 1]), np.concatenate([2 * col, 2 * col + 1])
    return [_nonzero(rows, cols, np.concatenate([one, one])) for one in entries]


def _nonzero(
    rows: NDArray[np.int64], cols: NDArray[np.int64], values: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Drop zeros and sort by row, then column."""
    kept = np.flatnonzero(values)
    order = kept[np.lexsort((cols[kept], rows[kept]))]
    return rows[order], cols[order], values[order]
