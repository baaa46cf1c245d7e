"""One lazy stream of states over spin channels and k-points, several at a time on threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.errors import ConventionError, DockError, LayoutError, SolverError, UsageError
from dock.io.progress import Progress, Report
from dock.states.choice import choose
from dock.states.solver import Eigenproblem, Eigenstates, Plan, Solver, Want
from dock.threads import available_cpus

__all__ = ["Levels", "StatesAtK", "levels", "states"]


class StatesAtK(NamedTuple):
    """The states of a spin channel (0 or 1) at one k-point of a list; `k_frac` is fractional."""

    channel: int
    number: int
    k_frac: NDArray[np.float64]
    states: Eigenstates


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
    """

    energies: NDArray[np.float64]
    n_below: int
    smallest_overlap: NDArray[np.float64]
    n_removed: NDArray[np.int64]

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
        )


def states(
    problem: Eigenproblem,
    kpoints: ArrayLike,
    want: Want | None = None,
    *,
    solver: str | Solver = "auto",
    jobs: int | None = None,
    progress: Report = None,
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
        ``auto``, a name of `dock.states.choice.SOLVERS`, or a `Solver`.
    jobs
        Threads in all; by default the CPUs that this process may use.
    progress
        Told of each solved k-point and channel, in the caller's thread.

    Raises
    ------
    SolverError, LayoutError, UsageError
        As the solver's, with the k-point named. The first error cancels the rest.
    """
    points = np.atleast_2d(np.asarray(kpoints, dtype=np.float64))
    if points.ndim != 2 or not np.isfinite(points).all():
        raise LayoutError(f"k-points: expected finite numbers (N_k, 3), found {points.shape}.")
    jobs = available_cpus() if jobs is None else jobs
    if jobs < 1:
        raise UsageError(f"At least one job is needed. Found {jobs}.")
    want = want or Want()
    return _stream(problem, points, want, choose(solver), jobs, Progress.of(progress))


def levels(
    problem: Eigenproblem,
    kpoints: ArrayLike,
    want: Want | None = None,
    *,
    solver: str | Solver = "auto",
    jobs: int | None = None,
    progress: Report = None,
) -> Levels:
    """Return the energies at many k-points in one array; see `states` for the arguments."""
    stream = states(problem, kpoints, want, solver=solver, jobs=jobs, progress=progress)
    return Levels.gather([at.states for at in stream], problem.n_channels)


def _stream(
    problem: Eigenproblem,
    points: NDArray[np.float64],
    want: Want,
    solver: Solver,
    jobs: int,
    progress: Progress,
) -> Iterator[StatesAtK]:
    """Yield the solver's answers in order."""
    from threadpoolctl import threadpool_limits

    order = list(product(range(problem.n_channels), range(len(points))))
    if not order:
        return
    with _naming(0, points):
        plan = solver.plan(problem, want, len(order), jobs)
    progress.start(len(order))

    def solve(place: tuple[int, int]) -> StatesAtK:
        channel, number = place
        with _naming(number, points):
            found = solver.solve(problem, channel, points[number], want)
        return StatesAtK(channel, number, points[number], found)

    try:
        with threadpool_limits(limits=plan.blas_threads, user_api="blas"):
            for result in _in_order(solve, order, plan):
                progress.advance()
                yield result
    finally:
        solver.close()


def _in_order(
    solve: Callable[[tuple[int, int]], StatesAtK], order: Iterable[tuple[int, int]], plan: Plan
) -> Iterator[StatesAtK]:
    """Yield ``solve(place)`` for all places in order, at most 2 × workers of them at a time."""
    rest = iter(order)
    waiting: deque[Future[StatesAtK]] = deque()
    pool = ThreadPoolExecutor(plan.workers, thread_name_prefix="dock-states")
    try:
        # The first goes alone into the queue: what it finds wrong is the error of all others.
        waiting.append(pool.submit(solve, next(rest)))
        while waiting:
            while len(waiting) < 2 * plan.workers and (place := next(rest, None)) is not None:
                waiting.append(pool.submit(solve, place))
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _naming(number: int, points: NDArray[np.float64]) -> Iterator[None]:
    """Put the k-point before the message of an error."""
    at = f"k-point {number + 1} of {len(points)} ({', '.join(f'{x:.6g}' for x in points[number])})"
    try:
        yield
    except MemoryError as error:
        raise SolverError(f"{at}: not enough memory. Pass a smaller jobs=N.") from error
    except (ConventionError, LayoutError, SolverError, UsageError) as error:
        raise type(error)(f"{at}: {error}") from error
    except DockError as error:
        error.add_note(at)
        raise
