"""Factorisations of H − σS over the processes of a team, and the states that they count below σ."""

from __future__ import annotations

from typing import Any

import numpy as np

from dock.errors import ConvergenceError, SolverError
from dock.states.slepc.library import Library
from dock.states.slepc.rows import random_vector

__all__ = ["OPTIONS", "Counter", "SingularError", "check_mumps", "configure"]

_PREFIX = "dock_"
_EXACT = 1e-9  # backward error from which a factorisation without pivoting does not count
_OUT_OF_SPACE = (-8, -9)  # MUMPS: its estimate of the memory was too small
_NO_MEMORY = (-13,)
EXTRA_SPACE = (35, 100, 300)
"""Per cent of memory above its estimate that MUMPS gets, one after another (ICNTL(14))."""

OPTIONS = {
    "mat_superlu_dist_rowperm": "NOROWPERM",  # else U has another inertia
    "mat_superlu_dist_equil": "0",
    "mat_superlu_dist_replacetinypivot": "0",
    "mat_superlu_dist_iterrefine": "0",
}


class SingularError(SolverError):
    """A shift lies on a state, to the last bit."""


def configure(library: Library, prefix: str, extra_space: int) -> None:
    """Set the options of factorisations whose names begin with a prefix."""
    options = library.PETSc.Options()
    for name, value in OPTIONS.items():
        options[prefix + name] = value
    options[prefix + "mat_mumps_icntl_14"] = extra_space
    if not library.is_complex:  # what inertia needs
        options[prefix + "mat_mumps_icntl_13"] = 1
        options[prefix + "mat_mumps_icntl_24"] = 1


def check_mumps(factor: Any, n: int) -> bool:
    """Say whether a factorisation by MUMPS stands; False asks for more space.

    `SolverError` where that would not help.
    """
    code, detail = factor.getMumpsInfog(1), factor.getMumpsInfog(2)
    if code >= 0:
        return True
    if code in _OUT_OF_SPACE:
        return False
    if code in _NO_MEMORY:
        raise SolverError(
            f"MUMPS: not enough memory to factor a matrix of {n} rows: a process could not get "
            f"{_bytes(detail) / 1e9:.1f} GB. Use more machines, or fewer processes on each."
        )
    if code == -10:
        raise SingularError(f"MUMPS: the matrix of {n} rows is singular. Move the shift.")
    raise SolverError(f"MUMPS cannot factor a matrix of {n} rows: error {code}, {detail}.")


def _bytes(size: int) -> int:
    """Return what MUMPS means by a size: numbers, or millions of them where negative."""
    return (size if size >= 0 else -size * 10**6) * 16


class Counter:
    """Counts the states below an energy by inertia.

    MUMPS knows inertia of real symmetric matrices only. SuperLU_DIST factors complex ones too;
    without exchange of rows its U has as many negative diagonal elements as the matrix negative
    eigenvalues, provided that the factorisation is exact. How exact it is, is measured on a random
    vector each time.

    Raises
    ------
    SolverError
        Where this build of PETSc cannot count.
    """

    def __init__(self, library: Library, H: Any, S: Any) -> None:
        self.library, self.H, self.S = library, H, S
        self.n = H.getSize()[0]
        self.worst = 0.0
        self.known: dict[float, int] = {}
        if library.is_complex and not library.superlu_dist:
            raise SolverError(
                "this PETSc cannot count states: it is complex and was built without SuperLU_DIST. "
                "Install a build with it (conda-forge's has it)."
            )

    @property
    def name(self) -> str:
        """The library that counts."""
        return "SuperLU_DIST" if self.library.is_complex else "MUMPS"

    def below(self, energy: float) -> int:
        """Return the number of states below an energy (eV); it is factored once.

        `ConvergenceError` where the factorisation is not exact enough to count.
        """
        if energy not in self.known:
            self.known[energy] = self._count(energy)
        return self.known[energy]

    def _count(self, energy: float) -> int:
        spaces = EXTRA_SPACE[:1] if self.library.is_complex else EXTRA_SPACE
        for space in spaces:
            count = self._factor(energy, space)
            if count is not None:
                return count
        raise ConvergenceError(
            f"{self.name} cannot count the states below {energy:.6f} eV exactly. Move the end of "
            "the window by 1 meV, or use --solver sparse."
        )

    def _factor(self, energy: float, space: int) -> int | None:
        PETSc = self.library.PETSc
        configure(self.library, _PREFIX + "count_", space)
        shifted = self.H.copy()
        shifted.axpy(-energy, self.S, PETSc.Mat.Structure.SAME_NONZERO_PATTERN)
        pc = PETSc.PC().create(shifted.comm)
        try:
            pc.setOptionsPrefix(_PREFIX + "count_")
            pc.setOperators(shifted)
            pc.setType("lu" if self.library.is_complex else "cholesky")
            pc.setFactorSolverType("superlu_dist" if self.library.is_complex else "mumps")
            pc.setFactorSetUpSolverType()
            pc.setFromOptions()
            pc.setUp()
            factor = pc.getFactorMatrix()
            try:
                return self._read(shifted, pc, factor)
            finally:
                factor.destroy()  # else it would live until PETSc collects its garbage
        finally:
            pc.destroy()
            shifted.destroy()

    def _read(self, shifted: Any, pc: Any, factor: Any) -> int | None:
        """Return the negative eigenvalues of a matrix by its factor; None if it is not exact."""
        if not self.library.is_complex:
            return factor.getInertia()[0] if check_mumps(factor, self.n) else None
        error = _backward_error(self.library.PETSc, shifted, pc)
        self.worst = max(self.worst, error)
        if not error < _EXACT:
            return None
        diagonal = self.library.diagonal_of_factor(factor, self.n)
        return int(np.count_nonzero(diagonal.real < 0))


def _backward_error(PETSc: Any, matrix: Any, pc: Any) -> float:
    """Return ‖A x − b‖ / (‖A‖ ‖x‖) of a solution for a random vector."""
    right, found, rest = matrix.createVecLeft(), matrix.createVecRight(), matrix.createVecLeft()
    matrix.mult(random_vector(matrix, 3), right)
    pc.apply(right, found)
    matrix.mult(found, rest)
    rest.axpy(-1.0, right)
    size = matrix.norm(PETSc.NormType.INFINITY) * found.norm()
    return float(rest.norm() / size) if size else np.inf
