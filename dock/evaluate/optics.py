"""How far the dielectric function of a predicted Hamiltonian is from that of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.errors import UsageError
from dock.io.progress import Progress, Report
from dock.response.optical_spectrum import OpticalSpectrum, optics
from dock.states.kmesh import KMesh

__all__ = ["ETA", "HIGHEST", "epsilon_error", "spectrum_error"]

ETA = 0.1
"""Broadening, eV."""

HIGHEST = 10.0
"""Highest photon energy that is compared, eV."""

_STEP = 0.02


def epsilon_error(
    predicted: Calculation,
    reference: Calculation,
    mesh: KMesh,
    *,
    electrons: float | None = None,
    eta: float = ETA,
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> float:
    """Return ∫|Δε₂| dω / ∫ε₂ dω up to 10 eV, ε₂ the mean of the diagonal, without a unit.

    Both have the overlap and positions of the reference; each is filled with the same electrons by
    its own levels, on the same mesh. Errors are those of `dock.response.optics`.
    """
    energies = np.linspace(0, HIGHEST, round(HIGHEST / _STEP) + 1)
    bar = Progress.of(progress)
    bar.start(4 * mesh.n_points * reference.spin.n_channels)
    options: dict[str, Any] = {"eta": eta, "electrons": electrons, "s_threshold": s_threshold}
    options |= {"jobs": jobs}
    both = (
        optics(calc, mesh, energies, progress=bar.part(), **options)
        for calc in (predicted, reference)
    )
    guess, exact = (_mean(spectrum) for spectrum in both)
    return spectrum_error(guess, exact)


def spectrum_error(guess: NDArray[np.float64], exact: NDArray[np.float64]) -> float:
    """Return Σ|guess − exact| / Σ exact of two spectra on the same even energies.

    Examples
    --------
    >>> spectrum_error(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    0.5
    """
    total = float(np.abs(exact).sum())
    if not total:
        raise UsageError("the reference does not absorb at any of the energies compared.")
    return float(np.abs(guess - exact).sum()) / total


def _mean(spectrum: OpticalSpectrum) -> NDArray[np.float64]:
    assert spectrum.epsilon is not None  # noqa: S101 - epsilon was asked for
    mean: NDArray[np.float64] = np.einsum("naa->n", spectrum.epsilon.imag) / 3
    return mean
