"""Overlaps of states at neighbouring k-points, and the phases that are made of them.

Between |u_k⟩ and |u_k'⟩ stands exp(−iq·r), q = k' − k, whose matrix no code writes. About the
middle of two orbitals at τ_i and τ_j + R it is expanded to first order in q, between Bloch
functions at the middle k̄ of the two points:

    ⟨ũ_i,k|ũ_j,k'⟩ = exp(−iq·τ_i/2) [ S(k̄) − i q·d(k̄) ]_ij exp(−iq·τ_j/2),
    d_ij(R) = ⟨i, 0|r − (τ_i + τ_j + R)/2|j, R⟩.

The phases of the atoms are exact, d is Hermitian and small, and the next term is real: a phase
along a path has an error of the second order in the distance of its points, and the limit is the
connection of `dock.response.kdata`. Nothing depends on the cell an atom is written in, and k + G is
k: the links of a closed surface are one field on a torus, so that its flux is a whole multiple of
2π to the last digit (T. Fukui, Y. Hatsugai, H. Suzuki, J. Phys. Soc. Jpn. 74, 1674 (2005)).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.response.operators import Operators

__all__ = ["Links", "angle", "unitary"]


@dataclass(frozen=True, eq=False)
class Links:
    """The matrices ⟨u_m,k|u_n,k'⟩ of one spin channel."""

    operators: Operators

    @cached_property
    def _atoms(self) -> NDArray[np.float64]:
        """(N, 3) position of each orbital's atom, Å, for spinors twice."""
        table = self.operators.calc.basis.table.atom
        each = np.asarray(self.operators.structure.positions, dtype=np.float64)[table]
        atoms: NDArray[np.float64] = np.tile(each, (2, 1)) if self.operators.is_spinor else each
        return atoms

    def between(
        self,
        k: NDArray[np.float64],
        vectors: NDArray[Any],
        other_k: NDArray[np.float64],
        other_vectors: NDArray[Any],
    ) -> NDArray[np.complex128]:
        """Return ⟨u_m,k|u_n,k'⟩ (m, n) of vectors in columns.

        `other_k` may be k + G, with the vectors of k: coordinates are not folded.
        """
        operators = self.operators
        middle = 0.5 * (k + other_k)
        q = (other_k - k) @ operators.structure.reciprocal
        half = 0.5 * self._atoms @ q
        overlap = operators.derivative("overlap", 0, middle)
        position = np.tensordot(q, operators.derivative("midpoint", 0, middle), axes=1)
        inner = (1 + 1j * (half[:, None] + half)) * overlap - 1j * position
        phases = np.exp(-1j * half)[:, None]
        product: NDArray[np.complex128] = (phases.conj() * vectors).conj().T @ (
            inner @ (phases * other_vectors)
        )
        return product


def unitary(link: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return the unitary matrix nearest to a link, UV† of its singular values' vectors."""
    left, _, right = np.linalg.svd(link)
    nearest: NDArray[np.complex128] = left @ right
    return nearest


def angle(link: NDArray[np.complex128]) -> float:
    """Return the phase of a link's determinant, from −π to π."""
    sign, _ = np.linalg.slogdet(link)
    return float(np.angle(sign))
