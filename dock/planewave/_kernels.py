"""Compiled loop that adds a dense matrix over atom images to the blocks of their pairs."""

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
