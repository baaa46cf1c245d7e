"""PARDISO of Intel's MKL as an engine: the `mkl` wheel, called through ctypes.

Half of the matrix is stored: type −2 (real symmetric) and −4 (complex Hermitian), in single or
double precision. The library reorders a pattern by METIS; the order is kept for all types.

Notes
-----
Bunch–Kaufman pivots (``iparm(21)``) are always asked for. With 1 × 1 pivots alone the solutions of
type −4 are wrong by 1e-3 already at 364 orbitals, without a word, and so are the counts that it
reports then. With Bunch–Kaufman pivots type −4 reports no count, and the diagonal that
``pardiso_getdiag`` returns does not give it: pivots of two rows lack their off-diagonal. So a
complex factor counts nothing here, and a real one as it should.

References
----------
oneMKL Developer Reference for C, "oneMKL PARDISO": parameters and their numbers, counted from 1
there and here.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.errors import LayoutError, SolverError, UsageError
from dock.extras import require_library
from dock.states.sparse.factorisation import Pattern

__all__ = ["Pardiso"]

_TYPES = {"f": -2, "c": -4}  # mtype: real symmetric indefinite, complex Hermitian indefinite
_ORDER, _FACTOR, _SOLVE, _FORGET_VALUES, _FORGET_ALL = 11, 22, 33, 0, -1  # phases
_PIVOT_EXPONENT = {np.dtype(np.float64): 13, np.dtype(np.float32): 7}
_ERRORS = {
    -1: "the input is inconsistent",
    -2: "not enough memory",
    -3: "the pattern cannot be reordered",
    -4: "a pivot is zero",
    -7: "a diagonal block is singular",
    -8: "a 32-bit integer overflows",
}


class Pardiso:
    """The engine ``pardiso``; a `DependencyError` where the `mkl` wheel is not installed."""

    def __init__(self) -> None:
        _library()

    @property
    def name(self) -> str:
        """The word by which it is asked for."""
        return "pardiso"

    def analyse(
        self, pattern: Pattern, *, threads: int, order: NDArray[np.int64] | None = None
    ) -> PardisoAnalysis:
        """Order a pattern by METIS, or take an order: the rows as they are eliminated.

        Ordering happens when the first type of numbers is known. `LayoutError` for a pattern
        that is no upper triangle with its diagonal.
        """
        starts, columns = pattern.starts, pattern.columns
        if len(starts) != pattern.n + 1 or starts[-1] != pattern.nnz or pattern.n == 0:
            raise LayoutError(
                f"a pattern of {pattern.n} rows has {pattern.n + 1} starts, the last of them its "
                f"number of entries. Found {len(starts)} starts and {pattern.nnz} entries."
            )
        if not np.array_equal(columns[starts[:-1]], np.arange(pattern.n)):
            raise LayoutError("each row of a pattern must begin with its diagonal.")
        return PardisoAnalysis(pattern, threads, order)


class PardisoAnalysis:
    """An order of elimination; see `dock.states.sparse.factorisation.Analysis`.

    Several factors may be alive at once, also in several threads: each has a handle of the
    library of its own, and a handle that is free again keeps its symbolic step.
    """

    counts = False

    def __init__(
        self,
        pattern: Pattern,
        threads: int,
        order: NDArray[np.int64] | None,
        integer: np.dtype[Any] | None = None,
    ) -> None:
        self.n, self.nnz, self.threads = pattern.n, pattern.nnz, threads
        # Indices of 64 bits only where they must be: they are held as long as the factor.
        self._integer = integer or np.dtype(np.int32 if self.nnz < 2**31 - 1 else np.int64)
        self._starts = np.ascontiguousarray(pattern.starts, dtype=self._integer)
        self._columns = np.ascontiguousarray(pattern.columns, dtype=self._integer)
        self._order = None if order is None else np.ascontiguousarray(order, dtype=self._integer)
        self._closed = False
        self._idle: list[_Handle] = []
        self._lock = threading.Lock()
        self._costs: dict[np.dtype[Any], _Cost] = {}

    @property
    def n_entries(self) -> int:
        """Entries of one triangle of the factor."""
        return self._any_cost().n_entries

    @property
    def n_operations(self) -> float:
        """Multiplications with addition of one factorisation."""
        return self._any_cost().n_operations

    def memory(self, kind: np.dtype[Any], *, kept: bool = True) -> int:
        """Return the bytes at the peak, values and indices included; all factors are kept."""
        del kept  # the library has no other way
        kind = _checked(kind)
        if kind not in self._costs:
            self._give_back(self._take(kind))
        indices = self._starts.nbytes + self._columns.nbytes
        return self._costs[kind].peak_bytes + indices + self.nnz * kind.itemsize

    def factor(self, values: NDArray[Any], kind: np.dtype[Any]) -> PardisoFactor:
        """Factor the matrix of the pattern's values (nnz,) in a type: float32 … complex128.

        `SolverError` where memory ends, a pivot is zero or a value is not finite; `UsageError`
        for another type, or complex values for a real one.
        """
        kind = _checked(kind)
        held = _values(values, kind, self.nnz)
        handle = self._take(kind)
        try:
            handle.factor(held)
        except SolverError:
            handle.close()
            raise
        return PardisoFactor(self, handle)

    def count_negative(self, values: NDArray[Any], kind: np.dtype[Any]) -> tuple[int, int]:
        """Return the negative eigenvalues and the moved pivots of a real matrix.

        `UsageError` for a complex type, which the library does not count in.
        """
        if _checked(kind).kind == "c":
            raise UsageError(
                "PARDISO does not count the negative eigenvalues of complex Hermitian matrices. "
                "Use the multifrontal engine to count."
            )
        factor = self.factor(values, kind)
        try:
            return int(factor.n_negative or 0), factor.n_perturbed
        finally:
            factor.close()

    def close(self) -> None:
        """Free what the analysis holds; factors that are alive stay usable."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for handle in idle:
            handle.close()

    def _any_cost(self) -> _Cost:
        """Return what the symbolic step of any type said."""
        if not self._costs:
            self._give_back(self._take(np.dtype(np.complex64)))
        return next(iter(self._costs.values()))

    def _take(self, kind: np.dtype[Any]) -> _Handle:
        """Return a handle with its symbolic step done, one that is idle if there is."""
        with self._lock:
            # What other types keep is memory; with the order known it is soon made again.
            kept = [handle for handle in self._idle if handle.kind == kind]
            for handle in self._idle:
                if handle.kind != kind:
                    handle.close()
            self._idle = kept
            if kept:
                return kept.pop()
            handle = _Handle(self._starts, self._columns, kind, self.threads)
            self._costs[kind], self._order = handle.analyse(self._order)
            return handle

    def _give_back(self, handle: _Handle) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(handle)
                return
        handle.close()


