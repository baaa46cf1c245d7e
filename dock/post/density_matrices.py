"""The density matrix, equation (10), in real space on the sparsity of the Hamiltonian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.core.blocks import BlockLayout
from dock.core.calculation import Calculation, Provenance
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.io.files import require_absent
from dock.io.progress import Progress, Report
from dock.post.fermi import FermiResult, Method, fermi_level
from dock.results import Result
from dock.states.dense import Dense
from dock.states.job import Job
from dock.states.kmesh import KMesh, make_mesh
from dock.states.memory import allowance, in_words
from dock.states.poles.cost import PoleCost
from dock.states.poles.solver import PoleSolver
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.solver import Plan, Solver, Want
from dock.states.spectrum import electrons_of
from dock.states.stream import states
from dock.threads import LARGE, available_cpus

__all__ = ["Accumulator", "DensityMatrix", "density_matrix", "plan_density"]

_FULL = 2000  # rows up to which P(k) is a full matrix
_EMPTY = 1e-17  # occupations below this leave no trace in double precision
_FLOOR = 1e-18  # what a figure with a logarithmic axis shows of zero
_SUM = {
    True: "both spins: Tr(rho S) is the number of electrons",
    False: "each spin part separately: Tr(rho_uu S) + Tr(rho_dd S) is the number of electrons",
}


@dataclass(frozen=True, eq=False, repr=False)
class DensityMatrix(Result):
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
    fermi_level, mesh
        eV, absolute; the k-points.
    method, settings
        ``eigen`` or ``poles``, and what it did, for the record.
    """

    FILE = "density_matrix.h5"

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
        matrices: dict[str, Any] = {**self.calculation.matrices, "density_matrix": self.density}
        if self.energy_density is not None:
            matrices["energy_density_matrix"] = self.energy_density
        return self.calculation.replace(
            matrices=matrices, fermi_level=self.fermi_level, provenance=self._provenance()
        )

    def _provenance(self) -> Provenance:
        """Return where it came from: what was computed from a prediction is one."""
        source, command = self.calculation.provenance, "dock density-matrix"
        if self._model is None:
            return replace(source, command=command)
        names = ["hamiltonian", "density_matrix"]
        names += [] if self.energy_density is None else ["energy_density_matrix"]
        extra = {**source.extra, "predicted": dict.fromkeys(names, self._model)}
        return replace(source, command=command, extra=extra)

    @property
    def _model(self) -> str | None:
        """The model that predicted the Hamiltonian, if one did."""
        predicted = self.calculation.provenance.extra.get("predicted")
        return predicted.get("hamiltonian") if isinstance(predicted, dict) else None

    def facts(self) -> dict[str, Any]:
        """Return the sums and how they were found, by key; see `dock.results.KEYS`."""
        facts: dict[str, Any] = {
            "formula": self.density.structure.formula,
            "spin": self.density.spin.value,
            "method": self.method,
            **self.settings,
            "fermi_level_eV": self.fermi_level,
            "n_electrons": self.n_electrons,
            "band_energy_eV": self.band_energy,
            **self.mesh.facts(),
            "n_pairs": len(self.density.pairs),
        }
        if self.energy_density is not None:
            overlap = self.calculation.require("overlap")
            facts["trace_energy_density_S_eV"] = self.energy_density.dot(overlap)
        return facts

    def rows(self) -> list[tuple[str, str]]:
        """Return the sums, the Fermi level, the mesh and the method in words."""
        settings = "; ".join(
            f"{'occupations' if name == 'smearing' else name} {value}"
            for name, value in self.settings.items()
        )
        return [
            ("Tr(ρS)", f"{self.n_electrons:.10f} electrons"),
            ("Tr(ρH)", f"{self.band_energy:.8f} eV"),
            ("Fermi level", f"{self.fermi_level:.6f} eV"),
            ("k-mesh", self.mesh.describe()),
            ("method", f"{self.method}: {settings}"),
        ]

    @classmethod
    def files(cls, path: str | Path, *, energy_weighted: bool = False) -> list[Path]:
        """Return the files, or the folder, that `save` writes for a path."""
        path = Path(path)
        if path.suffix != ".h5":
            return [path]
        written, beside = super().files(path)
        weighted = path.with_name("energy_" + path.name)
        return [written, weighted, beside] if energy_weighted else [written, beside]

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write ``density_matrix.h5`` (a name that ends in .h5), or a unified folder (any other).

        The single file has the atoms in the order of the calculation and belongs beside the
        ``hamiltonian.h5`` that was read; the energy density matrix comes in a file of its own, and
        a JSON file with the sums goes along. The folder is complete in itself. Raises as
        `Result.save`.
        """
        path = Path(self.FILE if path is None else path)
        if path.suffix != ".h5":
            return self._save_folder(path, overwrite=overwrite)
        files = self.files(path, energy_weighted=self.energy_density is not None)
        require_absent(files, overwrite=overwrite)
        for matrix, file in zip((self.density, self.energy_density), files[:-1], strict=False):
            if matrix is not None:
                _save_matrix(matrix, file, self._model, overwrite=overwrite)
        self.write_json(files[-1], overwrite=overwrite)
        return files

    def _save_folder(self, path: Path, *, overwrite: bool) -> list[Path]:
        from dock.converters import write
        from dock.converters.format import WriteOptions

        names = ["hamiltonian", "overlap", "density_matrix"]
        if self.energy_density is not None:
            names.append("energy_density_matrix")
        options = WriteOptions(quantities=tuple(names), overwrite=overwrite)
        return write(self.completed(), path, "deeph", options)

    def draw(self, axes: Any, *_: Any, **__: Any) -> None:
        """Draw the largest entry of each block against the distance of its atoms."""
        rho = self.density
        largest = rho.layout.block_max(rho.entries)
        lengths = rho.pairs.lengths(rho.structure)
        axes.semilogy(lengths, np.maximum(largest, _FLOOR), ".", ms=3)
        axes.set_xlabel("distance (Å)")
        axes.set_ylabel("largest |ρ| of a block")
        axes.set_title(rho.structure.formula, fontsize="medium")


def _save_matrix(matrix: AOMatrix, path: Path, model: str | None, *, overwrite: bool) -> None:
    """Write one block file of the DeepH format."""
    from dock.converters.deeph.blockfile import write_matrix

    attributes = {
        "quantity": matrix.quantity,
        "unit": matrix.facts.unit,
        "spin": matrix.spin.value,
        "spin_sum": _SUM[matrix.spin is Spin.NONE],
        "written_by": f"dock {__version__}",
    }
    if model is not None:
        attributes["model"] = model
    write_matrix(path, matrix, attributes, overwrite=overwrite)


def density_matrix(
    calc: Calculation,
    mesh: KMesh | Sequence[int] | None = None,
    *,
    method: Literal["auto", "eigen", "poles"] = "auto",
    smearing: Method | None = None,
    electrons: float | None = None,
    energy_weighted: bool = False,
    fermi: FermiResult | None = None,
    poles: int | None = None,
    solver: str | Solver | Job = "auto",
    s_threshold: float | None = None,
    jobs: int | None = None,
    progress: Report = None,
    planned: Callable[[Plan], None] | None = None,
) -> DensityMatrix:
    """Compute the density matrix of a calculation.

    Parameters
    ----------
    method
        ``eigen``: from all eigenvectors. ``poles``: without diagonalisation, from a rational
        approximation of the Fermi function, with one sparse factorisation and selected inverse
        for each pole. ``auto``: what is faster and has room, see `plan_density`.
    smearing
        As in `fermi_level`; ``poles`` needs Fermi–Dirac (any temperature).
    energy_weighted
        Compute the energy density matrix too.
    fermi
        Occupations found before with `fermi_level`, for ``eigen``; the mesh is then theirs.
    poles
        Number of poles in the upper half plane at most; default as many as the spectrum needs for
        an error of f of 1e-11.
    mesh, electrons, solver, s_threshold, jobs, progress
        As in `fermi_level`.
    planned
        Told of the method, its time and memory before it starts.

    Raises
    ------
    MissingDataError
        Without an electron count, Hamiltonian or overlap.
    UsageError
        For an unknown method or options that do not go together; where the method has no room.
    SolverError
        When S(k) is not positive definite, or the electrons do not fit; for ``poles`` also when H
        or S is not Hermitian.
    ConvergenceError
        When so few poles do not represent the Fermi function.

    Examples
    --------
    >>> import dock
    >>> rho = density_matrix(dock.read("fixtures/openmx/h2o"), (1, 1, 1))
    >>> round(rho.n_electrons, 9)
    8.0
    """
    if poles is not None and poles < 1:
        raise UsageError(f"the number of poles must be 1 or more, found {poles}.")
    points = fermi.spectrum.mesh if fermi is not None else make_mesh(calc, mesh)
    bound = fermi is not None or s_threshold is not None or not _has_poles(smearing)
    if method == "auto" and (bound or not _is_open(solver)):
        method = "eigen"
    plan = plan_density(calc, points, method=method, poles=poles, jobs=jobs)
    if planned is not None:
        planned(plan)
    quantities = ("density_matrix", "energy_density_matrix")[: 2 if energy_weighted else 1]
    filling: dict[str, Any] = {"electrons": electrons, "smearing": smearing}
    if plan.solver == "poles":
        if fermi is not None or s_threshold is not None:
            raise UsageError("method='poles' diagonalises nothing: it takes no S threshold.")
        how: dict[str, Any] = {"poles": poles, "threads": plan.blas_threads, "progress": progress}
        return _by_poles(calc, points, quantities, **how, **filling)
    steps = Progress.of(progress)
    run: dict[str, Any] = {"solver": solver, "s_threshold": s_threshold, "jobs": jobs}
    if fermi is None:
        steps.start(2 * calc.spin.n_channels * points.n_points)
        whole, steps = steps, steps.part()
        fermi = fermi_level(calc, points, whole=True, progress=whole.part(), **filling, **run)
    density, energy = _sum_states(calc, fermi, quantities, progress=steps, **run)
    settings = {"smearing": fermi.method_name}
    points = fermi.spectrum.mesh
    return DensityMatrix(calc, density, energy, fermi.level, points, "eigen", settings)


def plan_density(
    calc: Calculation,
    mesh: KMesh | Sequence[int] | None = None,
    *,
    method: Literal["auto", "eigen", "poles"] = "auto",
    poles: int | None = None,
    jobs: int | None = None,
) -> Plan:
    """Return how a density matrix would be computed, with time and memory, and why.

    Arguments are those of `density_matrix`; ``auto`` becomes what is faster of what has room. What
    is asked for and has no room is a `UsageError`, before anything large is allocated.
    """
    if method not in ("auto", "eigen", "poles"):
        raise UsageError(f"the method is 'auto', 'eigen' or 'poles', found '{method}'.")
    problem, points = Problem.of(calc), make_mesh(calc, mesh)
    threads, room = jobs or available_cpus(), allowance().n_bytes
    eigen = _plan_states(problem, points, threads)
    plans = [] if method == "poles" else [eigen]
    if method == "poles" or (method == "auto" and problem.size > LARGE):
        reason = f"full matrices would take {in_words(eigen.memory_bytes)}"
        if method == "poles":
            reason = "it was asked for"
        elif eigen.memory_bytes <= room:
            reason = "it is faster than full matrices here"
        plans.append(PoleCost.of(problem, points).plan(reason, poles=poles, threads=threads))
    # With `eigen` asked for, its solver is what refuses, or takes another way.
    fitting = plans if method == "eigen" else [p for p in plans if p.memory_bytes <= room]
    if fitting:
        return min(fitting, key=lambda plan: plan.seconds or 0.0)
    needed = " and ".join(f"'{p.solver}' needs {in_words(p.memory_bytes)}" for p in plans)
    raise UsageError(
        f"{calc.source}: the density matrix of {problem.size} orbitals has no room: {needed}, and "
        f"there are {allowance()}. Take a machine with more memory, or raise the limit; a window "
        "of states has room: bands, wavefunction."
    )


def _plan_states(problem: Problem, mesh: KMesh, threads: int) -> Plan:
    """Return the plan of ``eigen``: energies for the Fermi level, then the states."""
    solver, n_problems = Dense(), problem.n_channels * mesh.n_points
    levels = solver.plan(problem, Want(), n_problems, threads)
    plan = solver.plan(problem, Want(vectors=True), n_problems, threads)
    seconds = (levels.seconds or 0.0) + (plan.seconds or 0.0)
    return replace(plan, solver="eigen", seconds=seconds)


def _is_open(solver: str | Solver | Job) -> bool:
    """Say whether nothing was asked for that eigenproblems alone can do."""
    if isinstance(solver, Job):
        alone = solver.shard is None and solver.ranks.size == 1
        return solver.solver == "auto" and alone and not solver.dry_run
    return solver == "auto"


def _has_poles(smearing: Method | None) -> bool:
    return smearing is None or (isinstance(smearing, Smearing) and smearing.kind == "fermi-dirac")


class Accumulator:
    """Sums P(k) into real-space matrices on one pattern of pairs.

    The Hamiltonian gives structure, basis and spin; `quantities` are ``density_matrix`` and
    ``energy_density_matrix``.
    """

    def __init__(self, hamiltonian: AOMatrix, pairs: Pairs, quantities: Sequence[str]) -> None:
        basis = hamiltonian.basis
        self.spin, self.pairs = hamiltonian.spin, pairs
        self.size = basis.n_orbitals
        layout = BlockLayout(basis.counts[pairs.i], basis.counts[pairs.j])
        shapes = np.stack([layout.rows, layout.cols], axis=1).astype(np.int64)
        rows, cols = basis.offsets[pairs.i], basis.offsets[pairs.j]
        self._blocks = (layout.starts, rows, cols, shapes)
        kind = np.complex128 if self.spin is Spin.NONCOLLINEAR else np.float64
        shape = (self.spin.n_components, layout.n_entries)
        self.entries: dict[str, NDArray[Any]] = {name: np.zeros(shape, kind) for name in quantities}
        self._like = hamiltonian

    def add(
        self, quantity: str, channel: int, k_frac: NDArray[np.float64], dense: NDArray[Any]
    ) -> None:
        """Add P(k) exp(−2πi k·R) to every block; `dense` carries the weight of the k-point.

        Real quantities get the real part: the point −k, whose term is the conjugate, is taken to
        be in the mesh, or to be left out for symmetry.
        """
        from dock.post._density_kernels import add_complex, add_real

        add = add_complex if self.spin is Spin.NONCOLLINEAR else add_real
        lattice = self.pairs.lattice_vectors
        phases = np.exp(-2j * np.pi * (lattice @ k_frac))[self.pairs.lattice_index]
        n = self.size
        for s, t in product(range(len(dense) // n), repeat=2):  # the spins of a spinor, else one
            block = dense[s * n : (s + 1) * n, t * n : (t + 1) * n]
            add(block, phases, *self._blocks, self.entries[quantity][channel + 2 * s + t])

    def add_states(
        self,
        quantity: str,
        channel: int,
        k_frac: NDArray[np.float64],
        vectors: NDArray[Any],
        weights: NDArray[np.float64],
    ) -> None:
        """Add P(k) = Σ_n w_n c_n c_n† of states in the columns of `vectors`, as `add`.

        Of many orbitals and few states only the blocks that there are become numbers.
        """
        n_rows, n_states = vectors.shape
        if n_rows <= _FULL or n_states > n_rows // 8:
            dense = (vectors * weights) @ vectors.conj().T
            self.add(quantity, channel, k_frac, dense)
            return
        from dock.post._density_kernels import block_of_states

        starts, rows, cols, shapes = self._blocks
        lattice = self.pairs.lattice_vectors
        phases = np.exp(-2j * np.pi * (lattice @ k_frac))[self.pairs.lattice_index]
        entry_phases = np.repeat(phases, shapes.prod(axis=1))
        parts = vectors.reshape(-1, self.size, n_states).astype(np.complex128)
        for s, t in product(range(len(parts)), repeat=2):
            out = self.entries[quantity][channel + 2 * s + t]
            found = np.empty(len(out), dtype=np.complex128)
            block_of_states(parts[s] * weights, parts[t], rows, cols, shapes, starts, found)
            found *= entry_phases
            out += found if np.iscomplexobj(out) else found.real

    def matrices(self, mesh: KMesh) -> list[AOMatrix]:
        """Return the sums as matrices, symmetrised over the operations that reduced the mesh."""
        like = self._like
        return [
            mesh.symmetrised(
                AOMatrix(quantity, like.structure, like.basis, self.pairs, self.spin, entries)
            )
            for quantity, entries in self.entries.items()
        ]


def _sum_states(
    calc: Calculation,
    fermi: FermiResult,
    quantities: Sequence[str],
    *,
    solver: str | Solver | Job,
    s_threshold: float | None,
    jobs: int | None,
    progress: Report,
) -> tuple[AOMatrix, AOMatrix | None]:
    """Diagonalise again with vectors and sum Σ f c c† k-point by k-point."""
    problem, mesh = Problem.of(calc), fermi.spectrum.mesh
    total = Accumulator(problem.hamiltonian, problem.pairs, quantities)
    want = Want(vectors=True, s_threshold=s_threshold)
    run: dict[str, Any] = {"solver": solver, "jobs": jobs, "progress": progress}
    for at in states(problem, mesh.points, want, **run):
        vectors, energies = at.states.vectors, at.states.energies
        filling = fermi.occupations[at.channel, at.number]
        kept = np.flatnonzero(np.abs(filling) > _EMPTY)
        if vectors is None or len(kept) == 0:
            continue
        occupied = vectors[:, kept]
        weights = {"density_matrix": filling[kept]}
        weights["energy_density_matrix"] = filling[kept] * energies[kept]
        for quantity in quantities:
            total.add_states(quantity, at.channel, at.k_frac, occupied, weights[quantity])
    density, *rest = total.matrices(mesh)
    return density, rest[0] if rest else None


def _by_poles(
    calc: Calculation,
    mesh: KMesh,
    quantities: tuple[str, ...],
    *,
    smearing: Method | None,
    electrons: float | None,
    poles: int | None,
    threads: int,
    progress: Report,
) -> DensityMatrix:
    """Sum over the poles of the Fermi function; only Fermi–Dirac occupations have them."""
    filling = Smearing() if smearing is None else smearing
    if not isinstance(filling, Smearing) or not _has_poles(filling):
        raise UsageError(
            "the pole expansion is one of the Fermi function: the smearing must be fermi-dirac, of "
            "any temperature; for others use method='eigen'."
        )
    problem = Problem.of(calc).hermitian()
    solver = PoleSolver(problem, mesh, filling.width, threads=threads)
    count = electrons_of(calc, electrons, 2.0 * calc.basis.n_orbitals)
    found = solver.solve(count, quantities, guess=calc.fermi_level, poles=poles, progress=progress)
    density, *rest = solver.matrices(found)
    error = found.expansion.error
    settings = {
        "smearing": f"fermi-dirac, {filling.width:.6g} eV",
        "poles": len(found.expansion.shifts),
        "pole_error": error,
        "electrons_error_bound": error * problem.capacity,
        "n_passes": found.n_passes,
        "n_counts": found.n_counts,
        "largest_front": solver.inverse.largest_front,
    }
    energy = rest[0] if rest else None
    return DensityMatrix(calc, density, energy, found.level, mesh, "poles", settings)
