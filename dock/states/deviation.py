"""How far the energies of two Hamiltonians lie apart: window, shift and mean of the differences.

Equations (12) and (16) of the DeepH-pack paper (arXiv:2601.02938). `dock.evaluate` measures with
them on a mesh, a band structure on its path: one definition, so that the same k-points and window
give the same number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Window", "band_error", "band_shift", "level_mask"]

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """An energy window; both limits are outside it.

    Attributes
    ----------
    low, high
        Limits in eV, absolute, on the scale of the benchmark.
    n_bands
        Bands with a level inside at some k-point, both spin channels counted.
    """

    low: float
    high: float
    n_bands: int


def level_mask(energies: Values, window: Window) -> NDArray[np.bool_]:
    """Return which levels lie inside a window, its limits excluded."""
    return (energies > window.low) & (energies < window.high)


def band_shift(predicted: Values, benchmark: Values, mask: NDArray[np.bool_]) -> float:
    """Return Δμ_band, the median of ε_pred − ε_bm of the chosen levels in eV, equation (16)."""
    return float(np.median((predicted - benchmark)[mask]))


def band_error(predicted: Values, benchmark: Values, mask: NDArray[np.bool_]) -> float:
    """Return the mean |ε_pred − ε_bm − Δμ_band| of the chosen levels in eV, equation (12).

    The levels (eV) are those at the points of a whole, evenly spaced mesh, in one order; the mask
    is chosen from the benchmark.
    """
    shift = band_shift(predicted, benchmark, mask)
    return float(np.abs((predicted - benchmark)[mask] - shift).mean())
