"""Compiled loops over the entries of fronts and over the elimination of graphs."""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

_compiled = numba.njit(nogil=True, cache=True)


@_compiled  # type: ignore[untyped-decorator]
def scatter(
    values: Array,
    starts: Array,
    blocks: Array,
    run_first: Array,
    run_size: Array,
    offsets: Array,
    hermitian: bool,
    out: Array,
) -> None:
    """Put the entries of a front's own columns into it; it is zero before.

    `values` are the upper triangle in rows, of which `starts` are the beginnings. Each of `blocks`
    is (run of the rows, run of the columns, entries of a row from the block's first to its end,
    place of the rows in the front, place of the columns). Column c of the front begins at
    ``offsets[c]`` of `out`, counted so that its row r stands at ``offsets[c] + r``.
    """
    for number in range(len(blocks)):
        a, b, tail, row, col = blocks[number]
        for i in range(run_size[a]):
            end = starts[run_first[a] + i + 1]
            if a == b:
                begin = starts[run_first[a] + i]
                for j in range(i, run_size[a]):
                    value = values[begin + j - i]
                    out[offsets[row + i] + col + j] = np.conj(value) if hermitian else value
            elif col > row:
                for j in range(run_size[b]):
                    value = values[end - tail + j]
                    out[offsets[row + i] + col + j] = np.conj(value) if hermitian else value
            else:
                for j in range(run_size[b]):
                    out[offsets[col + j] + row + i] = values[end - tail + j]


@_compiled  # type: ignore[untyped-decorator]
def extend_add(
    update: Array,
    its_offsets: Array,
    into: Array,
    first: int,
    stop: int,
    n_own: int,
    own: Array,
    own_offsets: Array,
    rest: Array,
    rest_offsets: Array,
) -> None:
    """Add columns first … stop − 1 of a child's update (lower triangle) to its parent's front.

    Row i of the update is row ``into[i]`` of the parent, ascending. The parent's first `n_own`
    columns stand in `own`, the others in `rest`.
    """
    n = len(into)
    for j in range(first, stop):
        source = its_offsets[j]
        column = into[j]
        if column < n_own:
            base = own_offsets[column]
            for i in range(j, n):
                own[base + into[i]] += update[source + i]
        else:
            base = rest_offsets[column - n_own]
            for i in range(j, n):
                rest[base + into[i]] += update[source + i]


@_compiled  # type: ignore[untyped-decorator]
def read_pivots(
    block: Array,
    lead: int,
    n: int,
    interchanges: Array,
    off_diagonal: Array,
    smallest: float,
    hermitian: bool,
    order: Array,
    diagonal: Array,
) -> tuple[int, int]:
    """Take D and the interchanges of LAPACK's Bunch–Kaufman factor of a diagonal block.

    `block` begins at the block's first entry, column by column with distance `lead`. `order` (n,)
    gets the rows' places before the interchanges, `diagonal` that of D; pivots smaller than
    `smallest` are moved there. Returns the number of negative eigenvalues of D (of Hermitian
    ones) and that of the moved pivots.
    """
    for k in range(n):
        order[k] = k
        diagonal[k] = block[k * lead + k].real if hermitian else block[k * lead + k]
    negative = 0
    moved = 0
    k = 0
    while k < n:
        if interchanges[k] > 0:
            other = interchanges[k] - 1
            order[k], order[other] = order[other], order[k]
            if abs(diagonal[k]) < smallest:
                moved += 1
                diagonal[k] = -smallest if diagonal[k].real < 0 else smallest
            negative += diagonal[k].real < 0
            k += 1
        else:
            other = -interchanges[k + 1] - 1
            order[k + 1], order[other] = order[other], order[k + 1]
            if abs(off_diagonal[k]) < smallest:
                moved += 2
                diagonal[k] = 0
                diagonal[k + 1] = 0
                off_diagonal[k] = smallest
            # A pivot of two rows is chosen for its off-diagonal: its determinant is negative.
            negative += 1
            k += 2
    return negative, moved


@_compiled  # type: ignore[untyped-decorator]
def gather_columns(
    source: Array, first: int, lead: int, rows: int, order: Array, out: Array, begin: int, step: int
) -> None:
    """Copy columns ``order`` of a block of `source` to consecutive columns of `out`."""
    for k in range(len(order)):
        here = first + order[k] * lead
        there = begin + k * step
        for i in range(rows):  # a slice compiles for five seconds: its error is made of words
            out[there + i] = source[here + i]


