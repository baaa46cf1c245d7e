"""Eigenvalues on a k-mesh, with a fingerprint of what they were computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import MissingDataError, UsageError
from dock.states.dense import EigenResult
from dock.states.kmesh import KMesh
from dock.states.stream import solve_each, solve_many

__all__ = ["Channel", "Spectrum", "channels", "compute_spectrum", "electrons_of", "fingerprint"]

Progress = Callable[[int, int], None]


class Channel(NamedTuple):
    """One eigenproblem per k-point: a spin channel, or all spins of a spinor problem."""

    hamiltonian: KBuilder
    overlap: KBuilder

    def build(self, k_frac: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return H(k) and S(k)."""
        return self.hamiltonian.dense(k_frac), self.overlap.dense(k_frac)


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


def channels(hamiltonian: AOMatrix, overlap: AOMatrix) -> list[Channel]:
    """Return the eigenproblems of a calculation: two for collinear spin, else one."""
    spinor = hamiltonian.spin is Spin.NONCOLLINEAR
    S = KBuilder(overlap, spinor=spinor)
    parts = [hamiltonian]
    if hamiltonian.spin is Spin.COLLINEAR:
        parts = [
            AOMatrix(
                hamiltonian.quantity,
                hamiltonian.structure,
                hamiltonian.basis,
                hamiltonian.pairs,
                Spin.NONE,
                hamiltonian.entries[channel : channel + 1],
            )
            for channel in (0, 1)
        ]
    return [Channel(KBuilder(part), S) for part in parts]


def matrices(calc: Calculation) -> tuple[AOMatrix, AOMatrix]:
    """Return H and S of a calculation, or say how to get what is missing."""
    return (
        calc.require("hamiltonian", "It is diagonalised here."),
        calc.require("overlap", "Compute it with: dock compute-overlap."),
    )


def compute_spectrum(
    calc: Calculation,
    mesh: KMesh,
    *,
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
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
        Called with the number of finished eigenproblems and of all.

    Raises
    ------
    MissingDataError
        When Hamiltonian or overlap is missing.
    SolverError
        When S(k) is not positive definite or an entry is not finite.
    """
    hamiltonian, overlap = matrices(calc)
    problems = channels(hamiltonian, overlap)
    total = len(problems) * mesh.n_points
    found, removed = [], 0
    for number, channel in enumerate(problems):
        part = solve_many(
            channel.build,
            mesh.points,
            jobs=jobs,
            s_threshold=s_threshold,
            progress=_shifted(progress, number * mesh.n_points, total),
        )
        found.append(part.eigenvalues)
        removed = max(removed, int(part.n_removed.max(initial=0)))
    # Combinations that the threshold removed are missing at the top of some k-points: those
    # bands are left out everywhere, far above anything that is occupied.
    count = min(int(np.isfinite(part).all(axis=0).sum()) for part in found)
    energies = np.stack([part[:, :count] for part in found])
    energies.flags.writeable = False
    mark = fingerprint(calc, mesh, s_threshold=s_threshold)
    return Spectrum(calc.structure, calc.spin, mesh, energies, mark, removed)


def states(
    calc: Calculation,
    mesh: KMesh,
    channel: int,
    *,
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Iterator[EigenResult]:
    """Yield energies and vectors of one spin channel, one k-point after another."""
    hamiltonian, overlap = matrices(calc)
    problem = channels(hamiltonian, overlap)[channel]
    return solve_each(
        problem.build,
        mesh.points,
        jobs=jobs,
        eigenvectors=True,
        s_threshold=s_threshold,
        progress=progress,
    )


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
            "Give it with --electrons N (valence electrons per cell), or write it as 'occupation' "
            "into info.json.",
        )
    if not 0 < count < capacity:
        raise UsageError(
            f"{calc.source}: {count:g} electrons do not fit into states for {capacity:g} "
            "(none may be left empty, not all may be filled). Give the valence electrons per "
            "cell with --electrons N."
        )
    return float(count)


def fingerprint(
    calc: Calculation, mesh: KMesh | None = None, *, s_threshold: float | None = None
) -> str:
    """Return a hash of H, S, the basis and the mesh: equal only if all numbers are equal."""
    digest = hashlib.blake2b(digest_size=16)
    hamiltonian, overlap = matrices(calc)
    for matrix in (hamiltonian, overlap):
        pairs = matrix.pairs
        digest.update(repr((matrix.quantity, matrix.spin, matrix.entries.dtype)).encode())
        for array in (pairs.R, pairs.i, pairs.j, matrix.entries):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    digest.update(calc.basis.fingerprint().encode())
    if mesh is not None:
        digest.update(np.ascontiguousarray(mesh.points).tobytes())
        digest.update(np.ascontiguousarray(mesh.weights).tobytes())
        digest.update(repr((mesh.size, mesh.shift)).encode())
    digest.update(repr(s_threshold).encode())
    return digest.hexdigest()


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Return a progress function for one part of the work."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)
