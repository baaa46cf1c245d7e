"""Compiled loops that add a dense matrix over atom images to the blocks of their pairs."""

from __future__ import annotations

from typing import Any

import numba
from numpy.typing import NDArray

__all__ = ["add_blocks", "add_half"]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _add_part(
    values: NDArray[Any],
    corner: tuple[int, int],
    shape: tuple[int, int],
    place: int,
    entries: NDArray[Any],
) -> None:
    """Add the part of `values` from `corner` on to the block that begins at `place`."""
    (row, column), (n, width) = corner, shape
    for i in range(n):
        # Slices that are counted from 0 become vector instructions.
        source = values[row + i, column : column + width]
        target = entries[place + i * width : place + (i + 1) * width]
        for j in range(width):
            target[j] += source[j]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def add_blocks(
    values: NDArray[Any],
    rows: NDArray[Any],
    counts: NDArray[Any],
    index: NDArray[Any],
    starts: NDArray[Any],
    entries: NDArray[Any],
) -> None:
    """Add the part of `values` between images a and b to block ``index[a, b]``; −1: to none."""
    for a in range(len(rows)):
        for b in range(len(rows)):
            pair, shape = index[a, b], (counts[a], counts[b])
            if pair >= 0:
                _add_part(values, (rows[a], rows[b]), shape, starts[pair], entries)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def add_half(
    values: NDArray[Any],
    rows: NDArray[Any],
    counts: NDArray[Any],
    index: NDArray[Any],
    starts: NDArray[Any],
    entries: NDArray[Any],
) -> None:
    """Add what stands in the lower triangle of `values`, so that twice the Hermitian part is right.

    Of two images a > b only block ``index[a, b]`` gets its part, of one image half of it; −1: none.
    """
    for a in range(len(rows)):
        for b in range(a):
            pair, shape = index[a, b], (counts[a], counts[b])
            if pair >= 0:
                _add_part(values, (rows[a], rows[b]), shape, starts[pair], entries)
        if index[a, a] < 0:
            continue
        first, n, place = rows[a], counts[a], starts[index[a, a]]
        for i in range(n):
            for j in range(n):
                entries[place] += 0.5 * values[first + max(i, j), first + min(i, j)]
                place += 1
