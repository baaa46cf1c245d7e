"""LAPACK called through SciPy's own function pointers, so that threads run side by side.

SciPy's Python wrappers hold the interpreter lock during the call: two threads diagonalise no
faster than one. The same routines are exported as C function pointers by
``scipy.linalg.cython_lapack``; calling them through ctypes releases the lock. That extension is
loaded alone, since importing all of ``scipy.linalg`` takes a quarter of a second.

Every function works in place on Fortran-contiguous float64 or complex128 arrays and reads one
triangle (`uplo`) of Hermitian ones, which it destroys. ``info`` is LAPACK's: 0 is success.
`routine` gives any other routine of LAPACK or BLAS, for all four types.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import DependencyError, SolverError

__all__ = [
    "back_substitute",
    "eigh",
    "eigh_generalised",
    "factorise",
    "routine",
    "to_standard",
    "to_tridiagonal",
    "tridiagonal_values",
    "tridiagonal_vectors",
]

Matrix = NDArray[Any]
_INT_MAX = 2**31 - 1

_KNOWN_LENGTHS: dict[tuple[object, ...], tuple[int, ...]] = {}
_MOST_LENGTHS = 1000


def eigh(a: Matrix, uplo: str, *, vectors: bool) -> tuple[NDArray[np.float64], int]:
    """Diagonalise `a` (syevd, heevd); its columns become the eigenvectors.

    Returns the eigenvalues, ascending, and info, which is positive without convergence.
    """
    values = np.empty(len(a))
    head = (_job(vectors), uplo.encode(), len(a), a, _lead(a), values)
    return values, _call("syevd", "heevd", a, *head, **_divide_and_conquer(a))


def eigh_generalised(
    a: Matrix, b: Matrix, uplo: str, *, vectors: bool
) -> tuple[NDArray[np.float64], int]:
    """Solve a x = e b x completely (sygvd, hegvd); the columns of `a` become the eigenvectors.

    Returns the eigenvalues, ascending, and info, 1 … n: no convergence; n + i: the leading i × i
    block of `b` is not positive definite.
    """
    values = np.empty(len(a))
    head = (1, _job(vectors), uplo.encode(), len(a), a, _lead(a), b, _lead(b), values)
    return values, _call("sygvd", "hegvd", a, *head, **_divide_and_conquer(a))


def factorise(b: Matrix, uplo: str) -> int:
    """Replace a triangle of `b` by its Cholesky factor (potrf); info > 0: not positive."""
    return _call("potrf", "potrf", b, uplo.encode(), len(b), b, _lead(b))


def to_standard(a: Matrix, factor: Matrix, uplo: str) -> int:
    """Turn a x = e b x into a standard problem for `a`, given the factor of b (sygst, hegst)."""
    args = (1, uplo.encode(), len(a), a, _lead(a), factor, _lead(factor))
    return _call("sygst", "hegst", a, *args)


def to_tridiagonal(
    a: Matrix, uplo: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], Matrix, int]:
    """Reduce `a` to a tridiagonal matrix (sytrd, hetrd); `a` keeps the reflectors.

    Returns its diagonal and off-diagonal, n numbers each, of which the second's last is not
    used, the reflectors' factors tau, and info.
    """
    n = len(a)
    diagonal, off_diagonal, tau = np.empty(n), np.zeros(n), np.zeros(n, dtype=a.dtype)
    head = (uplo.encode(), n, a, _lead(a), diagonal, off_diagonal, tau)
    info = _call("sytrd", "hetrd", a, *head, work=a.dtype)
    return diagonal, off_diagonal, tau, info


def tridiagonal_values(
    diagonal: NDArray[np.float64], off_diagonal: NDArray[np.float64]
) -> tuple[NDArray[np.float64], int]:
    """Return all eigenvalues of a tridiagonal matrix, ascending (sterf)."""
    values = diagonal.copy()
    return values, _call("sterf", None, values, len(values), values, off_diagonal.copy())


def tridiagonal_vectors(
    reduced: tuple[NDArray[np.float64], NDArray[np.float64], Matrix],
    a: Matrix,
    uplo: str,
    first: int,
    stop: int,
) -> tuple[NDArray[np.float64], Matrix, int]:
    """Return eigenpairs first … stop − 1, from 0, of what `to_tridiagonal` reduced, and info.

    `reduced` is its diagonal, off-diagonal and tau; `a` has its reflectors in the triangle
    `uplo` (stemr and ormtr, unmtr). Where stemr finds no representation (its errors 1X and 2X, on
    some processors with levels that agree to rounding), divide and conquer finds all (stevd).
    """
    diagonal, off_diagonal, tau = reduced
    n, count = len(a), stop - first
    values, found = np.empty(n), np.zeros(1, dtype=np.intc)
    vectors = np.zeros((n, count), dtype=a.dtype, order="F")
    support, try_accurate = np.empty(2 * count, dtype=np.intc), np.ones(1, dtype=np.intc)
    head = (b"V", b"I", n, diagonal.copy(), off_diagonal.copy(), 0.0, 0.0, first + 1, stop)
    tail = (found, values, vectors, _lead(vectors), count, support, try_accurate)
    info = _call("stemr", "stemr", a, *head, *tail, work=np.float64, integer_work=True)
    if info > 0 or (info == 0 and found[0] != count):
        info = _by_division(diagonal, off_diagonal, first, values, vectors)
    if info == 0:
        args = (b"L", uplo.encode(), b"N", n, count, a, _lead(a), tau, vectors, _lead(vectors))
        info = _call("ormtr", "unmtr", a, *args, work=a.dtype)
    return values[:count].copy(), vectors, info


def _by_division(
    diagonal: NDArray[np.float64],
    off_diagonal: NDArray[np.float64],
    first: int,
    values: NDArray[np.float64],
    vectors: Matrix,
) -> int:
    """Put the eigenpairs from `first` on of a tridiagonal matrix into the arrays; return info."""
    n, count = len(diagonal), vectors.shape[1]
    energies, whole = diagonal.copy(), np.zeros((n, n), order="F")
    args = (b"V", n, energies, off_diagonal.copy(), whole, _lead(whole))
    info = _call("stevd", None, whole, *args, work=np.float64, integer_work=True)
    values[:count] = energies[first : first + count]
    vectors[:] = whole[:, first : first + count]
    return info


def back_substitute(factor: Matrix, uplo: str, vectors: Matrix) -> int:
    """Turn eigenvectors of the standard problem into those of a x = e b x, in place (trtrs)."""
    n, count = vectors.shape
    transposed = b"C" if uplo == "L" else b"N"
    head = (uplo.encode(), transposed, b"N", n, count, factor, _lead(factor))
    return _call("trtrs", "trtrs", factor, *head, vectors, _lead(vectors))


def _divide_and_conquer(a: Matrix) -> dict[str, Any]:
    """Return the workspaces that the divide-and-conquer drivers ask for."""
    return {"work": a.dtype, "real_work": np.iscomplexobj(a), "integer_work": True}


def _call(
    real: str,
    complex_: str | None,
    like: Matrix,
    *args: object,
    work: Any = None,
    real_work: bool = False,
    integer_work: bool = False,
) -> int:
    """Call the routine for the type of `like`; return info.

    Workspaces come after `args`, each followed by its length.
    """
    is_complex = complex_ is not None and np.iscomplexobj(like)
    name = f"z{complex_}" if is_complex else f"d{real}"
    kinds = [np.dtype(work)] if work is not None else []
    kinds += [np.dtype(np.float64)] if real_work else []
    kinds += [np.dtype(np.intc)] if integer_work else []
    lengths = _lengths(name, args, kinds, len(like)) if kinds else []
    spaces = [np.empty(length, dtype=kind) for kind, length in zip(kinds, lengths, strict=True)]
    return _invoke(name, args, spaces)


def _lengths(
    name: str, args: tuple[object, ...], kinds: Sequence[np.dtype[Any]], n: int
) -> tuple[int, ...]:
    """Return how long a routine wants its workspaces: it is asked once for each size and job."""
    key = (name, *(value for value in args if isinstance(value, int | bytes)))
    lengths = _KNOWN_LENGTHS.get(key)
    if lengths is None:
        spaces = [np.zeros(1, dtype=kind) for kind in kinds]
        _invoke(name, args, spaces, query=True)
        lengths = tuple(max(int(space[0].real), 1) for space in spaces)
        if len(_KNOWN_LENGTHS) >= _MOST_LENGTHS:
            _KNOWN_LENGTHS.clear()
        _KNOWN_LENGTHS[key] = lengths
    if max(lengths) > _INT_MAX:
        raise SolverError(
            f"A matrix of {n} orbitals is too large for the dense solver ({name} "
            "counts its workspace in 32 bits). Ask for a window, or use the sparse solver."
        )
    return lengths


def _invoke(
    name: str, args: tuple[object, ...], spaces: list[Matrix], *, query: bool = False
) -> int:
    info = ctypes.c_int(0)
    full: list[object] = list(args)
    for space in spaces:
        full += [space, -1 if query else len(space)]
    pointers = [_pointer(argument) for argument in full]
    routine("lapack", name, len(pointers) + 1)(*pointers, ctypes.byref(info))
    if info.value < 0:
        raise SolverError(
            f"LAPACK's {name} refused its argument {-info.value}. This is an error in dock: "
            "please report it with the sizes of your matrices."
        )
    return int(info.value)


def _pointer(argument: object) -> object:
    """Return what ctypes passes as an address: LAPACK takes every argument by reference."""
    if isinstance(argument, np.ndarray):
        return argument.ctypes.data
    if isinstance(argument, int):
        return ctypes.byref(ctypes.c_int(argument))
    if isinstance(argument, float):
        return ctypes.byref(ctypes.c_double(argument))
    return argument


def _job(vectors: bool) -> bytes:
    return b"V" if vectors else b"N"


def _lead(a: Matrix) -> int:
    return max(1, int(a.shape[0]))


_LOADING = threading.RLock()  # two threads must not load the extension module at once


@cache
def routine(table: str, name: str, n_arguments: int) -> Callable[..., None]:
    """Return a routine of `table` (blas, lapack) as a function of addresses.

    It releases the interpreter lock. It is looked up in SciPy's table, where its interface is
    checked; a `DependencyError` says that this SciPy has another one.
    """
    with _LOADING:
        capsule = _table(f"cython_{table}").__pyx_capi__[name]
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = get_name(capsule)
    if signature.count(b",") + 1 != n_arguments or b"int *" not in signature:
        raise DependencyError(
            f"This SciPy's {table.upper()} has another interface ({name}: {signature.decode()}). "
            "Install the usual one: pip install 'scipy>=1.11,<2'"
        )
    prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * n_arguments)
    return prototype(get_pointer(capsule, signature))


@cache
def _table(module: str) -> ModuleType:
    """Load a table of SciPy's pointers, without the rest of ``scipy.linalg`` if possible."""
    import scipy

    name = f"scipy.linalg.{module}"
    if name in sys.modules:
        return sys.modules[name]
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        file = Path(scipy.__file__).parent / "linalg" / f"{module}{suffix}"
        if file.is_file():
            spec = importlib.util.spec_from_file_location(name, file)
            if spec is not None and spec.loader is not None:
                module_ = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module_)
                return module_
    return importlib.import_module(name)
