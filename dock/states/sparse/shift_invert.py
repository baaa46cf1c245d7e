"""The solver ``sparse``: a part of the states of a large system, by direct factorisations.

Time and memory are known from the symbolic step, before a matrix is made; the step is done once
for all k-points.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import SolverError, UsageError
from dock.states.dense import Dense
from dock.states.memory import allowance, in_words
from dock.states.removal import own_overlap, require_threshold
from dock.states.solver import Eigenstates, Plan, Want
from dock.states.sparse.blas import blas_threads
from dock.states.sparse.factorisation import Analysis, Engine
from dock.states.sparse.fronts import eliminate
from dock.states.sparse.ordering import dissect
from dock.states.sparse.problem import SparseProblem
from dock.states.sparse.products import Products
from dock.states.sparse.schedule import Schedule
from dock.states.sparse.slicing import Found, Slicer, Tools, capacity, dependent_rows
from dock.states.speed import duration, multiplications_per_second
from dock.threads import LARGE, available_cpus

__all__ = ["ENGINES", "ShiftInvert"]


def _multifrontal() -> Engine:
    from dock.states.sparse.multifrontal import Multifrontal

    return Multifrontal()


def _pardiso() -> Engine:
    from dock.states.sparse.pardiso import Pardiso

    return Pardiso()


ENGINES: dict[str, Callable[[], Engine]] = {"multifrontal": _multifrontal, "pardiso": _pardiso}
"""What factors, by name."""

_TOLERANCE = 3e-7  # eV: the energies are then exact to some 1e-10 eV
_DOUBLE = 3e10  # multiplications of a factorisation up to which single precision gains nothing
_SHARE = 0.95  # of the memory that may be taken
_HOPELESS = 0.75  # of what a quick order of elimination takes: a careful one takes 0.88 or more
_HUGE = 50_000  # rows from which a careful order takes many seconds
_COLUMNS = 13.0  # vectors solved for, for each state (measured: 11 to 14)
_FACTOR, _SUBSTITUTE = 0.7, 0.35  # of the speed of a matrix product (measured)
_COUNTED = 2  # counts by inertia for each factor that solves


@dataclass(frozen=True)
class _Method:
    """How one problem is solved: the precision of factors, and what that takes."""

    kind: np.dtype[Any]
    n_bytes: int
    seconds: float

    @property
    def is_single(self) -> bool:
        return self.kind in (np.dtype(np.float32), np.dtype(np.complex64))


class ShiftInvert:
    """Shift-invert block Krylov with certificates.

    Parameters
    ----------
    engine
        A word of `ENGINES`, or an engine.
    precision
        ``single`` or ``double`` factors; by default single where double does not fit, or where
        it takes long. Energies and states are double in any case.
    """

    def __init__(self, engine: str | Engine = "multifrontal", precision: str = "auto") -> None:
        if isinstance(engine, str) and engine not in ENGINES:
            raise UsageError(f"there is no engine '{engine}'. There are: {', '.join(ENGINES)}.")
        if precision not in ("auto", "single", "double"):
            raise UsageError(f"a precision is auto, single or double. Found '{precision}'.")
        self._engine = ENGINES[engine]() if isinstance(engine, str) else engine
        self._precision = precision
        self._lock = threading.Lock()
        self._threads = available_cpus()
        self._analyses: tuple[Any, Analysis, Analysis] | None = None
        self._rough: tuple[Any, int, int] | None = None
        self._left_out: dict[float, NDArray[np.int64]] = {}

    @property
    def name(self) -> str:
        """The word of ``--solver``."""
        return "sparse"

    def plan(self, problem: SparseProblem, want: Want, n_problems: int, jobs: int) -> Plan:
        """Return memory, time and threads from the symbolic step.

        `UsageError` for what this solver cannot do; see `dock.states.solver.Solver`.
        """
        _require_part(problem, want)
        workers = max(1, min(jobs, n_problems)) if problem.size <= LARGE else 1
        self._threads = max(1, jobs // workers)
        hopeless = self.hopeless(problem, want, n_problems, jobs)
        if hopeless is not None:
            return hopeless
        method = self._method(problem, np.dtype(np.complex128), want, workers)
        precision = "single" if method.is_single else "double"
        return Plan(
            self.name,
            _reason(Dense().plan(problem, want, n_problems, jobs), problem),
            workers,
            self._threads,
            workers * method.n_bytes,
            method.seconds,
            f"{self._engine.name}, {precision} precision",
        )

    def hopeless(
        self, problem: SparseProblem, want: Want, n_problems: int, jobs: int
    ) -> Plan | None:
        """Return a plan of which a quick order says that there is no room for it by far, or None.

        So a large problem is refused within seconds, before its matrices are read.
        """
        roughly = self._rough_bytes(problem, want)
        if _HOPELESS * roughly <= _SHARE * allowance().n_bytes:
            return None
        reason = _reason(Dense().plan(problem, want, n_problems, jobs), problem)
        return Plan(self.name, reason, 1, jobs, roughly, None, "roughly")

    def solve(
        self, problem: SparseProblem, channel: int, k_frac: NDArray[np.float64], want: Want
    ) -> Eigenstates:
        """Return the states at one k-point, with their certificate.

        Raises
        ------
        UsageError
            For all states of a large problem, more than there are, or a removal that needs full
            matrices.
        ConvergenceError, SolverError
            Where states are missing, or H and S cannot be solved.
        """
        _require_part(problem, want)
        with blas_threads(1):  # threads share rows and fronts; those of BLAS wait for each other
            return self._solve(problem, channel, k_frac, want)

    def _solve(
        self, problem: SparseProblem, channel: int, k_frac: NDArray[np.float64], want: Want
    ) -> Eigenstates:
        """Return the states; see `solve`."""
        solves, counts = self._analysed(problem)
        H, S = problem.sparse(channel, k_frac, "upper")
        products = Products(H, S, threads=self._threads)
        del H, S
        _require_finite(products)
        kind = self._method(problem, products.dtype, want, 1).kind
        tools = Tools(solves, counts, kind, kind, _block(problem, want), _TOLERANCE)
        gone = np.empty(0, dtype=np.int64)
        if want.s_threshold is not None and want.removal == "orbital":
            gone = self._left_out_of(problem, tools, require_threshold(want.s_threshold))
            products = products.without(gone)
        slicer = Slicer(products, tools)
        if counts.n_operations < _DOUBLE:
            slicer.require_positive()
        return _answer(slicer.find(want), want, gone)

    def close(self) -> None:
        """Free the symbolic step."""
        with self._lock:
            if self._analyses is not None:
                _, solves, counts = self._analyses
                solves.close()
                if counts is not solves:
                    counts.close()
            self._analyses = None
            self._left_out.clear()

    def _analysed(self, problem: SparseProblem) -> tuple[Analysis, Analysis]:
        """Return what factors and what counts: the same, unless the engine cannot count."""
        with self._lock:
            if self._analyses is None or self._analyses[0] is not problem:
                pattern = problem.pattern()
                solves = self._engine.analyse(pattern, threads=self._threads)
                counts = solves
                if not solves.counts:
                    counts = _multifrontal().analyse(pattern, threads=self._threads)
                self._analyses = problem, solves, counts
            return self._analyses[1:]

    def _left_out_of(
        self, problem: SparseProblem, tools: Tools, threshold: float
    ) -> NDArray[np.int64]:
        """Return the orbitals that are left out at all k-points: those to be left out at Γ."""
        with self._lock:
            if threshold not in self._left_out:
                gamma = Products(*problem.sparse(0, np.zeros(3), "upper"), threads=self._threads)
                real = replace(tools, solve_kind=gamma.dtype, count_kind=gamma.dtype)
                self._left_out[threshold] = dependent_rows(gamma, real, threshold)
            return self._left_out[threshold]

    def _rough_bytes(self, problem: SparseProblem, want: Want) -> int:
        """Return about what single precision takes, within seconds; 0 where all is known soon."""
        if problem.size < _HUGE:
            return 0
        with self._lock:
            if self._rough is None or self._rough[0] is not problem:
                graph, sizes = problem.atom_graph()
                fronts = eliminate(graph, sizes, dissect(graph, sizes, quick=True))
                peak = Schedule.of(fronts, self._threads).peak(fronts, kept=True)
                self._rough = problem, peak, int(sizes @ (graph @ sizes)) // 2
        _, peak, nnz = self._rough
        kind = np.dtype(np.complex64)
        besides = _vector_bytes(problem, want, kind) + _matrix_bytes(nnz, 4, kind)
        return peak * kind.itemsize + besides

    def _method(
        self, problem: SparseProblem, dtype: np.dtype[Any], want: Want, workers: int
    ) -> _Method:
        """Return the precision of the factors for matrices of a type, and what it takes."""
        double, single = (self._cost(problem, kind, want) for kind in _kinds(dtype))
        if self._precision != "auto":
            return single if self._precision == "single" else double
        fits = workers * double.n_bytes <= _SHARE * allowance().n_bytes
        quick = self._analysed(problem)[0].n_operations <= _DOUBLE
        return double if fits and quick else single

    def _cost(self, problem: SparseProblem, kind: np.dtype[Any], want: Want) -> _Method:
        """Return memory and time of one problem with factors of a type."""
        solves, counts = self._analysed(problem)
        pattern, n_states = problem.pattern(), _expected(problem, want)
        peak = max(
            solves.memory(kind) + _vector_bytes(problem, want, kind),
            counts.memory(kind, kept=kind.itemsize < _double(kind)),  # rough counts are judged
        )
        matrices = _matrix_bytes(pattern.nnz, pattern.columns.itemsize, kind)
        fast = multiplications_per_second(kind.name) * self._threads**0.8
        slices = max(1, math.ceil(n_states / 96))
        work = solves.n_operations + _COUNTED * counts.n_operations
        solved = _COLUMNS * n_states * 2 * solves.n_entries
        seconds = (slices * work / _FACTOR + solved / _SUBSTITUTE) / fast
        applied = _COLUMNS * n_states * 4 * pattern.nnz
        seconds += applied / multiplications_per_second("complex128") / self._threads**0.8
        return _Method(kind, matrices + peak, seconds)


def _vector_bytes(problem: SparseProblem, want: Want, kind: np.dtype[Any]) -> int:
    """Return what V, K V and S V take, with what a restart and a block need, and the states."""
    n_states, block = _expected(problem, want), _block(problem, want)
    columns = 3 * capacity(n_states, block) + 12 * block + n_states
    return problem.size * _double(kind) * columns


def _matrix_bytes(nnz: int, index: int, kind: np.dtype[Any]) -> int:
    """Return what triangles of H and S of `nnz` entries take, and what is factored."""
    return nnz * (2 * _double(kind) + index + kind.itemsize)


def _double(kind: np.dtype[Any]) -> int:
    """Return the bytes of a number of the same type in double precision."""
    return 16 if kind.kind == "c" else 8


def _reason(full: Plan, problem: SparseProblem) -> str:
    """Return what full matrices would take: memory where they do not fit, else time."""
    fits = full.memory_bytes <= _SHARE * allowance().n_bytes
    seconds = full.seconds or 0.0
    took = duration(seconds) if fits else in_words(full.memory_bytes)
    return f"full matrices of {problem.size} orbitals would take {took}"


def _kinds(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Return the double and the single precision of a type."""
    if dtype.kind == "c":
        return np.dtype(np.complex128), np.dtype(np.complex64)
    return np.dtype(np.float64), np.dtype(np.float32)


