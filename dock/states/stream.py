"""One lazy stream of states over spin channels and k-points, several at a time on threads.

Which solver is taken, where states are kept as they are done, and which part of them is this
process's own is a `dock.states.job.Job`.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.errors import (
    ConventionError,
    DockError,
    LayoutError,
    OutputError,
    SolverError,
    UsageError,
)
from dock.io.progress import Progress, Report
from dock.states.certificates import Certificates
from dock.states.choice import choose, describe, require_possible
from dock.states.job import Job, PartDone, Place, Planned
from dock.states.kept import Kept
from dock.states.solver import Eigenproblem, Eigenstates, Plan, Solver, Want
from dock.threads import available_cpus

__all__ = ["Levels", "StatesAtK", "levels", "states"]

_log = logging.getLogger("dock")


class StatesAtK(NamedTuple):
    """The states of a spin channel (0 or 1) at one k-point of a list; `k_frac` is fractional.

    `made` is what a function of the caller made of them; see `states`.
    """

    channel: int
    number: int
    k_frac: NDArray[np.float64]
    states: Eigenstates
    made: Any = None


@dataclass(frozen=True, eq=False)
class Levels:
    """The energies of many problems in one array.

    Attributes
    ----------
    energies : float64 (n_channels, N_k, N_band)
        Column b is the state with ``n_below + b`` states below it, at every k-point. NaN stands
        where a k-point has no such state: outside the window, or removed at the top by the
        threshold.
    n_below
        The number of states below the first column.
    smallest_overlap : float64 (n_channels, N_k)
        Smallest eigenvalue of S(k); NaN where it was not computed.
    n_removed : int64 (n_channels, N_k)
        The combinations that the threshold took out.
    certificates
        Why no state is missing, and how many lie below at each k-point.
    """

    energies: NDArray[np.float64]
    n_below: int
    smallest_overlap: NDArray[np.float64]
    n_removed: NDArray[np.int64]
    certificates: Certificates

    def __post_init__(self) -> None:
        for array in (self.energies, self.smallest_overlap, self.n_removed):
            array.flags.writeable = False

    @classmethod
    def gather(cls, results: Sequence[Eigenstates], n_channels: int = 1) -> Levels:
        """Align results, channel after channel, by band number; gaps are filled with NaN.

        Examples
        --------
        >>> low, high = Eigenstates(np.array([1.0, 2.0])), Eigenstates(np.array([3.0]))
        >>> Levels.gather([low, high]).energies.tolist()
        [[[1.0, 2.0], [3.0, nan]]]
        """
        filled = [result for result in results if len(result.energies)]
        first = min((result.n_below for result in filled), default=0)
        stop = max((r.n_below + len(r.energies) for r in filled), default=first)
        energies = np.full((len(results), stop - first), np.nan)
        for row, result in zip(energies, results, strict=True):
            at = result.n_below - first
            if len(result.energies):
                row[at : at + len(result.energies)] = result.energies
        shape = (n_channels, len(results) // n_channels)
        smallest = np.array([result.smallest_overlap for result in results], dtype=np.float64)
        return cls(
            energies.reshape(*shape, stop - first),
            first,
            smallest.reshape(shape),  # None became NaN
            np.array([result.n_removed for result in results], dtype=np.int64).reshape(shape),
            Certificates.of(results, n_channels),
        )


def states(
    problem: Eigenproblem,
    kpoints: ArrayLike,
    want: Want | None = None,
    *,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
    then: Callable[[StatesAtK], Any] | None = None,
) -> Iterator[StatesAtK]:
    """Yield the states of a problem: all k-points of the first spin channel, then of the second.

    At most `jobs` pairs of matrices and about twice as many results are alive at once, so that
    vectors can be used and dropped one k-point at a time. While the iteration runs, BLAS is
    limited to the threads of the solver's plan; the results do not depend on `jobs` below
    `dock.threads.LARGE` orbitals, to the last bit.

    Parameters
    ----------
    problem
        H and S.
    kpoints : (N_k, 3)
        Fractional coordinates.
    want
        Which states; the default is all energies without vectors.
    solver
        ``auto``, a name of `dock.states.choice.SOLVERS`, a `Solver`, or a `Job`.
    jobs
        Threads in all; by default the CPUs that this process may use.
    progress
        Told of each solved k-point and channel, in the caller's thread.
    then
        Called with the states of each k-point in the thread that solved for them; what it returns
        is `StatesAtK.made`, and the vectors are dropped.

    Raises
    ------
    SolverError, LayoutError, UsageError
        As the solver's, with the k-point named. The first error cancels the rest.
    Pause
        Where the job ends before its result: it was to be planned only, or is a part.
    """
    points = np.atleast_2d(np.asarray(kpoints, dtype=np.float64))
    if points.ndim != 2 or not np.isfinite(points).all():
        raise LayoutError(f"k-points: expected finite numbers (N_k, 3), found {points.shape}.")
    jobs = available_cpus() if jobs is None else jobs
    if jobs < 1:
        raise UsageError(f"At least one job is needed. Found {jobs}.")
    want = want or Want()
    job = Job.of(solver)
    if want.s_threshold is not None and job.removal != "project":
        want = replace(want, removal=job.removal)
    task = _Task(problem, points, want, job, jobs, then)
    return task.stream(Progress.of(progress))


def levels(
    problem: Eigenproblem,
    kpoints: ArrayLike,
    want: Want | None = None,
    *,
    solver: str | Solver | Job = "auto",
    jobs: int | None = None,
    progress: Report = None,
) -> Levels:
    """Return the energies at many k-points in one array; see `states` for the arguments."""
    stream = states(problem, kpoints, want, solver=solver, jobs=jobs, progress=progress)
    return Levels.gather([at.states for at in stream], problem.n_channels)


@dataclass(frozen=True, eq=False)
class _Task:
    """The eigenproblems of one stream, and how they are gone about."""

    problem: Eigenproblem
    points: NDArray[np.float64]
    want: Want
    job: Job
    jobs: int
    then: Callable[[StatesAtK], Any] | None = None

    @cached_property
    def _first(self) -> list[int]:
        """For each k-point the first one that is the same: a path has its corners twice.

        Vectors are not held for long: where they are wanted, only neighbours count as the same.
        """
        known: dict[bytes, int] = {}
        found: list[int] = []
        for number, k in enumerate(self.points + 0.0):  # −0 is 0
            first = known.setdefault(k.tobytes(), number)
            if self.want.vectors and first != number and found[-1] != first:
                known[k.tobytes()] = first = number
            found.append(first)
        return found

    def stream(self, progress: Progress) -> Iterator[StatesAtK]:
        """Yield the states in order; equal k-points are solved once."""
        held: dict[int, StatesAtK] = {}
        last = {first: number for number, first in enumerate(self._first)}
        with closing(self._distinct(progress)) as answers:
            for _ in range(self.problem.n_channels):
                for number, first in enumerate(self._first):
                    if first == number:
                        held[first] = next(answers)
                    yield held[first]._replace(number=number)
                    if last[first] == number:
                        del held[first]
            for _ in answers:  # nothing more, but for what it does at its end
                pass

    def _distinct(self, progress: Progress) -> Generator[StatesAtK, None, None]:
        """Yield the states of k-points that differ, those that are kept from where they are."""
        numbers = [number for number, first in enumerate(self._first) if first == number]
        order = list(product(range(self.problem.n_channels), numbers))
        if not order:
            return
        if not self.job.has_kept:  # to see what is kept, H and S are read
            n, jobs = len(order), self.jobs
            with _naming(0, self.points):
                require_possible(self.job.solver, self.problem, self.want, n_problems=n, jobs=jobs)
        kept = self.job.store(self.problem, self.want)
        try:
            progress.start(len(order))
            if self.job.is_shared and kept is not None:
                self._do_part(order, kept, progress)
            missing = [place for place in order if not self._is_kept(place, kept)]
            if self.job.is_shared:
                progress = Progress()  # all was counted as it was done
            with self._solver(missing, len(order)) as (solver, plan):
                yield from self._answers(order, kept, solver, plan, progress)
        except DockError as error:
            if kept is not None and kept.has_some:
                error.add_note(_kept_words(kept, len(order)))
            raise
        finally:
            if kept is not None:
                kept.close()

    def _do_part(self, order: list[Place], kept: Kept, progress: Progress) -> None:
        """Solve what is this process's own; `PartDone` unless the other shards are done."""
        number, parts = self.job.shard or (0, 1)
        mine = order[number::parts]
        own = self.job.own([place for place in mine if not self._is_kept(place, kept)])
        with self._solver(own, len(order)) as (solver, plan):
            for _ in self._answers(own, kept, solver, plan, progress):
                pass  # they are kept
        kept.flush()
        self.job.ranks.barrier()
        for _ in range(_PATIENCE):
            kept.refresh()
            if all(self._is_kept(place, kept) for place in mine):
                break
            time.sleep(1)  # file systems of clusters show a file late
        if not all(self._is_kept(place, kept) for place in order) and self.job.shard is not None:
            raise PartDone(self.job, len(kept), len(order))

    def _is_kept(self, place: Place, kept: Kept | None) -> bool:
        return kept is not None and (place[0], self.points[place[1]]) in kept

    @contextmanager
    def _solver(self, missing: Sequence[Place], n_all: int) -> Iterator[tuple[Solver | None, Plan]]:
        """Yield the solver and its plan; no solver where nothing is missing."""
        if not missing:
            self._end_dry_run(_NOTHING, 0, n_all)
            yield None, _NOTHING
            return
        with _naming(missing[0][1], self.points):
            solver = choose(
                self.job.solver, self.problem, self.want, n_problems=len(missing), jobs=self.jobs
            )
            plan = solver.plan(self.problem, self.want, len(missing), self.jobs)
        try:
            self._end_dry_run(plan, len(missing), n_all)
            _log.info("%s", describe(plan))
            yield solver, plan
        finally:
            solver.close()

    def _end_dry_run(self, plan: Plan, n_missing: int, n_all: int) -> None:
        if self.job.dry_run:
            text = describe(plan) if n_missing else plan.reason
            what = f"{n_missing} eigenproblems to be solved"
            if n_missing < n_all:
                what += f", {n_all - n_missing} kept from before"
            raise Planned(f"{text}\n{what}", plan, n_missing, n_all - n_missing)

    def _answers(
        self,
        places: Sequence[Place],
        kept: Kept | None,
        solver: Solver | None,
        plan: Plan,
        progress: Progress,
    ) -> Iterator[StatesAtK]:
        """Yield the states at some places, in order."""
        from threadpoolctl import threadpool_limits

        def solve(place: Place) -> StatesAtK:
            channel, number = place
            k = self.points[number]
            found = None if kept is None else kept.get(channel, k)
            if found is None and solver is not None:
                with _naming(number, self.points):
                    found = solver.solve(self.problem, channel, k, self.want)
                    if kept is not None:
                        kept.put(channel, k, found)
            if found is None:
                raise SolverError(
                    f"{self.job.folder}: k-points that were kept are gone. Run again."
                )
            at = StatesAtK(channel, number, k, found)
            if self.then is None:
                return at
            with _naming(number, self.points):
                made = self.then(at)
            return at._replace(made=made, states=replace(found, vectors=None))

        with threadpool_limits(limits=plan.blas_threads, user_api="blas"):
            for result in _in_order(solve, places, plan):
                progress.advance()
                yield result


