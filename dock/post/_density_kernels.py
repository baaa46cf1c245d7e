"""Compiled loops that sum a density matrix; `dock.post.density_matrices` is their only caller."""

from __future__ import annotations

from typing import Any

import numba
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def add_real(
    dense: NDArray[Any],
    phases: NDArray[Any],
    starts: NDArray[Any],
    row: NDArray[Any],
    col: NDArray[Any],
    shape: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Add the real part of phases[p] · dense[block p] to the entries of every block."""
    for p in range(len(row)):
        e = starts[p]
        for a in range(row[p], row[p] + shape[p, 0]):
            for b in range(col[p], col[p] + shape[p, 1]):
                out[e] += (phases[p] * dense[a, b]).real
                e += 1


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def add_complex(
    dense: NDArray[Any],
    phases: NDArray[Any],
    starts: NDArray[Any],
    row: NDArray[Any],
    col: NDArray[Any],
    shape: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Add phases[p] · dense[block p] to the entries of every block."""
    for p in range(len(row)):
        e = starts[p]
        for a in range(row[p], row[p] + shape[p, 0]):
            for b in range(col[p], col[p] + shape[p, 1]):
                out[e] += phases[p] * dense[a, b]
                e += 1


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def block_of_states(
    left: NDArray[Any],
    right: NDArray[Any],
    row: NDArray[Any],
    col: NDArray[Any],
    shape: NDArray[Any],
    starts: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Write Σ_n left[a, n] right[b, n]* into the entries of every block."""
    for p in range(len(row)):
        e = starts[p]
        for a in range(row[p], row[p] + shape[p, 0]):
            for b in range(col[p], col[p] + shape[p, 1]):
                total = 0.0j
                for n in range(left.shape[1]):
                    total += left[a, n] * right[b, n].conjugate()
                out[e] = total
                e += 1
