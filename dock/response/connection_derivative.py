"""The generalised derivative of the connection between filled and empty states.

    r^a_nm;b = ∂_b A^a_nm − i (A^b_nn − A^b_mm) A^a_nm        Å²

with A_nm = −i v_nm/(E_n − E_m). It has no phase of the states and is exact for the model of H, S
and positions. With B = h + (i/2) s, the connection of the basis, the covariant derivative of an
operator between states is D_b O = C†(∂_b O)C − i B_b† O + i O B_b, so that v_a = D_a H, and

    i (E_n − E_m) r^a_nm;b = (D_b v_a + i [A_b, v_a])_nm − i ((∂_b E_n − ∂_b E_m) A^a)_nm

where A_b has no elements within a level, and slopes within a level are matrices. Where two filled
states (or two empty ones) come near one another, it grows as the inverse of their distance x,
with opposite signs on both sides of the crossing; on a mesh that is noise. There 1/x is
x/(x² + s²), and v s²/(x² + s²) counts as slope: every velocity is divided between the two.

Other programs write D_b v_a by sum rules of a complete basis: F. de Juan and others, Phys. Rev.
Res. 2, 012017 (2020); J. Ibañez-Azpiroz and others, Phys. Rev. B 97, 245143 (2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.response.kdata import KData

__all__ = ["Connections"]


@dataclass(frozen=True, eq=False)
class Connections:
    """Positions between the states of a k-point, and how they change with k.

    Attributes
    ----------
    energies : (n,)
        eV.
    n_filled
        The first so many states are filled.
    between : complex (3, n, n)
        A of states of different levels, Å; zero within levels.
    slopes : complex (3, n, n)
        ∂E/∂k within levels, eV Å; zero between them.
    derivative : complex (3, 3, n_filled, n_empty)
        r^a_nm;b by a and b, Å².
    """

    energies: NDArray[np.float64]
    n_filled: int
    between: NDArray[np.complex128]
    slopes: NDArray[np.complex128]
    derivative: NDArray[np.complex128]

    @classmethod
    def of(cls, at: KData, n_filled: int, near: float = 0.0) -> Connections:
        """Return those of a k-point; `near` is s of the module, eV, and 0 is exact."""
        parts = _Parts(at, n_filled, near)
        return cls(
            at.energies, n_filled, parts.connection, parts.slopes, parts.derivatives(n_filled)
        )

    @property
    def sides(self) -> tuple[slice, slice]:
        """The filled and the empty states."""
        return slice(0, self.n_filled), slice(self.n_filled, len(self.energies))

    @property
    def reversed(self) -> Connections:
        """Those at −k of a crystal that time reversal leaves as it is."""
        return Connections(
            self.energies,
            self.n_filled,
            self.between.conj(),
            -self.slopes.conj(),
            -self.derivative.conj(),
        )

    def slopes_apart(self, left: slice, right: slice) -> NDArray[np.complex128]:
        """Return (∂_c E_n − ∂_c E_m) A^b_nm by b and c, (3, 3, n, m), eV Å²."""
        apart = self.between[:, None, left, right]
        left_slopes, right_slopes = self.slopes[:, left, left], self.slopes[:, right, right]
        return np.asarray(left_slopes @ apart - apart @ right_slopes)


class _Parts:
    """Matrices between all states of a k-point."""

    def __init__(self, at: KData, n_filled: int, near: float) -> None:
        self.at, E = at, at.energies
        self.hamiltonian = at.between(at.hamiltonian_gradient)
        self.overlap, midpoint = at.between(at.overlap_gradient), at.between(at.midpoint)
        self.basis = midpoint + 0.5j * self.overlap
        apart, sums = E[:, None] - E, E[:, None] + E
        self.velocity = self.hamiltonian - 0.5 * sums * self.overlap + 1j * apart * midpoint
        share = _share_of_slopes(at, n_filled, near)
        inverse = (1 - share) / np.where(share == 1, 1.0, apart)
        self.connection = -1j * self.velocity * inverse
        self.slopes = self.velocity * share

    def derivatives(self, n_filled: int) -> NDArray[np.complex128]:
        """Return r^a_nm;b (3, 3, n_filled, n_empty)."""
        at, E = self.at, self.at.energies
        lo, up = slice(0, n_filled), slice(n_filled, len(E))
        low, high = E[lo, None], E[up]
        moved = [at.between(at.derivative("midpoint", b), lo, up) for b in range(3)]
        out = np.empty((3, 3, n_filled, len(E) - n_filled), dtype=np.complex128)
        v, A, B, H, s = self.velocity, self.connection, self.basis, self.hamiltonian, self.overlap
        adjoint = B.conj().swapaxes(1, 2)
        for a in range(3):
            for b in range(3):
                second = self._second("hamiltonian", a, b, lo, up)
                bent = 0.5j * self._second("overlap", a, b, lo, up)
                total: NDArray[Any] = second - 1j * (moved[b][a] - bent) * high
                total = total + 1j * low * (moved[b][a] + bent)
                total += 1j * (adjoint[a, lo] @ s[b][:, up]) * high
                total -= 1j * low * (s[b, lo] @ B[a][:, up])
                total += 1j * (H[b, lo] @ B[a][:, up] - adjoint[a, lo] @ H[b][:, up])
                total += 1j * (v[a, lo] @ B[b][:, up] - adjoint[b, lo] @ v[a][:, up])
                total += 1j * (A[b, lo] @ v[a][:, up] - v[a, lo] @ A[b][:, up])
                step = A[a, lo, up]
                total -= 1j * (self.slopes[b, lo, lo] @ step - step @ self.slopes[b, up, up])
                out[a, b] = total / (1j * (low - high))
        return out

    def _second(self, quantity: str, a: int, b: int, lo: slice, up: slice) -> NDArray[Any]:
        at = self.at
        return at.between(at.derivative(quantity, (min(a, b), max(a, b))), lo, up)


def _share_of_slopes(at: KData, n_filled: int, near: float) -> NDArray[np.float64]:
    """Return the part of each velocity (n, n) that counts as a slope: 1 within levels."""
    E = at.energies
    if near:
        filled = np.arange(len(E)) < n_filled
        squares = (E[:, None] - E) ** 2
        share: NDArray[np.float64] = near**2 / (squares + near**2)
        share[filled[:, None] != filled] = 0
        return share
    level = np.zeros(len(E), dtype=np.int64)
    for number, group in enumerate(at.groups):
        level[group] = number
    same: NDArray[np.float64] = (level[:, None] == level).astype(np.float64)
    return same
