"""One dense generalised eigenproblem H x = e S x.

H and S are Hermitian; of each the lower triangle is read. Real matrices are solved in real
arithmetic. Energies have the unit of H (eV in `dock`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.errors import ConvergenceError, LayoutError, SolverError, UsageError
from dock.states import lapack

__all__ = ["EigenResult", "is_positive_definite", "smallest_overlap_eigenvalue", "solve"]

Matrix = NDArray[Any]


@dataclass(frozen=True, eq=False)
class EigenResult:
    """The states of one problem.

    Attributes
    ----------
    eigenvalues : float64 (n,)
        Ascending, in the unit of H.
    eigenvectors : (N, n) or None
        Columns x with x† S x = 1, float64 or complex128.
    first_band
        The number of states below the first one here: 0 unless a window or range was asked for.
    smallest_overlap_eigenvalue
        The smallest eigenvalue of S, where it was computed (with `s_threshold`).
    n_removed
        The nearly dependent combinations of orbitals that `s_threshold` took out.
    """

    eigenvalues: NDArray[np.float64]
    eigenvectors: Matrix | None = None
    first_band: int = 0
    smallest_overlap_eigenvalue: float | None = None
    n_removed: int = 0

    def __post_init__(self) -> None:
        self.eigenvalues.flags.writeable = False
        if self.eigenvectors is not None:
            self.eigenvectors.flags.writeable = False


def solve(
    H: ArrayLike,
    S: ArrayLike,
    *,
    eigenvectors: bool = False,
    window: tuple[float, float] | None = None,
    index_range: tuple[int, int] | None = None,
    s_threshold: float | None = None,
    overwrite: bool = False,
) -> EigenResult:
    """Solve H x = e S x.

    Parameters
    ----------
    H, S : (N, N)
        Hermitian matrices; single precision is promoted.
    eigenvectors
        Return the vectors too.
    window
        Keep the states with emin ≤ e ≤ emax.
    index_range
        Keep the states first … stop − 1, counted from 0 (not together with `window`).
    s_threshold
        Solve in the span of the eigenvectors of S whose eigenvalue exceeds this, for a basis
        that is nearly linearly dependent. Costs a diagonalisation of S.
    overwrite
        Use the memory of H and S, whose contents are lost, where their type and order allow it.

    Returns
    -------
    EigenResult

    Raises
    ------
    LayoutError
        When H and S are not square matrices of one size.
    SolverError
        When S is not positive definite, a matrix is not finite, or LAPACK does not converge.
    UsageError
        For a window or range without meaning.

    Notes
    -----
    All states, or more than a third: divide and conquer (LAPACK's sygvd, hegvd). Vectors of
    fewer: reduction to a tridiagonal matrix, all its eigenvalues, and the vectors of those asked
    for by the method of relatively robust representations (stemr).

    Examples
    --------
    >>> result = solve([[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 0.25]])
    >>> result.eigenvalues.tolist()
    [1.0, 8.0]
    """
    a, b, uplo = _working_copies(H, S, overwrite=overwrite)
    select = _Selection.make(window, index_range, len(a))
    if s_threshold is not None:
        return select.cut(_solve_projected(a, b, uplo, s_threshold, eigenvectors=eigenvectors))
    if eigenvectors and select.is_part_of(len(a)):
        return _solve_some(a, b, uplo, select)
    return select.cut(_solve_all(a, b, uplo, eigenvectors=eigenvectors))


def smallest_overlap_eigenvalue(S: ArrayLike) -> float:
    """Return the smallest eigenvalue of an overlap matrix: positive for a usable basis.

    Raises
    ------
    LayoutError, SolverError
        As `solve`.
    """
    b = _hermitian(S, "S")
    values, info = lapack.eigh(np.array(b, order="F"), "L", vectors=False)
    _check_convergence(info, len(b))
    return float(values[0])


def is_positive_definite(S: ArrayLike) -> bool:
    """Tell whether a matrix has a Cholesky factor, that is, whether `solve` will accept it.

    Examples
    --------
    >>> is_positive_definite([[1.0, 0.5], [0.5, 1.0]]), is_positive_definite([[1, 2], [2, 1]])
    (True, False)
    """
    b = _hermitian(S, "S")
    return lapack.factorise(np.array(b, order="F"), "L") == 0


@dataclass(frozen=True)
class _Selection:
    """The states that were asked for."""

    window: tuple[float, float] | None
    index_range: tuple[int, int] | None

    @classmethod
    def make(
        cls, window: tuple[float, float] | None, index_range: tuple[int, int] | None, n: int
    ) -> _Selection:
        if window is not None and index_range is not None:
            raise UsageError("Give an energy window or a range of states, not both.")
        if window is not None and not window[0] < window[1]:
            raise UsageError(f"An energy window is (emin, emax) with emin < emax. Found {window}.")
        if index_range is not None and not 0 <= index_range[0] < index_range[1] <= n:
            raise UsageError(
                f"A range of states is (first, stop) with 0 ≤ first < stop ≤ {n}, the number of "
                f"orbitals. Found {index_range}."
            )
        return cls(window, index_range)

    @property
    def everything(self) -> bool:
        return self.window is None and self.index_range is None

    def is_part_of(self, n: int) -> bool:
        """Tell whether solving for the selected vectors alone is faster than for all (measured)."""
        if self.index_range is not None:
            return self.index_range[1] - self.index_range[0] <= n // 3
        return self.window is not None

    def range_in(self, values: NDArray[np.float64]) -> tuple[int, int]:
        """Return the first state and the one after the last among ascending eigenvalues."""
        if self.window is not None:
            first = int(np.searchsorted(values, self.window[0], side="left"))
            return first, int(np.searchsorted(values, self.window[1], side="right"))
        if self.index_range is not None:
            stop = min(self.index_range[1], len(values))
            return min(self.index_range[0], stop), stop
        return 0, len(values)

    def cut(self, result: EigenResult) -> EigenResult:
        """Return the selected part of a complete result."""
        if self.everything:
            return result
        first, stop = self.range_in(result.eigenvalues)
        vectors = result.eigenvectors
        return EigenResult(
            result.eigenvalues[first:stop].copy(),
            None if vectors is None else vectors[:, first:stop].copy(order="F"),
            first,
            result.smallest_overlap_eigenvalue,
            result.n_removed,
        )


def _solve_all(a: Matrix, b: Matrix, uplo: str, *, eigenvectors: bool) -> EigenResult:
    diagonal = b.diagonal().copy()
    values, info = lapack.eigh_generalised(a, b, uplo, vectors=eigenvectors)
    if info > len(a):
        raise _not_positive(_restored(b, diagonal, uplo))
    _check_convergence(info, len(a))
    return EigenResult(values, a if eigenvectors else None)


def _solve_some(a: Matrix, b: Matrix, uplo: str, select: _Selection) -> EigenResult:
    """Return selected states with vectors."""
    diagonal = b.diagonal().copy()
    if lapack.factorise(b, uplo) > 0:
        raise _not_positive(_restored(b, diagonal, uplo))
    lapack.to_standard(a, b, uplo)
    *reduced, _ = lapack.to_tridiagonal(a, uplo)
    values, info = lapack.tridiagonal_values(reduced[0], reduced[1])
    _check_convergence(info, len(a))
    first, stop = select.range_in(values)
    if first == stop:
        return EigenResult(np.empty(0), np.empty((len(a), 0), dtype=a.dtype), first)
    triple = (reduced[0], reduced[1], reduced[2])
    values, vectors, info = lapack.tridiagonal_vectors(triple, a, uplo, first, stop)
    _check_convergence(info, len(a))
    lapack.back_substitute(b, uplo, vectors)
    return EigenResult(values, vectors, first)


def _solve_projected(
    a: Matrix, b: Matrix, uplo: str, threshold: float, *, eigenvectors: bool
) -> EigenResult:
    """Solve in the span of the eigenvectors of S with eigenvalues above the threshold.

    With S U = U s, the columns of X = U s^(−1/2) are S-orthonormal; X† H X is diagonalised.
    """
    if not 0 < threshold < np.inf:
        raise UsageError(f"The overlap threshold must be a positive number. Found {threshold}.")
    full = _filled(a, uplo)
    overlaps, info = lapack.eigh(b, uplo, vectors=True)
    _check_convergence(info, len(b))
    removed = int(np.searchsorted(overlaps, threshold, side="right"))
    if removed == len(b):
        raise SolverError(
            f"No eigenvalue of S exceeds the threshold {threshold:g}: the largest is "
            f"{overlaps[-1]:.3g}. Give a smaller --s-threshold."
        )
    basis = b[:, removed:] / np.sqrt(overlaps[removed:])
    inner = np.asfortranarray(basis.conj().T @ (full @ basis))
    values, info = lapack.eigh(inner, "L", vectors=eigenvectors)
    _check_convergence(info, len(inner))
    vectors = np.asfortranarray(basis @ inner) if eigenvectors else None
    return EigenResult(values, vectors, 0, float(overlaps[0]), removed)


def _working_copies(H: ArrayLike, S: ArrayLike, *, overwrite: bool) -> tuple[Matrix, Matrix, str]:
    """Return H and S in the order and type that LAPACK wants, and the triangle to read.

    With `overwrite`, matrices in C order stay where they are: the transpose of the conjugate is
    the matrix itself, in Fortran order, with its lower triangle in the upper one.
    """
    a, b = _hermitian(H, "H"), _hermitian(S, "S")
    if a.shape != b.shape:
        raise LayoutError(
            f"H is {a.shape[0]} × {a.shape[0]} and S is {b.shape[0]} × {b.shape[0]}. "
            "Both must come from the same structure and basis (and spin: S is doubled with H)."
        )
    kind = np.result_type(a, b)
    if not overwrite:
        return np.array(a, dtype=kind, order="F"), np.array(b, dtype=kind, order="F"), "L"
    if not (a.flags.c_contiguous and b.flags.c_contiguous):
        return _writable(a, kind), _writable(b, kind), "L"
    a, b = _writable(a.T, kind), _writable(b.T, kind)
    if np.iscomplexobj(a):
        np.conjugate(a, out=a)
        np.conjugate(b, out=b)
    return a, b, "U"


def _writable(matrix: Matrix, kind: np.dtype[Any]) -> Matrix:
    """Return the matrix for LAPACK to destroy, in its own memory if that serves."""
    return np.require(matrix, dtype=kind, requirements=["F", "W", "A"])


def _hermitian(matrix: ArrayLike, name: str) -> Matrix:
    """Return a square matrix of finite numbers in double precision (not a copy if it is one)."""
    array = np.asarray(matrix)
    array = array.astype(np.result_type(array, np.float64), copy=False)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise LayoutError(f"{name} must be a square matrix. Found the shape {array.shape}.")
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(array.sum())
    if not finite:
        bad = np.argwhere(~np.isfinite(array))
        place = f" ({len(bad)} of {array.size}, first at row {bad[0][0]}, column {bad[0][1]})"
        raise SolverError(
            f"{name} holds NaN or infinite numbers{place if len(bad) else ''}. "
            "The file that it was read from is damaged, or the prediction diverged."
        )
    return array


def _filled(a: Matrix, uplo: str) -> Matrix:
    """Return the whole Hermitian matrix from one triangle."""
    triangle = np.tril(a, -1) if uplo == "L" else np.triu(a, 1)
    return triangle + triangle.conj().T + np.diag(a.diagonal().real)


def _restored(b: Matrix, diagonal: Matrix, uplo: str) -> Matrix:
    """Return S after a failed factorisation, from its diagonal and the untouched triangle."""
    full = _filled(b, "U" if uplo == "L" else "L")
    np.fill_diagonal(full, diagonal.real)
    return full


def _not_positive(S: Matrix) -> SolverError:
    smallest = smallest_overlap_eigenvalue(S)
    return SolverError(
        f"S is not positive definite: its smallest eigenvalue is {smallest:.3e} (of {len(S)}). "
        "Either the basis is overcomplete, or H and S belong to different structures, or a "
        "predicted overlap is inaccurate. Check that the files belong together; to leave out "
        "the nearly dependent combinations of orbitals, give --s-threshold 1e-5."
    )


def _check_convergence(info: int, n: int) -> None:
    if info > 0:
        raise ConvergenceError(
            f"The diagonalisation of a matrix of {n} orbitals did not converge (LAPACK: {info}). "
            "Check H and S for wrong numbers with: dock check"
        )
