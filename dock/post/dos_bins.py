"""How the states of a spectrum are spread over the bins of an energy grid.

A density of states is made of them (`dock.post.density_of_states`), by tetrahedra or broadening.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dock.errors import UsageError
from dock.states.fermi_level import Method
from dock.states.smearing import Smearing
from dock.states.spectrum import Spectrum
from dock.states.tetrahedra import Tetrahedra

__all__ = ["Bins", "Grid", "make_bins", "require_grid"]

_MAX_BINS = 2_000_000
_SLAB = 32_768  # numbers of one temporary array: a quarter of a megabyte


@dataclass(frozen=True)
class Grid:
    """Bins of equal width; zero (the Fermi level) is a centre.

    Attributes
    ----------
    first
        Lower edge of the first bin, eV, absolute.
    step
        Width of a bin, eV.
    """

    first: float
    step: float
    n_bins: int

    @classmethod
    def of(
        cls,
        spectrum: Spectrum,
        level: float,
        window: tuple[float, float] | None,
        step: float,
        method: Method,
    ) -> Grid:
        """Return the grid of a window about the Fermi level, or of all states.

        Raises `UsageError` for too many bins.
        """
        if window is None:
            reach = method.reach if isinstance(method, Smearing) else 0.0
            low = float(spectrum.energies.min()) - level - reach
            high = float(spectrum.energies.max()) - level + reach
        else:
            low, high = window
        # A step such as 10/500 must not make a bin more by its last digit.
        begin, end = int(np.floor(low / step + 1e-6)) - 1, int(np.ceil(high / step - 1e-6)) + 1
        if window is not None:
            begin, end = begin + 1, end - 1
        count = end - begin + 1
        if count > _MAX_BINS:
            raise UsageError(
                f"a step of {step:g} eV makes {count} energies between {low:g} and {high:g} eV. "
                "Pass a larger step=DE, or window=(EMIN, EMAX)."
            )
        return cls(level + (begin - 0.5) * step, step, count)

    @property
    def centres(self) -> NDArray[np.float64]:
        """(n_bins,) eV, absolute."""
        centres: NDArray[np.float64] = np.arange(self.n_bins, dtype=np.float64) + 0.5
        return self.first + centres * self.step


@dataclass(frozen=True, eq=False)
class Bins(ABC):
    """A rule that spreads states over bins."""

    grid: Grid

    @abstractmethod
    def total(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (n_bins,) states per cell of all k-points and bands."""

    @abstractmethod
    def project(
        self, energies: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return (n_names, n_bins): all states, times weights (n_k, n_names, n_bands)."""

    @abstractmethod
    def below(self, spectrum: Spectrum, level: float) -> float:
        """Return the number of states per cell below an energy."""


@dataclass(frozen=True, eq=False)
class _TetrahedronBins(Bins):
    """Exact shares of linearly interpolated bands."""

    tetrahedra: Tetrahedra

    def total(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        grid = self.grid
        return self.tetrahedra.bin_states(energies, grid.first, grid.step, grid.n_bins)

    def project(
        self, energies: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        grid = self.grid
        return self.tetrahedra.project(energies, weights, grid.first, grid.step, grid.n_bins)

    def below(self, spectrum: Spectrum, level: float) -> float:
        return self.tetrahedra.counter(spectrum.energies, (level, level))(level)


@dataclass(frozen=True, eq=False)
class _BroadenedBins(Bins):
    """Shares of levels that a smearing broadens."""

    weights: NDArray[np.float64]
    smearing: Smearing
    average: bool

    def total(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        counts = np.zeros(self.grid.n_bins)
        step = max(1, _SLAB // (energies.shape[1] * self._width))
        for begin in range(0, len(energies), step):
            rows = slice(begin, begin + step)
            weights = np.broadcast_to(self.weights[rows, None], energies[rows].shape)
            place, share = self._spread(energies[rows].ravel())
            share *= weights.reshape(-1, 1)
            inside = (place >= 0) & (place < self.grid.n_bins)
            counts += np.bincount(place[inside], share[inside], minlength=self.grid.n_bins)
        return counts

    def project(
        self, energies: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        out = np.zeros((weights.shape[1], self.grid.n_bins))
        for levels, share_of_mesh, rows in zip(energies, self.weights, weights, strict=True):
            place, share = self._spread(levels)
            inside = (place >= 0) & (place < self.grid.n_bins)
            share = share * share_of_mesh
            for spectrum, values in zip(out, rows, strict=True):
                part = (share * values[:, None])[inside]
                spectrum += np.bincount(place[inside], part, minlength=self.grid.n_bins)
        return out

    def below(self, spectrum: Spectrum, level: float) -> float:
        filling = self.smearing.occupation(spectrum.energies, level)
        return float(np.sum(filling * self.weights[None, :, None]))

    @property
    def _width(self) -> int:
        """Number of bins that a level can reach."""
        return int(np.ceil(2 * self.smearing.reach / self.grid.step)) + 2

    def _spread(
        self, energies: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the bins (n_states, width) that each level reaches and its share in each."""
        grid = self.grid
        base = np.floor((energies - self.smearing.reach - grid.first) / grid.step)
        place = base.astype(np.int64)[:, None] + np.arange(self._width)
        if not self.average:
            centres = grid.first + (place + 0.5) * grid.step
            return place, self.smearing.delta(energies[:, None], centres) * grid.step
        edges = grid.first + np.append(place, place[:, -1:] + 1, axis=1) * grid.step
        filled = self.smearing.occupation(energies[:, None], edges)
        # What lies beyond the reach (1e-18 of a level) goes into the outermost bins.
        filled[:, 0], filled[:, -1] = 0.0, 1.0
        return place, np.diff(filled, axis=1)


def require_grid(
    step: float, window: tuple[float, float] | None, method: Method, *, average: bool
) -> None:
    """Raise `UsageError` for a grid that has no meaning, before an hour is spent."""
    if not 0 < step < np.inf:
        raise UsageError(f"the energy step must be a positive number of eV, found {step}.")
    if window is not None and not window[0] < window[1]:
        raise UsageError(f"the energy window {window[0]:g} … {window[1]:g} eV is empty.")
    if not average and not isinstance(method, Smearing):
        raise UsageError("tetrahedra give averages over the bins: leave average=True.")


def make_bins(spectrum: Spectrum, grid: Grid, method: Method, *, average: bool) -> Bins:
    """Return the rule of a method; see `dock.post.density_of_states.dos`."""
    if isinstance(method, Smearing):
        return _BroadenedBins(grid, spectrum.mesh.weights, method, average)
    return _TetrahedronBins(grid, Tetrahedra.of(spectrum.mesh, spectrum.structure))