def _block(problem: SparseProblem, want: Want) -> int:
    """Return how many vectors are solved for at once: more where reading the factor is the cost."""
    return 8 if problem.size < 10_000 or _expected(problem, want) < 24 else 16


def _expected(problem: SparseProblem, want: Want) -> int:
    """Return about how many states are asked for; a window's are not known beforehand."""
    if want.nearest is not None:
        return min(want.nearest[0], problem.size)
    if want.bands is not None:
        return min(want.bands[1], problem.size) - want.bands[0]
    return min(64, problem.size) if want.window is not None else problem.size


def _require_part(problem: SparseProblem, want: Want) -> None:
    """Refuse what a sparse solver cannot do, or should not."""
    n = problem.size
    if want.everything and n > LARGE:
        raise UsageError(
            f"the solver 'sparse' finds a part of the states, and all {n} are asked for. Pass "
            "window=(emin, emax) or states=40, or solver='dense'."
        )
    if want.s_threshold is not None and want.removal == "project":
        raise UsageError(
            "the eigenvectors of S are no sparse matrix, so that the solver 'sparse' cannot "
            "project on them. Pass removal='orbital' or removal='window', or solver='dense'."
        )


def _require_finite(products: Products) -> None:
    for name, values in (("H", products.H), ("S", products.S)):
        if not np.isfinite(values.sum()):
            raise SolverError(
                f"{name} holds NaN or infinite numbers. The file that it was read from is "
                "damaged, or the prediction diverged."
            )


def _answer(found: Found, want: Want, gone: NDArray[np.int64]) -> Eigenstates:
    """Return the states as they were asked for, without those of nearly dependent orbitals."""
    energies, vectors, removed = found.energies, found.vectors, len(gone)
    vectors[gone] = 0  # they have converged to that
    if want.s_threshold is not None and want.removal == "window":
        kept = own_overlap(vectors) > require_threshold(want.s_threshold)
        removed = int(np.count_nonzero(~kept))
        energies, vectors = energies[kept], np.asfortranarray(vectors[:, kept])
    return Eigenstates(
        energies,
        vectors if want.vectors else None,
        found.n_below,
        n_removed=removed,
        certificate=found.certificate,
    )
