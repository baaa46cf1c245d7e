"""The density matrix, equation (10), in real space on the sparsity of the Hamiltonian."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.io.progress import Report
from dock.post.fermi import FermiResult, Method, fermi_level
from dock.states.kmesh import KMesh, make_mesh
from dock.states.problem import Problem
from dock.states.solver import Want
from dock.states.stream import states

__all__ = ["Accumulator", "DensityMatrix", "density_matrix"]

_EMPTY = 1e-17  # occupations below this leave no trace in double precision


@dataclass(frozen=True, eq=False)
class DensityMatrix:
    """A density matrix with what it was computed from.

    Attributes
    ----------
    calculation
        The H and S that it belongs to.
    density
        P(R) = Σ_k w_k Σ_n f_nk c_nk c_nk† exp(−2πi k·R) on the pairs of H and S; both spins
        summed for ``Spin.NONE``.
    energy_density
        The same with f ε in place of f, eV; None unless asked for.
    fermi_level
        eV, absolute.
    mesh
        The k-points.
    method
        ``eigen`` or ``poles``.
    settings
        What the method did, for the record.
    """

    calculation: Calculation
    density: AOMatrix
    energy_density: AOMatrix | None
    fermi_level: float
    mesh: KMesh
    method: str
    settings: dict[str, Any]

    @cached_property
    def n_electrons(self) -> float:
        """Tr(ρS), electrons per cell."""
        return self.density.dot(self.calculation.require("overlap"))

    @cached_property
    def band_energy(self) -> float:
        """Tr(ρH), eV per cell."""
        return self.density.dot(self.calculation.require("hamiltonian"))

    def completed(self) -> Calculation:
        """Return the calculation with the density matrices among its matrices."""
        found: dict[str, Any] = {
            **self.calculation.matrices,
            "density_matrix": self.density,
        }
        if self.energy_density is not None:
            found["energy_density_matrix"] = self.energy_density
        return self.calculation.replace(matrices=found, fermi_level=self.fermi_level)

    def save(self, path: str | Path, *, overwrite: bool = False) -> list[Path]:
        """Write ``density_matrix.h5`` (a name that ends in .h5), or a unified folder (any other).

        A JSON file with the sums goes along. The single file has the atoms in the order of the
        calculation and belongs beside the ``hamiltonian.h5`` that was read; the folder is
        complete in itself.
        """
        from dock.post.density_files import save

        return save(self, Path(path), overwrite=overwrite)

    def plot(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Draw how the density matrix falls off with distance; return the file."""
        from dock.post.plot_dos import plot_decay

        return plot_decay(self, Path(path), overwrite=overwrite)


def density_matrix(
    calc: Calculation,
    mesh: KMesh | Sequence[int] | None = None,
    *,
    method: Literal["eigen", "poles"] = "eigen",
    smearing: Method | None = None,
    electrons: float | None = None,
    energy_weighted: bool = False,
    fermi: FermiResult | None = None,
    poles: int | None = None,
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
) -> DensityMatrix:
    """Compute the density matrix of a calculation.

    Parameters
    ----------
    calc
        A calculation with Hamiltonian and overlap.
    mesh
        A `KMesh`, three numbers of points (Γ-centred), or None for points 0.2/Å apart.
    method
        ``eigen``: from all eigenvectors. ``poles``: without diagonalisation, from a rational
        approximation of the Fermi function, with one sparse factorisation and selected inverse
        for each pole.
    smearing
        Occupations; default Fermi–Dirac at 300 K, which ``poles`` always needs (any temperature).
    electrons
        Valence electrons per cell; default those of the calculation.
    energy_weighted
        Compute the energy density matrix too.
    fermi
        Occupations found before with `fermi_level`, for ``eigen``; the mesh is then theirs.
    poles
        Number of poles in the upper half plane; default as many as the spectrum needs for 1e-9.
    s_threshold, jobs, progress
        As in `fermi_level`.

    Raises
    ------
    MissingDataError
        Without an electron count, Hamiltonian or overlap.
    UsageError
        For an unknown method or options that do not go together.
    SolverError
        When S(k) is not positive definite, or the electrons do not fit.

    Examples
    --------
    >>> import dock
    >>> rho = density_matrix(dock.read("fixtures/openmx/h2o"), (1, 1, 1))
    >>> round(rho.n_electrons, 9)
    8.0
    """
    if method == "poles":
        from dock.post.poles import density_by_poles

        if fermi is not None or s_threshold is not None:
            raise UsageError("--method poles diagonalises nothing: it takes no S threshold.")
        chosen = mesh if isinstance(mesh, KMesh) else make_mesh(calc, mesh)
        return density_by_poles(
            calc,
            chosen,
            smearing=smearing,
            electrons=electrons,
            energy_weighted=energy_weighted,
            poles=poles,
            progress=progress,
        )
    if method != "eigen":
        raise UsageError(f"the method is 'eigen' or 'poles', found '{method}'.")
    if fermi is None:
        fermi = fermi_level(
            calc, mesh, electrons=electrons, smearing=smearing, s_threshold=s_threshold, jobs=jobs
        )
    wanted = ("density_matrix", "energy_density_matrix")[: 2 if energy_weighted else 1]
    found = _sum_states(calc, fermi, wanted, s_threshold, jobs, progress)
    return DensityMatrix(
        calc,
        found[0],
        found[1] if energy_weighted else None,
        fermi.level,
        fermi.spectrum.mesh,
        "eigen",
        {"occupations": fermi.method_name},
    )


