"""Compiled loop over levels and energies; see `dock.states.broadening`."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numba
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def add_gaussians(
    centres: Array, weights: Array, sigma: float, first: float, step: float, out: Array
) -> None:
    """Add weight · exp(−(E − centre)²/2σ²)/(σ√2π) on the grid E = first + n·step, out to 9 σ."""
    reach = 9.0 * sigma
    scale = 1.0 / (sigma * math.sqrt(2.0 * math.pi))
    last = first + step * (len(out) - 1)
    for state in range(len(centres)):
        centre = centres[state]
        if centre < first - reach or centre > last + reach:
            continue
        begin = max(0, math.ceil((centre - reach - first) / step))
        stop = min(len(out), math.floor((centre + reach - first) / step) + 1)
        for n in range(begin, stop):
            x = (first + n * step - centre) / sigma
            out[n] += weights[state] * scale * math.exp(-0.5 * x * x)
