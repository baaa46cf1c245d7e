"""Which bands are wanted by their energies: a window, or the states nearest to an energy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.states.kpath import KPath
from dock.states.solver import Want

__all__ = ["FASTEST", "Selection"]

FASTEST = 15.0
"""eV Å by which a band rises per 1/Å at most: ħ times the velocity of a free electron of 15 eV."""


@dataclass(frozen=True)
class Selection:
    """Which bands are wanted; the default is all.

    Attributes
    ----------
    window
        (lowest, highest) energy in eV relative to the Fermi level.
    states, around
        The bands that come among the `states` nearest to the energy `around` (eV, relative to the
        Fermi level) at some k-point.
    """

    window: tuple[float, float] | None = None
    states: int | None = None
    around: float = 0.0

    def __post_init__(self) -> None:
        if self.window is not None and not self.window[0] < self.window[1]:
            raise UsageError(
                f"the energy window {self.window[0]:g} … {self.window[1]:g} eV is empty."
            )
        if self.states is not None and self.states < 1:
            raise UsageError(f"the number of states must be at least 1, found {self.states}.")
        if self.window is not None and self.states is not None:
            raise UsageError("give an energy window or a number of states, not both.")

    @property
    def takes_all(self) -> bool:
        """Whether every band is wanted."""
        return self.window is None and self.states is None

    def margin(self, path: KPath) -> float:
        """Return by how much a window is solved wider, eV, so that its bands reach its ends.

        Lines join neighbouring k-points: the next state of a band that leaves the window lies no
        further outside than the fastest bands move. On a coarse path half a window must do.
        """
        if self.window is None:
            return 0.0
        steps = np.diff(path.distances, prepend=0.0)
        low, high = self.window
        return min(0.5 * (high - low), 2 * np.pi * FASTEST * float(steps.max()))

    def want(
        self, fermi_level: float | None, s_threshold: float | None, margin: float = 0.0
    ) -> Want:
        """Return what to ask a solver; all bands where they must tell the Fermi level first.

        A window is wider by a `margin` on both sides, eV.
        """
        if fermi_level is None or self.takes_all:
            return Want(s_threshold=s_threshold)
        if self.window is not None:
            low, high = self.window
            window = (low - margin + fermi_level, high + margin + fermi_level)
            return Want(window=window, s_threshold=s_threshold)
        nearest = (self.states or 1, self.around + fermi_level)
        return Want(nearest=nearest, s_threshold=s_threshold)

    def bands(self, relative: NDArray[np.float64]) -> tuple[int, int]:
        """Return the columns of the bands that are wanted, of energies from the Fermi level.

        They are those that enter the window, or are among the nearest at some k-point; `relative`
        is (n_spin, n_k, n_bands) in eV.
        """
        if self.window is not None:
            low, high = self.window
            kept = np.flatnonzero(np.any((relative >= low) & (relative <= high), axis=(0, 1)))
        else:
            distance = np.nan_to_num(np.abs(relative - self.around), nan=np.inf)
            kept = np.argsort(distance, axis=2)[..., : self.states]
        return (int(kept.min()), int(kept.max()) + 1) if kept.size else (0, 0)
