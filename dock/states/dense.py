"""One dense generalised eigenproblem H x = e S x.

H and S are Hermitian; of each the lower triangle is read. Real matrices are solved in real
arithmetic. Energies have the unit of H (eV in `dock`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.errors import ConvergenceError, LayoutError, SolverError, UsageError
from dock.states import lapack
from dock.states.memory import allowance
from dock.states.removal import (
    dependent_orbitals,
    nothing_left,
    own_overlap,
    require_threshold,
)
from dock.states.solver import Certificate, Eigenproblem, Eigenstates, Plan, Want
from dock.states.speed import multiplications_per_second
from dock.threads import plan_threads

__all__ = ["Dense", "smallest_overlap_eigenvalue", "solve"]

Matrix = NDArray[Any]

_COMPLETE = Certificate("all energies by LAPACK")

# Multiplications over N³ as if all were as fast as in a matrix product (measured, complex).
_WORK, _WORK_VECTORS = 5.0, 14.0


@dataclass(frozen=True)
class Dense:
    """LAPACK on full matrices: every state, certain to be complete, N³ in time and N² in memory.

    Orbitals that are left out (``removal='orbital'``) are chosen at Γ, for all k-points.
    """

    _left_out: dict[tuple[int, float], NDArray[np.int64]] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """The word of ``--solver``."""
        return "dense"

    def plan(self, problem: Eigenproblem, want: Want, n_problems: int, jobs: int) -> Plan:
        """Return memory and threads: four matrices of a complex problem, two more with vectors."""
        n = problem.size
        threads = plan_threads(n, n_problems, jobs)
        memory = n * n * 16 * (6 if want.vectors else 4)
        # One problem after another where so many at once have no room.
        workers = max(1, min(threads.workers, allowance().n_bytes // max(memory, 1)))
        blas = threads.blas_threads * max(1, threads.workers // workers)
        fast = multiplications_per_second("complex128", n)
        seconds = (_WORK_VECTORS if want.vectors else _WORK) * n**3 / fast / blas**0.8
        reason = f"{n} orbitals fit into full matrices"
        return Plan(self.name, reason, workers, blas, workers * memory, seconds)

    def solve(
        self, problem: Eigenproblem, channel: int, k_frac: NDArray[np.float64], want: Want
    ) -> Eigenstates:
        """Return the states at one k-point; see the function `solve`."""
        H, S = problem.dense(channel, k_frac)
        if want.s_threshold is None or want.removal != "orbital":
            return solve(H, S, want, overwrite=True)
        key = id(problem), require_threshold(want.s_threshold)
        if key not in self._left_out:
            self._left_out[key] = dependent_orbitals(problem.dense(channel, np.zeros(3))[1], key[1])
        return _solve_without(H, S, self._left_out[key], want)

    def close(self) -> None:
        """Forget which orbitals are left out."""
        self._left_out.clear()


def solve(
    H: ArrayLike, S: ArrayLike, want: Want | None = None, *, overwrite: bool = False
) -> Eigenstates:
    """Solve H x = e S x.

    Parameters
    ----------
    H, S : (N, N)
        Hermitian matrices; single precision is promoted.
    want
        Which states, with or without vectors; the default is all energies.
    overwrite
        Use the memory of H and S, whose contents are lost, where their type and order allow it.

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
    >>> solve([[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 0.25]]).energies.tolist()
    [1.0, 8.0]
    """
    a, b, uplo = _working_copies(H, S, overwrite=overwrite)
    want = want or Want()
    if want.bands is not None and want.bands[1] > len(a):
        raise UsageError(
            f"A range of states is (first, stop) with 0 ≤ first < stop ≤ {len(a)}, the number of "
            f"orbitals. Found {want.bands}."
        )
    if want.s_threshold is not None:
        return _solve_removed(a, b, uplo, want)
    if want.vectors and _is_small_part(want, len(a)):
        return _solve_some(a, b, uplo, want)
    return _cut(_solve_all(a, b, uplo, vectors=want.vectors), want)


def smallest_overlap_eigenvalue(S: ArrayLike) -> float:
    """Return the smallest eigenvalue of an overlap matrix: positive for a usable basis.

    It raises as `solve`.
    """
    b = _hermitian(S, "S")
    values, info = lapack.eigh(np.array(b, order="F"), "L", vectors=False)
    _check_convergence(info, len(b))
    return float(values[0])


def _is_small_part(want: Want, n: int) -> bool:
    """Tell whether solving for the wanted vectors alone is faster than for all (measured)."""
    if want.bands is not None:
        return want.bands[1] - want.bands[0] <= n // 3
    if want.nearest is not None:
        return want.nearest[0] <= n // 3
    return want.window is not None


def _cut(result: Eigenstates, want: Want) -> Eigenstates:
    """Return the wanted part of a complete result."""
    if want.everything or (want.nearest is not None and not want.vectors):
        return result  # all energies are there at no extra cost
    first, stop = want.within(result.energies)
    vectors = result.vectors
    return replace(
        result,
        energies=result.energies[first:stop].copy(),
        vectors=None if vectors is None else vectors[:, first:stop].copy(order="F"),
        n_below=first,
    )


def _solve_all(a: Matrix, b: Matrix, uplo: str, *, vectors: bool) -> Eigenstates:
    diagonal = b.diagonal().copy()
    energies, info = lapack.eigh_generalised(a, b, uplo, vectors=vectors)
    if info > len(a):
        raise _not_positive(_restored(b, diagonal, uplo))
    _check_convergence(info, len(a))
    return Eigenstates(energies, a if vectors else None, certificate=_COMPLETE)


def _solve_some(a: Matrix, b: Matrix, uplo: str, want: Want) -> Eigenstates:
    """Return the wanted states with vectors."""
    diagonal = b.diagonal().copy()
    if lapack.factorise(b, uplo) > 0:
        raise _not_positive(_restored(b, diagonal, uplo))
    lapack.to_standard(a, b, uplo)
    main, off_diagonal, tau, _ = lapack.to_tridiagonal(a, uplo)
    energies, info = lapack.tridiagonal_values(main, off_diagonal)
    _check_convergence(info, len(a))
    first, stop = want.within(energies)
    if first == stop:
        nothing = np.empty((len(a), 0), dtype=a.dtype)
        return Eigenstates(np.empty(0), nothing, first, certificate=_COMPLETE)
    reduced = main, off_diagonal, tau
    energies, vectors, info = lapack.tridiagonal_vectors(reduced, a, uplo, first, stop)
    _check_convergence(info, len(a))
    lapack.back_substitute(b, uplo, vectors)
    return Eigenstates(energies, vectors, first, certificate=_COMPLETE)


def _solve_removed(a: Matrix, b: Matrix, uplo: str, want: Want) -> Eigenstates:
    """Solve without what is nearly dependent, in the way that is asked for."""
    threshold = require_threshold(want.s_threshold)
    if want.removal == "project":
        return _cut(_solve_projected(a, b, uplo, want), want)
    if want.removal == "orbital":
        S = _filled(b, uplo)
        return _solve_without(_filled(a, uplo), S, dependent_orbitals(S, threshold), want)
    found = _cut(_solve_all(a, b, uplo, vectors=True), replace(want, vectors=True))
    vectors = np.empty((len(a), 0)) if found.vectors is None else found.vectors
    kept = own_overlap(vectors) > threshold
    return replace(
        found,
        energies=found.energies[kept],
        vectors=np.asfortranarray(vectors[:, kept]) if want.vectors else None,
        n_removed=int(np.count_nonzero(~kept)),
    )


def _solve_without(H: Matrix, S: Matrix, gone: NDArray[np.int64], want: Want) -> Eigenstates:
    """Solve without some orbitals; their coefficients are zero."""
    kept = np.setdiff1d(np.arange(len(H)), gone)
    places = np.ix_(kept, kept)
    found = solve(H[places], S[places], replace(want, s_threshold=None), overwrite=True)
    vectors = None
    if found.vectors is not None:
        vectors = np.zeros((len(H), len(found.energies)), found.vectors.dtype, order="F")
        vectors[kept] = found.vectors
    return replace(found, vectors=vectors, n_removed=len(gone))


def _solve_projected(a: Matrix, b: Matrix, uplo: str, want: Want) -> Eigenstates:
    """Solve in the span of the eigenvectors of S with eigenvalues above the threshold.

    With S U = U s, the columns of X = U s^(−1/2) are S-orthonormal; X† H X is diagonalised.
    """
    threshold = require_threshold(want.s_threshold)
    full = _filled(a, uplo)
    overlaps, info = lapack.eigh(b, uplo, vectors=True)
    _check_convergence(info, len(b))
    removed = int(np.searchsorted(overlaps, threshold, side="right"))
    if removed == len(b):
        raise nothing_left(threshold, float(overlaps[-1]))
    basis = b[:, removed:] / np.sqrt(overlaps[removed:])
    inner = np.asfortranarray(basis.conj().T @ (full @ basis))
    energies, info = lapack.eigh(inner, "L", vectors=want.vectors)
    _check_convergence(info, len(inner))
    vectors = np.asfortranarray(basis @ inner) if want.vectors else None
    smallest = float(overlaps[0])
    return Eigenstates(energies, vectors, 0, smallest, removed, certificate=_COMPLETE)


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
        "the nearly dependent combinations of orbitals, pass s_threshold=1e-5."
    )


def _check_convergence(info: int, n: int) -> None:
    if info > 0:
        raise ConvergenceError(
            f"The diagonalisation of a matrix of {n} orbitals did not converge (LAPACK: {info}). "
            "Check H and S for wrong numbers with: dock check"
        )
