"""Eigenvalues on a k-mesh, with a fingerprint of what they were computed from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import MissingDataError, UsageError
from dock.io.progress import Report
from dock.states.kmesh import KMesh
from dock.states.problem import Problem
from dock.states.solver import Want
from dock.states.stream import levels

__all__ = ["Spectrum", "compute_spectrum", "electrons_of"]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """All eigenvalues on a mesh.

    Attributes
    ----------
    structure, spin, mesh
        What was computed.
    energies
        (n_spin, n_k, n_bands) eV, absolute, ascending, at the irreducible points.
    fingerprint
        Hash of H, S, the mesh, and the settings of the solver.
    n_removed
        Largest number of states that an ill-conditioned S cost at a k-point.
    """

    structure: Structure
    spin: Spin
    mesh: KMesh
    energies: NDArray[np.float64]
    fingerprint: str
    n_removed: int = 0

    @property
    def degeneracy(self) -> int:
        """Electrons that one state holds."""
        return self.spin.degeneracy

    @cached_property
    def capacity(self) -> float:
        """Electrons per cell that all states together hold."""
        n_spin, _, n_bands = self.energies.shape
        return float(n_spin * n_bands * self.degeneracy)


def compute_spectrum(
    calc: Calculation,
    mesh: KMesh,
    *,
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> Spectrum:
    """Diagonalise at every irreducible point of a mesh.

    Parameters
    ----------
    calc
        A calculation with Hamiltonian and overlap.
    mesh
        The k-points.
    s_threshold
        Leave out combinations of orbitals with an overlap eigenvalue below this.
    jobs
        Threads; default the CPUs that this process may use.
    progress
        Told of each finished eigenproblem.

    Raises
    ------
    MissingDataError
        When Hamiltonian or overlap is missing.
    SolverError
        When S(k) is not positive definite or an entry is not finite.
    """
    problem = Problem.of(calc)
    want = Want(s_threshold=s_threshold)
    found = levels(problem, mesh.points, want, jobs=jobs, progress=progress)
    # Combinations that the threshold removed are missing at the top of some k-points: those
    # bands are left out everywhere, far above anything that is occupied.
    count = int(np.isfinite(found.energies).all(axis=(0, 1)).sum())
    energies = np.ascontiguousarray(found.energies[:, :, :count])
    energies.flags.writeable = False
    mark = problem.fingerprint(mesh, s_threshold=s_threshold)
    removed = int(found.n_removed.max(initial=0))
    return Spectrum(calc.structure, calc.spin, mesh, energies, mark, removed)


def electrons_of(calc: Calculation, electrons: float | None, capacity: float) -> float:
    """Return the electron count, or say how to give it.

    Raises
    ------
    MissingDataError
        When nobody gave it.
    UsageError
        When the states cannot hold that many, or all are filled.
    """
    count = calc.n_electrons if electrons is None else electrons
    if count is None:
        raise MissingDataError(
            "the number of electrons",
            calc.source,
            "Pass electrons=N (valence electrons per cell), or write it as 'occupation' "
            "into info.json.",
        )
    if not 0 < count < capacity:
        raise UsageError(
            f"{calc.source}: {count:g} electrons do not fit into states for {capacity:g} "
            "(none may be left empty, not all may be filled). Pass the valence electrons per "
            "cell: electrons=N."
        )
    return float(count)
