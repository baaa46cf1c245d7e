"""The effective Hamiltonian of a level for small q about its k-point, to second order in q.

With the states C of k (C†SC = 1), E their energies, E₀ that of the level L of d states, O all other
states, and P_a = C†(∂_a H − E₀ ∂_a S)C,

    H(q) = E₀ + Σ_a q_a M_a + ½ Σ_ab q_a q_b D_ab          (d × d, Hermitian; q in 1/Å)
    M_a  = P_a within L
    D_ab = (∂_a∂_b H − E₀ ∂_a∂_b S) within L − ½ {M_a, s_b} − ½ {M_b, s_a}
    + Σ_O (P_a P_b + P_b P_a) through O / (E₀ − E_O) ,     s_a = ∂_a S within L

so that the bands are the eigenvalues of H(q) up to q³. It is Löwdin's perturbation theory of
the pencil H − E S; the terms with s come of the overlap, which changes with q. For one state they
are −∂_aE s_b − ∂_bE s_a, and D is the second derivative of its energy. Positions do not enter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dock.response.kdata import KData, level_ranges

__all__ = ["KdotP", "level_of"]


@dataclass(frozen=True, eq=False)
class KdotP:
    """The effective Hamiltonian of a level.

    Attributes
    ----------
    energies : float64 (d,)
        The energies of the level at q = 0, eV: alike within what counts as one level.
    first : complex128 (3, d, d)
        M, eV Å.
    second : complex128 (3, 3, d, d)
        D, eV Å².
    """

    energies: NDArray[np.float64]
    first: NDArray[np.complex128]
    second: NDArray[np.complex128]

    @classmethod
    def of(cls, data: KData, level: slice) -> KdotP:
        """Return it for some neighbouring states, which should be a whole level."""
        E0 = float(data.energies[level].mean())
        gradient = data.hamiltonian_gradient - E0 * data.overlap_gradient
        coupling = data.between(gradient, slice(None), level)  # (3, all, d)
        first = coupling[:, level]
        first = 0.5 * (first + first.conj().swapaxes(1, 2))
        overlap = data.between(data.overlap_gradient, level, level)
        others = np.r_[0 : level.start, level.stop : data.n_states]
        through = coupling[:, others]
        divided = through / (E0 - data.energies[others])[:, None]
        d = level.stop - level.start
        second = np.empty((3, 3, d, d), dtype=np.complex128)
        for a in range(3):
            for b in range(a, 3):
                bare = data.derivative("hamiltonian", (a, b)) - E0 * data.derivative(
                    "overlap", (a, b)
                )
                value = data.between(bare, level, level).astype(complex)
                value += _both(through[a].conj().T @ divided[b])
                value -= 0.5 * _both(first[a] @ overlap[b]) + 0.5 * _both(first[b] @ overlap[a])
                second[a, b] = second[b, a] = 0.5 * _both(value)
        return cls(data.energies[level].copy(), first, second)

    @property
    def size(self) -> int:
        """Number of states of the level."""
        return len(self.energies)

    @property
    def gradient(self) -> NDArray[np.float64]:
        """(3,) mean of M over the level: the derivative of the mean energy, eV Å."""
        mean: NDArray[np.float64] = np.trace(self.first, axis1=1, axis2=2).real / self.size
        return mean

    @property
    def hessian(self) -> NDArray[np.float64]:
        """(3, 3) mean of D over the level: the second derivative of the mean energy, eV Å²."""
        mean: NDArray[np.float64] = np.trace(self.second, axis1=2, axis2=3).real / self.size
        return mean

    def at(self, q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the energies at displacements q (…, 3) in 1/Å, ascending, eV."""
        H = np.tensordot(q, self.first, axes=1).astype(complex)
        H += 0.5 * np.einsum("...a,...b,abmn->...mn", q, q, self.second)
        H += np.diag(self.energies)
        levels: NDArray[np.float64] = np.linalg.eigvalsh(H)
        return levels

    def along(
        self, direction: NDArray[np.float64], negligible: float = 1e-9
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return slopes (eV Å) and second derivatives (eV Å²) of the bands along a unit vector.

        In the order of their energies just beyond the point. Bands with one slope are told apart by
        D between them; bands of other slopes do not enter (they would in third order). Slopes count
        as one where their difference Δ changes energies by less than `negligible` eV, Δ²/2D: beyond
        that the bands follow D. So do the heavy and light holes of zinc blende, whose slopes at Γ
        are not quite zero.
        """
        M = np.tensordot(direction, self.first, axes=1)
        D = np.einsum("a,b,abmn->mn", direction, direction, self.second)
        slopes, states = np.linalg.eigh(M)
        turned = states.conj().T @ D @ states
        curvatures = np.empty(self.size)
        steepest = max(1e-9, float(np.abs(np.linalg.eigvalsh(D)).max()))
        for same in level_ranges(slopes, float(np.sqrt(2 * steepest * negligible))):
            curvatures[same] = np.linalg.eigvalsh(turned[same, same])
        return slopes, curvatures


def _both(matrix: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return matrix + matrix.conj().T


def level_of(data: KData, band: int, tolerance: float) -> slice:
    """Return the states whose energies are those of a band (from 0) to within `tolerance` eV."""
    return next(r for r in level_ranges(data.energies, tolerance) if r.start <= band < r.stop)
