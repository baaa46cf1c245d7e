"""How a density of states by Chebyshev moments is computed; the result is `chebyshev_density`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.errors import MissingDataError, UsageError
from dock.io.progress import Progress, Report
from dock.post.chebyshev_density import ChebyshevDensity
from dock.post.projections import OrbitalGroups, orbital_groups
from dock.states.job import Job, Planned
from dock.states.kmesh import KMesh
from dock.states.kpm.cost import Cost
from dock.states.kpm.pencil import Tile
from dock.states.kpm.recursion import Expansion
from dock.states.kpm.sums import Moments, MomentSum, Task
from dock.states.memory import in_words
from dock.states.problem import Problem
from dock.states.solver import Solver
from dock.states.spectrum import electrons_of
from dock.states.speed import duration
from dock.threads import available_cpus

__all__ = ["averaged", "chebyshev_dos"]

_WIDTH = 16  # random vectors at once: BLAS takes as long for 8
_ABOVE = 10.0  # eV above the Fermi level to which energies go by default
_FINE = 6000  # energies at which states are counted
_SPACING = 0.1  # of k-points, 1/Å with 2π
_ROUGH_WIDTH = 34.0  # half the width of a compressed spectrum, eV, before its bounds are known
_CONFIDENCE = 0.95


class _Curve(NamedTuple):
    """Means over vectors, and half widths of their 95 % intervals."""

    mean: NDArray[np.float64]
    error: NDArray[np.float64]


def chebyshev_dos(
    calc: Calculation,
    mesh: KMesh | Sequence[int] | None = None,
    *,
    resolution: float | None = None,
    moments: int | None = None,
    vectors: int = 16,
    seed: int = 0,
    step: float | None = None,
    window: tuple[float, float] | None = None,
    project: str | Sequence[str] | None = None,
    atoms: Sequence[int] = (),
    electrons: float | None = None,
    counted: float | None = None,
    tile: Tile = (1, 1, 1),
    single: bool = True,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
) -> ChebyshevDensity:
    """Compute a density of states without eigenvectors.

    Parameters
    ----------
    mesh
        Points along the reciprocal vectors of the tile; default 0.1/Å apart.
    resolution
        Standard deviation of the kernel at the Fermi level, eV; default 0.05, or that of `moments`.
    moments
        Number of moments; by default as many as the resolution needs.
    vectors, seed
        Random vectors of each spin channel and k-point, at least 2, and where they begin.
    step
        Distance of the energies, eV; default a quarter of the resolution.
    window
        (lowest, highest) energy in eV relative to the Fermi level; default from the lowest state
        to 10 eV.
    project
        Fields such as ``"species,l"``, or orbitals in words: Mulliken densities of these groups.
    atoms
        Atoms, from 0, whose Mulliken densities are computed by their own vectors, without chance.
    electrons, counted
        As in `dock.post.density_of_states.dos`.
    tile
        Cells along the lattice vectors: a supercell of the calculation that is never stored.
    single
        Numbers of single precision.

    Raises
    ------
    UsageError
        For settings without meaning, a window outside the spectrum, too few moments for the
        resolution (with the number that would do), or too little memory.
    SolverError
        Where S is not positive definite.
    MissingDataError
        Without Fermi level and electrons.

    Examples
    --------
    >>> import dock
    >>> silicon = chebyshev_dos(dock.read("fixtures/openmx/si"), (2, 2, 2), resolution=0.3)
    >>> abs(silicon.counted - 8) < silicon.counted_error + 0.1
    True
    """
    if seed < 0:
        raise UsageError(f"the seed of the random vectors is a number from 0, found {seed}.")
    _require_settings(resolution, moments, vectors, step, window)
    problem = Problem.of(calc)
    task = _Density(
        calc,
        problem,
        _mesh(calc, problem, mesh, tile),
        tile,
        resolution=resolution,
        moments=moments,
        n_vectors=vectors,
        seed=seed,
        window=window,
        groups=None if project is None else orbital_groups(calc, project),
        atoms=tuple(atoms),
        level=_Level.of(calc, problem, electrons, counted),
        single=single,
        threads=jobs or available_cpus(),
    )
    task.require_room()
    job = Job.of(solver)
    if job.dry_run:
        raise task.planned()
    found = task.moments_sum().total(job, Progress.of(progress))
    return task.result(found, step)


class _Level(NamedTuple):
    """The level that energies count from, where one is known, and the electrons."""

    known: float | None
    source: str
    electrons: float | None
    guess: float

    @classmethod
    def of(
        cls, calc: Calculation, problem: Problem, electrons: float | None, counted: float | None
    ) -> _Level:
        """Return what data and user say; a level to begin with is guessed where none is known."""
        other = electrons is not None and electrons != calc.n_electrons
        known = counted if counted is not None else None if other else calc.fermi_level
        count = electrons if electrons is not None else calc.n_electrons
        if count is not None:
            count = electrons_of(calc, count, problem.capacity)
        if known is not None:
            return cls(known, "given" if counted is None else "counted", count, known)
        if count is None:
            raise MissingDataError(
                "the Fermi level",
                calc.source,
                "Energies count from it. Pass electrons=N: the valence electrons per cell.",
            )
        onsite = problem.hamiltonian.pairs.onsite
        layout, entries = problem.hamiltonian.layout, problem.hamiltonian.entries[0]
        counts = problem.basis.counts[problem.hamiltonian.pairs.i[onsite]]
        diagonal = [
            entries[layout.starts[pair] : layout.starts[pair + 1]][:: n + 1].real
            for pair, n in zip(onsite, counts, strict=True)
        ]
        levels = np.sort(np.concatenate(diagonal))
        filled = int(count / problem.capacity * len(levels))
        return cls(None, "counted", count, float(levels[min(filled, len(levels) - 1)]))


@dataclass(eq=False)
class _Density:
    """One density of states: its settings, the moments that it needs, what is made of them."""

    calc: Calculation
    problem: Problem
    mesh: KMesh
    tile: Tile
    resolution: float | None
    moments: int | None
    n_vectors: int
    seed: int
    window: tuple[float, float] | None
    groups: OrbitalGroups | None
    atoms: tuple[int, ...]
    level: _Level
    single: bool
    threads: int

    @property
    def n_cells(self) -> int:
        return int(np.prod(self.tile))

    @property
    def names(self) -> tuple[str, ...]:
        """The groups of orbitals."""
        return () if self.groups is None else self.groups.names

    @property
    def width(self) -> int:
        """Vectors of a block."""
        return min(_WIDTH, self.n_vectors)

    @property
    def n_blocks(self) -> int:
        """Blocks of random vectors of a channel and k-point."""
        return -(-self.n_vectors // self.width)

    def _groups(self) -> Any:
        """Return all orbitals and the groups as a matrix (1 + n_groups, size); None for all."""
        if self.groups is None:
            return None
        import scipy.sparse

        n_rows = self.problem.size
        starts = n_rows * np.arange(self.n_cells)[:, None]
        members = [np.arange(n_rows), *self.groups.rows]
        columns = [(starts + rows).ravel() for rows in members]
        numbers = np.repeat(np.arange(len(columns)), [len(part) for part in columns])
        place = (numbers, np.concatenate(columns))
        shape = (len(columns), n_rows * self.n_cells)
        return scipy.sparse.csr_array((np.ones(len(numbers)), place), shape=shape)

    def _rows(self) -> list[int]:
        """Return the rows of the first cell that are the orbitals of the chosen atoms."""
        offsets, counts = self.problem.basis.offsets, self.problem.basis.counts
        found: list[int] = []
        for atom in self.atoms:
            if not 0 <= atom < self.problem.basis.n_atoms:
                raise UsageError(
                    f"there is no atom {atom + 1}: the cell has {self.problem.basis.n_atoms}."
                )
            for spin in range(self.problem.size // self.problem.basis.n_orbitals):
                first = int(offsets[atom]) + spin * self.problem.basis.n_orbitals
                found += range(first, first + int(counts[atom]))
        return found

    def _tasks(self) -> list[Task]:
        rows = self._rows()
        slices = [tuple(rows[at : at + _WIDTH]) for at in range(0, len(rows), _WIDTH)]
        return [
            task
            for channel in range(self.problem.n_channels)
            for k in range(self.mesh.n_points)
            for task in (
                *(Task(channel, k, block) for block in range(self.n_blocks)),
                *(Task(channel, k, block, some) for block, some in enumerate(slices)),
            )
        ]

    def _cost(self) -> Cost:
        costs = [
            Cost.of(
                self.problem,
                k,
                tile=self.tile,
                single=self.single,
                width=self.width,
                n_groups=max(1, len(self.names)),
            )
            for k in self.mesh.points[[0, -1]]
        ]
        return max(costs, key=lambda cost: cost.memory_bytes)

    def require_room(self) -> None:
        """Refuse what has no room."""
        self._cost().require_room()

    def planned(self) -> Planned:
        """Return the end of a run that is only to be planned."""
        cost, n_problems = self._cost(), len(self._tasks())
        guess = self.moments or int(np.pi * _ROUGH_WIDTH / (self.resolution or 0.05))
        plan = cost.plan(guess, self.threads)
        text = (
            f"kpm: {cost.n_atoms} atoms, {in_words(plan.memory_bytes)} "
            f"({cost.per_atom / 1e3:.0f} kB an atom), about {guess} moments; {n_problems} blocks "
            f"of vectors, about {duration(plan.seconds or 0.0)} each"
        )
        return Planned(text, plan, n_problems, 0)

    def moments_sum(self) -> MomentSum:
        """Return what computes the moments."""
        settings = (
            self.tile,
            self.single,
            self.resolution,
            self.moments,
            self.width,
            self.n_vectors,
            self.seed,
            self.names,
            self.atoms,
            self.level.guess,
            self.mesh.points.tobytes().hex(),
        )
        return MomentSum(
            self.problem,
            self._expansion,
            self._n_moments,
            self._tasks(),
            self.width,
            self.seed,
            self._groups(),
            repr(("kpm", *settings)),
            1000,
        )

    def _expansion(self, channel: int, k_number: int) -> Expansion:
        """Return the expansion of a channel and k-point, after a look at what was asked of it."""
        found = Expansion.of(
            self.problem,
            channel,
            self.mesh.points[k_number],
            structure=self.calc.structure,
            origin=self.level.guess,
            tile=self.tile,
            single=self.single,
            threads=self.threads,
            seed=self.seed,
        )
        if self.window is not None and self.level.known is not None:
            found.scale.require_inside(self.level.known, self.window)
        return found

    def _n_moments(self, expansion: Expansion) -> int:
        """Return the moments that are needed; too few that are given are refused."""
        return expansion.scale.moments_of(self.level.guess, self.resolution, self.moments)

    def result(self, found: list[Moments], step: float | None) -> ChebyshevDensity:
        """Make the result of all moments."""
        tasks = self._tasks()
        ends = np.array([m.scale.bounds for m in found])
        low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
        level, counts = self._count(tasks, found, low)
        zero = self.level.known if self.level.known is not None else level.mean[0]
        n_moments = found[0].values.shape[-1]
        if self.window is not None:
            found[0].scale.require_inside(float(zero), self.window)
        here = np.array([float(zero)])
        width = float(found[0].scale.resolution(here, n_moments)[0])
        energies = self._energies(float(zero), step or width / 4, low, high)
        at_level = [self._curve(tasks, found, here, c) for c in self._channels]
        curves = [self._curve(tasks, found, energies, c) for c in self._channels]
        local = self._local(tasks, found, energies)
        counted, band = self._integrals(counts, float(zero))
        moved = max(float(m.scale.moved(energies, m.error).max()) for m in found)
        total = [_Curve(c.mean[0], c.error[0]) for c in curves]
        return ChebyshevDensity(
            self.calc.structure,
            self.problem.spin,
            self.mesh,
            self.tile,
            energies,
            np.stack([c.mean for c in total]),
            np.stack([c.error for c in total]),
            found[0].scale.resolution(energies, n_moments),
            self.names,
            np.stack([c.mean[1:] for c in curves]),
            np.stack([c.error[1:] for c in curves]),
            tuple(atom + 1 for atom in self.atoms),
            local,
            float(zero),
            self.level.source,
            self.level.electrons,
            None if self.level.electrons is None else float(level.mean[0]),
            None if self.level.electrons is None else float(level.error[0]),
            float(counted.mean[0]),
            float(counted.error[0]),
            float(band.mean[0]),
            float(band.error[0]),
            n_moments,
            self.n_blocks * self.width,
            self.seed,
            found[0].description,
            moved,
            (low, high),
            float(sum(c.mean[0, 0] for c in at_level)),
            float(sum(c.error[0, 0] for c in at_level)),
            width,
        )

    @property
    def _channels(self) -> range:
        return range(self.problem.n_channels)

    def _energies(self, zero: float, step: float, low: float, high: float) -> NDArray[np.float64]:
        first, last = self.window or (low - zero, min(high - zero, _ABOVE))
        begin, end = int(np.floor(first / step + 1e-6)), int(np.ceil(last / step - 1e-6))
        if end - begin > 2_000_000:
            raise UsageError(
                f"a step of {step:g} eV makes {end - begin} energies. Pass a larger step=DE, or "
                "window=(EMIN, EMAX)."
            )
        energies: NDArray[np.float64] = zero + step * np.arange(begin, end + 1, dtype=np.float64)
        return energies

    def _random(
        self, tasks: list[Task], found: list[Moments], channel: int, k: int
    ) -> list[Moments]:
        pairs = zip(tasks, found, strict=True)
        return [m for t, m in pairs if (t.channel, t.k_number) == (channel, k) and not t.rows]

    def _curve(
        self, tasks: list[Task], found: list[Moments], energies: NDArray[np.float64], channel: int
    ) -> _Curve:
        """Return the total and the projections of a channel, (1 + n_names, n)."""

        def values(moments: Moments) -> NDArray[np.float64]:
            return moments.scale.density(moments.values, energies)

        each = [
            np.concatenate([values(m) for m in self._random(tasks, found, channel, k)])
            for k in range(self.mesh.n_points)
        ]
        factor = self.problem.spin.degeneracy / self.n_cells
        return averaged([factor * one for one in each], self.mesh.weights)

    def _local(
        self, tasks: list[Task], found: list[Moments], energies: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the densities of the chosen atoms, (n_spin, n_atoms, n)."""
        n_spin = len(self._channels)
        out = np.zeros((n_spin, len(self.atoms), len(energies)))
        if not self.atoms:
            return out
        per_spin, offsets = self.problem.basis.n_orbitals, self.problem.basis.offsets
        for task, moments in zip(tasks, found, strict=True):
            for row, mu in zip(task.rows, moments.values[:, 0], strict=False):
                atom = int(np.searchsorted(offsets, row % per_spin, side="right")) - 1
                curve = moments.scale.density(mu, energies)
                weight = self.mesh.weights[task.k_number] * self.problem.spin.degeneracy
                out[task.channel, self.atoms.index(atom)] += weight * curve
        return out

    def _count(
        self, tasks: list[Task], found: list[Moments], low: float
    ) -> tuple[_Curve, tuple[NDArray[np.float64], list[NDArray[np.float64]]]]:
        """Return the counted level, and counts (n_vectors, n) of each channel and k-point."""
        top = self.level.guess + _ABOVE
        if self.level.known is None:
            top = min(top + 2 * _ABOVE, found[0].scale.bounds[1])
        fine = np.linspace(low, top, _FINE)
        factor = self.problem.spin.degeneracy / self.n_cells
        each = [
            factor
            * np.concatenate(
                [
                    m.scale.count(m.values[:, 0], fine)
                    for m in self._random(tasks, found, channel, k)
                ]
            )
            for channel in self._channels
            for k in range(self.mesh.n_points)
        ]
        if self.level.electrons is None:
            return _Curve(np.full(1, self.level.guess), np.zeros(1)), (fine, each)
        total = averaged(each, self._weights)
        crossing = [
            float(np.interp(self.level.electrons, np.maximum.accumulate(curve), fine))
            for curve in (total.mean, total.mean + total.error, total.mean - total.error)
        ]
        error = abs(crossing[2] - crossing[1]) / 2
        return _Curve(np.array(crossing[:1]), np.array([error])), (fine, each)

    @property
    def _weights(self) -> NDArray[np.float64]:
        return np.tile(self.mesh.weights, len(self._channels))

    def _integrals(
        self, counts: tuple[NDArray[np.float64], list[NDArray[np.float64]]], level: float
    ) -> tuple[_Curve, _Curve]:
        """Return electrons and band energy up to a level."""
        fine, each = counts
        cut = np.append(fine[fine < level], level)
        numbers, energies = [], []
        for curves in each:
            up_to = np.stack([np.interp(cut, fine, curve) for curve in curves])
            numbers.append(up_to[:, -1:])
            energies.append(level * up_to[:, -1:] - np.trapezoid(up_to, cut, axis=1)[:, None])
        return averaged(numbers, self._weights), averaged(energies, self._weights)


