"""Coupling of two shells to irreducible parts, in dock's real harmonics.

The product of two shells l₁ ⊗ l₂ falls into parts L = |l₁−l₂| … l₁+l₂. With the real orthonormal
coefficients Q of this module a block H_{m₁m₂} and its parts h_{LM} = Σ Q_{m₁m₂,LM} H_{m₁m₂}
determine each other exactly, and under a rotation h_L turns with the Wigner matrix D^L.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial, prod, sqrt

import numpy as np

from dock.core.arrays import FloatArray, read_only
from dock.core.basis import shell_starts
from dock.errors import UsageError

__all__ = ["clebsch_gordan", "shell_product", "spin_product"]


@lru_cache(maxsize=4096)
def clebsch_gordan(l1: int, l2: int, L: int) -> FloatArray:
    """Return the real Clebsch–Gordan coefficients of l₁ ⊗ l₂ → L, |l₁−l₂| ≤ L ≤ l₁+l₂.

    Returns
    -------
    ndarray
        (2l₁+1, 2l₂+1, 2L+1) float64, all m from −l to l. As a matrix with rows (m₁, m₂) it has
        orthonormal columns, and D^{l₁} ⊗ D^{l₂} Q = Q D^L for the matrices of
        `dock.core.wigner.rotation_matrix` of every proper rotation.

    Raises
    ------
    UsageError
        When the triangle condition does not hold.

    Examples
    --------
    The scalar part of p ⊗ p is the trace over √3:

    >>> print((clebsch_gordan(1, 1, 0)[:, :, 0] * 3**0.5).round(12) + 0.0)
    [[1. 0. 0.]
     [0. 1. 0.]
     [0. 0. 1.]]
    """
    if min(l1, l2) < 0 or not abs(l1 - l2) <= L <= l1 + l2:
        raise UsageError(f"shells of l = {l1} and {l2} do not couple to L = {L}.")
    complex_table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * L + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(max(-l2, -L - m1), min(l2, L - m1) + 1):
            complex_table[m1 + l1, m2 + l2, m1 + m2 + L] = _racah((l1, m1), (l2, m2), L)
    mixed = np.einsum(
        "am,bn,ck,mnk->abc", _to_real(l1), _to_real(l2), _to_real(L).conj(), complex_table
    )
    # With these harmonics the coefficients are real for even l1+l2+L and imaginary for odd.
    table = mixed.real if (l1 + l2 + L) % 2 == 0 else mixed.imag
    first = table.reshape(-1)[np.flatnonzero(np.abs(table.reshape(-1)) > 1e-9)[0]]
    return read_only(np.ascontiguousarray(table * np.sign(first)))


@lru_cache(maxsize=256)
def shell_product(l1: int, l2: int) -> tuple[tuple[int, ...], FloatArray]:
    """Return the parts of l₁ ⊗ l₂ and the orthogonal matrix to all of them.

    Returns
    -------
    Ls : tuple of int
        |l₁−l₂| … l₁+l₂.
    matrix : ndarray
        ((2l₁+1)(2l₂+1), same): rows (m₁, m₂), columns the parts one behind another.
    """
    Ls = tuple(range(abs(l1 - l2), l1 + l2 + 1))
    size = (2 * l1 + 1) * (2 * l2 + 1)
    parts = [clebsch_gordan(l1, l2, L).reshape(size, 2 * L + 1) for L in Ls]
    return Ls, read_only(np.concatenate(parts, axis=1))


@lru_cache(maxsize=256)
def spin_product(l1: int, l2: int) -> tuple[tuple[int, ...], FloatArray]:
    """Return the parts of l₁ ⊗ l₂ ⊗ 1, the last factor being the spin vector (y, z, x).

    The spin vector is axial: it adds no parity, whatever J comes out.

    Returns
    -------
    Js : tuple of int
        J of each part, in the order of the columns.
    matrix : ndarray
        (3 (2l₁+1)(2l₂+1), same): rows (spin component, m₁, m₂).
    """
    Ls, orbital = shell_product(l1, l2)
    size = orbital.shape[0]
    Js: list[int] = []
    columns = []
    for L, begin in zip(Ls, shell_starts(Ls), strict=True):
        part = orbital[:, begin : begin + 2 * L + 1]
        for J in range(abs(L - 1), L + 2):
            Js.append(J)
            both = np.einsum("pa,asb->spb", part, clebsch_gordan(L, 1, J))
            columns.append(both.reshape(3 * size, 2 * J + 1))
    return tuple(Js), read_only(np.concatenate(columns, axis=1))


def _to_real(l: int) -> np.ndarray:
    """Return U with Y_real,m = Σ U_mμ Y_complex,μ (Condon–Shortley), m and μ from −l to l."""
    matrix = np.zeros((2 * l + 1, 2 * l + 1), dtype=np.complex128)
    matrix[l, l] = 1.0
    for m in range(1, l + 1):
        sign = (-1) ** m
        matrix[l + m, l + m], matrix[l + m, l - m] = sign / sqrt(2), 1 / sqrt(2)
        matrix[l - m, l + m], matrix[l - m, l - m] = -1j * sign / sqrt(2), 1j / sqrt(2)
    return matrix


def _racah(first: tuple[int, int], second: tuple[int, int], L: int) -> float:
    """Return ⟨l₁m₁ l₂m₂|L m₁+m₂⟩ by Racah's formula, in exact integers but for the root."""
    (l1, m1), (l2, m2) = first, second
    M = m1 + m2
    total = 0.0
    for k in range(l1 + l2 - L + 1):
        terms = (l1 + l2 - L - k, l1 - m1 - k, l2 + m2 - k, L - l2 + m1 + k, L - l1 - m2 + k)
        if min(terms) >= 0:
            total += (-1) ** k / prod(factorial(term) for term in (k, *terms))
    triangle = (
        (2 * L + 1)
        * factorial(L + l1 - l2)
        * factorial(L - l1 + l2)
        * factorial(l1 + l2 - L)
        / factorial(l1 + l2 + L + 1)
    )
    numbers = (L + M, L - M, l1 - m1, l1 + m1, l2 - m2, l2 + m2)
    product = prod(factorial(number) for number in numbers)
    return sqrt(triangle) * sqrt(product) * total
