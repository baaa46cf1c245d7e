"""How good a basis is: its bands against those of the plane waves, and what it spills."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.qe import PlaneWaveRun
from dock.core.matrix import AOMatrix
from dock.states.problem import Problem
from dock.states.stream import levels

__all__ = ["BandQuality", "compare_bands", "with_spillage"]

_OCCUPIED = 0.5  # states filled by more than this count as occupied
# eV: bases made for the pseudopotential are within 0.1; the cut-off alone shifts bands by 0.02.
_ODD_RMS, _BELOW = 0.3, -0.02
_GAP = 1e-3  # eV below which a run counts as a metal


@dataclass(frozen=True)
class BandQuality:
    """Bands of the orbitals against those of the plane waves, on the run's own k-points.

    Attributes
    ----------
    n_k, n_bands
        k-points, and bands compared.
    occupied_rms, occupied_max, occupied_min
        Differences AO − PW of the occupied states, eV. In exact arithmetic none is negative.
    empty_rms
        Of the empty states that both have, eV; None without any.
    gap, plane_wave_gap
        Of the k-points of the run, eV; None for a metal.
    occupied_spillage, largest_spillage
        Part of the occupied states outside the basis: mean, and largest; None unless asked for.
    empty_spillage
        Mean of the empty states of the run.
    """

    n_k: int
    n_bands: int
    occupied_rms: float
    occupied_max: float
    occupied_min: float
    empty_rms: float | None
    gap: float | None
    plane_wave_gap: float | None
    occupied_spillage: float | None = None
    largest_spillage: float | None = None
    empty_spillage: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, energies in eV."""
        return asdict(self)

    def __str__(self) -> str:
        text = (
            f"bands of the orbitals against plane waves at {self.n_k} k-points: occupied "
            f"{1e3 * self.occupied_rms:.1f} meV rms, {1e3 * self.occupied_max:.1f} meV at most"
        )
        if self.empty_rms is not None:
            text += f"; empty {1e3 * self.empty_rms:.0f} meV rms"
        if self.gap is not None and self.plane_wave_gap is not None:
            text += f"; gap {self.gap:.3f} against {self.plane_wave_gap:.3f} eV"
        if self.occupied_spillage is not None and self.largest_spillage is not None:
            text += (
                f"; spillage of occupied states {self.occupied_spillage:.2e}, at most "
                f"{self.largest_spillage:.2e}"
            )
        if self.empty_spillage is not None:
            text += f", of empty ones {self.empty_spillage:.2e}"
        return text

    @property
    def doubts(self) -> tuple[str, ...]:
        """What the figures say about basis, potential and run that do not fit together."""
        found = []
        if self.occupied_min < _BELOW:
            found.append(
                f"an occupied band lies {-1e3 * self.occupied_min:.0f} meV below that of the plane "
                "waves, which no basis can do in a converged run: the run's cut-off is too low for "
                "these orbitals (--set cutoff=none keeps their waves beyond it), or potential, "
                "pseudopotentials and run do not belong together"
            )
        if self.occupied_rms > _ODD_RMS:
            found.append(
                f"occupied bands are off by {1e3 * self.occupied_rms:.0f} meV: the basis is too "
                "small, or was made for another pseudopotential"
            )
        return tuple(found)


def compare_bands(
    hamiltonian: AOMatrix, overlap: AOMatrix, run: PlaneWaveRun, *, jobs: int | None = None
) -> BandQuality:
    """Compare the bands of a projection with those of the run that it was made from.

    Both share the zero of the potential; nothing is aligned.

    Raises
    ------
    SolverError
        When the overlap is not positive definite at a k-point.
    """
    bands = levels(Problem(hamiltonian, overlap), run.k_frac, jobs=jobs).energies
    n = min(bands.shape[2], run.n_bands)
    mine = bands[:, :, :n]
    theirs = np.asarray(run.levels[:, :, :n], dtype=np.float64)
    occupied = run.occupations[:, :, :n] > _OCCUPIED
    difference = mine - theirs
    filled, empty = difference[occupied], difference[~occupied]
    return BandQuality(
        len(run.k_frac),
        n,
        _rms(filled),
        float(filled.max(initial=0.0)) if len(filled) else 0.0,
        float(filled.min()) if len(filled) else 0.0,
        _rms(empty) if len(empty) else None,
        *_gaps(mine, theirs, occupied),
    )


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else 0.0


def _gaps(
    mine: NDArray[np.float64], theirs: NDArray[np.float64], occupied: NDArray[np.bool_]
) -> tuple[float | None, float | None]:
    """Return both gaps; None for a metal, and where there are no empty states.

    A metal's bands are filled up to different numbers at different k-points.
    """
    filling = occupied.sum(axis=2)
    if occupied.all() or not occupied.any() or np.any(filling != filling[:, :1]):
        return None, None
    found = [float(e[~occupied].min() - e[occupied].max()) for e in (mine, theirs)]
    return (found[0], found[1]) if found[1] > _GAP else (None, None)


def with_spillage(
    quality: BandQuality, run: PlaneWaveRun, spilled: NDArray[np.float64]
) -> BandQuality:
    """Return the report with the spillage of `dock.planewave.wavefunctions.spillage`."""
    occupied = run.occupations > _OCCUPIED
    weights = np.broadcast_to(run.k_weights[None, :, None], spilled.shape)

    def mean(states: NDArray[np.bool_]) -> float:
        return float(np.average(spilled[states], weights=weights[states]))

    return replace(
        quality,
        occupied_spillage=mean(occupied),
        largest_spillage=float(spilled[occupied].max()),
        empty_spillage=None if occupied.all() else mean(~occupied),
    )
