"""Chebyshev series with the Jackson kernel: from moments to densities, counts and their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.states.kpm.pencil import Transform

__all__ = ["Scale", "jackson"]

_RESOLUTION = 0.05  # eV, unless another one is asked for
_SLAB = 2**22  # numbers of one table of cosines


def jackson(n_moments: int) -> NDArray[np.float64]:
    """Return the factors g_n (n_moments,) of the Jackson kernel, g_0 = 1.

    They make of a level at x a peak that is never negative, nearly a Gaussian of standard deviation
    π √(1 − x²) / N. Source: A. Weiße, G. Wellein, A. Alvermann, H. Fehske, Rev. Mod. Phys. 78,
    275 (2006), eq. 71.

    Examples
    --------
    >>> [round(float(g), 3) for g in jackson(3)]
    [1.0, 0.707, 0.25]
    """
    n, N = np.arange(n_moments), n_moments
    angle = np.pi / (N + 1)
    factors: NDArray[np.float64] = (
        (N - n + 1) * np.cos(angle * n) + np.sin(angle * n) / np.tan(angle)
    ) / (N + 1)
    return factors


@dataclass(frozen=True)
class Scale:
    """From energies to the variable x of Chebyshev polynomials: x = (λ(e) − centre) / half_width.

    `low` and `high` are bounds of the eigenvalues λ of the pencil of `transform`.
    """

    transform: Transform
    low: float
    high: float

    @property
    def centre(self) -> float:
        """The eigenvalue at x = 0."""
        return (self.low + self.high) / 2

    @property
    def half_width(self) -> float:
        """Eigenvalues from x = 0 to x = 1."""
        return (self.high - self.low) / 2

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds of the spectrum, eV."""
        low, high = self.transform.energy(np.array([self.low, self.high]))
        return float(low), float(high)

    def widened(self, share: float) -> Scale:
        """Return the scale with bounds that lie further out by a share of the half width."""
        more = share * self.half_width
        return Scale(self.transform, self.low - more, self.high + more)

    def x(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the variable x of energies in eV; ±1 beyond the bounds."""
        low, high = self.bounds
        inside = np.clip(np.asarray(energies, dtype=np.float64), low, high)
        x = (self.transform.eigenvalue(inside) - self.centre) / self.half_width
        return np.clip(x, -1.0, 1.0)

    def resolution(self, energies: NDArray[np.float64], n_moments: int) -> NDArray[np.float64]:
        """Return the standard deviation of the kernel at energies, eV."""
        x = self.x(energies)
        width = np.sqrt(1 - x**2 + 0.25 * (np.pi / n_moments) ** 2) * np.pi / n_moments
        return width * self.half_width / self.transform.slope(np.asarray(energies, np.float64))

    def moved(self, energies: NDArray[np.float64], error: float) -> NDArray[np.float64]:
        """Return by how much an inverse of B with an error may move levels, eV: a bound."""
        moved: NDArray[np.float64] = np.abs(self.transform.eigenvalue(energies)) * error
        return moved / self.transform.slope(energies)

    def moments_for(self, resolution: float, energies: NDArray[np.float64]) -> int:
        """Return the even number of moments that resolves some energies, a width in eV."""
        many = 10_000
        widest = float(np.max(self.resolution(energies, many)))
        return max(4, 2 * int(np.ceil(many * widest / resolution / 2)))

    def moments_of(self, level: float, resolution: float | None, moments: int | None) -> int:
        """Return how many moments are asked for: so many, or those of a resolution (eV) at a level.

        `UsageError` where both are given, and the moments are too few for the resolution.
        """
        here = np.array([level])
        if moments is None:
            return self.moments_for(_RESOLUTION if resolution is None else resolution, here)
        if resolution is not None:
            needed = self.moments_for(resolution, here)
            if needed > moments:
                sharp = 1e3 * float(self.resolution(here, moments)[0])
                raise UsageError(
                    f"{moments} moments resolve {sharp:.0f} meV at the Fermi level, not "
                    f"{1e3 * resolution:.0f}. Pass moments={needed}, or leave it out."
                )
        return moments + moments % 2

    def require_inside(self, level: float, window: tuple[float, float]) -> None:
        """Refuse a window (eV from a level) beyond the spectrum with a `UsageError`."""
        low, high = self.bounds
        first, last = (level + end for end in window)
        if first > high or last < low:
            raise UsageError(
                f"the window {first:.3f} … {last:.3f} eV (absolute) lies outside the spectrum, "
                f"{low:.3f} … {high:.3f} eV. Pass window=(EMIN, EMAX) from the Fermi level, "
                f"{level:.3f} eV."
            )

    def density(
        self, moments: NDArray[np.float64], energies: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return densities (…, n_energies) in 1/eV of moments (…, n_moments); 0 outside."""
        energies = np.asarray(energies, dtype=np.float64)
        low, high = self.bounds
        inside = (energies > low) & (energies < high)
        theta = np.arccos(self.x(energies[inside]))
        weights = jackson(moments.shape[-1]) * np.where(np.arange(moments.shape[-1]), 2.0, 1.0)
        values = _series(moments * weights, theta, np.cos)
        values /= np.pi * np.sin(theta) * self.half_width
        values *= self.transform.slope(energies[inside])
        out = np.zeros((*moments.shape[:-1], len(energies)))
        out[..., inside] = values
        return out

    def count(
        self, moments: NDArray[np.float64], energies: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the integrals (…, n_energies) of `density` from below up to energies."""
        theta = np.arccos(self.x(energies))
        n = np.arange(moments.shape[-1])
        weights = np.zeros(moments.shape[-1])
        weights[1:] = -2.0 / (np.pi * n[1:])
        values = _series(moments * weights * jackson(moments.shape[-1]), theta, np.sin)
        return values + moments[..., :1] * (1 - theta / np.pi)

    def kernel(self, levels: NDArray[np.float64], n_moments: int) -> NDArray[np.float64]:
        """Return the moments (n_moments,) of levels in eV: what exact random sums would give."""
        theta = np.arccos(self.x(levels))
        out = np.empty(n_moments)
        step = max(1, _SLAB // max(1, len(levels)))
        for begin in range(0, n_moments, step):
            n = np.arange(begin, min(n_moments, begin + step))
            out[n] = np.cos(n[:, None] * theta).sum(axis=1)
        return out


def _series(
    coefficients: NDArray[np.float64], theta: NDArray[np.float64], function: Any
) -> NDArray[np.float64]:
    """Return Σ_n c_n f(n θ), (…, n_theta), in slabs of θ."""
    n = np.arange(coefficients.shape[-1])
    out = np.empty((*coefficients.shape[:-1], len(theta)))
    step = max(1, _SLAB // len(n))
    for begin in range(0, len(theta), step):
        some = slice(begin, begin + step)
        out[..., some] = coefficients @ function(n[:, None] * theta[None, some])
    return out
