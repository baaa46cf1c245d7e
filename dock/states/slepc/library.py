"""PETSc and SLEPc: loaded once, on the MPI that started this process, or refused with a reason."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from dock.errors import DependencyError, SolverError
from dock.states.ranks import Team

__all__ = ["Library", "load", "require_installed"]

_INSTALL = (
    "Install it with: conda install -c conda-forge 'slepc=*=complex*' slepc4py; on Debian as the "
    "page 'Install SLEPc' of the documentation says."
)


class Library(NamedTuple):
    """The modules petsc4py.PETSc and slepc4py.SLEPc, and what this build of them can do.

    Attributes
    ----------
    is_complex
        Whether its numbers are complex.
    mumps, superlu_dist
        Whether it has these factorisations.
    """

    PETSc: Any
    SLEPc: Any
    is_complex: bool
    mumps: bool
    superlu_dist: bool
    code: ctypes.CDLL

    def diagonal_of_factor(self, factor: Any, n: int) -> Any:
        """Return the diagonal of U of a factorisation by SuperLU_DIST (petsc4py lacks it)."""
        diagonal = np.zeros(n, dtype=self.PETSc.ScalarType)
        error = self.code.MatSuperluDistGetDiagU(
            ctypes.c_void_p(factor.handle), ctypes.c_void_p(diagonal.ctypes.data)
        )
        if error:
            raise self.PETSc.Error(error)
        return diagonal

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn an error that PETSc meets into a `SolverError`."""
        try:
            yield
        except self.PETSc.Error as error:
            words = str(error).strip().splitlines() or [repr(error)]
            raise SolverError(
                f"PETSc stopped ({words[-1].strip()}). If a machine has not enough memory, use "
                "more of them, or fewer processes on each."
            ) from error


def require_installed() -> None:
    """Raise a `DependencyError` where petsc4py or slepc4py is not installed; nothing is loaded."""
    for name in ("petsc4py", "slepc4py"):
        if importlib.util.find_spec(name) is None:
            raise DependencyError(f"{name} is needed for this and is not installed. {_INSTALL}")


@cache
def load(team: Team) -> Library:
    """Load PETSc and SLEPc for the processes of a team, which all must call this.

    A `DependencyError` says what is missing or does not fit.
    """
    require_installed()
    try:
        import petsc4py
        import slepc4py

        petsc4py.init([], comm=team.comm)  # None: all processes
        slepc4py.init([])
        from petsc4py import PETSc
        from slepc4py import SLEPc
    except ImportError as error:
        raise DependencyError(f"slepc4py cannot be loaded ({error}). {_INSTALL}") from error
    code = ctypes.CDLL(PETSc.__file__)
    _require_one_mpi(code)
    PETSc.Sys.popErrorHandler()  # errors are raised, and not printed as well
    letter = {"f": "s", "d": "d", "F": "c", "D": "z"}[np.dtype(PETSc.ScalarType).char]
    found = Library(
        PETSc,
        SLEPc,
        letter in "cz",
        hasattr(code, f"{letter}mumps_c"),
        hasattr(code, f"p{letter}gssvx"),
        code,
    )
    if not found.mumps:
        raise DependencyError(f"this PETSc was built without MUMPS. {_INSTALL}")
    return found


def _require_one_mpi(code: ctypes.CDLL) -> None:
    """Refuse a PETSc that is built on another MPI than mpi4py runs on."""
    MPI = sys.modules.get("mpi4py.MPI")
    if MPI is None:
        return
    text, length = ctypes.create_string_buffer(8192), ctypes.c_int()
    code.MPI_Get_library_version(text, ctypes.byref(length))
    its, ours = text.value.decode(), MPI.Get_library_version()
    if its.split()[:2] != ours.split()[:2]:
        raise DependencyError(
            f"PETSc runs on {_first_words(its)}, mpi4py on {_first_words(ours)}: both must have "
            "one MPI. Start the processes by the mpirun of PETSc's MPI, and choose it for mpi4py: "
            "MPI4PY_MPIABI=openmpi, or mpich."
        )


def _first_words(version: str) -> str:
    return " ".join(version.replace(",", " ").split()[:3])
