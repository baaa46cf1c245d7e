"""Compiled products of Hermitian matrices and blocks; `dock.states.sparse.products` calls them."""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})  # type: ignore[untyped-decorator]
def add_real(
    starts: Array,
    columns: Array,
    a: Array,
    b: Array,
    x: Array,
    ax: Array,
    bx: Array,
    begin: int,
    end: int,
) -> None:
    """Add the products of rows begin … end − 1 of two real symmetric matrices.

    Of both the upper triangle is stored, on one pattern with the diagonal first; x, ax, bx: (n, m).
    """
    m = x.shape[1]
    for r in range(begin, end):
        e = starts[r]
        for j in range(m):
            ax[r, j] += a[e] * x[r, j]
            bx[r, j] += b[e] * x[r, j]
        for e in range(starts[r] + 1, starts[r + 1]):
            c, p, q = columns[e], a[e], b[e]
            for j in range(m):
                ax[r, j] += p * x[c, j]
                bx[r, j] += q * x[c, j]
                ax[c, j] += p * x[r, j]
                bx[c, j] += q * x[r, j]


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})  # type: ignore[untyped-decorator]
def add_complex(
    starts: Array,
    columns: Array,
    a: Array,
    b: Array,
    x: Array,
    ax: Array,
    bx: Array,
    begin: int,
    end: int,
) -> None:
    """Add the products of rows begin … end − 1 of two complex Hermitian matrices.

    As `add_real`; x, ax, bx: (n, 2, m), real and imaginary parts apart, so that the inner loops
    are over real numbers side by side.
    """
    m = x.shape[2]
    for r in range(begin, end):
        e = starts[r]
        for j in range(m):
            ax[r, 0, j] += a[e].real * x[r, 0, j]
            ax[r, 1, j] += a[e].real * x[r, 1, j]
            bx[r, 0, j] += b[e].real * x[r, 0, j]
            bx[r, 1, j] += b[e].real * x[r, 1, j]
        for e in range(starts[r] + 1, starts[r + 1]):
            c = columns[e]
            p, u = a[e].real, a[e].imag
            q, v = b[e].real, b[e].imag
            for j in range(m):
                y, z = x[c, 0, j], x[c, 1, j]
                ax[r, 0, j] += p * y - u * z
                ax[r, 1, j] += p * z + u * y
                bx[r, 0, j] += q * y - v * z
                bx[r, 1, j] += q * z + v * y
            for j in range(m):
                y, z = x[r, 0, j], x[r, 1, j]
                ax[c, 0, j] += p * y + u * z
                ax[c, 1, j] += p * z - u * y
                bx[c, 0, j] += q * y + v * z
                bx[c, 1, j] += q * z - v * y
