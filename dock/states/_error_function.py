"""The complementary error function of arrays; `dock.states.smearing` is its only caller.

Loading ``scipy.special`` for it takes 25 MB and half the time of a short command. The rational
approximations are those of W. J. Cody, Math. Comp. 23, 631 (1969), good to the last digits of
double precision.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["erfc"]

_NEAR, _MIDDLE = 0.46875, 4.0
# Numerator and denominator, highest power first; the last denominators' leading power is 1.
_NEAR_P = (
    1.85777706184603153e-1,
    3.16112374387056560e00,
    1.13864154151050156e02,
    3.77485237685302021e02,
    3.20937758913846947e03,
)
_NEAR_Q = (
    1.0,
    2.36012909523441209e01,
    2.44024637934444173e02,
    1.28261652607737228e03,
    2.84423683343917062e03,
)
_MIDDLE_P = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e00,
    6.61191906371416295e01,
    2.98635138197400131e02,
    8.81952221241769090e02,
    1.71204761263407058e03,
    2.05107837782607147e03,
    1.23033935479799725e03,
)
_MIDDLE_Q = (
    1.0,
    1.57449261107098347e01,
    1.17693950891312499e02,
    5.37181101862009858e02,
    1.62138957456669019e03,
    3.29079923573345963e03,
    4.36261909014324716e03,
    3.43936767414372164e03,
    1.23033935480374942e03,
)
_FAR_P = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
_FAR_Q = (
    1.0,
    2.56852019228982242e00,
    1.87295284992346725e00,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)


def erfc(x: NDArray[Any]) -> NDArray[np.float64]:
    """Return 2/√π ∫ exp(−t²) dt from x to ∞ of each element.

    Examples
    --------
    >>> erfc(np.array([-30.0, 0.0, 1.0])).round(6).tolist()
    [2.0, 1.0, 0.157299]
    """
    values = np.asarray(x, dtype=np.float64)
    y = np.abs(values)
    out = np.empty(values.shape)
    near, far = y <= _NEAR, y > _MIDDLE
    between = ~(near | far)
    z = values[near]
    out[near] = 1 - z * _ratio(_NEAR_P, _NEAR_Q, z * z)
    out[between] = _tail(y[between], _ratio(_MIDDLE_P, _MIDDLE_Q, y[between]))
    z = y[far]
    inverse = 1 / (z * z)
    rest = inverse * _ratio(_FAR_P, _FAR_Q, inverse)
    out[far] = _tail(z, (1 / math.sqrt(math.pi) - rest) / z)
    below = values < -_NEAR
    out[below] = 2 - out[below]
    return out


def _ratio(p: tuple[float, ...], q: tuple[float, ...], z: NDArray[np.float64]) -> Any:
    """Return the ratio of two polynomials by Horner's rule."""
    above, under = np.full(z.shape, p[0]), np.full(z.shape, q[0])
    for coefficient in p[1:]:
        above = above * z + coefficient
    for coefficient in q[1:]:
        under = under * z + coefficient
    return above / under


def _tail(y: NDArray[np.float64], ratio: Any) -> Any:
    """Return exp(−y²) times the ratio; the square is cut so that no digits are lost."""
    cut = np.trunc(16 * y) / 16
    return np.exp(-cut * cut) * np.exp(-(y - cut) * (y + cut)) * ratio