_PATIENCE = 20  # seconds
_NOTHING = Plan("none", "all is kept from before", 1, 1, 0)


def _kept_words(kept: Kept, n_all: int) -> str:
    """Return what is not lost."""
    with suppress(OutputError):  # the disk may be full: what stands there stands
        kept.flush()
        kept.refresh()
    return (
        f"{len(kept)} of {n_all} eigenproblems are kept in {kept.folder}: the same command goes on "
        "from there."
    )


def _in_order(
    solve: Callable[[Place], StatesAtK], order: Iterable[Place], plan: Plan
) -> Iterator[StatesAtK]:
    """Yield ``solve(place)`` for all places in order, at most 2 × workers of them at a time."""
    rest = iter(order)
    waiting: deque[Future[StatesAtK]] = deque()
    pool = ThreadPoolExecutor(plan.workers, thread_name_prefix="dock-states")
    try:
        # The first goes alone into the queue: what it finds wrong is the error of all others.
        first = next(rest, None)
        if first is not None:
            waiting.append(pool.submit(solve, first))
        while waiting:
            while len(waiting) < 2 * plan.workers and (place := next(rest, None)) is not None:
                waiting.append(pool.submit(solve, place))
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _naming(number: int, points: NDArray[np.float64]) -> Iterator[None]:
    """Put the k-point before the message of an error."""
    try:
        yield
    except (MemoryError, DockError) as error:
        place = ", ".join(f"{x:.6g}" for x in points[number])
        at = f"k-point {number + 1} of {len(points)} ({place})"
        if isinstance(error, MemoryError):
            raise SolverError(f"{at}: not enough memory. Pass a smaller jobs=N.") from error
        if isinstance(error, ConventionError | LayoutError | SolverError | UsageError):
            raise type(error)(f"{at}: {error}") from error
        error.add_note(at)
        raise
