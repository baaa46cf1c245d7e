"""How far the energies of two band structures lie apart, band by band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.states.deviation import Window, band_error, band_shift, level_mask

__all__ = ["Difference"]


@dataclass(frozen=True)
class Difference:
    """How far bands lie from those that they are compared with, after the shift between them.

    Attributes
    ----------
    shift
        Median difference, eV: equation (16) of the DeepH-pack paper.
    mean, largest
        Of the absolute deviations that are left, eV; the mean is equation (12).
    window
        The energies that were compared, eV, absolute on the scale of what is compared with; None
        where all were.
    n_levels
        Levels compared.
    """

    shift: float
    mean: float
    largest: float
    window: tuple[float, float] | None
    n_levels: int

    @classmethod
    def of(
        cls,
        energies: NDArray[np.float64],
        n_below: int,
        others: NDArray[np.float64],
        others_below: int,
        window: tuple[float, float] | None = None,
    ) -> Difference:
        """Measure energies against others, both (n_spin, n_k, n_bands) in eV, NaN where missing.

        Bands are compared by number: `n_below` and `others_below` lie below the first ones. The
        window is in eV, absolute on the scale of the others. `UsageError` where nothing is in both.
        """
        low = max(n_below, others_below)
        high = min(n_below + energies.shape[2], others_below + others.shape[2])
        if high <= low:
            raise UsageError("the two band structures have no band in common.")
        mine = energies[..., low - n_below : high - n_below]
        theirs = others[..., low - others_below : high - others_below]
        mask = np.isfinite(mine) & np.isfinite(theirs)
        if window is not None:
            mask &= level_mask(theirs, Window(*window, 0))
        if not mask.any():
            raise UsageError("the two band structures have no level in common in the window.")
        shift = band_shift(mine, theirs, mask)
        largest = float(np.abs((mine - theirs)[mask] - shift).max())
        mean = band_error(mine, theirs, mask)
        return cls(shift, mean, largest, window, int(mask.sum()))

    def facts(self) -> dict[str, Any]:
        """Return the deviations, in eV, by key."""
        return {
            "max": self.largest,
            "mean": self.mean,
            "shift": self.shift,
            "window": None if self.window is None else list(self.window),
            "n_levels": self.n_levels,
        }

    def describe(self) -> str:
        """Return the deviations in words."""
        text = f"max |Δ| {self.largest:.6f} eV, mean {self.mean:.6f} eV after a shift of "
        where = "" if self.window is None else f" from {self.window[0]:.3f} to {self.window[1]:.3f}"
        return f"{text}{self.shift:+.6f} eV; {self.n_levels} levels{where}"
