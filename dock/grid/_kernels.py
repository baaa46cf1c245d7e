"""Compiled loops that put orbitals on grid points; `dock.grid.blocks` is their only caller."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from dock.grid.grid import OrbitalTables

_compiled = numba.njit(nogil=True, cache=True)


@_compiled  # type: ignore[untyped-decorator]
def _solid_harmonics(
    lmax: int, x: float, y: float, z: float, recurrence: tuple[NDArray[Any], ...], out: NDArray[Any]
) -> None:
    """Set r^l Y_lm for l ≤ lmax at out[l² + l + m], in the dock convention."""
    up, down, seed = recurrence
    r2 = x * x + y * y + z * z
    cosine, sine = 1.0, 0.0
    for m in range(lmax + 1):
        previous, current = 0.0, seed[m]
        for l in range(m, lmax + 1):
            if l > m:
                following = up[l, m] * (z * current - down[l, m] * r2 * previous)
                previous, current = current, following
            out[l * l + l + m] = current * cosine
            if m > 0:
                out[l * l + l - m] = current * sine
        cosine, sine = x * cosine - y * sine, x * sine + y * cosine


@_compiled  # type: ignore[untyped-decorator]
def _interpolate(table: NDArray[Any], t: float) -> float:
    """Evaluate a table at the fractional index t by the cubic through its four neighbours."""
    n = len(table)
    k = int(t)
    k = min(max(k - 1, 0), n - 4)
    s = t - k
    a, b, c, d = table[k], table[k + 1], table[k + 2], table[k + 3]
    value: float = (
        -a * (s - 1) * (s - 2) * (s - 3) / 6
        + b * s * (s - 2) * (s - 3) / 2
        - c * s * (s - 1) * (s - 3) / 2
        + d * s * (s - 1) * (s - 2) / 6
    )
    return value


@_compiled  # type: ignore[untyped-decorator]
def fill_orbitals(
    points: NDArray[Any],
    centres: NDArray[Any],
    species: NDArray[Any],
    rows: NDArray[Any],
    tables: OrbitalTables,
    recurrence: tuple[NDArray[Any], ...],
    out: NDArray[Any],
) -> None:
    """Set out[row, point] to the value of every orbital of every centre at every point.

    `rows` is the first row of each centre.
    """
    first, steps, reach, ls = tables.first, tables.steps, tables.reach, tables.l
    harmonics = np.empty((ls.max() + 1) ** 2)
    for image in range(len(centres)):
        kind = species[image]
        begin, stop = first[kind], first[kind + 1]
        lmax, far = 0, 0.0
        for shell in range(begin, stop):
            lmax = max(lmax, ls[shell])
            far = max(far, reach[shell])
        for p in range(len(points)):
            x = points[p, 0] - centres[image, 0]
            y = points[p, 1] - centres[image, 1]
            z = points[p, 2] - centres[image, 2]
            r2 = x * x + y * y + z * z
            row = rows[image]
            if r2 >= far * far:
                for shell in range(begin, stop):
                    for _ in range(2 * ls[shell] + 1):
                        out[row, p] = 0.0
                        row += 1
                continue
            r = math.sqrt(r2)
            _solid_harmonics(lmax, x, y, z, recurrence, harmonics)
            for shell in range(begin, stop):
                l = ls[shell]
                value = 0.0
                if r < reach[shell]:
                    value = _interpolate(tables.values[shell], r / steps[shell])
                for m in range(2 * l + 1):
                    out[row, p] = value * harmonics[l * l + m]
                    row += 1


@_compiled  # type: ignore[untyped-decorator]
def fill_local(
    entries: NDArray[Any],
    starts: NDArray[Any],
    index: NDArray[Any],
    rows: NDArray[Any],
    counts: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Copy block ``index[a, b]`` of a matrix to the rows of centre a and columns of b; −1: 0."""
    for a in range(len(rows)):
        for b in range(len(rows)):
            pair = index[a, b]
            if pair < 0:
                for i in range(rows[a], rows[a] + counts[a]):
                    for j in range(rows[b], rows[b] + counts[b]):
                        out[i, j] = 0.0
                continue
            e = starts[pair]
            for i in range(rows[a], rows[a] + counts[a]):
                for j in range(rows[b], rows[b] + counts[b]):
                    out[i, j] = entries[e]
                    e += 1