class Accumulator:
    """Sums P(k) into real-space matrices on one pattern of pairs.

    Parameters
    ----------
    hamiltonian
        Gives structure, basis and spin.
    pairs
        The pattern.
    quantities
        ``density_matrix``, ``energy_density_matrix``.
    """

    def __init__(self, hamiltonian: AOMatrix, pairs: Pairs, quantities: Sequence[str]) -> None:
        basis = hamiltonian.basis
        self.spin, self.pairs = hamiltonian.spin, pairs
        self.size = basis.n_orbitals
        self.rows, self.cols = basis.offsets[pairs.i], basis.offsets[pairs.j]
        counts = basis.counts
        self.shapes = np.stack([counts[pairs.i], counts[pairs.j]], axis=1).astype(np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.shapes.prod(axis=1))])
        kind = np.complex128 if self.spin is Spin.NONCOLLINEAR else np.float64
        shape = (self.spin.n_components, int(self.starts[-1]))
        self.entries: dict[str, NDArray[Any]] = {
            name: np.zeros(shape, dtype=kind) for name in quantities
        }
        self._like = hamiltonian

    def add(
        self, quantity: str, channel: int, k_frac: NDArray[np.float64], dense: NDArray[Any]
    ) -> None:
        """Add P(k) exp(−2πi k·R) to every block; `dense` carries the weight of the k-point.

        Real quantities get the real part: the point −k, whose term is the conjugate, is taken to
        be in the mesh, or to be left out for symmetry.
        """
        from dock.post._density_kernels import add_complex, add_real

        lattice = self.pairs.lattice_vectors
        phases = np.exp(-2j * np.pi * (lattice @ k_frac))[self.pairs.lattice_index]
        entries = self.entries[quantity]
        if self.spin is not Spin.NONCOLLINEAR:
            out = entries[channel]
            add_real(dense, phases, self.starts, self.rows, self.cols, self.shapes, out)
            return
        n = self.size
        for component, (s, t) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            block = dense[s * n : (s + 1) * n, t * n : (t + 1) * n]
            out = entries[component]
            add_complex(block, phases, self.starts, self.rows, self.cols, self.shapes, out)

    def matrices(self, mesh: KMesh) -> list[AOMatrix]:
        """Return the sums as matrices, symmetrised over the operations that reduced the mesh."""
        found = []
        for quantity, entries in self.entries.items():
            like = self._like
            matrix = AOMatrix(quantity, like.structure, like.basis, self.pairs, self.spin, entries)
            if mesh.symmetry is not None and len(mesh.symmetry.operations) > 1:
                matrix = mesh.symmetry.symmetrise(matrix)
            found.append(matrix)
        return found


def _sum_states(
    calc: Calculation,
    fermi: FermiResult,
    quantities: Sequence[str],
    s_threshold: float | None,
    jobs: int | None,
    progress: Report,
) -> list[AOMatrix]:
    """Diagonalise again with vectors and sum Σ f c c† k-point by k-point."""
    problem, mesh = Problem.of(calc), fermi.spectrum.mesh
    total = Accumulator(problem.hamiltonian, problem.pairs, quantities)
    want = Want(vectors=True, s_threshold=s_threshold)
    for at in states(problem, mesh.points, want, jobs=jobs, progress=progress):
        vectors, energies = at.states.vectors, at.states.energies
        filling = fermi.occupations[at.channel, at.number]
        kept = np.flatnonzero(np.abs(filling) > _EMPTY)
        if vectors is None or len(kept) == 0:
            continue
        occupied = vectors[:, kept]
        weights = {"density_matrix": filling[kept]}
        weights["energy_density_matrix"] = filling[kept] * energies[kept]
        for quantity in quantities:
            dense = (occupied * weights[quantity]) @ occupied.conj().T
            total.add(quantity, at.channel, at.k_frac, dense)
    return total.matrices(mesh)
