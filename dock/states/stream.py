"""Dense eigenproblems at many k-points, on several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.errors import (
    ConventionError,
    DockError,
    LayoutError,
    SolverError,
    UsageError,
)
from dock.states.dense import EigenResult, solve
from dock.threads import available_cpus, plan_threads

__all__ = ["Bands", "solve_each", "solve_many"]

Build = Callable[[NDArray[np.float64]], tuple[NDArray[Any], NDArray[Any]]]
"""Maps a k-point to H(k) and S(k)."""


@dataclass(frozen=True, eq=False)
class Bands:
    """The energies of many problems in one array.

    Attributes
    ----------
    eigenvalues : float64 (N_k, N_band)
        Column b is band ``first_band + b`` of every k-point. NaN stands where a k-point has no
        such state: outside the window, or removed at the top by `s_threshold`.
    first_band
        The number of states below the first column.
    smallest_overlap_eigenvalues : float64 (N_k,)
        NaN where they were not computed.
    n_removed : int64 (N_k,)
        The combinations that `s_threshold` took out.
    """

    eigenvalues: NDArray[np.float64]
    first_band: int
    smallest_overlap_eigenvalues: NDArray[np.float64]
    n_removed: NDArray[np.int64]

    def __post_init__(self) -> None:
        for array in (self.eigenvalues, self.smallest_overlap_eigenvalues, self.n_removed):
            array.flags.writeable = False

    @classmethod
    def gather(cls, results: Sequence[EigenResult]) -> Bands:
        """Align results by band number; those with fewer states are padded with NaN.

        Examples
        --------
        >>> low, high = EigenResult(np.array([1.0, 2.0])), EigenResult(np.array([3.0]))
        >>> Bands.gather([low, high]).eigenvalues.tolist()
        [[1.0, 2.0], [3.0, nan]]
        """
        filled = [result for result in results if len(result.eigenvalues)]
        first = min((result.first_band for result in filled), default=0)
        stop = max((r.first_band + len(r.eigenvalues) for r in filled), default=first)
        energies = np.full((len(results), stop - first), np.nan)
        for row, result in zip(energies, results, strict=True):
            if len(result.eigenvalues):
                at = result.first_band - first
                row[at : at + len(result.eigenvalues)] = result.eigenvalues
        smallest = [result.smallest_overlap_eigenvalue for result in results]
        return cls(
            energies,
            first,
            np.array([np.nan if value is None else value for value in smallest]),
            np.array([result.n_removed for result in results], dtype=np.int64),
        )


def solve_many(
    build: Build,
    kpoints: ArrayLike,
    *,
    jobs: int | None = None,
    window: tuple[float, float] | None = None,
    index_range: tuple[int, int] | None = None,
    s_threshold: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bands:
    """Return the eigenvalues at many k-points; see `solve_each` for the arguments and errors.

    Examples
    --------
    >>> chain = lambda k: (np.array([[2 * np.cos(2 * np.pi * k[0])]]), np.eye(1))
    >>> solve_many(chain, [[0, 0, 0], [0.5, 0, 0]], jobs=1).eigenvalues.tolist()
    [[2.0], [-2.0]]
    """
    results = solve_each(
        build,
        kpoints,
        jobs=jobs,
        window=window,
        index_range=index_range,
        s_threshold=s_threshold,
        progress=progress,
    )
    return Bands.gather(list(results))


def solve_each(
    build: Build,
    kpoints: ArrayLike,
    *,
    jobs: int | None = None,
    eigenvectors: bool = False,
    window: tuple[float, float] | None = None,
    index_range: tuple[int, int] | None = None,
    s_threshold: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[EigenResult]:
    """Yield the states at many k-points, in order, several at a time on threads.

    At most `jobs` pairs of matrices and about twice as many results are alive at once, so that
    vectors can be used and dropped one k-point at a time. While the iteration runs, BLAS is
    limited to the threads of `plan_threads`; the results do not depend on `jobs` below `LARGE`
    orbitals, to the last bit.

    Parameters
    ----------
    build
        Maps a k-point (3,) to H(k) and S(k). Called from several threads at once. The arrays
        are overwritten.
    kpoints : (N_k, 3)
        Fractional coordinates.
    jobs
        Threads in all; by default the CPUs that this process may use.
    eigenvectors, window, index_range, s_threshold
        As in `solve`.
    progress
        Called with (k-points done, all k-points) in the caller's thread.

    Raises
    ------
    SolverError, LayoutError, UsageError
        As `solve`, with the k-point named. The first error cancels the rest.
    """
    points = np.atleast_2d(np.asarray(kpoints, dtype=np.float64))
    if points.ndim != 2 or not np.isfinite(points).all():
        raise LayoutError(f"k-points: expected finite numbers (N_k, 3), found {points.shape}.")
    jobs = available_cpus() if jobs is None else jobs
    if jobs < 1:
        raise UsageError(f"At least one job is needed. Found {jobs}.")

    def one(index: int, matrices: tuple[NDArray[Any], NDArray[Any]] | None = None) -> EigenResult:
        with _naming(index, points):
            H, S = build(points[index]) if matrices is None else matrices
            del matrices
            return solve(
                H,
                S,
                eigenvectors=eigenvectors,
                window=window,
                index_range=index_range,
                s_threshold=s_threshold,
                overwrite=True,
            )

    return _run(one, build, points, jobs, progress)


def _run(
    one: Callable[..., EigenResult],
    build: Build,
    points: NDArray[np.float64],
    jobs: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[EigenResult]:
    """Yield `one(index)` for all points in order; the first matrices tell the size."""
    from threadpoolctl import threadpool_limits

    total = len(points)
    if total == 0:
        return
    with _naming(0, points):
        matrices = build(points[0])
    plan = plan_threads(len(matrices[0]), total, jobs)
    waiting: deque[Future[EigenResult]] = deque()
    pool = ThreadPoolExecutor(plan.workers, thread_name_prefix="dock-eigen")
    with threadpool_limits(limits=plan.blas_threads, user_api="blas"):
        try:
            waiting.append(pool.submit(one, 0, matrices))
            del matrices
            submitted = 1
            for done in range(1, total + 1):
                while submitted < total and len(waiting) < 2 * plan.workers:
                    waiting.append(pool.submit(one, submitted))
                    submitted += 1
                result = waiting.popleft().result()
                if progress is not None:
                    progress(done, total)
                yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _naming(index: int, points: NDArray[np.float64]) -> Iterator[None]:
    """Put the k-point before the message of an error."""
    at = f"k-point {index + 1} of {len(points)} ({', '.join(f'{x:.6g}' for x in points[index])})"
    try:
        yield
    except MemoryError as error:
        raise SolverError(f"{at}: not enough memory. Use fewer --jobs.") from error
    except (ConventionError, LayoutError, SolverError, UsageError) as error:
        raise type(error)(f"{at}: {error}") from error
    except DockError as error:
        error.add_note(at)
        raise
