"""Levels as Gaussians on a grid of energies, for densities of states and spectral functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_gaussians"]


def add_gaussians(
    centres: NDArray[np.float64],
    weights: NDArray[np.float64],
    sigma: float,
    first: float,
    step: float,
    out: NDArray[Any],
) -> None:
    """Add weight · exp(−(E − centre)²/2σ²)/(σ√2π) for each level to `out`, in place.

    Parameters
    ----------
    centres, weights
        (n,) levels in eV and what each counts.
    sigma
        Standard deviation σ, eV, positive.
    first, step
        The energies are E = first + n · step, eV; a Gaussian ends 9 σ from its centre.
    out
        (n_energies,) the sum so far, in 1/eV.

    Examples
    --------
    >>> density = np.zeros(5)
    >>> add_gaussians(np.array([0.0]), np.array([2.0]), 0.5, -1.0, 0.5, density)
    >>> density.round(4).tolist()
    [0.216, 0.9679, 1.5958, 0.9679, 0.216]
    """
    from dock.states import _broadening_kernels

    _broadening_kernels.add_gaussians(centres, weights, sigma, first, step, out)
