"""Compiled loop over pairs of states; see `dock.response.transitions`."""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _weights(t: float, w: Array) -> None:
    """Write Lagrange's six weights of a point t in [0, 1) for nodes −2 … 3."""
    a, b, c, d, e, f = t + 2.0, t + 1.0, t, t - 1.0, t - 2.0, t - 3.0
    w[0] = -b * c * d * e * f / 120.0
    w[1] = a * c * d * e * f / 24.0
    w[2] = -a * b * d * e * f / 12.0
    w[3] = a * b * c * e * f / 12.0
    w[4] = -a * b * c * d * f / 24.0
    w[5] = a * b * c * d * e / 120.0


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def add_transitions(
    lower: Array,
    upper: Array,
    filled: Array,
    free: Array,
    velocity: Array,
    least: float,
    step: float,
    border: float,
    n_far: int,
    out: Array,
) -> None:
    """Add f v_a v_b*/Δ² of all pairs of states to the nodes of their energies.

    `lower` and `upper` are energies, `filled` and `free` their occupations, `velocity` (m, n, 3).
    Rows of `out` (near nodes and far nodes, 10): xx, yy, zz, xy, xz, yz of the real part, yz, zx,
    xy of the imaginary part, and the pairs.
    """
    w, values = np.empty(6), np.empty(10)
    first_far = len(out) - n_far - 6
    for m in range(len(lower)):
        for n in range(len(upper)):
            apart = upper[n] - lower[m]
            f = filled[m] - free[n]
            if apart < least or f == 0.0:
                continue
            if apart <= border:
                place = apart / step
                start = int(place)
                _weights(place - start, w)
            else:
                place = border / apart * n_far
                start = int(place)
                _weights(place - start, w)
                start += first_far
            r = f / (apart * apart)
            x, y, z = velocity[m, n, 0], velocity[m, n, 1], velocity[m, n, 2]
            values[0] = r * (x.real * x.real + x.imag * x.imag)
            values[1] = r * (y.real * y.real + y.imag * y.imag)
            values[2] = r * (z.real * z.real + z.imag * z.imag)
            values[3] = r * (x.real * y.real + x.imag * y.imag)
            values[4] = r * (x.real * z.real + x.imag * z.imag)
            values[5] = r * (y.real * z.real + y.imag * z.imag)
            values[6] = r * (y.imag * z.real - y.real * z.imag)
            values[7] = r * (z.imag * x.real - z.real * x.imag)
            values[8] = r * (x.imag * y.real - x.real * y.imag)
            values[9] = f
            for i in range(6):
                for j in range(10):
                    out[start + i, j] += w[i] * values[j]
