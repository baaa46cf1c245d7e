"""Velocities of states, dE/dk with the overlap, and their orbital magnetic moments.

For one state alone in its level (Hellmann–Feynman, with C†SC = 1)

    ∂E_n/∂k_a = ⟨n| ∂_a H − E_n ∂_a S |n⟩            eV Å; divided by ħ = 6.582e-16 eV s: Å/s

and within a level the matrix of the same operator between its states, whose eigenvalues along a
direction are the slopes of the bands that meet there. Positions do not enter.

The orbital moment of a state is that of the rotation of its wave packet about its own centre
(Xiao, Chang and Niu, Rev. Mod. Phys. 82, 1959 (2010)), for electrons of charge −e, e > 0:

    m_n = (e/2ħ) Im ⟨∂u_n| × (H − E_n) |∂u_n⟩ ,    m_n,c = (e/ħ) Im Σ_m v_a,nm v_b,mn / (E_m − E_n)

with a, b, c cyclic and the sum over states of other energy, all that the basis has. An electron
that turns with L_z = +ħ has m_z = −μ_B. It needs the positions of the orbitals.
"""

from __future__ import annotations

import logging
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
from dock.units import CODATA2018

__all__ = ["HBAR2_OVER_MASS", "Velocities", "velocities"]

_log = logging.getLogger("dock")

HBAR2_OVER_MASS = CODATA2018.hartree_ev * CODATA2018.bohr_angstrom**2
"""ħ²/m_e, eV Å² (CODATA 2018)."""

_WORDS = {
    "mean": "the mean over the level",
    "each": "the eigenvalues of each component within the level, ascending",
}


@dataclass(frozen=True, eq=False, repr=False)
class Velocities(StateVectors):
    """dE/dk of states, and their orbital moments where they were asked for.

    Attributes
    ----------
    moments : float64 (n_channels, n_k, n_bands, 3) or None
        μ_B; the mean over a level for each of its states.
    """

    FILE = "velocities.h5"
    KEY = "velocities_eV_ang"
    NAME = "velocities"
    LETTER = "v"
    UNIT = "eV Å"
    CONVENTIONS = (
        ("velocity", "dE/dk, eV Å, Cartesian; times 1.51927e5 it is in m/s"),
        ("orbital_moment", "(e/2ħ) Im <du| x (H - E) |du>, μ_B, Cartesian; electrons, charge -e"),
    )

    moments: NDArray[np.float64] | None = None

    def facts(self) -> dict[str, Any]:
        """Return what all results of states have, and the treatment of spin."""
        return {"spin": self.spin.value, **super().facts()}

    def arrays(self) -> dict[str, Any]:
        """Return k-points, energies, velocities and, if computed, orbital moments."""
        moments = {} if self.moments is None else {"orbital_moments_muB": self.moments}
        return {**super().arrays(), **moments}

    def rows(self) -> list[tuple[str, str]]:
        """Return those of all results of states, and the moments of a short list."""
        rows = super().rows()
        if self.moments is not None:
            largest = float(np.linalg.norm(self.moments, axis=-1).max())
            rows.append(("orbital moment", f"up to {largest:.6f} μ_B"))
        return rows


def velocities(
    calc: Calculation,
    where: Where = None,
    *,
    bands: str | range | slice | None = None,
    direction: tuple[float, float, float] | None = None,
    orbital_moments: bool = False,
    tolerance: float = DEGENERATE,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> Velocities:
    """Compute the velocities of all states at some k-points.

    Parameters
    ----------
    where
        k-points (n, 3), a `KPath`, `KMesh` or `KPlane`, labels or a file of a path, or None for
        the automatic path.
    bands
        ``17..20`` counted from 1, or a range from 0; default all.
    direction
        Within a level take the states in which the slope along this direction is diagonal, so that
        the three components of a state are one vector. Without it each component has the slopes of
        the bands along its own axis, ascending: they are no vector.
    orbital_moments
        Compute the orbital moments too; this needs positions of the orbitals (r of the run, or
        radial functions).
    tolerance
        Energies within so many eV count as one level.
    solver, s_threshold, jobs, progress
        See `dock.states.stream.states`.

    Raises
    ------
    MissingDataError
        Without Hamiltonian, overlap or, for moments, positions.
    UsageError
        For bands that there are not.
    SolverError
        Where S is not positive definite, or a threshold removes a band that was asked for.

    Examples
    --------
    >>> import dock
    >>> result = velocities(dock.read("fixtures/openmx/si"), [[0.1, 0.2, 0.3]], bands="1..4")
    >>> result.vectors.shape
    (1, 1, 4, 3)
    """
    within = valid_within("each" if direction is None else direction)
    operators = Operators.of(calc, position=orbital_moments)
    points = KSet.of(where, calc)

    def values(data: KData) -> dict[str, NDArray[Any]]:
        groups = level_ranges(data.energies, tolerance)
        found = {
            "energies": data.energies,
            "sizes": level_sizes(groups),
            "vectors": _slopes(data, groups, within),
        }
        if orbital_moments:
            found["moments"] = _moments(data, groups)
        return found

    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "s_threshold": s_threshold}
    steps = Progress.of(progress)
    rows = each(operators, points.points, values, progress=steps, **run)
    first, found = gathered(operators, points, bands, rows)
    if s_threshold is not None:
        _log.warning(
            "%s: with a threshold of S slopes are those in the space that is left at each k-point, "
            "which turns with k: they are as good as what was left out is unimportant.",
            calc.source,
        )
    words = _WORDS[within] if isinstance(within, str) else _along(within)
    return Velocities(
        calc.structure,
        calc.spin,
        points,
        first,
        found["energies"],
        found["vectors"],
        found["sizes"],
        zero_of_energy(operators, points),
        words,
        found.get("moments"),
    )


def _along(axis: tuple[float, float, float]) -> str:
    return f"states with slopes along ({', '.join(f'{x:.4g}' for x in axis)}), ascending"


def _slopes(data: KData, groups: list[slice], within: Within) -> NDArray[np.float64]:
    """Return dE/dk (n, 3) of all states."""
    C, E = data.vectors, data.energies
    diagonal = np.empty((3, len(E)))
    for axis in range(3):
        slope = np.einsum("in,in->n", C.conj(), data.hamiltonian_gradient[axis] @ C)
        slope -= E * np.einsum("in,in->n", C.conj(), data.overlap_gradient[axis] @ C)
        diagonal[axis] = slope.real
    return resolved(diagonal, groups, lambda level: data.slope_matrix(level, level), within)


def _moments(data: KData, groups: list[slice]) -> NDArray[np.float64]:
    """Return the orbital moments (n, 3) of all states, μ_B, means over levels."""
    E, velocity = data.energies, data.velocity()
    out = np.empty((len(E), 3))
    # (e/ħ) eV Å² over eħ/2m_e is 2 m_e/ħ².
    unit = 2.0 / HBAR2_OVER_MASS
    for level in groups:
        apart = E - E[level].mean()
        apart[level] = np.inf
        left = velocity[:, level] / apart
        right = velocity[:, :, level]
        for c in range(3):
            a, b = (c + 1) % 3, (c + 2) % 3
            terms = np.einsum("nm,mn->n", left[a], right[b])
            out[level, c] = unit * terms.imag.mean()
    return out
