"""Berry curvature of the states of a k-point, exact for H, S and positions in a finite basis.

With A the connection between all states, a = h + (i/2) ∂S that of the basis
(`dock.response.operators`) and a bar for C†·C, the curl of the trace of A over a set of states is

    Ω_ab = Σ_n { i [A_a, A_b] − i (ā_a† ā_b − ā_b† ā_a) + C† (∂_a h_b − ∂_b h_a) C }_nn

where n runs over the set and products over all states. It is the derivative of
A = C†aC + i C†S ∂C, in which ∂C is eliminated by C†SC = 1. The terms behind the first are what the
basis lacks of a complete one; the first alone, over states outside the set, is Kubo's formula.
Inside a set the first term vanishes, so that states of one energy do no harm there.

Signs: A = i⟨u|∂u⟩ and Ω_z = ∂_x A_y − ∂_y A_x. Source: X. Wang et al., Phys. Rev. B 74, 195118
(2006) for orthogonal functions; with overlap, J. Jin et al., J. Phys.: Condens. Matter 33, 325503
(2021), here written about the middle of two cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.response.kdata import DEGENERATE, KData

__all__ = ["Curvature", "Method", "require_method"]

Method: TypeAlias = Literal["full", "kubo"]
"""The exact curl, or the sum over other states alone."""

_PLANES = ((1, 2), (2, 0), (0, 1))  # yz, zx, xy: the components x, y, z of an axial vector


def require_method(method: str) -> None:
    """Raise `UsageError` for another method than ``full`` and ``kubo``."""
    if method not in get_args(Method):
        raise UsageError(f"the curvature's method is 'full' or 'kubo', found '{method}'.")


@dataclass(frozen=True, eq=False)
class Curvature:
    """The terms of the curvature at one k-point.

    Attributes
    ----------
    pairs : float64 (3, n_first, n_states)
        −2 Im A_a,nm A_b,mn of the first states n with all states m; zero inside a level.
        Components are yz, zx, xy. Å².
    own : float64 (3, n_first)
        The terms of each state that the basis lacks of a complete one; zero for Kubo's formula.
    levels : list of slices
        States of one energy among the first ones.
    """

    pairs: NDArray[np.float64]
    own: NDArray[np.float64]
    levels: list[slice]

    @classmethod
    def of(cls, data: KData, n_first: int, method: Method = "full") -> Curvature:
        """Return the terms of the first states of a k-point."""
        right = slice(0, n_first)
        overlap = data.between(data.overlap_gradient, right=right)
        position = data.between(data.midpoint, right=right)
        apart = data.energies[:, None] - data.energies[right]
        mean = 0.5 * (data.energies[:, None] + data.energies[right])
        velocity = data.between(data.hamiltonian_gradient, right=right)
        velocity -= mean * overlap
        velocity += 1j * apart * position
        other = np.abs(apart) >= DEGENERATE
        levels = [level for level in data.groups if level.start < n_first]
        for level in levels:  # a chain of near energies is one level, however wide
            other[level, level.start : min(level.stop, n_first)] = False
        connection = velocity * np.divide(
            -1j, apart, out=np.zeros(apart.shape, complex), where=other
        )
        pairs = np.stack([2 * np.imag(connection[a].conj() * connection[b]).T for a, b in _PLANES])
        pairs = -pairs
        own = np.zeros((3, n_first))
        if method == "full":
            basis = position + 0.5j * overlap
            own = np.stack([2 * _imag_diagonal(basis[a], basis[b]) for a, b in _PLANES])
            own += _curl(data, right)
        return cls(pairs, own, levels)

    def summed(self, occupations: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum over the states with occupations f (…, n_states), (…, 3).

        Pairs of states enter with f_n (1 − f_m): two that are both full cancel to the last digit,
        however close to one another. f beyond the first states must be zero.
        """
        first = occupations[..., : self.own.shape[1]]
        empty = 1.0 - occupations
        between = np.stack(
            [np.sum((first @ part) * empty, axis=-1) for part in self.pairs], axis=-1
        )
        total: NDArray[np.float64] = between + first @ self.own.T
        return total

    def of_states(self) -> NDArray[np.float64]:
        """Return the curvature of each of the first states (n_first, 3), of a level the mean."""
        each: NDArray[np.float64] = (self.pairs.sum(axis=2) + self.own).T
        for level in self.levels:
            if level.stop <= len(each):
                each[level] = each[level].mean(axis=0)
            else:
                each[level] = np.nan  # a level that is cut has no curvature of its states
        return each


def _imag_diagonal(
    left: NDArray[np.complex128], right: NDArray[np.complex128]
) -> NDArray[np.float64]:
    """Return Im (L† R)_nn."""
    diagonal: NDArray[np.float64] = np.einsum("mn,mn->n", left.conj(), right).imag
    return diagonal


def _curl(data: KData, states: slice) -> NDArray[np.float64]:
    """Return the diagonal of C† (∂_a h_b − ∂_b h_a) C, (3, n)."""
    by = data.operators.gradient("midpoint", data.channel, data.k_frac)  # ∂_a h_b
    vectors = data.vectors[:, states]
    curls = [by[a, b] - by[b, a] for a, b in _PLANES]
    return np.stack([np.einsum("in,in->n", vectors.conj(), curl @ vectors).real for curl in curls])
