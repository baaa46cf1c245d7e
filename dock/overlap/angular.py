"""Angular parts of two-centre integrals: Gaunt coefficients of real harmonics."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.harmonics import real_harmonics

__all__ = [
    "AngularTerms",
    "angular_terms",
    "gaunt",
    "legendre_factors",
    "position_terms",
    "sphere_gradient",
]

_ZERO = 1e-13  # Gaunt coefficients are 0 or above 1e-3; quadrature errs by 1e-16


@lru_cache(maxsize=512)
def gaunt(l1: int, l2: int, l3: int) -> NDArray[np.float64]:
    """Integrate three real harmonics (dock convention) over the sphere.

    ∫ Y_{l1 m1} Y_{l2 m2} Y_{l3 m3} dΩ, each m from −l to l, is float64, read-only,
    (2 l1 + 1, 2 l2 + 1, 2 l3 + 1), with exact zeros where the integral vanishes.

    Examples
    --------
    >>> print(round(float(gaunt(1, 1, 0)[0, 0, 0] * np.sqrt(4 * np.pi)), 12))
    1.0
    """
    points, weights = _sphere(l1 + l2 + l3)
    first, second, third = (real_harmonics(l, points) for l in (l1, l2, l3))
    rows = (weights[:, None, None] * first[:, :, None] * second[:, None, :]).reshape(
        len(points), -1
    )
    table = (rows.T @ third).reshape(2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1)
    table[np.abs(table) < _ZERO] = 0.0
    table.flags.writeable = False
    return table


@lru_cache(maxsize=64)
def _sphere(degree: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return directions (n, 3) and weights that integrate polynomials up to `degree` exactly."""
    from numpy.polynomial.legendre import leggauss

    z, weights = leggauss(degree // 2 + 1)
    phi = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    rho = np.sqrt(1 - z * z)[:, None]
    height = np.repeat(z[:, None], len(phi), axis=1)
    points = np.stack([rho * np.cos(phi), rho * np.sin(phi), height], axis=-1).reshape(-1, 3)
    return points, np.repeat(weights * 2 * np.pi / len(phi), len(phi))


def sphere_gradient(lmax: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Give ∇(r^l Y_lm) at r = 1 in terms of the harmonics of l − 1.

    ∂_α(r^l Y_lm) = r^(l−1) (2l + 1) Σ_m' ⟨Y_{l−1,m'} | n_α | Y_lm⟩ Y_{l−1,m'}.

    Returns
    -------
    starts, lm, factor
        ``starts`` (3 n + 1,) with n = (lmax + 1)²: the terms of direction α (x, y, z) and harmonic
        l² + l + m stand from ``starts[α n + index]``; each is ``factor`` times harmonic ``lm``.
    """
    starts, places, factors = [0], [], []
    for direction in (1, -1, 0):  # x, y, z as m of l = 1
        for l in range(lmax + 1):
            for m in range(-l, l + 1):
                if l:
                    row = position_terms(l, l - 1, direction)[:, m + l] * (2 * l + 1)
                    nonzero = np.flatnonzero(row)
                    places += ((l - 1) ** 2 + nonzero).tolist()
                    factors += row[nonzero].tolist()
                starts.append(len(places))
    return np.array(starts), np.array(places, dtype=np.int64), np.array(factors, dtype=np.float64)


def position_terms(l: int, other: int, direction: int) -> NDArray[np.float64]:
    """Return c with n_α Y_lm = Σ_l' Σ_m' c[m', m] Y_l'm' for l' = `other` = l ± 1.

    That is c[m', m] = ⟨Y_l'm' | n_α | Y_lm⟩.
    """
    table: NDArray[np.float64] = math.sqrt(4 * math.pi / 3) * gaunt(1, other, l)[direction + 1]
    return table


class AngularTerms(NamedTuple):
    """The sums over harmonics that the angular factors of some (l₁, l₂) are.

    Attributes
    ----------
    groups
        Number of each (l₁, l₂).
    factor_start, term_start
        (n_groups + 1,) first factor of each group: [channel][m₁][m₂], channel L = |l₁ − l₂|, +2 …;
        (n_factors + 1,) first term of each factor.
    lm, weight
        (n_terms,) the harmonic L² + L + M of each term, and its coefficient.
    """

    groups: dict[tuple[int, int], int]
    factor_start: NDArray[np.int64]
    term_start: NDArray[np.int64]
    lm: NDArray[np.int64]
    weight: NDArray[np.float64]


def angular_terms(wanted: Iterable[tuple[int, int]]) -> AngularTerms:
    """Return the angular factors 8 i^(l₁−l₂−L) Σ_M G(l₁m₁, l₂m₂, LM) Y_LM of the wanted (l₁, l₂).

    Factors that vanish everywhere have no terms.
    """
    groups: dict[tuple[int, int], int] = {}
    factor_start = [0]
    counts, lm, weight = [], [], []
    for l1, l2 in sorted(set(wanted)):
        groups[l1, l2] = len(groups)
        for L in range(abs(l1 - l2), l1 + l2 + 1, 2):
            sign = 8.0 if (l1 - l2 - L) // 2 % 2 == 0 else -8.0
            table = sign * gaunt(l1, l2, L).reshape(-1, 2 * L + 1)
            row, order = np.nonzero(table)
            counts.append(np.bincount(row, minlength=len(table)))
            lm.append(L * L + order)
            weight.append(table[row, order])
        factor_start.append(sum(map(len, counts)))
    term_start = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return AngularTerms(
        groups, np.array(factor_start), term_start, np.concatenate(lm), np.concatenate(weight)
    )


def legendre_factors(lmax: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the factors of the upward recurrence of the normalised Legendre functions.

    P_l^m = up[l, m] z P_{l−1}^m − down[l, m] P_{l−2}^m, starting from P_m^m = up[m, m], without
    sin^m θ and with √2 for m > 0.
    """
    up, down = np.zeros((lmax + 1, lmax + 1)), np.zeros((lmax + 1, lmax + 1))
    seed = 1 / (4 * math.pi)
    for m in range(lmax + 1):
        if m:
            seed *= (2 * m + 1) / (2 * m)
        up[m, m] = math.sqrt(seed * (2 if m else 1))
        for l in range(m + 1, lmax + 1):
            up[l, m] = math.sqrt((4 * l * l - 1) / (l * l - m * m))
            back = ((l - 1) ** 2 - m * m) / (4 * (l - 1) ** 2 - 1)
            down[l, m] = up[l, m] * math.sqrt(back)
    return up, down