def averaged(each: list[NDArray[np.float64]], weights: NDArray[np.float64]) -> _Curve:
    """Return Σ_k w_k of the means over vectors (first axis), and the half width of 95 %."""
    from scipy.special import stdtrit

    mean: Any = sum(w * one.mean(axis=0) for w, one in zip(weights, each, strict=True))
    variance: Any = sum(
        w**2 * one.var(axis=0, ddof=1) / len(one) for w, one in zip(weights, each, strict=True)
    )
    freedom = sum(len(one) - 1 for one in each)
    factor = float(stdtrit(freedom, 0.5 + _CONFIDENCE / 2))
    return _Curve(np.asarray(mean), factor * np.sqrt(np.asarray(variance)))


def _mesh(
    calc: Calculation, problem: Problem, mesh: KMesh | Sequence[int] | None, tile: Tile
) -> KMesh:
    """Return the k-points of the tile, one of k and −k where H(R) is real."""
    if isinstance(mesh, KMesh):
        return mesh
    if len(tile) != 3 or min(tile) < 1:
        raise UsageError(f"a tile has three numbers of cells from 1, found {tuple(tile)}.")
    if mesh is None:
        sources = problem.row_sources
        pairs = problem.pairs if sources is None else sources[0].pairs()
        lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(calc.structure.cell), axis=0)
        sizes = np.ceil(lengths / (_SPACING * np.array(tile)) - 1e-9).astype(int)
        sizes = np.where(np.array(pairs.periodic_axes), np.maximum(sizes, 1), 1)
        mesh = [1, 1, 1] if problem.only_gamma else sizes.tolist()
    whole = KMesh.full(mesh)
    if problem.spin is Spin.NONCOLLINEAR or whole.n_points == 1:
        return whole
    number = np.mod(-np.rint(whole.points * whole.size).astype(int), whole.size)
    partner = np.ravel_multi_index(tuple(number.T), whole.size)
    lowest, index = np.unique(np.minimum(np.arange(len(partner)), partner), return_inverse=True)
    weights = np.bincount(index) / len(index)
    return KMesh(whole.size, whole.shift, whole.points[lowest], weights, index.ravel())


def _require_settings(
    resolution: float | None,
    moments: int | None,
    vectors: int,
    step: float | None,
    window: tuple[float, float] | None,
) -> None:
    """Refuse settings without meaning, before anything is read."""
    if resolution is not None and not 0 < resolution < np.inf:
        raise UsageError(f"the resolution is a positive number of eV, found {resolution}.")
    if moments is not None and moments < 4:
        raise UsageError(f"a series has at least 4 moments, found {moments}.")
    if vectors < 2:
        raise UsageError(
            f"there are at least 2 random vectors, whose spread is the error. Found {vectors}."
        )
    if step is not None and not 0 < step < np.inf:
        raise UsageError(f"the energy step must be a positive number of eV, found {step}.")
    if window is not None and not window[0] < window[1]:
        raise UsageError(f"the energy window {window[0]:g} … {window[1]:g} eV is empty.")