@_compiled  # type: ignore[untyped-decorator]
def _pair(diagonal: Array, off_diagonal: Array, k: int, hermitian: bool) -> Any:
    """Return a, d, e, its mirror image and f: D⁻¹ of a pivot of two rows is f · (d, −e; −e', a)."""
    e = off_diagonal[k]
    mirror = np.conj(e) if hermitian else e
    # D is divided by |e| first: its determinant could leave the range of single precision.
    scale = abs(e)
    a, d = diagonal[k] / scale, diagonal[k + 1] / scale
    e, mirror = e / scale, mirror / scale
    return a, d, e, mirror, diagonal.dtype.type(1) / ((a * d - e * mirror) * scale)


@_compiled  # type: ignore[untyped-decorator]
def divide_columns(
    source: Array,
    begin: int,
    step: int,
    rows: int,
    diagonal: Array,
    off_diagonal: Array,
    hermitian: bool,
    out: Array,
    first: int,
    lead: int,
) -> None:
    """Write Y D⁻¹ to `out`, with Y the columns of `source` and D of pivots of one or two rows."""
    n = len(diagonal)
    one = diagonal.dtype.type(1)
    k = 0
    while k < n:
        here = begin + k * step
        there = first + k * lead
        if k + 1 == n or off_diagonal[k] == 0:
            inverse = one / diagonal[k]
            for i in range(rows):
                out[there + i] = source[here + i] * inverse
            k += 1
            continue
        a, d, e, mirror, factor = _pair(diagonal, off_diagonal, k, hermitian)
        for i in range(rows):
            x, y = source[here + i], source[here + step + i]
            out[there + i] = (x * d - y * e) * factor
            out[there + lead + i] = (y * a - x * mirror) * factor
        k += 2


@_compiled  # type: ignore[untyped-decorator]
def divide_rows(
    x: Array, step: int, columns: int, diagonal: Array, off_diagonal: Array, hermitian: bool
) -> None:
    """Replace the first rows of x, column after column with a step between, by D⁻¹ times them."""
    n = len(diagonal)
    k = 0
    while k < n:
        if k + 1 == n or off_diagonal[k] == 0:
            for m in range(columns):
                x[k + m * step] /= diagonal[k]
            k += 1
            continue
        a, d, e, mirror, factor = _pair(diagonal, off_diagonal, k, hermitian)
        for m in range(columns):
            here = k + m * step
            y, z = x[here], x[here + 1]
            x[here] = (y * d - z * mirror) * factor
            x[here + 1] = (z * a - y * e) * factor
        k += 2


@_compiled  # type: ignore[untyped-decorator]
def elimination_tree(indptr: Array, indices: Array, order: Array, turn: Array) -> Array:
    """Return the parent of each node, by its turn, when a graph is eliminated; −1 for a root."""
    n = len(order)
    parent = np.full(n, -1, np.int64)
    top = np.full(n, -1, np.int64)  # shortcuts towards the root
    for k in range(n):
        for e in range(indptr[order[k]], indptr[order[k] + 1]):
            i = turn[indices[e]]
            while i != -1 and i < k:
                above = top[i]
                top[i] = k
                if above == -1:
                    parent[i] = k
                    break
                i = above
    return parent


@_compiled  # type: ignore[untyped-decorator]
def column_counts(
    indptr: Array, indices: Array, order: Array, turn: Array, parent: Array, sizes: Array
) -> Array:
    """Return the summed sizes of what each node touches when it is eliminated, itself not."""
    n = len(order)
    count = np.zeros(n, np.int64)
    mark = np.full(n, -1, np.int64)
    for k in range(n):
        mark[k] = k
        for e in range(indptr[order[k]], indptr[order[k] + 1]):
            i = turn[indices[e]]
            while i < k and mark[i] != k:
                count[i] += sizes[order[k]]
                mark[i] = k
                i = parent[i]
    return count


@_compiled  # type: ignore[untyped-decorator]
def largest(values: Array) -> float:
    """Return the largest absolute value; NaN if there is one."""
    found = 0.0
    for value in values:
        size = abs(value)
        if not size <= found:
            found = size
            if np.isnan(size):
                break
    return found
