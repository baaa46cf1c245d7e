"""The Fermi function as a sum over poles: the contour of Lin, Lu, Ying and E.

L. Lin, J. Lu, L. Ying and W. E, Chin. Ann. Math. 30B, 729 (2009); the quadrature is that of
N. Hale, N. Higham and L. Trefethen, SIAM J. Numer. Anal. 46, 2505 (2008). With x = ε − μ and
f(x) = 1/(1 + e^{βx}), whose poles are ±iπ/β, ±3iπ/β, …, the contour encloses the filled part of
the real axis and passes between 0 and iπ/β:

    f(x) = 2 Re Σ_j w_j / (ξ_j − x),   w_j = f(ξ_j) dξ_j / 2πi,

with ξ_j in the upper half plane. The number of poles grows with the logarithm of β times the width
of the filled spectrum. States above the contour contribute nothing, as it should be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dock.errors import ConvergenceError

__all__ = ["Contour"]

_MOST = 400


@dataclass(frozen=True, eq=False)
class Contour:
    """Poles and weights for one temperature and depth of the spectrum.

    Attributes
    ----------
    shifts : complex (n,)
        ξ_j in eV, relative to the chemical potential.
    steps : complex (n,)
        dξ_j / 2πi, eV.
    beta
        1/(k_B T), 1/eV.
    error
        Largest error of f on the real axis.
    """

    shifts: NDArray[np.complex128]
    steps: NDArray[np.complex128]
    beta: float
    error: float

    @classmethod
    def make(
        cls, width: float, depth: float, *, poles: int | None = None, tolerance: float = 1e-11
    ) -> Contour:
        """Return a contour.

        Parameters
        ----------
        width
            k_B T, eV.
        depth
            μ minus the lowest eigenvalue, eV.
        poles
            Number of poles; default the smallest with which f is right to `tolerance`, at most 400,
            else a `ConvergenceError`.
        tolerance
            Largest error of f.
        """
        reach = max(depth, 45 * width)
        if poles is not None:
            return cls._of(width, reach, max(2, poles))
        for number in range(12, _MOST, 4):
            contour = cls._of(width, reach, number)
            if contour.error <= tolerance:
                return contour
        raise ConvergenceError(
            f"{_MOST} poles do not represent the Fermi function to {tolerance:g} over {depth:g} "
            f"eV at k_B T = {width:g} eV. Raise the temperature."
        )

    def weights(self, offset: float = 0.0) -> NDArray[np.complex128]:
        """Return w_j for a chemical potential moved by a small offset (below k_B T), eV."""
        return _fermi(self.beta * (self.shifts - offset)) * self.steps

    def fermi(self, x: NDArray[np.float64], offset: float = 0.0) -> NDArray[np.float64]:
        """Return the approximated Fermi function."""
        terms = self.weights(offset)[:, None] / (self.shifts[:, None] - x[None, :])
        total: NDArray[np.float64] = 2 * terms.sum(axis=0).real
        return total

    @classmethod
    def _of(cls, width: float, reach: float, number: int) -> Contour:
        beta = 1 / width
        half = max(1, (number + 1) // 2)
        z, dz = _circle((np.pi * width) ** 2, reach**2 + (np.pi * width) ** 2, half)
        right = np.sqrt(z - (np.pi * width) ** 2)
        step = dz / (2 * right)
        # The mirror image in the imaginary axis continues the way to the left.
        shifts = np.concatenate([right, -right.conj()])
        steps = np.concatenate([step, step.conj()]) / (2j * np.pi)
        kept = np.abs(_fermi(beta * shifts) * steps) > 1e-15
        contour = cls(shifts[kept], steps[kept], beta, 0.0)
        x = np.concatenate([np.linspace(-reach, reach, 2001), width * np.linspace(-30, 30, 601)])
        error = float(np.abs(contour.fermi(x) - _fermi(beta * x).real).max())
        return cls(contour.shifts, contour.steps, beta, error)


def _circle(
    low: float, high: float, number: int
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return points z and steps dz, counter-clockwise, on the upper half of a loop."""
    from scipy.special import ellipj, ellipk, ellipkm1

    ratio = np.sqrt(high / low)
    k = (ratio - 1) / (ratio + 1)
    m1 = 4 * ratio / (ratio + 1) ** 2  # 1 − k², without cancellation
    K, K1 = float(ellipkm1(m1)), float(ellipk(m1))
    u = -K + 2 * K * (np.arange(number) + 0.5) / number
    s, c, d, _ = ellipj(u, k * k)
    s1, c1, d1, _ = ellipj(0.5 * K1, m1)
    bottom = c1**2 + (k * s * s1) ** 2
    sn = (s * d1 + 1j * c * d * s1 * c1) / bottom
    cn = (c * c1 - 1j * s * d * s1 * d1) / bottom
    dn = (d * c1 * d1 - 1j * k * k * s * c * s1) / bottom
    root = np.sqrt(low * high)
    z = root * (1 / k + sn) / (1 / k - sn)
    dz = root * (2 / k) * cn * dn / (1 / k - sn) ** 2 * (2 * K / number)
    return z, -dz


def _fermi(x: NDArray[np.complex128] | NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return 1/(1 + e^x) without overflow."""
    x = np.asarray(x, dtype=np.complex128)
    small = np.exp(-np.abs(x.real) + 1j * np.where(x.real > 0, -1, 1) * x.imag)
    return np.where(x.real > 0, small / (1 + small), 1 / (1 + small))
