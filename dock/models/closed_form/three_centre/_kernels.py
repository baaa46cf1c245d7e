"""Compiled loops that evaluate the functions of bonds and sites."""

from __future__ import annotations

from typing import Any, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Table: TypeAlias = tuple[Array, Array, Array, Array]

_compiled = numba.njit(nogil=True, cache=True)


@_compiled  # type: ignore[untyped-decorator]
def fill_harmonics(out: Array, directions: Array, l_max: int) -> None:
    """Set √(4π / (2l+1)) Y_lm of unit vectors at out[:, l² + l + m], in the dock convention."""
    for e in range(len(out)):
        x, y, z = directions[e]
        cosine, sine, first = 1.0, 0.0, 1.0
        for m in range(l_max + 1):
            before, current = 0.0, first
            for l in range(m, l_max + 1):
                if l > m:
                    low = np.sqrt((l - 1.0) ** 2 - m * m)
                    following = ((2 * l - 1) * z * current - low * before) / np.sqrt(l * l - m * m)
                    before, current = current, following
                out[e, l * l + l + m] = current * cosine
                if m > 0:
                    out[e, l * l + l - m] = current * sine
            cosine, sine = x * cosine - y * sine, x * sine + y * cosine
            first *= np.sqrt((2 * m + 1) / (2 * m + 2))
            if m == 0:
                first *= np.sqrt(2.0)


@_compiled  # type: ignore[untyped-decorator]
def fill_polynomials(
    out: Array, r: Array, ends: tuple[float, float, float], straight: float
) -> None:
    """Set Chebyshev polynomials of r; ends = low, high, cutoff (0 for none).

    Beyond `straight` times the half span they go on along their tangents. With a cutoff they are
    multiplied by (1 − (r / cutoff)²)³.
    """
    low, high, cutoff = ends
    for e in range(len(r)):
        x = (2 * r[e] - low - high) / (high - low)
        inside = min(max(x, -straight), straight)
        fade = 1.0
        if cutoff > 0:
            fade = max(1 - (r[e] / cutoff) ** 2, 0.0) ** 3
        before, value = inside, 1.0  # T_-1 = T_1
        slope_before, slope = 1.0, 0.0
        for n in range(out.shape[1]):
            out[e, n] = fade * (value + slope * (x - inside))
            before, value, slope_before, slope = (
                value,
                2 * inside * value - before,
                slope,
                2 * value + 2 * inside * slope - slope_before,
            )


@_compiled  # type: ignore[untyped-decorator]
def add_surroundings(
    around: Array, receiver: Array, kinds: Array, radial: Array, harmonics: Array
) -> None:
    """Add T_n(r) Y_lm of each edge to its receiver: around (atoms, species, n, lm)."""
    n_radial, n_lm = around.shape[2], around.shape[3]
    for edge in range(len(receiver)):
        own = around[receiver[edge], kinds[edge]]
        for n in range(n_radial):
            value = radial[edge, n]
            if value != 0.0:
                for lm in range(n_lm):
                    own[n, lm] += value * harmonics[edge, lm]


@_compiled  # type: ignore[untyped-decorator]
def _couple(
    begin: int, end: int, places: Array, factors: Array, left: Array, right: Array, out: Array
) -> None:
    """Set out[M] to the sum of C(m1, m2, M) left[m1] right[m2]."""
    for M in range(len(out)):
        out[M] = 0.0
    for k in range(begin, end):
        out[places[k, 2]] += factors[k] * left[places[k, 0]] * right[places[k, 1]]


@_compiled  # type: ignore[untyped-decorator]
def _others(own: Array, harmonics: Array, l: int, value: float, out: Array) -> None:
    """Set out[m] to the surroundings less what the bond itself adds."""
    for m in range(2 * l + 1):
        out[m] = own[l * l + m] - value * harmonics[l * l + m]


@_compiled  # type: ignore[untyped-decorator]
def fill_bonds(
    out: Array,
    sizes: tuple[int, int],
    table: Table,
    bond: Array,
    harmonics: Array,
    around: Array,
    ends: Array,
    own: tuple[Array, Array, Array],
) -> None:
    """Evaluate the functions of one part for bonds of one kind.

    out (bonds, 2J + 1, functions); sizes = J, functions with two centres; table = couplings,
    starts, places, factors; bond (bonds, a) and harmonics (bonds, lm) of the bonds; around as in
    `add_surroundings`, and maybe as many again that each neighbour adds its moment times; ends
    (bonds, 2) receiver and sender; own = species of the bond's other atom as seen from each end and
    n_species (3,), what it adds there (2, bonds, n), and its moment (2, bonds).
    """
    J, n_pair = sizes
    couplings, starts, places, factors = table
    species, radial, moments = own
    width, n_radial, n_species = 2 * J + 1, around.shape[2], species[2]
    inner, coupled = np.empty(around.shape[3]), np.empty(width)
    for e in range(len(out)):
        for M in range(width):
            for a in range(n_pair):
                out[e, M, a] = bond[e, a] * harmonics[e, J * J + M]
        f = n_pair
        for q in range(len(couplings)):
            end, kind, l1, l2, degree = couplings[q]
            sign = -1.0 if end == 1 and l2 % 2 == 1 else 1.0
            if kind % n_species != species[end]:
                sign = 0.0
            elif kind >= n_species:
                sign *= moments[end, e]
            for n in range(min(n_radial - 1, degree - l2) + 1):
                value = sign * radial[end, e, n]
                _others(around[ends[e, end], kind, n], harmonics[e], l2, value, inner)
                left = harmonics[e, l1 * l1 :]
                _couple(starts[q], starts[q + 1], places, factors, left, inner, coupled)
                count = degree - l2 - n + 1
                for M in range(width):
                    value = coupled[M]
                    for a in range(count):
                        out[e, M, f + a] = value * bond[e, a]
                f += count


@_compiled  # type: ignore[untyped-decorator]
def fill_sites(
    out: Array, sizes: tuple[int, int], singles: Array, table: Table, around: Array
) -> None:
    """Evaluate the functions of one part for atoms of one kind.

    out (atoms, 2J + 1, functions); sizes = J, 1 with a constant; singles: species of the
    functions linear in the surroundings; table as in `fill_bonds`; around (atoms, species, n, lm)
    of these atoms.
    """
    J, constant = sizes
    couplings, starts, places, factors = table
    width, n_radial = 2 * J + 1, around.shape[2]
    coupled = np.empty(width)
    for i in range(len(out)):
        out[i, 0, :constant] = 1.0
        f = constant
        for s in singles:
            for n in range(n_radial):
                for M in range(width):
                    out[i, M, f] = around[i, s, n, J * J + M]
                f += 1
        for q in range(len(couplings)):
            s1, l1, s2, l2, degree = couplings[q]
            first = 1 if s1 == s2 and l1 == l2 else 0
            for n1 in range(n_radial):
                left = around[i, s1, n1, l1 * l1 :]
                for n2 in range(first * n1, n_radial):
                    if 2 * (n1 + n2) + l1 + l2 <= 2 * degree:
                        right = around[i, s2, n2, l2 * l2 :]
                        _couple(starts[q], starts[q + 1], places, factors, left, right, coupled)
                        for M in range(width):
                            out[i, M, f] = coupled[M]
                        f += 1
