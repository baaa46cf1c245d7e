"""The matrices of molecules, ``output h_s_matrices``: lines ``i j value`` of the upper triangle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.errors import FormatError
from dock.io.text import TextNumbers

__all__ = ["FILES", "read_triangle", "write_triangle"]

FILES = {"overlap": "overlap-matrix.out", "hamiltonian": "hamiltonian.out"}
"""File of each quantity."""


def read_triangle(path: Path, size: int) -> NDArray[np.float64]:
    """Return the symmetric (size, size) matrix of a file with all elements of the upper triangle.

    Raises
    ------
    FormatError
        When the elements are others, or damaged.
    """
    count = size * (size + 1) // 2
    with TextNumbers(path) as numbers:
        table = numbers.take_rest(3 * count, np.float64, "lines 'i j value'").reshape(-1, 3)
    cols = np.repeat(np.arange(size), np.arange(1, size + 1))
    rows = np.arange(count) - np.repeat(np.cumsum(np.arange(size)), np.arange(1, size + 1))
    wrong = np.flatnonzero((table[:, 0] != rows + 1) | (table[:, 1] != cols + 1))
    if len(wrong):
        line = int(wrong[0])
        raise FormatError(
            path,
            "the elements are not those of one upper triangle",
            where=f"line {line + 1}",
            expected=f"{count} lines, columns 1 to {size} one after another",
            found=f"{table[line, :2].tolist()}",
            fix="It belongs to another basis, is damaged, or has two spins (not supported).",
        )
    matrix = np.zeros((size, size))
    matrix[rows, cols] = table[:, 2]
    matrix[cols, rows] = table[:, 2]
    return matrix


def write_triangle(path: Path, matrix: ArrayLike) -> None:
    """Write the upper triangle of a real symmetric matrix, column by column."""
    dense = np.asarray(matrix, dtype=np.float64)
    with path.open("w", encoding="ascii") as stream:
        for col in range(len(dense)):
            stream.write("".join(_lines(dense[: col + 1, col].tolist(), col + 1)))


def _lines(values: list[float], col: int) -> Iterator[str]:
    """Yield the lines of one column; FHI-aims prints three digits of the exponent."""
    for row, value in enumerate(values, 1):
        mantissa, _, exponent = f"{value:.16E}".partition("E")
        yield f"{row:6d}{col:6d}  {mantissa:>19s}E{exponent[0]}{int(exponent[1:]):03d}\n"
