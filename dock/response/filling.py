"""How the states of a mesh are filled: whole bands of an insulator, or up to a Fermi level."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import ConventionError, UsageError
from dock.io.progress import Progress, Report
from dock.response.operators import Operators
from dock.states.fermi_level import find_level
from dock.states.gap import Gap, find_gap
from dock.states.job import Job, PartDone
from dock.states.kmesh import KMesh
from dock.states.remembered import remembering
from dock.states.smearing import Smearing
from dock.states.solver import Solver, Want
from dock.states.spectrum import Spectrum, electrons_of
from dock.states.stream import levels

__all__ = ["EMPTY", "MeshFilling", "fill_mesh", "two_passes"]

_log = logging.getLogger("dock")

EMPTY = 1e-12
"""Occupations closer than this to 0 or 1 count as empty or full."""


@dataclass(frozen=True)
class MeshFilling:
    """Occupations of the states of a mesh.

    Attributes
    ----------
    level
        Fermi level, eV, absolute.
    smearing
        The rule of occupation; None where the level lies in a gap: a step.
    gap
        What the mesh says of the gap.
    n_electrons
        Electrons per cell.
    source
        Where the level is from; see `dock.states.gap.Gap`.
    """

    level: float
    smearing: Smearing | None
    gap: Gap
    n_electrons: float
    source: str

    @property
    def is_gapped(self) -> bool:
        """Whether all states are full or empty."""
        return self.smearing is None

    def occupations(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the filled part of states, 0 to 1 (of some smearings a little beyond)."""
        if self.smearing is None:
            return (energies < self.level).astype(np.float64)
        filled: NDArray[np.float64] = self.smearing.occupation(energies, self.level)
        return filled

    def slopes(self, energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return −∂f/∂E of states, 1/eV."""
        if self.smearing is None:
            return np.zeros_like(energies)
        slopes: NDArray[np.float64] = self.smearing.delta(energies, self.level)
        return slopes

    def sides(self, filled: NDArray[np.float64]) -> tuple[slice, slice]:
        """Return the states that are not empty, and those that are not full."""
        some = np.flatnonzero(np.abs(filled) > EMPTY)
        free = np.flatnonzero(np.abs(filled - 1) > EMPTY)
        lower = slice(0, int(some[-1]) + 1 if len(some) else 0)
        upper = slice(int(free[0]) if len(free) else len(filled), len(filled))
        return lower, upper

    def require_gap(self, what: str, source: str) -> None:
        """Refuse a metal for a quantity that needs full and empty bands."""
        if not self.is_gapped:
            raise ConventionError(
                f"{source}: {what} needs a gap, and on this mesh there is none ({self.gap.kind}, "
                f"Fermi level {self.level:.4f} eV). Give the level of a gap with fermi_level=E, or "
                "another number of electrons."
            )

    @property
    def words(self) -> str:
        """Fermi level and occupations in words."""
        if self.smearing is None:
            return f"{self.level:.6f} eV (in the gap)"
        return f"{self.level:.6f} eV ({self.smearing.kind}, {self.smearing.width:.6g} eV)"

    def facts(self) -> dict[str, Any]:
        """Return level, gap, electrons and occupations by the keys of results."""
        gap = self.gap
        return {
            "fermi_level_eV": self.level,
            "fermi_source": self.source,
            "kind": gap.kind,
            "gap_eV": gap.size,
            "direct_gap_eV": max(0.0, gap.direct) if np.isfinite(gap.direct) else None,
            "n_electrons": self.n_electrons,
            "smearing": "none" if self.smearing is None else self.smearing.kind,
        }


def two_passes(
    operators: Operators, mesh: KMesh, solver: str | Solver | Job, progress: Report, **run: Any
) -> tuple[Progress, dict[str, Any]]:
    """Return how electrons are counted and a sum is made over one mesh: progress and settings.

    Both solve for the same states, which are remembered from the first to the second (`run` has
    the other settings, ``s_threshold`` and ``jobs``).
    """
    bar = Progress.of(progress)
    bar.start(2 * mesh.n_points * operators.n_channels)
    return bar, {"solver": remembering(solver, operators.problem, mesh.n_points), **run}


def fill_mesh(
    operators: Operators,
    mesh: KMesh,
    *,
    fermi_level: float | None = None,
    electrons: float | None = None,
    smearing: Smearing | None = None,
    s_threshold: float | None = None,
    **run: Any,
) -> MeshFilling:
    """Count electrons on a mesh.

    Parameters
    ----------
    fermi_level
        Take this level, eV, wherever it lies.
    electrons
        Electrons per cell; default those of the calculation.
    smearing
        For what has no gap; default Fermi–Dirac at 300 K.
    s_threshold, run
        Threshold of S; solver, jobs and progress of `dock.states.stream.levels`.

    Raises
    ------
    MissingDataError, UsageError
        With neither electrons nor a level, with more electrons than the states hold, or a level
        that no states lie below or above of.
    """
    rule = Smearing() if smearing is None else smearing
    if not isinstance(rule, Smearing):
        raise UsageError("responses are sums over k-points: give a smearing, not tetrahedra.")
    if fermi_level is not None and not np.isfinite(fermi_level):
        raise UsageError(f"the Fermi level is a finite energy in eV, found {fermi_level}.")
    # Of the Hermitian parts, as the sums over the mesh: what is kept of both has one name.
    want = Want(s_threshold=s_threshold)
    try:
        found = levels(operators.problem, mesh.points, want, **run).energies
    except PartDone as part:
        part.text = (
            f"{part.text.partition(' When')[0]} Electrons are counted from these. When all shards "
            "are done, run each once more: it then does its part of the sums."
        )
        raise
    energies = found[:, :, np.isfinite(found).all(axis=(0, 1))]
    calc = operators.calc
    spectrum = Spectrum(calc.structure, calc.spin, mesh, energies, "")
    if fermi_level is None:
        count = electrons_of(calc, electrons, spectrum.capacity)
        level, gap = find_level(spectrum, count, rule)
    else:
        level = _within(energies, fermi_level)
        gap = find_gap(energies, mesh.points, n_filled=None, fermi_level=level)
        known = calc.n_electrons if electrons is None else electrons
        below = (energies < level).sum(axis=(0, 2)) @ mesh.weights * spectrum.degeneracy
        count = float(below) if known is None else float(known)
    tops = np.where(energies < level, energies, -np.inf).max(axis=(1, 2))
    bottoms = np.where(energies < level, np.inf, energies).min(axis=(1, 2))
    filled = (energies < level).sum(axis=2)
    is_gapped = bool(np.all(filled == filled[:, :1])) and bottoms.min() - tops.max() > 1e-3
    source = "given" if fermi_level is not None else "mid-gap" if is_gapped else "counted"
    return MeshFilling(level, None if is_gapped else rule, gap, count, source)


def _within(energies: NDArray[np.float64], level: float) -> float:
    """Return a level that was given; refuse one with all states on one side."""
    lowest, highest = float(energies.min()), float(energies.max())
    if not lowest < level < highest:
        raise UsageError(
            f"the Fermi level {level:g} eV that was given lies outside all states, which are "
            f"between {lowest:.4f} and {highest:.4f} eV. It is absolute, on the scale of H."
        )
    return level
