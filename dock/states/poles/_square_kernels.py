"""Compiled copies between square fronts and the entries of a matrix.

Square fronts are stored column after column. Blocks are those of
`dock.states.sparse._front_kernels.scatter`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

_compiled = numba.njit(nogil=True, cache=True)


@_compiled  # type: ignore[untyped-decorator]
def _row(starts: Array, row: int, within: int, tail: int) -> tuple[int, int]:
    """Return where column 0 of a block would stand in a row's entries, and its first column.

    `within` is the number of the row in a block on the diagonal, −1 in another one.
    """
    return (starts[row + 1] - tail, 0) if within < 0 else (starts[row] - within, within)


@_compiled  # type: ignore[untyped-decorator]
def put(
    upper: Array,
    lower: Array,
    starts: Array,
    blocks: Array,
    run_first: Array,
    run_size: Array,
    front: Array,
) -> None:
    """Put the entries of a front's own rows and columns into it.

    `upper` are those of the upper triangle in rows, `lower` their mirror images.
    """
    for number in range(len(blocks)):
        a, b, tail, row, col = blocks[number]
        for i in range(run_size[a]):
            begin, first = _row(starts, run_first[a] + i, i if a == b else -1, tail)
            for j in range(first, run_size[b]):
                front[row + i, col + j] = upper[begin + j]
                front[col + j, row + i] = lower[begin + j]


@_compiled  # type: ignore[untyped-decorator]
def take(
    front: Array,
    starts: Array,
    blocks: Array,
    run_first: Array,
    run_size: Array,
    symmetric: bool,
    upper: Array,
    lower: Array,
) -> None:
    """Take the entries of a front's own rows and columns out of it, the inverse of `put`.

    Of a `symmetric` front only the lower triangle is read, and only `upper` is written.
    """
    for number in range(len(blocks)):
        a, b, tail, row, col = blocks[number]
        for i in range(run_size[a]):
            begin, first = _row(starts, run_first[a] + i, i if a == b else -1, tail)
            for j in range(first, run_size[b]):
                if not symmetric:
                    upper[begin + j] = front[row + i, col + j]
                    lower[begin + j] = front[col + j, row + i]
                elif row + i > col + j:
                    upper[begin + j] = front[row + i, col + j]
                else:
                    upper[begin + j] = front[col + j, row + i]


@_compiled  # type: ignore[untyped-decorator]
def add_square(source: Array, into: Array, target: Array) -> None:
    """Add a square to the rows and columns `into` of a larger one."""
    for j in range(len(into)):
        for i in range(len(into)):
            target[into[i], into[j]] += source[i, j]


@_compiled  # type: ignore[untyped-decorator]
def pick_square(source: Array, into: Array, symmetric: bool, target: Array) -> None:
    """Copy the rows and columns `into`, ascending, of a square; the lower triangle if symmetric."""
    for j in range(len(into)):
        for i in range(j if symmetric else 0, len(into)):
            target[i, j] = source[into[i], into[j]]
