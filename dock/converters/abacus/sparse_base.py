"""What the readers of ABACUS's sparse files share: steps, entries, the checks on both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import IntArray
from dock.errors import FormatError
from dock.io.text import CUT_FIX

__all__ = ["SparseBlock", "SparseSource", "Step"]


@dataclass(frozen=True)
class Step:
    """Where one ionic step stands in a file.

    Attributes
    ----------
    number
        Number of the step, from 0.
    offset
        Position of its header, bytes.
    """

    number: int
    offset: int


class SparseBlock(NamedTuple):
    """The matrix of one lattice vector and one component, entry by entry.

    Attributes
    ----------
    R
        Lattice vector.
    component
        0, or 0, 1, 2 for the x, y, z of a position matrix.
    rows, cols
        (n,) indices from 0, rows ascending.
    values
        (n,) real or complex, in the file's units.
    """

    R: tuple[int, int, int]
    component: int
    rows: IntArray
    cols: IntArray
    values: NDArray[Any]


@dataclass(frozen=True)
class SparseSource:
    """One file of sparse matrices.

    Parameters
    ----------
    path
        A text file (also compressed, ``.gz``) or a binary record (``.dat``).
    size
        Rows of the matrices: orbitals, doubled with spinors.
    n_vector
        3 for a file of position matrices, else 1.
    """

    path: Path
    size: int
    n_vector: int = 1

    def check_size(self, size: int) -> None:
        """Refuse a file whose matrices have another size than the basis."""
        if size != self.size:
            self.fail(
                "the matrices have another size than the basis",
                "the header",
                expected=f"{self.size} rows (from the log)",
                found=f"{size}",
            )

    def rows(self, pointers: NDArray[np.int64], cols: IntArray, where: str) -> IntArray:
        """Return the row of each entry; refuse pointers or columns that cannot be right."""
        lengths = pointers[1:] - pointers[:-1]
        if pointers[0] != 0 or pointers[-1] != len(cols) or np.any(lengths < 0):
            self.fail(
                "the row pointers are wrong",
                where,
                expected=f"ascending from 0 to {len(cols)}",
                found=f"{pointers[0]} … {pointers[-1]}",
            )
        if cols.min() < 0 or cols.max() >= self.size:
            self.fail(
                "a column is out of range",
                where,
                expected=f"0 to {self.size - 1}",
                found=f"{cols.min()} to {cols.max()}",
            )
        rows = np.repeat(np.arange(self.size, dtype=np.min_scalar_type(self.size)), lengths)
        if not np.all((cols[1:] > cols[:-1]) | (rows[1:] > rows[:-1])):
            self.fail("the columns of a row do not ascend", where)
        return rows

    def fail(
        self, problem: str, where: str, *, expected: object = None, found: object = None
    ) -> NoReturn:
        """Refuse the file."""
        raise FormatError(
            self.path, problem, where=where, expected=expected, found=found, fix=CUT_FIX
        )
