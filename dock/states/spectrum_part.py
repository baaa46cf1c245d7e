"""The part of a spectrum on a mesh that decides the Fermi level, or lies in a window.

Of a large system only some states at each k-point are computed. That none is missing, and how many
lie below, is certain (`dock.states.certificates`), so that electrons are counted exactly: what lies
below the computed states is full, what lies above is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.errors import ConvergenceError, UsageError
from dock.io.progress import Report
from dock.states.choice import choose
from dock.states.fermi_level import Method, NotReached, find_level
from dock.states.gap import placed
from dock.states.job import Job
from dock.states.kept import identity
from dock.states.kmesh import KMesh
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.solver import Certificate, Eigenstates, Solver, Want
from dock.states.spectrum import Spectrum
from dock.states.stream import Levels, StatesAtK, states

__all__ = ["STATES", "Part", "is_in_parts"]

STATES = 40
"""States about the Fermi level at each k-point, unless another number is asked for."""

_SMALL = 3000  # orbitals up to which all states are computed, unless a part is asked for
_MOST_PASSES = 12

Visit = Callable[[StatesAtK], None] | None


def is_in_parts(
    problem: Problem, solver: str | Solver | Job, n_problems: int, jobs: int | None
) -> bool:
    """Say whether a solver finds the states about a level rather than all of them."""
    job = Job.of(solver)
    if not isinstance(job.solver, str):
        return job.solver.name != "dense"
    if job.solver == "dense" or (job.solver == "auto" and problem.size <= _SMALL):
        return False
    want = Want(nearest=(min(STATES, problem.size), 0.0))
    chosen = choose(job.solver, problem, want, n_problems=n_problems, jobs=jobs)
    chosen.close()
    return chosen.name != "dense"


@dataclass(eq=False)
class Part:
    """States of a calculation on a mesh as they become known, k-point by k-point.

    Attributes
    ----------
    calc, mesh
        What is computed.
    solver, s_threshold, jobs, progress
        As in `dock.states.stream.states`.
    """

    calc: Calculation
    mesh: KMesh
    solver: str | Solver | Job = "auto"
    s_threshold: float | None = None
    jobs: int | None = None
    progress: Report = None
    _found: dict[tuple[int, int], Eigenstates] = field(default_factory=dict, init=False)
    _window: tuple[float, float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._problem = Problem.of(self.calc)
        self._mark = f"part of {identity(self._problem)}"

    def near_level(
        self,
        electrons: float,
        method: Method,
        *,
        n_states: int = STATES,
        guess: float | None = None,
    ) -> Spectrum:
        """Return the states about the Fermi level: `n_states` at each k-point, or more.

        `guess` is where it is looked for first, eV; without one the states whose numbers the
        electrons fill last tell it. For tetrahedra, whole bands are computed.

        Raises
        ------
        ConvergenceError
            When the level is not found.
        """
        if n_states < 2:
            raise UsageError(f"the states about a level are at least 2, found {n_states}.")
        n_states = min(n_states, self._problem.size)
        everywhere, self._window = range(self.mesh.n_points), None
        if guess is None:
            guess = self._by_number(electrons, n_states)
        unknown = [number for number in everywhere if (0, number) not in self._found]
        unknown += self._lacking(guess)
        self._ask(unknown, self._want(nearest=(n_states, guess)))
        self._require_proven()
        smearing = method if isinstance(method, Smearing) else Smearing()
        for _ in range(_MOST_PASSES):
            spectrum = self.spectrum()
            try:
                level, _gap = find_level(spectrum, electrons, smearing)
            except NotReached as error:
                level = self._beyond(spectrum, error)
                self._ask(self._lacking(level), self._want(nearest=(n_states, level)))
                self._extend(self._lacking(level) or list(everywhere), level, n_states)
                continue
            if isinstance(method, Smearing):
                return spectrum
            return self._whole_bands(electrons, level)
        raise ConvergenceError(
            f"{self.calc.source}: the Fermi level was not found among the {n_states} states about "
            f"{guess:.3f} eV. Pass more states=N, or check the electrons per cell: electrons=N."
        )

    def _require_proven(self) -> None:
        """Refuse states of which it is not certain how many lie below them."""
        proofs = (found.certificate for found in self._found.values())
        if any(proof is not None and not proof.proven for proof in proofs):
            raise UsageError(
                f"{self.calc.source}: the solver does not count states, and electrons fill all of "
                "them up to the Fermi level. Pass solver='sparse' for the level, and then "
                "fermi_level=E with this solver."
            )

    def in_window(
        self, window: tuple[float, float], *, whole: bool = False, visit: Visit = None
    ) -> Spectrum:
        """Return the states in a window (eV, absolute); `whole` bands where they leave it.

        `visit` is called with the states of each k-point and channel, with vectors; where a band
        leaves the window, for the whole band once more.
        """
        self._found.clear()
        self._window = window
        self._ask(range(self.mesh.n_points), self._want(window=window), visit)
        if whole:
            self._complete(*self._numbers(), visit)
        return self.spectrum()

    def spectrum(self) -> Spectrum:
        """Return what is known so far."""
        problem, mesh = self._problem, self.mesh
        order = [(s, k) for s in range(problem.n_channels) for k in range(mesh.n_points)]
        levels = Levels.gather([self._found[place] for place in order], problem.n_channels)
        energies = placed(levels.energies, levels.certificates.n_below - levels.n_below)
        energies.flags.writeable = False
        whole = levels.n_below == 0 and energies.shape[2] == problem.size
        is_all = whole and bool(np.isfinite(energies).all())
        return Spectrum(
            self.calc.structure,
            self.calc.spin,
            mesh,
            energies,
            problem.fingerprint(mesh, s_threshold=self.s_threshold) if is_all else self._mark,
            int(levels.n_removed.max(initial=0)),
            levels.n_below,
            None if is_all else problem.size,
            levels.certificates,
            self._window,
        )

    def _want(
        self,
        nearest: tuple[int, float] | None = None,
        window: tuple[float, float] | None = None,
        bands: tuple[int, int] | None = None,
    ) -> Want:
        return Want(nearest=nearest, window=window, bands=bands, s_threshold=self.s_threshold)

    def _ask(self, numbers: Sequence[int], want: Want, visit: Visit = None) -> None:
        """Solve at some k-points, by number, and remember the energies."""
        if not len(numbers):
            return
        want = replace(want, vectors=visit is not None)
        run = {"solver": self.solver, "jobs": self.jobs, "progress": self.progress}
        points = self.mesh.points[list(numbers)]
        for at in states(self._problem, points, want, **run):  # type: ignore[arg-type]
            place = at.channel, numbers[at.number]
            if visit is not None:
                visit(at._replace(number=numbers[at.number]))
            new = replace(at.states, vectors=None)
            self._found[place] = _united(self._found.get(place), new)

    def _by_number(self, electrons: float, n_states: int) -> float:
        """Return a first guess: where the last filled state of the first k-point lies, eV."""
        problem = self._problem
        filled = round(electrons / problem.spin.degeneracy / problem.n_channels)
        first = min(max(filled - n_states // 2, 0), problem.size - 1)
        self._ask([0], self._want(bands=(first, min(first + n_states, problem.size))))
        edges = []
        for channel in range(problem.n_channels):
            here = self._found[channel, 0]
            last = min(max(filled - here.n_below, 1), len(here.energies) - 1)
            edges.append(here.energies[last - 1 : last + 1].mean())
        return float(np.mean(edges))

    def _beyond(self, spectrum: Spectrum, error: NotReached) -> float:
        """Return where to look next, from the spacing of the states that are known, eV."""
        known = spectrum.energies[np.isfinite(spectrum.energies)]
        if not len(known):
            raise error
        places = spectrum.energies.shape[0] * spectrum.energies.shape[1]
        spacing = float(np.ptp(known)) * places / max(len(known), 2)
        # Not much further than what is known reaches: spacings change.
        step = np.clip(error.missing * spacing, -2 * np.ptp(known), 2 * np.ptp(known))
        return error.level + float(step)

    def _lacking(self, level: float) -> list[int]:
        """Return the k-points whose states do not lie on both sides of an energy."""
        lacking = set()
        for (_, number), here in self._found.items():
            n = len(here.energies)
            low = here.n_below == 0 or (n > 0 and here.energies[0] <= level)
            top = here.n_below + n + here.n_removed >= self._problem.size
            high = top or (n > 0 and level <= here.energies[-1])
            if not (low and high):
                lacking.add(number)
        return sorted(lacking)

    def _extend(self, numbers: Sequence[int], level: float, n_states: int) -> None:
        """Solve for the next states by number, where those known end on one side of an energy.

        The states nearest to an energy in a gap may all lie on one side of it.
        """
        step, size = max(n_states // 2, 2), self._problem.size
        for number in numbers:
            ranges = set()
            for channel in range(self._problem.n_channels):
                here = self._found[channel, number]
                first, stop = here.n_below, here.n_below + len(here.energies)
                if first > 0 and here.energies[0] >= level:
                    ranges.add((max(first - step, 0), first))
                if stop < size - here.n_removed and here.energies[-1] <= level:
                    ranges.add((stop, min(stop + step, size)))
            for bands in sorted(ranges):
                self._ask([number], self._want(bands=bands))

    def _whole_bands(self, electrons: float, level: float) -> Spectrum:
        """Return the bands that cross a level, with one full and one empty, at all k-points."""
        spectrum = self.spectrum()
        lowest, highest = spectrum.energies.min(axis=1), spectrum.energies.max(axis=1)
        full, used = np.sum(highest < level, axis=1).min(), np.sum(lowest <= level, axis=1).max()
        first, stop = spectrum.n_below + int(full) - 1, spectrum.n_below + int(used) + 1
        for extra in range(_MOST_PASSES):
            whole = self._rectangle(max(first - extra, 0), min(stop + extra, self._problem.size))
            try:
                find_level(whole, electrons, "tetrahedra")
            except NotReached:
                continue
            return whole
        raise ConvergenceError(
            f"{self.calc.source}: too many bands cross the Fermi level near {level:.3f} eV. Take a "
            "smearing in place of tetrahedra."
        )

    def _rectangle(self, first: int, stop: int) -> Spectrum:
        """Return some bands at all k-points and nothing else."""
        self._complete(first, stop)
        kept = dict(self._found)
        for place, here in kept.items():
            begin = first - here.n_below
            part = here.energies[begin : begin + stop - first].copy()
            self._found[place] = replace(here, energies=part, n_below=first)
        try:
            return self.spectrum()
        finally:
            self._found = kept

    def _numbers(self) -> tuple[int, int]:
        """Return the first band that may enter a window between k-points, and that after the last.

        A band enters it where it lies below its top at one k-point and above its bottom at another.
        """
        found = self._found.values()
        first = min(here.n_below for here in found)
        return first, max(here.n_below + len(here.energies) for here in found)

    def _complete(self, first: int, stop: int, visit: Visit = None) -> None:
        """Solve for bands first … stop − 1 where a k-point lacks some of them."""
        lacking = {
            number
            for (_, number), here in self._found.items()
            if here.n_below > first or here.n_below + len(here.energies) < stop
        }
        if stop > first:
            self._ask(sorted(lacking), self._want(bands=(first, stop)), visit)


def _united(old: Eigenstates | None, new: Eigenstates) -> Eigenstates:
    """Return the states of two answers about one problem; the new one alone if they do not meet."""
    if old is None or not len(old.energies):
        return new
    end_old, end_new = old.n_below + len(old.energies), new.n_below + len(new.energies)
    if new.n_below > end_old or old.n_below > end_new:
        return new
    first = min(old.n_below, new.n_below)
    energies: NDArray[np.float64] = np.empty(max(end_old, end_new) - first)
    energies[old.n_below - first : end_old - first] = old.energies
    energies[new.n_below - first : end_new - first] = new.energies
    proof = _joined(old.certificate, new.certificate, len(energies))
    return replace(new, energies=energies, n_below=first, certificate=proof)


def _joined(a: Certificate | None, b: Certificate | None, n_states: int) -> Certificate | None:
    """Return the certificate of the states of two answers, each of which counts its own."""
    if a is None or b is None:
        return b or a
    counted = n_states if a.counted is not None and b.counted is not None else None
    residuals = [one for one in (a.residual_eV, b.residual_eV) if one is not None]
    proven = a.proven and b.proven
    return Certificate(b.reason, counted, max(residuals, default=None), proven=proven)
