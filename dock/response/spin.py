"""Spin textures: ⟨σ⟩ of each spinor state, in the metric of the overlap.

With the spinors (u, d) in columns, all up orbitals first, and S the overlap of the orbitals,

    ⟨σ_x⟩ = 2 Re u†Sd ,    ⟨σ_y⟩ = 2 Im u†Sd ,    ⟨σ_z⟩ = u†Su − d†Sd

without unit, of length at most 1; the spin is ħ/2 times it, and x, y, z are the Cartesian axes.
Within a level only its matrices between the states have a meaning. Reported is their mean, which
vanishes for Kramers pairs at one k-point (every level of a crystal with inversion and time
reversal); or, along an axis that is given, the states in which the component along it is diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.io.progress import Progress, Report
from dock.response.kdata import DEGENERATE, KData, each, level_ranges
from dock.response.kset import KSet, Where
from dock.response.level_values import Within, level_sizes, resolved, valid_within
from dock.response.operators import Operators
from dock.response.per_state import StateVectors, gathered, zero_of_energy
from dock.states.job import Job
from dock.states.solver import Solver

__all__ = ["SpinTexture", "spin_of", "spin_texture"]


@dataclass(frozen=True, eq=False, repr=False)
class SpinTexture(StateVectors):
    """⟨σ⟩ of states; `vectors` are without unit, 1 for a state of one spin direction."""

    FILE = "spin_texture.h5"
    KEY = "spin"
    NAME = "spin textures"
    LETTER = "s"
    CONVENTIONS = (("spin_unit", "expectation of the Pauli matrices, Cartesian: hbar/2"),)

    def _component(self) -> str:
        return "z"


def spin_texture(
    calc: Calculation,
    where: Where = None,
    *,
    bands: str | range | slice | None = None,
    axis: tuple[float, float, float] | None = None,
    tolerance: float = DEGENERATE,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> SpinTexture:
    """Compute the spin of each state at some k-points.

    Parameters
    ----------
    where
        k-points (n, 3), a `KPath`, `KMesh` or `KPlane`, labels or a file of a path, or None for
        the automatic path.
    bands
        ``17..20`` counted from 1, or a range from 0; default all.
    axis
        Within a level take the states in which the spin along this axis is diagonal, ascending;
        without it the states of a level have its mean.
    tolerance
        Energies within so many eV count as one level.
    solver, s_threshold, jobs, progress
        See `dock.states.stream.states`.

    Raises
    ------
    ConventionError
        Without spinors.
    MissingDataError, UsageError, SolverError
        As `dock.response.velocity.velocities`.
    """
    within = valid_within("mean" if axis is None else axis)
    operators = Operators.of(calc)
    operators.require_spinor("a spin texture")
    points = KSet.of(where, calc)

    def values(data: KData) -> dict[str, NDArray[Any]]:
        spins, groups = spin_of(data, within, tolerance), level_ranges(data.energies, tolerance)
        return {"energies": data.energies, "sizes": level_sizes(groups), "vectors": spins}

    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "s_threshold": s_threshold}
    rows = each(operators, points.points, values, progress=Progress.of(progress), **run)
    first, found = gathered(operators, points, bands, rows)
    words = "the mean over the level, which is zero for Kramers pairs"
    if not isinstance(within, str):
        words = f"states with spins along ({', '.join(f'{x:.4g}' for x in within)})"
    return SpinTexture(
        calc.structure,
        calc.spin,
        points,
        first,
        found["energies"],
        found["vectors"],
        found["sizes"],
        zero_of_energy(operators, points),
        words,
    )


def spin_of(
    data: KData, within: Within = "mean", tolerance: float = DEGENERATE
) -> NDArray[np.float64]:
    """Return ⟨σ⟩ (n, 3) of all states of a k-point."""
    half = len(data.vectors) // 2
    S = data.derivative("overlap")[:half, :half]
    up, down = data.vectors[:half], data.vectors[half:]
    S_up, S_down = S @ up, S @ down

    def diagonal(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
        product: NDArray[Any] = np.einsum("in,in->n", left.conj(), right)
        return product

    cross = diagonal(up, S_down)
    polarised = (diagonal(up, S_up) - diagonal(down, S_down)).real
    spins = np.stack([2 * cross.real, 2 * cross.imag, polarised])

    def matrices(level: slice) -> NDArray[np.complex128]:
        flip = up[:, level].conj().T @ S_down[:, level]
        z = up[:, level].conj().T @ S_up[:, level] - down[:, level].conj().T @ S_down[:, level]
        back = flip.conj().T
        return np.stack([flip + back, -1j * (flip - back), z])

    return resolved(spins, level_ranges(data.energies, tolerance), matrices, within)
