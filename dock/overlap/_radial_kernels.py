"""Compiled loops of the radial functions: Bessel functions and splines; used by `radial`.

Spherical Bessel functions are wanted at equidistant arguments, of several orders at once. Sixteen
neighbours are worked on together: sine and cosine are computed for the first and turned for the
others, and every order follows from the two before it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.overlap._compiled import inner, kernel, largest

LANES = 16
_NOTHING = 1e-18  # arguments below this are taken for 0, before powers of them underflow


@inner
def _series(l: int, x: float) -> float:
    """Return j_l(x) (2l+1)!!/x^l by its power series, for x up to about l + 2."""
    square, term, total = 0.5 * x * x, 1.0, 1.0
    for k in range(1, 60):
        term *= -square / (k * (2 * (l + k) + 1))
        total += term
        if abs(term) < 1e-17 * abs(total):
            break
    return total


@inner
def _downward(x: float, lane: int, table: NDArray[Any]) -> None:
    """Set the orders l > x − 2 of one lane, where the upward recurrence loses digits."""
    top = len(table) - 1
    if x < _NOTHING:
        for l in range(top + 1):
            table[l, lane] = 0.0
        table[0, lane] = 1.0
        return
    scale = 1.0
    for k in range(1, top):
        scale *= x / (2 * k + 1)
    table[top - 1, lane] = scale * _series(top - 1, x)
    table[top, lane] = scale * x / (2 * top + 1) * _series(top, x)
    for l in range(top - 2, max(int(x) - 2, -1), -1):
        table[l, lane] = (2 * l + 3) / x * table[l + 1, lane] - table[l + 2, lane]


@inner
def _turns(step: float, sine: NDArray[Any], cosine: NDArray[Any]) -> None:
    """Set sine and cosine of 0, step, 2 step … in the lanes."""
    for v in range(LANES):
        sine[v], cosine[v] = math.sin(v * step), math.cos(v * step)


@inner
def _bessel(
    first: float, step: float, sine: NDArray[Any], cosine: NDArray[Any], inverse: NDArray[Any],
    table: NDArray[Any],
) -> None:  # fmt: skip
    """Set j_0 … j_top ≥ 1 of x = first + v · step in lane v, x ≥ 0, and 1/x.

    `sine` and `cosine` are those of v · step; `table` is (top + 1, LANES).
    """
    top = len(table) - 1
    s, c = math.sin(first), math.cos(first)
    for v in range(LANES):
        inverse[v] = 1 / (first + v * step)
    j0, j1 = table[0], table[1]
    for v in range(LANES):
        j0[v] = (s * cosine[v] + c * sine[v]) * inverse[v]
        j1[v] = (j0[v] - (c * cosine[v] - s * sine[v])) * inverse[v]
    for l in range(1, top):
        before, current, after = table[l - 1], table[l], table[l + 1]
        for v in range(LANES):
            after[v] = (2 * l + 1) * inverse[v] * current[v] - before[v]
    lane = 0
    while lane < LANES and first + lane * step < top + 2:
        _downward(first + lane * step, lane, table)
        lane += 1


@kernel
def bessel_transform(
    orders: NDArray[Any], r: NDArray[Any], weighted: NDArray[Any], q_step: float, out: NDArray[Any]
) -> None:
    """Set out[f, k] = Σ_n weighted[f, n] j_l(k q_step r_n), l = orders[f]."""
    sine, cosine = np.empty((len(r), LANES)), np.empty((len(r), LANES))
    for n in range(len(r)):
        _turns(q_step * r[n], sine[n], cosine[n])
    table, inverse = np.empty((largest(orders, 1) + 1, LANES)), np.empty(LANES)
    sums = np.empty((len(orders), LANES))
    for k in range(0, out.shape[1], LANES):
        for f in range(len(orders)):
            for v in range(LANES):
                sums[f, v] = 0.0
        for n in range(len(r)):
            _bessel(k * q_step * r[n], q_step * r[n], sine[n], cosine[n], inverse, table)
            for f in range(len(orders)):
                weight, row, target = weighted[f, n], table[orders[f]], sums[f]
                for v in range(LANES):
                    target[v] += weight * row[v]
        for v in range(min(LANES, out.shape[1] - k)):
            for f in range(len(orders)):
                out[f, k + v] = sums[f, v]


@kernel
def bessel_table(orders: NDArray[Any], q: NDArray[Any], d_step: float, out: NDArray[Any]) -> None:
    """Fill (n_orders, 3, n_q, n_d) with j_l(q d), d = 0, d_step …, and two derivatives in d."""
    n_d = out.shape[3]
    sine, cosine, inverse = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    table = np.empty((largest(orders, 1) + 2, LANES))
    for k in range(len(q)):
        step = q[k] * d_step
        _turns(step, sine, cosine)
        for n in range(0, n_d, LANES):
            _bessel(n * step, step, sine, cosine, inverse, table)
            count = min(LANES, n_d - n)
            for i in range(len(orders)):
                l, low, high = orders[i], table[orders[i]], table[orders[i] + 1]
                part = out[i, :, k, n : n + count]
                value, slope, curvature = part[0], part[1], part[2]
                for v in range(count):
                    value[v] = low[v]
                    slope[v] = q[k] * (l * low[v] * inverse[v] - high[v])
                    bend = (l * (l - 1) * inverse[v] * inverse[v] - 1) * low[v]
                    curvature[v] = q[k] * q[k] * (bend + 2 * high[v] * inverse[v])
        for i in range(len(orders)):
            _at_zero(orders[i], q[k], out[i, :, k, : n_d if q[k] == 0 else 1])


@inner
def _at_zero(l: int, q: float, out: NDArray[Any]) -> None:
    """Set j_l(0) and its derivatives, where 1/x is none."""
    out[0] = 1.0 if l == 0 else 0.0
    out[1] = q / 3 if l == 1 else 0.0
    out[2] = q * q * (-1 / 3 if l == 0 else (2 / 15 if l == 2 else 0.0))


@kernel
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
