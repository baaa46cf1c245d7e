"""Compiled loops that add a dense matrix over atom images to the blocks of their pairs."""

from __future__ import annotations

from typing import Any

import numba
from numpy.typing import NDArray


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
            pair = index[a, b]
            if pair < 0:
                continue
            place = starts[pair]
            for i in range(rows[a], rows[a] + counts[a]):
                for j in range(rows[b], rows[b] + counts[b]):
                    entries[place] += values[i, j]
                    place += 1


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
            pair = index[a, b]
            if pair < 0:
                continue
            place = starts[pair]
            for i in range(rows[a], rows[a] + counts[a]):
                for j in range(rows[b], rows[b] + counts[b]):
                    entries[place] += values[i, j]
                    place += 1
        if index[a, a] < 0:
            continue
        first, n = rows[a], counts[a]
        place = starts[index[a, a]]
        for i in range(n):
            for j in range(n):
                entries[place] += 0.5 * values[first + max(i, j), first + min(i, j)]
                place += 1