class PardisoFactor:
    """A factored matrix; see `dock.states.sparse.factorisation.Factor`.

    `n_negative` is None for a complex matrix.
    """

    def __init__(self, analysis: PardisoAnalysis, handle: _Handle) -> None:
        self._analysis, self._handle = analysis, handle
        self.n_negative = handle.n_negative
        self.n_perturbed = handle.n_perturbed

    def solve(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return A⁻¹ of an (n, m) block, in the precision of the factor, without refinement."""
        if self._handle is None:
            raise UsageError("this factor was closed.")
        return self._handle.solve(block)

    def close(self) -> None:
        """Free the factor; its symbolic step goes back to the analysis."""
        handle, self._handle = self._handle, None  # type: ignore[assignment]
        if handle is not None:
            handle.forget_values()
            self._analysis._give_back(handle)


class _Cost(NamedTuple):
    """What the symbolic step of a type tells."""

    peak_bytes: int
    n_entries: int
    n_operations: float


class _Handle:
    """One instance of the library: a symbolic step, and at most one factor."""

    def __init__(
        self,
        starts: NDArray[Any],
        columns: NDArray[Any],
        kind: np.dtype[Any],
        threads: int,
    ) -> None:
        self.kind = kind
        self.threads = threads
        self._starts, self._columns = starts, columns
        self._n = len(starts) - 1
        self._integer = starts.dtype
        self._instance = np.zeros(64, dtype=np.int64)
        self._order = np.zeros(self._n, dtype=self._integer)
        self._lock = threading.Lock()
        self._open = False
        self._iparm = np.zeros(64, dtype=self._integer)
        self._set(1, 1)  # no defaults
        self._set(2, 2)  # METIS
        self._set(10, _PIVOT_EXPONENT[np.finfo(kind).dtype])  # smaller pivots are moved to 10^−x
        self._set(21, 3)  # Bunch–Kaufman pivots, no refinement by the library
        self._set(28, int(np.finfo(kind).dtype == np.float32))
        self._set(35, 1)  # indices count from 0

    def analyse(self, order: NDArray[Any] | None) -> tuple[_Cost, NDArray[Any]]:
        """Do the symbolic step; return its cost and the order of elimination."""
        if order is None:
            self._set(5, 2)  # hand the order out
        else:
            self._set(5, 1)  # take the order
            self._order = order
        self._set(18, -1)  # report the fill
        self._set(19, -1)  # report the work
        self._call(_ORDER)
        self._open = True
        peak = max(self._get(15), self._get(16) + self._get(17)) * 1024
        bound = self._get(17) * 1024 // self.kind.itemsize
        fill = self._get(18)
        if fill <= 0 or bound >= 2**32:  # it did not fit into 32 bits
            fill = bound
        flops = 8 if self.kind.kind == "c" else 2  # of a multiplication with addition
        return _Cost(peak, fill, self._get(19) * 1e6 / flops), self._order

    def factor(self, values: NDArray[Any]) -> None:
        """Factor a matrix of values (nnz,)."""
        self._call(_FACTOR, values)
        # The library counts in real matrices only.
        self.n_negative = None if self.kind.kind == "c" else self._get(23)
        self.n_perturbed = self._get(14)

    def solve(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return the solution of an (n, m) block, in the type of the handle."""
        if block.ndim != 2 or len(block) != self._n:
            raise LayoutError(f"right sides are ({self._n}, m), found {block.shape}.")
        if block.dtype.kind == "c" != self.kind.kind:
            raise UsageError("a real factor solves for real right sides, found complex ones.")
        right = np.array(block, dtype=self.kind, order="F")
        out = np.empty_like(right)
        if block.shape[1]:
            self._call(_SOLVE, None, right, out)
        return out

    def forget_values(self) -> None:
        """Free the factor and keep the symbolic step."""
        self._call(_FORGET_VALUES)

    def close(self) -> None:
        """Free everything."""
        if self._open:
            self._open = False
            self._call(_FORGET_ALL)

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.close()

    def _set(self, number: int, value: int) -> None:
        self._iparm[number - 1] = value

    def _get(self, number: int) -> int:
        return int(self._iparm[number - 1])

    def _call(
        self,
        phase: int,
        values: NDArray[Any] | None = None,
        right: NDArray[Any] | None = None,
        out: NDArray[Any] | None = None,
    ) -> None:
        """Run a phase; the interpreter lock is free meanwhile."""
        library = _library()
        wide = self._integer == np.int64
        integer: Any = ctypes.c_int64 if wide else ctypes.c_int32
        routine = library.pardiso_64 if wide else library.pardiso
        error = integer(0)
        n_right = 1 if right is None else right.shape[1]
        one, n = ctypes.byref(integer(1)), ctypes.byref(integer(self._n))
        with self._lock:
            # Threads of the calling thread only: others have their own.
            before = library.MKL_Set_Num_Threads_Local(self.threads)
            try:
                routine(
                    _address(self._instance),
                    one,  # as many factors as the handle holds,
                    one,  # and which of them
                    ctypes.byref(integer(_TYPES[self.kind.kind])),
                    ctypes.byref(integer(phase)),
                    n,
                    _address(values),
                    _address(self._starts),
                    _address(self._columns),
                    _address(self._order),
                    ctypes.byref(integer(n_right)),
                    _address(self._iparm),
                    ctypes.byref(integer(0)),  # print nothing
                    _address(right),
                    _address(out),
                    ctypes.byref(error),
                )
            finally:
                library.MKL_Set_Num_Threads_Local(before)
        if error.value and phase > 0:
            raise SolverError(self._sentence(phase, error.value))

    def _sentence(self, phase: int, code: int) -> str:
        step = {_ORDER: "order", _FACTOR: "factor", _SOLVE: "solve with"}[phase]
        why = _ERRORS.get(code, f"error {code}")
        remedy = {
            -2: "Ask for single precision, or give the process more memory.",
            -4: "Move the shift away from an eigenvalue.",
            -7: "Move the shift away from an eigenvalue.",
        }.get(code, "Use the multifrontal engine.")
        return f"PARDISO cannot {step} a matrix of {self._n} rows: {why}. {remedy}"


def _checked(kind: np.dtype[Any]) -> np.dtype[Any]:
    """Return one of the four types; a `UsageError` names them."""
    kind = np.dtype(kind)
    if kind.char not in "fdFD":
        raise UsageError(f"a factor is float32, float64, complex64 or complex128, not {kind}.")
    return kind


def _values(values: NDArray[Any], kind: np.dtype[Any], nnz: int) -> NDArray[Any]:
    """Return the values in a type, contiguous; refuse what is not finite or would lose a part."""
    if values.shape != (nnz,):
        raise LayoutError(f"the pattern has {nnz} entries. Found values {values.shape}.")
    if values.dtype.kind == "c" != kind.kind:
        raise UsageError("complex values need a complex factor.")
    with np.errstate(over="ignore", invalid="ignore"):
        held = np.ascontiguousarray(values, dtype=kind)
        finite = np.isfinite(held.sum())
    if not (finite or np.isfinite(held).all()):
        raise SolverError(f"H − σS holds numbers that are not finite in {kind}.")
    return held


def _address(array: NDArray[Any] | None) -> Any:
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


@cache
def _library() -> ctypes.CDLL:
    """Load MKL; it finds its other libraries beside the first."""
    return require_library("mkl", "libmkl_rt", "mkl")
