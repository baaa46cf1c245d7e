"""Compiled loops of the radial functions: Bessel functions and splines; used by `radial`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
_compiled: Callable[[Kernel], Kernel] = numba.njit(nogil=True, cache=True)


@_compiled
def bessel_pair(l: int, x: float) -> tuple[float, float]:
    """Return the spherical Bessel functions j_l and j_{l+1} at x ≥ 0."""
    if x < l + 2.0:
        low = 1.0
        for k in range(1, l + 1):
            low *= x / (2 * k + 1)
        return low * _series(l, x), low * x / (2 * l + 3) * _series(l + 1, x)
    sine, cosine = math.sin(x), math.cos(x)
    low, high = sine / x, (sine / x - cosine) / x
    for k in range(1, l + 1):
        low, high = high, (2 * k + 1) / x * high - low
    return low, high


@_compiled
def _series(l: int, x: float) -> float:
    """Return j_l(x) (2l+1)!!/x^l by its power series, for x up to about l + 2."""
    square, term, total = 0.5 * x * x, 1.0, 1.0
    for k in range(1, 60):
        term *= -square / (k * (2 * (l + k) + 1))
        total += term
        if abs(term) < 1e-17 * abs(total):
            break
    return total


@_compiled
def bessel_transform(
    l: int, r: NDArray[Any], weighted: NDArray[Any], q: NDArray[Any], out: NDArray[Any]
) -> None:
    """Set out[f, k] = Σ_n weighted[f, n] j_l(q_k r_n)."""
    for k in range(len(q)):
        out[:, k] = 0.0
        for n in range(len(r)):
            value = bessel_pair(l, q[k] * r[n])[0]
            for f in range(len(weighted)):
                out[f, k] += weighted[f, n] * value


@_compiled
def bessel_table(
    l: int, q: NDArray[Any], d: NDArray[Any], value: NDArray[Any], slope: NDArray[Any],
    curvature: NDArray[Any],
) -> None:  # fmt: skip
    """Fill (n_q, n_d) tables of j_l(q d) and its first and second derivative in d."""
    for k in range(len(q)):
        for n in range(len(d)):
            x = q[k] * d[n]
            low, high = bessel_pair(l, x)
            value[k, n] = low
            if x > 0:
                slope[k, n] = q[k] * (l * low / x - high)
                bend = (l * (l - 1) / x / x - 1) * low + 2 * high / x
            else:
                slope[k, n] = q[k] / 3 if l == 1 else 0.0
                bend = -1 / 3 if l == 0 else (2 / 15 if l == 2 else 0.0)
            curvature[k, n] = q[k] * q[k] * bend


@_compiled
def spline_slopes(x: NDArray[Any], y: NDArray[Any], first: float, last: float) -> NDArray[Any]:
    """Return the slopes at the knots of the cubic spline with given slopes at both ends."""
    n = len(x)
    slopes, upper = np.empty(n), np.empty(n)
    slopes[0], upper[0] = first, 0.0
    for k in range(1, n - 1):
        left, right = x[k] - x[k - 1], x[k + 1] - x[k]
        rise_left, rise_right = (y[k] - y[k - 1]) / left, (y[k + 1] - y[k]) / right
        target = 3 * (right * rise_left + left * rise_right)
        pivot = 2 * (left + right) - right * upper[k - 1]
        upper[k] = left / pivot
        slopes[k] = (target - right * slopes[k - 1]) / pivot
    slopes[n - 1] = last
    for k in range(n - 2, 0, -1):
        slopes[k] -= upper[k] * slopes[k + 1]
    return slopes
